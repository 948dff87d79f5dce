"""Who works on the same data: one Restore in place at a time, and nobody saves what is half replaced."""

from __future__ import annotations

from collections.abc import Iterator

from homeport.api.backup import BackupSource
from homeport.api.conditions import Reason, ready
from homeport.api.resource import Resource
from homeport.api.restore import RestoreSpec
from homeport.engine.backups import sources
from homeport.engine.context import Context
from homeport.outcome import Outcome, Wait
from homeport.plan.backup import restore as plan

Restore = Resource[RestoreSpec]
_CHANGES = (plan.QUIESCING, plan.RUNNING)
_SAVES = ("Before", "Snapshotting", "Running", "After")


def earlier(resource: Restore, source: BackupSource, context: Context) -> Outcome | None:
    """For a Restore in place that hasn't begun: which other is at work on the same, or was asked for earlier and may
    begin at any moment."""
    if not plan.in_place(resource) or resource.status.get("phase") not in (None, plan.PENDING):
        return None
    for other in _in_place(resource.namespace, source, context):
        told = ready(other.status)
        refused = told is not None and told[1] in plan.REFUSALS
        begun = other.status.get("phase") not in (None, plan.PENDING)
        first = (other.created, other.name) < (resource.created, resource.name)
        if other.uid != resource.uid and (begun or (first and not refused)):
            text = f"Restore {other.name} is at work on the same data; this one begins when that is over"
            return Wait(Reason.DEPENDENCY_NOT_READY, text, plan.LOOK_AGAIN)
    return None


def restoring(namespace: str, source: BackupSource, context: Context) -> Outcome | None:
    """For a run that hasn't begun: which Restore is changing what it would save."""
    for other in _in_place(namespace, source, context):
        if other.status.get("phase") in _CHANGES:
            text = f"Restore {other.name} is changing what this would save; it begins when that is over"
            return Wait(Reason.DEPENDENCY_NOT_READY, text, plan.LOOK_AGAIN)
    return None


def saving(resource: Restore, context: Context) -> tuple[str, ...]:
    """For a Restore in place that is about to change something: runs that are reading it."""
    assert resource.spec.backup_ref is not None
    mine = sources.backup(resource.namespace, resource.spec.backup_ref.name, context)
    if not isinstance(mine, Resource):
        return ()
    out = []
    for run in context.store.valid("BackupRun", resource.namespace):
        backup = sources.backup(resource.namespace, run.spec.backup_ref.name, context)
        same = isinstance(backup, Resource) and _where(backup.spec.source) == _where(mine.spec.source)
        if same and run.status.get("phase") in _SAVES and run.deleted_at is None:
            out.append(f"BackupRun {run.name}")
    return tuple(out)


def _in_place(namespace: str, source: BackupSource, context: Context) -> Iterator[Restore]:
    """Restores over the same data that aren't over."""
    for other in context.store.valid("Restore", namespace):
        if not plan.in_place(other) or plan.over(other):
            continue
        if other.deleted_at is not None and other.status.get("phase") not in _CHANGES:
            continue  # one that was changing something may be at it still
        backup = sources.backup(namespace, other.spec.backup_ref.name, context)
        if isinstance(backup, Resource) and _where(backup.spec.source) == _where(source):
            yield other


def _where(source: BackupSource) -> tuple[str | None, ...]:
    return source.application, source.component, source.environment
