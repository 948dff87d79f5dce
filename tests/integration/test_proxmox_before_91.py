"""Agent delivery on Proxmox VE 8.4, whole: the real operator, a real API server, and the stand-in as that version.

There are no images and no environments there: what runs is a flattened root filesystem, and who it is comes in by its
hostname (decision 018). What runs in the containers is simulated, as in ``test_proxmox_application``.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from homes import Manifest, eventually, written
from lab_host import LabHost, operated
from test_proxmox_application import PATIENCE, System, all_ready

from api_server import ApiServer
from homeport.plan.agent import hostclaim
from localplane.controlplane import ControlPlane
from localplane.pveproc import Proxmox
from manifests import ROOT, load_all

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]


class Host:
    """What the stand-in says of itself."""

    def __init__(self, proxmox: Proxmox) -> None:
        self._proxmox = proxmox

    def get(self, path: str) -> Any:
        return self._call("GET", path)

    def post(self, path: str) -> Any:
        return self._call("POST", path)

    def _call(self, method: str, path: str) -> Any:
        token = self._proxmox.token
        session = requests.Session()
        session.verify, session.trust_env = False, False
        session.headers["Authorization"] = f"PVEAPIToken={token['tokenId']}={token['tokenSecret']}"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            answer = session.request(method, f"{self._proxmox.url}/api2/json{path}", timeout=30)
        assert answer.ok, answer.text
        return answer.json()["data"]


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> LabHost:
    return LabHost(tmp_path_factory.mktemp("old"), "8.4.1")


@pytest.fixture(scope="module")
def plane(host: LabHost, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane with that host, and the operator."""
    with operated(host, tmp_path_factory.mktemp("operated")) as plane:
        yield plane


@pytest.fixture(scope="module")
def taskflow(plane: ControlPlane) -> System:
    """The example that has an environment on each runtime, Ready."""
    out = System(ApiServer(str(plane.kubeconfig)), "taskflow")
    for _, manifest in load_all(ROOT / "examples" / out.name):
        out.apply(manifest)
    eventually(lambda: all_ready({"taskflow": out}), "it is Ready", PATIENCE, between=0.5)
    return out


def of(taskflow: System) -> Manifest:
    return dict(taskflow.containers()["web-0"]["status"])


def test_software_gets_in_without_images_and_environments(taskflow: System, host: LabHost) -> None:
    status, asked = of(taskflow), Host(host.proxmox)
    assert asked.get("/version")["version"] == "8.4.1"
    config = asked.get(f"/nodes/{status['node']}/lxc/{status['vmid']}/config")
    assert config["ostype"] == "unmanaged" and not {"env", "entrypoint"} & config.keys()
    assert status["software"]["agent"] == "Connected" and status["state"] == "Running"


def test_its_hostname_is_its_own_once_it_has_said_who_it_is(taskflow: System, host: LabHost) -> None:
    status = of(taskflow)
    config = Host(host.proxmox).get(f"/nodes/{status['node']}/lxc/{status['vmid']}/config")
    assert not hostclaim.is_claim(config["hostname"]), "a claim that was used is taken off"
    assert config["hostname"] == "web-0"
    told = str(taskflow.list("LXCContainer", taskflow.place("lab")))
    assert "hp" + "a" * 8 not in told and config["hostname"] in told


def test_it_is_known_again_when_it_was_started_anew(taskflow: System, host: LabHost) -> None:
    before = of(taskflow)
    Host(host.proxmox).post(f"/nodes/{before['node']}/lxc/{before['vmid']}/status/reboot")

    def back() -> bool:
        all_ready({"taskflow": taskflow})
        now = of(taskflow).get("software") or {}
        return now.get("startedAt") not in (None, before["software"]["startedAt"]) and now["agent"] == "Connected"

    eventually(back, "it runs again, and is known by what its init keeps", PATIENCE, between=0.5)
    assert of(taskflow)["vmid"] == before["vmid"]


def test_another_image_is_another_root_disk_there_too(taskflow: System) -> None:
    before = of(taskflow)
    taskflow.set("Application", "taskflow", version="1.1.0")

    def replaced() -> bool:
        all_ready({"taskflow": taskflow})
        status = of(taskflow)
        return bool(status["software"]["image"] == "taskflow:1.1.0" and status["vmid"] != before["vmid"])

    eventually(replaced, "the container is another one", PATIENCE, between=0.5)
    assert of(taskflow)["addresses"] == before["addresses"]


def test_nothing_is_written_in_a_steady_state(taskflow: System, plane: ControlPlane) -> None:
    taskflow.settled("Application", "taskflow")
    taskflow.settled("Environment", "lab")

    def quiet() -> bool:
        offset = plane.audit_log.stat().st_size
        time.sleep(12)  # more than the host's interval of 10 s
        found = written(plane.audit_log, offset, [taskflow.place("lab"), "taskflow"])
        assert found == {}, found
        return True

    eventually(quiet, "nothing is written for an interval of the host's", PATIENCE)
