"""The documentation of fields, read from the models that the CRDs are generated from."""

# ruff: noqa: PLC0415 - imported when it is needed, so that help, completion and errors are quick
from __future__ import annotations

import ast
import difflib
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from homeport.api import conditions, labels
from homeport.api.base import JsonSchema
from homeport.api.kinds import BY_NAME, Kind
from homeport.api.schema import crd
from homeport.cli.errors import Failure

# Where kubectl describes the parts that are Kubernetes's own.
_KUBERNETES = {
    "V1Affinity": ("Affinity", "pod.spec.affinity"),
    "V1Container": ("Container", "pod.spec.containers"),
    "V1Toleration": ("Toleration", "pod.spec.tolerations"),
}


@dataclass(frozen=True)
class Field:
    """One field: its path from the kind, its type, and what holds for it."""

    path: str
    type: str
    description: str
    required: bool
    default: Any
    bounds: tuple[str, ...]
    rules: tuple[str, ...]
    fields: tuple[Field, ...] = field(default=())

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition(".")[2]

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        out: dict[str, Any] = {
            "path": self.path,
            "type": self.type,
            "description": self.description,
            "required": self.required,
            "bounds": list(self.bounds),
            "rules": list(self.rules),
            "fields": [child.as_json() for child in self.fields],
        }
        if self.default is not None:
            out["default"] = self.default
        return out

    def walk(self, depth: int = 0) -> Iterator[tuple[int, Field]]:
        """All fields below, each with its depth."""
        for child in self.fields:
            yield depth, child
            yield from child.walk(depth + 1)


def _own(name: str) -> JsonSchema:
    """Stands in for one of Kubernetes's own types: kubectl describes them at length."""
    shown, where = _KUBERNETES.get(name, (name.removeprefix("V1"), f"pod.spec.{name.removeprefix('V1').lower()}"))
    # The name is there because lists are merged by it; it isn't shown.
    return {
        "type": "object",
        "x-kubernetes-own": shown,
        "x-kubernetes-see": where,
        "properties": {"name": {"type": "string"}},
        "required": ["name"],
    }


@cache
def schema(kind: Kind) -> JsonSchema:
    """The schema of a kind, with Kubernetes's own types left out."""
    version: JsonSchema = crd(kind, _own)["spec"]["versions"][0]
    root: JsonSchema = version["schema"]["openAPIV3Schema"]
    return root


def find(path: str) -> Field:
    """The field at ``KIND.field.path``; lists are passed through, ``spec`` may be left out. Raises Failure."""
    from homeport.cli import kinds

    head, *parts = [part.split("[")[0] for part in path.split(".") if part]
    kind = BY_NAME[kinds.find(head).kind]
    node = schema(kind)
    if parts and parts[0] not in node["properties"] and parts[0] in node["properties"]["spec"]["properties"]:
        parts.insert(0, "spec")
    walked = [kind.name]
    required = False
    for part in parts:
        inner = _inside(node)
        properties = inner.get("properties", {})
        if part in properties:
            required = part in inner.get("required", ())
            node = properties[part]
        elif isinstance(inner.get("additionalProperties"), Mapping):
            required, node = False, inner["additionalProperties"]
        elif "x-kubernetes-own" in inner:
            raise Failure(
                f"{'.'.join(walked)} is Kubernetes's own {inner['x-kubernetes-own']}",
                f"kubectl explain {inner['x-kubernetes-see']}.{part}",
            )
        else:
            spec = node["properties"]["spec"]["properties"] if len(walked) == 1 else {}
            raise _unknown(".".join(walked), part, {**properties, **spec})
        walked.append(part)
    return describe(".".join(walked), node, required)


def _unknown(path: str, part: str, properties: Mapping[str, Any]) -> Failure:
    near = difflib.get_close_matches(part, properties, 1)
    if near:
        return Failure(f"{path} has no field {part!r}", f"did you mean {near[0]}?")
    if properties:
        return Failure(f"{path} has no field {part!r}", f"its fields are {', '.join(sorted(properties))}")
    return Failure(f"{path} has no fields of its own that are described here")


