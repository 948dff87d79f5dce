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
from homeport.api.proxmoxhost import ProxmoxHostSpec
from homeport.api.resource import InvalidSpec, Resource
from homeport.drivers.kubernetes import types
from homeport.drivers.kubernetes.cluster import Cluster
from homeport.engine.claims import Claims
from homeport.engine.clusters import Clusters
from homeport.engine.hosts import Hosts
from homeport.engine.store import Store
from homeport.outcome import Wait
from homeport.plan import environment_place, environment_proxmox, render, route_claims
from homeport.plan.backup import final
from homeport.plan.backup import repository as repositories
from homeport.plan.capabilities import Capabilities, IngressClass
from homeport.plan.gitops.source import secrets_of
from homeport.plan.proxmox_app import guests
from homeport.plan.types import Child, Place, Versions, object_id
from homeport.plan.world import (
    ApplicationWorld,
    ChildKey,
    EnvironmentWorld,
    HostWorld,
    Live,
    Missing,
    ProjectWorld,
)

_DEFAULT_CLASS = "ingressclass.kubernetes.io/is-default-class"

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
        neighbours={place.name: _neighbours(app, place, clusters.home) for place in places if place.on_proxmox},
        archived=(project := project_of(store, app.namespace)) is not None and final.lets_go(project),
        quiesced=_quiesced(app, store),
    )


def _quiesced(app: Resource[ApplicationSpec], store: Store) -> frozenset[tuple[str, str]]:
    """Environments and components of an application that a Restore has scaled to zero. One that is being deleted holds
    on to them until it is gone: its runner may be writing still."""
    out = set()
    for key in store.keys("Restore", app.namespace):
        for entry in store.status(key).get("quiesced") or ():
            application, environment, component = entry.split("/")
            if application == app.name:
                out.add((environment, component))
    return frozenset(out)


def _neighbours(app: Resource[ApplicationSpec], place: Place, cluster: Cluster) -> guests.Used:
    """What other applications' containers take in an environment on Proxmox VE."""
    found = [body for body in cluster.children_of(types.LXC_CONTAINER) if labels.owner_of(body) != app.key]
    there = (guests.used(body) for body in found if body["metadata"].get("namespace") == place.namespace)
    return sum(there, guests.Used())


def capabilities(cluster: Cluster) -> Capabilities:
    """What a cluster offers beyond Kubernetes's own kinds."""
    defaults = []
    classes = {}
    for found in cluster.classes(types.INGRESS_CLASS):
        name, annotations = found["metadata"]["name"], found["metadata"].get("annotations") or {}
        allowed = (header.strip() for header in annotations.get(labels.ALLOWED_HEADERS, "").split(","))
        controller = (found.get("spec") or {}).get("controller", "")
        classes[name] = IngressClass(controller, frozenset(header for header in allowed if header))
        if annotations.get(_DEFAULT_CLASS) == "true":
            defaults.append(name)
    return Capabilities(
        apis=cluster.served(),
        ingress_classes=classes,
        default_ingress_class=defaults[0] if len(defaults) == 1 else None,
        gateway_classes=frozenset(found["metadata"]["name"] for found in cluster.classes(types.GATEWAY_CLASS)),
    )


def served(store: Store, clusters: Clusters, claims: Claims) -> None:
    """Take note of the hosts that are served already: they stay with who serves them, whoever is looked at first."""
    for reference, cluster in clusters.connected():
        for ingress in (*cluster.children_of(types.INGRESS), *cluster.children_of(types.HTTP_ROUTE)):
            owner = labels.owner_of(ingress, cluster.plane)
            body = store.body(owner) if owner is not None else None
            if owner is not None and body is not None:
                created = str(body["metadata"].get("creationTimestamp", ""))
                claimed = route_claims.claims([Child(dict(ingress), cluster=reference)])
                claims.register(owner, created, [*claims.of(owner), *claimed])


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
            absent = name not in unusable
            missing.append(Missing(name, Wait(Reason.DEPENDENCY_NOT_READY, text), absent=absent))
        elif env.deleted_at is not None:
            continue
        elif env.spec.template:
            continue  # how it is in previews; nothing runs in a template
        elif env.status.get("namespace") != environment_place.namespace_of(env):
            text = f"Environment {name} isn't set up yet{_why(env)}"
            missing.append(Missing(name, Wait(Reason.DEPENDENCY_NOT_READY, text)))
        elif (unreachable := clusters.ensure(environment_place.cluster_of(env), app.key)) is not None:
            missing.append(Missing(name, unreachable))
        else:
            cluster = clusters.identity(environment_place.cluster_of(env))
            there_is = capabilities(clusters[cluster])
            places.append(environment_place.place_of(env, final.lets_go(project), cluster, there_is))
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
    home, reference = clusters.home, environment_place.cluster_of(env)
    versions = SeenVersions(home, env.namespace, env.key, readers)
    unreachable = clusters.ensure(reference, env.key)
    identity = clusters.identity(reference) if unreachable is None else ""
    cluster = clusters[identity] if unreachable is None else None
    if reference:
        # Listen for the kubeconfig's Secret: a new one leads to a new connection.
        versions.get(("Secret", reference.split("/")[1]))
    siblings = [other for other in store.valid("Environment", env.namespace) if other.deleted_at is None]
    namespace = environment_place.namespace_of(env)
    return EnvironmentWorld(
        now=now,
        project=project_of(store, env.namespace),
        siblings=siblings,
        applications=list(store.valid("Application", env.namespace)),
        live=children(clusters, env.key),
        namespace=cluster.get(types.NAMESPACE, None, namespace) if cluster is not None else None,
        project_namespace=home.get(types.NAMESPACE, None, env.namespace),
        secrets={name: found for name in sources if (found := versions.get(("Secret", name))) is not None},
        private=private(env.namespace, siblings, home, sources, store),
        tenants=_tenants(env, namespace, store, cluster) if cluster is not None else (),
        cluster=identity,
        capabilities=capabilities(cluster) if cluster is not None else Capabilities(),
        plane=cluster.plane if cluster is not None else "",
        unreachable=unreachable,
        host=_host_of(env, store),
    )


