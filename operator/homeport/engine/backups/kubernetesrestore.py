"""Restores that a Job with the backup runner carries out: reads what the plan must know, and has the present saved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from homeport.api.labels import OwnerKey
from homeport.api.resource import Resource
from homeport.drivers.kubernetes import errors, types
from homeport.engine import observe
from homeport.engine.backups import atrest, results, sources, turns
from homeport.engine.backups.restoreorders import ordered
from homeport.engine.backups.restoretargets import look
from homeport.engine.context import Context
from homeport.engine.history import Noted
from homeport.engine.plainkind import Plain
from homeport.engine.report import kept_fields
from homeport.outcome import Outcome, Stalled
from homeport.plan.backup import restore as plan
from homeport.plan.backup import restorephases, safetyrun
from homeport.plan.backup.restore import Restore, RestoreWorld
from homeport.plan.backup.restorejob import Order
from homeport.plan.names import seconds
from homeport.plan.world import ChildKey, Desired, Live, Report


class KubernetesRestore(Plain):
    """Restores by Jobs."""

    def observe(self, resource: Restore, context: Context) -> RestoreWorld:
        """Its Job and what is beside that."""
        return RestoreWorld(context.now(), observe.children(context.clusters, resource.key))

    async def prepare(self, resource: Restore, world: RestoreWorld, context: Context) -> RestoreWorld:
        """What the phase needs to know."""
        phase = resource.status.get("phase")
        if plan.over(resource) or phase == plan.CLEANING:
            return world
        found = await look(resource, context)
        if isinstance(found, Outcome):
            world = replace(world, problem=found)
        else:
            world = ordered(resource, found, world, context)
        world = replace(world, timeout=_timeout(resource, context))
        job = _job(world.live)
        if phase == plan.RUNNING and job is not None:
            cluster, body = job
            state = await results.look(body, context.clusters[cluster], world.now)
            known = replace(world, result=state.result, event=state.event, trouble=state.trouble, wanted=())
            return replace(known, problem=None)
        if phase == plan.RUNNING and plan.in_place(resource) and world.order is not None and world.wanted:
            return await _once(resource, world.order, world, context)
        if phase == plan.BEFORE:
            return replace(world, saved=_saved(resource, context))
        if phase == plan.QUIESCING:
            mounting = await atrest.mounting(world.order, context) if world.order is not None else ()
            seen = (*atrest.left(resource, context), *turns.saving(resource, context), *mounting)
            return replace(world, left=tuple(dict.fromkeys(seen)))
        if phase == plan.RESUMING:
            return replace(world, waiting=atrest.waiting(resource, world, context))
        return world

    def desired(self, resource: Restore, world: RestoreWorld, context: Context) -> Desired:
        """The Job while it runs."""
        return plan.desired(resource, world)

    async def before(self, resource: Restore, world: Any, desired: Desired, context: Context) -> Noted:
        """In place: have what is there saved, once the status says which run does that."""
        if resource.status.get("phase") != plan.BEFORE:
            return Noted()
        problem = await _save(resource, context)
        return Noted(problems=(problem,) if problem is not None else ())

    def status(
        self, resource: Restore, world: RestoreWorld, desired: Desired, report: Report
    ) -> tuple[dict[str, Any], Outcome]:
        """The next phase, or how far this one is."""
        return restorephases.status(resource, kept_fields(resource)[0], world, report)


async def _once(resource: Restore, order: Order, world: RestoreWorld, context: Context) -> RestoreWorld:
    """In place, without a Job that is seen: whether it may be made. What overwrites isn't done a second time over what
    was written since. Raises ApiError, Conflict when what is known of the Restore is old."""
    fresh = await context.cluster.client.get(types.RESTORE, resource.namespace, resource.name)
    told = ((fresh or {}).get("status") or {}).get("phase")
    if fresh is None or fresh["metadata"]["uid"] != resource.uid or told != plan.RUNNING:
        raise errors.Conflict(409, "Conflict", f"Restore {resource.name} has gone on meanwhile")
    if not resource.status.get("attempts"):
        return world
    client = context.clusters[order.target.cluster].client
    if await client.get(types.JOB, order.target.namespace, order.name) is not None:
        return replace(world, wanted=())
    text = (
        "its Job is gone before its result was read, so nobody knows what was done; it isn't made again, for that "
        f"would overwrite what was written since. BackupRun {resource.status.get('before')} has what was there before"
    )
    return replace(world, wanted=(), problem=Stalled(results.NO_RESULT, text))


def _job(live: Mapping[ChildKey, Live]) -> tuple[str, Live] | None:
    return next(((cluster, body) for (cluster, name), body in live.items() if name.kind == "Job"), None)


def _timeout(resource: Restore, context: Context) -> int:
    """Seconds that its Job may take."""
    name = resource.spec.backup_ref.name if resource.spec.backup_ref is not None else ""
    backup = sources.backup(resource.namespace, name, context)
    return seconds(backup.spec.timeout) if isinstance(backup, Resource) else plan.TIMEOUT


async def _save(resource: Restore, context: Context) -> Outcome | None:
    """Have the present state saved by a protected run that nobody else asked for. Raises ApiError."""
    assert resource.spec.backup_ref is not None
    backup = sources.backup(resource.namespace, resource.spec.backup_ref.name, context)
    if not isinstance(backup, Resource):
        return backup
    name = str(resource.status["before"])
    found = await context.cluster.client.get(types.BACKUP_RUN, resource.namespace, name)
    if found is not None:
        return None if safetyrun.saved_by(found, resource) else safetyrun.taken(name)
    manifest = safetyrun.safety_run(resource, backup, name)
    try:
        await context.cluster.client.create(types.BACKUP_RUN, resource.namespace, manifest)
    except errors.AlreadyExists:
        return None  # looked at next time
    return None


def _saved(resource: Restore, context: Context) -> Mapping[str, Any] | None:
    key = OwnerKey("BackupRun", resource.namespace, str(resource.status["before"]))
    body = context.store.body(key)
    return context.store.status(key) if body is not None and safetyrun.saved_by(body, resource) else None
