"""LXCContainers on the stand-in, in one process, on a clock that the tests turn: made, changed, and left."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from homeport.drivers.kubernetes import types
from localpve.lab import TEMPLATE
from memory_world import Killed
from proxmox_inside import HOST, Lab, LabRunning

PROJECT = {"name": "homelab", "vmidRange": {"min": 2000, "max": 2099}, "allowAdopt": True}
NAME = "pihole"
VOLUME = f"local:vztmpl/{TEMPLATE}"
NETWORK = {"name": "eth0", "bridge": "vmbr0", "address": "10.20.0.10/24", "gateway": "10.20.0.1"}


def container(name: str = NAME, **spec: Any) -> dict[str, Any]:
    """A container of the project's."""
    base = {
        "hostRef": {"name": HOST},
        "template": VOLUME,
        "memory": "512Mi",
        "rootfs": {"storage": "local-lvm", "size": "8Gi"},
        "networks": [NETWORK],
    }
    merged = {key: value for key, value in {**base, **spec}.items() if value is not None}
    return {
        "apiVersion": "homeport.dev/v1alpha1",
        "kind": "LXCContainer",
        "metadata": {"name": name, "namespace": "homelab"},
        "spec": merged,
    }


async def lab() -> tuple[Lab, LabRunning]:
    """A lab with an operator."""
    world = Lab()
    await world.furnish([PROJECT])
    running = await world.operator()
    await running.settle()
    return world, running


async def status(world: Lab, name: str = NAME) -> dict[str, Any]:
    """The container's status."""
    found = await world.client.get(types.LXC_CONTAINER, "homelab", name)
    assert found is not None
    return dict(found.get("status") or {})


def ready(found: dict[str, Any]) -> tuple[str, str, str]:
    """(status, reason, message) of Ready."""
    entry = next(entry for entry in found["conditions"] if entry["type"] == "Ready")
    return entry["status"], entry["reason"], entry["message"]


def test_a_container_is_made_and_runs() -> None:
    async def run() -> None:
        world, running = await lab()
        before = world.containers()
        await world.apply([container()])
        await running.settle()
        found = await status(world)
        assert ready(found) == ("True", "ReconciliationSucceeded", "running as 2000 on pve1"), found
        made = world.containers()[2000]
        assert made["status"] == "running"
        assert made["hostname"] == NAME and made["tags"] == "homeport"
        assert "homelab/pihole/2000" in made["description"]
        assert {vmid: ct for vmid, ct in world.containers().items() if vmid != 2000} == before
        assert found["addresses"] == ["10.20.0.10"] and found["state"] == "Running"

    asyncio.run(run())


