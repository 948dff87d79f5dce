"""The life of a resource on one page: parse, observe, desire, diff, decide, apply, report.

Level-triggered: a create, an update, a resume, a child's change, a token and a timer all run this same function, and
nothing in it depends on having seen an edge. ``homeport plan`` runs it too, up to and without ``apply``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from homeport.api import labels
from homeport.api.labels import OwnerKey
from homeport.api.resource import Resource
from homeport.engine import apply, diffing, farewell, kinds, report
from homeport.engine.context import Context
from homeport.outcome import Ok, Outcome
from homeport.plan import planes, policy
from homeport.plan.types import Change
from homeport.plan.world import ChildKey, Decision, Desired, Report


async def reconcile(key: OwnerKey, context: Context) -> Outcome:
    """Take ``key`` one step from what is there to what is wanted, and write down how that went.

    Raises ``errors.ApiError`` when reading or writing the resource itself fails; everything else is in the outcome.
    """
    resource, error = context.store.look(key)
    if resource is None:
        return await farewell.absent(key, context)
    if not context.reports(resource):
        return await _only_read(resource, error, context)
    if resource.deleted_at is not None:
        return await farewell.deleted(resource, context)
    if error is not None:
        return await report.invalid(resource, error, context)
    if resource.suspended:
        return await report.suspended(resource, context)
    await hold(resource, context)

    plan = await preview(resource, context)
    noted = await plan.kind.before(resource, plan.world, plan.desired, context)
    applied = await apply.apply(resource.key, plan.decision.steps, context.clusters)
    context.drift_mended(resource.kind, applied.drift)
    result = Report(
        changes=plan.changes,
        held=plan.decision.held,
        problems=(*plan.decision.problems, *applied.problems, *noted.problems),
        applied=frozenset(applied.written | plan.pending),
        pruning=tuple(key[1] for key in applied.removed),
    )
    fields, outcome = plan.kind.status(resource, plan.world, plan.desired, result)
    fields |= noted.fields
    await plan.kind.after(resource, plan.world, plan.desired, outcome, context)
    seen = report.inventory(resource.key, result, (plan.world.live[key] for key in plan.spared))
    entries = report.with_unseen(seen, resource, getattr(plan.world, "missing", ()))
    if noted.inventory is not None:
        entries = list(noted.inventory)
    conditions = getattr(plan.world, "conditions", None)
    await report.write(noted.seen or resource, fields, outcome, context, inventory=entries, extra=conditions)
    return outcome


async def _only_read(resource: Resource[Any], error: Exception | None, context: Context) -> Outcome:
    """What another operator answers for and we use: known, and nothing is written."""
    if error is not None or resource.deleted_at is not None or resource.suspended:
        return Ok()
    kind = kinds.BY_NAME[resource.kind]
    world = await kind.prepare(resource, kind.observe(resource, context), context)
    _, outcome = kind.status(resource, world, Desired(), Report())
    await kind.after(resource, world, Desired(), outcome, context)
    return outcome


@dataclass(frozen=True)
class Plan:
    """A reconciliation up to the point where something would be written."""

    kind: kinds.Kind
    world: Any
    desired: Desired
    changes: tuple[Change, ...]
    decision: Decision
    pending: frozenset[Any]
    spared: frozenset[ChildKey]
    """What is there, isn't wanted as far as is known, and stays because not all is known."""


async def preview(resource: Resource[Any], context: Context) -> Plan:
    """Observe, desire, diff, decide. Reads only."""
    kind = kinds.BY_NAME[resource.kind]
    world = await kind.prepare(resource, kind.observe(resource, context), context)
    desired = planes.marked(kind.desired(resource, world, context), context.clusters.plane_in)
    changes, pending = await diffing.changes(resource.key, desired, world.live, context)
    left = world.live.keys() - {(child.cluster, child.id) for child in desired.children}
    spared = frozenset(key for key in left if not desired.complete or key[1] in desired.spared)
    spared |= await diffing.elsewhere(resource, {key: world.live[key] for key in left - spared}, context)
    if left - spared:
        changes = (*changes, *policy.prune(resource.key, {key: world.live[key] for key in left - spared}))
    decision = policy.decide(
        resource.key,
        desired,
        changes,
        versions=getattr(world, "versions", None),
        may_replace=_asked(resource, labels.REPLACE_AT, "lastReplaceAt"),
    )
    return Plan(kind, world, desired, changes, decision, pending, spared)


def _asked(resource: Resource[Any], annotation: str, handled: str) -> bool:
    token = resource.annotations.get(annotation)
    return bool(token) and token != resource.status.get(handled)


async def hold(resource: Resource[Any], context: Context) -> None:
    """Put our finalizer on the resource before anything is made for it, so that nothing is ever orphaned."""
    if labels.FINALIZER in resource.finalizers or resource.kind in kinds.MAKE_NOTHING:
        return
    await context.apply_self(resource, {"finalizers": [labels.FINALIZER]})
