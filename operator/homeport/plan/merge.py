"""Kubernetes's strategic merge: a partial object laid over an object.

Maps merge and a null takes a key out; lists of the kinds below merge by their key, all others are replaced;
``$patch: delete`` and ``$patch: replace`` do what they say, in maps and in lists; ``$retainKeys`` keeps only the keys
it names; ``$deleteFromPrimitiveList/<field>`` takes values out of a list of plain values.
Source: https://github.com/kubernetes/community/blob/master/contributors/devel/sig-api-machinery/strategic-merge-patch.md
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# The patchMergeKey of each list in the API's own types; "ports" depends on what they are of.
MERGE_KEYS: Mapping[str, str] = {
    "containers": "name",
    "env": "name",
    "ephemeralContainers": "name",
    "hostAliases": "ip",
    "imagePullSecrets": "name",
    "initContainers": "name",
    "resourceClaims": "name",
    "schedulingGates": "name",
    "topologySpreadConstraints": "topologyKey",
    "volumeDevices": "devicePath",
    "volumeMounts": "mountPath",
    "volumes": "name",
}
# Lists of plain values that are merged as sets.
_SETS = frozenset({"finalizers"})
_DIRECTIVE = "$patch"
_RETAIN = "$retainKeys"
_DELETE_VALUES = "$deleteFromPrimitiveList/"


class MergeError(Exception):
    """The patch can't be merged; the message says why."""


def strategic(kind: str, base: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any] | None:
    """``patch`` laid over ``base``, an object of ``kind``; neither is changed. None when the patch deletes the object.
    Raises MergeError."""
    return _map(base, patch, {**MERGE_KEYS, "ports": "port" if kind == "Service" else "containerPort"}, "")


def _map(
    base: Mapping[str, Any], patch: Mapping[str, Any], keys: Mapping[str, str], path: str
) -> dict[str, Any] | None:
    directive = patch.get(_DIRECTIVE)
    if directive == "delete":
        return None
    if directive == "replace":
        return _plain(patch, path)
    if directive not in (None, "merge"):
        raise MergeError(f"{path or 'the patch'}: $patch is {directive!r}; write delete, replace or merge")
    out = dict(base)
    retained = patch.get(_RETAIN)
    if retained is not None:
        out = {key: value for key, value in out.items() if key in _a_list(retained, f"{path}.{_RETAIN}")}
    for key, value in patch.items():
        if key.startswith(_DELETE_VALUES):
            field = key[len(_DELETE_VALUES) :]
            gone = _a_list(value, f"{path}.{key}")
            out[field] = [entry for entry in out.get(field) or () if entry not in gone]
        elif not key.startswith("$"):
            _field(out, key, value, keys, f"{path}.{key}" if path else key)
    return out


def _field(out: dict[str, Any], key: str, value: Any, keys: Mapping[str, str], path: str) -> None:
    """Lay ``value`` over the field ``key`` of ``out``."""
    if value is None:
        out.pop(key, None)
    elif isinstance(value, Mapping):
        found = out.get(key)
        merged = _map(found if isinstance(found, Mapping) else {}, value, keys, path)
        if merged is None:
            out.pop(key, None)
        else:
            out[key] = merged
    elif isinstance(value, list):
        found = out.get(key)
        out[key] = _list(found if isinstance(found, list) else [], value, key, keys, path)
    else:
        out[key] = value


def _list(base: list[Any], patch: list[Any], field: str, keys: Mapping[str, str], path: str) -> list[Any]:
    key = keys.get(field)
    if field in _SETS:
        return [*base, *(value for value in patch if value not in base)]
    if any(isinstance(item, Mapping) and item.get(_DIRECTIVE) == "replace" and _lone(item) for item in patch):
        return [_copy(item, path) for item in patch if not (isinstance(item, Mapping) and _lone(item))]
    if key is None or not all(isinstance(item, Mapping) for item in (*base, *patch)):
        return [_copy(item, path) for item in patch]
    out: list[Any] = list(base)
    for item in patch:
        if key not in item:
            raise MergeError(f"{path}: an entry without {key}; entries are found by it, so write {key}")
        index = next((number for number, found in enumerate(out) if found.get(key) == item[key]), None)
        merged = _map(out[index] if index is not None else {}, item, keys, f"{path}[{item[key]}]")
        if merged is None:
            out = [found for found in out if found.get(key) != item[key]]
        elif index is None:
            out.append(merged)
        else:
            out[index] = merged
    return out


def _lone(item: Mapping[str, Any]) -> bool:
    """Whether an entry of a list is a directive for the whole list and nothing else."""
    return set(item) == {_DIRECTIVE}


def _plain(patch: Mapping[str, Any], path: str) -> dict[str, Any]:
    """``patch`` without directives and nulls, for where there is nothing to merge with."""
    return {
        key: _copy(value, f"{path}.{key}")
        for key, value in patch.items()
        if value is not None and not key.startswith("$")
    }


def _copy(value: Any, path: str) -> Any:
    if isinstance(value, Mapping):
        return _plain(value, path)
    return [_copy(item, path) for item in value] if isinstance(value, list) else value


def _a_list(value: Any, path: str) -> Sequence[Any]:
    if not isinstance(value, list):
        raise MergeError(f"{path}: must be a list")
    return value
