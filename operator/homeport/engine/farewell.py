"""How a resource goes: what it made is removed first, what holds data is kept, and only then does it let go."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from homeport.api import labels
from homeport.api.conditions import Reason
from homeport.api.labels import OwnerKey
from homeport.api.resource import Resource
from homeport.drivers.kubernetes import errors, types
from homeport.engine import apply, finalbackups, hostusers, observe, report
from homeport.engine.backups import atrest, kubernetesrun, leaving, proxmoxrestore
from homeport.engine.context import Context
from homeport.engine.gitops import leaving as sourceleaving
from homeport.engine.lxc import seek
from homeport.outcome import Ok, Outcome, Stalled, Wait, worst
from homeport.plan import environment_place, policy
from homeport.plan.backup import final
from homeport.plan.types import Change, Verb
from homeport.plan.world import ChildKey, Live

LOOK_AGAIN = 2.0
"""Seconds between looks at what is being removed; events of the objects usually come first."""


async def absent(key: OwnerKey, context: Context) -> Outcome:
    """The resource is gone. What it made should be too: if its finalizer was taken off by force, mend that now.

    That we don't see it doesn't prove it: it may be another shard's.
    """
    live = observe.children(context.clusters, key)
    if live and key.kind != "Environment" and not await _exists(key, context):
        await _remove(key, live, context)
    context.forget(key)
    if key.kind == "GitSource":
        await context.gitops.accounts.release(key.namespace)
    return Ok()


async def _exists(key: OwnerKey, context: Context) -> bool:
    gvk = types.by_kind(labels.API_VERSION, key.kind)
    return await context.cluster.client.get(gvk, key.namespace, key.name, metadata_only=True) is not None


async def deleted(resource: Resource[Any], context: Context) -> Outcome:
    """``kubectl delete``: remove what was made, then take the finalizer off."""
    if labels.FINALIZER not in resource.finalizers:
        return Ok()
    if resource.kind in _ALONE:
        return await _ALONE[resource.kind](resource, context)
    if resource.kind == "Restore" and proxmoxrestore.concerns(resource, context):
        return await _on_host(resource, context)
    last = final.Step()
    if resource.kind == "Project":
        last = await finalbackups.before_removal(resource, context)
        outcome = last.outcome or await _project(resource, context)
    else:
        outcome = await _OTHERS.get(resource.kind, _application)(resource, context)
    fields = {**report.kept_fields(resource)[0], **last.fields}
    return await _end(resource, outcome, fields, observe.children(context.clusters, resource.key), context)


async def _end(
    resource: Resource[Any], outcome: Outcome, fields: Mapping[str, Any], live: Collection[ChildKey], context: Context
) -> Outcome:
    """Say why it is still there and what of it, or take the finalizer off."""
    if not isinstance(outcome, Ok):
        there = {str(key[1]) for key in live}
        entries = [entry for entry in report.kept_fields(resource)[1] if entry["id"] in there]
        await report.write(resource, fields, outcome, context, inventory=entries)
        return outcome
    if outcome.message:
        context.notify(resource, Reason.TERMINATING, outcome.message, False)
    await context.apply_self(resource, {})
    return Ok()


async def _remove(key: OwnerKey, live: dict[ChildKey, Live], context: Context) -> Outcome:
    """Remove an owner's objects by their own policies. Ok when nothing is left that should go."""
    steps = [policy.removal(child, found) for child, found in live.items()]
    going = [step for step in steps if step.verb is Verb.DELETE]
    applied = await apply.apply(key, steps, context.clusters)
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
        unreachable = context.clusters.ensure(environment_place.cluster_of(env), resource.key)
        if unreachable is not None and _was_in(resource, env.name):
            return unreachable
    live = observe.children(context.clusters, resource.key)
    retain = (resource.raw_spec or {}).get("deletionPolicy") == "Retain"
    if retain:
        await apply.retain(live, context.clusters)
        return Ok(f"kept, as deletionPolicy says: {len(live)} objects" if live else "")
    return await _remove(resource.key, live, context)


