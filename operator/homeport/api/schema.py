"""From typed models to CustomResourceDefinitions with structural schemas.

Structural: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema
What pydantic emits is JSON Schema 2020-12; here references are put in place, nulls are taken out, and what
Kubernetes doesn't know is dropped.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from homeport.api import labels
from homeport.api.base import JsonSchema, Model
from homeport.api.component import Component, ComponentOverride
from homeport.api.kinds import AGE, READY, STATUS, Column, Kind

Resolver = Callable[[str], JsonSchema]
"""Gives the structural schema of one of Kubernetes's own types."""

_DROPPED = frozenset({"title", "$defs", "discriminator", "examples", "const"})
_MAX_LIST = 64


def crd(kind: Kind, resolve: Resolver) -> JsonSchema:
    """The CustomResourceDefinition of ``kind``."""
    columns = (
        READY,
        *[c for c in kind.columns if c.priority == 0],
        STATUS,
        AGE,
        *[c for c in kind.columns if c.priority],
    )
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{kind.plural}.{labels.GROUP}",
            "labels": {labels.APP_NAME: "homeport", labels.APP_PART_OF: "homeport"},
        },
        "spec": {
            "group": labels.GROUP,
            "scope": "Namespaced" if kind.namespaced else "Cluster",
            "names": {
                "kind": kind.name,
                "listKind": f"{kind.name}List",
                "plural": kind.plural,
                "singular": kind.name.lower(),
                "shortNames": [kind.short_name],
                "categories": list(kind.categories),
            },
            "versions": [
                {
                    "name": labels.VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [_column(column) for column in columns],
                    "schema": {"openAPIV3Schema": _root(kind, resolve)},
                }
            ],
        },
    }


def _column(column: Column) -> JsonSchema:
    out: JsonSchema = {"name": column.name, "type": column.type, "jsonPath": column.path}
    if column.description:
        out["description"] = column.description
    if column.priority:
        out["priority"] = column.priority
    return out


def _root(kind: Kind, resolve: Resolver) -> JsonSchema:
    status = structural(kind.status, resolve)
    status["default"] = {"observedGeneration": -1}
    status["description"] = "What the operator reports; nobody else writes it."
    spec = structural(kind.spec, resolve)
    root: JsonSchema = {
        "type": "object",
        "description": kind.summary,
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": f"{labels.API_VERSION}."},
            "kind": {"type": "string", "description": f"{kind.name}."},
            "metadata": {"type": "object", "properties": {"name": {"type": "string", "maxLength": 253}}},
            "spec": spec,
            "status": status,
        },
    }
    if not spec.get("required") and "x-kubernetes-validations" not in spec:
        del root["required"]
        spec["default"] = {}
    if kind.name_rule is not None:
        root["x-kubernetes-validations"] = [kind.name_rule.as_validation()]
    return root


def structural(model: type[Model], resolve: Resolver) -> JsonSchema:
    """The structural schema of ``model``."""
    schema = model.model_json_schema(by_alias=True, mode="validation")
    return _clean(schema, schema.get("$defs", {}), resolve)


def _clean(node: Mapping[str, Any], defs: Mapping[str, Any], resolve: Resolver) -> JsonSchema:
    node = _dereference(node, defs)
    if "x-homeport-kubernetes-type" in node:
        described = {key: node[key] for key in ("description",) if key in node}
        return {**resolve(node["x-homeport-kubernetes-type"]), **described}
    if "x-homeport-override-of" in node:
        return override_schema(structural(Component, resolve))
    out = {key: value for key, value in node.items() if key not in _DROPPED}
    if "const" in node:
        out.update(type="string", enum=[node["const"]])
    if "enum" in out and "type" not in out:
        out["type"] = "string"
    if out.get("default", 0) in (None, [], (), {}) or isinstance(out.get("default"), list | tuple | dict):
        out.pop("default", None)
    if out.get("type") == "object":
        _clean_object(out, defs, resolve)
    elif out.get("type") == "array":
        out.pop("minItems", None) if out.get("minItems") == 0 else None
        out["items"] = _clean(out["items"], defs, resolve)
        out.setdefault("maxItems", _MAX_LIST)
        _default_list_keys(out)
    if "description" in out:
        out["description"] = " ".join(out["description"].split())
    return out


