"""Carries out steps on a cluster. Every write may be the last before a crash: each is idempotent and can be repeated.

* Create: the API server is asked first whether a stranger has the name; server-side apply, not forced.
* Update: server-side apply, forced for what we declare, onto the resourceVersion that was looked at.
* Delete: of the very object that was looked at (its UID).
"""

from __future__ import annotations

import base64
import logging
import secrets
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from homeport.api import labels
from homeport.api.conditions import Reason
from homeport.api.labels import OwnerKey
from homeport.drivers.kubernetes import errors, types
from homeport.drivers.kubernetes.cluster import Cluster
from homeport.engine.clusters import Clusters
from homeport.outcome import Outcome, Stalled, Transient, Wait
from homeport.plan import names
from homeport.plan.diff import stamped
from homeport.plan.types import Change, Child, Manifest, Verb
from homeport.plan.world import ChildKey

log = logging.getLogger(__name__)

TRIES = 3
_ALPHABET = string.ascii_letters + string.digits


@dataclass
class Applied:
    """What came of a sequence of steps."""

    written: set[ChildKey] = field(default_factory=set)
    removed: set[ChildKey] = field(default_factory=set)
    problems: list[Outcome] = field(default_factory=list)
    drift: int = 0


class NameTaken(Exception):  # noqa: N818 - the word of the condition that it becomes
    """An object of that name exists and isn't ours."""


async def apply(owner: OwnerKey, steps: Sequence[Change], clusters: Clusters) -> Applied:
    """Take ``steps`` in their order. A step that fails doesn't stop those of other components."""
    result = Applied()
    broken: set[tuple[str, str]] = set()
    for change in steps:
        child = change.child
        part = (child.environment, child.component) if child else ("", str(change.id))
        if part in broken or (child is None and change.environment in {name for name, _ in broken if name}):
            # Removals come last: in an environment where something failed, what the new can't replace yet stays.
            continue
        try:
            await _step(owner, change, clusters, result)
        except errors.ApiError as error:
            broken.add(part)
            result.problems.append(explain(error, change))
        except NameTaken as error:
            broken.add(part)
            result.problems.append(Stalled(Reason.NAME_TAKEN, str(error)))
    return result


async def _step(owner: OwnerKey, change: Change, clusters: Clusters, result: Applied) -> None:
    key, cluster, home = (change.cluster, change.id), clusters[change.cluster], clusters.home
    if change.verb is Verb.DELETE:
        await delete(change, cluster)
        result.removed.add(key)
    elif change.verb is Verb.KEEP:
        await _stop(change, cluster)
    elif change.verb is Verb.CREATE:
        await _create(change, cluster, home)
        result.written.add(key)
    elif change.verb is Verb.UPDATE:
        await _update(owner, change, cluster, home)
        result.written.add(key)
        result.drift += change.drift
    elif change.verb is Verb.REPLACE:
        # Gone now, made anew by the next round: what a crash in between leaves is a create.
        await delete(change, cluster, "Orphan" if change.id.kind == "StatefulSet" else "Background")
        result.written.add(key)


async def delete(change: Change, cluster: Cluster, propagation: Any = "Background") -> None:
    """Delete the object that was looked at, and no other of its name."""
    assert change.live is not None
    metadata = change.live["metadata"]
    if metadata.get("deletionTimestamp"):
        return
    gvk = types.gvk_of(change.live)
    await cluster.client.delete(
        gvk, metadata.get("namespace"), metadata["name"], uid=metadata["uid"], propagation=propagation
    )
    if gvk is not types.LXC_CONTAINER:
        # That one goes when its container on the host has gone, or is kept there: until then it is still to be seen.
        cluster.expects_gone(metadata["uid"])


async def _stop(change: Change, cluster: Cluster) -> None:
    """A container that outlives what runs in it is stopped, as a claim stays without its Pods."""
    live = change.live or {}
    if change.id.kind != types.LXC_CONTAINER.kind or live["metadata"].get("deletionTimestamp"):
        return
    retained = (live["metadata"].get("annotations") or {}).get(labels.DELETION_POLICY) == "Retain"
    if retained and (live.get("spec") or {}).get("state") != "Stopped":
        body = {"metadata": {"uid": live["metadata"]["uid"]}, "spec": {"state": "Stopped"}}
        await cluster.client.patch(types.LXC_CONTAINER, change.id.namespace, change.id.name, body)


async def retain(live: Mapping[ChildKey, Mapping[str, Any]], clusters: Clusters) -> None:
    """Mark what outlives its owner, so that nobody takes it for something left behind; ``_update`` takes it off."""
    for (identity, _), found in live.items():
        if labels.RETAINED not in (found["metadata"].get("annotations") or {}):
            await _mark_retained(found, "true", clusters[identity])


