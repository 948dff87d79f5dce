"""Who is given which VMID, address and node: never two the same, whatever is asked in which order."""

from __future__ import annotations

import asyncio
import dataclasses
import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.api.environment import VmidRange
from homeport.api.labels import OwnerKey
from homeport.drivers.proxmox import errors
from homeport.engine.allocations import Allocations
from homeport.engine.hosts import Hosts
from homeport.engine.store import Store
from homeport.plan.proxmox import addresses
from homeport.plan.proxmox.addresses import Unavailable
from homeport.plan.proxmox.placement import Ask, NoNode
from homeport.plan.proxmox.readings import ClusterStatus, Guest, Node, Resources, Version
from homeport.plan.world import HostReading

GIB = 2**30
RANGE = VmidRange(min=2000, max=2003)
NODES = (Node("a", True, 8, 8 * GIB), Node("b", True, 8, 8 * GIB))
READING = HostReading(
    Version(9, 1, 3, "9.1.3"), ClusterStatus("lab", True, {"a": True, "b": True}, "a"), {}, {}, Resources(NODES)
)


def seen(*guests: Guest) -> HostReading:
    return dataclasses.replace(READING, resources=READING.resources._replace(guests=guests))


def a_guest(vmid: int, node: str = "a", memory: int = GIB) -> Guest:
    return Guest(vmid, "lxc", node, str(vmid), "running", memory=memory)


def key(name: str) -> OwnerKey:
    return OwnerKey("LXCContainer", "home", name)


class Others:
    """What other guests of a host are configured with."""

    def __init__(self) -> None:
        self.configured: frozenset[addresses.Address] = frozenset()
        self.fault: Exception | None = None

    async def addresses(self, name: str) -> frozenset[addresses.Address]:
        await asyncio.sleep(0)
        if self.fault is not None:
            raise self.fault
        return self.configured


class World:
    def __init__(self) -> None:
        self.store = Store()
        self.hosts: Any = Others()
        self.woken: list[OwnerKey] = []
        self.restart()

    def restart(self) -> None:
        """A new process: what is in the store is all that it knows."""
        hosts: Hosts = self.hosts
        self.given = Allocations(self.store, hosts, self.woken.append)

    def put(self, name: str, spec: dict[str, Any] | None = None, **fields: Any) -> OwnerKey:
        labels = fields.pop("labels", {})
        metadata = {"name": name, "namespace": "home", "uid": name, "creationTimestamp": fields.pop("created", "2026")}
        self.store.put(
            {
                "apiVersion": "homeport.dev/v1alpha1",
                "kind": "LXCContainer",
                "metadata": {**metadata, "labels": labels},
                "spec": {"hostRef": {"name": "lab"}, **(spec or {})},
                "status": fields,
            }
        )
        return key(name)

    def vmid(self, name: str, reading: HostReading = READING, allowed: VmidRange | None = RANGE) -> Any:
        return self.given.vmid(key(name), "lab", allowed, reading)

    async def address(self, name: str, cidr: str = "10.20.0.0/29", interface: str = "eth0") -> Any:
        return await self.given.address(key(name), "lab", interface, cidr, "10.20.0.1")


@pytest.fixture
def world() -> World:
    return World()


# --- VMIDs ----------------------------------------------------------------------------------------------------------


def test_each_gets_its_own_and_the_same_when_it_asks_again(world: World) -> None:
    assert [world.vmid(name) for name in ("db", "web", "db", "web")] == [2000, 2001, 2000, 2001]
    assert world.given.vmid(key("far"), "other", RANGE, READING) == 2000  # another host, other containers


def test_what_is_in_a_status_is_known_after_a_restart(world: World) -> None:
    world.put("db", vmid=2000)
    world.put("web", vmid=2001, replacing={"vmid": 2002})
    world.restart()
    assert world.vmid("new") == 2003
    world.put("elsewhere", {"hostRef": {"name": "other"}}, vmid=2003)
    assert world.vmid("new") == 2003


def test_one_that_has_its_vmid_gets_another(world: World) -> None:
    assert world.vmid("db") == 2000
    world.put("db", vmid=2000)
    assert world.vmid("db") == 2001  # for what takes its place
    assert world.vmid("db") == 2001


def test_what_a_spec_names_is_nobody_elses(world: World) -> None:
    world.put("db", {"vmid": 2000})
    # Which host this one is on isn't known yet.
    world.put("web", {"hostRef": None, "environmentRef": {"name": "prod"}, "vmid": 2001})
    assert world.vmid("new") == 2002


def test_guests_and_what_turned_out_to_be_taken_are_left_alone(world: World) -> None:
    assert world.vmid("db", seen(a_guest(2000))) == 2001
    world.given.lose("lab", 2001)
    assert world.vmid("db", seen(a_guest(2000))) == 2002
    assert world.vmid("db", seen(a_guest(2000), a_guest(2002))) == 2003  # somebody was faster
    assert world.vmid("web", allowed=None) == 100


def test_who_got_nothing_is_woken_when_one_goes(world: World) -> None:
    for number in range(4):
        world.put(f"c{number}", vmid=2000 + number)
    said = world.vmid("late")
    assert isinstance(said, Unavailable) and "of 4, 0 are in use on the host and 4 are kept for" in said.text
    world.store.remove(key("c2"))
    world.given.forget(key("c2"))
    assert world.woken == [key("late")]
    assert world.vmid("late") == 2002


def test_of_two_that_name_one_vmid_the_older_has_it(world: World) -> None:
    world.put("young", {"vmid": 2000}, created="2026-02")
    world.put("old", {"vmid": 2000}, created="2026-01")
    assert world.given.holder("lab", 2000, key("young")) == key("old")
    assert world.given.holder("lab", 2000, key("old")) is None
    world.put("young", {"vmid": 2000}, created="2026-02", vmid=2000)
    assert world.given.holder("lab", 2000, key("old")) == key("young")  # who has it keeps it
    assert world.given.holder("lab", 2000, key("young")) is None
    assert world.given.holder("lab", 2001, key("old")) is None


