"""LXCContainers and what their host gives them, on the stand-in with the whole operator: the least role, and what many
share."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from homeport.drivers.kubernetes import types
from homeport.plan.proxmox.privileges import Need, Use, needs, roles
from localpve.lab import TOKEN
from localpve.networks import bridge
from memory_world import Killed
from proxmox_inside import HOST, Lab, LabRunning

PROJECT = {"name": "homelab", "vmidRange": {"min": 2000, "max": 2199}, "storages": ["local-lvm"], "bridges": ["vmbr0"]}
FETCHED = {"name": "alpine-3.22", "storage": "local", "nodes": ["pve1"]}
NEEDS = needs([Use(storages=["local-lvm"], bridges=["vmbr0"])], ["local"])


def granted(without: Need | None = None) -> list[tuple[str, set[str]]]:
    """What ``homeport proxmox role`` grants, one privilege on one path taken away."""
    made, grants = roles(NEEDS)
    held = [(path, {name for role in names for name in made[role]}) for path, names in grants]
    lost = (without.path, without.privilege) if without else None
    return [(path, {name for name in names if (path, name) != lost}) for path, names in held]


def container(name: str = "db", **spec: Any) -> dict[str, Any]:
    base = {
        "hostRef": {"name": HOST},
        "template": "alpine",
        "node": "pve1",
        "memory": "512Mi",
        "rootfs": {"storage": "local-lvm", "size": "8Gi"},
        "mounts": [
            {"name": "data", "path": "/data", "storage": "local-lvm", "size": "1Gi", "deletionPolicy": "Delete"}
        ],
        "networks": [{"name": "eth0", "bridge": "vmbr0", "address": "10.20.0.10/24"}],
        "features": {"nesting": True},
        "deletionPolicy": "Delete",
    }
    merged = {key: value for key, value in {**base, **spec}.items() if value is not None}
    metadata = {"name": name, "namespace": "homelab"}
    return {"apiVersion": "homeport.dev/v1alpha1", "kind": "LXCContainer", "metadata": metadata, "spec": merged}


class Life:
    """A host whose token holds no more than it is given, and a container on it."""

    def __init__(self) -> None:
        self.world = Lab()

    async def start(self) -> LabRunning:
        await self.world.furnish([PROJECT])
        await self.set_host(templates=[FETCHED])
        return await self.world.operator()

    async def set_host(self, **fields: Any) -> None:
        found = await self.world.client.get(types.PROXMOX_HOST, None, HOST)
        assert found is not None
        spec = {**found["spec"], **fields}
        await self.world.apply([{**found, "metadata": {"name": HOST}, "spec": spec}])

    def hold(self, grants: list[tuple[str, set[str]]]) -> None:
        self.world.pve.acl = {TOKEN: grants}

    async def said(self) -> str:
        """The Ready messages of host and container, and what the host lacks."""
        out: list[str] = []
        for gvk, namespace, name in ((types.PROXMOX_HOST, None, HOST), (types.LXC_CONTAINER, "homelab", "db")):
            found = await self.world.client.get(gvk, namespace, name)
            for entry in ((found or {}).get("status") or {}).get("conditions") or ():
                if entry["type"] == "Ready" and (entry["status"] != "True" or gvk is types.PROXMOX_HOST):
                    out.append(str(entry["message"]))
        return "\n".join(out)

    async def ready(self) -> bool:
        found = await self.world.client.get(types.LXC_CONTAINER, "homelab", "db")
        conditions = ((found or {}).get("status") or {}).get("conditions") or ()
        return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)

    async def there(self) -> bool:
        return await self.world.client.get(types.LXC_CONTAINER, "homelab", "db") is not None


CHANGED = {
    "memory": "1Gi",
    "cores": 2,
    "description": "changed",
    "rootfs": {"storage": "local-lvm", "size": "9Gi"},
    "networks": [{"name": "eth0", "bridge": "vmbr0", "address": "10.20.0.11/24"}],
}
STEPS = (container(), container(**CHANGED), container(**CHANGED, state="Stopped"))


async def live(life: Life, running: LabRunning) -> str:
    """From its template to its end; what is said where it stops, empty when it gets through."""
    for step in STEPS:
        await life.world.apply([step])
        await running.settle()
        if not await life.ready():
            return await life.said()
    await life.world.client.delete(types.LXC_CONTAINER, "homelab", "db")
    await running.settle()
    return await life.said() if await life.there() else ""


def test_the_role_is_enough_for_a_containers_whole_life() -> None:
    async def run() -> None:
        life = Life()
        life.hold(granted())
        running = await life.start()
        assert await live(life, running) == ""
        assert 2000 not in life.world.containers() and len(life.world.containers()) == 3

    asyncio.run(run())


@pytest.mark.parametrize("need", NEEDS, ids=lambda need: f"{need.privilege} on {need.path}")
def test_without_any_of_it_the_life_stops_and_the_privilege_is_named(need: Need) -> None:
    async def run() -> None:
        life = Life()
        # What is refused is tried again each 30 s.
        life.world.quiet = 25.0
        life.hold(granted(need))
        running = await life.start()
        said = await live(life, running)
        if need.privilege == "SDN.Use":
            # A bridge that may not be used isn't listed; the privilege is in the host's status.permissions.
            assert "it has no bridge vmbr0 that the token may use" in said
        else:
            assert need.privilege in said, said
        # Given back, it goes on by itself.
        life.hold(granted())
        await annotate(life, "again")
        await running.settle(quiet=120.0)
        assert await live(life, running) == ""

    asyncio.run(run())


async def annotate(life: Life, token: str) -> None:
    """Ask host and container to be looked at, as a person would who has mended something."""
    for gvk, namespace, name in ((types.PROXMOX_HOST, None, HOST), (types.LXC_CONTAINER, "homelab", "db")):
        if await life.world.client.get(gvk, namespace, name) is not None:
            patch = {"metadata": {"annotations": {"homeport.dev/reconcile-at": token}}}
            await life.world.client.patch(gvk, namespace, name, patch)


async def fetch(kill_at: tuple[int, bool] | None) -> tuple[Life, list[str]]:
    """A template is fetched by an operator that is killed at one of its writes, and by the next; all its writes."""
    life = Life()
    running = await life.start()
    running.gate.kill_at = kill_at
    try:
        await running.settle()
    except Killed:
        await running.stop()
        running = await life.world.operator()
        await running.settle()
    writes = list(running.gate.writes)
    await running.stop()
    return life, writes


def test_a_template_is_fetched_once_wherever_the_operator_is_killed() -> None:
    async def run() -> None:
        _, writes = await fetch(None)
        assert sum(write.startswith("POST /nodes/pve1/aplinfo") for write in writes) == 1
        for number in range(len(writes)):
            for done in (False, True):
                life, _ = await fetch((number, done))
                pve, what = life.world.pve, f"killed at {writes[number]}, {'done' if done else 'not done'}"
                assert pve.begun()["download", "alpine-3.22-default_20250617_amd64.tar.xz"] == 1, what
                found = await life.world.client.get(types.PROXMOX_HOST, None, HOST)
                assert found is not None and not found["status"].get("downloads"), what
                assert "alpine-3.22" in str(found["status"]["templates"]), what

    asyncio.run(run())


# --- what many share ------------------------------------------------------------------------------------------------


ENVIRONMENT = {
    "apiVersion": "homeport.dev/v1alpha1",
    "kind": "Environment",
    "metadata": {"name": "lab", "namespace": "homelab"},
    "spec": {
        "runtime": "Proxmox",
        "isolation": "Open",
        "proxmox": {
            "hostRef": {"name": HOST},
            "storage": "local-lvm",
            "template": "debian-12",
            "network": {"bridge": "vmbr0", "cidr": "10.20.0.0/24", "gateway": "10.20.0.1"},
            "vmidRange": {"min": 2000, "max": 2029},
        },
    },
}


def member(name: str) -> dict[str, Any]:
    spec = {"environmentRef": {"name": "lab"}, "memory": "64Mi", "rootfs": {"size": "1Gi"}, "deletionPolicy": "Delete"}
    metadata = {"name": name, "namespace": "homelab"}
    return {"apiVersion": "homeport.dev/v1alpha1", "kind": "LXCContainer", "metadata": metadata, "spec": spec}


async def statuses(world: Lab) -> dict[str, dict[str, Any]]:
    items, _ = await world.client.list(types.LXC_CONTAINER, "homelab")
    return {item["metadata"]["name"]: item.get("status") or {} for item in items}


def test_thirty_at_once_get_thirty_of_everything_and_the_next_waits_for_one_to_go() -> None:
    async def run() -> None:
        world = Lab()
        world.pve.ct(101).config["net0"] = "name=eth0,bridge=vmbr0,ip=10.20.0.2/24"
        world.pve.bridges["pve2"]["vmbr0"] = bridge("vmbr0", ports="eno1")
        await world.furnish([PROJECT])
        await world.apply([ENVIRONMENT, *(member(f"c{number:02}") for number in range(31))])
        running = await world.operator()
        await running.settle()
        found = await statuses(world)
        made = {name: status for name, status in found.items() if status.get("created")}
        assert len(made) == 30
        assert sorted(status["vmid"] for status in made.values()) == list(range(2000, 2030))
        given = [status["networks"][0]["address"] for status in made.values()]
        assert len(set(given)) == 30 and not {"10.20.0.1/24", "10.20.0.2/24"} & set(given)
        # Both nodes are used, by the memory that is left there.
        assert set(Counter(status["node"] for status in made.values())) == {"pve1", "pve2"}
        (late,) = found.keys() - made.keys()
        message = next(one["message"] for one in found[late]["conditions"] if one["type"] == "Ready")
        assert message.startswith("no VMID is left in 2000-2029: of 30, "), message
        gone = min(made)
        await world.client.delete(types.LXC_CONTAINER, "homelab", gone)
        await running.settle()
        found = await statuses(world)
        assert gone not in found and found[late]["created"] and found[late]["vmid"] == made[gone]["vmid"]
        assert len({status["networks"][0]["address"] for status in found.values()}) == 30
        assert len(world.containers()) == 33

    asyncio.run(run())


def test_another_connection_is_worth_no_word_from_those_who_use_it() -> None:
    async def run() -> None:
        life = Life()
        running = await life.start()
        await life.world.apply([container(mounts=None)])
        await running.settle()
        assert await life.ready()
        running.gate.writes.clear()
        lines = len(running.lines)
        await life.set_host(limits={"concurrentTasks": 2})
        await running.settle()
        assert len(running.lines) == lines + 1 and await life.ready()
        assert [write for write in running.gate.writes if "LXCContainer" in write] == []

    asyncio.run(run())


def test_what_is_not_granted_any_more_is_said_and_stays() -> None:
    async def run() -> None:
        life = Life()
        running = await life.start()
        await life.world.apply([container(mounts=None)])
        await running.settle()
        before = life.world.containers()
        await life.set_host(projects=[{**PROJECT, "storages": ["other"], "nodes": ["pve2"]}])
        await running.settle()
        said = await life.said()
        assert "node pve1 isn't among those that ProxmoxHost lab gives project homelab (pve2)" in said
        assert "storage local-lvm isn't among those" in said
        await life.set_host(projects=None)
        await running.settle()
        assert "ProxmoxHost lab doesn't list project homelab" in await life.said()
        assert life.world.containers() == before

    asyncio.run(run())


def test_the_template_is_the_newest_of_its_name() -> None:
    async def run() -> None:
        world = Lab()
        world.pve.store_file("local", "debian-12-standard_12.12-1_amd64.tar.zst", 2**20, "vztmpl")
        await world.furnish([PROJECT])
        await world.apply([ENVIRONMENT, member("db")])
        running = await world.operator()
        await running.settle()
        status = (await statuses(world))["db"]
        assert status["template"] == "local:vztmpl/debian-12-standard_12.12-1_amd64.tar.zst"

    asyncio.run(run())
