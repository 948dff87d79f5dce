"""What every step of a run of containers works with: its status, and how a part of it and all of it ends.

The steps are functions of a ``Running``; ``proxmoxrun`` says in which order they come.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from homeport.api.backupparts import RunPart
from homeport.api.backuprun import BackupRunSpec, BackupRunStatus
from homeport.api.conditions import Reason
from homeport.api.resource import Resource
from homeport.engine.backups import hosttasks
from homeport.engine.backups.proxmoxplace import Ground
from homeport.engine.context import Context
from homeport.outcome import Ok, Outcome, Stalled, Wait
from homeport.plan.backup import times
from homeport.plan.backup.proxmoxmarks import Mark

Run = Resource[BackupRunSpec]


class Running:
    """One reconciliation of one run."""

    def __init__(self, resource: Run, context: Context) -> None:
        self.resource, self.context, self.key = resource, context, resource.key
        self.status = hosttasks.remembered(resource, BackupRunStatus)
        self.host = ""
        self.remember(task=hosttasks.recalled(self.key, self.status.task, context))

    def remember(self, **updates: Any) -> None:
        """Into the status."""
        self.status = self.status.model_copy(update=updates)

    def note(self, text: str) -> None:
        """What a person should know although it succeeded."""
        if text not in self.status.notes:
            self.remember(notes=(*self.status.notes, text)[-64:])

    # --- a part -------------------------------------------------------------------------------------------------------

    def mark(self, on: Ground, number: int) -> Mark:
        """What the archive of a part has in its notes."""
        parts = self.status.parts
        return Mark(on.owner, self.resource.name, parts[number].part, number + 1, len(parts))

    def part_done(self, part: RunPart, **told: Any) -> Outcome:
        """The next part, if there is one; ``told`` goes into this one's status."""
        done = part.model_copy(update={**told, "done": True})
        parts = tuple(done if one.part == part.part else one for one in self.status.parts)
        self.remember(parts=parts, task=None, progress=None)
        self.context.host_work.forget(self.key)
        return Wait(Reason.PROGRESSING, f"{part.part}: done", 0.0)

    def part_failed(self, part: RunPart, reason: str, message: str) -> Outcome:
        """There is no backup of this part; the next one is made all the same."""
        note = f"{part.part}: {message}"
        self.remember(notes=(*self.status.notes, note)[:64], reason=self.status.reason or reason,
                       message=self.status.message or note)  # fmt: skip
        return self.part_done(part, reason=reason)

    # --- the end ------------------------------------------------------------------------------------------------------

    def over(self, phase: str) -> Outcome:
        """It is over, well or not."""
        parts, now = self.status.parts, self.context.now()
        good = [part for part in parts if part.done and not part.reason]
        begun = datetime.fromisoformat(self.status.started_at or times.text(now))
        took = max(0, round((now - begun).total_seconds()))
        self.remember(
            phase=phase, task=None, progress=None, finished_at=times.text(now), duration=f"{took}s",
            bytes=sum(part.bytes or 0 for part in good), snapshot=good[0].snapshot if good else None,
            volume=good[0].snapshot if good else None, mode=good[0].mode if good else None,
            message=self.status.message or f"{len(good)} of {len(parts)} containers are backed up",
        )  # fmt: skip
        self.context.host_work.forget(self.key)
        return verdict(self.status)

    def failed(self, reason: str, message: str) -> Outcome:
        """It is no backup; hooks after it come all the same."""
        self.remember(reason=reason, message=message, task=None)
        if self.status.phase not in ("Before", "Running"):
            return self.over("Failed")
        self.context.host_work.forget(self.key)
        ended = {"done": True, "reason": reason}
        parts = tuple(part if part.done else part.model_copy(update=ended) for part in self.status.parts)
        self.remember(phase="Running", parts=parts)
        return Wait(Reason.PROGRESSING, message, 0.0)

    def refused(self, message: str) -> Outcome:
        """The host refuses for good; what is left to do after a backup is no part of it."""
        if self.status.phase != "After" or self.status.reason:
            return self.failed("HostRefused", message)
        self.note(f"what retention lets go isn't removed: {message}")
        return self.over("Succeeded")


def verdict(status: BackupRunStatus) -> Outcome:
    """How a run that is over ended."""
    if status.phase == "Succeeded":
        return Ok(status.message or "done")
    return Stalled(Reason.BACKUP_FAILED, status.message or "failed")
