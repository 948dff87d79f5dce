"""Reads what planning must know, from caches. Never writes, and never waits for the network but where it says so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from homeport.api import labels
from homeport.api.application import ApplicationSpec
from homeport.api.conditions import Reason
from homeport.api.environment import EnvironmentSpec
from homeport.api.labels import OwnerKey
from homeport.api.project import ProjectSpec
from homeport.api.resource import InvalidSpec, Resource
from homeport.drivers.kubernetes import types
from homeport.drivers.kubernetes.cluster import Cluster
from homeport.engine.claims import Claims
from homeport.engine.clusters import Clusters
from homeport.engine.store import Store
from homeport.outcome import Stalled, Wait
from homeport.plan import environment as environment_plan
from homeport.plan import render
from homeport.plan.types import Place, Versions, object_id
from homeport.plan.world import (
    ApplicationWorld,
    ChildKey,
    EnvironmentWorld,
    Live,
    Missing,
    ProjectWorld,
)

Readers = dict[tuple[str, str, str], set[OwnerKey]]
"""(kind, namespace, name) of a Secret or ConfigMap -> who wants to hear when it changes."""


class SeenVersions(Mapping[tuple[str, str], str]):
    """The versions of Secrets and ConfigMaps of one namespace, looked up when asked for; remembers what was asked."""

    def __init__(self, cluster: Cluster, namespace: str, reader: OwnerKey, readers: Readers) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._reader = reader
        self._readers = readers
        self.asked: dict[tuple[str, str], str | None] = {}

    def _look(self, key: tuple[str, str]) -> str | None:
        kind, name = key
        self._readers.setdefault((kind, self._namespace, name), set()).add(self._reader)
        look = self._cluster.secret_version if kind == "Secret" else self._cluster.config_map_version
        found = self.asked[key] = look(self._namespace, name)
        return found

    def __getitem__(self, key: tuple[str, str]) -> str:
        found = self._look(key)
        if found is None:
            raise KeyError(key)
        return found

    def __contains__(self, key: object) -> bool:
        return isinstance(key, tuple) and self._look(key) is not None

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self.asked)

    def __len__(self) -> int:
        return len(self.asked)


def children(clusters: Clusters, owner: OwnerKey) -> dict[ChildKey, Live]:
    """What is there of an owner's objects, wherever; those that we deleted just now are as good as gone."""
    out: dict[ChildKey, Live] = {}
    for reference, cluster in clusters.connected(owner.namespace):
        for found in cluster.children(owner):
            if not cluster.is_going(found["metadata"]["uid"]):
                out[reference, object_id(found)] = found
    return out


def project_of(store: Store, namespace: str) -> Resource[ProjectSpec] | None:
    """The Project whose home a namespace is; None when it isn't there or can't be used."""
    try:
        return store.resource(OwnerKey("Project", namespace, namespace))
    except InvalidSpec:
        return None


def application(
    app: Resource[ApplicationSpec],
    store: Store,
    clusters: Clusters,
    readers: Readers,
    claims: Claims,
    now: datetime,
) -> ApplicationWorld:
    """What an Application's plan depends on."""
    places, missing = _places(app, store, clusters)
    pods: dict[tuple[str, str], list[Live]] = {}
    for cluster in {place.cluster: clusters[place.cluster] for place in places}.values():
        for pod in cluster.pods(app.namespace, app.name):
            found = pod["metadata"]["labels"]
            pods.setdefault((found.get(labels.ENVIRONMENT, ""), found.get(labels.COMPONENT, "")), []).append(pod)
    return ApplicationWorld(
        now=now,
        places=places,
        missing=missing,
        live=children(clusters, app.key),
        versions={
            place.name: Versions(SeenVersions(clusters[place.cluster], place.namespace, app.key, readers))
            for place in places
        },
        pods=pods,
        hosts_taken=claims.held_against(app.key),
    )


def _places(app: Resource[ApplicationSpec], store: Store, clusters: Clusters) -> tuple[list[Place], list[Missing]]:
    project = project_of(store, app.namespace)
    if project is None:
        text = (
            f"Project {app.namespace} doesn't exist in namespace {app.namespace}; create it, and this goes on by itself"
        )
        return [], [Missing("", Wait(Reason.DEPENDENCY_NOT_READY, text))]
    there = {env.name: env for env in store.valid("Environment", app.namespace)}
    wanted = render.target_environments(
        app.spec,
        [
            env.name
            for env in sorted(there.values(), key=lambda e: (e.created, e.name))
            if not env.spec.template and env.spec.tier != "Preview" and env.deleted_at is None
        ],
    )
    unusable = store.invalid("Environment", app.namespace)
    if app.spec.environments is None:
        # One that can't be read for now may be one of ours: what is in it must not be taken for left behind.
        wanted = (*wanted, *unusable)
    places, missing = [], []
    for name in wanted:
        env = there.get(name)
        if env is None:
            text = (
                f"Environment {name} doesn't exist in namespace {app.namespace}; create it, or take it out of the list"
            )
            if name in unusable:
                text = f"Environment {name} can't be used as it is written; see its status"
            missing.append(Missing(name, Wait(Reason.DEPENDENCY_NOT_READY, text)))
        elif env.deleted_at is not None:
            continue
        elif env.spec.template:
            text = f"Environment {name} is only a template for previews; take it out of spec.environments"
            missing.append(Missing(name, Stalled(Reason.INVALID_SPEC, text), known=True))
        elif env.status.get("namespace") != environment_plan.namespace_of(env):
            text = f"Environment {name} isn't set up yet{_why(env)}"
            missing.append(Missing(name, Wait(Reason.DEPENDENCY_NOT_READY, text)))
        elif (unreachable := clusters.ensure(environment_plan.cluster_of(env), app.key)) is not None:
            missing.append(Missing(name, unreachable))
        else:
            cluster = clusters.identity(environment_plan.cluster_of(env))
            places.append(environment_plan.place_of(env, project.spec.archived, cluster))
    return places, missing


