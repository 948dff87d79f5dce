"""Restores of containers: one step a reconciliation, with what is begun written down first.

========= ============================================== ==================== ========================
step      what is done                                   for                  where
========= ============================================== ==================== ========================
(none)    the run is chosen, and written down            all                  ``proxmoxchoosing``
Before    a BackupRun saves what is there now            in place             ``proxmoxswap``
Place     the next part: its archive's configuration is  all                  ``proxmoxchoosing``
          read, a VMID is chosen
Create    it is restored beside: cut off, stopped, with  all                  ``proxmoxmaking``
          a mark of its own
Compare   its configuration is what was posted; else     all                  ``proxmoxmaking``
          nothing is started
Start     it is started, to prove that it starts         in place, drills     ``proxmoxdrill``
Check     the check is run in it                         drills               ``proxmoxdrill``
Mark      it becomes an LXCContainer of its own,         new                  ``proxmoxbeside``
          stopped and unplugged
Halt …    it takes the original's place                  in place             ``proxmoxswap``
Clean     what was made is destroyed                     drills, failures     here
========= ============================================== ==================== ========================

Nothing is ever restored over what is there: PVE's ``force`` destroys that before it extracts.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from homeport.api.conditions import Reason
from homeport.api.labels import OwnerKey
from homeport.drivers.proxmox import errors
from homeport.engine.backups import (
    hosttasks,
    proxmoxbeside,
    proxmoxchoosing,
    proxmoxdrill,
    proxmoxmaking,
    proxmoxplace,
    proxmoxswap,
    refusals,
)
from homeport.engine.backups.hosttasks import DESTROY, OVER, Sought
from homeport.engine.backups.proxmoxplace import Ground
from homeport.engine.backups.proxmoxrestoring import Restore, Restoring, verdict
from homeport.engine.context import Context
from homeport.engine.lxc import doing
from homeport.outcome import Ok, Outcome, Stalled, Transient, Wait
from homeport.plan.backup import times
from homeport.plan.backup.proxmoxrestore import Scratch
from homeport.plan.names import seconds


def concerns(resource: Restore, context: Context) -> bool:
    """Whether a host does it: the repository is a storage of Proxmox VE."""
    if resource.status.get("method") == "Container":
        return True
    name = _repository(resource, context)
    found = proxmoxplace.repository_of(resource.namespace, name, context) if name else None
    return found is not None and found.spec.proxmox is not None


def _repository(resource: Restore, context: Context) -> str:
    spec = resource.spec
    if spec.source is not None:
        return str(spec.source.repository_ref.name)
    assert spec.backup_ref is not None
    backup, error = context.store.look(OwnerKey("Backup", resource.namespace, spec.backup_ref.name))
    return str(backup.spec.repository_ref.name) if backup is not None and error is None else ""


async def seek(resource: Restore, context: Context, *, leaving: bool = False) -> Sought:
    """One reconciliation. ``leaving``: the Restore is being deleted, and what it has made and nobody uses goes."""
    restoring = Restoring(resource, context)
    try:
        outcome = await (_leave(restoring) if leaving else _go(restoring))
    except errors.ProxmoxError as error:
        outcome = doing.told(error, restoring.host, context)
        if isinstance(outcome, Stalled | Transient) and refusals.waits(restoring.status):
            outcome = refusals.told(restoring.status, restoring.host, outcome.message)
        elif isinstance(outcome, Stalled) and not leaving:
            outcome = restoring.failed("HostRefused", str(error))
    return Sought(hosttasks.fields(restoring.status), outcome)


async def _go(restoring: Restoring) -> Outcome:
    """One step."""
    if restoring.status.phase in OVER and restoring.status.step != "Keep":
        return verdict(restoring.status)
    on = _ground(restoring)
    if not isinstance(on, Ground):
        return on if restoring.status.step != "Keep" else verdict(restoring.status)
    restoring.host, restoring.spec = on.host, on.spec
    if restoring.status.run is None:
        return await proxmoxchoosing.choose(restoring, on)
    if _is_late(restoring, on) and restoring.status.step in ("Place", "Create", "Compare", "Start", "Check"):
        return restoring.failed("Timeout", "it took longer than the Backup's timeout")
    if (followed := await restoring.follow(on)) is not None:
        return followed
    return await _step(restoring, on)


async def _step(restoring: Restoring, on: Ground) -> Outcome:
    match restoring.status.step:
        case "Before":
            return await proxmoxswap.save(restoring, on)
        case "Place":
            return await proxmoxchoosing.place(restoring, on)
        case "Create":
            return await proxmoxmaking.create(restoring, on)
        case "Compare":
            return await proxmoxmaking.compare(restoring, on)
        case "Start":
            return await proxmoxdrill.start(restoring, on)
        case "Check":
            return await proxmoxdrill.check(restoring, on)
        case "Mark":
            return await proxmoxbeside.mark(restoring, on)
        case "Clean":
            return await _clean(restoring, on)
    return await proxmoxswap.step(restoring, on)


def _ground(restoring: Restoring) -> Ground | Outcome:
    """What it stands on."""
    spec, namespace = restoring.resource.spec, restoring.resource.namespace
    if spec.source is not None:
        name, repository = spec.source.backup or "", spec.source.repository_ref.name
        return proxmoxplace.ground(namespace, name, repository, None, restoring.key, restoring.context)
    assert spec.backup_ref is not None
    name = spec.backup_ref.name
    backup, error = restoring.context.store.look(OwnerKey("Backup", namespace, name))
    if backup is None or error is not None:
        return Wait(Reason.DEPENDENCY_NOT_READY, f"Backup {name} doesn't exist, or not as written", 30.0)
    return proxmoxplace.ground(
        namespace, name, backup.spec.repository_ref.name, backup.spec, restoring.key, restoring.context
    )  # fmt: skip


def _is_late(restoring: Restoring, on: Ground) -> bool:
    limit = seconds(on.spec.timeout) if on.spec is not None else 86400
    begun = datetime.fromisoformat(restoring.status.started_at or times.text(restoring.context.now()))
    return restoring.context.now() - begun > timedelta(seconds=limit)


async def _clean(restoring: Restoring, on: Ground) -> Outcome:
    """Destroy what was made, and nothing that doesn't carry this restore's mark."""
    vmid, node = restoring.status.vmid, restoring.status.node
    if vmid is None or node is None:
        return restoring.over()
    if (why := restoring.ended_badly(DESTROY)) is not None:
        restoring.note(f"container {vmid} on {node} couldn't be removed: {why}")
    there = await restoring.look(on, vmid, node)
    if there is None:
        restoring.context.agents.forget(proxmoxdrill.agent(restoring, vmid))
        if restoring.status.reason is None and restoring.part is not None and restoring.kind == "drill":
            return restoring.part_done()
        return restoring.over()
    guest, config = there
    scratch = Scratch(on.installation, restoring.resource.namespace, restoring.resource.name, vmid)
    if not scratch.owns(config.description):
        restoring.note(f"container {vmid} on {node} doesn't carry this restore's mark any more, and is left alone")
        return restoring.over()
    if guest.lock or config.lock:
        return Wait(Reason.LOCKED, f"container {vmid} is locked ({guest.lock or config.lock}); waits", 10.0)
    return await restoring.do(on, DESTROY, node, vmid, "DELETE", "lxc", vmid, force=True, purge=True)


async def _leave(restoring: Restoring) -> Outcome:
    """It is deleted: what isn't finished is removed, what is stays. A swap is carried to its end first."""
    if restoring.status.phase in OVER or restoring.status.run is None or restoring.status.vmid is None:
        return Ok()
    if restoring.status.phase == "Swapping":
        return await _go(restoring)
    on = _ground(restoring)
    if not isinstance(on, Ground):
        return on
    restoring.host = on.host
    if (followed := await restoring.follow(on)) is not None:
        return followed
    if restoring.status.step != "Clean":
        restoring.remember(
            reason="Deleted", message="deleted before it was done", step="Clean", phase="Cleaning", task=None
        )
    outcome = await _clean(restoring, on)
    return Ok() if restoring.status.phase in OVER else outcome