async def _mark_retained(found: Mapping[str, Any], mark: str | None, cluster: Cluster) -> str:
    metadata = found["metadata"]
    body = {"metadata": {"uid": metadata["uid"], "annotations": {labels.RETAINED: mark}}}
    gvk = types.gvk_of(found)
    patched = await cluster.client.patch(gvk, metadata.get("namespace"), metadata["name"], body)
    return str(patched["metadata"]["resourceVersion"])


async def _create(change: Change, cluster: Cluster, home: Cluster) -> None:
    child = change.child
    assert child is not None
    gvk = types.gvk_of(child.manifest)
    metadata = child.manifest["metadata"]
    namespace, name = metadata.get("namespace"), metadata["name"]
    suspected = gvk is not types.NAMESPACE and name in await cluster.strangers(gvk, namespace)
    # The list may be a moment old, and whoever has just made room shouldn't be in the way.
    if suspected and await cluster.client.get(gvk, namespace, name) is not None:
        raise NameTaken(
            f"{change.id.shown} exists and isn't Homeport's; rename the component, set spec.namePrefix, "
            "or remove that object"
        )
    if child.generate is not None:
        # Made once, whatever a cache that lags behind says: a second password would lock its database out.
        there = await cluster.client.get(gvk, namespace, name)
        if there is not None:
            raise errors.AlreadyExists(409, "AlreadyExists", "it is there already")
    body = await _body(child, None, home)
    found = await cluster.client.apply(gvk, namespace, name, body, force=False)
    if child.scale_to is not None:
        scale = _scale(body, child.scale_to, found["metadata"]["uid"])
        found = await cluster.client.apply(gvk, namespace, name, scale, manager=labels.SCALE_MANAGER)
    cluster.expects(gvk, namespace, name, found["metadata"]["resourceVersion"])


async def _update(owner: OwnerKey, change: Change, cluster: Cluster, home: Cluster) -> None:
    child = change.child
    assert child is not None and change.live is not None
    gvk = types.gvk_of(child.manifest)
    metadata = child.manifest["metadata"]
    namespace, name = metadata.get("namespace"), metadata["name"]
    live: Mapping[str, Any] | None = change.live
    for attempt in range(TRIES):
        assert live is not None
        body = await _body(child, live, home)
        # The version alone doesn't keep an apply from making an object anew that is gone meanwhile; the UID does.
        looked_at = {"resourceVersion": live["metadata"]["resourceVersion"], "uid": live["metadata"]["uid"]}
        body["metadata"] = {**body["metadata"], **looked_at}
        try:
            if labels.RETAINED in (live["metadata"].get("annotations") or {}):
                body["metadata"]["resourceVersion"] = await _mark_retained(live, None, cluster)
            if child.scale_to is not None and _needs_handover(live, child.scale_to):
                replicas = max(child.scale_to, int((live.get("spec") or {}).get("replicas") or 0))
                scale = _scale(body, replicas, live["metadata"]["uid"])
                scaled = await cluster.client.apply(gvk, namespace, name, scale, manager=labels.SCALE_MANAGER)
                body["metadata"]["resourceVersion"] = scaled["metadata"]["resourceVersion"]
            found = await cluster.client.apply(gvk, namespace, name, body)
        except errors.Conflict:
            if attempt == TRIES - 1:
                raise
            live = await cluster.client.get(gvk, namespace, name)
            if live is None:
                await _create(change, cluster, home)
                return
            holder = labels.owner_of(live, cluster.plane)
            if holder != owner:
                raise NameTaken(f"{change.id.shown} now belongs to {holder or 'somebody else'}") from None
        else:
            cluster.expects(gvk, namespace, name, found["metadata"]["resourceVersion"])
            return


def _needs_handover(live: Mapping[str, Any], minimum: int) -> bool:
    """Whether the replicas are still ours to give away, or below what the autoscaler starts from."""
    annotations = live["metadata"].get("annotations") or {}
    replicas = int((live.get("spec") or {}).get("replicas") or 0)
    return annotations.get(labels.AUTOSCALED) != "true" or replicas == 0 or replicas < minimum


def _scale(body: Manifest, replicas: int, uid: str) -> Manifest:
    return {
        "apiVersion": body["apiVersion"],
        "kind": body["kind"],
        "metadata": {"name": body["metadata"]["name"], "namespace": body["metadata"].get("namespace"), "uid": uid},
        "spec": {"replicas": replicas},
    }


