"""The phases of a BackupRun that a Job carries out: what each waits for, and what comes after it.

============ =======================================================================================
phase        what is done
============ =======================================================================================
Pending      what it depends on is waited for
Before       hooks; one that fails makes the run fail, and ``After`` comes all the same
Snapshotting a CSI snapshot of the volume is made, and a claim from it, where there can be one
Running      the Job is there, and is left alone until it is over
After        the result is in the status, so the Job and what is beside it go; hooks
Succeeded    Incomplete, Failed: over
============ =======================================================================================

Each is written down before what belongs to it is begun. A Job that is gone before its result was read is made again:
the runner takes all parts of a run anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from homeport.api.backuprun import BackupRunSpec
from homeport.api.conditions import Reason
from homeport.api.resource import Resource
from homeport.engine.backups import hooks, results
from homeport.engine.status import timestamp
from homeport.outcome import Outcome, Stalled, Wait, worst
from homeport.plan.backup import run as plan
from homeport.plan.backup import snapshots
from homeport.plan.backup.runnerjob import RunnerJob
from homeport.plan.backup.snapshots import Snapshot
from homeport.plan.world import ChildKey, Live, Report

Run = Resource[BackupRunSpec]
BEFORE, SNAPSHOTTING, RUNNING, AFTER = "Before", "Snapshotting", "Running", "After"
LOOK_AGAIN = 10.0
"""Seconds between looks at a Job that is at work: no event tells how far it is."""
SNAPSHOT_FAILED = "SnapshotFailed"
SLACK = timedelta(hours=1)
"""How much longer than its Job may take it is waited for, when nothing can be seen of the Job."""


@dataclass(frozen=True)
class RunWorld:
    """What is known of a run."""

    now: datetime
    live: Mapping[ChildKey, Live] = field(default_factory=dict)
    problem: Outcome | None = None
    """Why it can't go on now."""
    job: RunnerJob | None = None
    """What is to be done, while nothing is."""
    state: results.State | None = None
    """How its Job is."""
    hooks: BackupHooks | None = None
    timeout: int = 24 * 3600
    """Seconds that its Job may take; as it is here when its Backup is gone."""
    elsewhere: bool = False
    """Whether a host carries it out, and no Job."""
    original: Live | None = None
    """The claim that its snapshot is of."""
    snapshots: bool = True
    """Whether the cluster serves VolumeSnapshots."""
    only_snapshots: bool = False
    """Whether nothing but a snapshot may be read."""


@dataclass(frozen=True)
class BackupHooks:
    """The hooks of a run's phase: whether there are any, and what came of them; None while they run."""

    before: int = 0
    after: int = 0
    states: Sequence[hooks.State] | None = None


# --- phases -----------------------------------------------------------------------------------------------------------

Fields = dict[str, Any]


def _pending(fields: Fields, resource: Run, world: RunWorld, report: Report) -> tuple[Fields, Outcome]:
    """Begin, once there is all that it depends on."""
    if isinstance(world.problem, Stalled):
        return _refused(fields, world, world.problem)
    if world.problem is not None or world.job is None:
        wait = world.problem or Wait(Reason.PROGRESSING, "it is about to begin")
        return {**fields, "phase": "Pending"}, wait
    fields |= {"run": resource.name, "startedAt": timestamp(world.now), "method": world.job.job["method"]}
    source = world.job.source
    snapshot = snapshots.planned(resource.name, resource.uid, source) if source is not None else None
    if snapshot is not None:
        fields["volumeSnapshot"] = snapshot.fields()
    elif source is not None and source.unheld:
        fields["notes"] = [_in_use(source.unheld)]
    hooked = world.hooks is not None and world.hooks.before
    return _next(fields, BEFORE if hooked else _reads(fields), world)


def _in_use(why: str) -> str:
    return plan.short(f"the volume was read while it is in use, for there was no snapshot: {why}")


def _reads(fields: Fields) -> str:
    """The phase in which something is read for the first time."""
    return SNAPSHOTTING if fields.get("volumeSnapshot") else RUNNING