async def _last(resource: Resource[Any], context: Context) -> Outcome | None:
    """What is left to do when its objects are gone: a run's hooks; a restore in place waits for the Pods of its runner,
    for what it has at rest must not run beside them."""
    if resource.kind == "BackupRun":
        return await kubernetesrun.leave(resource, context)
    overwrites = resource.kind == "Restore" and resource.status.get("before")
    if overwrites and (pods := await atrest.writing(resource, context)):
        return Wait(Reason.TERMINATING, f"waits for Pod {pods[0]} to end", LOOK_AGAIN)
    return None


def _was_in(resource: Resource[Any], environment: str) -> bool:
    entries = (resource.status.get("inventory") or {}).get("entries") or ()
    return any(entry.get("environment") == environment for entry in entries)


async def _container(resource: Resource[Any], context: Context) -> Outcome:
    """Its Service goes, and then what is on the host, by its policies; what it remembers is written on the way."""
    outcome = await _remove(resource.key, observe.children(context.clusters, resource.key), context)
    fields, _ = report.kept_fields(resource)
    if isinstance(outcome, Ok) and resource.spec is not None:
        sought = await seek.leave(resource, context)
        outcome, fields = sought.outcome, dict(sought.fields)
    elif isinstance(outcome, Ok):
        outcome = Stalled(Reason.INVALID_SPEC, "the spec can't be read, so its container is left alone; mend the spec")
    if not isinstance(outcome, Ok):
        await report.write(resource, fields, outcome, context)
        return outcome
    if outcome.message:
        context.notify(resource, Reason.TERMINATING, outcome.message, False)
    await context.apply_self(resource, {})
    return Ok()


async def _on_host(resource: Resource[Any], context: Context) -> Outcome:
    """A restore of containers: what it has made and nobody uses goes first."""
    sought = await proxmoxrestore.seek(resource, context, leaving=True)
    if not isinstance(sought.outcome, Ok):
        await report.write(resource, sought.fields, sought.outcome, context)
        return sought.outcome
    await context.apply_self(resource, {})
    return Ok()