def _why(env: Resource[EnvironmentSpec]) -> str:
    for entry in env.status.get("conditions") or ():
        if entry.get("type") == "Ready" and entry.get("message"):
            return f": {entry['message']}"
    return ""


def environment(
    env: Resource[EnvironmentSpec], store: Store, clusters: Clusters, readers: Readers, now: datetime
) -> EnvironmentWorld:
    """What an Environment's plan depends on."""
    sources = {secret.from_ or secret.name for secret in env.spec.secrets or ()}
    home, reference = clusters.home, environment_plan.cluster_of(env)
    versions = SeenVersions(home, env.namespace, env.key, readers)
    unreachable = clusters.ensure(reference, env.key)
    identity = clusters.identity(reference) if unreachable is None else ""
    cluster = clusters[identity] if unreachable is None else None
    if reference:
        # Listen for the kubeconfig's Secret: a new one leads to a new connection.
        versions.get(("Secret", reference.split("/")[1]))
    siblings = [other for other in store.valid("Environment", env.namespace) if other.deleted_at is None]
    namespace = environment_plan.namespace_of(env)
    return EnvironmentWorld(
        now=now,
        project=project_of(store, env.namespace),
        siblings=siblings,
        applications=list(store.valid("Application", env.namespace)),
        live=children(clusters, env.key),
        namespace=cluster.get(types.NAMESPACE, None, namespace) if cluster is not None else None,
        project_namespace=home.get(types.NAMESPACE, None, env.namespace),
        secrets={name: found for name in sources if (found := versions.get(("Secret", name))) is not None},
        private=_private(env, siblings, home, sources),
        tenants=_tenants(env, namespace, store, cluster) if cluster is not None else (),
        cluster=identity,
        unreachable=unreachable,
    )


def _private(
    env: Resource[EnvironmentSpec],
    siblings: list[Resource[EnvironmentSpec]],
    cluster: Cluster,
    names: set[str],
) -> dict[str, str]:
    out: dict[str, str] = {}
    for name in names:
        found = cluster.metadata(types.SECRET, env.namespace, name)
        if found is not None and labels.PRIVATE in (found["metadata"].get("labels") or {}):
            out[name] = f"the label {labels.PRIVATE} says so"
    for other in siblings:
        place = other.spec.kubernetes
        ref = place.kubeconfig_secret_ref if place else None
        if ref is not None and ref.name in names:
            out[ref.name] = f"it is the kubeconfig of environment {other.name}"
    return out


def _tenants(env: Resource[EnvironmentSpec], namespace: str, store: Store, cluster: Cluster) -> list[str]:
    """Applications of the project that still have objects in the namespace, what is retained aside."""
    out = []
    for key in store.keys("Application", env.namespace):
        for found in cluster.children(key):
            metadata = found["metadata"]
            retained = (metadata.get("annotations") or {}).get(labels.DELETION_POLICY) == "Retain"
            if metadata.get("namespace") == namespace and not retained and not cluster.is_going(metadata["uid"]):
                out.append(key.name)
                break
    return sorted(out)


async def remaining_claims(cluster: Cluster, namespace: str) -> tuple[list[str], list[str]]:
    """The claims in a namespace that are not being deleted, and those of them whose volume says ``Retain`` itself.

    To be asked when the applications have left. Asks the API server: StatefulSets make claims too. Theirs carry no
    policy of ours; those that are to go belong to their StatefulSet and go with it, so what is on its own is to stay.
    """
    items, _ = await cluster.client.list(types.PERSISTENT_VOLUME_CLAIM, namespace, metadata_only=True)
    there = [item["metadata"] for item in items if not item["metadata"].get("deletionTimestamp")]
    return sorted(m["name"] for m in there), sorted(m["name"] for m in there if _says_retain(m))


def _says_retain(metadata: Mapping[str, Any]) -> bool:
    if (metadata.get("annotations") or {}).get(labels.DELETION_POLICY) == "Retain":
        return True
    return labels.APPLICATION in (metadata.get("labels") or {}) and not metadata.get("ownerReferences")


def project(
    resource: Resource[ProjectSpec],
    store: Store,
    clusters: Clusters,
    activity: list[Mapping[str, Any]],
    now: datetime,
) -> ProjectWorld:
    """What a Project's plan depends on."""
    return ProjectWorld(
        now=now,
        environments=list(store.valid("Environment", resource.namespace)),
        applications=list(store.valid("Application", resource.namespace)),
        live=children(clusters, resource.key),
        namespace=clusters.home.get(types.NAMESPACE, None, resource.namespace),
        activity=activity,
        invalid=[
            *store.invalid("Environment", resource.namespace),
            *store.invalid("Application", resource.namespace),
        ],
    )