def _refused(fields: Fields, world: RunWorld, problem: Stalled) -> tuple[Fields, Outcome]:
    """It can't be done as it is asked for; whoever mends that makes another run."""
    fields |= {"phase": "Failed", "reason": problem.reason, "message": plan.short(problem.message),
               "finishedAt": timestamp(world.now)}  # fmt: skip
    return fields, plan.verdict(fields)


def _before(fields: Fields, resource: Run, world: RunWorld, report: Report) -> tuple[Fields, Outcome]:
    """Hooks before it."""
    if world.problem is not None:
        return fields, world.problem
    states = world.hooks.states if world.hooks is not None else ()
    if states is None:
        return fields, Wait(Reason.PROGRESSING, "hooks run before it", LOOK_AGAIN)
    fields["hooks"] = list(states)
    if said := hooks.failure(states):
        fields |= {"reason": plan.HOOK_FAILED, "message": plan.short(f"nothing was saved: {said}")}
        return _done(fields, world)
    return _next(fields, _reads(fields), world)


def _snapshotting(fields: Fields, resource: Run, world: RunWorld, report: Report) -> tuple[Fields, Outcome]:
    """The snapshot, and then the claim that is made from it."""
    snapshot = Snapshot.of(fields)
    if snapshot is None:
        return _next(fields, RUNNING, world)
    if isinstance(world.problem, Stalled):
        return _done(fields | {"reason": world.problem.reason, "message": plan.short(world.problem.message)}, world)
    if world.problem is not None and not _late(fields, world):
        return fields, world.problem
    found = _child(world, "VolumeSnapshot", snapshot.name)
    seen = snapshots.state(found, world.now)
    refused = [problem.message for problem in report.problems if isinstance(problem, Stalled)]
    gone = [] if world.snapshots else ["the cluster has no VolumeSnapshots any more"]
    if seen.failed or refused or gone or _late(fields, world):
        return _unheld(fields, world, "; ".join([*refused, *gone]) or seen.message)
    if not seen.ready or found is None or world.original is None:
        text = f"a snapshot of the claim {snapshot.claim} is made: {seen.message}"
        return fields, Wait(Reason.PROGRESSING, text, LOOK_AGAIN)
    if snapshot.size is None:
        fields["volumeSnapshot"] = snapshots.known(snapshot, found, world.original).fields()
        return fields, Wait(Reason.PROGRESSING, "the snapshot is ready to use", 0.0)
    if _child(world, "PersistentVolumeClaim", snapshot.name) is None:
        return fields, Wait(Reason.PROGRESSING, "a claim is made from the snapshot", LOOK_AGAIN)
    return _next(fields, RUNNING, world)


def _child(world: RunWorld, kind: str, name: str) -> Live | None:
    return next((body for (_, id), body in world.live.items() if (id.kind, id.name) == (kind, name)), None)


def _unheld(fields: Fields, world: RunWorld, why: str) -> tuple[Fields, Outcome]:
    """There will be no snapshot: the volume itself is read, unless that isn't wanted."""
    if world.only_snapshots:
        text = f"no snapshot could be made, and spec.files.snapshot is Always: {why}"
        return _done(fields | {"reason": SNAPSHOT_FAILED, "message": plan.short(text)}, world)
    fields = {name: value for name, value in fields.items() if name != "volumeSnapshot"}
    fields["notes"] = [*(fields.get("notes") or ()), _in_use(why)]
    return _next(fields, RUNNING, world)