def _clean_object(out: JsonSchema, defs: Mapping[str, Any], resolve: Resolver) -> None:
    if "properties" in out:
        out.pop("additionalProperties", None)
        out["properties"] = {name: _clean(child, defs, resolve) for name, child in out["properties"].items()}
    elif isinstance(out.get("additionalProperties"), Mapping):
        out.pop("propertyNames", None)
        out["additionalProperties"] = _clean(out["additionalProperties"], defs, resolve)


def _default_list_keys(array: JsonSchema) -> None:
    """A key of a list map must be required or have a default; an empty text is dropped as a default elsewhere."""
    for key in array.get("x-kubernetes-list-map-keys", []):
        properties = array["items"]["properties"]
        if key not in array["items"].get("required", []):
            properties[key].setdefault("default", "")


def _dereference(node: Mapping[str, Any], defs: Mapping[str, Any]) -> JsonSchema:
    """``node`` with its reference in place and the null that an optional field allows taken out."""
    out = dict(node)
    while True:
        if "$ref" in out:
            target = defs[out.pop("$ref").rsplit("/", 1)[1]]
            rules = [*target.get("x-kubernetes-validations", []), *out.get("x-kubernetes-validations", [])]
            out = {**target, **out}
            if rules:
                out["x-kubernetes-validations"] = rules
        elif "anyOf" in out and any(option.get("type") == "null" for option in out["anyOf"]):
            options = [option for option in out.pop("anyOf") if option.get("type") != "null"]
            if len(options) != 1:
                raise TypeError(f"a field may have one type only: {options}")
            out = {**options[0], **out}
        elif "allOf" in out and len(out["allOf"]) == 1:
            out = {**out.pop("allOf")[0], **out}
        else:
            return out


def override_schema(component: JsonSchema) -> JsonSchema:
    """The schema of an override: a component's, with no defaults, nothing required but list keys, no rules across
    fields (they are checked on the merged component), no descriptions (they are on the component), and ``without``."""
    loose = _loosen(component)
    del loose["properties"]["name"]
    without = structural(ComponentOverride, lambda name: {"type": "object"})
    loose["properties"].update(without["properties"])
    loose["description"] = "Fields of the component that differ here; see spec.components."
    return loose


_MATCHES = re.compile(r"^self[.]matches\('(.*)'\)$")


def _loosen(node: Mapping[str, Any], keys: tuple[str, ...] = (), in_list: bool = False) -> JsonSchema:
    dropped = {"default", "required", "description"}
    rules = node.get("x-kubernetes-validations", [])
    if in_list or node.get("type") in ("object", "array"):
        dropped.add("x-kubernetes-validations")
    out = {key: value for key, value in node.items() if key not in dropped}
    if in_list and node.get("type") == "string":
        # Thirty-two components in sixteen environments with lists of 64 would cost more than the API server allows
        # for CEL; a pattern costs nothing, and the message in full comes from the merged component.
        patterns = [match.group(1) for rule in rules if (match := _MATCHES.match(rule["rule"]))]
        if patterns:
            out["pattern"] = patterns[0].replace("\\'", "'").replace("\\\\", "\\")
    if "properties" in out:
        out["properties"] = {name: _loosen(child, in_list=in_list) for name, child in out["properties"].items()}
        required = [key for key in keys if "default" not in node["properties"][key]]
        if required:
            out["required"] = required
        for key in keys:
            if "default" in node["properties"][key]:
                out["properties"][key]["default"] = node["properties"][key]["default"]
    if isinstance(out.get("additionalProperties"), Mapping):
        out["additionalProperties"] = _loosen(out["additionalProperties"], in_list=True)
    if "items" in out:
        out["items"] = _loosen(out["items"], tuple(node.get("x-kubernetes-list-map-keys", ())), in_list=True)
    return out
