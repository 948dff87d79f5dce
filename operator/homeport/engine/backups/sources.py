"""Reads what is there of a Backup's source, and of its repository."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from homeport.api import labels
from homeport.api.backup import BackupSource, BackupSpec
from homeport.api.backuprepository import BackupRepositorySpec
from homeport.api.conditions import Reason, ready
from homeport.api.labels import OwnerKey
from homeport.api.resource import Resource
from homeport.drivers.kubernetes import types
from homeport.drivers.kubernetes.cluster import Cluster
from homeport.engine import observe
from homeport.engine.context import Context
from homeport.outcome import Outcome, Stalled, Wait
from homeport.plan import environment_place
from homeport.plan.backup.snapshots import Offered
from homeport.plan.backup.source import Source, SourceWorld
from homeport.plan.types import Place
from homeport.plan.world import Live


def place(namespace: str, name: str, waiting: OwnerKey, context: Context) -> Place | Outcome:
    """An environment that can be used, or why it can't; who waits for its cluster is woken when that is there."""
    resource, error = context.store.look(OwnerKey("Environment", namespace, name))
    if resource is None:
        text = f"Environment {name} doesn't exist in namespace {namespace}; create it, and this goes on by itself"
        return Wait(Reason.DEPENDENCY_NOT_READY, text)
    if error is not None:
        text = f"Environment {name} can't be used as it is written; see its status"
        return Wait(Reason.DEPENDENCY_NOT_READY, text)
    if resource.status.get("namespace") != environment_place.namespace_of(resource):
        return Wait(Reason.DEPENDENCY_NOT_READY, f"Environment {name} isn't set up yet")
    unreachable = context.clusters.ensure(environment_place.cluster_of(resource), waiting)
    if unreachable is not None:
        return unreachable
    identity = context.clusters.identity(environment_place.cluster_of(resource))
    capabilities = observe.capabilities(context.clusters[identity])
    return environment_place.place_of(resource, False, identity, capabilities)


async def look(namespace: str, source: BackupSource, waiting: OwnerKey, context: Context) -> SourceWorld:
    """What is there of ``source``. Raises ApiError when claims can't be read."""
    if source.project:
        return SourceWorld()
    if source.container is not None:
        key = OwnerKey("LXCContainer", namespace, source.container)
        return SourceWorld(container=context.store.body(key) is not None)
    assert source.application is not None and source.component is not None and source.environment is not None
    found = place(namespace, source.environment, waiting, context)
    if not isinstance(found, Place):
        return SourceWorld(missing=found)
    application = OwnerKey("Application", namespace, source.application)
    cluster = context.clusters[found.cluster]
    there = [child for child in cluster.children(application) if _label(child, labels.ENVIRONMENT) == found.name]
    own = [child for child in there if _label(child, labels.COMPONENT) == source.component]
    pods = cluster.pods(namespace, source.application, found.name)
    return SourceWorld(
        found,
        application=context.store.body(application) is not None,
        objects=own,
        components=sorted({_label(child, labels.COMPONENT) for child in there}),
        pods=[pod for pod in pods if _label(pod, labels.COMPONENT) == source.component],
        claims=await _claims(found, own, context),
        snapshots=_snapshots(cluster),
    )


def _snapshots(cluster: Cluster) -> Offered:
    drivers = {found["metadata"]["name"]: str(found["provisioner"]) for found in cluster.classes(types.STORAGE_CLASS)}
    return Offered(
        f"{types.VOLUME_SNAPSHOT.api_version}/VolumeSnapshot" in cluster.served(),
        cluster.classes(types.VOLUME_SNAPSHOT_CLASS),
        drivers,
    )


def _label(body: Live, name: str) -> str:
    return str((body["metadata"].get("labels") or {}).get(name, ""))


async def _claims(found: Place, objects: Sequence[Live], context: Context) -> dict[str, Live]:
    """The namespace's claims, if what runs may mount one: a StatefulSet's are made by Kubernetes, and in no cache."""
    if not any(child["kind"] in ("Deployment", "StatefulSet", "CronJob") for child in objects):
        return {}
    items, _ = await context.clusters[found.cluster].client.list(types.PERSISTENT_VOLUME_CLAIM, found.namespace)
    return {item["metadata"]["name"]: item for item in items if not item["metadata"].get("deletionTimestamp")}


def backup(namespace: str, name: str, context: Context) -> Resource[BackupSpec] | Outcome:
    """A Backup that can be used, or why there is none."""
    found: Resource[BackupSpec] | Outcome = _resource(OwnerKey("Backup", namespace, name), context)
    return found


def repository(
    namespace: str, name: str, environment: str, context: Context
) -> Resource[BackupRepositorySpec] | Outcome:
    """A repository that is made and may be used from ``environment`` (empty: only from the project's namespace)."""
    found: Resource[BackupRepositorySpec] | Outcome = _resource(OwnerKey("BackupRepository", namespace, name), context)
    if not isinstance(found, Resource):
        return found
    listed = found.spec.environments
    if environment and environment not in listed:
        there = ", ".join(listed) or "none"
        return Stalled(
            Reason.INVALID_SPEC,
            f"BackupRepository {name} may not be used from environment {environment}: its keys would be carried there. "
            f"Add {environment} to its spec.environments ({there})",
        )
    if found.spec.proxmox is None and not found.status.get("initialized"):
        return Wait(Reason.DEPENDENCY_NOT_READY, f"BackupRepository {name} isn't made yet{_why(found.status)}")
    return found


def home(
    namespace: str, repository: Resource[BackupRepositorySpec], waiting: OwnerKey, context: Context
) -> Source | Outcome:
    """Where the project's own manifests are backed up: in its own namespace, or where the repository's volume is."""
    bare = Source("Kubernetes", "Manifests", namespace=namespace)
    if repository.spec.filesystem is None:
        return bare
    found = place(namespace, repository.spec.environments[0], waiting, context)
    if not isinstance(found, Place):
        return found
    isolated = found.spec.isolation == "Strict"
    return replace(bare, environment=found.name, namespace=found.namespace, cluster=found.cluster, isolated=isolated)


def _resource(key: OwnerKey, context: Context) -> Any:
    found, error = context.store.look(key)
    if found is None:
        text = (
            f"{key.kind} {key.name} doesn't exist in namespace {key.namespace}; create it, and this goes on by itself"
        )
        return Wait(Reason.DEPENDENCY_NOT_READY, text)
    if error is not None:
        return Wait(Reason.DEPENDENCY_NOT_READY, f"{key.kind} {key.name} can't be used as it is written: {error}")
    return found


def _why(status: Mapping[str, Any]) -> str:
    told = ready(status)
    return f": {told[2]}" if told is not None and told[2] else ""
