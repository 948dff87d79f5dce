"""Replacing a container on the stand-in: taken back, deleted in the middle, refused, and gone on with."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from test_container_software import DIGESTS, Agents, software
from test_container_software import bench as software_bench
from test_containers import NAME, PROJECT, Bench, container, ready, status

from homeport.plan.agent import AgentId, Session, State
from localpve.faults import Answer, Fault
from localpve.lab import TEMPLATE
from proxmox_inside import Lab

DATA = [{"name": "data", "path": "/data", "storage": "local-lvm", "size": "4Gi"}]
NOW = {"homeport.dev/replace-at": "now"}
OTHER = TEMPLATE.replace("12.7", "12.9")


def ours(bench: Bench) -> list[int]:
    """The VMIDs of the project's containers."""
    return [vmid for vmid in bench.world.containers() if vmid >= 2000]


def test_a_replacement_that_can_not_be_made_is_taken_back_with_the_spec() -> None:
    async def run() -> None:
        bench = await Bench.of()
        before = bench.ct().config["rootfs"]
        # A token may not make a privileged container here: that is refused again and again.
        body = container(NAME, unprivileged=False)
        body["metadata"]["annotations"] = NOW
        await bench.world.apply([body])
        await bench.running.settle(quiet=10.0)
        found = await status(bench.world)
        assert ready(found)[0] == "False" and found["replacing"]["vmid"] == 2000, ready(found)
        bench.writes()
        found = await bench.want()
        await bench.running.settle(quiet=120.0)
        found = await status(bench.world)
        assert ready(found)[0] == "True" and found["vmid"] == 2000 and "replacing" not in found, ready(found)
        assert ours(bench) == [2000] and bench.ct().status == "running" and bench.ct().config["rootfs"] == before
        assert not [write for write in bench.writes() if "/nodes/" in write and write != "POST /nodes/pve1/lxc"]

    asyncio.run(run())


async def _full() -> Bench:
    """A project that has one VMID, which is taken, and a replacement that waits for another."""
    world = Lab()
    await world.furnish([{**PROJECT, "vmidRange": {"min": 2000, "max": 2000}}])
    running = await world.operator()
    await running.settle()
    bench = Bench(world, running)
    found = await bench.want(deletionPolicy="Delete", mounts=DATA)
    assert ready(found)[0] == "True", ready(found)
    found = await bench.want(deletionPolicy="Delete", mounts=DATA, unprivileged=False, annotations=NOW)
    assert found["replacing"]["vmid"] == 2000 and found.get("vmid") is None, found
    return bench


def test_a_replacement_without_a_vmid_is_taken_back_with_the_spec() -> None:
    async def run() -> None:
        bench = await _full()
        bench.writes()
        found = await bench.want(deletionPolicy="Delete", mounts=DATA)
        assert ready(found)[0] == "True" and found["vmid"] == 2000 and "replacing" not in found, ready(found)
        assert bench.ct().status == "running" and not [write for write in bench.writes() if "/nodes/" in write]

    asyncio.run(run())


def test_what_is_to_be_replaced_is_not_forgotten_when_its_resource_goes() -> None:
    async def run() -> None:
        bench = await _full()
        await bench.gone()
        found = await status(bench.world)
        assert ready(found)[:2] == ("False", "ConfirmationRequired") and "volumes data" in ready(found)[2]
        assert bench.ct().status == "running"

    asyncio.run(run())


def test_snapshots_keep_the_old_one_running_until_they_are_removed() -> None:
    async def run() -> None:
        bench = await Bench.of(mounts=DATA)
        bench.world.pve.store_file("local", OTHER, 120 * 2**20, "vztmpl")
        ct = bench.ct()
        ct.snapshots["upgrade"] = dict(ct.config)
        change: dict[str, Any] = {"mounts": DATA, "template": f"local:vztmpl/{OTHER}", "onBoot": True}
        found = await bench.want(**change, annotations=NOW)
        assert ready(found)[:2] == ("False", "ReplacementRequired") and "upgrade" in ready(found)[2], ready(found)
        assert ct.status == "running" and bench.ct(2001).status == "stopped"
        assert not bench.ct(2001).config.get("onboot"), "a node that boots would start both"
        # Nothing was lost by it: it can be taken back, and what was made for it goes.
        found = await bench.want(mounts=DATA, onBoot=True)
        assert ready(found)[0] == "True" and found["vmid"] == 2000 and ours(bench) == [2000], ready(found)
        assert ct.status == "running"
        found = await bench.want(**change, annotations={"homeport.dev/replace-at": "later"})
        assert ready(found)[1] == "ReplacementRequired"
        ct.snapshots.clear()
        await bench.running.settle(quiet=120.0)
        found = await status(bench.world)
        assert ready(found)[0] == "True" and found["vmid"] == 2001, ready(found)
        assert (ct.status, int(ct.config["onboot"]), found["kept"]) == ("stopped", 0, [2000])
        assert int(bench.ct(2001).config["onboot"]) == 1 and "mp=/data" in bench.ct(2001).config["mp0"]

    asyncio.run(run())


