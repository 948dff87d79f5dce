"""Proxmox VE's values: read and written without loss, and compared as PVE means them."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

import pytest
from fakepve import lxc as fake_lxc
from fakepve import schema as fake_schema
from hypothesis import given
from hypothesis import strategies as st

from homeport.plan.proxmox import config, privileges, properties, readings, sizes, tasks
from homeport.plan.proxmox.config import Impact
from homeport.plan.proxmox.privileges import Feature, Need, Use
from homeport.plan.proxmox.properties import Features, Mount, Network, PropertyError

CHANGE = fake_schema.load().paths["/nodes/{node}/lxc/{vmid}/config"]["PUT"]["parameters"]

# --- property strings -----------------------------------------------------------------------------------------------

words = st.text("abcdefghij0123456789_-.", min_size=1, max_size=10)
flags = st.none() | st.booleans()
macs = st.integers(0, 2**24 - 1).map(lambda n: "BC:24:11:" + ":".join(f"{n:06X}"[i : i + 2] for i in (0, 2, 4)))
networks = st.builds(
    Network,
    name=words,
    bridge=st.none() | words,
    hwaddr=st.none() | macs,
    ip=st.sampled_from([None, "dhcp", "manual", "10.20.0.10/24"]),
    gw=st.sampled_from([None, "10.20.0.1"]),
    ip6=st.sampled_from([None, "auto", "dhcp", "fd00::1/64"]),
    tag=st.none() | st.integers(1, 4094),
    trunks=st.lists(st.integers(1, 4094).map(str), max_size=3).map(tuple),
    mtu=st.none() | st.integers(64, 65535),
    rate=st.none() | st.sampled_from([1.0, 12.5, 100.0]),
    firewall=flags,
    link_down=flags,
    host_managed=flags,
    type=st.sampled_from([None, "veth"]),
)
mounts = st.builds(
    Mount,
    volume=st.sampled_from(["local-lvm:vm-100-disk-0", "local-lvm:8", "/mnt/data", "/dev/sdb", "zfs:subvol-1-disk-1"]),
    path=st.sampled_from([None, "/var/lib/data", "/srv"]),
    size=st.none() | st.integers(1, 2**50),
    backup=flags,
    read_only=flags,
    replicate=flags,
    acl=flags,
    options=st.lists(st.sampled_from(["noatime", "nodev", "discard"]), max_size=2, unique=True).map(tuple),
)
features = st.builds(
    Features,
    nesting=flags,
    keyctl=flags,
    fuse=flags,
    mount=st.lists(st.sampled_from(["nfs", "cifs"]), max_size=2, unique=True).map(tuple),
)


@given(networks | mounts | features)
def test_what_is_written_reads_the_same(value: Any) -> None:
    assert type(value).parse(value.render()) == value


@given(networks)
def test_pve_takes_every_network_that_is_written(network: Network) -> None:
    _, wrong = fake_schema.validate(CHANGE, {"node": "pve1", "vmid": 100, "net0": network.render()})
    assert not wrong


@given(networks)
def test_what_pve_writes_back_is_what_was_asked_for(network: Network) -> None:
    """PVE sorts the keys, sets the type, and gives a MAC to what has none: none of that is a difference."""
    assert network.same_as(Network.parse(fake_lxc.normalise("net0", network.render())))


@given(networks, networks)
def test_a_network_that_differs_is_seen(one: Network, other: Network) -> None:
    settled = [dataclasses.replace(n, hwaddr=None, type=None, extra=()) for n in (one, other)]
    plain = [{k: v or None for k, v in dataclasses.asdict(n).items()} for n in settled]
    if plain[0] != plain[1]:
        assert not one.same_as(other)


def test_a_key_that_is_not_known_survives() -> None:
    text = "name=eth0,bridge=vmbr0,colour=blue"
    assert Network.parse(text).extra == (("colour", "blue"),)
    assert properties.split(Network.parse(text).render()) == properties.split(text)


@pytest.mark.parametrize(
    ("model", "text", "what"),
    [
        (Network, "bridge=vmbr0", "no name"),
        (Network, "name=eth0,firewall=perhaps", "isn't a boolean"),
        (Network, "name=eth0,tag=lan", "'lan'"),
        (Network, "eth0,name=eth0", "has no key"),
        (Mount, "local:1,local:2", "has no key"),
        (Mount, "local:1,mp=/a,mp=/b", "mp twice"),
        (Mount, "local:1,size=big", "isn't a size"),
    ],
)
def test_what_is_no_property_string_is_said(model: Any, text: str, what: str) -> None:
    with pytest.raises(PropertyError, match=re.escape(what)):
        model.parse(text)


def test_the_mac_is_echoed() -> None:
    found = {"net0": Network("eth0", hwaddr="BC:24:11:00:00:01"), "net1": Network("lan", hwaddr="BC:24:11:00:00:02")}
    wanted = {
        "net0": Network("eth0", mtu=1400),
        "net1": Network("lan", hwaddr="BC:24:11:00:00:09"),
        "net2": Network("x"),
    }
    sent = properties.echo_macs(wanted, found)
    assert [n.hwaddr for n in sent.values()] == ["BC:24:11:00:00:01", "BC:24:11:00:00:09", None]
    swapped = properties.echo_macs({"net0": Network("lan"), "net1": Network("eth0")}, found)
    assert [n.hwaddr for n in swapped.values()] == ["BC:24:11:00:00:02", "BC:24:11:00:00:01"]
    renamed = properties.echo_macs({"net0": Network("wan")}, {"net0": found["net0"]})
    assert renamed["net0"].hwaddr == "BC:24:11:00:00:01"


@given(st.lists(st.sampled_from(["DNS", "dns", "Web", "lan", "a-b"]), max_size=5))
def test_tags_are_a_set(wanted: list[str]) -> None:
    text = properties.tags_text(wanted)
    assert properties.tags(text) == {tag.lower() for tag in wanted} == properties.tags(", ".join(wanted))
    assert fake_lxc.normalise("tags", text) == text


def test_features_that_only_root_may_change() -> None:
    assert Features(nesting=True).root_only(Features()) == ()
    assert Features(nesting=True, keyctl=True, mount=("nfs",)).root_only(Features(fuse=True)) == (
        "fuse",
        "keyctl",
        "mount",
    )
    assert Features(keyctl=False).root_only(Features()) == ()


@pytest.mark.parametrize(("volume", "kind", "storage"), [
    ("local-lvm:vm-1-disk-0", "volume", "local-lvm"), ("/dev/sdb", "device", None), ("/mnt/x", "bind", None),
])  # fmt: skip
def test_kinds_of_mounts(volume: str, kind: str, storage: str | None) -> None:
    assert (Mount(volume).kind, Mount(volume).storage) == (kind, storage)


# --- sizes ----------------------------------------------------------------------------------------------------------


@given(st.integers(0, 2**60))
def test_sizes_read_as_written(size: int) -> None:
    assert sizes.parse(sizes.render(size)) == size
    assert sizes.render(size) == fake_lxc.format_size(size)
    assert sizes.of_quantity(sizes.quantity(size)) == size


@given(st.integers(1, 2**44), st.sampled_from(["", "k", "Ki", "Mi", "Gi"]))
def test_a_new_volume_is_never_smaller_than_asked(number: int, unit: str) -> None:
    quantity = f"{number % 10**6 + 1}{unit}"
    gib = sizes.new_volume("s", quantity).partition(":")[2]
    # pve-container create_disks: int(GiB * 1024) MiB
    made = int(float(gib) * 1024) * sizes.MIB
    assert made - sizes.MIB < sizes.of_quantity(quantity) <= made


def test_sizes_by_example() -> None:
    assert [sizes.parse(text) for text in ("8G", "512M", "1.5G", "1000")] == [8 * 2**30, 2**29, 3 * 2**29, 1000]
    assert [sizes.render(n) for n in (8 * 2**30, 1536 * 2**20, 1000)] == ["8G", "1536M", "1000"]
    assert [sizes.mebibytes(q) for q in ("512Mi", "1Gi", "1G", "1")] == [512, 1024, 954, 1]
    assert [sizes.new_volume("a", q) for q in ("8Gi", "512Mi", "1G")] == ["a:8", "a:0.5", "a:0.931640625"]
    for wrong in ("", "8X", "-1", "8 G B"):
        with pytest.raises(ValueError, match="isn't a size"):
            sizes.parse(wrong)


# --- a container's configuration ------------------------------------------------------------------------------------

RAW = {
    "digest": "abc",
    "hostname": "pihole",
    "memory": 512,
    "swap": "256",
    "cores": 2,
    "unprivileged": 1,
    "onboot": "1",
    "rootfs": "local-lvm:vm-100-disk-0,size=8G",
    "mp0": "local-lvm:vm-100-disk-1,mp=/var/lib/data,backup=1,size=20G",
    "net0": "name=eth0,bridge=vmbr0,hwaddr=BC:24:11:00:00:01,ip=dhcp,type=veth",
    "net10": "name=a",
    "net2": "name=b",
    "features": "nesting=1",
    "unused0": "local-lvm:vm-100-disk-9",
    "description": "hello\n",
    "tags": "Dns;lan",
    "lock": "backup",
    "lxc": [["lxc.init.uid", "1000"]],
}


def test_a_configuration_is_read() -> None:
    found = config.container_config(RAW)
    assert (found.digest, found.hostname, found.memory, found.swap, found.cores) == ("abc", "pihole", 512, 256, 2)
    assert found.unprivileged and found.on_boot and not found.protection and found.lock == "backup"
    assert found.rootfs == Mount("local-lvm:vm-100-disk-0", size=8 * 2**30)
    assert found.mounts["mp0"].path == "/var/lib/data" and found.mounts["mp0"].backup
    assert list(found.networks) == ["net0", "net2", "net10"]
    assert found.features.nesting and found.tags == {"dns", "lan"} and found.description == "hello"
    assert found.unused == {"unused0": "local-lvm:vm-100-disk-9"}
    assert "digest" not in found.options and found.options["lxc"] == RAW["lxc"]


def test_an_empty_configuration_has_pves_defaults() -> None:
    found = config.container_config({})
    assert (found.memory, found.swap, found.unprivileged, found.rootfs, found.tags) == (
        512,
        512,
        False,
        None,
        frozenset(),
    )


def test_pending_changes() -> None:
    raw = [
        {"key": "memory", "value": "512"},
        {"key": "nameserver", "value": "10.0.0.1", "pending": "10.0.0.2"},
        {"key": "features", "pending": "nesting=1"},
        {"key": "timezone", "value": "host", "delete": 1},
        {"key": "cores", "value": "2", "pending": "2"},
    ]
    assert config.pending_changes(raw) == (
        ("features", None, "nesting=1"),
        ("nameserver", "10.0.0.1", "10.0.0.2"),
        ("timezone", "host", None),
    )


@pytest.mark.parametrize(
    ("option", "there", "delete", "wanted"),
    [
        ("cores", True, False, Impact.LIVE),
        ("memory", True, False, Impact.LIVE),
        ("swap", True, True, Impact.LIVE),
        ("memory", True, True, Impact.REBOOT),
        ("tags", True, False, Impact.LIVE),
        ("net0", True, False, Impact.LIVE),
        ("net0", True, True, Impact.LIVE),
        ("mp0", False, False, Impact.LIVE),
        ("mp0", True, False, Impact.REBOOT),
        ("mp0", True, True, Impact.REBOOT),
        ("features", True, False, Impact.REBOOT),
        ("nameserver", True, False, Impact.REBOOT),
        ("searchdomain", False, False, Impact.REBOOT),
        ("entrypoint", True, False, Impact.REBOOT),
        ("unprivileged", True, False, Impact.RECREATE),
        ("hookscript", False, False, Impact.ROOT_ONLY),
        ("dev0", False, False, Impact.ROOT_ONLY),
    ],
)
def test_what_a_change_takes(option: str, there: bool, delete: bool, wanted: Impact) -> None:
    assert config.impact(option, running=True, there=there, delete=delete) is wanted
    stopped = config.impact(option, running=False, there=there, delete=delete)
    assert stopped is (Impact.LIVE if wanted is Impact.REBOOT else wanted)


# --- tasks ----------------------------------------------------------------------------------------------------------

UPID = "UPID:pve1:0000C530:001C9BEC:5FA2B6C1:vzcreate:210:homeport@pve!operator:"


def test_a_upid_is_read() -> None:
    found = tasks.Upid.parse(UPID)
    assert (found.node, found.type, found.id, found.user) == ("pve1", "vzcreate", "210", "homeport@pve!operator")
    assert str(found) == UPID and found.started == 0x5FA2B6C1


@given(st.text(max_size=60))
def test_what_is_no_upid_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match="isn't a task's UPID"):
        tasks.Upid.parse(text)


@pytest.mark.parametrize(
    ("raw", "end", "good"),
    [
        ({"status": "running"}, tasks.End.RUNNING, False),
        ({"status": "stopped", "exitstatus": "OK"}, tasks.End.OK, True),
        ({"status": "stopped", "exitstatus": "WARNINGS: 3"}, tasks.End.WARNINGS, True),
        ({"status": "stopped", "exitstatus": "CT is locked (backup)"}, tasks.End.FAILED, False),
        ({"status": "stopped", "exitstatus": "WARNINGS: many"}, tasks.End.FAILED, False),
        ({"status": "stopped", "exitstatus": "unexpected status"}, tasks.End.UNKNOWN, False),
        ({"status": "stopped"}, tasks.End.UNKNOWN, False),
    ],
)
def test_how_a_task_ends(raw: dict[str, str], end: tasks.End, good: bool) -> None:
    found = tasks.task_status(tasks.Upid.parse(UPID), raw)
    assert (found.end, found.succeeded, found.running) == (end, good, end is tasks.End.RUNNING)


# --- readings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "numbers", "supported"),
    [("9.1.3", (9, 1, 3), True), ("8.4-1", (8, 4, 1), True), ("8.0.2", (8, 0, 2), True), ("9.1~2", (9, 1, 2), True),
     ("7.4-17", (7, 4, 17), False), ("10.0.1", (10, 0, 1), False)],
)  # fmt: skip
def test_versions(text: str, numbers: tuple[int, int, int], supported: bool) -> None:
    found = readings.Version.parse(text)
    assert (found[:3], readings.is_supported(found)) == (numbers, supported)
    assert found.at_least(9, 1) is (numbers >= (9, 1, 0))


def test_a_version_that_is_none() -> None:
    with pytest.raises(ValueError, match="isn't a version"):
        readings.Version.parse("rolling")


def test_a_host_on_its_own_is_its_own_cluster() -> None:
    found = readings.cluster_status([{"type": "node", "name": "pve", "online": 1, "local": 1}])
    assert found == ("pve", True, {"pve": True}, "pve") and found.complete


def test_a_cluster_that_lost_a_node_is_not_complete() -> None:
    raw = [
        {"type": "cluster", "name": "lab", "quorate": 1},
        {"type": "node", "name": "a", "online": 1, "local": 1},
        {"type": "node", "name": "b", "online": 0},
    ]
    found = readings.cluster_status(raw)
    assert (found.name, found.quorate, found.nodes, found.complete) == ("lab", True, {"a": True, "b": False}, False)


def test_numbers_that_are_text_and_what_is_left_out() -> None:
    found = readings.resources(
        [
            {"type": "node", "node": "b", "status": "offline"},
            {"type": "node", "node": "a", "status": "online", "maxcpu": "16", "maxmem": 64 * 2**30, "cpu": "0.5"},
            {"type": "sdn", "sdn": "localnetwork", "node": "a"},
            {"type": "lxc", "vmid": "210", "node": "a", "status": "running", "tags": "b;A", "maxcpu": 1.5, "lock": ""},
            {"type": "lxc", "vmid": 300, "node": "a", "status": "stopped", "template": 1},
            {"type": "qemu", "vmid": 90, "node": "a", "status": "running"},
        ]
    )
    assert [n.name for n in found.nodes] == ["a", "b"] and found.offline() == ("b",)
    assert found.nodes[0].cpus == 16 and found.nodes[0].cpu_used == 0.5 and found.nodes[1].memory is None
    assert [g.vmid for g in found.containers] == [210] and [g.vmid for g in found.guests] == [90, 210, 300]
    assert found.containers[0].tags == {"a", "b"} and found.containers[0].lock is None


def test_addresses_of_old_and_new_versions() -> None:
    new = {"name": "eth0", "hwaddr": "bc:24:11:00:00:01", "inet": "10.0.0.1/24", "ip-addresses": [
        {"ip-address": "10.0.0.1", "prefix": 24}, {"ip-address": "10.0.0.2", "prefix": 24},
        {"ip-address": "fe80::1", "prefix": 64}]}  # fmt: skip
    old = {"name": "eth0", "hwaddr": "bc:24:11:00:00:01", "inet": "10.0.0.1/24", "inet6": "fd00::1/64"}
    assert readings.interfaces([{"name": "lo"}, new])[0].addresses == ("10.0.0.1/24", "10.0.0.2/24")
    assert readings.interfaces([old])[0] == ("eth0", "BC:24:11:00:00:01", ("10.0.0.1/24", "fd00::1/64"))
    assert readings.interfaces(None) == ()


# --- privileges -----------------------------------------------------------------------------------------------------


def test_what_passes_on_and_what_does_not() -> None:
    held = {"/": {"Sys.Audit": 0}, "/vms": {"VM.Audit": 1, "VM.Allocate": 0}, "/vms/100": {"VM.PowerMgmt": 1}}
    assert privileges.holds(held, "/", "Sys.Audit") and not privileges.holds(held, "/nodes/a", "Sys.Audit")
    assert privileges.holds(held, "/vms/200", "VM.Audit") and not privileges.holds(held, "/vms/200", "VM.Allocate")
    assert privileges.holds(held, "/vms", "VM.Allocate")
    # An ACL on a path takes the place of what is above it.
    assert not privileges.holds(held, "/vms/100", "VM.Audit") and privileges.holds(held, "/vms/100", "VM.PowerMgmt")
    assert not privileges.holds({}, "/vms", "VM.Audit")


def test_the_role_of_the_documents_is_just_enough() -> None:
    role = {name: 1 for feature in (Feature.INVENTORY, Feature.CONTAINERS) for name in privileges.ROLE[feature]}
    wanted = privileges.needs([Use(storages=("local-lvm",), bridges=("vmbr0",))])
    assert privileges.missing({"/": role}, wanted) == ()
    for name in role:
        left = {"/": {other: 1 for other in role if other != name}}
        assert {need.privilege for need in privileges.missing(left, wanted)} == {name}


def test_a_pool_is_enough_for_its_guests() -> None:
    guests = {name: 1 for name in privileges.ROLE[Feature.CONTAINERS] if name.startswith("VM.")}
    held = {
        "/": {"Sys.Audit": 1, "Datastore.Audit": 1, "Datastore.AllocateSpace": 1, "SDN.Use": 1},
        "/pool/home": guests,
    }
    assert privileges.missing(held, privileges.needs([Use(pool="home")])) == ()
    assert Need(Feature.CONTAINERS, "/vms", "VM.Allocate") in privileges.missing(held, privileges.needs([Use()]))


def test_without_projects_only_the_inventory_is_needed() -> None:
    assert {need.feature for need in privileges.needs([])} == {Feature.INVENTORY}


def test_every_privilege_is_one_of_pves() -> None:
    known = json.dumps(fake_schema.load().paths)
    from fakepve.shapes import PRIVILEGES  # noqa: PLC0415

    wanted = {name for names in privileges.ROLE.values() for name in names}
    assert wanted <= set(PRIVILEGES) | {name for name in wanted if f'"{name}"' in known}


@pytest.mark.parametrize(
    "value",
    [
        Mount("local-lvm:1", path="/data,idmap=u:0:0:1"),
        Mount("local-lvm:1,shared=1", path="/data"),
        Mount("local-lvm:1", path="/data", options=("noatime,ro=0",)),
        Mount("local-lvm:1", path="/data", options=("noatime;discard",)),
        Network("eth0", bridge="vmbr0,firewall=0"),
    ],
)
def test_no_value_writes_another_one(value: Mount | Network) -> None:
    with pytest.raises(PropertyError, match="it would be read as several"):
        value.render()
