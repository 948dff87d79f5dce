"""BackupRuns as the reconciler sees them: carried out by a Job, or by a host; and gone when their time is over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from homeport.api.backuprun import BackupRunSpec
from homeport.api.resource import Resource
from homeport.drivers.kubernetes import types
from homeport.engine.backups import proxmoxrun
from homeport.engine.backups.kubernetesrun import KubernetesRun
from homeport.engine.backups.runphases import LOOK_AGAIN, SNAPSHOTTING, RunWorld
from homeport.engine.context import Context
from homeport.engine.history import Noted
from homeport.engine.queue import RESYNC
from homeport.outcome import Ok, Outcome, Stalled, worst
from homeport.plan.backup import run as plan
from homeport.plan.world import ChildKey, Desired, Live, Report

Run = Resource[BackupRunSpec]


class RunKind(KubernetesRun):
    """BackupRuns: those of containers by their host, the others by a Job."""

    async def prepare(self, resource: Run, world: RunWorld, context: Context) -> RunWorld:
        """What a Job needs; a host is asked when something may be done about what it says."""
        if proxmoxrun.concerns(resource, context):
            return replace(world, elsewhere=True)
        return await super().prepare(resource, world, context)

    async def before(self, resource: Run, world: Any, desired: Desired, context: Context) -> Noted:
        """Of containers: one step on the host."""
        if not proxmoxrun.concerns(resource, context):
            return Noted()
        sought = await proxmoxrun.seek(resource, context)
        return Noted(dict(sought.fields), (sought.outcome,))

    def status(
        self, resource: Run, world: RunWorld, desired: Desired, report: Report
    ) -> tuple[dict[str, Any], Outcome]:
        """Of containers: what the step said; else by the Job."""
        if world.elsewhere:
            return {}, told(report)
        return super().status(resource, world, desired, report)

    async def after(self, resource: Run, world: RunWorld, desired: Desired, outcome: Outcome, context: Context) -> None:
        """The object goes when it has been over for so long; what it saved stays."""
        await super().after(resource, world, desired, outcome, context)
        await expire(resource, context)
        ended = world.state is not None and world.state.result is not None
        given_up = resource.status.get("phase") == SNAPSHOTTING and isinstance(outcome, Stalled)
        if ended or given_up or plan.over(resource.status):
            leave(resource, world.live, ended or given_up, context)


def leave(resource: Resource[Any], live: Mapping[ChildKey, Live], ended: bool, context: Context) -> None:
    """Look again so that what a run or a restore has made goes: at once when it has just ended, and now and then while
    that can't be removed. What is being deleted, and held by a finalizer, goes by itself."""
    left = [body for body in live.values() if not body["metadata"].get("deletionTimestamp")]
    if left:
        context.enqueue(resource.key, RESYNC, 0.0 if ended and not plan.over(resource.status) else LOOK_AGAIN)


def told(report: Report) -> Outcome:
    """The worst that was said; when all is well, how well."""
    bad = [problem for problem in report.problems if not isinstance(problem, Ok)]
    return worst(bad) if bad else next(iter(report.problems), Ok())


async def expire(resource: Resource[Any], context: Context) -> None:
    """Delete a run or restore that has been over for longer than its ``ttlSecondsAfterFinished``. Raises ApiError."""
    ttl, finished = resource.spec.ttl_seconds_after_finished, resource.status.get("finishedAt")
    if ttl is None or not finished or not plan.over(resource.status):
        return
    left = (datetime.fromisoformat(finished) + timedelta(seconds=ttl) - context.now()).total_seconds()
    if left > 0:
        context.enqueue(resource.key, RESYNC, left)
        return
    gvk = types.BACKUP_RUN if resource.kind == "BackupRun" else types.RESTORE
    await context.cluster.client.delete(gvk, resource.namespace, resource.name, uid=resource.uid)
