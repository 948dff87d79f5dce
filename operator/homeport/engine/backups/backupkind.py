"""Backups as the reconciler sees them: runs and drills by schedule, and what came of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from homeport.api import conditions, labels
from homeport.api.backup import BackupSpec
from homeport.api.conditions import Reason
from homeport.api.labels import OwnerKey
from homeport.api.resource import Resource
from homeport.drivers.kubernetes import errors, types
from homeport.engine import observe
from homeport.engine.backups import pruning, sources
from homeport.engine.context import Context
from homeport.engine.history import Noted
from homeport.engine.plainkind import Plain
from homeport.engine.queue import RESYNC
from homeport.engine.report import kept_fields
from homeport.outcome import Outcome, Stalled, Wait, worst
from homeport.plan.backup import backup as plan
from homeport.plan.backup import repository as repository_plan
from homeport.plan.backup import runnerjob, snapshots
from homeport.plan.backup import steps as upcoming
from homeport.plan.backup.backup import BackupWorld
from homeport.plan.backup.resolving import resolve
from homeport.plan.backup.runnerjob import RunnerJob
from homeport.plan.backup.source import Source
from homeport.plan.types import Manifest
from homeport.plan.world import Desired, Report

Backup = Resource[BackupSpec]


def runs_of(backup: Backup, context: Context) -> list[Resource[Any]]:
    """Its BackupRuns, whoever made them."""
    return [run for run in context.store.valid("BackupRun", backup.namespace) if names(run) == backup.name]


def drills_of(backup: Backup, context: Context) -> list[Resource[Any]]:
    """Its drills, whoever made them."""
    found = context.store.valid("Restore", backup.namespace)
    return [one for one in found if names(one) == backup.name and one.spec.target and one.spec.target.drill is not None]


def names(resource: Resource[Any]) -> str:
    """The Backup that a run or a restore is of; empty for a restore of one that is gone."""
    return resource.spec.backup_ref.name if resource.spec.backup_ref is not None else ""


def _needed(backup: Backup, context: Context) -> frozenset[str]:
    """Runs that a restore which isn't over relies on: the one that saved what was there before it."""
    restores = context.store.valid("Restore", backup.namespace)
    return frozenset(
        str(one.status["before"]) for one in restores if not plan.is_over(one) and one.status.get("before")
    )


async def _ground(backup: Backup, context: Context) -> Ground:
    """Its source and its repository as they are, or why nothing can be backed up now. Raises ApiError."""
    name = backup.spec.repository_ref.name
    found, error = context.store.look(OwnerKey("BackupRepository", backup.namespace, name))
    if found is None:
        text = f"BackupRepository {name} doesn't exist; create it, and this goes on by itself"
        return Ground(Wait(Reason.DEPENDENCY_NOT_READY, text))
    if error is not None:
        return Ground(Wait(Reason.DEPENDENCY_NOT_READY, f"BackupRepository {name} can't be used as it is written"))
    seen = await sources.look(backup.namespace, backup.spec.source, backup.key, context)
    asked = snapshots.reading(backup.spec.files)
    source = resolve(backup.namespace, backup.spec.source, backup.spec.method, seen, asked)
    if not isinstance(source, Source):
        return Ground(source)
    problem = upcoming.mismatch(backup, source, found) or repository_plan.usable(found)
    if problem is not None:
        return Ground(problem, method=source.method)
    allowed = sources.repository(backup.namespace, name, source.environment, context)
    if source.runtime == "Kubernetes" and not isinstance(allowed, Resource):
        return Ground(allowed, method=source.method)
    ready = conditions.ready(found.status)
    note = f"BackupRepository {name}: {ready[2]}" if ready is not None and ready[0] != "True" else ""
    task = found.status.get("task") or {}
    busy = f"BackupRepository {name} is being pruned" if task.get("operation") == "prune" else ""
    return Ground(note=note, busy=busy, method=source.method)


@dataclass(frozen=True)
class Ground:
    """What a Backup stands on."""

    held: Outcome | None = None
    note: str = ""
    busy: str = ""
    method: str = ""


class BackupKind(Plain):
    """Backups."""

    def observe(self, resource: Backup, context: Context) -> BackupWorld:
        """Its runs and drills."""
        project = observe.project_of(context.store, resource.namespace)
        return BackupWorld(
            now=context.now(),
            runs=runs_of(resource, context),
            drills=drills_of(resource, context),
            needed=_needed(resource, context),
            archived=project is not None and project.spec.archived,
            live=observe.children(context.clusters, resource.key),
        )

    async def prepare(self, resource: Backup, world: BackupWorld, context: Context) -> BackupWorld:
        """How the Job stands that carries out its retention, while there is to be one."""
        seen = await pruning.look(resource, context)
        job = seen.job if isinstance(seen.job, RunnerJob) else None
        return replace(world, pruned_by=job, prunes=bool(resource.status.get("pruning")))

    def desired(self, resource: Backup, world: BackupWorld, context: Context) -> Desired:
        """Of children only that Job: runs are resources of ours, and outlive what asked for them."""
        if not world.prunes:
            return Desired()
        if world.pruned_by is None:
            return Desired(complete=False)
        return Desired(children=runnerjob.children(world.pruned_by))

    async def before(self, resource: Backup, world: Any, desired: Desired, context: Context) -> Noted:
        """Make what is due, and delete what is done with. Raises ApiError."""
        table = upcoming.timetable(resource.spec)
        if isinstance(table, Stalled):
            return Noted(kept_fields(resource)[0], (table,))
        ground = await _ground(resource, context)
        world = replace(
            self.observe(resource, context),
            held=ground.held,
            note=ground.note,
            busy=ground.busy,
            method=ground.method,
        )
        steps = upcoming.steps(resource, world, table)
        for one in steps.remove:
            gvk = types.by_kind(labels.API_VERSION, one.kind)
            await context.cluster.client.delete(gvk, one.namespace, one.name, uid=one.uid)
        for manifest in steps.make:
            await _create(manifest, context)
        pruned = await pruning.step(resource, world, context)
        found = {**plan.fields(resource, world, steps.fields), **pruned.fields}
        seconds = plan.next_look(resource, world, found, steps.next)
        if seconds is not None:
            context.enqueue(resource.key, RESYNC, seconds)
        if pruned.again == 0.0:
            context.look_again_at_once(resource.key, RESYNC)
        elif pruned.again is not None:
            context.enqueue(resource.key, RESYNC, pruned.again)
        note = "; ".join(filter(None, (steps.note, pruned.note)))
        return Noted(found, (plan.outcome(resource, world, found, note),))

    def status(
        self, resource: Backup, world: BackupWorld, desired: Desired, report: Report
    ) -> tuple[dict[str, Any], Outcome]:
        """How it is; the fields come from ``before``, whose outcome is the last of the problems."""
        *others, told = report.problems
        return {}, worst([*others, told]) if others else told


async def _create(manifest: Manifest, context: Context) -> None:
    """Create a run or a drill. Its name tells its time, so what is there already was made for the same."""
    gvk = types.gvk_of(manifest)
    try:
        await context.cluster.client.create(gvk, manifest["metadata"]["namespace"], manifest)
    except errors.AlreadyExists:
        return
