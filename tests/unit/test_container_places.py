"""Where containers are, and whose their addresses and VMIDs are: on the stand-in, in one process."""

from __future__ import annotations

import asyncio
import copy
from typing import Any

from test_containers import Bench, lab, ready

from homeport.drivers.kubernetes import types
from homeport.plan.lxc import reachable
from homeport.plan.proxmox.properties import Network
from homeport.plan.proxmox.readings import Interface
from proxmox_inside import HOST


async def another_host(bench: Bench, name: str = "other") -> None:
    """A second ProxmoxHost, with the same projects."""
    host: dict[str, Any] = copy.deepcopy(dict(await bench.world.client.get(types.PROXMOX_HOST, None, HOST) or {}))
    metadata = {"name": name}
    await bench.world.apply([{**{k: host[k] for k in ("apiVersion", "kind", "spec")}, "metadata": metadata}])
    await bench.running.settle()


def test_a_container_stays_on_its_host_whatever_is_named_later() -> None:
    async def run() -> None:
        bench = await Bench.of()
        await another_host(bench)
        bench.writes()
        found = await bench.want(hostRef={"name": "other"}, memory="1Gi", onMissing="Recreate")
        assert ready(found) == (
            "False",
            "InvalidSpec",
            "its container 2000 is on ProxmoxHost lab, and other is named now; containers don't move between hosts. "
            "Name lab again, or delete this LXCContainer (it is looked for on lab) and make a new one",
        )
        assert (found["host"], found["vmid"], found["created"]) == (HOST, 2000, True)
        assert [write for write in bench.writes() if "/nodes/" in write] == []
        await bench.gone()
        assert not await bench.there() and bench.ct().config["tags"] == "homeport-retained"

    asyncio.run(run())


def test_what_was_never_made_is_made_where_it_is_named() -> None:
    async def run() -> None:
        bench = Bench(*await lab())
        await another_host(bench)
        adopt = {"adopt": {"expectHostname": "nobody"}, "template": None, "networks": None, "rootfs": None}
        bench.world.pve.add_ct(2050, "legacy", node="pve2", status="stopped")
        found = await bench.want(vmid=2050, **adopt)
        assert (found["host"], found["vmid"]) == (HOST, 2050) and not found.get("created"), found
        found = await bench.want(vmid=2050, hostRef={"name": "other"}, **adopt)
        assert (found["host"], found["vmid"], ready(found)[1]) == ("other", 2050, "InvalidSpec"), ready(found)
        assert "adopt expects nobody" in ready(found)[2]

    asyncio.run(run())


def test_a_guest_cannot_say_that_it_is_another_machine() -> None:
    async def run() -> None:
        bench = Bench(*await lab())
        told, checked = ("169.254.169.254", "10.96.0.1", "fd00::9"), []

        async def interfaces(*_: Any) -> tuple[Interface, ...]:
            return (Interface("eth0", "BC:24:11:00:00:2A", tuple(f"{address}/24" for address in told)),)

        async def check(target: Any) -> str:
            checked.append(target.address)
            return ""

        bench.running.engine.context.containers.prober.check = check
        driver: Any = bench.running.engine.context.hosts.driver(HOST)
        driver.interfaces = interfaces
        health = {"tcp": 53, "periodSeconds": 10}
        found = await bench.want(healthCheck=health)
        assert (found["address"], found["addresses"]) == ("10.20.0.10", ["10.20.0.10"])
        dhcp = {"name": "eth0", "bridge": "vmbr0", "address": "dhcp"}
        found = await bench.want(name="free", healthCheck=health, networks=[dhcp])
        assert found["addresses"] == ["10.96.0.1", "fd00::9"]
        assert "an address to check it at: one that a network was given" in ready(found)[2]
        assert set(checked) == {"10.20.0.10"}

    asyncio.run(run())


def test_addresses_that_may_be_checked_from_here() -> None:
    want = {"net0": Network("eth0", bridge="vmbr0", ip="dhcp", ip6="fd00::5/64")}
    found = reachable.of(want, ("10.20.0.7", "fd00::5", "127.0.0.1", "fe80::1", "8.8.8.8"))
    assert found == ("fd00::5", "10.20.0.7", "8.8.8.8")
    assert reachable.checkable(want, found, "10.20.0.0/24") == ("fd00::5", "10.20.0.7")
    assert reachable.checkable(want, found, None) == ("fd00::5",)


def test_two_do_not_get_one_address() -> None:
    async def run() -> None:
        bench = await Bench.of()
        bench.writes()
        found = await bench.want(name="second")
        text = "10.20.0.10 is LXCContainer/homelab/pihole's; write another address, or auto"
        assert ready(found) == ("False", "NameTaken", text)
        assert not [write for write in bench.writes() if "/nodes/" in write]

    asyncio.run(run())