def _running(fields: Fields, resource: Run, world: RunWorld, report: Report) -> tuple[Fields, Outcome]:
    """The Job."""
    state = world.state
    if state is not None and state.result is not None:
        told = plan.fields(state.result)
        if notes := [*(fields.get("notes") or ()), *(told.get("notes") or ())]:
            told["notes"] = notes
        return _done(fields | told, world)
    if isinstance(world.problem, Stalled):
        return _done(fields | {"reason": world.problem.reason, "message": plan.short(world.problem.message)}, world)
    troubles = [problem for problem in report.problems if not isinstance(problem, Wait)]
    if troubles:
        return fields, worst(troubles)
    if world.problem is not None and _late(fields, world):
        text = f"nothing was heard of its Job for too long: {world.problem.message}"
        return _done(fields | {"reason": results.NO_RESULT, "message": plan.short(text)}, world)
    if world.problem is not None:
        return fields, world.problem
    if state is None:
        return fields, Wait(Reason.PROGRESSING, "its Job is being made", LOOK_AGAIN)
    if state.trouble:
        return fields, Wait(Reason.PROGRESSING, f"its Job: {state.trouble}", LOOK_AGAIN)
    if shown := plan.progress(state.event) or resource.status.get("progress"):
        fields["progress"] = shown
    return fields, Wait(Reason.PROGRESSING, _said(shown), LOOK_AGAIN)


def _late(fields: Fields, world: RunWorld) -> bool:
    """Whether its Job, if there is one somewhere, has long reached its own limit."""
    began = datetime.fromisoformat(fields["startedAt"]) if fields.get("startedAt") else world.now
    return world.now - began > timedelta(seconds=world.timeout) + SLACK


def _said(shown: Mapping[str, Any] | None) -> str:
    if not shown:
        return "its Job is at work"
    if shown.get("message"):
        return f"its Job is at work: {shown['message']}"
    percent = f", {shown['percent']} %" if "percent" in shown else ""
    return f"its Job saves {shown.get('part', 'it')}: {shown.get('bytes', 0)} bytes{percent}"


def _after(fields: Fields, resource: Run, world: RunWorld, report: Report) -> tuple[Fields, Outcome]:
    """Hooks after it."""
    states = world.hooks.states if world.hooks is not None else ()
    if states is None:
        return fields, Wait(Reason.PROGRESSING, "hooks run after it", LOOK_AGAIN)
    fields["hooks"] = [*(fields.get("hooks") or ()), *states]
    if said := hooks.failure(states):
        # What is saved is good; what the hook was to undo may still be done.
        fields["notes"] = [*(fields.get("notes") or ()), plan.short(said)]
    return _over(fields, world)


def _done(fields: Fields, world: RunWorld) -> tuple[Fields, Outcome]:
    if world.hooks is not None and world.hooks.after:
        return _next(fields, AFTER, world)
    return _over(fields, world)


def _over(fields: Fields, world: RunWorld) -> tuple[Fields, Outcome]:
    began = datetime.fromisoformat(fields["startedAt"]) if fields.get("startedAt") else None
    fields |= plan.ended(fields, timestamp(world.now), began, world.now)
    return fields, plan.verdict(fields)


def _finished(fields: Fields, resource: Run, world: RunWorld, report: Report) -> tuple[Fields, Outcome]:
    """It is over: what it said stays."""
    return fields, plan.verdict(fields)


def _next(fields: Fields, phase: str, world: RunWorld) -> tuple[Fields, Outcome]:
    """Go on at once, when this is written down."""
    return {**fields, "phase": phase}, Wait(Reason.PROGRESSING, f"{_DOES[phase]}", 0.0)


_DOES = {
    BEFORE: "hooks run before it",
    SNAPSHOTTING: "a snapshot of its volume is being made",
    RUNNING: "its Job is being made",
    AFTER: "hooks run after it",
}
_Step = Callable[[Fields, Run, RunWorld, Report], tuple[Fields, Outcome]]
_STEPS: Mapping[str, _Step] = {
    BEFORE: _before,
    SNAPSHOTTING: _snapshotting,
    RUNNING: _running,
    AFTER: _after,
    **dict.fromkeys(plan.OVER, _finished),
}


def status(resource: Run, fields: Fields, world: RunWorld, report: Report) -> tuple[Fields, Outcome]:
    """The next phase, or how far this one is. ``fields`` are those that are kept."""
    known = {key: value for key, value in fields.items() if key != "progress"}
    return _STEPS.get(known.get("phase", ""), _pending)(known, resource, world, report)
