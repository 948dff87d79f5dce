"""Backups of containers on a lab (``proxmox_inside``): what is written, and what is on the storage then."""

from __future__ import annotations

from typing import Any

from containers_lab import PROJECT, cleaned, container

from homeport.api.labels import API_VERSION
from homeport.drivers.kubernetes import types
from homeport.drivers.kubernetes.types import GVK
from memory_world import Manifest, comparable, play
from proxmox_inside import Lab

STORAGE = "local"
USES = [
    {"name": PROJECT, "vmidRange": {"min": 2000, "max": 2099}, "storages": ["local-lvm", STORAGE],
     "bridges": ["vmbr0", "vmbr9"], "allowAdopt": True},
]  # fmt: skip
DATA = "/var/lib/data/rows"


def _object(kind: str, name: str, spec: dict[str, Any], **metadata: Any) -> Manifest:
    told = {"name": name, "namespace": PROJECT, **metadata}
    return cleaned({"apiVersion": API_VERSION, "kind": kind, "metadata": told, "spec": spec})


def source(**more: Any) -> Manifest:
    """The container that is backed up: a static address, a mount that is in the backup, and one that isn't."""
    mounts = [
        {"name": "data", "path": "/var/lib/data", "storage": "local-lvm", "size": "4Gi", "backup": True},
        {"name": "cache", "path": "/var/cache/dns", "storage": "local-lvm", "size": "1Gi", "backup": False},
    ]
    net = {"name": "eth0", "bridge": "vmbr0", "address": "10.20.0.10/16", "gateway": "10.20.0.1"}
    spec = {"node": "pve1", "rootfs": {"storage": "local-lvm", "size": "8Gi"}, "mounts": mounts, "networks": [net],
            "memory": "512Mi", "onBoot": True, "description": "names", **more}  # fmt: skip
    return cleaned(container("dns", **spec))


def repository(storage: str = STORAGE) -> Manifest:
    return _object("BackupRepository", "host", {"proxmox": {"hostRef": {"name": "lab"}, "storage": storage}})


def backup(**more: Any) -> Manifest:
    return _object("Backup", "nightly", {"source": {"container": "dns"}, "repositoryRef": {"name": "host"}, **more})


def run(name: str, **more: Any) -> Manifest:
    return _object("BackupRun", name, {"backupRef": {"name": "nightly"}, **more})


def restore(name: str, **more: Any) -> Manifest:
    return _object("Restore", name, {"backupRef": {"name": "nightly"}, **more})


async def ready_lab(storage: str = STORAGE, **more: Any) -> Lab:
    """A lab with the container running and a Backup that has no schedule."""
    lab = Lab()
    await play(lab, lambda world: world.furnish(USES))
    await play(lab, lambda world: world.apply([source(), repository(storage), backup(**more)]))
    lab.pve.disks[vmid(lab)] = {DATA: "100", "/var/cache/dns/x": "1"}
    return lab


def get(lab: Lab, gvk: GVK, name: str) -> Manifest:
    return lab.get(gvk, PROJECT, name)


def status(lab: Lab, gvk: GVK, name: str) -> dict[str, Any]:
    found: dict[str, Any] = get(lab, gvk, name).get("status") or {}
    return found


def vmid(lab: Lab, name: str = "dns") -> int:
    return int(status(lab, types.LXC_CONTAINER, name)["vmid"])


def ready(lab: Lab, gvk: GVK, name: str) -> tuple[str, str, str]:
    found = lab.condition(gvk, PROJECT, name)
    return found["status"], found["reason"], found["message"]


def archives(lab: Lab, storage: str = STORAGE) -> dict[str, dict[str, Any]]:
    """What is on the storage, without the archives' contents."""
    volumes = lab.pve.storages[storage].get("volumes", {})
    return {
        name: {key: value for key, value in volume.items() if key != "archive"}
        for name, volume in volumes.items()
        if volume["content"] == "backup"
    }


def statuses(lab: Lab, *kinds: GVK) -> dict[str, Any]:
    """The statuses without what no two plays have in common."""
    out = {}
    for (gvk, _, name), found in lab.client._objects.items():
        if gvk in kinds:
            out[f"{gvk.kind}/{name}"] = comparable(found).get("status")
    return out
