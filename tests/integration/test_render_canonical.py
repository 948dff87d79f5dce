"""What is rendered is what the API server stores: it takes every golden object, and gives back what was declared.

Were it otherwise, the diff would find a change on every reconciliation, for ever.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from api_server import ApiServer, RefusedError
from homeport.plan import render
from homeport.plan.types import Manifest
from unit.render_cases import CASES, application, load, place

pytestmark = pytest.mark.integration

_ELSEWHERE = {"gateway.networking.k8s.io", "monitoring.coreos.com", "traefik.io"}
"""Groups that this API server doesn't serve: test_edge_definitions holds them against their projects' definitions."""
_PLURALS = {"Ingress": "ingresses", "NetworkPolicy": "networkpolicies"}


@pytest.fixture(scope="module")
def api(control_plane: Any) -> ApiServer:
    return ApiServer(control_plane.kubeconfig)


@pytest.fixture
def namespace(api: ApiServer) -> Iterator[str]:
    name = f"render-{uuid.uuid4().hex[:8]}"
    api.call("POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    yield name
    api.call("DELETE", f"/api/v1/namespaces/{name}")


def _apply(api: ApiServer, namespace: str, manifest: Manifest, *, dry: bool) -> Any:
    manifest = {**manifest, "metadata": {**manifest["metadata"], "namespace": namespace}}
    version, kind = manifest["apiVersion"], manifest["kind"]
    root = f"/apis/{version}" if "/" in version else f"/api/{version}"
    path = f"{root}/namespaces/{namespace}/{_PLURALS.get(kind, kind.lower() + 's')}/{manifest['metadata']['name']}"
    options = {"fieldManager": "homeport", "force": "true", "fieldValidation": "Strict"}
    options |= {"dryRun": "All"} if dry else {}
    return api.call("PATCH", path, manifest, "application/apply-patch+yaml", **options)


def _differences(declared: Any, stored: Any, path: str = "") -> Iterator[str]:
    """The declared paths at which something else is stored; lists are compared item by item, in order."""
    if isinstance(declared, dict) and isinstance(stored, dict):
        for key, value in declared.items():
            yield from _differences(value, stored.get(key), f"{path}.{key}")
    elif isinstance(declared, list) and isinstance(stored, list) and len(declared) == len(stored):
        for number, (wanted, found) in enumerate(zip(declared, stored, strict=True)):
            yield from _differences(wanted, found, f"{path}[{number}]")
    elif declared != stored or type(declared) is not type(stored):
        yield f"{path}: declared {declared!r}, stored {stored!r}"


@pytest.mark.parametrize("name", CASES)
def test_what_is_declared_is_what_is_stored(api: ApiServer, namespace: str, name: str) -> None:
    problems = []
    for child in load(name).render():
        if child.manifest["apiVersion"].split("/")[0] in _ELSEWHERE:
            continue
        stored = _apply(api, namespace, child.manifest, dry=True)
        declared = {**child.manifest, "metadata": {**child.manifest["metadata"], "namespace": namespace}}
        problems += [f"{child.id.shown}{problem}" for problem in _differences(declared, stored)]
    assert problems == []


# Each pair is one component before and after. Fields that the API server fills in belong to nobody, so they would stay
# behind when the ones beside them go: what has such a default is declared with it.
_STEPS = {
    "rolling update to recreate": ({}, {"strategy": {"type": "Recreate"}}),
    "recreate to rolling update": ({"strategy": {"type": "Recreate"}}, {}),
    "HTTP probe to TCP": ({"probes": {"liveness": {"path": "/"}}}, {"probes": {"liveness": {"tcp": "http"}}}),
    "TCP probe to a command": ({"probes": {"liveness": {"tcp": 80}}}, {"probes": {"liveness": {"exec": ["true"]}}}),
    "service account to none": ({"serviceAccountName": "web"}, {}),
    "none to service account": ({}, {"serviceAccountName": "web"}),
    "value to source": (
        {"env": [{"name": "A", "value": "1"}]},
        {"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]},
    ),
    "field to secret": (
        {"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]},
        {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "a", "key": "b"}}}]},
    ),
    "resource to config map": (
        {"env": [{"name": "A", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}}]},
        {"env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "a", "key": "b"}}}]},
    ),
    "directory to claim": (
        {"volumes": [{"name": "a", "path": "/a", "ephemeral": True, "size": "1Gi"}]},
        {"volumes": [{"name": "a", "path": "/a", "size": "1Gi"}]},
    ),
    "files to none": (
        {"files": {"/etc/a": "1"}, "secretFiles": [{"path": "/etc/b", "secretRef": {"name": "s", "key": "k"}}]},
        {},
    ),
    "tag to latest": ({"image": "example/web:1"}, {"image": "example/web:latest"}),
    "less, then more": (
        {"resources": {"limits": {"cpu": "2", "memory": "1Gi"}}, "securityContext": {"runAsUser": 5, "fsGroup": 6}},
        {"resources": {"requests": {"memory": "100Mi"}}},
    ),
    "paused, then not": ({"paused": True, "restartAt": "1"}, {}),
    "ports": (
        {"ports": [{"name": "http", "port": 80}, {"name": "b", "port": 81}]},
        {"ports": [{"name": "http", "port": 81}]},
    ),
}


@pytest.mark.parametrize("step", _STEPS)
def test_every_change_applies_and_settles(api: ApiServer, namespace: str, step: str) -> None:
    base = {"name": "web", "image": "example/web", "ports": [{"name": "http", "port": 80}]}
    problems = []
    for differs in _STEPS[step]:
        app = application({"version": "1.0.0", "components": [{**base, **differs}]})
        for child in render.render(app, place(isolation="Open")):
            try:
                stored = _apply(api, namespace, child.manifest, dry=False)
            except RefusedError as error:
                problems.append(f"{child.id.shown}: {error}")
                continue
            declared = {**child.manifest, "metadata": {**child.manifest["metadata"], "namespace": namespace}}
            problems += [f"{child.id.shown}{problem}" for problem in _differences(declared, stored)]
            problems += _left_over(child.manifest, stored)
    assert problems == []


def _left_over(declared: Manifest, stored: Manifest) -> list[str]:
    """What is stored in the Pod template and isn't declared, save what the API server fills in for everybody."""
    if declared["kind"] != "Deployment":
        return []
    wanted, found = declared["spec"]["template"]["spec"], stored["spec"]["template"]["spec"]
    out = [f"left over: {key}" for key in found.keys() - wanted.keys() - _FILLED_IN]
    container = found["containers"][0]
    out += [f"left over: container.{key}" for key in container.keys() - wanted["containers"][0].keys() - _FILLED_IN]
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        out += [f"left over: {probe}.{key}" for key in container.get(probe, {}).keys() & _ways_not_in(wanted, probe)]
    return out


_FILLED_IN = {"dnsPolicy", "restartPolicy", "schedulerName", "terminationGracePeriodSeconds"}
_FILLED_IN |= {"terminationMessagePath", "terminationMessagePolicy"}


def _ways_not_in(pod: Manifest, probe: str) -> set[str]:
    return {"httpGet", "tcpSocket", "exec"} - pod["containers"][0].get(probe, {}).keys()
