"""An Environment in another cluster: two control planes, one operator."""

from __future__ import annotations

import asyncio
import base64
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from api_server import ApiServer, eventually
from localplane.commands import install
from localplane.controlplane import ControlPlane
from localplane.kubectl import Kubectl
from operators import Operator

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with ControlPlane(tmp_path_factory.mktemp("other"), ephemeral=True) as plane:
        yield plane


def inline(kubeconfig: Path) -> str:
    """The kubeconfig with everything in it, as a Secret must have it."""
    content = yaml.safe_load(kubeconfig.read_text())
    for section, kind in (("clusters", "cluster"), ("users", "user")):
        for entry in content[section]:
            for field in ("certificate-authority", "client-certificate", "client-key"):
                path = entry[kind].pop(field, None)
                if path is not None:
                    data = (kubeconfig.parent / path).read_bytes()
                    entry[kind][f"{field}-data"] = base64.b64encode(data).decode()
    return yaml.safe_dump(content)


def manifests(name: str, kubeconfig: str) -> list[dict[str, Any]]:
    ours = {"apiVersion": "homeport.dev/v1alpha1"}
    meta = {"namespace": name}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}},
        {**ours, "kind": "Project", "metadata": {"name": name, **meta}, "spec": {}},
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "eu-west", **meta},
            "stringData": {"kubeconfig": kubeconfig},
        },
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "token", **meta}, "stringData": {"token": "t"}},
        {
            **ours,
            "kind": "Environment",
            "metadata": {"name": "far", **meta},
            "spec": {
                "kubernetes": {"kubeconfigSecretRef": {"name": "eu-west", "key": "kubeconfig"}},
                "secrets": [{"name": "token"}],
            },
        },
        {
            **ours,
            "kind": "Application",
            "metadata": {"name": "shop", **meta},
            "spec": {
                "version": "1.0.0",
                "components": [
                    {
                        "name": "web",
                        "image": "nginx",
                        "ports": [{"name": "http", "port": 8080}],
                        "env": [{"name": "T", "valueFrom": {"secretKeyRef": {"name": "token", "key": "token"}}}],
                    }
                ],
            },
        },
    ]


def ready(api: ApiServer, manifest: dict[str, Any]) -> tuple[str, str]:
    found = api.get(manifest).get("status", {}).get("conditions", [])
    return next(((c["status"], c["message"]) for c in found if c["type"] == "Ready"), ("", ""))


def test_an_application_runs_in_another_cluster_and_leaves_it_clean(
    control_plane: Any, operator: Operator, other: ControlPlane
) -> None:
    here, there = ApiServer(str(control_plane.kubeconfig)), ApiServer(str(other.kubeconfig))
    objects = manifests("far-shop", inline(other.kubeconfig))
    for manifest in objects:
        here.apply(manifest)
    environment, application = objects[-2:]
    eventually(lambda: ready(here, application)[0] == "True", "the application is Ready", 60)
    path = "/apis/apps/v1/namespaces/far-shop-far/deployments/web"
    assert there.call("GET", path)["status"]["availableReplicas"] == 1
    assert there.call("GET", "/api/v1/namespaces/far-shop-far/secrets/token")["data"] == {"token": "dA=="}
    with pytest.raises(Exception, match="not found"):
        here.call("GET", path)

    there.call("PATCH", path, {"spec": {"replicas": 3}}, "application/merge-patch+json")
    eventually(lambda: there.call("GET", path)["spec"]["replicas"] == 1, "drift is mended there")
    here.delete(application)
    here.delete(environment)
    eventually(lambda: _gone(there, "/api/v1/namespaces/far-shop-far"), "the namespace is gone there", 60)


