"""Runs of containers: one part. vzdump's task is written down, asked for and followed; then what is there counts."""

from __future__ import annotations

from homeport.api.backupparts import HostTask, RunPart, TransferProgress
from homeport.api.conditions import Reason
from homeport.drivers.proxmox import errors
from homeport.engine.backups import hosttasks
from homeport.engine.backups.hosttasks import DUMP, POLL
from homeport.engine.backups.proxmoxplace import Ground
from homeport.engine.backups.proxmoxrunning import Running
from homeport.outcome import Outcome, Wait
from homeport.plan.backup import proxmoxmarks, vzdump
from homeport.plan.backup.proxmoxmarks import Mark
from homeport.plan.proxmox.archives import Archive
from homeport.plan.proxmox.tasks import TaskStatus, Upid

LOG = 5000
"""Lines of a task's log that are read at its end."""


async def part(running: Running, on: Ground, number: int) -> Outcome:
    """One step of the part with this number."""
    part, task = running.status.parts[number], running.status.task
    if task is None:
        return await _plan(running, on, part)
    if task.upid is None:
        sent = await _ask(running, on, number, task)
        if isinstance(sent, HostTask):
            running.remember(task=sent)
            return Wait(Reason.PROGRESSING, f"{part.part}: vzdump has begun", POLL)
        return sent
    status = await hosttasks.standing(running.key, task, on.driver)
    if status is not None and status.running:
        return await _progress(running, on, part, status)
    return await _dumped(running, on, number, task, status)


async def _plan(running: Running, on: Ground, part: RunPart) -> Outcome:
    """Write down what is going to be asked for; it may have moved to another node since."""
    assert part.vmid is not None
    guest = next((guest for guest in on.reading.resources.guests if guest.vmid == part.vmid), None)
    if guest is None:
        fresh = await on.driver.resources()
        guest = next((guest for guest in fresh.guests if guest.vmid == part.vmid), None)
    if guest is None:
        if await on.driver.is_free(part.vmid):
            return running.part_failed(part, "Missing", f"container {part.vmid} isn't on {on.host} any more")
        return Wait(Reason.DEPENDENCY_NOT_READY, f"container {part.vmid} can't be seen now", 15.0)
    running.remember(
        task=hosttasks.plan(running.key, running.context, DUMP, guest.node, part.vmid, part.part), node=guest.node,
        vmid=part.vmid,
    )  # fmt: skip
    return Wait(Reason.PROGRESSING, f"{part.part}: vzdump on {guest.node}", 0.0)


async def _ask(running: Running, on: Ground, number: int, task: HostTask) -> HostTask | Outcome:
    """Ask for the backup, unless it was asked for before."""
    part, mark = running.status.parts[number], running.mark(on, number)
    assert on.spec is not None and part.vmid is not None
    found = await sought(running, on, number, task)
    if found is not None:
        return found
    how = on.spec.container
    params = vzdump.params(
        mark, part.vmid, on.storage, mode=how.mode if how is not None else "snapshot",
        compress=how.compress if how is not None else "zstd", protected=running.resource.spec.protected,
    )  # fmt: skip
    return await hosttasks.send(
        running.resource, task, on.driver, running.context, "POST", "nodes", task.node, "vzdump", params=params
    )


async def sought(running: Running, on: Ground, number: int, task: HostTask) -> HostTask | Outcome | None:
    """The task that was asked for before; None when it is known that none was."""
    part = running.status.parts[number]
    if hosttasks.is_untouched(running.key, task, running.context):
        return None
    found = await _before_now(running, on, task, running.mark(on, number))
    if found is not None:
        return found
    if hosttasks.doubted(running.key, running.context):
        text = f"{part.part}: whether the backup was begun isn't known yet; looks for its task on {task.node}"
        return Wait(Reason.PROGRESSING, text, POLL)
    hosttasks.trust(running.key, task, running.context)
    return None


