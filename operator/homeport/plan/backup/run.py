"""A BackupRun on Kubernetes: the job that the runner gets, and what its result means for the status. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from homeport.api.backup import BackupSpec, Retention
from homeport.api.backuprun import BackupRunSpec
from homeport.api.conditions import Reason
from homeport.api.resource import Resource
from homeport.outcome import Ok, Outcome, Stalled
from homeport.plan.backup.access import tags
from homeport.plan.backup.source import Source
from homeport.plan.names import seconds
from homeport.plan.types import Manifest

Run = Resource[BackupRunSpec]
OVER = frozenset({"Succeeded", "Incomplete", "Failed"})
"""Phases after which nothing more is done."""
HOOK_FAILED = "HookFailed"
_INCOMPLETE = "SourceIncomplete"
"""The runner's reason for something that was saved and isn't all."""
_RULES = ("last", "hourly", "daily", "weekly", "monthly", "yearly")
_TEXT = 1024
"""Characters of a text in a status."""
_LISTS = 64


def over(status: Mapping[str, Any]) -> bool:
    """Whether a run is done, however it ended."""
    return status.get("phase") in OVER


SAFETY = frozenset({"BeforeRestore", "Final"})
"""Runs that are taken because something is about to be overwritten or removed: nothing is dropped after one."""


def document(
    run: Run, source: Source, installation: str, paths: Mapping[str, Any], dropped: Manifest | None
) -> Manifest:
    """What the runner is to do. ``paths`` stands for the source where there are any; ``dropped``: see ``rules``."""
    out: Manifest = {
        "operation": "backup",
        "method": source.method,
        "host": source.host,
        "tags": {**tags(run.namespace, run.spec.backup_ref.name, installation), "run": run.name},
        "source": dict(paths) or source.document(),
    }
    if run.spec.protected:
        out["protected"] = True
    if dropped is not None:
        out["retention"] = dropped
    return out


def rules(run: Run, backup: BackupSpec, verified: str, restoring: bool) -> Manifest | None:
    """What is dropped after a run; nothing while somebody restores, for that may be of any run."""
    if backup.retention is None or restoring or run.spec.trigger in SAFETY:
        return None
    return retention(backup.retention, backup.time_zone or "UTC", verified, seconds(backup.timeout))


def retention(asked: Retention, zone: str, verified: str, unfinished: int) -> Manifest:
    """The rules as the runner has them."""
    policy = {rule: getattr(asked, f"keep_{rule}") for rule in _RULES}
    out: Manifest = {rule: number for rule, number in policy.items() if number}
    out |= {"timeZone": zone, "unfinishedSeconds": unfinished}
    return out | ({"verified": [verified]} if verified else {})


def fields(result: Mapping[str, Any]) -> dict[str, Any]:
    """A runner's result as a run's status has it."""
    out: dict[str, Any] = {"message": short(result.get("message", ""))}
    for name in ("snapshot", "bytes", "bytesAdded", "method"):
        if result.get(name):
            out[name] = result[name]
    if result.get("outcome") != "Succeeded":
        out["reason"] = str(result.get("reason") or "Fault")
    if notes := [short(note) for note in result.get("notes") or ()]:
        out["notes"] = notes[:_LISTS]
    parts = [_part(part) for part in result.get("parts") or ()]
    if parts:
        out["parts"] = parts[:_LISTS]
    if "snapshots" in result:
        runs = [{key: value for key, value in entry.items() if value is not None} for entry in result.get("runs") or ()]
        out["listing"] = {"snapshots": result["snapshots"], "runs": runs}
    return out


def _part(part: Mapping[str, Any]) -> dict[str, Any]:
    out = {name: part[name] for name in ("part", "snapshot", "file", "bytes") if part.get(name) is not None}
    return out | ({"reason": _INCOMPLETE} if part.get("incomplete") else {})


def short(text: Any) -> str:
    """A text in as many characters as a status may have."""
    return str(text) if len(str(text)) <= _TEXT else str(text)[: _TEXT - 1] + "…"


def ended(status: Mapping[str, Any], now: str, began: datetime | None, moment: datetime) -> dict[str, Any]:
    """The fields of a run that is over, from what its status says of the result."""
    reason = status.get("reason")
    phase = "Succeeded" if not reason else "Incomplete" if reason == _INCOMPLETE else "Failed"
    out: dict[str, Any] = {"phase": phase, "finishedAt": now}
    if began is not None:
        out["duration"] = duration((moment - began).total_seconds())
    return out


def duration(number: float) -> str:
    """Seconds as a person writes them: 41s, 3m20s, 2h5m."""
    whole = round(number)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60}s"
    return f"{whole // 3600}h{whole % 3600 // 60}m"


def verdict(status: Mapping[str, Any]) -> Outcome:
    """What a run that is over tells of itself."""
    message = str(status.get("message") or "")
    notes = "".join(f"; {note}" for note in status.get("notes") or ())
    if status.get("phase") == "Succeeded":
        return Ok(f"{message}{notes}")
    reason = str(status.get("reason") or "")
    known = Reason.INVALID_SPEC if reason == Reason.INVALID_SPEC else Reason.BACKUP_FAILED
    said = f"{message}{notes}" if known is Reason.INVALID_SPEC else f"{reason}: {message}{notes}"
    return Stalled(known, said)


def progress(event: Mapping[str, Any]) -> dict[str, Any]:
    """A line of the runner's as a status has it; empty for one that tells of no progress."""
    kind = event.get("event")
    if kind == "retrying":
        return {"message": short(event.get("message", ""))}
    if kind not in ("begin", "progress", "end"):
        return {}
    out: dict[str, Any] = {name: event[name] for name in ("part", "bytes", "percent") if event.get(name) is not None}
    if event.get("etaSeconds") is not None:
        out["eta"] = duration(float(event["etaSeconds"]))
    if "percent" in out:
        out["percent"] = int(out["percent"])
    return out
