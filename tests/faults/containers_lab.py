"""Containers on a lab (``proxmox_inside``): stories of what happens to them, and what must hold after each."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from homeport.api.labels import API_VERSION
from homeport.drivers.kubernetes import types
from localpve.lab import TEMPLATE
from memory_world import Manifest, comparable, play
from proxmox_inside import Lab

PROJECT = "homelab"
USES = [
    {"name": PROJECT, "vmidRange": {"min": 2000, "max": 2199}, "storages": ["local-lvm"], "bridges": ["vmbr0"],
     "allowAdopt": True},
]  # fmt: skip
NEWER = "debian-12-standard_12.12-1_amd64.tar.zst"
FOREIGN = (100, 101, 102)
Step = Callable[[Lab], Awaitable[None]]


def container(name: str, **spec: Any) -> Manifest:
    """An LXCContainer."""
    body = {"hostRef": {"name": "lab"}, "template": f"local:vztmpl/{TEMPLATE}", **spec}
    metadata = {"name": name, "namespace": PROJECT}
    return {"apiVersion": API_VERSION, "kind": "LXCContainer", "metadata": metadata, "spec": body}


def both() -> list[Manifest]:
    """One with everything, and one of its namesakes' simplest."""
    disk = {"storage": "local-lvm", "size": "8Gi"}
    data = {"name": "data", "path": "/var/lib/data", "storage": "local-lvm", "size": "4Gi", "deletionPolicy": "Delete"}
    net = {"name": "eth0", "bridge": "vmbr0", "address": "10.20.0.10/16", "gateway": "10.20.0.1"}
    return [
        container(
            "dns", node="pve1", rootfs=disk, mounts=[data], networks=[net], memory="512Mi", cores=1,
            description="names", tags=["dns"], deletionPolicy="Delete", rebootPolicy="WhenPending",
            dns={"servers": ["10.20.0.1"]},
        ),
        container("git", node="pve2", rootfs=disk, networks=[{**net, "address": "dhcp", "gateway": None}]),
    ]  # fmt: skip


def cleaned(manifest: Manifest) -> Manifest:
    """Without nulls, as kubectl sends it."""
    if isinstance(manifest, dict):
        return {key: cleaned(value) for key, value in manifest.items() if value is not None}
    return [cleaned(value) for value in manifest] if isinstance(manifest, list) else manifest  # type: ignore[return-value]


async def create(lab: Lab) -> None:
    await lab.apply([cleaned(body) for body in both()])


async def _change(lab: Lab, name: str = "dns", annotations: dict[str, str] | None = None, **spec: Any) -> None:
    body = copy.deepcopy(next(body for body in both() if body["metadata"]["name"] == name))
    body["spec"].update(spec)
    if annotations:
        body["metadata"]["annotations"] = annotations
    await lab.apply([cleaned(body)])


async def resize(lab: Lab) -> None:
    """Larger disks, more memory and cores, other words: all of it live."""
    disk = {"storage": "local-lvm", "size": "12Gi"}
    data = {**both()[0]["spec"]["mounts"][0], "size": "6Gi"}
    await _change(lab, rootfs=disk, mounts=[data], memory="1Gi", cores=2, description="all names", tags=["dns", "lan"])


async def reboot(lab: Lab) -> None:
    """A name server, which waits for a reboot; and a restart that was asked for."""
    await _change(lab, dns={"servers": ["10.20.0.2"]}, features={"nesting": True}, restartAt="once")


async def mounts(lab: Lab) -> None:
    """A mount goes with its data, and another comes."""
    new = {"name": "logs", "path": "/var/log", "storage": "local-lvm", "size": "1Gi"}
    await _change(lab, mounts=[new])


async def stop(lab: Lab) -> None:
    await _change(lab, state="Stopped")


async def replace(lab: Lab) -> None:
    """Another template, told twice: a new container takes over the mount, the address and the MAC."""
    await _change(lab, annotations={"homeport.dev/replace-at": "now"}, template=f"local:vztmpl/{NEWER}")


async def delete(lab: Lab) -> None:
    await lab.delete(types.LXC_CONTAINER, PROJECT, "dns")