def test_a_kubeconfig_that_runs_programs_is_refused(control_plane: Any, operator: Operator) -> None:
    here = ApiServer(str(control_plane.kubeconfig))
    content = yaml.safe_dump(
        {
            "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
            "users": [{"name": "u", "user": {"exec": {"command": "sh"}}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
    )
    objects = manifests("far-exec", content)
    for manifest in objects:
        here.apply(manifest)
    environment = objects[-2]
    eventually(lambda: "exec" in ready(here, environment)[1], "the environment says that exec is refused")
    status = here.get(environment)["status"]
    assert {c["type"]: c["reason"] for c in status["conditions"]}["Stalled"] == "InvalidSpec"


def test_a_homeport_that_runs_in_the_other_cluster_leaves_its_objects_alone(
    control_plane: Any, operator: Operator, other: ControlPlane, tmp_path: Path
) -> None:
    here, there = ApiServer(str(control_plane.kubeconfig)), ApiServer(str(other.kubeconfig))
    objects = manifests("far-twin", inline(other.kubeconfig))
    for manifest in objects:
        here.apply(manifest)
    eventually(lambda: ready(here, objects[-1])[0] == "True", "the application is Ready", 60)
    path = "/apis/apps/v1/namespaces/far-twin-far/deployments/web"
    made = there.call("GET", path)["metadata"]
    plane = here.call("GET", "/api/v1/namespaces/kube-system")["metadata"]["uid"]
    assert made["labels"]["homeport.dev/control-plane"] == plane

    install(Kubectl(other.kubectl, str(other.kubeconfig)))
    resident = Operator(other.kubeconfig, tmp_path / "operator.log")
    resident.start()
    try:
        asyncio.run(resident.wait_leading())
        # The same names there, for a project of that cluster's own.
        namesakes = manifests("far-twin", "")
        del namesakes[2], namesakes[-2]["spec"]["kubernetes"]
        for manifest in namesakes:
            there.apply(manifest)
        eventually(lambda: ready(there, namesakes[-2])[0] == "False", "the resident looked at its environment", 60)
        assert f"far-twin of another control plane ({plane})" in ready(there, namesakes[-2])[1]
        there.delete(namesakes[-1])
        eventually(lambda: _gone(there, _path(namesakes[-1])), "the resident let go of its application")
        assert there.call("GET", path)["metadata"]["uid"] == made["uid"]
        assert ready(here, objects[-1])[0] == "True"
    finally:
        resident.kill(signal.SIGTERM)


def test_a_cluster_that_falls_silent_is_told_of_and_nothing_in_it_is_lost(
    control_plane: Any, operator: Operator, other: ControlPlane
) -> None:
    here, there = ApiServer(str(control_plane.kubeconfig)), ApiServer(str(other.kubeconfig))
    objects = manifests("far-silent", inline(other.kubeconfig))
    for manifest in objects:
        here.apply(manifest)
    eventually(lambda: ready(here, objects[-1])[0] == "True", "the application is Ready", 60)
    path = "/apis/apps/v1/namespaces/far-silent-far/deployments/web"
    made = there.call("GET", path)["metadata"]["uid"]
    # Stopped, not ended: its connections stay open, and no watch breaks.
    other.pause_component("kube-apiserver")
    try:
        eventually(lambda: "no answer" in ready(here, objects[-1])[1], "the application says so", 120)
        assert ready(here, objects[-1])[0] == ready(here, objects[-2])[0] == "False"
        assert here.get(objects[-1])["status"]["inventory"]["entries"]
    finally:
        other.resume_component("kube-apiserver")
    eventually(lambda: ready(here, objects[-1])[0] == "True", "the application is Ready again", 120)
    assert there.call("GET", path)["metadata"]["uid"] == made


def _path(manifest: dict[str, Any]) -> str:
    metadata = manifest["metadata"]
    return f"/apis/homeport.dev/v1alpha1/namespaces/{metadata['namespace']}/applications/{metadata['name']}"


def _gone(api: ApiServer, path: str) -> bool:
    try:
        api.call("GET", path)
    except Exception as error:
        return "not found" in str(error)
    return False
