"""What a chart's values are in each environment, filled while its templates are made."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from homeport.api.component import Component
from homeport.plan import names
from homeport.plan.plain import Bundle

# Those that people look for first.
_ORDER = (
    "enabled",
    "image",
    "replicas",
    "autoscaling",
    "schedule",
    "suspend",
    "resources",
    "env",
    "files",
    "persistence",
    "ingress",
)
GENERATE = "generateSecrets"
"""The value that says whether the chart makes the Secrets that are generated."""
_PLAIN = re.compile(r"^[a-zA-Z_][a-zA-Z0-9_]*$")


def reach(base: str, name: str) -> str:
    """The expression for ``name`` in a mapping, whatever characters it has."""
    return f"{base}.{name}" if _PLAIN.match(name) else f'(index {base} "{name}")'


def camel(*words: str) -> str:
    """Words and names with dashes as one name of a value."""
    parts = [part for word in words for part in re.split(r"[^a-zA-Z0-9]+", word) if part]
    return "".join(part if index == 0 else part[0].upper() + part[1:] for index, part in enumerate(parts))


@dataclass
class Values:
    """The values of one environment."""

    bundle: Bundle
    shared: dict[str, Any] = field(default_factory=dict)
    components: dict[str, dict[str, Any]] = field(default_factory=dict)

    def of(self, component: str) -> dict[str, Any]:
        """Those of one component, or of what is in no component."""
        return self.components[component] if component else self.shared

    @property
    def whole(self) -> dict[str, Any]:
        """All of them, as they are written."""
        components = {
            name: {key: own[key] for key in (*_ORDER, *own) if key in own} for name, own in self.components.items()
        }
        return {**self.shared, "components": components}


def begun(bundle: Bundle, chart_version: str) -> Values:
    """The values that don't depend on any one object."""
    spec = bundle.place.spec
    ingress = spec.ingress
    settings: dict[str, Any] = {}
    if ingress is not None:
        settings = {"className": ingress.class_name, "host": ingress.domain}
        settings["clusterIssuer"] = ingress.tls.issuer if ingress.tls is not None else None
    quota: dict[str, str] = next((m["spec"]["hard"] for m in bundle.surroundings if m["kind"] == "ResourceQuota"), {})
    shared = {
        # Absent and empty mean the same: the chart's appVersion.
        "version": "" if bundle.version == chart_version else bundle.version,
        "variables": dict(spec.variables or {}),
        "ingress": {name: value for name in ("className", "host", "clusterIssuer") if (value := settings.get(name))},
        "networkPolicy": {"enabled": spec.isolation == "Strict"},
        "quota": dict(quota),
    }
    return Values(bundle, shared, {part.name: {"image": image(part, bundle)} for part in bundle.components})


def image(part: Component, bundle: Bundle) -> dict[str, Any]:
    """An image as charts have it. Without a tag of its own it takes the version."""
    given = part.image or ""
    policy = part.image_pull_policy or names.pull_policy(names.image(given, bundle.version))
    if "@" in given:
        repository, _, digest = given.partition("@")
        return {"repository": repository, "digest": digest, "pullPolicy": policy}
    if names.image(given, "0") != given:
        return {"repository": given, "tag": "", "pullPolicy": policy}
    repository, _, tag = given.rpartition(":")
    return {"repository": repository, "tag": tag, "pullPolicy": policy}


def environment(part: Component, bundle: Bundle, env: list[Any]) -> list[Any]:
    """What of a container's ``env`` isn't there because of the environment's variables alone, which the chart's helper
    puts before it in the order of their names."""
    own = {variable.name for variable in part.env or ()}
    variables = {k: v for k, v in sorted((bundle.place.spec.variables or {}).items()) if k not in own}
    before = [{"name": name, "value": value} if value else {"name": name} for name, value in variables.items()]
    if env[: len(before)] == before:
        return env[len(before) :]
    return env  # in another order, or patched: all of it, which leaves the helper nothing to put before


def complete(found: list[Values], scalable: Mapping[str, Any]) -> None:
    """Fill in what some environment lacks and templates ask for."""
    for name in {name for values in found for name in values.components}:
        having = [values for values in found if name in values.components]
        scaled = [v.of(name)["autoscaling"] for v in having if "autoscaling" in v.of(name)]
        for values in having:
            own = values.of(name)
            if name in scalable and "autoscaling" not in own:
                example = scaled[0] if scaled else {"minReplicas": 2, "maxReplicas": 5, "cpu": 80}
                own["autoscaling"] = {**example, "enabled": False}
            elif name in scalable and "replicas" not in own:
                own["replicas"] = own["autoscaling"]["minReplicas"]
        if len(having) < len(found):
            # Off, with what it would be if it were switched on.
            for values in found:
                there = name in values.components
                values.components[name] = {**(values if there else having[0]).components[name], "enabled": there}
