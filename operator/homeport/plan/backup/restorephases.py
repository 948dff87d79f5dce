"""A Restore by a Job: one phase after the other, each written down before what belongs to it is begun. Pure.

========= ==========================================================================================
phase     what is done
========= ==========================================================================================
Pending   what it depends on is waited for; then the run is chosen, once
Before    in place: a protected BackupRun saves what is there
Quiescing in place: what uses the data is scaled to zero, its Pods end, and runs that read it
Running   the Job is there, and is left alone until it is over
Resuming  the result is in the status, so the Job and the keys beside it go; what was at rest runs again
Cleaning  the same for what put nothing to rest
Succeeded Incomplete, Failed: over
========= ==========================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from homeport.api.conditions import Reason
from homeport.outcome import Ok, Outcome, Stalled, Wait, worst
from homeport.plan.backup import restorejob, run, times
from homeport.plan.backup.restore import (
    BEFORE,
    CLEANING,
    LOOK_AGAIN,
    OVER,
    PENDING,
    QUIESCING,
    RESUMING,
    RUNNING,
    Fields,
    Restore,
    RestoreWorld,
    before_name,
    in_place,
    is_drill,
)
from homeport.plan.backup.restoreresult import TEXT, outcome_of, verdict
from homeport.plan.world import Report

PATIENCE = timedelta(minutes=30)
"""How long what has to stop may take to do so: it is at zero meanwhile."""
SLACK = timedelta(hours=1)
"""How much longer than its Job may take it is waited for, when nothing tells of the Job."""
SOON = 1.0
"""Seconds between looks at Pods that end, and at those that come back."""
TIMED_OUT = "TimedOut"
"""The reason of one that was given up."""


def status(restore: Restore, known: Mapping[str, Any], world: RestoreWorld, report: Report) -> tuple[Fields, Outcome]:
    """The next phase, or how far this one is. ``known`` are the fields as they were."""
    fields = {name: value for name, value in known.items() if name != "progress"}
    return _STEPS.get(str(fields.get("phase", "")), _pending)(fields, restore, world, report)


def _pending(fields: Fields, restore: Restore, world: RestoreWorld, report: Report) -> tuple[Fields, Outcome]:
    """Begin, once there is all that it depends on. The run is chosen now: what is saved later doesn't count."""
    if world.problem is not None or world.order is None or world.chosen is None:
        problem = world.problem or Wait(Reason.PROGRESSING, "it is about to begin")
        if isinstance(problem, Stalled) and is_drill(restore):
            # Nobody mends a drill: the next one may do better.
            return _over({**fields, "outcome": "Failed", "reason": problem.reason, "message": problem.message}, world)
        return {**fields, "phase": PENDING}, problem
    fields |= {**world.chosen.known(), "startedAt": times.text(world.now), "method": world.order.target.method}
    if world.order.user is not None:
        fields["runAsUser"] = world.order.user
    if in_place(restore):
        return _next({**fields, "before": before_name(restore)}, BEFORE, "what is there is saved first")
    return _next(fields, RUNNING, "its Job is being made")


def _before(fields: Fields, restore: Restore, world: RestoreWorld, report: Report) -> tuple[Fields, Outcome]:
    """Wait for the present state to be saved. Nothing is overwritten that isn't, nor with what was saved long ago."""
    if late := _late(fields, "startedAt", world, timedelta(seconds=world.timeout) + SLACK):
        return _broken_off(fields, late)
    if report.problems:
        return fields, worst(report.problems)
    phase = (world.saved or {}).get("phase")
    if phase == "Succeeded":
        if world.problem is not None:
            return fields, world.problem
        if world.order is not None and world.order.target.method in restorejob.ON_VOLUMES and not world.quiesces:
            text = "nothing is known that would have to stop meanwhile, so the volume isn't changed"
            return fields, Stalled(Reason.INVALID_SPEC, text)
        # Runs begin no more from here on, whether anything is stopped or not.
        stops: Fields = {"quiesced": list(world.quiesces)} if world.quiesces else {}
        stops["stoppedAt"] = times.text(world.now)
        return _next({**fields, **stops}, QUIESCING, "what uses the data is stopped")
    if phase in OVER:
        said = f"{(world.saved or {}).get('reason', phase)}: {(world.saved or {}).get('message', '')}"
        text = f"what is there couldn't be saved, so nothing was overwritten ({said})"
        return _next({**fields, **_failed("BackupFailed", text)}, CLEANING, text)
    how = f" ({phase})" if phase else ""
    return fields, Wait(Reason.PROGRESSING, f"BackupRun {fields['before']} saves what is there{how}", LOOK_AGAIN)


def _quiescing(fields: Fields, restore: Restore, world: RestoreWorld, report: Report) -> tuple[Fields, Outcome]:
    """Wait for the last Pod to end. What can't be seen may be running."""
    if isinstance(world.problem, Stalled):
        return _broken_off(fields, world.problem)
    if (world.problem is not None or world.left) and (late := _late(fields, "stoppedAt", world, PATIENCE)):
        return _broken_off(fields, late)
    if world.problem is not None:
        return fields, world.problem
    if world.left:
        more = f" and {len(world.left) - 1} more" if len(world.left) > 1 else ""
        return fields, Wait(Reason.PROGRESSING, f"waits for {world.left[0]}{more} to end", SOON)
    return _next(fields, RUNNING, "its Job is being made")


