"""What differs between a container and its spec, and what mending it takes: values, and properties with hypothesis."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeport.api.lxccontainer import LXCContainerSpec
from homeport.api.lxcstatus import MountState
from homeport.api.resource import parse_spec
from homeport.plan.lxc import creation, diff, owner
from homeport.plan.lxc.differences import Diff
from homeport.plan.lxc.owner import Owner
from homeport.plan.lxc.wanted import Place, Wanted, wanted
from homeport.plan.proxmox.config import Impact, PendingChange, container_config

ME = Owner("inst", "homelab", "pihole", 2000)
PLACE = Place(host="lab", node="pve1", owner=ME, storage="local-lvm", template="local:vztmpl/t", bridge="vmbr0")
VOLUMES = {"rootfs": "local-lvm:vm-2000-disk-0", "mp0": "local-lvm:vm-2000-disk-1", "mp1": "local-lvm:vm-2000-disk-2"}


def spec(**fields: Any) -> LXCContainerSpec:
    """A spec."""
    base = {"hostRef": {"name": "lab"}, "template": "local:vztmpl/t", "rootfs": {"size": "8Gi"}}
    return parse_spec(LXCContainerSpec, {**base, **fields})


def want(adopted: bool = False, **fields: Any) -> Wanted:
    """What a spec wants."""
    return wanted("pihole", spec(**fields), PLACE, adopted=adopted)


def made(target: Wanted) -> dict[str, Any]:
    """The configuration of a container that was made as wanted: what PVE keeps of the creation's parameters."""
    sent = creation.creation(target)
    out = {key: value for key, value in sent.items() if key not in ("vmid", "ostemplate", "start", "pool")}
    for key in [key for key in out if key in VOLUMES]:
        size, _, rest = str(out[key]).partition(":")[2].partition(",")
        out[key] = ",".join(filter(None, (VOLUMES[key], rest, f"size={int(float(size) * 1024)}M")))
    for key in [key for key in out if key.startswith("net")]:
        out[key] = f"{out[key]},hwaddr=BC:24:11:00:00:01,type=veth"
    return {**out, "digest": "d", "ostype": "debian", "arch": "amd64"}


def sent(found: Diff) -> dict[str, str]:
    """What is sent, by option, with what is deleted."""
    return found.options()


