"""What happens to containers seldom: other versions, other projects, other people, and the HA manager."""

from __future__ import annotations

import asyncio
from typing import Any

from test_containers import NAME, NETWORK, VOLUME, Bench, lab, ready, status

from homeport.drivers.kubernetes import types
from localpve.lab import ALL, TOKEN

Gvk = types.LXC_CONTAINER
MOUNT = {"name": "data", "path": "/data", "storage": "local-lvm", "size": "4Gi", "deletionPolicy": "Delete"}


def to_host(writes: list[str]) -> list[str]:
    return [write for write in writes if "/nodes/" in write]


def test_what_a_newer_version_has_written_is_kept_and_nothing_is_done() -> None:
    async def run() -> None:
        bench = Bench(*await lab())
        await bench.want()
        before = await status(bench.world)
        old = {"vmid": 2077, "node": "pve1", "phase": "Thinking", "reason": "another image"}
        newer = {"replacing": old, "laterField": {"a": 1}}
        await bench.world.client.patch(Gvk, "homelab", NAME, {"status": newer}, subresource="status")
        await bench.running.settle()
        bench.writes()
        found = await bench.want(memory="1Gi")
        assert ready(found)[:2] == ("False", "UnsupportedVersion"), ready(found)
        assert ready(found)[2].startswith("status.replacing.phase was written by a newer Homeport")
        assert found["replacing"] == old and found["laterField"] == {"a": 1} and found["vmid"] == before["vmid"]
        assert to_host(bench.writes()) == [] and str(bench.ct().config["memory"]) == "512"
        await bench.gone()
        assert await bench.there() and 2000 in bench.world.containers()

    asyncio.run(run())


def test_a_change_that_never_shows_is_given_up_and_told() -> None:
    async def run() -> None:
        bench = Bench(*await lab())
        await bench.want()
        for line in bench.running.lines:
            ask = line._ask

            async def odd(method: str, path: str, sent: dict[str, Any], ask: Any = ask) -> Any:
                found = await ask(method, path, sent)
                if method == "GET" and path.endswith("/2000/config"):
                    found = {**found, "cores": 7}
                return found

            line._ask = odd  # type: ignore[method-assign]
        bench.writes()
        found = await bench.want(cores=2, memory="1Gi")
        assert ready(found)[:2] == ("False", "ApplyFailed") and "takes cores and shows" in ready(found)[2], ready(found)
        sent = [write for write in to_host(bench.writes()) if write.startswith("PUT")]
        assert len(sent) == 4, "once with the memory, and three times alone"
        drift = {entry["field"]: entry for entry in found["drift"]}
        assert (drift["cores"]["wanted"], drift["cores"]["found"], drift["cores"]["class"]) == ("2", "7", "live")
        assert str(bench.ct().config["memory"]) == "1024"
        await bench.running.settle(quiet=2000.0)
        assert to_host(bench.writes()) == []

    asyncio.run(run())


def test_what_another_project_has_kept_is_not_given_away() -> None:
    async def run() -> None:
        bench = Bench(*await lab())
        mark = "homeport.dev/retained=any/other/vault/2050"
        config = {"description": mark, "tags": "homeport-retained"}
        bench.world.pve.add_ct(2050, "vault", node="pve1", status="stopped", config=config)
        spec = {"vmid": 2050, "template": None, "memory": None, "rootfs": None, "networks": None}
        for more in ({"adopt": {"expectHostname": "vault"}}, {"managementPolicy": "Observe", "adopt": None}):
            found = await bench.want(**{**spec, **more})
            assert ready(found)[:2] == ("False", "NameTaken"), ready(found)
            assert "was kept when LXCContainer other/vault" in ready(found)[2]
            assert found.get("state") is None and not found.get("networks")
        assert bench.ct(2050).config["description"] == mark
        own = mark.replace("other/vault", f"homelab/{NAME}-before")
        bench.ct(2050).config["description"] = own
        found = await bench.want(**{**spec, "adopt": {"expectHostname": "vault"}})
        assert found.get("adopted"), ready(found)

    asyncio.run(run())


def test_a_volume_in_the_place_of_ours_is_not_ours_and_snapshots_are_named() -> None:
    async def run() -> None:
        bench = await Bench.of(deletionPolicy="Delete", mounts=[MOUNT])
        bench.ct().snapshots["before-upgrade"] = {"snaptime": 1, "rootfs": bench.ct().config["rootfs"]}
        await bench.gone()
        found = await status(bench.world)
        assert ready(found)[:2] == ("False", "ConfirmationRequired"), ready(found)
        assert (
            "would lose the snapshots before-upgrade; to go on" in ready(found)[2]
            and f": {NAME}, or" in ready(found)[2]
        )
        bench.ct().config["mp0"] = "local-lvm:vm-2000-disk-7,mp=/data,size=4G"
        again = {"metadata": {"annotations": {"homeport.dev/reconcile-at": "now"}}}
        await bench.world.client.patch(Gvk, "homelab", NAME, again)
        await bench.running.settle()
        found = await status(bench.world)
        assert f"homeport.dev/confirm-delete: {NAME},mp0" in ready(found)[2], ready(found)

    asyncio.run(run())


