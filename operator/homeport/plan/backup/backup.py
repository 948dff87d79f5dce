"""A Backup: what its runs and drills say, and what its status says of them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from homeport.api.backup import BackupSpec
from homeport.api.backuprun import BackupRunSpec
from homeport.api.conditions import Reason
from homeport.api.resource import Resource
from homeport.api.restore import RestoreSpec
from homeport.outcome import Ok, Outcome, Stalled
from homeport.plan import health
from homeport.plan.backup import times
from homeport.plan.backup.runnerjob import RunnerJob
from homeport.plan.world import ChildKey, Live

FINISHED = frozenset({"Succeeded", "Incomplete", "Failed"})
GOOD = "Succeeded"

Backup = Resource[BackupSpec]
Run = Resource[BackupRunSpec]
Drill = Resource[RestoreSpec]
Either = Resource[Any]


@dataclass(frozen=True)
class BackupWorld:
    """What a Backup's plan depends on."""

    now: datetime
    runs: Sequence[Run] = ()
    """All of its BackupRuns, whoever made them."""
    drills: Sequence[Drill] = ()
    """All of its drills."""
    needed: frozenset[str] = frozenset()
    """BackupRuns that a restore which isn't over relies on."""
    held: Outcome | None = None
    """Why nothing can be backed up now: the source or the repository."""
    note: str = ""
    """What a person should know although backups work."""
    busy: str = ""
    """Why what is due waits a little, although backups work."""
    method: str = ""
    """The method that will be used, where that is known."""
    archived: bool = False
    prunes: bool = False
    """Whether its retention is being carried out now, because somebody asked for it."""
    pruned_by: RunnerJob | None = None
    """The Job that is to do it, while that isn't there."""
    live: Mapping[ChildKey, Live] = field(default_factory=dict)


def phase(resource: Either) -> str | None:
    """How far a run or a restore is."""
    found = resource.status.get("phase")
    return str(found) if found else None


def is_over(resource: Either) -> bool:
    """Whether a run or a restore is finished."""
    return phase(resource) in FINISHED


def is_held(resource: Either) -> bool:
    """Whether it hasn't begun, and won't until somebody does something else: mend it, or make what it depends on."""
    if phase(resource) not in (None, "Pending"):
        return False
    body = {"status": resource.status}
    stalled, ready = (health.condition(body, kind) or {} for kind in ("Stalled", "Ready"))
    return bool(stalled.get("status") == "True" or ready.get("reason") == Reason.DEPENDENCY_NOT_READY)


def active(resources: Iterable[Either]) -> list[Either]:
    """Those that aren't over and aren't being deleted, the oldest first."""
    return sorted((one for one in resources if not is_over(one) and one.deleted_at is None), key=age)


def age(resource: Either) -> tuple[str, str]:
    """What sorts runs and restores from old to new."""
    return str(resource.status.get("startedAt") or resource.created), resource.name


# --- what the status says ---------------------------------------------------------------------------------------------


def last_success(backup: Backup, runs: Sequence[Run]) -> Mapping[str, Any] | None:
    """The newest good run: of those that are there, or as it was known."""
    good = [run for run in runs if phase(run) == GOOD and run.status.get("startedAt")]
    known = backup.status.get("lastSuccess")
    newest = max(good, key=age, default=None)
    if newest is None or (known and str(known.get("time", "")) > str(newest.status["startedAt"])):
        return known or None
    found = newest.status
    entry = {"run": newest.name, "time": found["startedAt"]}
    return entry | {name: found[name] for name in ("snapshot", "bytes", "duration") if found.get(name)}


def _last(known: Mapping[str, Any] | None, resources: Sequence[Either]) -> Mapping[str, Any] | None:
    over = [one for one in resources if is_over(one) and one.status.get("finishedAt")]
    newest = max(over, key=lambda one: (str(one.status["finishedAt"]), one.name), default=None)
    if newest is None or (known and str(known.get("time", "")) > str(newest.status["finishedAt"])):
        return known or None
    found = newest.status
    entry = {"name": newest.name, "phase": found["phase"], "time": found["finishedAt"]}
    return entry | ({"message": str(found["message"])[:1024]} if found.get("message") else {})


def _verified(backup: Backup, world: BackupWorld) -> dict[str, Any]:
    """When one was last proven, which the newest proven one is, and how long the last drill's restore took."""
    known = backup.status
    out = {name: known[name] for name in ("lastVerified", "verified", "measuredRTO") if known.get(name)}
    good = [drill for drill in world.drills if phase(drill) == GOOD and drill.status.get("finishedAt")]
    for drill in sorted(good, key=lambda one: str(one.status["finishedAt"])):
        found = drill.status
        if str(found["finishedAt"]) >= str(out.get("lastVerified") or ""):
            out["lastVerified"] = found["finishedAt"]
            if found.get("duration"):
                out["measuredRTO"] = found["duration"]
        newest = str((out.get("verified") or {}).get("time") or "")
        if found.get("run") and found.get("time") and str(found["time"]) >= newest:
            entry = {"run": found["run"], "time": found["time"]}
            out["verified"] = entry | ({"snapshot": found["snapshot"]} if found.get("snapshot") else {})
    return out


