"""After a good backup: which older runs are dropped, and what the repository has then.

The rules are the control plane's own (``homeport.plan.backup.retention``), so that what ``homeport backup prune
--dry-run`` shows is what happens here. What can't be dropped now is a note: the backup is good all the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from homeport.plan.backup import retention
from homeport.runner import runs
from homeport.runner.job import Retention
from homeport.runner.methods.base import Context
from homeport.runner.result import Failure, Reason

_LISTED = 100
_PATIENCE = 30  # seconds that others may go on to hold the repository


def drop(context: Context, snapshots: Iterable[runs.Snapshot]) -> frozenset[str]:
    """Forget what the job's retention doesn't keep: the names of the runs that went."""
    gone = unwanted(context, snapshots)
    if not gone:
        return frozenset()
    ids = [one.id for run in gone for one in run.snapshots]
    try:
        context.restic.run("forget", f"--retry-lock={_PATIENCE}s", *ids)
    except Failure as failure:
        why = "the repository is in use" if failure.reason is Reason.REPOSITORY_LOCKED else failure.message
        context.notes.append(f"{len(gone)} runs that retention doesn't keep are still there: {why}")
        return frozenset()
    return frozenset(run.name for run in gone)


def unwanted(context: Context, snapshots: Iterable[runs.Snapshot]) -> list[runs.Run]:
    """The runs that the job's retention doesn't keep; only this installation's are judged."""
    asked = context.job.retention
    if asked is None:
        return []
    ours = [run for run in runs.runs(snapshots) if run.installation == context.job.installation]
    return _unwanted(ours, asked, datetime.now(UTC))


def _unwanted(found: list[runs.Run], asked: Retention, now: datetime) -> list[runs.Run]:
    known = {run.name: run for run in found}
    # What isn't complete may be a run that is at work beside this one.
    at_work = now - timedelta(seconds=asked.unfinished)
    judged = [
        retention.Run(
            run.name, run.time, run.whole is not None, run.name in asked.verified,
            run.protected or (run.whole is None and run.snapshots[-1].time > at_work),
        )
        for run in found
    ]  # fmt: skip
    verdicts = retention.decide(judged, retention.Policy(**asked.policy), ZoneInfo(asked.zone))
    return [known[verdict.run.id] for verdict in verdicts if not verdict.keep]


def listing(snapshots: Iterable[runs.Snapshot], installation: str, gone: frozenset[str]) -> dict[str, Any]:
    """What there is of the backup: how many runs, and the newest, newest first."""
    ours = runs.first_ours(runs.runs(snapshots), installation)
    there = [run for run in reversed(ours) if run.name not in gone]
    return {"snapshots": len(there), "runs": [_entry(run) for run in there[:_LISTED]]}


def _entry(run: runs.Run) -> dict[str, Any]:
    out: dict[str, Any] = {
        "run": run.name,
        "snapshot": (run.whole or run.snapshots[0]).id,
        "time": run.time.isoformat(timespec="seconds"),
        "bytes": sum(one.bytes for one in run.snapshots if one.part != runs.INDEX),
        "complete": run.whole is not None,
    }
    return out | ({"protected": True} if run.protected else {})