class Bench:
    """A lab, an operator on it, and words for what people do."""

    def __init__(self, world: Lab, running: LabRunning) -> None:
        self.world, self.running = world, running

    @classmethod
    async def of(cls, **spec: Any) -> Bench:
        """With a container that is Ready."""
        bench = cls(*await lab())
        found = await bench.want(**spec)
        assert ready(found)[0] == "True", ready(found)
        return bench

    async def want(self, name: str = NAME, annotations: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
        """Apply it, and wait until nothing happens any more; its status."""
        body = container(name, **spec)
        body["metadata"]["annotations"] = annotations or {}
        await self.world.apply([body])
        await self.running.settle()
        return await status(self.world, name)

    def ct(self, vmid: int = 2000) -> Any:
        """The container on the host."""
        return next(ct for ct in self.world.pve.cts if ct.vmid == vmid)

    def writes(self) -> list[str]:
        """Everything that was written since the last time, to the API server and to the host."""
        out, self.running.gate.writes[:] = list(self.running.gate.writes), []
        return out

    async def gone(self, name: str = NAME) -> None:
        """Delete the resource, and wait."""
        await self.world.client.delete(types.LXC_CONTAINER, "homelab", name)
        await self.running.settle()

    async def there(self, name: str = NAME) -> bool:
        """Whether the resource is still there."""
        return await self.world.client.get(types.LXC_CONTAINER, "homelab", name) is not None


def test_a_steady_state_asks_nothing_and_writes_nothing() -> None:
    async def run() -> None:
        bench = await Bench.of()
        bench.writes()
        calls = len(bench.running.calls)
        await bench.running.settle(quiet=200.0)
        asked = bench.running.calls[calls:]
        assert bench.writes() == []
        assert {path for _, path in asked} == {"/cluster/resources"}, asked

    asyncio.run(run())


def test_audits_of_a_container_that_nothing_happens_to_write_nothing() -> None:
    async def run() -> None:
        bench = await Bench.of()
        bench.writes()
        calls = len(bench.running.calls)
        await bench.running.settle(quiet=2500.0)
        assert bench.writes() == [], "how long it runs is no news"
        audits = [path for _, path in bench.running.calls[calls:] if path.endswith("/config")]
        assert 2 <= len(audits) <= 4

    asyncio.run(run())


def test_what_can_be_changed_live_is_and_nothing_is_restarted() -> None:
    async def run() -> None:
        bench = await Bench.of()
        started, mac = bench.ct().started_at, bench.ct().config["net0"]
        bench.writes()
        mounts = [{"name": "data", "path": "/data", "storage": "local-lvm", "size": "4Gi", "backup": True}]
        found = await bench.want(memory="1Gi", cores=2, tags=["dns"], description="the resolver", mounts=mounts,
                                 rootfs={"storage": "local-lvm", "size": "9Gi"})  # fmt: skip
        assert ready(found)[0] == "True"
        config = bench.ct().config
        assert (config["memory"], config["cores"], config["tags"]) == (1024, 2, "dns;homeport")
        assert config["description"].startswith("the resolver\n\nhomeport.dev/owner=")
        assert "size=9G" in config["rootfs"] and "mp=/data" in config["mp0"] and "backup=1" in config["mp0"]
        assert config["net0"] == mac and bench.ct().started_at == started
        assert found["mounts"][0]["volume"] in config["mp0"]
        assert found.get("drift", []) == [] and found.get("pendingReboot", []) == []

    asyncio.run(run())


def test_a_change_that_needs_a_reboot_waits_and_policy_decides() -> None:
    async def run() -> None:
        bench = await Bench.of()
        started = bench.ct().started_at
        found = await bench.want(features={"nesting": True})
        assert found["pendingReboot"] == ["features"] and "waits for a reboot: features" in ready(found)[2]
        assert (
            found["drift"] == [{"field": "features", "wanted": "nesting=1", "class": "pending-reboot", "found": ""}]
            or found["drift"][0]["class"] == "pending-reboot"
        )
        assert bench.ct().started_at == started
        bench.writes()
        await bench.running.settle()
        assert bench.writes() == []
        found = await bench.want(features={"nesting": True}, rebootPolicy="WhenPending")
        assert found.get("pendingReboot", []) == [] and bench.ct().config["features"] == "nesting=1"
        assert [write for write in bench.writes() if "reboot" in write] == ["POST /nodes/pve1/lxc/2000/status/reboot"]
        # What waits and isn't wanted any more is taken back.
        found = await bench.want(features={"nesting": False})
        assert found["pendingReboot"] == ["features"]
        found = await bench.want(features={"nesting": True})
        assert found.get("pendingReboot", []) == [] and not bench.ct().pending

    asyncio.run(run())


def test_it_is_stopped_and_restarted_once_by_a_token() -> None:
    async def run() -> None:
        bench = await Bench.of()
        bench.writes()
        found = await bench.want(restartAt="a")
        assert found["lastRestartAt"] == "a"
        assert sum("reboot" in write for write in bench.writes()) == 1
        found = await bench.want(restartAt="a", state="Stopped")
        assert (found["state"], bench.ct().status) == ("Stopped", "stopped") and ready(found)[0] == "True"
        found = await bench.want(restartAt="b")
        assert found["lastRestartAt"] == "b" and bench.ct().status == "running"
        assert not any("reboot" in write for write in bench.writes())

    asyncio.run(run())


def test_deletion_keeps_and_marks_and_the_same_name_finds_it() -> None:
    async def run() -> None:
        bench = await Bench.of()
        await bench.gone()
        assert not await bench.there()
        ct = bench.ct()
        assert ct.status == "running" and ct.config["tags"] == "homeport-retained"
        assert "homeport.dev/retained=" in ct.config["description"]
        found = await bench.want()
        assert ready(found)[:2] == ("False", "ConfirmationRequired") and "vmid: 2000 and adopt" in ready(found)[2]
        found = await bench.want(vmid=2000, adopt={"expectHostname": NAME})
        assert ready(found)[0] == "True" and bench.ct().config["tags"] == "homeport"
        assert len(bench.world.containers()) == 4

    asyncio.run(run())


def test_deletion_destroys_only_what_may_be_lost() -> None:
    async def run() -> None:
        mounts = [{"name": "data", "path": "/data", "storage": "local-lvm", "size": "4Gi"}]
        bench = await Bench.of(deletionPolicy="Delete", mounts=mounts)
        await bench.gone()
        assert await bench.there() and 2000 in bench.world.containers()
        found = await status(bench.world)
        assert ready(found)[:2] == ("False", "ConfirmationRequired") and "volumes data" in ready(found)[2]
        annotations = {"annotations": {"homeport.dev/confirm-delete": NAME}}
        await bench.world.client.patch(types.LXC_CONTAINER, "homelab", NAME, {"metadata": annotations})
        bench.writes()
        await bench.running.settle()
        assert not await bench.there() and 2000 not in bench.world.containers()
        assert set(bench.world.containers()) == {100, 101, 102}
        told = [write for write in bench.writes() if "/nodes/" in write]
        assert told == ["POST /nodes/pve1/lxc/2000/status/shutdown", "DELETE /nodes/pve1/lxc/2000"]

    asyncio.run(run())


def test_nothing_of_somebody_elses_is_touched() -> None:
    async def run() -> None:
        bench = Bench(*await lab())
        bench.world.pve.add_ct(2000, "theirs", node="pve1", status="running")
        before = bench.world.containers()
        # Without a vmid there is another one; with it, it is refused.
        found = await bench.want(name="one")
        assert found["vmid"] == 2001 and ready(found)[0] == "True"
        bench.writes()
        found = await bench.want(name="two", vmid=2000, networks=[{**NETWORK, "address": "10.20.0.11/24"}])
        assert ready(found)[:2] == ("False", "NameTaken")
        assert (
            "belongs to nobody of Homeport's" in ready(found)[2]
            and "adopt: {expectHostname: theirs}" in ready(found)[2]
        )
        found = await bench.want(name="three", vmid=100, networks=[{**NETWORK, "address": "10.20.0.12/24"}])
        assert ready(found)[:2] == ("False", "NameTaken") and "adopt: {expectHostname: pihole}" in ready(found)[2]
        assert not [write for write in bench.writes() if "/nodes/" in write]
        now = bench.world.containers()
        assert {vmid: now[vmid] for vmid in before} == before

    asyncio.run(run())


def test_a_lost_race_for_a_vmid_ends_in_another() -> None:
    async def run() -> None:
        world, running = await lab()
        bench = Bench(world, running)

        def taken(method: str, path: str) -> None:
            if method == "POST" and path.endswith("/lxc") and not any(ct.vmid == 2000 for ct in world.pve.cts):
                world.pve.add_ct(2000, "faster", node="pve2", status="running")

        for line in running.lines:
            ask = line._ask

            async def wrapped(method: str, path: str, sent: dict[str, Any], ask: Any = ask) -> Any:
                taken(method, path)
                return await ask(method, path, sent)

            line._ask = wrapped  # type: ignore[method-assign]
        found = await bench.want()
        assert found["vmid"] == 2001 and ready(found)[0] == "True"
        assert bench.ct(2000).config.get("hostname") == "faster" and bench.ct(2001).status == "running"

    asyncio.run(run())


def test_adopt_observes_first_and_leaves_alone_what_the_spec_leaves_out() -> None:
    async def run() -> None:
        bench = Bench(*await lab())
        config = {"memory": 2048, "tags": "old", "description": "by hand\n", "net1": "name=eth1,bridge=vmbr1,ip=dhcp"}
        bench.world.pve.add_ct(2050, "legacy", node="pve2", status="stopped", config=config)
        spec = {"vmid": 2050, "template": None, "memory": None, "rootfs": None, "networks": None}
        found = await bench.want(adopt={"expectHostname": "other"}, **spec)
        assert ready(found)[:2] == ("False", "InvalidSpec") and "has the hostname legacy" in ready(found)[2]
        assert bench.ct(2050).config["tags"] == "old"
        found = await bench.want(managementPolicy="Observe", **spec)
        assert (ready(found)[0] == "True" and "fields differ" in ready(found)[2]) or "observed" in ready(found)[2]
        assert bench.ct(2050).config["tags"] == "old" and "homeport" not in bench.ct(2050).config["description"]
        found = await bench.want(adopt={"expectHostname": "legacy"}, cores=3, **spec)
        ct = bench.ct(2050)
        assert ready(found)[0] == "True", ready(found)
        assert found["adopted"] and found["node"] == "pve2"
        assert ct.config["description"].startswith("by hand\n\nhomeport.dev/owner=")
        assert (ct.config["tags"], ct.config["memory"], ct.config["cores"]) == ("homeport;old", 2048, 3)
        assert "eth1" in ct.config["net1"] and ct.status == "stopped"

    asyncio.run(run())


def test_adopting_needs_the_hosts_leave() -> None:
    async def run() -> None:
        world = Lab()
        await world.furnish([{**PROJECT, "allowAdopt": False}])
        running = await world.operator()
        bench = Bench(world, running)
        world.pve.add_ct(2050, "legacy", node="pve2", status="stopped")
        spec = {"vmid": 2050, "template": None, "memory": None, "rootfs": None, "networks": None}
        for extra in ({"adopt": {"expectHostname": "legacy"}}, {"managementPolicy": "Observe"}):
            found = await bench.want(**spec, **extra)
            assert ready(found)[:2] == ("False", "AccessDenied") and "allowAdopt: true" in ready(found)[2]
        assert "homeport" not in str(bench.ct(2050).config)

    asyncio.run(run())


def test_drift_by_hand_is_mended() -> None:
    async def run() -> None:
        bench = await Bench.of()
        ct = bench.ct()
        mac = next(part for part in ct.config["net0"].split(",") if part.startswith("hwaddr="))
        ct.config.update(memory=4096, hostname="renamed", net1="name=eth9,bridge=vmbr0,ip=dhcp")
        ct.config["net0"] = ct.config["net0"].replace("10.20.0.10", "10.20.0.99")
        await bench.running.settle()
        assert (ct.config["memory"], ct.config["hostname"]) == (512, NAME)
        assert "net1" not in ct.config and "10.20.0.10" in ct.config["net0"] and mac in ct.config["net0"]

    asyncio.run(run())


def test_who_was_deleted_by_hand_is_missed_or_made_anew() -> None:
    async def run() -> None:
        bench = await Bench.of()
        bench.world.pve.cts.remove(bench.ct())
        await bench.running.settle()
        found = await status(bench.world)
        assert ready(found)[:2] == ("False", "Missing") and found["state"] == "Missing"
        assert 2000 not in bench.world.containers()
        found = await bench.want(onMissing="Recreate")
        assert ready(found)[0] == "True" and bench.ct(found["vmid"]).status == "running"

    asyncio.run(run())


def test_what_an_offline_node_hides_is_not_missing() -> None:
    async def run() -> None:
        bench = await Bench.of(onMissing="Recreate")
        ct = bench.ct()
        bench.world.pve.cts.remove(ct)
        bench.world.pve.set_node_offline("pve1")
        await bench.running.settle()
        found = await status(bench.world)
        assert ready(found)[0] == "False" and found["state"] == "Unknown", ready(found)
        assert found["vmid"] == 2000 and 2000 not in bench.world.containers()
        bench.world.pve.set_node_offline("pve1", offline=False)
        bench.world.pve.cts.append(ct)
        await bench.running.settle()
        assert ready(await status(bench.world))[0] == "True"
        assert [vmid for vmid in bench.world.containers() if vmid >= 2000] == [2000]

    asyncio.run(run())


def test_a_moved_container_is_followed() -> None:
    async def run() -> None:
        bench = await Bench.of()
        bench.ct().node = "pve2"
        await bench.running.settle()
        found = await status(bench.world)
        assert found["node"] == "pve2" and ready(found)[2] == "running as 2000 on pve2"

    asyncio.run(run())


def test_a_lock_is_waited_for_and_one_that_was_left_behind_is_told() -> None:
    async def run() -> None:
        bench = await Bench.of()
        bench.ct().config["lock"] = "snapshot"
        found = await bench.want(memory="1Gi")
        assert ready(found)[:2] == ("False", "Locked") and "waits until" in ready(found)[2]
        await bench.running.settle(quiet=120.0)
        found = await status(bench.world)
        assert ready(found)[:2] == ("False", "Locked"), ready(found)
        assert "pct unlock 2000" in ready(found)[2] and bench.ct().config["memory"] == 512
        del bench.ct().config["lock"]
        await bench.running.settle()
        assert ready(await status(bench.world))[0] == "True" and bench.ct().config["memory"] == 1024

    asyncio.run(run())


def test_a_mount_that_leaves_keeps_its_data_and_comes_back_with_it() -> None:
    async def run() -> None:
        mounts = [{"name": "data", "path": "/data", "storage": "local-lvm", "size": "4Gi"}]
        bench = await Bench.of(mounts=mounts, rebootPolicy="WhenPending")
        volume = (await status(bench.world))["mounts"][0]["volume"]
        found = await bench.want(mounts=[], rebootPolicy="WhenPending")
        assert "mp0" not in bench.ct().config and bench.ct().config["unused0"] == volume
        assert found["mounts"][0]["retained"]
        found = await bench.want(mounts=mounts, rebootPolicy="WhenPending")
        assert [m["volume"] for m in found["mounts"]] == [volume]
        assert bench.ct().config[found["mounts"][0]["id"]].startswith(volume)

    asyncio.run(run())


def test_a_template_is_replaced_only_when_asked_and_data_moves_over() -> None:
    async def run() -> None:
        mounts = [{"name": "data", "path": "/data", "storage": "local-lvm", "size": "4Gi"}]
        bench = await Bench.of(mounts=mounts)
        other = TEMPLATE.replace("12.7", "12.9")
        bench.world.pve.store_file("local", other, 120 * 2**20, "vztmpl")
        mac = bench.ct().config["net0"]
        bench.writes()
        change = {"mounts": mounts, "template": f"local:vztmpl/{other}"}
        found = await bench.want(**change)
        assert ready(found)[:2] == ("False", "ReplacementRequired") and "replace-at" in ready(found)[2]
        assert not [write for write in bench.writes() if "/nodes/" in write]
        found = await bench.want(**change, annotations={"homeport.dev/replace-at": "now"})
        assert ready(found)[0] == "True", ready(found)
        # What was in its root disk isn't in the new one's: it is kept, and nothing starts it.
        assert [vmid for vmid in bench.world.containers() if vmid >= 2000] == [2000, 2001] and found["kept"] == [2000]
        old = bench.ct(2000)
        assert (old.status, old.config["tags"], int(old.config["onboot"])) == ("stopped", "homeport-retained", 0)
        assert "mp0" not in old.config
        ct = bench.ct(2001)
        assert ct.config["net0"] == mac and "mp=/data" in ct.config["mp0"] and ct.status == "running"
        assert found["vmid"] == 2001 and found.get("replacing") is None and found["lastReplaceAt"] == "now"
        asked = [write for write in bench.writes() if "/nodes/" in write]
        assert not any("unreferenced" in write for write in asked)
        assert [write.split("/")[-1] for write in asked if "move_volume" in write] == ["move_volume"]

    asyncio.run(run())


def test_a_fixed_vmid_is_not_replaced() -> None:
    async def run() -> None:
        bench = await Bench.of(vmid=2005)
        change = {"vmid": 2005, "unprivileged": False}
        found = await bench.want(**change, annotations={"homeport.dev/replace-at": "now"})
        assert ready(found)[:2] == ("False", "ReplacementRequired") and "leave vmid out" in ready(found)[2]
        assert [vmid for vmid in bench.world.containers() if vmid >= 2000] == [2005]

    asyncio.run(run())


def test_a_change_that_leaves_it_unwell_is_taken_back() -> None:
    async def run() -> None:
        world, running = await lab()
        bench = Bench(world, running)

        async def check(target: Any) -> str:
            return "" if "10.20.0.10" in str(bench.ct().config["net0"]) else "connection refused"

        running.engine.context.containers.prober.check = check
        health = {"tcp": 53, "startSeconds": 60}
        found = await bench.want(healthCheck=health)
        assert ready(found)[0] == "True", ready(found)
        wrong = {**NETWORK, "address": "10.20.0.77/24"}
        await bench.want(healthCheck=health, networks=[wrong])
        await running.settle(quiet=120.0)
        found = await status(world)
        assert ready(found)[:2] == ("False", "HealthCheckFailed") and "taken back" in ready(found)[2], ready(found)
        assert "10.20.0.10" in bench.ct().config["net0"]
        bench.writes()
        await running.settle()
        assert bench.writes() == [], "it isn't tried again"
        found = await bench.want(healthCheck=health)
        assert ready(found)[0] == "True" and found.get("trial") is None

    asyncio.run(run())


def test_a_window_opens_for_reboots() -> None:
    async def run() -> None:
        bench = await Bench.of()
        # The lab's day begins at 12:16:40; the window opens at 14:00.
        window = {"rebootPolicy": "Window", "rebootWindow": {"schedule": "0 14 * * *", "duration": "30m"}}
        found = await bench.want(features={"nesting": True}, **window)
        assert found["pendingReboot"] == ["features"]
        while bench.world.clock.now().hour < 14:
            bench.world.clock.seconds += 300
            await bench.running.settle(quiet=1.0)
        await bench.running.settle()
        assert (await status(bench.world)).get("pendingReboot", []) == []

    asyncio.run(run())


def test_a_crash_at_any_write_ends_in_the_same() -> None:
    """Each write to the API server and to the host, killed before and after it; another operator goes on."""

    async def run() -> None:
        mounts = [{"name": "data", "path": "/data", "storage": "local-lvm", "size": "4Gi"}]
        other = TEMPLATE.replace("12.7", "12.9")
        stages: list[tuple[dict[str, Any], dict[str, str]]] = [
            ({"mounts": mounts}, {}),
            ({"mounts": mounts, "memory": "1Gi", "rootfs": {"storage": "local-lvm", "size": "9Gi"},
              "features": {"nesting": True}, "rebootPolicy": "WhenPending"}, {}),
            ({"mounts": mounts, "template": f"local:vztmpl/{other}"},
             {"homeport.dev/replace-at": "1", "homeport.dev/confirm-delete": "2000"}),
        ]  # fmt: skip
        world, running = await lab()
        world.pve.store_file("local", other, 120 * 2**20, "vztmpl")
        await running.stop()
        for spec, notes in stages:
            start = world.clone()
            body = container(**spec)
            body["metadata"]["annotations"] = notes
            straight, writes = await _through(world, body, None)
            assert len(writes) > 3
            for number in range(len(writes)):
                for carried_out in (False, True):
                    attempt = start.clone()
                    found, _ = await _through(attempt, body, (number, carried_out))
                    assert found == straight, (writes[number], carried_out)

    asyncio.run(run())


async def _through(world: Lab, body: dict[str, Any], kill: tuple[int, bool] | None) -> tuple[Any, list[str]]:
    """Apply, be killed at a write, and let another operator finish."""
    first = await world.operator()
    await first.settle()
    first.gate.writes.clear()
    first.gate.kill_at = kill
    await world.apply([body])
    with contextlib.suppress(Killed):
        await first.settle()
    writes = list(first.gate.writes)
    await first.stop()
    if kill is not None:
        second = await world.operator()
        await second.settle()
        await second.stop()
    found = await status(world)
    assert ready(found)[0] == "True", ready(found)
    ours = {vmid: ct for vmid, ct in world.containers().items() if vmid >= 2000}
    assert len(ours) == 1 and set(world.containers()) - set(ours) == {100, 101, 102}
    return ours, writes


def test_a_resource_that_lost_its_status_finds_its_container() -> None:
    async def run() -> None:
        mounts = [{"name": "data", "path": "/data", "storage": "local-lvm", "size": "4Gi"}]
        bench = await Bench.of(mounts=mounts)
        before, found = bench.world.containers(), await status(bench.world)
        await bench.running.stop()
        # As after a restore of the cluster from Git: the manifest is there, and nothing that the operator knew.
        body = {"metadata": {"finalizers": None}}
        await bench.world.client.patch(types.LXC_CONTAINER, "homelab", NAME, body)
        await bench.world.client.delete(types.LXC_CONTAINER, "homelab", NAME)
        running = await bench.world.operator()
        again = Bench(bench.world, running)
        now = await again.want(mounts=mounts)
        assert ready(now)[0] == "True" and now["vmid"] == 2000 and bench.world.containers() == before
        assert now["mounts"] == found["mounts"]

    asyncio.run(run())


def test_an_archived_project_stops_what_runs_and_keeps_it() -> None:
    async def run() -> None:
        bench = await Bench.of()
        for archived, state in ((True, "stopped"), (False, "running")):
            patch = {"spec": {"archived": archived}}
            await bench.world.client.patch(types.PROJECT, "homelab", "homelab", patch)
            await bench.running.settle()
            found = await status(bench.world)
            assert ready(found)[0] == "True" and bench.ct().status == state, ready(found)
            assert (ready(found)[1] == "Archived") is archived

    asyncio.run(run())


def test_a_window_that_can_not_be_is_told() -> None:
    async def run() -> None:
        bench = Bench(*await lab())
        window = {"schedule": "0 3 * * *", "timeZone": "Europe/Atlantis"}
        found = await bench.want(rebootPolicy="Window", rebootWindow=window)
        assert ready(found)[:2] == ("False", "InvalidSpec") and "Atlantis" in ready(found)[2]
        assert 2000 not in bench.world.containers()

    asyncio.run(run())
