"""What one reconciliation may use: caches, the API server, the queue, the clock. Wiring only; no rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from homeport.api import labels
from homeport.api.labels import OwnerKey
from homeport.api.resource import Resource
from homeport.drivers.git import Git
from homeport.drivers.kubernetes import types
from homeport.drivers.kubernetes.cluster import Cluster
from homeport.engine.agents import Agents
from homeport.engine.allocations import Allocations
from homeport.engine.backups.hooks import Hooks
from homeport.engine.backups.hosttasks import HostWork
from homeport.engine.catalog import Catalog
from homeport.engine.catalogitems import SYSTEM, CatalogItems
from homeport.engine.claims import Claims
from homeport.engine.clusters import Clusters
from homeport.engine.gitops.hub import Hub
from homeport.engine.hosts import Hosts
from homeport.engine.lxc.known import Containers
from homeport.engine.lxc.probes import Prober
from homeport.engine.lxc.shells import Shells
from homeport.engine.lxc.sight import Sight
from homeport.engine.notify.notices import Notices
from homeport.engine.observe import Readers
from homeport.engine.store import Store
from homeport.plan.world import ChildKey


class Enqueue(Protocol):
    """Puts a key into the queue."""

    def __call__(self, key: OwnerKey, priority: int = ..., after: float = ...) -> None:
        """``priority`` 0 is the most urgent; ``after`` is in seconds."""


class Notify(Protocol):
    """Tells of a transition (an Event)."""

    def __call__(self, resource: Resource[Any], reason: str, message: str, warning: bool) -> None:
        """``reason`` is one of the closed list; nothing secret is in ``message``."""


def utc_now() -> datetime:
    """The time, with its zone."""
    return datetime.now(UTC)


@dataclass
class Progress:
    """Since when a resource is under way, and when that was last written (monotonic seconds)."""

    since: float
    written: float | None = None


@dataclass
class Context:
    """What one reconciliation may use."""

    store: Store
    cluster: Cluster
    enqueue: Enqueue
    notify: Notify
    clock: Callable[[], float]
    """Monotonic, in seconds."""
    now: Callable[[], datetime] = utc_now
    drift_mended: Callable[[str, int], None] = lambda kind, count: None
    claims: Claims = field(default_factory=Claims)
    catalog: Catalog = field(default_factory=Catalog)
    """The catalog's items, and what they made; nothing is loaded before an application names one."""
    readers: Readers = field(default_factory=dict)
    in_step: dict[ChildKey, tuple[str, str]] = field(default_factory=dict)
    """Children that were compared and found as wanted: (digest of what is wanted, resourceVersion of what is there)."""
    progress: dict[OwnerKey, Progress] = field(default_factory=dict)
    written: dict[OwnerKey, str] = field(default_factory=dict)
    """The resourceVersion that our last write to a resource was answered with."""
    sent: dict[OwnerKey, tuple[str, frozenset[str]]] = field(default_factory=dict)
    """That version, and the fields of the status that was written."""
    recorded: dict[OwnerKey, tuple[tuple[str, int, str], int]] = field(default_factory=dict)
    """Specs that were kept: (uid, generation, name of the revision) and its number, until the status tells of it."""
    activity: dict[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    """By project: changes that its log doesn't have yet."""
    dropped: dict[str, tuple[frozenset[str], float]] = field(default_factory=dict)
    """By kind: the status fields of our last write that didn't come back, for the cluster's definition doesn't know
    them, and until when that is believed (monotonic seconds)."""
    reports: Callable[[Resource[Any]], bool] = lambda resource: True
    """Whether a resource's status is ours to write; what isn't is only read."""
    elsewhere: Callable[..., None] = lambda gvk, kind, before, after: None
    """Told of every change in another cluster."""
    control_plane: str = ""
    """What this control plane is called in other clusters; empty for the UID of its own kube-system."""
    system_namespace: str = SYSTEM
    """The operator's own: CatalogItems in it are every project's."""
    runner_image: str = ""
    """The image of the backup runner; without it no backup is taken on Kubernetes."""
    git: Git = field(default_factory=Git)
    catalog_items: CatalogItems = field(init=False)
    """Items that are objects in the cluster."""
    clusters: Clusters = field(init=False)
    """All clusters that environments live in, ``cluster`` (this one) among them."""

    hosts: Hosts = field(init=False)
    """The Proxmox VE hosts; none is talked to before somebody says how (``hosts.connect``)."""
    allocations: Allocations = field(init=False)
    """VMIDs, addresses and nodes of LXCContainers."""

    containers: Containers = field(init=False)
    """What was read of LXC containers, and the tasks that are at work on them ."""

    host_work: HostWork = field(default_factory=HostWork)
    """Tasks of runs and restores on hosts that no status has yet."""

    images: Any = None
    """Makes templates of images (``engine.lxc.images``); None where images aren't pulled."""

    gitops: Hub = field(init=False)
    """What GitSources share: mirrors, builds, the applier."""

    hooks: Hooks = field(init=False)
    """Hooks of backups that run."""

    notices: Notices = field(init=False)
    """Who is told of what happens."""

    agents: Agents = field(init=False)
    """The agents in containers; none can connect before it listens (``agents.serve``)."""

    def _heard(self, gvk: Any, kind: str, before: Any, after: Any) -> None:
        self.elsewhere(gvk, kind, before, after)

    def __post_init__(self) -> None:
        self.clusters = Clusters(self.cluster, self._heard, self.enqueue, self.control_plane)
        self.hosts = Hosts(self.cluster, self.store, self.enqueue, self.clock)
        self.allocations = Allocations(self.store, self.hosts, self.enqueue)
        self.agents = Agents(self.enqueue, self.clock)
        self.hooks = Hooks(self.enqueue)
        self.notices = Notices(self.enqueue, self.clock, self.now, self.system_namespace)
        self.gitops = Hub(self)
        prober, shells = Prober(self.enqueue, self.clock), Shells(self.enqueue, self.clock)
        self.containers = Containers(Sight(self.clock), prober, shells)
        self.catalog.cluster = self.catalog_items = CatalogItems(
            self.store, self.catalog.renderer, self.system_namespace, self.git
        )

    async def apply_self(self, resource: Resource[Any], metadata: Mapping[str, Any]) -> None:
        """Server-side apply on a resource of ours: its finalizer, or nothing, which takes it off."""
        gvk = types.by_kind(labels.API_VERSION, resource.kind)
        body = {
            "apiVersion": labels.API_VERSION,
            "kind": resource.kind,
            "metadata": {**resource.key.metadata(), "uid": resource.uid, **metadata},
        }
        manager = labels.CONTAINER_MANAGER if resource.kind == "LXCContainer" else labels.MANAGER
        found = await self.cluster.client.apply(gvk, resource.namespace, resource.name, body, manager=manager)
        self.written[resource.key] = found["metadata"]["resourceVersion"]

    def unknown_fields(self, kind: str) -> frozenset[str]:
        """The fields of a kind's status that the cluster's definition doesn't know; none once that may have changed."""
        names, until = self.dropped.get(kind, (frozenset[str](), 0.0))
        return names if self.clock() < until else frozenset()

    def look_again_at_once(self, key: OwnerKey, priority: int) -> None:
        """Go on with what this reconciliation writes down. Where that isn't kept, there is nothing to go on with."""
        if not self.unknown_fields(key.kind):
            self.enqueue(key, priority, 0.0)

    def activity_of(self, project: str) -> list[Mapping[str, Any]]:
        """Changes in a project that this process has seen; merging drops those that the log already has."""
        return list(self.activity.get(project, ()))

    def forget(self, key: OwnerKey) -> None:
        """Let go of all that is remembered of a resource that is gone."""
        for other in self.claims.forget(key):
            self.enqueue(other)
        self.progress.pop(key, None)
        self.written.pop(key, None)
        self.sent.pop(key, None)
        self.recorded.pop(key, None)
        self.hosts.forget(key)
        self.allocations.forget(key)
        self.agents.forget_all(key)
        self.containers.forget(key)
        self.host_work.forget(key)
        self.catalog_items.forget(key)
        self.hooks.forget(key)
        self.rest(key)
        self.gitops.forget(key)
        for readers in self.readers.values():
            readers.discard(key)

    def rest(self, key: OwnerKey) -> None:
        """Let go of what goes on in the background for a resource that is gone or suspended."""
        self.notices.forget(key)
        self.gitops.rest(key)