def _running(fields: Fields, restore: Restore, world: RestoreWorld, report: Report) -> tuple[Fields, Outcome]:
    """The Job."""
    if in_place(restore) and any(name.kind == "Job" for _, name in (*world.live, *report.applied)):
        fields["attempts"] = 1  # from now on one that is gone isn't made again
    if world.result is not None:
        fields |= outcome_of(world.result, world, drill=is_drill(restore))
        fields["finishedAt"] = times.text(world.now)
        phase = RESUMING if fields.pop("quiesced", None) else CLEANING
        return _next(fields, phase, str(fields.get("message", "")))
    if isinstance(world.problem, Stalled):
        return _broken_off(fields, world.problem)
    if not world.at_work:
        since = "stoppedAt" if fields.get("stoppedAt") else "startedAt"
        if late := _late(fields, since, world, timedelta(seconds=world.timeout) + PATIENCE + SLACK):
            return _broken_off(fields, late)
    troubles = [problem for problem in report.problems if not isinstance(problem, Wait)]
    if troubles or world.problem is not None:
        return fields, worst(troubles) if troubles else world.problem or Ok()
    if world.trouble:
        return fields, Wait(Reason.PROGRESSING, f"its Job: {world.trouble}", LOOK_AGAIN)
    if shown := run.progress(world.event) or restore.status.get("progress"):
        fields["progress"] = shown
        return fields, Wait(Reason.PROGRESSING, _how_far(shown), LOOK_AGAIN)
    return fields, Wait(Reason.PROGRESSING, "its Job is at work", LOOK_AGAIN)


def _late(fields: Fields, since: str, world: RestoreWorld, limit: timedelta) -> Stalled | None:
    """Why it is given up: what was meant then may be another by now, and what is at rest can't be so for ever."""
    began = times.moment(fields.get(since))
    if began is None or world.now - began <= limit:
        return None
    why = world.problem.message if world.problem is not None else ""
    why = why or (f"{world.left[0]} hasn't ended" if world.left else "nothing was heard of what it waits for")
    return Stalled(TIMED_OUT, f"it has waited for longer than {times.shown(limit.total_seconds())}: {why}")


def _broken_off(fields: Fields, problem: Stalled) -> tuple[Fields, Outcome]:
    """It can't be done any more: what was at rest runs again."""
    phase = RESUMING if fields.pop("quiesced", None) else CLEANING
    return _next({**fields, **_failed(problem.reason, problem.message)}, phase, problem.message)


def _how_far(shown: Mapping[str, Any]) -> str:
    if shown.get("message"):
        return f"its Job is at work: {shown['message']}"
    percent = f", {shown['percent']} %" if "percent" in shown else ""
    eta = f", {shown['eta']} to go" if "eta" in shown else ""
    return f"its Job restores {shown.get('part', 'it')}: {shown.get('bytes', 0)} bytes{percent}{eta}"


def _resuming(fields: Fields, restore: Restore, world: RestoreWorld, report: Report) -> tuple[Fields, Outcome]:
    """What was at rest runs again; how the restore ended doesn't depend on that."""
    if world.at_work:
        return fields, Wait(Reason.PROGRESSING, "its Job is being removed", SOON)
    if world.waiting:
        return fields, Wait(Reason.PROGRESSING, f"{fields.get('message', '')}; waits for {world.waiting}", SOON)
    return _over(fields, world)


def _cleaning(fields: Fields, restore: Restore, world: RestoreWorld, report: Report) -> tuple[Fields, Outcome]:
    """Its Job goes, with its Pod and all that was in that."""
    if world.at_work:
        return fields, Wait(Reason.PROGRESSING, "its Job is being removed", SOON)
    return _over(fields, world)


def _over(fields: Fields, world: RestoreWorld) -> tuple[Fields, Outcome]:
    fields |= {"phase": fields["outcome"], "finishedAt": fields.get("finishedAt") or times.text(world.now)}
    return fields, verdict(fields)


def _finished(fields: Fields, restore: Restore, world: RestoreWorld, report: Report) -> tuple[Fields, Outcome]:
    return fields, verdict(fields)


def _next(fields: Fields, phase: str, message: str) -> tuple[Fields, Outcome]:
    """Go on at once, when this is written down."""
    return {**fields, "phase": phase}, Wait(Reason.PROGRESSING, message, 0.0)


def _failed(reason: str, message: str) -> Fields:
    return {"outcome": "Failed", "reason": str(reason), "message": message[:TEXT]}


_STEPS: Mapping[str, Callable[[Fields, Restore, RestoreWorld, Report], tuple[Fields, Outcome]]] = {
    BEFORE: _before,
    QUIESCING: _quiescing,
    RUNNING: _running,
    RESUMING: _resuming,
    CLEANING: _cleaning,
    **dict.fromkeys(OVER, _finished),
}
