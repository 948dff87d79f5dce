"""What one reconciliation may use: caches, the API server, the queue, the clock. Wiring only; no rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from homeport.api import labels
from homeport.api.labels import OwnerKey
from homeport.api.resource import Resource
from homeport.drivers.kubernetes import types
from homeport.drivers.kubernetes.cluster import Cluster
from homeport.engine.catalog import Catalog
from homeport.engine.claims import Claims
from homeport.engine.clusters import Clusters
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
    activity: dict[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    """By project: changes that its log doesn't have yet."""
    elsewhere: Callable[..., None] = lambda gvk, kind, before, after: None
    """Told of every change in another cluster."""
    clusters: Clusters = field(init=False)
    """All clusters that environments live in, ``cluster`` (this one) among them."""

    def _heard(self, gvk: Any, kind: str, before: Any, after: Any) -> None:
        self.elsewhere(gvk, kind, before, after)

    def __post_init__(self) -> None:
        self.clusters = Clusters(self.cluster, self._heard, self.enqueue)

    async def apply_self(self, resource: Resource[Any], metadata: Mapping[str, Any]) -> None:
        """Server-side apply on a resource of ours: its finalizer, or nothing, which takes it off."""
        gvk = types.by_kind(labels.API_VERSION, resource.kind)
        body = {
            "apiVersion": labels.API_VERSION,
            "kind": resource.kind,
            "metadata": {"name": resource.name, "namespace": resource.namespace, "uid": resource.uid, **metadata},
        }
        found = await self.cluster.client.apply(gvk, resource.namespace, resource.name, body)
        self.written[resource.key] = found["metadata"]["resourceVersion"]

    def activity_of(self, project: str) -> list[Mapping[str, Any]]:
        """Changes in a project that this process has seen; merging drops those that the log already has."""
        return list(self.activity.get(project, ()))

    def forget(self, key: OwnerKey) -> None:
        """Let go of all that is remembered of a resource that is gone."""
        for other in self.claims.forget(key):
            self.enqueue(other)
        self.progress.pop(key, None)
        self.written.pop(key, None)
        for readers in self.readers.values():
            readers.discard(key)