specs = st.fixed_dictionaries(
    {},
    optional={
        "cores": st.integers(1, 64),
        "cpuLimit": st.sampled_from(["0", "1", "1500m", "2.5"]),
        "cpuUnits": st.integers(8, 10000),
        "memory": st.sampled_from(["16Mi", "512Mi", "1Gi", "1000M"]),
        "swap": st.sampled_from(["0", "512Mi", "1Gi"]),
        "onBoot": st.booleans(),
        "tags": st.lists(st.sampled_from(["dns", "lan", "a.b", "x-1"]), max_size=3, unique=True),
        "description": st.sampled_from(["", "one line", "two\nlines", "ends\n\n"]),
        "features": st.sampled_from([{}, {"nesting": True}, {"nesting": False}]),
        "startup": st.sampled_from([{"order": 1}, {"up": 30, "down": 60}]),
        "dns": st.sampled_from([{"servers": ["10.20.0.1", "10.20.0.2"]}, {"domain": "lab"}]),
        "mounts": st.sampled_from(
            [[], [{"name": "data", "path": "/data", "size": "4Gi", "backup": True}],
             [{"name": "a", "path": "/a", "size": "1500Mi"},
              {"name": "b", "path": "/b", "size": "1Gi", "readOnly": True}]]
        ),
        "networks": st.sampled_from(
            [[{"name": "eth0", "address": "10.20.0.10/24", "gateway": "10.20.0.1", "vlan": 20, "firewall": True}],
             [{"name": "eth0", "address": "dhcp"}, {"name": "eth1", "bridge": "vmbr1", "address6": "slaac"}]]
        ),
        "unprivileged": st.booleans(),
    },
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(specs, st.booleans())
def test_what_was_made_as_wanted_differs_in_nothing(fields: dict[str, Any], running: bool) -> None:
    target = want(**fields)
    # Protection, entrypoint and env are set after the creation; none of them is in these specs.
    found = diff.compare(target, container_config(made(target)), running=running, template=target.template)
    assert found.differences == () and found.resizes == () and found.lost == ()


@settings(max_examples=100, deadline=None)
@given(specs, specs)
def test_sending_what_differs_leaves_nothing_to_send(before: dict[str, Any], after: dict[str, Any]) -> None:
    """On a stopped container everything is applied at once: after the PUT and the resizes the plan is empty."""
    was = want(**before)
    target = want(**after)
    config = made(was)
    first = diff.compare(target, container_config(config), running=False, template=target.template,
                         mounts=diff.compare(was, container_config(config), running=False).mounts)  # fmt: skip
    for key, value in first.options().items():
        if key == "delete":
            for gone in value.split(","):
                config.pop(gone, None)
        elif key != "revert":
            config[key] = _kept(key, value)
    for resize in first.resizes:
        parts = [part for part in str(config[resize.disk]).split(",") if not part.startswith("size=")]
        config[resize.disk] = ",".join([*parts, f"size={resize.size // 2**20}M"])
    second = diff.compare(target, container_config(config), running=False, template=target.template,
                          mounts=first.mounts)  # fmt: skip
    assert second.options() == {} and second.resizes == ()


def _kept(key: str, value: str) -> str:
    """As PVE keeps it: a new volume has a name and a size."""
    if not key.startswith("mp") or "vm-2000" in value:
        return value
    _, _, rest = value.partition(":")
    size, _, more = rest.partition(",")
    return ",".join(filter(None, (f"local-lvm:vm-2000-disk-{key}", more, f"size={int(float(size) * 1024)}M")))


@pytest.mark.parametrize(
    ("fields", "by_hand", "option", "impact"),
    [
        ({"cores": 2}, {"cores": 1}, "cores", Impact.LIVE),
        ({}, {"memory": 1024}, "memory", Impact.LIVE),
        ({"cpuLimit": "2"}, {}, "cpulimit", Impact.LIVE),
        ({}, {"tags": "old"}, "tags", Impact.LIVE),
        ({"features": {"nesting": True}}, {}, "features", Impact.REBOOT),
        ({"dns": {"domain": "lab"}}, {}, "searchdomain", Impact.REBOOT),
        ({"timezone": "Europe/Rome"}, {"timezone": "UTC"}, "timezone", Impact.REBOOT),
        ({"unprivileged": False}, {"unprivileged": 1}, "unprivileged", Impact.RECREATE),
        ({"rootfs": {"storage": "other", "size": "8Gi"}}, {}, "rootfs", Impact.RECREATE),
        ({"networks": []}, {"net0": "name=eth0,bridge=vmbr0"}, "net0", Impact.LIVE),
    ],
)
def test_what_mending_takes(fields: dict[str, Any], by_hand: dict[str, Any], option: str, impact: Impact) -> None:
    base = {"networks": []} if "networks" in fields else {}
    config = {**made(want(**base)), **by_hand}
    found = diff.compare(want(**fields), container_config(config), running=True, template="local:vztmpl/t")
    assert {one.field: one.impact for one in found.differences} == {option: impact}


def test_another_template_is_a_new_container_and_is_never_sent() -> None:
    found = diff.compare(want(), container_config(made(want())), running=True, template="local:vztmpl/old")
    assert [one.field for one in found.recreate] == ["template"] and found.options() == {}


def test_what_waits_for_a_reboot_is_not_sent_again() -> None:
    target, config = want(features={"nesting": True}), container_config(made(want()))
    first = diff.compare(target, config, running=True)
    assert sent(first) == {"features": "nesting=1"}
    waits = [PendingChange("features", None, "nesting=1")]
    second = diff.compare(target, config, waits, running=True)
    assert sent(second) == {} and second.pending == ("features",)
    back = diff.compare(want(), config, waits, running=True)
    assert sent(back) == {"revert": "features"}


def test_features_of_roots_are_kept() -> None:
    config = {**made(want()), "features": "fuse=1,keyctl=1"}
    found = diff.compare(want(features={"nesting": True}), container_config(config), running=True)
    assert sent(found) == {"features": "nesting=1,keyctl=1,fuse=1"}
    privileged = {**config, "unprivileged": 0}
    found = diff.compare(want(features={"nesting": True}), container_config(privileged), running=True)
    assert [one.impact for one in found.differences if one.field == "features"] == [Impact.ROOT_ONLY]
    assert "features" not in sent(found)


def test_a_mount_by_hand_and_a_bind_mount_are_left() -> None:
    config = {**made(want()), "mp3": "local-lvm:vm-2000-disk-9,mp=/by-hand,size=1G", "mp4": "/mnt/nas,mp=/nas"}
    found = diff.compare(want(), container_config(config), running=True)
    assert sent(found) == {} and found.mounts == ()


def test_a_disk_never_shrinks() -> None:
    mounts = [{"name": "data", "path": "/data", "size": "4Gi"}]
    config = made(want(mounts=mounts, rootfs={"size": "20Gi"}))
    known = diff.compare(want(mounts=mounts), container_config(config), running=True).mounts
    smaller = [{**mounts[0], "size": "2Gi"}]
    found = diff.compare(want(mounts=smaller), container_config(config), running=True, mounts=known)
    assert found.resizes == () and sent(found) == {}
    assert [one.field for one in found.recreate] == ["mounts[data].size"]


def test_a_volume_that_is_gone_is_told_and_not_made_anew() -> None:
    mounts = [{"name": "data", "path": "/data", "size": "4Gi"}]
    known = (MountState(name="data", id="mp0", volume="local-lvm:vm-2000-disk-1"),)
    found = diff.compare(want(mounts=mounts), container_config(made(want())), running=True, mounts=known)
    assert found.lost == ("data",) and sent(found) == {}


def test_deletion_of_a_volume_takes_two_words() -> None:
    config = {**made(want()), "unused0": "local-lvm:vm-2000-disk-1", "unused1": "local-lvm:vm-2000-disk-7"}
    kept = (MountState(name="data", id="mp0", volume="local-lvm:vm-2000-disk-1", retained=True),)
    assert sent(diff.compare(want(), container_config(config), running=True, mounts=kept)) == {}
    gone = (kept[0].model_copy(update={"deletion_policy": "Delete"}),)
    assert sent(diff.compare(want(), container_config(config), running=True, mounts=gone)) == {"delete": "unused0"}


def test_adopted_leaves_alone_what_it_does_not_speak_of() -> None:
    config = {**made(want()), "cores": 7, "onboot": 1, "net1": "name=eth1,bridge=vmbr9,mtu=9000", "tags": "old"}
    config["description"] = "by hand"
    target = wanted("pihole", parse_spec(LXCContainerSpec, {
        "hostRef": {"name": "lab"}, "vmid": 2000, "adopt": {"expectHostname": "pihole"}, "swap": "0",
        "networks": [{"name": "eth1", "bridge": "vmbr9", "address": "dhcp"}],
    }), PLACE, adopted=True)  # fmt: skip
    found = sent(diff.compare(target, container_config(config), running=True))
    assert found.keys() == {"swap", "net1", "tags", "description"}
    assert "mtu=9000" in found["net1"] and "ip=dhcp" in found["net1"] and found["tags"] == "homeport;old"
    assert found["description"].startswith("by hand\n\nhomeport.dev/owner=inst/homelab/pihole/2000")


# --- whose it is ------------------------------------------------------------------------------------------------------


@given(st.text(max_size=80))
def test_the_mark_survives_any_text(text: str) -> None:
    described = owner.described(text, ME)
    assert owner.is_ours(described, ME) and owner.text(described) == owner.text(text)
    assert owner.described(owner.text(described), ME) == described


@pytest.mark.parametrize(
    "description",
    [
        "",
        owner.described("", ME._replace(vmid=2001)),  # a copy
        owner.described("", ME._replace(installation="other")),
        owner.described("", ME._replace(namespace="other")),
        owner.described("", ME) + "\n" + owner.described("", ME._replace(name="other")),
        owner.described("", ME, retained=True),
        "homeport.dev/owner=inst/homelab/pihole",
    ],
)
def test_nothing_else_is_ours(description: str) -> None:
    assert not owner.is_ours(description, ME)


def test_a_user_can_not_write_a_mark() -> None:
    text = owner.described("", ME._replace(name="victim"))
    assert owner.described(f"mine\n{text}", ME) == owner.described("mine", ME)
