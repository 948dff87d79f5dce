"""Applications on Proxmox VE, whole: the real operator, a real API server, the stand-in for a host with its guests that
speak the agents' protocol, and a registry. What runs in the containers is simulated; all else is as on a host."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from homes import Home, Live, Manifest, eventually, told, written
from lab_host import LabHost, operated

from api_server import ApiServer
from localplane.controlplane import ControlPlane
from manifests import ROOT, load_all

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

PATIENCE = 150.0
NAMES = ("catalog", "taskflow")


class System(Home):
    """One of the examples, in the namespaces that it names."""

    def __init__(self, api: ApiServer, name: str) -> None:
        Live.__init__(self, api)
        self.name = name

    def containers(self, environment: str = "lab") -> dict[str, Manifest]:
        found = self.list("LXCContainer", self.place(environment))
        return {item["metadata"]["name"]: item for item in found if not item["metadata"].get("deletionTimestamp")}


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane with a host, and the operator."""
    with operated(LabHost(tmp_path_factory.mktemp("lab")), tmp_path_factory.mktemp("operated")) as plane:
        yield plane


@pytest.fixture(scope="module")
def systems(plane: ControlPlane) -> Iterator[dict[str, System]]:
    """Two examples that have an environment on each runtime, Ready."""
    server = ApiServer(str(plane.kubeconfig))
    out = {name: System(server, name) for name in NAMES}
    for name, system in out.items():
        for _, manifest in load_all(ROOT / "examples" / name):
            system.apply(manifest)
    eventually(lambda: all_ready(out), "both are Ready", PATIENCE, between=0.5)
    yield out


def all_ready(systems: dict[str, System]) -> bool:
    """True; an AssertionError says what isn't Ready at its current generation, and why."""
    for system in systems.values():
        for kind in ("Environment", "Application", "Project"):
            for body in system.list(kind, system.name):
                current = body["status"].get("observedGeneration") == body["metadata"]["generation"]
                assert current and told(body)[0] == "True", (kind, body["metadata"]["name"], told(body))
    return True


def test_one_manifest_runs_on_both_runtimes(systems: dict[str, System]) -> None:
    assert systems["taskflow"].containers().keys() == {"web-0"}
    assert systems["catalog"].containers().keys() == {"web-0", "db-0", "cache-0"}
    (state,) = [
        state
        for state in systems["catalog"].mine("Application", "trio")["status"]["environments"]
        if state["name"] == "lab"
    ]
    assert state["ready"] and state["url"] == "http://lab.catalog.local"
    pods = systems["catalog"].names("Deployment", systems["catalog"].place("pods"))
    assert pods == {"web"}, "and the same components are Pods in the other environment"


def test_a_containers_software_runs_and_is_reached(systems: dict[str, System]) -> None:
    catalog = systems["catalog"]
    for name, container in catalog.containers().items():
        status = container["status"]
        assert status["state"] == "Running" and status["software"]["agent"] == "Connected", name
        component = name.rpartition("-")[0]
        endpoints = catalog.get("EndpointSlice", catalog.place("lab"), component).get("endpoints")
        assert endpoints, status
        (endpoint,) = endpoints
        assert endpoint["addresses"] == [status["addresses"][0]]
        assert endpoint["conditions"]["ready"] is True
    assert "selector" not in catalog.get("Service", catalog.place("lab"), "web")["spec"]


def test_nothing_is_written_once_all_is_as_wanted(systems: dict[str, System], plane: ControlPlane) -> None:
    offset = plane.audit_log.stat().st_size
    places = []
    for system in systems.values():
        places.append(system.place("lab"))
        system.settled("Environment", "lab")
        for name in system.names("Application", system.name):
            system.settled("Application", name)
    assert written(plane.audit_log, offset, places) == {}


def together(**worker: Any) -> Manifest:
    """An Application whose components share a container."""
    web = {"name": "front", "image": "taskflow", "ports": [{"name": "http", "port": 8090}], "dependsOn": ["mail"]}
    mail = {"name": "mail", "type": "worker", "image": "taskflow", "command": ["mail"], **worker}
    digest = {"name": "digest", "type": "cron", "image": "taskflow", "schedule": "0 3 * * *"}
    return {
        "apiVersion": "homeport.dev/v1alpha1",
        "kind": "Application",
        "metadata": {"name": "board", "namespace": "taskflow"},
        "spec": {
            "version": "1.0.0",
            "placement": "Together",
            "environments": [{"name": "lab"}],
            "components": [web, mail, digest],
        },
    }


def test_components_that_are_placed_together_are_processes_of_one_container(systems: dict[str, System]) -> None:
    taskflow = systems["taskflow"]
    taskflow.apply(together())
    eventually(lambda: all_ready({"taskflow": taskflow}), "it is Ready", PATIENCE, between=0.5)
    assert taskflow.containers().keys() == {"web-0", "board-0"}
    (state,) = taskflow.mine("Application", "board")["status"]["environments"]
    assert {part["name"]: (part["ready"], part["desired"]) for part in state["components"]} == {
        "front": (1, 1), "mail": (1, 1), "digest": (1, 1),
    }  # fmt: skip
    status = taskflow.containers()["board-0"]["status"]
    assert {one["name"]: one["ready"] for one in status["software"]["processes"]} == {
        "front": True, "mail": True, "digest": True,
    }  # fmt: skip
    (endpoint,) = taskflow.get("EndpointSlice", taskflow.place("lab"), "front")["endpoints"]
    assert endpoint["addresses"] == [status["addresses"][0]] and endpoint["conditions"]["ready"] is True
    taskflow.apply(together(env=[{"name": "LEVEL", "value": "2"}]))
    eventually(lambda: all_ready({"taskflow": taskflow}), "it is Ready again", PATIENCE, between=0.5)
    after = taskflow.containers()["board-0"]["status"]
    assert after["vmid"] == status["vmid"], "a change of one process is no new container"
    taskflow.delete("Application", "taskflow", "board")
    taskflow.gone("Application", "taskflow", "board", PATIENCE)
    eventually(lambda: taskflow.containers().keys() == {"web-0"}, "its container is gone", PATIENCE)


def test_another_image_is_another_root_disk_with_the_same_data(systems: dict[str, System]) -> None:
    taskflow = systems["taskflow"]
    before = taskflow.containers()["web-0"]["status"]
    taskflow.set("Application", "taskflow", version="1.1.0")
    after: dict[str, Any] = {}

    def replaced() -> bool:
        all_ready({"taskflow": taskflow})
        after.update(taskflow.containers()["web-0"]["status"])
        return bool(after["software"]["image"] == "taskflow:1.1.0" and after["vmid"] != before["vmid"])

    eventually(replaced, "the container is another one", PATIENCE, between=0.5)
    assert after["addresses"] == before["addresses"], "siblings and Services needn't notice"
    assert [mount["name"] for mount in after["mounts"]] == [mount["name"] for mount in before["mounts"]]


def test_an_application_leaves_its_data_stopped(systems: dict[str, System]) -> None:
    catalog = systems["catalog"]
    catalog.delete("Application", catalog.name, "trio")
    catalog.gone("Application", catalog.name, "trio", PATIENCE)
    found = catalog.containers()
    assert found.keys() == {"db-0", "cache-0"}

    def stopped() -> bool:
        return all(body["status"]["state"] == "Stopped" for body in catalog.containers().values())

    eventually(stopped, "what holds data is stopped", PATIENCE)
