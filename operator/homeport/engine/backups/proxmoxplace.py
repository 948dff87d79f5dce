"""Where a Backup of containers goes to, and which containers it is of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from homeport.api import labels
from homeport.api.backup import BackupSpec
from homeport.api.backuprepository import BackupRepositorySpec
from homeport.api.conditions import Reason
from homeport.api.labels import OwnerKey
from homeport.api.lxccontainer import LXCContainerSpec
from homeport.api.proxmoxhost import ProjectUse
from homeport.api.resource import Resource
from homeport.drivers.proxmox import errors
from homeport.drivers.proxmox.protocol import ProxmoxHost
from homeport.engine.context import Context
from homeport.outcome import Outcome, Stalled, Wait
from homeport.plan.backup.proxmoxmarks import Owner
from homeport.plan.proxmox import grants
from homeport.plan.proxmox.archives import Archive
from homeport.plan.proxmox.grants import Request
from homeport.plan.world import HostReading

Container = Resource[LXCContainerSpec]
AGAIN = 30.0
LISTED = 60.0
"""Seconds that a listing of what is backed up holds."""


@dataclass(frozen=True)
class Ground:
    """What a Backup of containers stands on."""

    backup: str
    spec: BackupSpec | None
    """None when the Backup is gone."""
    namespace: str
    host: str
    storage: str
    driver: ProxmoxHost
    reading: HostReading
    use: ProjectUse | None
    installation: str

    @property
    def owner(self) -> Owner:
        """Whose archives are its."""
        return Owner(self.installation, self.namespace, self.backup)

    def nodes(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The nodes on which its storage is listed, and those on which more may lie that can't be seen now."""
        having = [found for found in self.reading.resources.storages if found.name == self.storage]
        seen = tuple(found.node for found in having if found.available)
        if any(found.shared for found in having):
            return seen[:1], () if seen else (self.storage,)
        return seen, tuple(found.node for found in having if not found.available)


def repository_of(namespace: str, name: str, context: Context) -> Resource[BackupRepositorySpec] | None:
    """A repository that can be used as it is written."""
    found, error = context.store.look(OwnerKey("BackupRepository", namespace, name))
    return found if error is None else None


def ground(
    namespace: str, backup: str, repository: str, spec: BackupSpec | None, user: OwnerKey, context: Context
) -> Ground | Outcome:
    """What a Backup stands on, or what is missing of that; ``user`` is woken when it can be used."""
    found = repository_of(namespace, repository, context)
    if found is None:
        return Wait(
            Reason.DEPENDENCY_NOT_READY, f"BackupRepository {repository} doesn't exist, or not as written", AGAIN
        )
    if found.spec.proxmox is None:
        return Stalled(
            Reason.INVALID_SPEC,
            f"containers are backed up to a storage of Proxmox VE, and BackupRepository {repository} isn't one; name "
            "one with proxmox: {hostRef, storage}",
        )
    name = found.spec.proxmox.host_ref.name
    own = spec.container.storage if spec is not None and spec.container is not None else None
    storage = own or found.spec.proxmox.storage
    driver = context.hosts.ensure(name, user)
    if isinstance(driver, Outcome):
        return driver
    reading = context.hosts.reading(name)
    host, _ = context.store.look(OwnerKey("ProxmoxHost", "", name))
    if reading is None or host is None or host.spec is None:
        return Wait(Reason.DEPENDENCY_NOT_READY, f"ProxmoxHost {name} hasn't been read yet", AGAIN)
    use = grants.use_of(host.spec, namespace)
    if problems := grants.check(use, Request(namespace, name, storages=[storage])):
        return Stalled(Reason.ACCESS_DENIED, "; ".join(problems))
    listed = [entry for entry in reading.resources.storages if entry.name == storage]
    if not listed:
        return Stalled(
            Reason.INVALID_SPEC,
            f"ProxmoxHost {name} has no storage {storage} that the token may see; write one that kubectl get hppve "
            f"{name} -o yaml lists, or grant Datastore.Audit on it",
        )
    if not any("backup" in entry.content for entry in listed):
        return Stalled(
            Reason.INVALID_SPEC,
            f"storage {storage} of {name} takes no backups; add Backup to its content, or name another",
        )
    return Ground(
        backup, spec, namespace, name, storage, driver, reading, use, context.clusters.installation
    )  # fmt: skip


