"""What every step of a restore of containers works with: its status, its tasks, its archives, and how it ends.

The steps are functions of a ``Restoring``; ``proxmoxrestore`` says in which order they come.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from homeport.api.backup import BackupSpec
from homeport.api.backupparts import HostTask, RunPart
from homeport.api.conditions import Reason
from homeport.api.resource import Resource
from homeport.api.restore import RestoreSpec, RestoreStatus
from homeport.drivers.proxmox import errors
from homeport.engine.backups import hosttasks, proxmoxplace
from homeport.engine.backups.hosttasks import POLL
from homeport.engine.backups.proxmoxplace import Ground
from homeport.engine.context import Context
from homeport.outcome import Ok, Outcome, Stalled, Wait
from homeport.plan.backup import times
from homeport.plan.proxmox import archives
from homeport.plan.proxmox.config import ContainerConfig
from homeport.plan.proxmox.readings import Guest
from homeport.plan.proxmox.tasks import TaskStatus

Restore = Resource[RestoreSpec]


class Restoring:
    """One reconciliation of one restore."""

    def __init__(self, resource: Restore, context: Context) -> None:
        self.resource, self.context, self.key = resource, context, resource.key
        self.status = hosttasks.remembered(resource, RestoreStatus)
        self.host = ""
        self.spec: BackupSpec | None = None
        """The Backup's, once that is known."""
        self.last: tuple[str, TaskStatus | None] | None = None
        """The task that has just ended, by its type."""
        self.remember(task=hosttasks.recalled(self.key, self.status.task, context))

    def remember(self, **updates: Any) -> None:
        """Into the status."""
        self.status = self.status.model_copy(update=updates)

    @property
    def kind(self) -> str:
        """``new``, ``inPlace`` or ``drill``."""
        target = self.resource.spec.target
        if target is None:
            return "new"
        return "inPlace" if target.in_place is not None else "drill" if target.drill is not None else "new"

    @property
    def part(self) -> RunPart | None:
        """The part that is being restored."""
        return next((part for part in self.status.parts if not part.done), None)

    def note(self, text: str) -> None:
        """What a person should know although it succeeded."""
        if text not in self.status.notes:
            self.remember(notes=(*self.status.notes, text)[:64])

    # --- tasks --------------------------------------------------------------------------------------------------------

    async def follow(self, on: Ground) -> Outcome | None:
        """Wait for the task that is written down; None when there is none any more."""
        task = self.status.task
        if task is None or task.upid is None:
            return None
        status = await hosttasks.standing(self.key, task, on.driver)
        if status is not None and status.running:
            return Wait(Reason.PROGRESSING, f"{self.status.step}: {task.type} is at work on {task.node}", POLL)
        self.last = (task.type, status)
        self.remember(task=None)
        self.context.host_work.forget(self.key)
        return None

    def ended_badly(self, kind: str) -> str | None:
        """What the task of a kind failed with that has just ended; None when none did."""
        if self.last is None or self.last[0] != kind:
            return None
        status = self.last[1]
        if status is None:
            return "its node has lost what it knew of the task"
        return None if status.succeeded else status.message or "it failed without saying why"

    async def do(
        self, on: Ground, kind: str, node: str, vmid: int, method: str, *segments: str | int, **params: Any
    ) -> Outcome:
        """Ask for a task that may be asked for twice; what it has come to is seen by looking."""
        task = self.status.task
        if task is None or (task.type, task.vmid) != (kind, vmid):
            self.remember(task=hosttasks.plan(self.key, self.context, kind, node, vmid))
            return Wait(Reason.PROGRESSING, f"{self.status.step}: {kind} of {vmid}", 0.0)
        if not hosttasks.is_untouched(self.key, task, self.context):
            if await on.driver.is_at_work(node, vmid):
                return Wait(Reason.PROGRESSING, f"a task is at work on container {vmid}; waits for its end", POLL)
            hosttasks.trust(self.key, task, self.context)
        try:
            path = ("nodes", node, *segments)
            given = {key.replace("_", "-"): value for key, value in params.items()} or None
            sent = await hosttasks.send(self.resource, task, on.driver, self.context, method, *path, params=given)
        except (errors.AlreadyRunning, errors.NotRunning, errors.NotFound):
            self.remember(task=None)
            return Wait(Reason.PROGRESSING, f"{self.status.step}: looks again", 0.0)
        if isinstance(sent, HostTask):
            self.remember(task=sent)
            return Wait(Reason.PROGRESSING, f"{self.status.step}: {kind} of {vmid}", 1.0)
        return sent

    async def look(self, on: Ground, vmid: int, node: str) -> tuple[Guest, ContainerConfig] | None:
        """A container as it is; None when it isn't there, whatever the token may see. Raises ``ProxmoxError``."""
        try:
            return await on.driver.container(node, vmid), await on.driver.config(node, vmid)
        except errors.NotFound:
            if await on.driver.is_free(vmid):
                return None
            raise errors.NotFound(0, f"container {vmid} isn't on {node}, and its VMID isn't free") from None

    # --- archives -----------------------------------------------------------------------------------------------------

    async def archived(self, on: Ground, part: RunPart) -> ContainerConfig:
        """The configuration in the archive. Raises PropertyError, and ``ProxmoxError``."""
        node = self.status.node or await self.archive_node(on, part)
        return archives.parse_config(await on.driver.archived_config(node, str(part.snapshot)))

    async def archive_node(self, on: Ground, part: RunPart) -> str:
        """A node that has the archive. Raises NotFound."""
        found, _ = await proxmoxplace.listed(on)
        node = next((node for archive, node in found.items() if archive.volume == part.snapshot), None)
        if node is None:
            raise errors.NotFound(0, f"{part.snapshot} isn't on {on.storage} any more")
        return node

    # --- the end ------------------------------------------------------------------------------------------------------

    def part_done(self) -> Outcome:
        """The next part, if there is one."""
        part = self.part
        assert part is not None
        done = part.model_copy(update={"done": True, "vmid": self.status.vmid})
        self.remember(parts=tuple(done if one.part == part.part else one for one in self.status.parts),
                      vmid=None, node=None, step="Place", task=None)  # fmt: skip
        self.context.host_work.forget(self.key)
        return Wait(Reason.PROGRESSING, f"{part.part}: done", 0.0)

    def failed(self, reason: str, message: str, *, clean: bool = True) -> Outcome:
        """It is no success; what was made is destroyed first."""
        self.remember(reason=str(reason), message=message[:2000], task=None)
        self.context.host_work.forget(self.key)
        if self.status.phase == "Swapping":
            return self._broken_off()
        if (
            clean
            and self.status.vmid is not None
            and self.status.step in ("Create", "Compare", "Start", "Check", "Mark")
        ):
            self.remember(step="Clean", phase="Cleaning")
            return Wait(Reason.PROGRESSING, f"{message}; removes what was made", 0.0)
        return self.over()

    def _broken_off(self) -> Outcome:
        """A swap that can't go on: nothing is destroyed, and it is said where what is."""
        status = self.status
        self.note(
            f"the swap was broken off at {status.step}: the original is {status.previous_vmid}, what was restored is "
            f"{status.vmid}; both are there"
        )
        return self.over()

    def over(self) -> Outcome:
        """It is over, well or not."""
        now = self.context.now()
        failed = self.status.reason is not None
        begun = datetime.fromisoformat(self.status.started_at or times.text(now))
        took = max(0, round((now - begun).total_seconds()))
        self.remember(
            phase="Failed" if failed else "Succeeded", step=None, task=None, progress=None,
            finished_at=times.text(now), address=None, duration=self.status.duration or f"{took}s",
            bytes=sum(part.bytes or 0 for part in self.status.parts) if not failed else None,
            vmid=None if self.kind == "drill" or failed else self.status.vmid,
            restored_to=None if self.kind == "drill" or failed else self.status.restored_to,
            message=self.status.message or f"run {self.status.run} is restored",
        )  # fmt: skip
        self.context.host_work.forget(self.key)
        self.context.allocations.forget(self.key)
        return verdict(self.status)


def verdict(status: RestoreStatus) -> Outcome:
    """How a restore that is over ended."""
    if status.phase == "Succeeded":
        return Ok(status.message or "restored")
    return Stalled(Reason.RESTORE_FAILED, status.message or "failed")