async def _environment(resource: Resource[Any], context: Context) -> Outcome:
    """Applications leave first; then what guards the namespace; then the namespace, unless it holds what is kept."""
    if resource.spec is None or resource.spec.template:
        return Ok()
    world = observe.environment(resource, context.store, context.clusters, context.readers, context.now())
    if world.unreachable is not None:
        return world.unreachable if resource.status.get("namespace") else Ok()
    if world.tenants:
        for name in world.tenants:
            context.enqueue(OwnerKey("Application", resource.namespace, name))
        return Wait(Reason.TERMINATING, f"waits for {', '.join(world.tenants[:5])} to leave", LOOK_AGAIN)
    if kept := _repositories_in(resource, context):
        text = f"BackupRepository {', '.join(kept[:5])} has its volume here; delete that first"
        return Wait(Reason.TERMINATING, f"waits until no backups are kept in it: {text}", LOOK_AGAIN)
    namespace = environment_place.namespace_of(resource)
    ours = world.namespace is not None and environment_place.is_ours(world.namespace, resource, world.plane)
    claims: list[str] = []
    if ours:
        claims, retained = await observe.remaining(context.clusters[world.cluster], namespace)
        retains = environment_place.place_of(resource, False).retains
        if claims and not retains and not _confirmed(resource):
            return Stalled(
                Reason.CONFIRMATION_REQUIRED,
                f"deleting {resource.name} would lose the {_things(resource)} {', '.join(claims[:5])}; to go on, set "
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
        return Ok(f"namespace {namespace} is kept: it holds the {_things(resource)} {', '.join(claims[:5])}")
    gone = await _remove(resource.key, {k: f for k, f in world.live.items() if k[1].kind == "Namespace"}, context)
    if isinstance(gone, Wait) and world.namespace is not None and world.namespace["metadata"].get("deletionTimestamp"):
        return Wait(Reason.TERMINATING, f"namespace {namespace} is being emptied by Kubernetes", LOOK_AGAIN)
    return gone


def _repositories_in(environment: Resource[Any], context: Context) -> list[str]:
    """BackupRepositories that are a volume in the environment's namespace."""
    out = []
    for key in context.store.keys("BackupRepository", environment.namespace):
        spec = (context.store.body(key) or {}).get("spec") or {}
        if spec.get("filesystem") and environment.name in (spec.get("environments") or ()):
            out.append(key.name)
    return sorted(out)


def _things(environment: Resource[Any]) -> str:
    return "volumes" if environment.spec.proxmox is None else "containers"


def _confirmed(resource: Resource[Any]) -> bool:
    if resource.spec.tier == "Preview":
        return True
    return resource.annotations.get(labels.CONFIRM_DELETE) == resource.name


async def _host(resource: Resource[Any], context: Context) -> Outcome:
    """What uses it goes first, and needs it for that. Nothing was made for it, and nothing on it is touched."""
    users = hostusers.users_of(context.store, resource.name)
    if not users:
        return Ok()
    if resource.spec is not None and not resource.suspended:
        await observe.host(resource, context.hosts, context.clusters, context.readers, context.now())
    shown = [f"{key.kind} {key.namespace}/{key.name}" for key in users]
    more = f" and {len(shown) - 5} more" if len(shown) > 5 else ""
    return Wait(Reason.TERMINATING, f"waits for {', '.join(shown[:5])}{more}, which use it, to be deleted", LOOK_AGAIN)


async def _backup(resource: Resource[Any], context: Context) -> Outcome:
    """Its runs go, then its snapshots if that was asked for twice, and only then itself; what is forgotten is written
    down before the Job that did it goes."""
    left = await leaving.backup(resource, context)
    outcome, fields = left.outcome, left.fields
    live = observe.children(context.clusters, resource.key)
    if isinstance(outcome, Ok):
        removed = await _remove(resource.key, live, context)
        outcome = outcome if isinstance(removed, Ok) else removed
    return await _end(resource, outcome, fields, live, context)


async def _repository(resource: Resource[Any], context: Context) -> Outcome:
    """Backups that name it go first; what is in it stays, and so does its key."""
    users = [key.name for key in context.store.keys("Backup", resource.namespace)]
    users = [
        name for name in users if _repository_of(OwnerKey("Backup", resource.namespace, name), context) == resource.name
    ]
    if users:
        more = f" and {len(users) - 5} more" if len(users) > 5 else ""
        shown = ", ".join(f"Backup {name}" for name in sorted(users)[:5])
        return Wait(Reason.TERMINATING, f"waits until nobody keeps backups in it: {shown}{more}", LOOK_AGAIN)
    return await _remove(resource.key, observe.children(context.clusters, resource.key), context)


def _repository_of(backup: OwnerKey, context: Context) -> str:
    spec = (context.store.body(backup) or {}).get("spec") or {}
    return str((spec.get("repositoryRef") or {}).get("name", ""))


async def _project(resource: Resource[Any], context: Context) -> Outcome:
    """What is in the project goes first, by its own policies; the API server let only an archived one get here."""
    # Sources first: they would make anew what goes.
    sources = context.store.keys("GitSource", resource.namespace)
    # Then backups: snapshots are forgotten by Jobs, and a repository on a volume is in an environment.
    backups = [key for kind in ("Backup", "BackupRepository") for key in context.store.keys(kind, resource.namespace)]
    held = (
        sources
        or backups
        or [key for kind in ("Application", "Environment") for key in context.store.keys(kind, resource.namespace)]
    )
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


async def _done(resource: Resource[Any], context: Context) -> Outcome:
    """The objects of a run or a restore, and what is left to do then."""
    outcome = await _application(resource, context)
    return (await _last(resource, context) if isinstance(outcome, Ok) else None) or outcome


_ALONE = {"LXCContainer": _container, "Backup": _backup, "GitSource": sourceleaving.leave}
"""Kinds that write their own status on the way."""
_OTHERS = {
    "Environment": _environment,
    "ProxmoxHost": _host,
    "BackupRepository": _repository,
    "BackupRun": _done,
    "Restore": _done,
}
