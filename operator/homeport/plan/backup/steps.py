"""A Backup: which runs and drills are due, and which are done with. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from homeport.api import labels
from homeport.api.backup import BackupSpec
from homeport.api.backuprepository import BackupRepositorySpec
from homeport.api.conditions import Reason
from homeport.api.resource import Resource
from homeport.outcome import Stalled
from homeport.plan.backup import schedule as schedules
from homeport.plan.backup import times
from homeport.plan.backup.backup import Backup, BackupWorld, Either, active, age, is_over, last_success, phase
from homeport.plan.backup.due import Due, due
from homeport.plan.backup.schedule import Schedule
from homeport.plan.backup.source import Source
from homeport.plan.types import Manifest

_UNTOUCHED = (None, "", "Pending")
"""Phases of a run that has begun with nothing."""


# --- schedules --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Timetable:
    """The schedules of a Backup, checked."""

    runs: Schedule | None = None
    drills: Schedule | None = None


def timetable(spec: BackupSpec) -> Timetable | Stalled:
    """Its schedules, or what to write instead."""
    verify = spec.verify.schedule if spec.verify is not None else None
    jitter = times.span(spec.jitter) if spec.jitter else timedelta(0)
    found: dict[str, Schedule] = {}
    for where, text, spread in (
        ("spec.schedule", spec.schedule, jitter),
        ("spec.verify.schedule", verify, timedelta(0)),
    ):
        if text is None:
            continue
        try:
            found[where] = schedules.parse(text, spec.time_zone, spread)
        except ValueError as error:
            zone = spec.time_zone is not None and "time zone" in str(error)
            return Stalled(Reason.INVALID_SPEC, f"{'spec.timeZone' if zone else where}: {error}")
    return Timetable(found.get("spec.schedule"), found.get("spec.verify.schedule"))


def _due(backup: Backup, schedule: Schedule, since: str, now: datetime, deadline: str | None) -> Due:
    last = times.moment(str(backup.status.get(since) or backup.created)) or now
    key = f"{backup.namespace}/{backup.name}"
    return due(schedule, key, last, now, times.span(deadline) if deadline else None)


def mismatch(backup: Backup, source: Source, repository: Resource[BackupRepositorySpec]) -> Stalled | None:
    """What of the source and the repository doesn't go together, and what to write instead."""
    spec, name = backup.spec, repository.name
    if source.runtime == "Proxmox":
        if repository.spec.proxmox is not None:
            return None
        return Stalled(
            Reason.INVALID_SPEC,
            f"a container is backed up by Proxmox VE, onto a storage of its own, and BackupRepository {name} is none; "
            "name one with proxmox",
        )
    if repository.spec.proxmox is not None:
        return Stalled(
            Reason.INVALID_SPEC,
            f"BackupRepository {name} is a storage of Proxmox VE, which holds containers only; name one with s3 or "
            f"filesystem for method {source.method}",
        )
    if source.method == "Manifests" and repository.spec.filesystem is not None:
        # Its runner would be in that one environment, with the Secrets of all others in a Secret beside it.
        return Stalled(
            Reason.INVALID_SPEC,
            f"a project's manifests hold the Secrets of all its environments, and BackupRepository {name} is a volume "
            f"of one of them, {repository.spec.environments[0]}; name one with s3",
        )
    if spec.container is not None:
        text = f"spec.container says how vzdump works, and method {source.method} is the runner's; leave it out"
        return Stalled(Reason.INVALID_SPEC, text)
    return None


# --- what is to be done -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Steps:
    """What is to be done now."""

    make: tuple[Manifest, ...] = ()
    """BackupRuns and Restores to create; one that is there already is fine."""
    remove: tuple[Either, ...] = ()
    """Objects to delete: those that are done with, and a run that gives way to the next."""
    fields: Mapping[str, Any] = field(default_factory=dict)
    """For the status: what was scheduled, and what comes next."""
    note: str = ""
    """Why something that is due isn't made."""
    next: datetime | None = None
    """When something is due next."""