def _listing(backup: Backup, world: BackupWorld, verified: str) -> dict[str, Any]:
    """What the repository has, as the newest run saw it, or a pruning that somebody asked for."""
    told = [run for run in world.runs if run.status.get("listing") and run.status.get("finishedAt")]
    newest = max(told, key=lambda run: str(run.status["finishedAt"]), default=None)
    last = str((backup.status.get("lastRun") or {}).get("time") or "")
    known = backup.status
    pruned = known.get("lastPrune") or {}
    if newest is not None and pruned.get("outcome") == "Succeeded":
        # What was kept without a run is known since.
        newest = newest if str(newest.status["finishedAt"]) > str(pruned["time"]) else None
    fresh = newest is not None and (str(newest.status["finishedAt"]) >= last or not known.get("runs"))
    found = newest.status["listing"] if newest is not None and fresh else known
    # What was marked here before it wasn't by a Proxmox Backup Server, which marks its own.
    before = "" if fresh else str((known.get("verified") or {}).get("run", ""))
    runs = [
        {key: value for key, value in entry.items() if key != "verified" or entry["run"] != before}
        | ({"verified": True} if entry["run"] == verified else {})
        for entry in found.get("runs") or ()
    ]
    out: dict[str, Any] = {"runs": runs} if runs else {}
    return out | ({"snapshots": found["snapshots"]} if found.get("snapshots") is not None else {})


def fields(backup: Backup, world: BackupWorld, scheduled: Mapping[str, Any]) -> dict[str, Any]:
    """The status but for its conditions. What was known of objects that are gone stays."""
    known = backup.status
    out = {name: known[name] for name in ("lastScheduled", "lastVerifyScheduled") if known.get(name)}
    out |= scheduled
    success = last_success(backup, world.runs)
    if success is not None:
        out["lastSuccess"] = dict(success)
    for name, resources in (("lastRun", world.runs), ("lastDrill", world.drills)):
        if (found := _last(known.get(name), resources)) is not None:
            out[name] = dict(found)
    out |= _verified(backup, world)
    out |= _listing(backup, world, str((out.get("verified") or {}).get("run", "")))
    newest = max((run for run in world.runs if phase(run) == GOOD), key=age, default=None)
    method = newest.status.get("method") if newest is not None else None
    out["method"] = method or world.method or known.get("method") or backup.spec.method
    out["notCovered"] = newest.status.get("notCovered") if newest is not None else known.get("notCovered")
    out["active"] = [one.name for one in (*active(world.runs), *active(world.drills))][:100]
    out["failures"] = _failures(world.runs, success)
    return {name: value for name, value in out.items() if value not in (None, "", [], ())}


def _failures(runs: Sequence[Run], success: Mapping[str, Any] | None) -> int:
    since = str((success or {}).get("time", ""))
    return sum(1 for run in runs if is_over(run) and phase(run) != GOOD and age(run)[0] > since)


def stale_at(backup: Backup, success: Mapping[str, Any] | None) -> datetime | None:
    """When the newest good run is older than ``maxAge``; before there is one, the Backup's own age counts."""
    if backup.spec.max_age is None:
        return None
    since = times.moment(str((success or {}).get("time") or backup.created))
    return since + times.span(backup.spec.max_age) if since is not None else None


def outcome(backup: Backup, world: BackupWorld, found: Mapping[str, Any], note: str = "") -> Outcome:
    """How it is, from what the status says."""
    if world.archived:
        return Ok("the project is archived: nothing is backed up", reason=Reason.ARCHIVED)
    stale = stale_at(backup, found.get("lastSuccess"))
    said = [text for text in (note, world.note) if text]
    problem = _problem(found)
    if stale is not None and stale <= world.now:
        newest = (
            f"the newest good one is of {found['lastSuccess']['time']}" if found.get("lastSuccess") else "there is none"
        )
        why = problem or (world.held.message if world.held is not None else "")
        text = f"maxAge is {backup.spec.max_age}, and {newest}"
        return Stalled(Reason.BACKUP_STALE, "; ".join([text, *([why] if why else []), *said]))
    if world.held is not None:
        return world.held
    if problem:
        return Stalled(Reason.BACKUP_FAILED, "; ".join([problem, *said]))
    drill = found.get("lastDrill") or {}
    if drill.get("phase") in FINISHED and drill["phase"] != GOOD:
        text = f"drill {drill['name']}: {drill.get('message') or drill['phase']}"
        return Stalled(Reason.VERIFICATION_FAILED, "; ".join([text, *said]))
    return Ok("; ".join([_summary(backup, found), *said]))


def _problem(found: Mapping[str, Any]) -> str:
    last = found.get("lastRun") or {}
    if last.get("phase") not in FINISHED or last["phase"] == GOOD:
        return ""
    return f"run {last['name']} {'is incomplete' if last['phase'] == 'Incomplete' else 'failed'}" + (
        f": {last['message']}" if last.get("message") else ""
    )


def _summary(backup: Backup, found: Mapping[str, Any]) -> str:
    last = found.get("lastSuccess")
    out = f"last backup {last['time']}" if last else "no backup yet"
    if found.get("lastVerified"):
        out += f", verified {found['lastVerified']}"
    return out if backup.spec.schedule else f"{out}; no schedule: a BackupRun makes one"


def next_look(backup: Backup, world: BackupWorld, found: Mapping[str, Any], coming: datetime | None) -> float | None:
    """Seconds until time alone changes anything: a run or a drill is due, or the last is too old."""
    stale = stale_at(backup, found.get("lastSuccess"))
    moments = [when for when in (coming, stale) if when is not None and when > world.now]
    if world.archived or not moments:
        return None
    return (min(moments) - world.now).total_seconds()
