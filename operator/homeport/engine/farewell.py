"""How a resource goes: what it made is removed first, what holds data is kept, and only then does it let go."""

from __future__ import annotations

from typing import Any

from homeport.api import labels
from homeport.api.conditions import Reason
from homeport.api.labels import OwnerKey
from homeport.api.resource import Resource
from homeport.drivers.kubernetes import errors, types
from homeport.engine import apply, observe, report
from homeport.engine.clusters import HOME
from homeport.engine.context import Context
from homeport.outcome import Ok, Outcome, Stalled, Wait, worst
from homeport.plan import environment as environment_plan
from homeport.plan import policy
from homeport.plan.types import Change, Verb
from homeport.plan.world import ChildKey, Live

LOOK_AGAIN = 2.0
"""Seconds between looks at what is being removed; events of the objects usually come first."""


async def absent(key: OwnerKey, context: Context) -> Outcome:
    """The resource is gone. What it made should be too: if its finalizer was taken off by force, mend that now.

    That we don't see it doesn't prove it: it may be another shard's. And in a cluster that several control planes
    share, only what was ours in this process's life is known to be nobody else's.
    """
    live = {
        child: found
        for child, found in observe.children(context.clusters, key).items()
        if child[0] == HOME or key in context.written
    }
    if live and key.kind != "Environment" and not await _exists(key, context):
        await _remove(key, live, context)
    context.forget(key)
    return Ok()


async def _exists(key: OwnerKey, context: Context) -> bool:
    gvk = types.by_kind(labels.API_VERSION, key.kind)
    return await context.cluster.client.get(gvk, key.namespace, key.name, metadata_only=True) is not None


async def deleted(resource: Resource[Any], context: Context) -> Outcome:
    """``kubectl delete``: remove what was made, then take the finalizer off."""
    if labels.FINALIZER not in resource.finalizers:
        return Ok()
    if resource.kind == "Environment":
        outcome = await _environment(resource, context)
    elif resource.kind == "Project":
        outcome = await _project(resource, context)
    else:
        outcome = await _application(resource, context)
    if not isinstance(outcome, Ok):
        fields, entries = report.kept_fields(resource)
        live = observe.children(context.clusters, resource.key)
        left = {str(key[1]) for key in live}
        await report.write(
            resource, fields, outcome, context, inventory=[entry for entry in entries if entry["id"] in left]
        )
        return outcome
    if outcome.message:
        context.notify(resource, Reason.TERMINATING, outcome.message, False)
    await context.apply_self(resource, {})
    return Ok()


async def _remove(key: OwnerKey, live: dict[ChildKey, Live], context: Context) -> Outcome:
    """Remove an owner's objects by their own policies. Ok when nothing is left that should go."""
    steps = [policy.removal(child, found) for child, found in live.items()]
    going = [step for step in steps if step.verb is Verb.DELETE]
    applied = await apply.apply(key, going, context.clusters)
    if applied.problems:
        return worst(applied.problems)
    still = [step for step in going if _is_there(step, context)]
    if still:
        names = ", ".join(step.id.shown for step in still[:3])
        more = f" and {len(still) - 3} more" if len(still) > 3 else ""
        return Wait(Reason.TERMINATING, f"removing {names}{more}", LOOK_AGAIN)
    kept = [step.id.shown for step in steps if step.verb is Verb.KEEP]
    return Ok(f"kept: {', '.join(kept)}" if kept else "")


def _is_there(step: Change, context: Context) -> bool:
    cluster, gvk = context.clusters[step.cluster], types.gvk_of(step.live or {})
    found = cluster.get(gvk, step.id.namespace or None, step.id.name)
    return found is not None and not cluster.is_going(found["metadata"]["uid"])


async def _application(resource: Resource[Any], context: Context) -> Outcome:
    for env in context.store.valid("Environment", resource.namespace):
        # What can't be seen can't be removed: wait for the cluster rather than leave orphans in it.
        unreachable = context.clusters.ensure(environment_plan.cluster_of(env), resource.key)
        if unreachable is not None and _was_in(resource, env.name):
            return unreachable
    live = observe.children(context.clusters, resource.key)
    retain = (resource.raw_spec or {}).get("deletionPolicy") == "Retain"
    if retain:
        await apply.retain(live, context.clusters)
        return Ok(f"kept, as deletionPolicy says: {len(live)} objects" if live else "")
    return await _remove(resource.key, live, context)


