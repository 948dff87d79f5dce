"""Compares everything that is wanted with what is there, and remembers what was found equal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from homeport.api import labels
from homeport.api.labels import OwnerKey
from homeport.api.resource import Resource
from homeport.drivers.kubernetes import types
from homeport.engine.apply import generated, marked
from homeport.engine.context import Context
from homeport.plan.diff import compare, stamped
from homeport.plan.types import Change, Child, Verb
from homeport.plan.world import ChildKey, Desired, Live


async def changes(
    owner: OwnerKey, desired: Desired, live: Mapping[ChildKey, Live], context: Context
) -> tuple[tuple[Change, ...], frozenset[ChildKey]]:
    """A change for each wanted object, and those whose last write the caches haven't shown yet.

    What was compared once isn't compared again until one of the two sides changes. Only a copied Secret is ever read
    from the API server here: its data is in no plan and in no cache of ours.
    """
    out: list[Change] = []
    pending: set[ChildKey] = set()
    for child in desired.children:
        change, waits = await _change(owner, child, live, context)
        out.append(change)
        if waits:
            pending.add((child.cluster, child.id))
    return tuple(out), frozenset(pending)


async def _change(
    owner: OwnerKey, child: Child, live: Mapping[ChildKey, Live], context: Context
) -> tuple[Change, bool]:
    cluster = context.clusters[child.cluster]
    key: ChildKey = (child.cluster, child.id)
    gvk = types.gvk_of(child.manifest)
    namespace, name = key[1].namespace or None, key[1].name
    found = live.get(key)
    if found is None:
        found = cluster.get(gvk, namespace, name)
        if found is not None:
            # Somebody else's: to be heard of when it goes.
            context.readers.setdefault((gvk.kind, namespace or "", name), set()).add(owner)
        if found is not None and cluster.is_going(found["metadata"]["uid"]):
            return Change(Verb.NOTHING, child.id, "being deleted", child, found, cluster=child.cluster), True
    if cluster.is_stale(gvk, namespace, name):
        return Change(Verb.NOTHING, child.id, "written just now", child, found, cluster=child.cluster), True
    manifest, wanted = stamped(marked(child))
    if found is not None:
        version = str(found["metadata"]["resourceVersion"])
        if context.in_step.get(key) == (wanted, version):
            return Change(Verb.NOTHING, child.id, "", child, found, cluster=child.cluster), False
        if found["metadata"].get("deletionTimestamp"):
            return Change(Verb.NOTHING, child.id, "being deleted", child, found, cluster=child.cluster), True
    change = compare(child, manifest, wanted, found)
    if change.verb is Verb.NOTHING and found is not None:
        why, drift = _owed(child, found)
        if not why and child.copy_of is not None and await _copy_differs(child, found, context):
            why, drift = "the copy differs", True
        if why:
            change = Change(Verb.UPDATE, child.id, why, child, found, cluster=child.cluster, drift=drift)
    if change.verb is Verb.NOTHING and found is not None:
        context.in_step[key] = (wanted, str(found["metadata"]["resourceVersion"]))
    else:
        context.in_step.pop(key, None)
    return change, False


async def _copy_differs(child: Child, found: Any, context: Context) -> bool:
    assert child.copy_of is not None
    namespace, name = child.copy_of
    source = await context.cluster.client.get(types.SECRET, namespace, name)
    return source is not None and (source.get("data") or {}) != (found.get("data") or {})


def _owed(child: Child, found: Live) -> tuple[str, bool]:
    """What is left to do on an object whose declared fields are as wanted, and whether somebody else undid it."""
    if labels.RETAINED in (found["metadata"].get("annotations") or {}):
        return "it was retained, and is declared again", False
    if child.generate is not None:
        data = found.get("data") or {}
        if not all(data.get(key) for key in child.generate):
            return "a generated key is missing", True
        if any(data.get(key) != value for key, value in generated(child, found).items()):
            return "a key isn't as its template says", True
    if child.scale_to is not None and int((found.get("spec") or {}).get("replicas", 1)) < child.scale_to:
        # An autoscaler never goes below its minimum: the write that was to hand the replicas over never happened.
        return "its replicas were not handed over", False
    return "", False


async def elsewhere(resource: Resource[Any], left: Mapping[ChildKey, Live], context: Context) -> frozenset[ChildKey]:
    """What is in environments that we don't see and that are there all the same: another shard's, or new to the watch.

    Asks the API server, and only when something would be removed from such an environment.
    """
    if resource.kind != "Application":
        return frozenset()
    seen = {key.name for key in context.store.keys("Environment", resource.namespace)}
    unseen: dict[str, set[ChildKey]] = {}
    for key, found in left.items():
        name = (found["metadata"].get("labels") or {}).get(labels.ENVIRONMENT)
        if name and name not in seen:
            unseen.setdefault(name, set()).add(key)
    out: set[ChildKey] = set()
    for name, keys in unseen.items():
        gvk = types.by_kind(labels.API_VERSION, "Environment")
        if await context.cluster.client.get(gvk, resource.namespace, name, metadata_only=True) is not None:
            out |= keys
    return frozenset(out)