async def _before_now(running: Running, on: Ground, task: HostTask, mark: Mark) -> HostTask | Outcome | None:
    """The task, if it was begun and nobody has written that down; its log has our mark."""
    assert task.vmid is not None
    for status in await on.driver.begun_all(task.node, DUMP, task.vmid, hosttasks.since(task)):
        is_ours = vzdump.is_of(await on.driver.task_log(status.upid, LOG), mark)
        if is_ours:
            return task.model_copy(update={"upid": str(status.upid)})
        if is_ours is None and status.running:
            return Wait(Reason.PROGRESSING, f"a backup of {task.vmid} is queued on {task.node}; looks whose", POLL)
    return None


async def _progress(running: Running, on: Ground, part: RunPart, status: TaskStatus) -> Outcome:
    lines = await on.driver.task_log(status.upid, 50)
    if vzdump.queued(lines):
        others = await _others(running, on, status.upid)
        which = f" (of container {', '.join(others)})" if others else ""
        text = f"{part.part}: queued behind another backup of node {status.upid.node}{which}; it makes one at a time"
    else:
        text = f"{part.part}: vzdump is at work on {status.upid.node}"
    running.remember(progress=TransferProgress(part=part.part, message=text))
    return Wait(Reason.PROGRESSING, text, POLL)


async def _others(running: Running, on: Ground, mine: Upid) -> list[str]:
    try:
        active = await on.driver.active(mine.node, DUMP)
    except errors.ProxmoxError:
        return []
    return sorted({upid.id for upid in active if upid.text != mine.text and upid.started <= mine.started})


async def _dumped(running: Running, on: Ground, number: int, task: HostTask, status: TaskStatus | None) -> Outcome:
    """The task has ended: what its log says, and what is really there."""
    part, mark = running.status.parts[number], running.mark(on, number)
    assert on.spec is not None
    told, problem = vzdump.Told(), vzdump.Verdict("TaskLost", "its node has lost what it knew of the task")
    how = on.spec.container
    if status is not None:
        told = vzdump.read(await on.driver.task_log(status.upid, LOG), on.storage)
        asked, strict = (how.mode, how.require_mode) if how is not None else ("snapshot", False)
        problem = vzdump.verdict(status, told, asked, require_mode=strict)
    archive = await _archive(running, on, task.node, mark, told.volume)
    if problem.reason == "TaskLost" and archive is not None and proxmoxmarks.mark(archive.notes) == mark:
        # Notes are the last that vzdump writes: it is whole.
        problem = vzdump.Verdict("", "", ("the task's end was lost; the archive and its notes are there",))
    if archive is None and not problem.reason:
        problem = vzdump.Verdict("ArchiveMissing", f"the task succeeded, and {told.volume} isn't on {on.storage}")
    if archive is not None:
        await _settle(running, on, task.node, archive, mark, problem)
    uncovered = [f"{part.part}: {entry}" for entry in told.left_out]
    running.remember(
        not_covered=tuple(dict.fromkeys((*running.status.not_covered, *uncovered)))[:64],
        notes=(*running.status.notes, *(f"{part.part}: {note}" for note in problem.notes))[:64],
    )
    if problem.reason:
        return running.part_failed(part, problem.reason, problem.message)
    assert archive is not None
    return running.part_done(part, snapshot=archive.volume, bytes=archive.size, mode=told.mode or None)


async def _archive(running: Running, on: Ground, node: str, mark: Mark, volume: str) -> Archive | None:
    found = await on.driver.archives(node, on.storage)
    marked = [one for one in found if proxmoxmarks.mark(one.notes) == mark]
    named = [one for one in found if one.volume == volume]
    return next(iter((*[one for one in marked if one in named], *marked, *named)), None)


async def _settle(
    running: Running, on: Ground, node: str, archive: Archive, mark: Mark, problem: vzdump.Verdict
) -> None:
    """What the archive's notes and flag must be: vzdump only warns when it can't write them."""
    if problem.reason == "OtherMode":
        if proxmoxmarks.REJECTED not in archive.notes:
            await on.driver.annotate(node, archive.volume, notes=f"{mark.text} {proxmoxmarks.REJECTED}=mode")
    elif not problem.reason and proxmoxmarks.mark(archive.notes) != mark:
        await on.driver.annotate(node, archive.volume, notes=mark.notes())
    if not problem.reason and running.resource.spec.protected and not archive.protected:
        await on.driver.annotate(node, archive.volume, protected=True)