def test_a_move_that_is_refused_brings_the_old_one_back() -> None:
    async def run() -> None:
        bench = await Bench.of(mounts=DATA)
        bench.world.pve.store_file("local", OTHER, 120 * 2**20, "vztmpl")
        words = "Storage does not support moving of this disk to another container"
        bench.world.pve.script.faults.append(Fault("POST", "/nodes/pve1/lxc/2000/move_volume", Answer(500, words)))
        found = await bench.want(mounts=DATA, template=f"local:vztmpl/{OTHER}", annotations=NOW)
        assert ready(found)[:2] == ("False", "ReplacementRequired") and words in ready(found)[2], ready(found)
        assert found["vmid"] == 2000 and ours(bench) == [2000]
        assert bench.ct().status == "running" and "mp=/data" in bench.ct().config["mp0"]
        bench.writes()
        await bench.running.settle()
        assert bench.writes() == []

    asyncio.run(run())


def test_a_mark_that_could_not_be_written_is_written_again() -> None:
    async def run() -> None:
        bench = await Bench.of()
        bench.world.pve.store_file("local", OTHER, 120 * 2**20, "vztmpl")
        fault = Fault("PUT", "/nodes/pve1/lxc/2000/config", Answer(500, "got timeout"), nth=1)
        bench.world.pve.script.faults.append(fault)
        found = await bench.want(template=f"local:vztmpl/{OTHER}", annotations=NOW)
        assert ready(found)[0] == "True" and found["kept"] == [2000], ready(found)
        assert bench.ct(2000).config["tags"] == "homeport-retained"
        assert "homeport.dev/retained=" in bench.ct(2000).config["description"]

    asyncio.run(run())


class Moody(Agents):
    """Agents whose containers aren't all well."""

    sick: frozenset[int] = frozenset()

    def session(self, agent: AgentId) -> Session:
        found = super().session(agent)
        if found.state is None or agent.vmid not in self.sick:
            return found
        return Session(True, found.fingerprint, State(phase="Running", digest="x", started=True, unready="crashes"))


async def rollout() -> tuple[Bench, Moody]:
    """A container of nginx:1.27 that is well, one of nginx:1.28 in its place that isn't."""
    bench, _, _ = await software_bench()
    agents = Moody(bench)
    bench.running.engine.context.agents = agents  # type: ignore[assignment]
    found = await bench.want(mounts=DATA, **software("nginx:1.27"))
    assert ready(found)[0] == "True", ready(found)
    agents.sick = frozenset({2001})
    await bench.want(mounts=DATA, **software("nginx:1.28"))
    await bench.running.settle(quiet=60.0)
    found = await status(bench.world)
    assert ready(found)[0] == "False" and found["replacing"]["phase"] == "Starting", ready(found)
    assert [bench.ct(2000).status, bench.ct(2001).status] == ["stopped", "running"]
    return bench, agents


def test_a_bad_image_goes_on_to_a_good_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DIGESTS, "nginx:1.29", "sha256:" + "c" * 64)

    async def run() -> None:
        bench, _ = await rollout()
        await bench.want(mounts=DATA, **software("nginx:1.29"))
        await bench.running.settle(quiet=60.0)
        found = await status(bench.world)
        assert ready(found)[0] == "True" and "replacing" not in found, ready(found)
        assert found["software"]["digest"] == DIGESTS["nginx:1.29"] and ours(bench) == [found["vmid"]]
        assert "mp=/data" in bench.ct(found["vmid"]).config["mp0"] and bench.ct(found["vmid"]).status == "running"

    asyncio.run(run())


def test_a_bad_image_goes_back_to_the_container_that_was_well() -> None:
    async def run() -> None:
        bench, _ = await rollout()
        bench.writes()
        await bench.want(mounts=DATA, **software("nginx:1.27"))
        await bench.running.settle(quiet=60.0)
        found = await status(bench.world)
        assert ready(found)[0] == "True" and "replacing" not in found, ready(found)
        assert found["vmid"] == 2000 and found["software"]["credential"] == "finger-2000" and ours(bench) == [2000]
        assert bench.ct().status == "running" and "mp=/data" in bench.ct().config["mp0"]
        assert "POST /nodes/pve1/lxc" not in bench.writes(), "nothing is made for it"

    asyncio.run(run())


def test_a_push_during_the_creation_is_rolled_out_after_it() -> None:
    async def run() -> None:
        bench, _, _ = await software_bench()
        await bench.world.apply([container(NAME, **software("nginx:1.27"))])
        bench.world.pve.ct_secs["create"] = 40
        for _ in range(2000):
            await bench.running.lab.rest()
            if not (await bench.world.controllers() or await bench.running.step()):
                bench.world.clock.seconds += 0.5
            if ((await status(bench.world)).get("task") or {}).get("upid"):
                break
        else:
            raise AssertionError("no creation was begun")
        found = await bench.want(**software("nginx:1.28"))
        await bench.running.settle(quiet=60.0)
        found = await status(bench.world)
        assert ready(found)[0] == "True" and found["vmid"] == 2001 and ours(bench) == [2001], ready(found)
        assert found["software"]["digest"] == DIGESTS["nginx:1.28"]
        assert DIGESTS["nginx:1.28"][7:19] in found["template"]

    asyncio.run(run())
