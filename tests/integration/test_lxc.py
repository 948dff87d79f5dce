"""LXCContainers on the real API server, by an operator in a process of its own, on the stand-in over HTTPS."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from homes import V1ALPHA1, condition, eventually, told
from test_proxmox_host import Lab

from api_server import ApiServer, RefusedError
from operators import Operator
from proxmox_world import TEMPLATE, ProxmoxWorld

pytestmark = pytest.mark.integration

VOLUME = f"local:vztmpl/{TEMPLATE}"


class Containers(Lab):
    """A host, and a project that may use it."""

    def furnish(self) -> None:
        use = {"name": self.name, "vmidRange": {"min": 2000, "max": 2099}, "allowAdopt": True}
        self.apply(
            {"apiVersion": V1ALPHA1, "kind": "Project", "metadata": {"name": self.name, "namespace": self.name},
             "spec": {}}
        )  # fmt: skip
        self.start(projects=[use])

    def want(self, name: str = "pihole", annotations: dict[str, str] | None = None, **spec: Any) -> None:
        """Apply a container."""
        base = {
            "hostRef": {"name": self.name},
            "template": VOLUME,
            "memory": "512Mi",
            "rootfs": {"storage": "local-lvm", "size": "8Gi"},
            "networks": [{"name": "eth0", "bridge": "vmbr0", "address": "10.20.0.10/24", "gateway": "10.20.0.1"}],
            "deletionPolicy": "Delete",
        }
        self.apply(
            {
                "apiVersion": V1ALPHA1,
                "kind": "LXCContainer",
                "metadata": {"name": name, "namespace": self.name, "annotations": annotations or {}},
                "spec": {key: value for key, value in {**base, **spec}.items() if value is not None},
            }
        )

    def then(self, ready: str, reason: str = "", message: str = "", name: str = "pihole") -> dict[str, Any]:
        """The container once Ready is so, for its present generation."""

        def check() -> dict[str, Any] | None:
            body = self.get("LXCContainer", self.name, name)
            seen = told(body)
            current = body["status"].get("observedGeneration") == body["metadata"]["generation"]
            assert current and seen[0] == ready and reason in seen[1] and message in seen[2], seen
            return body

        found: dict[str, Any] = eventually(check, f"{name} is {ready} {reason} {message}", seconds=60)
        return found

    def ct(self, vmid: int) -> Any:
        """A container on the host; None when there is none."""
        return self.pve.call(lambda: next((ct for ct in self.pve.pve.cts if ct.vmid == vmid), None))

    def vmids(self) -> set[int]:
        """All of them."""
        return self.pve.call(lambda: {ct.vmid for ct in self.pve.pve.cts})

    def away(self, name: str = "pihole") -> None:
        """Delete it, and wait until it is gone."""
        self.delete("LXCContainer", self.name, name)
        eventually(lambda: self.find("LXCContainer", self.name, name) is None, f"{name} is gone", seconds=60)

    def clear(self) -> None:
        for body in self.list("LXCContainer", self.name):
            self.pve.heal()
            confirm = {"homeport.dev/confirm-delete": body["metadata"]["name"]}
            patch = {"metadata": {"annotations": confirm}, "spec": {"deletionPolicy": "Retain"}}
            self.patch("LXCContainer", self.name, body["metadata"]["name"], patch)
            self.away(body["metadata"]["name"])


@pytest.fixture
def place(server: ApiServer, operator: Operator, tmp_path: Path) -> Iterator[Containers]:
    pve = ProxmoxWorld(tmp_path)
    found = Containers(server, pve)
    found.furnish()
    yield found
    found.clear()
    found.delete("ProxmoxHost", None, found.name)
    eventually(lambda: found.find("ProxmoxHost", None, found.name) is None, "the host is gone")
    found.patch("Project", found.name, found.name, {"spec": {"archived": True}})
    project = lambda: found.get("Project", found.name, found.name)  # noqa: E731
    eventually(lambda: condition(project(), "Archived").get("status") == "True", "the project is archived")
    found.delete("Namespace", None, found.name)
    pve.stop()


def test_made_changed_reached_and_removed(place: Containers) -> None:
    place.want(service={"ports": [{"name": "dns", "port": 53, "protocol": "UDP"}]})
    body = place.then("True", message="running as 2000")
    assert body["status"]["address"] == "10.20.0.10" and place.ct(2000).status == "running"
    slices = eventually(lambda: place.find("EndpointSlice", place.name, "pihole"), "the slice is there")
    assert slices["endpoints"][0]["addresses"] == ["10.20.0.10"]
    assert place.get("Service", place.name, "pihole")["spec"].get("selector") is None
    mac = place.ct(2000).config["net0"]
    place.want(memory="1Gi", service={"ports": [{"name": "dns", "port": 53, "protocol": "UDP"}]})
    place.then("True")
    eventually(lambda: place.ct(2000).config["memory"] == 1024, "the memory has changed")
    assert place.ct(2000).config["net0"] == mac
    with pytest.raises(RefusedError, match="deleting the LXCContainer pihole deletes data"):
        place.delete("LXCContainer", place.name, "pihole")
    confirm = {"metadata": {"annotations": {"homeport.dev/confirm-delete": "pihole"}}}
    place.patch("LXCContainer", place.name, "pihole", confirm)
    place.away()
    assert place.vmids() == {100, 101, 102}
    assert place.find("Service", place.name, "pihole") is None


@pytest.mark.parametrize("answer", ["before", "after"])
def test_an_answer_that_is_lost_makes_no_twin(place: Containers, answer: str) -> None:
    if answer == "after":
        place.pve.lose("POST", "/nodes/pve1/lxc")
    else:
        place.pve.fail("POST", "/nodes/pve1/lxc", 596, "Connection timed out", times=1)
    place.want(node="pve1")
    place.then("True")
    assert place.vmids() == {100, 101, 102, 2000}


@pytest.mark.parametrize(
    ("status", "message", "reason"),
    [
        (500, "CT is locked (backup)", "Locked"),
        (500, "cluster not ready - no quorum?", "NoQuorum"),
        (403, "Permission check failed (/vms/2000, VM.Config.Memory)", "AccessDenied"),
        (500, "CT 2000 - protection mode enabled", "ConfirmationRequired"),
        (595, "No route to host", "Progressing"),
    ],
)
def test_a_refused_change_says_why_and_goes_on(place: Containers, status: int, message: str, reason: str) -> None:
    place.want()
    place.then("True")
    place.pve.fail("PUT", "/nodes/pve1/lxc/2000/config", status, message)
    place.want(memory="1Gi")
    place.then("False", reason)
    place.pve.heal()
    token = uuid.uuid4().hex
    place.want(annotations={"homeport.dev/reconcile-at": token}, memory="1Gi")
    place.then("True")
    assert place.ct(2000).config["memory"] == 1024


def test_a_restart_of_the_operator_follows_the_task(server: ApiServer, operator: Operator, place: Containers) -> None:
    place.pve.call(lambda: place.pve.pve.ct_secs.update(create=6))
    place.pve.call(lambda: setattr(place.pve.pve, "time_scale", 1.0))
    place.want()
    eventually(lambda: place.ct(2000) is not None, "the creation is under way", seconds=30)
    operator.kill()
    operator.start()
    asyncio.run(operator.wait_leading())
    body = place.then("True")
    assert place.vmids() == {100, 101, 102, 2000} and body["status"]["vmid"] == 2000
    creations = [call for call in place.pve.asked() if call == ("POST", "/nodes/pve1/lxc")]
    creations += [call for call in place.pve.asked() if call == ("POST", "/nodes/pve2/lxc")]
    assert len(creations) == 1