def _inside(node: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a list holds; anything else is itself."""
    while node.get("type") == "array":
        node = node["items"]
    return node


def describe(path: str, node: Mapping[str, Any], required: bool = False) -> Field:
    """``node`` and all that is below it."""
    inner = _inside(node)
    fields: list[Field] = []
    if path.endswith(".overrides") or "x-kubernetes-own" in inner:
        # An override's fields are a component's, without their descriptions; Kubernetes's own are kubectl's to tell.
        properties: Mapping[str, Any] = {}
    else:
        properties = inner.get("properties") or _of_map(inner).get("properties") or {}
        inner = inner if inner.get("properties") else _of_map(inner) or inner
    for name, child in properties.items():
        fields.append(describe(f"{path}.{name}", child, name in inner.get("required", ())))
    return Field(
        path=path,
        type=type_of(node),
        description=str(node.get("description") or ""),
        required=required,
        default=node.get("default"),
        bounds=tuple(_bounds(node)),
        rules=tuple(_rules(node)),
        fields=tuple(sorted(fields, key=lambda f: (not f.required, f.name))) if len(fields) > 8 else tuple(fields),
    )


def _of_map(node: Mapping[str, Any]) -> Mapping[str, Any]:
    values = node.get("additionalProperties")
    return _inside(values) if isinstance(values, Mapping) else {}


def type_of(node: Mapping[str, Any]) -> str:
    """A type as kubectl writes it."""
    if node.get("x-kubernetes-int-or-string"):
        return "string or number"
    if "x-kubernetes-own" in node:
        return str(node["x-kubernetes-own"])
    if node.get("type") == "array":
        return f"[]{type_of(node['items'])}"
    values = node.get("additionalProperties")
    if isinstance(values, Mapping):
        return f"map[string]{type_of(values)}"
    if node.get("type") == "object" and "properties" not in node:
        return "anything"
    return str(node.get("type", "object"))


_WORDS = {
    "minimum": "at least {}",
    "maximum": "at most {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} entries",
    "maxItems": "at most {} entries",
    "minProperties": "at least {} entries",
    "maxProperties": "at most {} entries",
    "pattern": "matches {}",
    "format": "a {}",
}


def _bounds(node: Mapping[str, Any]) -> Iterator[str]:
    if "x-kubernetes-own" in _inside(node):
        yield f"see kubectl explain {_inside(node)['x-kubernetes-see']}"
    values = node.get("enum") or _inside(node).get("enum")
    if values:
        yield f"one of {', '.join(str(value) for value in values)}"
    for key, words in _WORDS.items():
        if key in node and not (key.startswith("min") and node[key] == 0):
            yield words.format(node[key])
    keys = node.get("x-kubernetes-list-map-keys")
    if keys:
        yield f"merged by {', '.join(keys)}"


def _rules(node: Mapping[str, Any]) -> Iterator[str]:
    for entry in (node, _inside(node)) if node.get("type") == "array" else (node,):
        for rule in entry.get("x-kubernetes-validations", ()):
            yield rule["message"]


@cache
def reasons() -> dict[str, str]:
    """Condition reasons and what they mean, from the text below each in its module."""
    out: dict[str, str] = {}
    body = ast.parse(inspect.getsource(conditions)).body
    for node in body:
        if isinstance(node, ast.ClassDef) and node.name == "Reason":
            for entry, text in zip(node.body, node.body[1:], strict=False):
                if (
                    isinstance(entry, ast.Assign)
                    and isinstance(entry.value, ast.Constant)
                    and isinstance(text, ast.Expr)
                    and isinstance(text.value, ast.Constant)
                ):
                    out[str(entry.value.value)] = " ".join(str(text.value.value).replace("``", "").split())
    return out


def overview() -> list[dict[str, str]]:
    """The kinds, each in a line."""
    return [
        {
            "kind": kind.name,
            "shortName": kind.short_name,
            "apiVersion": labels.API_VERSION,
            "summary": kind.summary,
        }
        for kind in BY_NAME.values()
    ]
