"""``finalBackup``: the last, protected backup of a project before it is archived or deleted.

====================  ================================================================================================
written first         ``status.finalBackup.since``: the runs' names have it, so that none is taken twice after a crash
then                  one BackupRun ``<backup>-final-<YYYYMMDDHHMM>`` for each Backup, all at once
as they succeed       ``taken`` names them; a run's object may be cleaned up before the last one is over
at last               ``done``; only then is anything scaled to zero or removed
====================  ================================================================================================

A run that fails holds everything back, until it is taken again (delete the failed BackupRun) or nobody asks any more
(``finalBackup: false``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from homeport.api import conditions, labels
from homeport.api.backup import BackupSpec
from homeport.api.conditions import ConditionType, Reason
from homeport.api.project import ProjectSpec
from homeport.api.resource import Resource
from homeport.outcome import Outcome, Stalled, Wait
from homeport.plan.backup import times

Project = Resource[ProjectSpec]
Runs = Mapping[str, Mapping[str, Any]]
"""Statuses of BackupRuns, by their names."""

FIELD = "finalBackup"
GOOD = "Succeeded"
BAD = ("Failed", "Incomplete")
SOON = 0.1
"""Seconds after which is looked again when the way is free: nothing else tells of it."""


class Step(NamedTuple):
    """How far the last backups are."""

    fields: Mapping[str, Any] = {}
    """Of the Project's status."""
    runs: tuple[dict[str, Any], ...] = ()
    """BackupRuns that have to be made."""
    outcome: Outcome | None = None
    """Why nothing may be scaled down or removed yet; None when it may."""


def lets_go(project: Project) -> bool:
    """Whether an archived project may be scaled to zero, as its status tells."""
    if not project.spec.archived:
        return False
    if not project.spec.final_backup or (project.status.get(FIELD) or {}).get("done"):
        return True
    return _was_archived(project)


def _was_archived(project: Project) -> bool:
    """Whether it was scaled to zero before anybody asked for a last backup: nothing runs that could be backed up."""
    found = project.status.get("conditions") or ()
    return not project.status.get(FIELD) and any(entry.get("type") == ConditionType.ARCHIVED for entry in found)


def step(project: Project, backups: Sequence[Resource[BackupSpec]], runs: Runs, now: datetime) -> Step:
    """What is to be done for the last backups, and what may not be done before they are good."""
    deleted = project.deleted_at is not None
    if not project.spec.final_backup or not (project.spec.archived or deleted):
        return Step()
    known = dict(project.status.get(FIELD) or {})
    if known.get("done"):
        return Step({FIELD: known})
    if project.spec.archived and _was_archived(project):
        return Step(outcome=_too_late() if deleted else None)
    wanted = sorted(backup.name for backup in backups if backup.deleted_at is None and not backup.suspended)
    if not wanted:
        return Step({FIELD: known} if known else {}, (), _nothing_to_take())
    if "since" not in known:
        since = times.text(now)
        return Step({FIELD: {"since": since}}, (), Wait(Reason.PROGRESSING, _begun(wanted), SOON))
    return _taken(project, wanted, known, runs)


def _taken(project: Project, wanted: Sequence[str], known: dict[str, Any], runs: Runs) -> Step:
    names = {backup: run_name(backup, str(known["since"])) for backup in wanted}
    good = set(known.get("taken") or ())
    good |= {backup for backup in wanted if (runs.get(names[backup]) or {}).get("phase") == GOOD}
    left = [backup for backup in wanted if backup not in good]
    fields = {FIELD: {**known, "taken": sorted(good), **({} if left else {"done": True})}}
    if not left:
        return Step(fields)
    absent = tuple(_run(project, backup, names[backup]) for backup in left if names[backup] not in runs)
    failed = [name for backup in left if (runs.get(name := names[backup]) or {}).get("phase") in BAD]
    if failed:
        return Step(fields, absent, _failed(failed, runs))
    said = next((text for backup in left if (text := _ready(runs.get(names[backup]) or {}))), "")
    return Step(fields, absent, Wait(Reason.PROGRESSING, _begun(left, said)))


def run_name(backup: str, since: str) -> str:
    """The name of a Backup's last run."""
    return f"{backup}-final-{times.stamp(datetime.fromisoformat(since))}"


def _run(project: Project, backup: str, name: str) -> dict[str, Any]:
    return {
        "apiVersion": labels.API_VERSION,
        "kind": "BackupRun",
        "metadata": {"name": name, "namespace": project.namespace},
        "spec": {"backupRef": {"name": backup}, "protected": True, "trigger": "Final"},
    }


def _begun(left: Sequence[str], said: str = "") -> str:
    more = f" and {len(left) - 5} more" if len(left) > 5 else ""
    how = f" ({said}; finalBackup: false goes on without)" if said else ""
    return f"waits for the last backup of {', '.join(left[:5])}{more}, as finalBackup says{how}"


def _ready(status: Mapping[str, Any]) -> str:
    """What a run that hasn't begun says of itself: it may wait for something that never comes."""
    if status.get("phase") != "Pending":
        return ""
    told = conditions.ready(status)
    return told[2] if told is not None else ""


def _failed(failed: Sequence[str], runs: Runs) -> Outcome:
    why = str(runs[failed[0]].get("message") or runs[failed[0]].get("reason") or "it failed")
    more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
    return Stalled(
        Reason.BACKUP_FAILED,
        f"the last backup {failed[0]} failed: {why}{more}; nothing is scaled down or removed. Mend it and delete "
        f"BackupRun {failed[0]} to take it again, or set finalBackup: false to go on without",
    )


def _nothing_to_take() -> Outcome:
    return Stalled(
        Reason.BACKUP_FAILED,
        "finalBackup is true, and the project has no Backup that isn't suspended; write one, or set finalBackup: false "
        "to go on without",
    )


def _too_late() -> Outcome:
    return Stalled(
        Reason.BACKUP_FAILED,
        "finalBackup was set when the project was archived already, so no last backup was taken; set archived: false "
        "to take one, or finalBackup: false to go on without",
    )