def _was_in(resource: Resource[Any], environment: str) -> bool:
    entries = (resource.status.get("inventory") or {}).get("entries") or ()
    return any(entry.get("environment") == environment for entry in entries)


async def _environment(resource: Resource[Any], context: Context) -> Outcome:
    """Applications leave first; then what guards the namespace; then the namespace, unless it holds what is kept."""
    if resource.spec is None or resource.spec.template or resource.spec.runtime != "Kubernetes":
        return Ok()
    world = observe.environment(resource, context.store, context.clusters, context.readers, context.now())
    if world.unreachable is not None:
        return world.unreachable if resource.status.get("namespace") else Ok()
    if world.tenants:
        for name in world.tenants:
            context.enqueue(OwnerKey("Application", resource.namespace, name))
        return Wait(Reason.TERMINATING, f"waits for {', '.join(world.tenants[:5])} to leave", LOOK_AGAIN)
    namespace = environment_plan.namespace_of(resource)
    ours = world.namespace is not None and environment_plan.is_ours(world.namespace, resource)
    claims: list[str] = []
    if ours:
        claims, retained = await observe.remaining_claims(context.clusters[world.cluster], namespace)
        retains = environment_plan.place_of(resource, False).retains
        if claims and not retains and not _confirmed(resource):
            return Stalled(
                Reason.CONFIRMATION_REQUIRED,
                f"deleting {resource.name} would lose the volumes {', '.join(claims[:5])}; to go on, set "
                f"the annotation {labels.CONFIRM_DELETE}: {resource.name}, or keep them by deletionPolicy: Retain",
            )
        if not retains:
            # A volume that says Retain outlives its environment, whatever that says; in a preview nothing does.
            claims = [] if resource.spec.tier == "Preview" else retained
    others = {key: found for key, found in world.live.items() if key[1].kind != "Namespace"}
    outcome = await _remove(resource.key, dict(others), context)
    if not isinstance(outcome, Ok) or not ours:
        return outcome
    if claims:
        return Ok(f"namespace {namespace} is kept: it holds the volumes {', '.join(claims[:5])}")
    gone = await _remove(resource.key, {k: f for k, f in world.live.items() if k[1].kind == "Namespace"}, context)
    if isinstance(gone, Wait) and world.namespace is not None and world.namespace["metadata"].get("deletionTimestamp"):
        return Wait(Reason.TERMINATING, f"namespace {namespace} is being emptied by Kubernetes", LOOK_AGAIN)
    return gone


def _confirmed(resource: Resource[Any]) -> bool:
    if resource.spec.tier == "Preview":
        return True
    return resource.annotations.get(labels.CONFIRM_DELETE) == resource.name


async def _project(resource: Resource[Any], context: Context) -> Outcome:
    """What is in the project goes first, by its own policies; the API server let only an archived one get here."""
    held = [
        *context.store.keys("Application", resource.namespace),
        *context.store.keys("Environment", resource.namespace),
    ]
    if held and resource.name == resource.namespace:
        for key in held:
            try:
                await _delete_resource(key, context)
            except errors.Forbidden as error:
                return Stalled(Reason.CONFIRMATION_REQUIRED, f"{key.kind} {key.name}: {error}")
        names = ", ".join(f"{key.kind} {key.name}" for key in held[:5])
        return Wait(Reason.TERMINATING, f"removing {names}", LOOK_AGAIN)
    live = observe.children(context.clusters, resource.key)
    outcome = await _remove(resource.key, live, context)
    if isinstance(outcome, Ok) and resource.name == resource.namespace:
        await _unmark(resource, context)
    return outcome


async def _delete_resource(key: OwnerKey, context: Context) -> None:
    body = context.store.body(key)
    if body is None or body["metadata"].get("deletionTimestamp"):
        return
    gvk = types.by_kind(labels.API_VERSION, key.kind)
    await context.cluster.client.delete(gvk, key.namespace, key.name, uid=body["metadata"]["uid"])


async def _unmark(resource: Resource[Any], context: Context) -> None:
    """Take our label and annotation off the project's own namespace."""
    found = context.cluster.get(types.NAMESPACE, None, resource.namespace)
    if found is None or found["metadata"].get("deletionTimestamp"):
        return
    bare = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": resource.namespace}}
    await context.cluster.client.apply(types.NAMESPACE, None, resource.namespace, bare, manager=labels.MARKS_MANAGER)