def test_where_it_is_is_left_to_people_and_told() -> None:
    async def run() -> None:
        bench = await Bench.of()
        found = await bench.want(node="pve2")
        assert ready(found)[0] == "True" and "pct migrate 2000 pve2" in ready(found)[2], ready(found)
        assert [(one["field"], one["class"]) for one in found["drift"]] == [("node", "by-hand")]
        found = await bench.want(vmid=2005)
        assert ready(found)[:2] == ("False", "InvalidSpec") and "write vmid: 2000, or leave it out" in ready(found)[2]
        found = await bench.want(pool="other")
        assert ready(found)[0] == "False" or "pool" in ready(found)[2], ready(found)

    asyncio.run(run())


def test_a_container_of_the_ha_manager_is_stopped_by_it_and_followed() -> None:
    async def run() -> None:
        bench = await Bench.of()
        bench.ct().ha_state = "started"
        bench.ct().node = "pve2"  # the manager has moved it
        await bench.running.settle()
        found = await status(bench.world)
        assert found["node"] == "pve2" and ready(found)[:1] == ("True",) and not found.get("drift")
        bench.writes()
        found = await bench.want(state="Stopped")
        assert found["state"] == "Stopped" and bench.ct().status == "stopped" and bench.ct().ha_state == "stopped"
        assert ready(found)[0] == "True", ready(found)
        assert all("/nodes/pve2/" in write for write in to_host(bench.writes()))

    asyncio.run(run())


def test_a_host_that_is_taken_away_by_force_is_told_to_its_containers() -> None:
    async def run() -> None:
        bench = await Bench.of()
        host = types.PROXMOX_HOST
        await bench.world.client.delete(host, None, "lab")
        await bench.world.client.patch(host, None, "lab", {"metadata": {"finalizers": []}})
        await bench.running.settle()
        found = await status(bench.world)
        assert ready(found)[:2] == ("False", "DependencyNotReady") and "doesn't exist" in ready(found)[2], ready(found)
        assert 2000 in bench.world.containers()

    asyncio.run(run())


async def on_trial(**more: Any) -> tuple[Bench, dict[str, Any]]:
    """A container with a check that fails at another address than its first, and a snapshot before changes."""
    world, running = await lab()
    bench = Bench(world, running)

    async def check(target: Any) -> str:
        return "" if "10.20.0.77" not in str(bench.ct().config["net0"]) else "connection refused"

    running.engine.context.containers.prober.check = check
    world.pve.grant(TOKEN, "/", *ALL, "VM.Snapshot", "VM.Snapshot.Rollback")
    spec = {"healthCheck": {"tcp": 53, "startSeconds": 60}, "rollback": "Snapshot", **more}
    found = await bench.want(**spec)
    assert ready(found)[0] == "True", ready(found)
    bench.writes()
    return bench, spec


def tasks(bench: Bench) -> list[str]:
    return [task["type"] for task in bench.world.pve.tasklog if str(task["id"]) == "2000"]


def test_a_snapshot_is_taken_before_a_change_and_removed_after_a_good_one() -> None:
    async def run() -> None:
        bench, spec = await on_trial()
        before = len(tasks(bench))
        found = await bench.want(**spec, networks=[{**NETWORK, "address": "10.20.0.66/24"}])
        assert ready(found)[0] == "True" and found.get("trial") is None, ready(found)
        assert tasks(bench)[before:] == ["vzsnapshot", "vzdelsnapshot"] and bench.ct().snapshots == {}
        assert "10.20.0.66" in bench.ct().config["net0"]
        # What is no risk is changed without.
        await bench.want(**spec, networks=[{**NETWORK, "address": "10.20.0.66/24"}], description="words")
        assert len(tasks(bench)) == before + 2

    asyncio.run(run())


def test_a_change_that_fails_is_rolled_back_by_its_snapshot() -> None:
    async def run() -> None:
        bench, spec = await on_trial()
        before = len(tasks(bench))
        await bench.want(**spec, networks=[{**NETWORK, "address": "10.20.0.77/24"}])
        await bench.running.settle(quiet=120.0)
        found = await status(bench.world)
        assert ready(found)[:2] == ("False", "HealthCheckFailed") and "taken back" in ready(found)[2], ready(found)
        assert tasks(bench)[before:] == ["vzsnapshot", "vzrollback", "vzdelsnapshot", "vzstart"], tasks(bench)
        assert bench.ct().snapshots == {} and "10.20.0.10" in bench.ct().config["net0"]
        assert bench.ct().status == "running" and found.get("trial") is None
        bench.writes()
        await bench.running.settle()
        assert bench.writes() == [], "it isn't tried again"

    asyncio.run(run())


def test_a_snapshot_is_not_taken_of_mounts() -> None:
    async def run() -> None:
        bench, spec = await on_trial()
        bench.ct().config["mp3"] = "local-lvm:vm-2000-disk-9,mp=/srv,size=1G"
        found = await bench.want(**spec, networks=[{**NETWORK, "address": "10.20.0.66/24"}])
        assert ready(found)[:2] == ("False", "InvalidSpec") and "has the mounts /srv" in ready(found)[2], ready(found)
        assert "10.20.0.10" in bench.ct().config["net0"] and VOLUME

    asyncio.run(run())
