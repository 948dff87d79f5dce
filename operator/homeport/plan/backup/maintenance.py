"""What is to be done to a BackupRepository, and when: it is made once, then pruned and checked by schedule. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from homeport.api.backuprepository import BackupRepositorySpec
from homeport.api.conditions import Reason
from homeport.outcome import Stalled
from homeport.plan import names
from homeport.plan.backup import runnerjob, schedule, times
from homeport.plan.backup.due import due
from homeport.plan.backup.repository import Repository, RepositoryWorld

PASSING = frozenset(
    {"RepositoryLocked", "RepositoryUnreachable", "RepositoryFull", "RepositoryFailed", "ScratchFull", "Interrupted"}
    | {"Fault", "NoResult"}
)
"""Reasons of the runner that may pass by themselves."""
AGAIN_SOON, AGAIN = timedelta(minutes=1), timedelta(minutes=10)
"""After which a repository that couldn't be made is tried again: for a fault that may pass, and for others, of which
nobody tells us when they are mended."""
LAST = {"init": "lastInit", "prune": "lastPrune", "check": "lastCheck"}
"""The status field of each operation's last time."""


def timetable(spec: BackupRepositorySpec) -> dict[str, schedule.Schedule] | Stalled:
    """Its schedules by operation, or what to write instead."""
    wanted = spec.maintenance
    out: dict[str, schedule.Schedule] = {}
    for operation in ("prune", "check"):
        text = getattr(wanted, operation) if wanted is not None else None
        if text is None or wanted is None:
            continue
        try:
            out[operation] = schedule.parse(text, wanted.time_zone)
        except ValueError as error:
            where = "timeZone" if "time zone" in str(error) else operation
            return Stalled(Reason.INVALID_SPEC, f"spec.maintenance.{where}: {error}")
    return out


def inputs(repository: Repository, world: RepositoryWorld) -> str:
    """What making it depends on: another digest is worth another try."""
    return names.digest_of([repository.generation, dict(world.versions), repository.reconcile_token, world.image])


def next_task(
    repository: Repository, world: RepositoryWorld, table: Mapping[str, schedule.Schedule]
) -> dict[str, str] | None:
    """What is to be begun now, as ``status.task`` has it."""
    if not repository.status.get("initialized"):
        last = repository.status.get("lastInit") or {}
        tried = times.moment(str(last.get("time") or ""))
        fresh = inputs(repository, world)
        if tried is not None and last.get("inputs") == fresh and world.now < tried + _pause(last):
            return None
        job = runnerjob.named("init", repository.name)
        return {"operation": "init", "job": job, "scheduled": times.text(world.now), "inputs": fresh}
    for operation, found in table.items():
        if operation == "prune" and world.restoring:
            continue
        asked = due(found, "", _since(repository, operation, world.now), world.now)
        if asked.time is not None:
            job = runnerjob.named(operation, f"{repository.name}-{times.stamp(asked.time)}")
            return {"operation": operation, "job": job, "scheduled": times.text(asked.time)}
    return None


def _pause(last: Mapping[str, Any]) -> timedelta:
    return AGAIN_SOON if last.get("reason") in PASSING else AGAIN


def _since(repository: Repository, operation: str, now: datetime) -> datetime:
    last = repository.status.get(LAST[operation]) or {}
    return times.moment(str(last.get("scheduled") or repository.created)) or now


def next_look(repository: Repository, world: RepositoryWorld, found: Mapping[str, Any]) -> float | None:
    """Seconds until time alone changes anything."""
    moments = [times.moment(str(found[name])) for name in ("nextPrune", "nextCheck") if found.get(name)]
    last = found.get("lastInit") or {}
    if not found.get("initialized") and last.get("time") and "task" not in found:
        tried = times.moment(str(last["time"]))
        moments.append(tried + _pause(last) if tried is not None else None)
    if world.restoring and found.get("initialized"):
        moments.append(world.now + AGAIN_SOON)
    coming = [when for when in moments if when is not None and when > world.now]
    return (min(coming) - world.now).total_seconds() if coming and not world.archived else None
