"""Restores of containers: made beside what is there, cut off and stopped, and compared with what was asked for."""

from __future__ import annotations

from homeport.api.backupparts import HostTask, RunPart
from homeport.api.conditions import Reason
from homeport.drivers.proxmox import errors
from homeport.engine.backups import hosttasks, proxmoxbeside, proxmoxdrill
from homeport.engine.backups.hosttasks import POLL, RESTORE
from homeport.engine.backups.proxmoxplace import Ground
from homeport.engine.backups.proxmoxrestoring import Restoring
from homeport.outcome import Outcome, Wait
from homeport.plan.backup import proxmoxrestore
from homeport.plan.backup.proxmoxrestore import As, Scratch
from homeport.plan.proxmox.config import ContainerConfig
from homeport.plan.proxmox.readings import Guest
from homeport.plan.proxmox.tasks import TaskStatus


def wish(restoring: Restoring, on: Ground, part: RunPart, vmid: int) -> As:
    """As what the part is restored."""
    name = restoring.resource.name
    scratch = Scratch(on.installation, restoring.resource.namespace, name, vmid)
    what = f"Homeport: {part.container} of {restoring.status.time}, by Restore {name}"
    if restoring.kind == "drill":
        return proxmoxdrill.wish(restoring, on, scratch, part, f"{what}; a drill, it is destroyed afterwards")
    target = restoring.resource.spec.target
    new = target.new if target is not None else None
    return As(
        scratch, proxmoxbeside.name_of(restoring, part), what, storage=new.storage if new is not None else None,
        pool=on.use.pool if on.use is not None else None, left_out=restoring.kind == "new",
    )  # fmt: skip


async def create(restoring: Restoring, on: Ground) -> Outcome:
    """Restore the part, unless it is there; what a crash has left unknown is found out first."""
    part, vmid, node = restoring.part, restoring.status.vmid, restoring.status.node
    assert part is not None and vmid is not None and node is not None
    there = await restoring.look(on, vmid, node)
    if there is not None:
        return await _is_there(restoring, on, vmid, node, *there)
    if (why := restoring.ended_badly(RESTORE)) is not None:
        return restoring.failed("RestoreFailed", f"{part.part}: {why}")
    task = restoring.status.task
    if task is None or task.type != RESTORE or task.vmid != vmid:
        restoring.remember(task=hosttasks.plan(restoring.key, restoring.context, RESTORE, node, vmid, part.snapshot))
        return Wait(Reason.PROGRESSING, f"{part.part}: is about to be restored as {vmid}", 0.0)
    if not hosttasks.is_untouched(restoring.key, task, restoring.context):
        for status in await on.driver.begun_all(node, RESTORE, vmid, hosttasks.since(task)):
            if status.running:
                restoring.remember(task=task.model_copy(update={"upid": str(status.upid)}))
                return Wait(Reason.PROGRESSING, f"{part.part}: is being restored as {vmid}", POLL)
        if hosttasks.doubted(restoring.key, restoring.context):
            return Wait(Reason.PROGRESSING, f"{part.part}: whether it is being restored isn't known yet", POLL)
        hosttasks.trust(restoring.key, task, restoring.context)
    try:
        archived = await restoring.archived(on, part)
        params = proxmoxrestore.params(str(part.snapshot), archived, wish(restoring, on, part, vmid))
    except ValueError as error:
        return restoring.failed("Unreadable", f"{part.snapshot}: {error}")
    try:
        sent = await hosttasks.send(
            restoring.resource, task, on.driver, restoring.context, "POST", "nodes", node, "lxc", params=params
        )
    except errors.Exists:
        return _lost(restoring, on, vmid)
    if isinstance(sent, HostTask):
        restoring.remember(task=sent)
        return Wait(Reason.PROGRESSING, f"{part.part}: is being restored as {vmid}", POLL)
    return sent


async def _is_there(
    restoring: Restoring, on: Ground, vmid: int, node: str, guest: Guest, config: ContainerConfig
) -> Outcome:
    scratch = Scratch(on.installation, restoring.resource.namespace, restoring.resource.name, vmid)
    lock = guest.lock or config.lock
    if scratch.owns(config.description) and lock is None:
        if restoring.last is not None and restoring.last[1] is not None and restoring.last[1].warnings:
            await _warned(restoring, on, restoring.last[1])
        restoring.remember(step="Compare", task=None)
        return Wait(Reason.PROGRESSING, f"{vmid} is there; its configuration is compared", 0.0)
    if lock == "create":
        if await on.driver.is_at_work(node, vmid):
            return Wait(Reason.PROGRESSING, f"{vmid} is being restored", POLL)
        return restoring.failed(
            "LeftBehind", f"the restoration of {vmid} was cut off on {node}, and the API can't take its lock away; "
            f"run there: pct unlock {vmid} && pct destroy {vmid}", clean=False,
        )  # fmt: skip
    return _lost(restoring, on, vmid)


def _lost(restoring: Restoring, on: Ground, vmid: int) -> Outcome:
    """Somebody was faster: another VMID."""
    restoring.context.allocations.lose(on.host, vmid)
    restoring.context.allocations.forget(restoring.key)
    restoring.remember(vmid=None, node=None, step="Place", task=None, restored_to=None)
    return Wait(Reason.PROGRESSING, f"VMID {vmid} was taken by somebody; chooses another", 0.0)


async def _warned(restoring: Restoring, on: Ground, status: TaskStatus) -> None:
    lines = await on.driver.task_log(status.upid, 50)
    told = [line for line in lines if line.startswith("WARN") or "skipping" in line][:3]
    restoring.note(f"Proxmox VE warned: {'; '.join(told) or f'{status.warnings} warnings'}")


async def compare(restoring: Restoring, on: Ground) -> Outcome:
    """Whether what is there is what was asked for; else nothing is started."""
    part, vmid, node = restoring.part, restoring.status.vmid, restoring.status.node
    assert part is not None and vmid is not None and node is not None
    there = await restoring.look(on, vmid, node)
    if there is None:
        return restoring.failed("Missing", f"what was restored as {vmid} was removed by somebody", clean=False)
    archived = await restoring.archived(on, part)
    if wrong := proxmoxrestore.differences(there[1], archived, wish(restoring, on, part, vmid)):
        return restoring.failed("RestoredOtherwise", f"{vmid} isn't as it was asked for: {'; '.join(wrong)}")
    for key, mount in proxmoxrestore.left_out(archived).items():
        restoring.note(f"{part.part}: {mount.path} ({key}) isn't in the backup")
    following = {"drill": "Start", "inPlace": "Start", "new": "Mark"}[restoring.kind]
    restoring.remember(step=following)
    return Wait(Reason.PROGRESSING, f"{vmid} is as it was asked for", 0.0)