async def retain(lab: Lab) -> None:
    await lab.delete(types.LXC_CONTAINER, PROJECT, "git")


async def adopt(lab: Lab) -> None:
    await lab.apply([container("media", vmid=102, adopt={"expectHostname": "media"}, template=None, onBoot=True)])


STORIES: dict[str, tuple[Step, ...]] = {
    "create": (create,),
    "resize": (create, resize),
    "reboot": (create, reboot),
    "mounts": (create, mounts),
    "stop": (create, stop),
    "replace": (create, replace),
    "delete": (create, delete),
    "retain": (create, retain),
}


async def before(story: tuple[Step, ...]) -> Lab:
    """The lab before the last step, with no operator running."""
    lab = Lab()
    lab.pve.store_file("local", NEWER, 120 * 2**20, "vztmpl")
    await play(lab, lambda world: world.furnish(USES))
    for step in story[:-1]:
        await play(lab, step)
    return lab


def anonymous(lab: Lab) -> list[Manifest]:
    """What is on the host, by host name and without VMIDs: another one is as good."""
    out = []
    for vmid, config in lab.containers().items():
        text = {key: str(value).replace(str(vmid), "VMID") for key, value in config.items()}
        out.append({**text, "foreign": str(vmid) if vmid in FOREIGN else ""})
    return sorted(out, key=lambda config: (config["foreign"], config.get("hostname", ""), str(config)))


def foreign(lab: Lab) -> dict[int, Manifest]:
    """The containers that nobody may touch."""
    return {vmid: config for vmid, config in lab.containers().items() if vmid in FOREIGN}


def begun(lab: Lab) -> Counter[str]:
    """How many tasks of each type the operator has started, ever."""
    return Counter(task["type"] for task in lab.pve.tasklog)


def objects(lab: Lab) -> dict[str, Manifest]:
    """The LXCContainers, without what no two runs have in common."""
    out = {}
    for (gvk, namespace, name), found in lab.client._objects.items():
        if gvk == types.LXC_CONTAINER:
            body = comparable(found)
            status = body.get("status") or {}
            for entry in status.get("conditions") or ():
                entry["message"] = entry["message"].replace(str(status.get("vmid")), "VMID")
            for passing in ("vmid", "startedAt", "addresses", "address", "mounts", "networks"):
                status.pop(passing, None)
            out[f"{namespace}/{name}"] = {"spec": body["spec"], "status": status}
    return out


def problems(lab: Lab, clean: Lab, *, tasks: bool = True) -> list[str]:
    """What isn't as after the clean run."""
    out = []
    wanted, found = anonymous(clean), anonymous(lab)
    if found != wanted:
        names = [config.get("hostname") for config in found]
        expected = [config.get("hostname") for config in wanted]
        if sorted(map(str, names)) != sorted(map(str, expected)):
            out.append(f"containers {names}, should be {expected}")
        else:
            for one, other in zip(wanted, found, strict=True):
                keys = [key for key in {*one, *other} if one.get(key) != other.get(key)]
                out.extend(
                    f"{one.get('hostname')}.{key}: {other.get(key)!r}, should be {one.get(key)!r}" for key in keys
                )
    if foreign(lab) != foreign(clean):
        out.append("a foreign container was touched")
    if tasks and begun(lab) != begun(clean):
        more, less = begun(lab) - begun(clean), begun(clean) - begun(lab)
        out.append(f"tasks begun: {dict(more)} too many, {dict(less)} too few")
    if objects(lab) != objects(clean):
        for key in {*objects(lab), *objects(clean)}:
            one, other = objects(clean).get(key), objects(lab).get(key)
            if one != other:
                out.append(f"{key}: {_short(other)}, should be {_short(one)}")
    return out


def _short(body: Manifest | None) -> str:
    status = (body or {}).get("status") or {}
    ready = [f"{c['type']}={c['status']} {c.get('reason')}: {c.get('message')}" for c in status.get("conditions") or ()]
    rest = {key: value for key, value in status.items() if key != "conditions"}
    return f"{ready} {rest}"[:600] if body else "absent"
