"""What a host gives to containers, pure: grants, nodes, bridges, VMIDs, addresses."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.api.environment import VmidRange
from homeport.api.pod import Port
from homeport.api.proxmoxhost import ProjectUse
from homeport.plan.proxmox import addresses, bridges, grants, placement, reach
from homeport.plan.proxmox.addresses import Unavailable
from homeport.plan.proxmox.bridges import Bridge
from homeport.plan.proxmox.grants import Attachment, Request
from homeport.plan.proxmox.placement import Ask, Load, NoNode
from homeport.plan.proxmox.readings import ClusterStatus, Guest, Node, Resources, Storage, Version, Volume
from homeport.plan.world import HostReading

MIB, GIB = 2**20, 2**30
LAN = Attachment("eth0", "vmbr0", 20)
USE = ProjectUse.model_validate(
    {
        "name": "home",
        "vmidRange": {"min": 2000, "max": 2009},
        "pool": "home",
        "nodes": ["a"],
        "storages": ["ssd"],
        "bridges": ["vmbr0"],
        "vlans": [20, 30],
    }
)


def asked(**wants: Any) -> tuple[str, ...]:
    return grants.check(USE, Request("home", "lab", **wants))


# --- grants ---------------------------------------------------------------------------------------------------------


def test_what_is_granted_is_granted() -> None:
    wants = {"vmid": 2000, "node": "a", "storages": ["ssd", "ssd"], "networks": [LAN], "pool": "home"}
    assert asked() == asked(**wants) == ()
    anything = ProjectUse.model_validate({"name": "home"})
    asks = Request("home", "lab", vmid=7000, node="z", storages=["x"], networks=[Attachment("e", "y")], pool="other")
    assert grants.check(anything, asks) == ()


def test_a_project_that_is_not_listed_may_use_nothing() -> None:
    (said,) = grants.check(None, Request("home", "lab"))
    assert said == (
        "ProxmoxHost lab doesn't list project home: an administrator has to add {name: home} to its spec.projects"
    )


@pytest.mark.parametrize(
    ("wants", "said"),
    [
        (
            {"vmid": 2010},
            "VMID 2010 isn't in the range 2000-2009 that ProxmoxHost lab gives project home; write one of these, or "
            "leave vmid out; an administrator may let it name others, with allowAdopt: true",
        ),
        (
            {"node": "b"},
            "node b isn't among those that ProxmoxHost lab gives project home (a); write one of these",
        ),
        (
            {"storages": ["ssd", "slow"]},
            "storage slow isn't among those that ProxmoxHost lab gives project home (ssd); write one of these",
        ),
        (
            {"networks": [Attachment("eth1", "vmbr1", 20)]},
            "network eth1: bridge vmbr1 isn't among those that ProxmoxHost lab gives project home (vmbr0); write one "
            "of these",
        ),
        (
            {"networks": [Attachment("eth0", "vmbr0", 40)]},
            "network eth0: VLAN 40 isn't among those that ProxmoxHost lab gives project home (20, 30); write one of "
            "these",
        ),
        (
            {"networks": [Attachment("eth0", "vmbr0")]},
            "network eth0 has no vlan; write one of those that ProxmoxHost lab gives project home: 20, 30",
        ),
        (
            {"pool": "other"},
            "pool other isn't the one that ProxmoxHost lab gives project home (home); write that, or leave pool out",
        ),
        (
            {"adopts": True},
            "project home may not take over containers of ProxmoxHost lab: an administrator has to set allowAdopt: "
            "true in its entry of spec.projects",
        ),
    ],
)
def test_what_is_not_granted_is_said_with_what_to_write(wants: dict[str, Any], said: str) -> None:
    assert asked(**wants) == (said,)


def test_who_may_adopt_names_vmids_outside_the_range_that_are_in_nobodys() -> None:
    use = USE.model_copy(update={"allow_adopt": True})
    others = [ProjectUse.model_validate({"name": "shop", "vmidRange": {"min": 300, "max": 399}})]

    def check(vmid: int, *, pinned: bool = True) -> tuple[str, ...]:
        return grants.check(use, Request("home", "lab", vmid=vmid, pinned=pinned, others=others))

    assert check(210) == check(2001) == check(2001, pinned=False) == ()
    assert check(300) == (
        "VMID 300 isn't in the range 2000-2009 that ProxmoxHost lab gives project home, and is in 300-399, the range "
        "of project shop; write one that is in nobody's range, or leave vmid out",
    )
    assert check(210, pinned=False) == (
        "VMID 210 isn't in the range 2000-2009 that ProxmoxHost lab gives project home; write one of these, or leave "
        "vmid out",
    )


def test_all_problems_are_said_at_once() -> None:
    assert len(asked(vmid=1, node="b", storages=["slow"], networks=[Attachment("e", "x")], adopts=True)) == 6


def test_an_environments_range_lies_within_the_projects() -> None:
    request = Request("home", "lab")
    assert grants.check_range(USE, VmidRange(min=2003, max=2009), request) == ()
    assert (
        grants.check_range(USE, None, request) == grants.check_range(None, VmidRange(min=100, max=101), request) == ()
    )
    (said,) = grants.check_range(USE, VmidRange(min=2003, max=2010), request)
    assert said.startswith("the range 2003-2010 isn't within 2000-2009, which ProxmoxHost lab gives project home")


def test_the_pool_is_the_projects_unless_another_is_asked_for() -> None:
    assert grants.pool_of(USE, None) == "home" and grants.pool_of(None, None) is None
    assert grants.pool_of(USE, "x") == "x"


# --- nodes ----------------------------------------------------------------------------------------------------------


def a_reading(**nodes: Node) -> HostReading:
    found = tuple(nodes.values()) or (Node("a", True, 8, 8 * GIB), Node("b", True, 8, 8 * GIB))
    storages = tuple(
        Storage(node.name, name, "dir", frozenset(content.split()), False, True)
        for node in found
        for name, content in (("iso", "iso"), ("ssd", "rootdir"))
    )
    template = (Volume("iso:vztmpl/debian", "vztmpl", 1),)
    status = ClusterStatus("lab", True, {node.name: node.online for node in found}, "a")
    return HostReading(
        Version(9, 1, 3, "9.1.3"),
        status,
        {},
        {node.name: template for node in found},
        Resources(found, storages, ()),
        {node.name: (Bridge("vmbr0", "bridge", ports=True),) for node in found},
    )


def with_guests(reading: HostReading, *guests: Guest) -> HostReading:
    return HostReading(**{**vars(reading), "resources": reading.resources._replace(guests=guests)})


def a_guest(vmid: int, node: str, memory: int, status: str = "running", kind: str = "lxc", *tags: str) -> Guest:
    return Guest(vmid, kind, node, str(vmid), status, frozenset(tags), memory=memory)


def test_the_node_with_most_free_memory_by_what_was_given() -> None:
    found = with_guests(a_reading(), a_guest(100, "a", GIB), a_guest(101, "b", 2 * GIB, "stopped"))
    assert placement.choose(Ask(GIB), found) == "b"  # what is stopped needs no memory
    ours = with_guests(a_reading(), a_guest(100, "a", GIB), a_guest(101, "b", 2 * GIB, "stopped", "lxc", "homeport"))
    assert placement.choose(Ask(GIB), ours) == "a"  # ours may be started any time
    machines = with_guests(a_reading(), a_guest(100, "a", GIB, "running", "qemu"))
    assert placement.choose(Ask(GIB), machines) == "b"
    assert placement.choose(Ask(GIB), machines, Load(reserved={"b": 2 * GIB})) == "a"
    assert placement.choose(Ask(GIB), a_reading()) == "a"  # equals go by name


def test_siblings_are_spread_before_memory_counts() -> None:
    full = with_guests(a_reading(), a_guest(100, "b", 6 * GIB))
    assert placement.choose(Ask(GIB), full, Load(siblings={"a": 1})) == "b"
    assert placement.choose(Ask(GIB), full, Load(siblings={"b": 2}, replicas={"a": 1})) == "b"
    assert placement.choose(Ask(3 * GIB), full, Load(siblings={"a": 5})) == "a"


def test_a_node_that_is_named_is_taken_however_full_it_is() -> None:
    full = with_guests(a_reading(), a_guest(100, "a", 8 * GIB))
    assert placement.choose(Ask(GIB, node="a"), full) == "a"
    assert placement.choose(Ask(GIB, node="z"), full) == NoNode(
        "there is no node z; write one of a, b, or leave node out"
    )
    off = a_reading(a=Node("a", False), b=Node("b", True, 8, 8 * GIB))
    assert placement.choose(Ask(GIB, node="a"), off) == NoNode("the container can't be made on node a: it is offline")


@pytest.mark.parametrize(
    ("ask", "why"),
    [
        (Ask(9 * GIB), "8Gi of its 8Gi memory are free, and 9Gi are asked for"),
        (Ask(GIB, nodes=["z"]), "the project may not use it"),
        (Ask(GIB, storages=["x"]), "it has no storage x"),
        (Ask(GIB, storages=["iso"]), "its storage iso isn't for containers (content: iso)"),
        (
            Ask(GIB, networks=[Attachment("e", "vmbr9")]),
            "it has no bridge vmbr9 that the token may use (those are: vmbr0)",
        ),
        (Ask(GIB, template="iso:vztmpl/alpine"), "it doesn't have the template iso:vztmpl/alpine"),
    ],
)
def test_no_node_fits_and_each_says_why(ask: Ask, why: str) -> None:
    assert placement.choose(ask, a_reading()) == NoNode(f"no node can take the container: a: {why}; b: {why}")


def test_what_a_container_needs_is_there() -> None:
    ask = Ask(GIB, None, ["b"], ["ssd"], [LAN], "iso:vztmpl/debian")
    assert placement.choose(ask, a_reading()) == "b"
    gone = a_reading().resources.storages
    gone = tuple(one._replace(available=False) for one in gone)
    found = HostReading(**{**vars(a_reading()), "resources": a_reading().resources._replace(storages=gone)})
    assert placement.choose(ask, found) == NoNode(
        "no node can take the container: a: the project may not use it; b: its storage ssd isn't available"
    )


@given(st.permutations(["a", "b", "c"]), st.dictionaries(st.sampled_from("abc"), st.integers(0, 3)))
def test_the_same_world_gives_the_same_node(order: list[str], siblings: dict[str, int]) -> None:
    nodes = {name: Node(name, True, 8, 8 * GIB) for name in order}
    chosen = placement.choose(Ask(GIB), a_reading(**nodes), Load(siblings=siblings))
    assert chosen == placement.choose(Ask(GIB), a_reading(**dict(sorted(nodes.items()))), Load(siblings=siblings))
    assert siblings.get(str(chosen), 0) == min(siblings.get(name, 0) for name in "abc")


@given(st.lists(st.integers(1, 4), max_size=40))
def test_no_node_is_given_more_than_it_has(sizes: list[int]) -> None:
    reserved: dict[str, int] = {}
    for size in sizes:
        node = placement.choose(Ask(size * GIB), a_reading(), Load(reserved=reserved))
        if isinstance(node, str):
            reserved[node] = reserved.get(node, 0) + size * GIB
    assert all(given <= 8 * GIB for given in reserved.values())


# --- bridges --------------------------------------------------------------------------------------------------------


RAW = [
    {"iface": "vmbr0", "type": "bridge", "active": 1, "bridge_ports": "eno1"},
    {"iface": "vmbr1", "type": "bridge", "active": "1", "bridge_ports": "none"},
    {"iface": "vmbr2", "type": "bridge", "active": 1, "bridge_ports": "eno2", "bridge_vlan_aware": 1},
    {"iface": "vmbr3", "type": "bridge", "active": 1, "bridge_vlan_aware": "1", "bridge_vids": "10 20-29"},
    {"iface": "vmbr4", "type": "bridge", "bridge_ports": "eno4"},
    {"iface": "ovs", "type": "OVSBridge", "active": 1, "ovs_ports": "eno5"},
    {"iface": "net1", "type": "vnet", "active": "1", "vlanaware": 0},
    {"iface": "net2", "type": "vnet", "active": "1", "vlanaware": 1},
    {"iface": "eno1", "type": "eth", "active": 1},
]


@pytest.mark.parametrize(
    ("name", "vlan", "why"),
    [
        ("vmbr0", None, None),
        ("vmbr0", 20, None),
        ("vmbr1", None, None),
        ("vmbr1", 20, "its bridge vmbr1 isn't aware of VLANs and has no port: set that on it, or leave vlan out"),
        ("vmbr2", 4094, None),
        ("vmbr3", 10, None),
        ("vmbr3", 29, None),
        ("vmbr3", 30, "its bridge vmbr3 passes the VLANs 10 20-29, and 30 isn't among them"),
        ("vmbr4", None, "its bridge vmbr4 isn't active"),
        ("ovs", 20, None),
        ("net1", None, None),
        ("net1", 20, "its virtual network net1 isn't aware of VLANs: leave vlan out, or set that in its SDN"),
        ("net2", 20, None),
    ],
)
def test_where_an_interface_can_be_plugged_in(name: str, vlan: int | None, why: str | None) -> None:
    found = bridges.bridges(RAW)
    assert [one.name for one in found] == sorted(str(raw["iface"]) for raw in RAW if raw["type"] != "eth")
    assert bridges.why_not(Attachment("eth0", name, vlan), found) == why


def test_a_node_whose_bridges_are_not_known_is_not_refused_for_them() -> None:
    assert bridges.why_not(LAN, None) is None
    assert "those are: none" in str(bridges.why_not(LAN, ()))


# --- VMIDs ----------------------------------------------------------------------------------------------------------


def test_the_lowest_vmid_that_nobody_has() -> None:
    allowed = VmidRange(min=2000, max=2003)
    assert addresses.vmid(allowed, guests={2000}, claimed={2001}, lost={2002}) == 2003
    assert addresses.vmid(allowed, guests={2000, 2001}, claimed={2001, 2002, 100}, lost={2003}) == Unavailable(
        "no VMID is left in 2000-2003: of 4, 2 are in use on the host, 1 are kept for LXCContainers that are being "
        "made and 1 are taken by what the token can't see; widen the range, or remove a container"
    )
    assert addresses.vmid(addresses.VMIDS, guests=(), claimed=()) == 100


@given(st.sets(st.integers(100, 120)), st.sets(st.integers(100, 120)), st.integers(100, 110), st.integers(0, 10))
def test_a_vmid_is_never_anothers(guests: set[int], claimed: set[int], low: int, size: int) -> None:
    found = addresses.vmid(VmidRange(min=low, max=low + size), guests=guests, claimed=claimed)
    free = set(range(low, low + size + 1)) - guests - claimed
    assert found == min(free) if free else isinstance(found, Unavailable)


# --- addresses ------------------------------------------------------------------------------------------------------


def at(*texts: str) -> frozenset[addresses.Address]:
    return addresses.static(texts)


def test_the_lowest_address_that_nobody_has() -> None:
    found = addresses.address(
        "10.20.0.0/24", gateway="10.20.0.1", claimed=at("10.20.0.2/24"), configured=at("10.20.0.3", "10.99.0.4")
    )
    assert found == "10.20.0.4/24"
    assert addresses.address("10.20.0.7/24") == "10.20.0.1/24"
    assert addresses.address("fd00::/64", claimed=at("fd00::1/64")) == "fd00::2/64"
    with pytest.raises(ValueError, match="300"):
        addresses.address("300.1.1.1/24")


def test_an_exhausted_network_says_who_has_what() -> None:
    said = addresses.address(
        "10.20.0.0/29",
        gateway="10.20.0.1",
        claimed=at("10.20.0.2", "10.20.0.3", "10.20.0.4"),
        configured=at("10.20.0.4", "10.20.0.5", "10.20.0.6", "10.20.1.1"),
    )
    assert said == Unavailable(
        "no address is left in 10.20.0.0/29: of 6, 1 is the gateway's, 3 are LXCContainers' and 2 are other guests'; "
        "widen the environment's network.cidr, or remove a container"
    )


def test_static_addresses_are_told_from_words() -> None:
    assert addresses.static(["dhcp", "auto", "manual", None, "", "10.0.0.1/8", "fd00::1"]) == {
        ipaddress.ip_address("10.0.0.1"),
        ipaddress.ip_address("fd00::1"),
    }


def test_the_addresses_of_a_configuration() -> None:
    options = {
        "net0": "name=eth0,bridge=vmbr0,ip=10.0.0.2/24,gw=10.0.0.1,ip6=fd00::2/64",
        "net1": "name=eth1,bridge=vmbr0,ip=dhcp",
        "ipconfig0": "ip=10.0.0.3/24,gw=10.0.0.1",
        "description": "net0: ip=10.0.0.9/24",
        "nameserver": "10.0.0.8",
    }
    assert addresses.configured(options) == at("10.0.0.2", "fd00::2", "10.0.0.3")


@given(st.integers(24, 32), st.sets(st.integers(0, 255)), st.sets(st.integers(0, 255)), st.integers(0, 255))
def test_an_address_is_never_anothers(prefix: int, claimed: set[int], configured: set[int], router: int) -> None:
    def text(number: int) -> str:
        return f"10.20.0.{number}"

    network = ipaddress.ip_network(f"10.20.0.0/{prefix}")
    found = addresses.address(
        str(network), gateway=text(router), claimed=at(*map(text, claimed)), configured=at(*map(text, configured))
    )
    free = set(network.hosts()) - at(*map(text, claimed | configured | {router}))
    if not free:
        assert isinstance(found, Unavailable) and f"of {len(list(network.hosts()))}, " in found.text
    else:
        assert found == f"{min(free)}/{prefix}"


# --- reached from Kubernetes ----------------------------------------------------------------------------------------


METADATA = {"name": "pihole", "namespace": "home", "labels": {"app": "dns"}}
PORTS = [Port(name="dns", port=53, protocol="UDP"), Port(name="web", port=8080, servicePort=80)]


def test_a_container_is_reached_by_a_service_without_selector() -> None:
    service, found = reach.objects(METADATA, PORTS, ["10.20.0.10/24", "10.20.0.11"], ready=True)
    assert service["metadata"] == METADATA and "selector" not in service["spec"]
    assert service["spec"] == {
        "type": "ClusterIP",
        "ipFamilyPolicy": "SingleStack",
        "ports": [
            {"name": "dns", "port": 53, "targetPort": 53, "protocol": "UDP"},
            {"name": "web", "port": 80, "targetPort": 8080, "protocol": "TCP"},
        ],
    }
    assert (found["metadata"]["name"], found["addressType"]) == ("pihole", "IPv4")
    assert found["metadata"]["labels"] == {
        "app": "dns",
        "kubernetes.io/service-name": "pihole",
        "endpointslice.kubernetes.io/managed-by": "homeport.dev",
    }
    assert found["endpoints"][0]["addresses"] == ["10.20.0.10"]
    assert found["ports"] == [
        {"name": "dns", "port": 53, "protocol": "UDP"},
        {"name": "web", "port": 8080, "protocol": "TCP"},
    ]


def test_with_both_families_there_are_two_slices() -> None:
    service, four, six = reach.objects(METADATA, PORTS, ["fd00::5/64", "10.20.0.10"], ready=False, dual=True)
    assert service["spec"]["ipFamilyPolicy"] == "PreferDualStack"
    assert [(one["metadata"]["name"], one["addressType"]) for one in (four, six)] == [
        ("pihole", "IPv4"),
        ("pihole-ipv6", "IPv6"),
    ]
    assert six["endpoints"] == [
        {"addresses": ["fd00::5"], "conditions": {"ready": False, "serving": False, "terminating": False}}
    ]


def test_addresses_that_lead_nowhere_make_no_slice() -> None:
    assert len(reach.objects(METADATA, PORTS, ["127.0.0.1", "fe80::1", "dhcp", "0.0.0.0"], ready=True)) == 1
