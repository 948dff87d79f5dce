"""What differs in one environment: an override merged into its component.

Maps merge, lists merge by the key that the CRD gives them (``x-kubernetes-list-map-keys``), everything else is
replaced; before that, ``without`` leaves fields of the base out. Where a field is one of several ways to say the same
(a variable's ``value`` or ``valueFrom``, a probe's ``path``, ``tcp`` or ``exec``), writing another way replaces
the base's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from homeport.api.component import Component
from homeport.api.resource import InvalidSpec, parse_spec
from homeport.api.schema import structural

Schema = Mapping[str, Any]
_FREE: Schema = {}

# As in the CRD: what users write as in a Pod merges by these keys.
_KUBERNETES_LISTS = {
    "V1Container": {"env": ("name",), "volumeMounts": ("mountPath",), "volumeDevices": ("devicePath",)},
}
_SOURCES = ("secretKeyRef", "configMapKeyRef", "fieldRef", "resourceFieldRef")
# What a field of an override takes away from the base, by the fields that an object of this sort has.
_WAYS: tuple[tuple[frozenset[str], Mapping[str, tuple[str, ...]]], ...] = (
    (frozenset({"value", "valueFrom"}), {"value": ("valueFrom",), "valueFrom": ("value",)}),
    (
        frozenset({"secretKeyRef", "fieldRef"}),
        {way: tuple(other for other in _SOURCES if other != way) for way in _SOURCES},
    ),
    (
        frozenset({"path", "tcp", "exec"}),
        {
            "path": ("tcp", "exec"),
            "tcp": ("path", "scheme", "httpHeaders", "port", "exec"),
            "exec": ("path", "scheme", "httpHeaders", "port", "tcp"),
        },
    ),
    (
        frozenset({"existingClaim", "ephemeral"}),
        {
            "existingClaim": ("size", "ephemeral", "storageClass", "deletionPolicy"),
            "ephemeral": ("existingClaim", "storageClass", "accessModes", "deletionPolicy"),
            "size": ("existingClaim",),
        },
    ),
)  # fmt: skip


def overridden(component: Component, override: Mapping[str, Any], path: str) -> Component:
    """``component`` as ``override`` changes it; ``path`` is where the override stands, for messages."""
    problems = []
    if "name" in override:
        problems.append(f"{path}.name: a component keeps its name in every environment; leave it out")
    raw = component.model_dump(by_alias=True, exclude_unset=True, mode="json")
    for entry in override.get("without") or ():
        problem = _leave_out(raw, str(entry), component_schema(), f"{path}.without")
        if problem:
            problems.append(problem)
    if problems:
        raise InvalidSpec(problems)
    differs = {key: value for key, value in override.items() if key != "without"}
    return parse_spec(Component, merged(raw, differs, component_schema()), path)


@cache
def component_schema() -> Schema:
    """The schema of a component, from its model: which lists merge by which key is written there, once."""
    return structural(Component, _kubernetes_schema)


def _kubernetes_schema(name: str) -> dict[str, Any]:
    lists = _KUBERNETES_LISTS.get(name, {})
    properties = {
        field: {"type": "array", "x-kubernetes-list-map-keys": list(keys), "items": {}} for field, keys in lists.items()
    }
    return {"type": "object", "properties": {"name": {"type": "string"}, **properties}, "required": ["name"]}


def merged(base: Any, over: Any, schema: Schema = _FREE) -> Any:
    """``over`` merged into ``base``; neither is changed."""
    if isinstance(over, Mapping) and isinstance(base, Mapping):
        out = {key: value for key, value in base.items() if key not in _taken_away(over, schema)}
        for key, value in over.items():
            out[key] = merged(out[key], value, _of_field(schema, key)) if key in out else value
        return out
    keys = schema.get("x-kubernetes-list-map-keys")
    if keys and _items(over) and _items(base):
        by_key = {_key(item, keys): item for item in base}
        for item in over:
            key = _key(item, keys)
            by_key[key] = merged(by_key[key], item, schema.get("items", _FREE)) if key in by_key else item
        return list(by_key.values())
    return over


def _items(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(item, Mapping) for item in value)


def _key(item: Mapping[str, Any], keys: Sequence[str]) -> tuple[Any, ...]:
    return tuple(item.get(key, "") for key in keys)


def _of_field(schema: Schema, key: str) -> Schema:
    properties = schema.get("properties")
    if properties and key in properties:
        found: Schema = properties[key]
        return found
    more = schema.get("additionalProperties")
    return more if isinstance(more, Mapping) else _FREE


def _taken_away(over: Mapping[str, Any], schema: Schema) -> set[str]:
    properties = schema.get("properties", {})
    out: set[str] = set()
    for marks, ways in _WAYS:
        if marks <= properties.keys():
            for way, others in ways.items():
                if over.get(way) not in (None, False):
                    out.update(others)
    # Who writes two ways at once is told so, by the rule that there may be one.
    return out - over.keys()


# --- without --------------------------------------------------------------------------------------------------------


def _leave_out(raw: dict[str, Any], entry: str, schema: Schema, path: str) -> str | None:
    """Take what ``entry`` names out of ``raw``; the problem with it, if it names nothing."""
    field = entry.split(".", 1)[0]
    known = schema["properties"]
    if field == "name" or field not in known:
        fields = ", ".join(sorted(name for name in known if name != "name"))
        reason = "a component keeps its name" if field == "name" else f"there is no field {field!r}"
        return f"{path}: {entry!r}: {reason}; write one of {fields}"
    if entry == field:
        raw.pop(field, None)
        return None
    if field not in raw:
        return f"{path}: {entry!r}: the component has no {field}; take the entry out"
    raw[field], problem = _without(raw[field], entry[len(field) + 1 :], known[field])
    if problem:
        return f"{path}: {entry!r}: {problem}"
    if raw[field] in ({}, []):
        del raw[field]
    return None


def _without(value: Any, rest: str, schema: Schema) -> tuple[Any, str]:
    """``value`` without what ``rest`` names in it, and what is wrong with ``rest``."""
    if isinstance(value, Mapping):
        return _without_key(value, rest, schema)
    if isinstance(value, list | tuple):
        return _without_item(value, rest, schema)
    return value, "there is nothing inside to leave out"


def _without_key(value: Mapping[str, Any], rest: str, schema: Schema) -> tuple[Any, str]:
    key = _longest(rest, value)
    if key is None:
        return value, f"it isn't there; there is {_shown(value)}"
    out = dict(value)
    if key == rest:
        del out[key]
        return out, ""
    out[key], problem = _without(value[key], rest[len(key) + 1 :], _of_field(schema, key))
    return out, problem


def _without_item(value: Sequence[Any], rest: str, schema: Schema) -> tuple[Any, str]:
    keys = schema.get("x-kubernetes-list-map-keys")
    if not keys:
        kept = [item for item in value if str(item) != rest]
        problem = "" if len(kept) < len(value) else f"it isn't there; there is {_shown(str(item) for item in value)}"
        return kept, problem
    # A route has a host and a path: both together, or the path alone for every host.
    called = [{"".join(str(part) for part in _key(item, keys)), str(item.get(keys[-1], ""))} for item in value]
    key = _longest(rest, {name for each in called for name in each})
    if key is None:
        return list(value), f"it isn't there; there is {_shown(max(each, key=len) for each in called)}"
    out = []
    for item, each in zip(value, called, strict=True):
        if key not in each:
            out.append(item)
        elif key != rest:
            changed, problem = _without(item, rest[len(key) + 1 :], schema.get("items", _FREE))
            if problem:
                return list(value), problem
            out.append(changed)
    return out, ""


def _longest(rest: str, names: Iterable[str]) -> str | None:
    """The longest of ``names`` that ``rest`` is or goes into: names may hold dots."""
    fitting = [name for name in names if rest == name or rest.startswith(f"{name}.")]
    return max(fitting, key=len, default=None)


def _shown(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "nothing"