def steps(backup: Backup, world: BackupWorld, table: Timetable) -> Steps:
    """What of the schedules is due, and which objects are done with."""
    make: list[Manifest] = []
    gone = expired(backup, world)
    remove: list[Either] = list(gone)
    fields: dict[str, Any] = {}
    notes: list[str] = []
    moments: list[datetime] = []
    may = world.held is None and not world.archived
    if table.runs is not None and not world.archived:
        asked = _due(backup, table.runs, "lastScheduled", world.now, backup.spec.starting_deadline)
        if asked.missed is not None:
            late = f"the run of {times.text(asked.missed)} was missed by more than startingDeadline"
            notes.append(late)
        if asked.time is not None and may:
            done, replaced, note = _begin_run(backup, world, asked.time)
            make += done
            remove += replaced
            notes += [note] if note else []
            if not note:
                fields["lastScheduled"] = times.text(asked.time)
        _next(fields, moments, "next", asked.next)
    if table.drills is not None and not world.archived:
        asked = _due(backup, table.drills, "lastVerifyScheduled", world.now, None)
        good = last_success(backup, world.runs) is not None
        if asked.time is not None and may and good and not active(world.drills):
            make += _drill(backup, world, asked.time)
            fields["lastVerifyScheduled"] = times.text(asked.time)
        _next(fields, moments, "nextVerify", asked.next)
    coming = [when for when in moments if when > world.now]
    return Steps(tuple(make), tuple(remove), fields, "; ".join(notes), min(coming, default=None))


def _next(fields: dict[str, Any], moments: list[datetime], name: str, when: datetime | None) -> None:
    if when is not None:
        fields[name] = times.text(when)
        moments.append(when)


def _begin_run(backup: Backup, world: BackupWorld, time: datetime) -> tuple[list[Manifest], list[Either], str]:
    """The run of ``time``, unless the policy holds it back; those that give way to it; and why it is held back."""
    name = f"{backup.name}-{times.stamp(time)}"
    if any(run.name == name for run in world.runs):
        return [], [], ""
    if world.busy:
        return [], [], f"the run of {times.text(time)} waits: {world.busy}"
    under_way = active(world.runs)
    policy = backup.spec.concurrency_policy
    replaced: list[Either] = []
    if policy == "Replace":
        # What reads and writes already isn't broken off: it may be the only good one, and its hooks have to end.
        replaced = [run for run in under_way if phase(run) in _UNTOUCHED and run.spec.trigger == "Schedule"]
        under_way = [run for run in under_way if run not in replaced]
    if under_way and policy != "Allow":
        return [], [], f"the run of {times.text(time)} waits for {under_way[0].name}"
    spec = {"backupRef": {"name": backup.name}, "trigger": "Schedule"}
    return [_object(backup, "BackupRun", name, spec)], replaced, ""


def _drill(backup: Backup, world: BackupWorld, time: datetime) -> list[Manifest]:
    name = f"{backup.name}-drill-{times.stamp(time)}"
    if any(drill.name == name for drill in world.drills):
        return []
    return [_object(backup, "Restore", name, {"backupRef": {"name": backup.name}, "target": {"drill": {}}})]


def _object(backup: Backup, kind: str, name: str, spec: Manifest) -> Manifest:
    owner = {"apiVersion": labels.API_VERSION, "kind": "Backup", "name": backup.name, "uid": backup.uid}
    return {
        "apiVersion": labels.API_VERSION,
        "kind": kind,
        "metadata": {
            "name": name,
            "namespace": backup.namespace,
            "labels": {labels.BACKUP: backup.name},
            "ownerReferences": [{**owner, "controller": True, "blockOwnerDeletion": False}],
        },
        "spec": spec,
    }


# --- what is done with ------------------------------------------------------------------------------------------------


def expired(backup: Backup, world: BackupWorld) -> list[Either]:
    """Finished runs and drills past the history limit, but for those that say themselves when they go. Their snapshots
    stay."""
    out: list[Either] = []
    for resources in (world.runs, world.drills):
        over = [one for one in resources if is_over(one) and one.deleted_at is None and one.name not in world.needed]
        counted = [one for one in over if one.spec.ttl_seconds_after_finished is None]
        counted.sort(key=age, reverse=True)
        out += counted[backup.spec.history_limit :]
    return out
