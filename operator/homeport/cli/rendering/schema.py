"""The JSON schema of a chart's values: a typing error is refused by Helm before anything is applied. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from homeport.cli.rendering.values import GENERATE

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_FREE: Schema = {"type": "object"}
_TEXTS: Schema = {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean", "null"]}}
_QUANTITIES: Schema = {"type": "object", "additionalProperties": {"type": ["string", "number", "null"]}}


def _closed(properties: Mapping[str, Schema], **more: Any) -> Schema:
    return {"type": "object", "additionalProperties": False, "properties": dict(properties), **more}


_ENV: Schema = {
    "type": "array",
    "description": "As in a container; these win over variables.",
    "items": {
        "type": "object",
        "required": ["name"],
        "properties": {"name": _TEXT, "value": _TEXT, "valueFrom": _FREE},
    },
}
_RESOURCES = _closed({"requests": _QUANTITIES, "limits": _QUANTITIES, "claims": {"type": "array"}})
_PERSISTENCE = _closed(
    {
        "size": {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?([EPTGMk]i?|m)?$"},
        "storageClass": {**_TEXT, "description": "Absent means the cluster's default."},
        "keep": {"type": "boolean", "description": "Whether it stays when the release goes."},
    }
)
_INGRESS = _closed({"enabled": {"type": "boolean"}, "annotations": _TEXTS, "tls": {"type": "array"}})

KNOWN: Mapping[str, Schema] = {
    "image": _closed(
        {
            "repository": {**_TEXT, "minLength": 1},
            "tag": {**_TEXT, "description": "Empty means version."},
            "digest": {"type": "string", "pattern": "^sha256:[a-f0-9]{64}$"},
            "pullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
        },
        required=["repository"],
    ),
    "enabled": {"type": "boolean"},
    "replicas": _COUNT,
    "autoscaling": _closed(
        {
            "enabled": {"type": "boolean"},
            "minReplicas": {"type": "integer", "minimum": 1},
            "maxReplicas": {"type": "integer", "minimum": 1},
            "cpu": {"type": ["integer", "null"], "description": "Wanted average use, in percent of the request."},
            "memory": {"type": ["integer", "null"], "description": "Wanted average use, in percent of the request."},
        }
    ),
    "env": _ENV,
    "resources": _RESOURCES,
    "files": {"type": "object", "additionalProperties": {"type": ["string", "null"]}},
    "persistence": {"type": "object", "additionalProperties": _PERSISTENCE},
    "schedule": {**_TEXT, "minLength": 1},
    "suspend": {"type": "boolean"},
    "migrate": _closed({"resources": _RESOURCES}),
    "nodeSelector": _TEXTS,
    "tolerations": {"type": "array", "items": _FREE},
    "affinity": _FREE,
}


def schema(values: Mapping[str, Any], every: Sequence[Mapping[str, Any]], title: str) -> Schema:
    """The schema of ``values``, which allows what any of ``every`` environment's has."""
    components = {
        name: _component([found["components"][name] for found in every if name in found["components"]])
        for name in values["components"]
    }
    shared: dict[str, Schema] = {
        "version": {**_TEXT, "description": "Empty means the chart's appVersion."},
        "variables": {**_TEXTS, "description": "Variables of every component."},
        "ingress": _closed(
            {
                "className": {"type": ["string", "null"]},
                "host": {"type": ["string", "null"], "description": "The host of routes that name none."},
                "clusterIssuer": {"type": ["string", "null"], "description": "Of cert-manager."},
            }
        ),
        "networkPolicy": _closed({"enabled": {"type": "boolean"}}),
        "quota": {**_QUANTITIES, "description": "A ResourceQuota's hard bounds; empty means none."},
        "components": _closed(components),
        "global": _FREE,
    }
    if GENERATE in values:
        text = "False where Helm asks no cluster, as in Argo CD, and where the Secrets exist already."
        shared[GENERATE] = {"type": "boolean", "description": text}
    for found in every:
        for name, value in found.items():
            shared.setdefault(name, _typed(value))
    return {"$schema": "http://json-schema.org/draft-07/schema#", "title": title, **_closed(shared)}


def _component(every: Sequence[Mapping[str, Any]]) -> Schema:
    properties: dict[str, Schema] = {}
    for found in every:
        for name, value in found.items():
            if name.startswith("ingress") and isinstance(value, dict) and "enabled" in value:
                properties[name] = _INGRESS
            elif name in KNOWN:
                properties[name] = KNOWN[name]
            else:
                properties.setdefault(name, _typed(value))
    return _closed(properties)


def _typed(value: Any) -> Schema:
    """The type of a value that is there because environments differ in it; null takes it away."""
    kinds = (("boolean", bool), ("integer", int), ("number", float), ("string", str), ("array", list))
    found = next((name for name, kind in kinds if isinstance(value, kind)), "object")
    return {"type": [found, "null"]}