async def learn(host: str, driver: ProxmoxHost, reading: HostReading, context: Context) -> None:
    """Which VMIDs have backups on a host, before one is handed out; looked at again after a while.

    What can't be seen now is as it was seen last; what statuses tell counts anyway.
    """
    names = context.hosts.backup_storages(host)
    now, before = context.clock(), context.host_work.listed.get(host)
    if not names or (before is not None and now - before < LISTED):
        return
    vmids: set[int] = set()
    try:
        for name in names:
            having = [one for one in reading.resources.storages if one.name == name and one.available]
            for one in having[:1] if any(entry.shared for entry in having) else having:
                found = await driver.archives(one.node, name)
                vmids.update(archive.vmid for archive in found if archive.vmid is not None)
    except errors.ProxmoxError:
        return
    context.host_work.listed[host] = now
    context.allocations.backed_up(host, vmids)


async def listed(on: Ground) -> tuple[dict[Archive, str], tuple[str, ...]]:
    """The archives on the storage with the node that each is on, and the nodes that couldn't be asked.

    Raises ``errors.ProxmoxError`` when none could.
    """
    nodes, unseen = on.nodes()
    out: dict[Archive, str] = {}
    missed = list(unseen)
    for node in nodes:
        try:
            out.update(dict.fromkeys(await on.driver.archives(node, on.storage), node))
        except errors.NodeUnreachable:
            missed.append(node)
    if not nodes or (len(missed) >= len(nodes) and not out and missed):
        raise errors.Unreachable(0, f"storage {on.storage} of {on.host} isn't available on any node")
    return out, tuple(missed)


def containers(spec: BackupSpec, namespace: str, context: Context) -> Sequence[Container] | Outcome:
    """The LXCContainers that a Backup is of, by name."""
    source = spec.source
    if source.container is not None:
        found, _ = context.store.look(OwnerKey("LXCContainer", namespace, source.container))
        if found is None:
            text = f"LXCContainer {source.container} doesn't exist in namespace {namespace}"
            return Wait(Reason.DEPENDENCY_NOT_READY, f"{text}; create it, and this goes on by itself", AGAIN)
        return [found]
    wanted = {
        labels.APPLICATION: source.application,
        labels.ENVIRONMENT: source.environment,
    }
    out: list[Container] = []
    for key in context.store.keys("LXCContainer"):
        found, _ = context.store.look(key)
        if found is None or found.labels.get(labels.PROJECT, found.namespace) != namespace:
            continue
        if all(found.labels.get(label) == value for label, value in wanted.items()) and _holds(found, source.component):
            out.append(found)
    if out:
        return sorted(out, key=lambda one: one.name)
    text = f"{source.application}/{source.component} has no containers in {source.environment}"
    return Wait(Reason.DEPENDENCY_NOT_READY, f"{text}; waits until it has", AGAIN)


def _holds(found: Container, component: str | None) -> bool:
    """Whether a component runs in it: alone, or with others (``placement: Together``)."""
    software = found.spec.software if found.spec is not None else None
    inside = {process.name for process in (software.processes or ())} if software is not None else set()
    return found.labels.get(labels.COMPONENT) == component or component in inside


def named(name: str, spec: BackupSpec | None, namespace: str, context: Context) -> Container | None:
    """The LXCContainer of a part: an application's is in its environment's namespace."""
    found = containers(spec, namespace, context) if spec is not None and spec.source.container is None else None
    if found is not None and not isinstance(found, Outcome):
        return next((one for one in found if one.name == name and one.spec is not None), None)
    there, _ = context.store.look(OwnerKey("LXCContainer", namespace, name))
    return there if there is not None and there.spec is not None else None


def placed(container: Container, on: Ground) -> tuple[int, str] | Outcome:
    """The VMID and the node of a container now."""
    status: Any = container.status
    vmid, name = status.get("vmid"), container.name
    if not isinstance(vmid, int) or not (status.get("created") or status.get("adopted") or _only_watched(container)):
        return Wait(Reason.DEPENDENCY_NOT_READY, f"LXCContainer {name} has no container yet", 10.0)
    if status.get("host") not in (on.host, None):
        return Stalled(
            Reason.INVALID_SPEC,
            f"LXCContainer {name} is on ProxmoxHost {status.get('host')}, and the repository is a storage of "
            f"{on.host}; name a repository of its host",
        )
    guest = next((guest for guest in on.reading.resources.guests if guest.vmid == vmid), None)
    node = guest.node if guest is not None else status.get("node")
    if not node:
        return Wait(Reason.DEPENDENCY_NOT_READY, f"which node container {vmid} is on isn't known yet", 5.0)
    return vmid, str(node)


def _only_watched(container: Container) -> bool:
    return container.spec is not None and container.spec.management_policy == "Observe"
