"""Runs of containers, after the last part: what retention lets go is removed, and what is there is listed."""

from __future__ import annotations

from homeport.api.backupparts import HostTask
from homeport.api.conditions import Reason
from homeport.drivers.proxmox import errors
from homeport.engine.backups import hosttasks, proxmoxkeeping, proxmoxplace
from homeport.engine.backups.hosttasks import POLL, REMOVE
from homeport.engine.backups.proxmoxplace import Ground
from homeport.engine.backups.proxmoxrunning import Running
from homeport.outcome import Outcome, Wait
from homeport.plan.backup import proxmoxmarks
from homeport.plan.backup.proxmoxmarks import Found
from homeport.plan.proxmox.archives import Archive

REFUSALS = 16
"""Archives that stay although retention lets them go, after which a run tries no more: its notes say which it has
tried, and there is no room in them for more than 64."""


async def after(running: Running, on: Ground) -> Outcome:
    """Retention, an archive at a time; then what is there is listed."""
    if any(part.reason for part in running.status.parts) or running.status.reason:
        return await _ended(running, on, running.over("Failed"))
    task = running.status.task
    if task is not None and task.upid is not None:
        status = await hosttasks.standing(running.key, task, on.driver)
        if status is not None and status.running:
            return Wait(Reason.PROGRESSING, f"removes {task.detail}", POLL)
        if status is not None and not status.succeeded:
            running.note(f"{task.detail} couldn't be removed: {status.message}")
        running.remember(task=None)
        return Wait(Reason.PROGRESSING, "looks what else retention lets go", 0.0)
    found, missed = await proxmoxplace.listed(on)
    runs = proxmoxmarks.runs(found, on.owner)
    if missed:
        running.note(f"what is on {', '.join(missed)} can't be seen, so that nothing is removed this time")
    else:
        going = _next_to_go(running, on, runs)
        if going is not None:
            return await _remove(running, on, going, found[going], task)
    running.remember(listing=proxmoxkeeping.listing(runs))
    return await _ended(running, on, running.over("Succeeded"))


def _next_to_go(running: Running, on: Ground, runs: tuple[Found, ...]) -> Archive | None:
    """The next archive that retention lets go of; one that couldn't be removed isn't tried again."""
    going = [archive for one in proxmoxkeeping.let_go(on, runs, running.context) for archive in one.archives]
    noted = " ".join(running.status.notes)
    left = [archive for archive in going if archive.volume not in noted]
    if left and len(going) - len(left) >= REFUSALS:
        running.note(f"no more is tried this time: {len(left)} more that retention lets go stay for now")
        return None
    return next(iter(left), None)


async def _remove(running: Running, on: Ground, archive: Archive, node: str, task: HostTask | None) -> Outcome:
    if task is None or task.detail != archive.volume:
        running.remember(task=hosttasks.plan(running.key, running.context, REMOVE, node, archive.vmid, archive.volume))
        return Wait(Reason.PROGRESSING, f"removes {archive.volume}", 0.0)
    if not await proxmoxkeeping.still_ours(on, archive, node):
        running.note(f"{archive.volume} has changed meanwhile, and stays")
        running.remember(task=None)
        return Wait(Reason.PROGRESSING, "looks what else retention lets go", 0.0)
    hosttasks.trust(running.key, task, running.context)  # removing what is gone already does nothing
    path = ("nodes", node, "storage", archive.storage, "content", archive.volume)
    try:
        sent = await hosttasks.send(running.resource, task, on.driver, running.context, "DELETE", *path)
    except errors.ProxmoxError as error:
        if isinstance(error, errors.Unreachable | errors.NodeUnreachable | errors.Unauthorized):
            raise
        running.note(f"{archive.volume} couldn't be removed: {error}")
        running.remember(task=None)
        return Wait(Reason.PROGRESSING, "looks what else retention lets go", 0.0)
    if isinstance(sent, HostTask):
        running.remember(task=sent)
        return Wait(Reason.PROGRESSING, f"removes {archive.volume}", 1.0)
    return sent


async def _ended(running: Running, on: Ground, outcome: Outcome) -> Outcome:
    if running.status.phase == "Failed" and running.status.listing is None:
        try:
            found, missed = await proxmoxplace.listed(on)
            if not missed:
                running.remember(listing=proxmoxkeeping.listing(proxmoxmarks.runs(found, on.owner)))
        except errors.ProxmoxError:
            pass
    return outcome