@given(st.lists(st.tuples(st.integers(0, 7), st.sampled_from(["ask", "write", "go", "crash"])), max_size=40))
def test_no_vmid_is_ever_two_containers(steps: list[tuple[int, str]]) -> None:
    world, used = World(), dict[OwnerKey, int]()
    for number, step in steps:
        name = f"c{number}"
        if step == "ask" and key(name) not in used:
            world.vmid(name)
        elif step == "write" and key(name) not in used:
            found = world.vmid(name)
            if isinstance(found, int):
                world.put(name, vmid=found)
                used[key(name)] = found
        elif step == "go":
            world.store.remove(key(name))
            world.given.forget(key(name))
            used.pop(key(name), None)
        elif step == "crash":
            world.restart()
        assert len(set(used.values())) == len(used)


# --- addresses ------------------------------------------------------------------------------------------------------


async def test_a_hundred_that_ask_at_once_get_a_hundred_addresses(world: World) -> None:
    found = await asyncio.gather(*(world.address(f"c{n}", "10.20.0.0/24") for n in range(100)))
    assert len(set(found)) == 100 and "10.20.0.1/24" not in found
    assert await world.address("c0", "10.20.0.0/24") == found[0]


async def test_addresses_of_statuses_specs_and_strangers_are_left_alone(world: World) -> None:
    world.put("a", networks=[{"name": "eth0", "id": "net0", "address": "10.20.0.2/29"}])
    world.put("b", {"networks": [{"name": "eth0", "bridge": "vmbr0", "address": "10.20.0.3/29"}]})
    world.put("c", {"hostRef": {"name": "other"}}, addresses=["10.20.0.4"])
    world.hosts.configured = addresses.static(["10.20.0.5"])
    world.restart()
    assert await world.address("new") == "10.20.0.6/29"
    said = await world.address("late")
    assert isinstance(said, Unavailable) and "of 6, 1 is the gateway's, 4 are LXCContainers' and 1 are" in said.text
    world.given.forget(key("new"))
    assert world.woken == [key("late")] and await world.address("late") == "10.20.0.6/29"


async def test_each_interface_has_its_own_and_a_new_network_another(world: World) -> None:
    assert await world.address("db") == "10.20.0.2/29"
    assert await world.address("db", interface="eth1") == "10.20.0.3/29"
    assert await world.address("db", "10.30.0.0/24") == "10.30.0.1/24"


async def test_without_knowing_what_others_have_nothing_is_given(world: World) -> None:
    world.hosts.fault = errors.NodeUnreachable(595, "No route to host")
    said = await world.address("db")
    assert isinstance(said, Unavailable) and "write an address instead of auto" in said.text


# --- nodes ----------------------------------------------------------------------------------------------------------


def test_memory_is_kept_until_the_container_is_seen(world: World) -> None:
    ask = Ask(5 * GIB)

    def place(name: str, reading: HostReading = READING) -> Any:
        return world.given.place(key(name), "lab", ask, reading)

    for name in ("c0", "c1", "c2"):
        world.put(name, {"memory": "5Gi"})
    assert [place(name) for name in ("c0", "c1", "c0")] == ["a", "b", "a"]
    assert isinstance(place("c2"), NoNode)
    # What is written counts after a restart, too.
    world.put("c0", {"memory": "5Gi"}, vmid=2000, node="a")
    world.put("c1", {"memory": "5Gi"}, vmid=2001, node="b")
    world.restart()
    assert isinstance(place("c2"), NoNode)
    # Where it is seen, it is counted as it is seen: once, and where it has moved to.
    small = seen(a_guest(2000, "b", GIB), a_guest(2001, "b", GIB))
    assert place("c2", small) == "a"


def test_containers_of_an_application_are_spread(world: World) -> None:
    web = {"homeport.dev/application": "shop", "homeport.dev/component": "web"}
    db = {**web, "homeport.dev/component": "db"}
    world.put("db", {"memory": "512Mi"}, labels=db, vmid=2000, node="a")
    world.put("web-0", labels=web)
    world.put("web-1", labels=web)
    world.put("alone")
    full = seen(a_guest(2000), a_guest(100, "b", 4 * GIB))
    placed = [world.given.place(key(name), "lab", Ask(GIB), full) for name in ("web-0", "web-1", "alone")]
    assert placed == ["b", "a", "a"]


def test_an_address_that_two_write_is_the_older_ones_or_the_ones_that_has_it(world: World) -> None:
    def net(**more: Any) -> dict[str, Any]:
        return {"networks": [{"name": "eth0", "bridge": "vmbr0", "address": "10.20.0.10/24", **more}]}

    db, web = world.put("db", net(), created="2026-01-01"), world.put("web", net(), created="2026-01-02")
    holder = world.given.address_holder
    assert holder("lab", db) is None
    assert holder("lab", web) == (ipaddress.ip_address("10.20.0.10"), db)
    world.put("web", net(vlan=7), created="2026-01-02")
    assert holder("lab", web) == (ipaddress.ip_address("10.20.0.10"), db)  # whose VLAN isn't known
    world.put("web", net(bridge="vmbr1"), created="2026-01-02")
    assert holder("lab", web) is None
    auto = world.put("auto", net(address="auto"), networks=[{"name": "eth0", "address": "10.20.0.10/24"}])
    assert holder("lab", db) == (ipaddress.ip_address("10.20.0.10"), auto)
    assert holder("lab", auto) is None
