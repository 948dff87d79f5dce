"""What LXCContainers never do: take another's container for theirs, show it, or act on what was read long ago."""

from __future__ import annotations

import asyncio
from typing import Any

from test_containers import NAME, Bench, container, lab, ready, status

from homeport.drivers.kubernetes import types
from proxmox_inside import Lab

DATA = [{"name": "data", "path": "/data", "storage": "local-lvm", "size": "4Gi"}]
AS_IT_IS: dict[str, Any] = {"template": None, "memory": None, "rootfs": None, "networks": None}


async def confirm(bench: Bench, value: str) -> None:
    """Set the annotation, and wait."""
    body = {"metadata": {"annotations": {"homeport.dev/confirm-delete": value}}}
    await bench.world.client.patch(types.LXC_CONTAINER, "homelab", NAME, body)
    await bench.running.settle()


def shown(found: dict[str, Any]) -> dict[str, Any]:
    """What a status tells of the container that was found."""
    return {key: found[key] for key in ("drift", "state", "networks", "mounts", "address") if found.get(key)}


def on_the_host(bench: Bench) -> list[str]:
    """What was written to the host since the last time."""
    return [write for write in bench.writes() if "/nodes/" in write]


def test_an_adopted_vmid_that_is_a_strangers_now_is_not_touched() -> None:
    async def run() -> None:
        bench = Bench(*await lab())
        bench.world.pve.add_ct(2050, "gitea", node="pve1", status="running")
        spec = {**AS_IT_IS, "vmid": 2050, "adopt": {"expectHostname": "gitea"}, "deletionPolicy": "Delete"}
        assert ready(await bench.want(**spec))[0] == "True"
        # An administrator destroys it, and makes another one, which gets the lowest free VMID: the same.
        bench.world.pve.cts.remove(bench.ct(2050))
        theirs = {"memory": 8192, "description": "payroll, do not touch"}
        bench.world.pve.add_ct(2050, "payroll", node="pve1", status="running", config=theirs)
        before = bench.world.containers()[2050]
        bench.writes()
        found = await bench.want(**spec, cores=2)
        assert ready(found)[:2] == ("False", "NameTaken") and "has lost the mark" in ready(found)[2], ready(found)
        assert "payroll" not in str(found)
        await bench.gone()
        assert not await bench.there()
        assert bench.world.containers()[2050] == before and on_the_host(bench) == []

    asyncio.run(run())


def test_what_is_adopted_is_marked_before_anything_else() -> None:
    async def run() -> None:
        bench = Bench(*await lab())
        bench.world.pve.add_ct(2050, "gitea", node="pve1", status="running", config={"description": "by hand"})
        bench.writes()
        found = await bench.want(**{**AS_IT_IS, "memory": "1Gi"}, vmid=2050, adopt={"expectHostname": "gitea"})
        assert ready(found)[0] == "True" and found["adopted"], found
        assert on_the_host(bench) == ["PUT /nodes/pve1/lxc/2050/config"] * 2
        assert bench.ct(2050).config["description"].startswith("by hand\n\nhomeport.dev/owner=")

    asyncio.run(run())


def test_a_project_without_leave_is_shown_nothing_of_anothers_container() -> None:
    async def run() -> None:
        bench = Bench(*await lab())
        bench.ct(101).config["description"] = "the password is in the blue folder"
        api = "homeport.dev/v1alpha1"
        project = {"apiVersion": api, "kind": "Project", "metadata": {"name": "evil", "namespace": "evil"}, "spec": {}}
        await bench.world.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "evil"}}, project])
        body = container("spy", vmid=101, managementPolicy="Observe", description="x", memory="17Mi")
        body["metadata"]["namespace"] = "evil"
        await bench.running.settle()
        calls = len(bench.running.calls)
        await bench.world.apply([body])
        await bench.running.settle()
        raw = await bench.world.client.get(types.LXC_CONTAINER, "evil", "spy")
        assert raw is not None
        found = raw["status"]
        assert ready(found)[:2] == ("False", "AccessDenied") and "doesn't list project evil" in ready(found)[2]
        assert shown(found) == {}
        assert not [path for _, path in bench.running.calls[calls:] if "/101/" in path], "it isn't even asked for"

    asyncio.run(run())


def test_who_may_not_adopt_is_shown_nothing_either() -> None:
    async def run() -> None:
        world = Lab()
        await world.furnish([{"name": "homelab"}])
        bench = Bench(world, await world.operator())
        bench.ct(101).config["description"] = "the password is in the blue folder"
        hostname = bench.ct(101).config["hostname"]
        for spec in ({"managementPolicy": "Observe"}, {}):
            found = await bench.want(vmid=101, description="x", **spec)
            assert ready(found)[0] == "False" and ready(found)[1] in ("AccessDenied", "NameTaken"), ready(found)
            assert shown(found) == {}
            assert "password" not in str(found) and hostname not in str(found)
            await bench.gone()

    asyncio.run(run())


def test_nothing_is_destroyed_that_was_not_read_just_before() -> None:
    async def run() -> None:
        bench = await Bench.of(deletionPolicy="Delete", mounts=DATA, state="Stopped")
        await bench.gone()
        assert "would lose the volumes data" in ready(await status(bench.world))[2]
        # Neither shows in a reading of the host.
        bench.ct().config["description"] = "taken over by the administrator"
        bench.ct().config["mp1"] = "local-lvm:vm-2000-disk-9,mp=/precious,size=100G"
        before = bench.world.containers()[2000]
        bench.writes()
        await confirm(bench, NAME)
        assert bench.world.containers().get(2000) == before and on_the_host(bench) == []

    asyncio.run(run())


def test_consent_is_for_the_volumes_that_it_was_asked_about() -> None:
    async def run() -> None:
        bench = await Bench.of(deletionPolicy="Delete", mounts=DATA, state="Stopped")
        await bench.gone()
        bench.ct().config["mp1"] = "local-lvm:vm-2000-disk-9,mp=/precious,size=100G"
        await confirm(bench, NAME)
        text = ready(await status(bench.world))[2]
        assert "volumes data, mp1" in text and f"confirm-delete: {NAME},mp1" in text, text
        assert "mp1" in bench.ct().config
        await confirm(bench, f"{NAME},mp1")
        assert 2000 not in bench.world.containers() and not await bench.there()

    asyncio.run(run())


def test_a_task_that_the_host_has_forgotten_holds_nobody_up() -> None:
    async def run() -> None:
        bench = await Bench.of()
        await bench.world.apply([container(state="Stopped")])
        while not (upid := ((await status(bench.world)).get("task") or {}).get("upid")):
            await bench.world.rest()
            await bench.world.controllers() or await bench.running.step()
        pve = bench.world.pve
        pve.tasks.pop(upid)
        pve.tasklog[:] = [task for task in pve.tasklog if task["upid"] != upid]
        await bench.running.settle()
        found = await status(bench.world)
        assert (ready(found)[0], bench.ct().status) == ("True", "stopped"), ready(found)
        assert ready(await bench.want())[0] == "True" and bench.ct().status == "running"

    asyncio.run(run())
