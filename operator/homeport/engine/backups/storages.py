"""Storages of Proxmox VE as places for backups: whether they are there, and whether the project may use them."""

from __future__ import annotations

from homeport.api.backuprepository import BackupRepositorySpec
from homeport.api.conditions import Reason
from homeport.api.labels import OwnerKey
from homeport.api.resource import Resource
from homeport.drivers.proxmox import errors
from homeport.engine.context import Context
from homeport.outcome import Outcome, Stalled, Wait
from homeport.plan.backup import storage as plan


async def look(repository: Resource[BackupRepositorySpec], context: Context) -> tuple[Outcome | None, str]:
    """Why a repository's storage can't be used, and what else deletes backups there."""
    place = repository.spec.proxmox
    assert place is not None
    name = place.host_ref.name
    driver = context.hosts.ensure(name, repository.key)
    if isinstance(driver, Wait | Stalled):
        return driver, ""
    host, _ = context.store.look(OwnerKey("ProxmoxHost", "", name))
    reading = context.hosts.reading(name)
    if host is None or host.spec is None or reading is None or isinstance(driver, Outcome):
        return Wait(Reason.DEPENDENCY_NOT_READY, f"ProxmoxHost {name} can't be used"), ""
    problem = plan.problem(repository, host, reading.resources.storages)
    if problem is not None:
        return problem, ""
    node = plan.node(place.storage, reading.resources.storages, host, repository.namespace)
    try:
        found = await driver.storage_retention(node, place.storage)
    except errors.ProxmoxError as error:
        # It is told what else prunes there, or it isn't: no reason to take no backups.
        return None, f"whether something else prunes storage {place.storage} can't be read: {error}"
    return None, plan.conflict(place.storage, found)