async def _body(child: Child, live: Mapping[str, Any] | None, home: Cluster) -> Manifest:
    """What is sent: the manifest with its digest, and a Secret's data, which no plan ever holds.

    Secrets are copied from this cluster (``home``), wherever they go.
    """
    manifest, _ = stamped(marked(child))
    if child.generate is not None:
        return {**manifest, "data": generated(child, live)}
    if child.copy_of is not None:
        namespace, name = child.copy_of
        source = await home.client.get(types.SECRET, namespace, name)
        if source is None:
            raise errors.NotFound(404, "NotFound", f"Secret {name} doesn't exist in namespace {namespace}")
        return {**manifest, "data": source.get("data") or {}, "type": source.get("type") or "Opaque"}
    if child.gathered or child.given:
        return {**manifest, "data": await _gathered(child, home)}
    return dict(manifest)


async def _gathered(child: Child, home: Cluster) -> dict[str, str]:
    """The keys of other Secrets, and what is given beside them. Values in base64."""
    out = {key: base64.b64encode(content).decode() for key, content in child.given.items()}
    for key, (namespace, name, theirs) in child.gathered.items():
        source = await home.client.get(types.SECRET, namespace, name)
        found = ((source or {}).get("data") or {}).get(theirs)
        if not found:
            what = f"Secret {name} has no key {theirs}" if source is not None else f"Secret {name} doesn't exist"
            raise errors.NotFound(404, "NotFound", f"{what} in namespace {namespace}")
        out[key] = found
    return out


def marked(child: Child) -> Manifest:
    """The manifest with what must be known of it when nobody declares it any more."""
    notes = {}
    if child.deletion == "Retain":
        notes[labels.DELETION_POLICY] = "Retain"
    if child.copy_of is not None:
        notes[labels.COPIED_FROM] = "/".join(child.copy_of) + "@" + child.copy_version
    if not notes:
        return child.manifest
    metadata = child.manifest["metadata"]
    annotations = {**(metadata.get("annotations") or {}), **notes}
    return {**child.manifest, "metadata": {**metadata, "annotations": annotations}}


def generated(child: Child, live: Mapping[str, Any] | None) -> dict[str, str]:
    """The data of a Secret that is made once: what is there stays, what is missing is made, and what its template says
    is filled in with it. Values in base64."""
    known = (live or {}).get("data") or {}
    made = {key: known.get(key) or _random(length) for key, length in sorted((child.generate or {}).items())}
    plain = {key: base64.b64decode(value).decode(errors="replace") for key, value in made.items()}
    filled = {key: filled_in(text, plain) for key, text in sorted(child.template.items())}
    return made | {key: base64.b64encode(text.encode()).decode() for key, text in filled.items()}


def filled_in(text: str, values: Mapping[str, str]) -> str:
    """``text`` with each ``$(KEY)`` replaced by its value; what isn't there stays as it is."""
    return names.REFERENCE.sub(lambda found: values.get(found[1], found[0]), text)


def _random(length: int) -> str:
    return base64.b64encode("".join(secrets.choice(_ALPHABET) for _ in range(length)).encode()).decode()


def explain(error: errors.ApiError, change: Change) -> Outcome:
    """What a refusal means for the resource, in words that a person can act on."""
    what = f"{change.id.shown}: "
    match error:
        case errors.TooManyRequests() | errors.ServerUnavailable():
            return Transient(Reason.PROGRESSING_WITH_RETRY, f"{what}{error}")
        case errors.Conflict() if error.managers:
            return Stalled(
                Reason.NAME_TAKEN,
                f"{what}it exists, made by {', '.join(error.managers)}; rename the component, set spec.namePrefix, "
                "or remove that object",
            )
        case errors.Conflict() | errors.AlreadyExists():
            return Wait(Reason.PROGRESSING, f"{what}it has just changed; looking again", 0.3)
        case errors.NotFound():
            return Transient(Reason.PROGRESSING_WITH_RETRY, f"{what}{error}")
        case errors.Forbidden() if "being terminated" in str(error):
            return Wait(Reason.DEPENDENCY_NOT_READY, f"{what}its namespace is being deleted", 2.0)
        case errors.Forbidden() if "status unknown for quota" in str(error):
            # Of a kind that the cluster has only just learned Kubernetes counts nothing before its next full look at
            # quotas, five minutes away at most: pkg/controller/resourcequota, ReplenishmentResyncPeriod.
            text = f"{what}Kubernetes hasn't counted yet what the quota bounds ({error})"
            return Wait(Reason.PROGRESSING, text, 5.0)
        case errors.Forbidden() if "exceeded quota" in str(error):
            return Stalled(Reason.APPLY_FAILED, f"{what}{error}; raise the environment's quota or ask for less")
        case errors.Forbidden() | errors.Unauthorized():
            return Stalled(Reason.ACCESS_DENIED, f"{what}{error}")
        case _:
            return Stalled(Reason.APPLY_FAILED, f"{what}{error}")