def _host_of(env: Resource[EnvironmentSpec], store: Store) -> Resource[ProxmoxHostSpec] | None:
    """The ProxmoxHost that an environment names, as its status tells of it."""
    name = environment_proxmox.host_of(env.spec)
    if name is None:
        return None
    found, error = store.look(OwnerKey("ProxmoxHost", "", name))
    return found if error is None else None


def private(
    namespace: str,
    siblings: list[Resource[EnvironmentSpec]],
    cluster: Cluster,
    names: set[str],
    store: Store,
) -> dict[str, str]:
    """Which Secrets of a project's namespace stay there, and why: what whoever writes Homeport's kinds may use, and may
    not read. ``siblings``: the project's environments."""
    out: dict[str, str] = {}
    for host in store.valid("ProxmoxHost", ""):
        ref = host.spec.credentials_secret_ref
        if ref.namespace == namespace and ref.name in names:
            out[ref.name] = f"it is the token of ProxmoxHost {host.name}"
    for name in names:
        found = cluster.metadata(types.SECRET, namespace, name)
        if found is None:
            continue
        if labels.PRIVATE in (found["metadata"].get("labels") or {}):
            out[name] = f"the label {labels.PRIVATE} says so"
        elif labels.SERVICE_ACCOUNT in (found["metadata"].get("annotations") or {}):
            out[name] = "it is a service account's token, which is good only in the namespace where it was made"
    for other in siblings:
        place = other.spec.kubernetes
        ref = place.kubeconfig_secret_ref if place else None
        if ref is not None and ref.name in names:
            out[ref.name] = f"it is the kubeconfig of environment {other.name}"
    for item in store.valid("CatalogItem", namespace):
        git = item.spec.git
        used = git.credentials_secret_ref if git is not None else None
        if used is not None and used.name in names:
            out[used.name] = f"CatalogItem {item.name} logs in with it"
    for source in store.valid("GitSource", namespace):
        out |= {name: f"GitSource {source.name} {why}" for name, why in secrets_of(source.spec) if name in names}
    for repository in store.valid("BackupRepository", namespace):
        out |= {name: f"it is a key of BackupRepository {repository.name}" for name in repositories.secrets(repository)
                if name in names}  # fmt: skip
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


async def remaining(cluster: Cluster, namespace: str) -> tuple[list[str], list[str]]:
    """What holds data in a namespace and isn't being deleted, and what of it says ``Retain`` itself: volumes' claims,
    and LXC containers that say so. A container that doesn't goes with its namespace, by its own policy.

    To be asked when the applications have left. Asks the API server: StatefulSets make claims too. Theirs carry no
    policy of ours; those that are to go belong to their StatefulSet and go with it, so what is on its own is to stay.
    """
    items, _ = await cluster.client.list(types.PERSISTENT_VOLUME_CLAIM, namespace, metadata_only=True)
    there = [item["metadata"] for item in items if not item["metadata"].get("deletionTimestamp")]
    kept = await _kept_containers(cluster, namespace)
    return sorted([*kept, *(m["name"] for m in there)]), sorted([*kept, *(m["name"] for m in there if _says_retain(m))])


async def _kept_containers(cluster: Cluster, namespace: str) -> list[str]:
    if not cluster.has(types.LXC_CONTAINER):
        return []
    items, _ = await cluster.client.list(types.LXC_CONTAINER, namespace)
    return [
        item["metadata"]["name"]
        for item in items
        if not item["metadata"].get("deletionTimestamp")
        and (item.get("spec") or {}).get("deletionPolicy", "Retain") == "Retain"
    ]


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
        containers=list(store.valid("LXCContainer", resource.namespace)),
        backups=list(store.valid("Backup", resource.namespace)),
        runs={key.name: store.status(key) for key in store.keys("BackupRun", resource.namespace)},
    )


async def host(
    resource: Resource[ProxmoxHostSpec], hosts: Hosts, clusters: Clusters, readers: Readers, now: datetime
) -> HostWorld:
    """What a ProxmoxHost's plan depends on: the last reading, which is waited for when it is the first.

    Whoever names a Secret hears when it changes.
    """

    def version(namespace: str, name: str) -> str | None:
        return SeenVersions(clusters.home, namespace, resource.key, readers).get(("Secret", name))

    seen = await hosts.settle(resource, version)
    return HostWorld(
        now, clusters.installation, seen.reading, seen.problem, backups=hosts.backup_storages(resource.name)
    )
