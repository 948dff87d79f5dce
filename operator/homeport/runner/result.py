"""How a job ended: a closed list of reasons, a sentence for a person, and no secret in either."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

TERMINATION_BYTES = 4096
"""What a kubelet keeps of a container's termination message.

https://kubernetes.io/docs/tasks/debug/debug-application/determine-reason-pod-failure/
"""
_MESSAGE = 1000  # characters


class Outcome(StrEnum):
    """How a job ended."""

    SUCCEEDED = "Succeeded"
    INCOMPLETE = "Incomplete"
    """Something was saved or restored, and something is missing from it."""
    FAILED = "Failed"


class Reason(StrEnum):
    """Why a job didn't succeed."""

    INVALID_JOB = "InvalidJob"
    """The job can't be carried out as it is written."""
    TOOL_MISSING = "ToolMissing"
    """A program isn't installed where the runner runs."""
    WRONG_PASSWORD = "WrongPassword"  # noqa: S105 - a reason
    """No key of the repository opens with this password."""
    REPOSITORY_MISSING = "RepositoryMissing"
    """There is no repository at this place; only ``init`` makes one."""
    REPOSITORY_LOCKED = "RepositoryLocked"
    """Somebody else holds the repository for longer than it was waited."""
    REPOSITORY_FULL = "RepositoryFull"
    """The repository's disk has no space left."""
    REPOSITORY_DENIED = "RepositoryDenied"
    """The store refuses the credentials, or a file's permissions do."""
    REPOSITORY_UNREACHABLE = "RepositoryUnreachable"
    """The store doesn't answer, or stopped answering."""
    REPOSITORY_DAMAGED = "RepositoryDamaged"
    """What is stored isn't what was written."""
    REPOSITORY_FAILED = "RepositoryFailed"
    """restic failed for another reason, which the message has."""
    SNAPSHOT_MISSING = "SnapshotMissing"
    """No snapshot or run is as the job says; the message has the nearest."""
    SOURCE_UNREACHABLE = "SourceUnreachable"
    """What is to be backed up doesn't answer."""
    SOURCE_DENIED = "SourceDenied"
    """What is to be backed up refuses the credentials, or the role may not read all of it."""
    SOURCE_DAMAGED = "SourceDamaged"
    """What is to be backed up is damaged itself."""
    SOURCE_INCOMPLETE = "SourceIncomplete"
    """Some of it couldn't be read; what could be is saved and counts as incomplete."""
    DUMP_FAILED = "DumpFailed"
    """The dumping program failed; nothing was saved of its part."""
    CLIENT_TOO_OLD = "ClientTooOld"
    """The server is newer than the newest client program here."""
    SCRATCH_FULL = "ScratchFull"
    """The runner's own disk has no space left."""
    TARGET_UNREACHABLE = "TargetUnreachable"
    """Where it is to be restored doesn't answer."""
    TARGET_DENIED = "TargetDenied"
    """Where it is to be restored refuses the credentials."""
    TARGET_NOT_EMPTY = "TargetNotEmpty"
    """There is something at the target already."""
    TARGET_TOO_SMALL = "TargetTooSmall"
    """The target has less space than is needed."""
    RESTORE_FAILED = "RestoreFailed"
    """What was to take the data refused it, or stopped."""
    CHECK_FAILED = "CheckFailed"
    """The check of what was restored says no."""
    INTERRUPTED = "Interrupted"
    """The runner was told to stop."""
    FAULT = "Fault"
    """A fault of the runner's own."""


# What may pass by itself: to try the same again makes sense.
PASSING = frozenset(
    {
        Reason.REPOSITORY_LOCKED, Reason.REPOSITORY_UNREACHABLE, Reason.REPOSITORY_FULL, Reason.REPOSITORY_FAILED,
        Reason.SOURCE_UNREACHABLE, Reason.DUMP_FAILED, Reason.SCRATCH_FULL, Reason.TARGET_UNREACHABLE,
        Reason.INTERRUPTED, Reason.FAULT,
    }
)  # fmt: skip


class Failure(Exception):  # noqa: N818 - it is what a result says
    """A job that didn't succeed: why, and a sentence that says what to do."""

    def __init__(self, reason: Reason, message: str, outcome: Outcome = Outcome.FAILED) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.outcome = outcome
        self.lines: list[dict[str, Any]] = []
        """What the program printed before it failed."""


@dataclass
class Result:
    """What a job did; ``details`` are its operation's own fields."""

    operation: str
    outcome: Outcome = Outcome.SUCCEEDED
    reason: Reason | None = None
    message: str = ""
    started: str = ""
    finished: str = ""
    duration_seconds: float = 0.0
    notes: list[str] = field(default_factory=list)
    """What a person should know although the job succeeded."""
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """0 succeeded; 3 incomplete, as restic has it; 1 may pass; 2 won't pass by itself.

        A Job's ``podFailurePolicy`` tells them apart without reading anything.
        """
        if self.outcome is Outcome.SUCCEEDED:
            return 0
        if self.outcome is Outcome.INCOMPLETE:
            return 3
        return 1 if self.reason in PASSING else 2

    def document(self) -> dict[str, Any]:
        """The whole of it, as the result file has it."""
        out: dict[str, Any] = {"version": 1, "operation": self.operation, "outcome": self.outcome.value}
        if self.reason is not None:
            out |= {"reason": self.reason.value, "retryable": self.reason in PASSING}
        out |= {"message": self.message, "startedAt": self.started, "finishedAt": self.finished}
        out["durationSeconds"] = round(self.duration_seconds, 1)
        if self.notes:
            out["notes"] = self.notes
        return out | self.details

    def termination(self) -> bytes:
        """The same in at most ``TERMINATION_BYTES``: lists are left out from their ends, ``omitted`` says how many."""
        document = self.document()
        if len(self.message) > _MESSAGE:
            document["message"] = self.message[:_MESSAGE] + "…"
        omitted: dict[str, int] = {}
        while len(encoded := _encode({**document, **({"omitted": omitted} if omitted else {})})) > TERMINATION_BYTES:
            lists = [name for name, value in document.items() if isinstance(value, list) and value]
            if not lists:
                document = {name: document[name] for name in ("version", "operation", "outcome", "reason", "message")
                            if name in document}  # fmt: skip
                document["message"] = document["message"][: _MESSAGE // 2]
                return _encode(document)
            longest = max(lists, key=lambda name: len(_encode(document[name])))
            kept = len(document[longest]) // 2
            omitted[longest] = omitted.get(longest, 0) + len(document[longest]) - kept
            document[longest] = document[longest][:kept]
        return encoded


def _encode(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
