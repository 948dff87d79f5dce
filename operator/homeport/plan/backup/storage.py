"""A storage of a Proxmox VE host as a place for backups. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from homeport.api.backuprepository import BackupRepositorySpec
from homeport.api.conditions import Reason
from homeport.api.proxmoxhost import ProxmoxHostSpec
from homeport.api.resource import Resource
from homeport.outcome import Outcome, Stalled
from homeport.plan.proxmox import grants
from homeport.plan.proxmox.archives import StorageRetention
from homeport.plan.proxmox.readings import Storage

Host = Resource[ProxmoxHostSpec]
CONTENT = "backup"


def problem(repository: Resource[BackupRepositorySpec], host: Host, storages: Sequence[Storage]) -> Outcome | None:
    """Why backups can't be kept on the storage; None when they can."""
    place = repository.spec.proxmox
    assert place is not None
    use = grants.use_of(host.spec, repository.namespace)
    asked = grants.Request(repository.namespace, host.name, storages=[place.storage])
    if refused := grants.check(use, asked):
        return Stalled(Reason.ACCESS_DENIED, "; ".join(refused))
    found = [storage for storage in storages if storage.name == place.storage]
    takes = sorted({storage.name for storage in storages if CONTENT in storage.content})
    listed = f"those that do are {', '.join(takes)}" if takes else "none of its storages does"
    if not found:
        text = f"ProxmoxHost {host.name} has no storage {place.storage} that keeps backups; {listed}"
        return Stalled(Reason.INVALID_SPEC, text)
    if not any(CONTENT in storage.content for storage in found):
        text = (
            f"storage {place.storage} of ProxmoxHost {host.name} doesn't take content of type backup; have an "
            f"administrator add that (Datacenter, Storage), or write another: {listed}"
        )
        return Stalled(Reason.INVALID_SPEC, text)
    if not any(storage.available for storage in found):
        return Stalled(Reason.REPOSITORY_FAILED, f"storage {place.storage} isn't available on any node")
    return None


def node(name: str, storages: Sequence[Storage], host: Host, project: str) -> str:
    """A node that can be asked about the storage: one that the project may use, if there is one."""
    use = grants.use_of(host.spec, project)
    there = sorted(storage.node for storage in storages if storage.name == name and storage.available)
    mine = [found for found in there if use is None or use.nodes is None or found in use.nodes]
    return next(iter(mine or there), "")


def conflict(storage: str, found: StorageRetention) -> str:
    """What else deletes backups there, and what to do about it; empty when nothing does."""
    out = []
    if found.keeps:
        out.append(
            f"storage {storage} has a retention of its own ({found.keeps}): backups fail when it is reached. Have an "
            "administrator set it to keep all backups"
        )
    if found.jobs:
        what = "job prunes" if len(found.jobs) == 1 else "jobs prune"
        out.append(
            f"the datacenter's backup {what} storage {storage} by VMID, whoever made a backup: {', '.join(found.jobs)}"
            ". Have an administrator set keep-all there, or use another storage"
        )
    return "; ".join(out)
