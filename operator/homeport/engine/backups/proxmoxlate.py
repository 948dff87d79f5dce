"""Runs of containers past their timeout: the task is stopped and followed to its end, before the run is over.

A task that went on would hold a slot, and its archive would count as a good one of a run that says that it failed.
"""

from __future__ import annotations

from homeport.api.backupparts import HostTask
from homeport.api.conditions import Reason
from homeport.drivers.proxmox import errors
from homeport.engine.backups import hosttasks, proxmoxdump
from homeport.engine.backups.hosttasks import POLL
from homeport.engine.backups.proxmoxplace import Ground
from homeport.engine.backups.proxmoxrunning import Running
from homeport.outcome import Outcome, Wait
from homeport.plan.proxmox.tasks import Upid

TIMEOUT = "Timeout"


async def late(running: Running, on: Ground, text: str) -> Outcome:
    """Stop what is at work; then the run has failed by ``text``. A part whose task was done by then is good."""
    task = running.status.task
    number = next((number for number, part in enumerate(running.status.parts) if not part.done), None)
    if running.status.phase != "Running" or number is None or task is None:
        return running.failed(TIMEOUT, text)
    if task.upid is None:
        sought = await proxmoxdump.sought(running, on, number, task)
        if isinstance(sought, HostTask):
            running.remember(task=sought)
            return Wait(Reason.PROGRESSING, f"{text}; vzdump is stopped", 0.0)
        return sought or running.failed(TIMEOUT, text)
    status = await hosttasks.standing(running.key, task, on.driver)
    if status is not None and status.running:
        return Wait(Reason.PROGRESSING, f"{text}; {await _stop(running, on, task)}", POLL)
    known = running.status.reason
    outcome = await proxmoxdump.part(running, on, number)
    if running.status.reason and not known:
        running.remember(reason=TIMEOUT, message=text)
    return outcome


async def _stop(running: Running, on: Ground, task: HostTask) -> str:
    try:
        await on.driver.stop(Upid.parse(task.upid or ""))
    except errors.ProxmoxError as error:
        if isinstance(error, errors.Unreachable | errors.NodeUnreachable | errors.Unauthorized):
            raise
        return f"vzdump can't be stopped, and its end is waited for: {error}"
    return "vzdump is stopped"
