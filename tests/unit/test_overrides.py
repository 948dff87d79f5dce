"""Overrides: what merges, what replaces, what is left out, and what is said when it can't be."""

from __future__ import annotations

from typing import Any

import pytest

from homeport.api.component import Component
from homeport.api.resource import InvalidSpec
from homeport.plan import overrides, render
from unit.render_cases import application

BASE: dict[str, Any] = {
    "name": "web",
    "image": "example/web:1",
    "ports": [{"name": "http", "port": 8000}, {"name": "admin", "port": 9000}],
    "env": [
        {"name": "A", "value": "1"},
        {"name": "B.C", "value": "2"},
        {"name": "S", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
    ],
    "command": ["serve", "--fast"],
    "resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "2", "memory": "1Gi"}},
    "probes": {"liveness": {"path": "/health", "port": "http", "periodSeconds": 5}},
    "volumes": [{"name": "data", "path": "/data", "size": "1Gi", "storageClass": "fast"}],
    "files": {"/etc/a.toml": "a", "/etc/b.toml": "b"},
    "secretFiles": [{"path": "/etc/key", "secretRef": {"name": "s", "key": "k"}}],
    "routes": [{"path": "/"}, {"host": "b.example.com", "path": "/"}, {"path": "/admin", "port": "admin"}],
    "dependsOn": ["db", "cache"],
    "labels": {"team": "a", "tier": "b"},
    "autoscaling": {"min": 2, "max": 5, "cpu": 70},
    "initContainers": [{"name": "wait", "image": "example/wait:1", "env": [{"name": "X", "value": "1"}]}],
    "imagePullSecrets": [{"name": "one"}],
}


def merged(**override: Any) -> dict[str, Any]:
    component = overrides.overridden(Component.model_validate(BASE), override, "here")
    return component.model_dump(by_alias=True, exclude_unset=True, mode="json")


def problem(**override: Any) -> str:
    with pytest.raises(InvalidSpec) as caught:
        merged(**override)
    return str(caught.value)


@pytest.mark.parametrize(
    ("override", "field", "expected"),
    [
        ({"env": [{"name": "A", "value": "9"}]}, "env", [{"name": "A", "value": "9"}, *BASE["env"][1:]]),
        ({"env": [{"name": "N", "value": "9"}]}, "env", [*BASE["env"], {"name": "N", "value": "9"}]),
        ({"env": [{"name": "S", "value": "9"}]}, "env", [*BASE["env"][:2], {"name": "S", "value": "9"}]),
        (
            {"env": [{"name": "S", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]},
            "env",
            [*BASE["env"][:2], {"name": "S", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
        ),
        ({"ports": [{"name": "http", "port": 1}]}, "ports", [{"name": "http", "port": 1}, BASE["ports"][1]]),
        ({"command": ["x"]}, "command", ["x"]),
        ({"dependsOn": ["other"]}, "dependsOn", ["other"]),
        ({"labels": {"tier": "c", "new": "d"}}, "labels", {"team": "a", "tier": "c", "new": "d"}),
        (
            {"resources": {"limits": {"memory": "2Gi"}}},
            "resources",
            {"requests": {"cpu": "1"}, "limits": {"cpu": "2", "memory": "2Gi"}},
        ),
        (
            {"probes": {"liveness": {"periodSeconds": 9}}},
            "probes",
            {"liveness": {"path": "/health", "port": "http", "periodSeconds": 9}},
        ),
        ({"probes": {"liveness": {"tcp": "http"}}}, "probes", {"liveness": {"tcp": "http", "periodSeconds": 5}}),
        ({"probes": {"liveness": {"exec": ["x"]}}}, "probes", {"liveness": {"exec": ["x"], "periodSeconds": 5}}),
        (
            {"volumes": [{"name": "data", "existingClaim": "c"}]},
            "volumes",
            [{"name": "data", "path": "/data", "existingClaim": "c"}],
        ),
        (
            {"volumes": [{"name": "data", "ephemeral": True}]},
            "volumes",
            [{"name": "data", "path": "/data", "size": "1Gi", "ephemeral": True}],
        ),
        ({"volumes": [{"name": "data", "size": "2Gi"}]}, "volumes", [{**BASE["volumes"][0], "size": "2Gi"}]),
        (
            {"routes": [{"path": "/", "websocket": True}]},
            "routes",
            [{"path": "/", "websocket": True}, *BASE["routes"][1:]],
        ),
        (
            {"initContainers": [{"name": "wait", "env": [{"name": "Y", "value": "2"}], "args": ["a"]}]},
            "initContainers",
            [
                {
                    **BASE["initContainers"][0],
                    "env": [{"name": "X", "value": "1"}, {"name": "Y", "value": "2"}],
                    "args": ["a"],
                }
            ],
        ),
        ({"imagePullSecrets": [{"name": "two"}]}, "imagePullSecrets", [{"name": "one"}, {"name": "two"}]),
        ({"autoscaling": {"max": 9}}, "autoscaling", {"min": 2, "max": 9, "cpu": 70}),
    ],
)
def test_merge(override: dict[str, Any], field: str, expected: Any) -> None:
    out = merged(**override)
    assert out[field] == expected
    assert {key: value for key, value in out.items() if key != field} == {k: v for k, v in BASE.items() if k != field}


@pytest.mark.parametrize(
    ("without", "field", "expected"),
    [
        ("autoscaling", "autoscaling", None),
        ("env.A", "env", BASE["env"][1:]),
        ("env.B.C", "env", [BASE["env"][0], BASE["env"][2]]),
        ("env.S.valueFrom", "env", [*BASE["env"][:2], {"name": "S"}]),
        ("files./etc/a.toml", "files", {"/etc/b.toml": "b"}),
        ("secretFiles./etc/key", "secretFiles", None),
        ("routes./", "routes", [BASE["routes"][2]]),
        ("routes.b.example.com/", "routes", [BASE["routes"][0], BASE["routes"][2]]),
        ("routes./admin.port", "routes", [*BASE["routes"][:2], {"path": "/admin"}]),
        ("resources.limits.cpu", "resources", {"requests": {"cpu": "1"}, "limits": {"memory": "1Gi"}}),
        ("dependsOn.db", "dependsOn", ["cache"]),
        ("labels.team", "labels", {"tier": "b"}),
        ("initContainers.wait", "initContainers", None),
        ("replicas", "replicas", None),
    ],
)
def test_without(without: str, field: str, expected: Any) -> None:
    out = merged(without=[without])
    assert out.get(field) == expected
    assert {key: value for key, value in out.items() if key != field} == {k: v for k, v in BASE.items() if k != field}


def test_without_comes_before_the_override() -> None:
    out = merged(without=["env", "autoscaling"], env=[{"name": "ONLY", "value": "1"}], replicas=3)
    assert out["env"] == [{"name": "ONLY", "value": "1"}]
    assert out["replicas"] == 3


@pytest.mark.parametrize(
    ("override", "said"),
    [
        (
            {"without": ["autoscalling"]},
            "here.without: 'autoscalling': there is no field 'autoscalling'; write one of activeDeadline",
        ),
        ({"without": ["env.NOPE"]}, "here.without: 'env.NOPE': it isn't there; there is A, B.C, S"),
        ({"without": ["sidecars.x"]}, "the component has no sidecars; take the entry out"),
        ({"without": ["routes./x"]}, "there is /, /admin, b.example.com/"),
        ({"without": ["dependsOn.x"]}, "there is cache, db"),
        ({"without": ["name"]}, "a component keeps its name"),
        ({"without": ["image.tag"]}, "there is nothing inside to leave out"),
        ({"name": "other"}, "here.name: a component keeps its name in every environment"),
        ({"replicas": 2}, "write replicas or autoscaling, not both"),
        ({"nope": 1}, "here.nope: is not a field"),
        (
            {"env": [{"name": "A", "value": "1", "valueFrom": {"fieldRef": {"fieldPath": "x"}}}]},
            "write value or valueFrom, not both",
        ),
        ({"ports": [{"name": "http", "port": 99999}]}, "here.ports[http].port"),
        ({"autoscaling": {"max": 1}}, "max must be at least min"),
    ],
)
def test_what_is_said(override: dict[str, Any], said: str) -> None:
    assert said in problem(**override)


def test_problems_name_environment_and_component() -> None:
    spec = {
        "version": "1.0.0",
        "components": [{"name": "web", "type": "worker", "image": "x"}],
        "environments": [{"name": "production", "overrides": {"web": {"without": ["image"]}}}],
    }
    app = application(spec)
    said = r"spec[.]environments\[production\][.]overrides\[web\]: write exactly one of image and catalog"
    with pytest.raises(InvalidSpec, match=said):
        render.check(app.spec)
    with pytest.raises(InvalidSpec, match=said):
        render.components(app, "production")
    assert render.components(app, "staging") == app.spec.components


def test_the_base_stays_as_it_is() -> None:
    component = Component.model_validate(BASE)
    before = component.model_dump()
    overrides.overridden(component, {"without": ["env.A"], "labels": {"x": "y"}}, "here")
    assert component.model_dump() == before
