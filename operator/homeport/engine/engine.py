"""Runs reconciliations: takes keys from the queue with N workers, and turns what they end in into what comes next."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from homeport.api import labels
from homeport.api.conditions import Reason
from homeport.api.kinds import KINDS
from homeport.api.labels import OwnerKey
from homeport.api.resource import Resource
from homeport.drivers.kubernetes import errors, types
from homeport.drivers.kubernetes.cluster import Cluster
from homeport.drivers.kubernetes.types import GVK
from homeport.drivers.kubernetes.watches import CHILD_KINDS, OPTIONAL_KINDS
from homeport.engine import activity, observe, triggers
from homeport.engine.catalogitems import SYSTEM
from homeport.engine.context import Context, utc_now
from homeport.engine.kinds import BY_NAME as KINDS_BY_NAME
from homeport.engine.queue import RESYNC, USER, Queue, QueueClosed
from homeport.engine.reconcile import reconcile
from homeport.engine.report import kept_fields
from homeport.engine.report import write as write_status
from homeport.engine.status import timestamp
from homeport.engine.store import Store, key_of
from homeport.outcome import Ok, Outcome, Stalled, Transient, Wait
from homeport.plan import environment_place
from homeport.plan import project as project_plan

log = logging.getLogger(__name__)

Body = Mapping[str, Any]
Observer = Callable[[str, str, float], None]
"""Told of each reconciliation: kind, outcome's name, seconds."""

FORBIDDEN_PAUSE = 30.0
"""Seconds before a resource that we may not write is tried again: rights come from elsewhere, without an event."""
SETTLE = 5.0
"""Seconds by which the watch of our own kinds may lag behind a list before it counts as behind."""


class Engine:
    """One operator's worth of reconciling. ``seen`` and ``cluster_event`` feed it; ``run`` works until cancelled."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        concurrency: int = 16,
        resync: float = 600.0,
        selects: Callable[[Body], bool] = lambda body: True,
        shard: str | None = None,
        control_plane: str = "",
        system_namespace: str = SYSTEM,
        notify: Any = None,
        on_outcome: Observer = lambda kind, outcome, seconds: None,
        on_wait: Callable[[float], None] | None = None,
        on_drift: Callable[[str, int], None] = lambda kind, count: None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self.store = Store()
        self.queue: Queue[OwnerKey] = Queue(paused=True, clock=clock, on_wait=on_wait)
        self.cluster = cluster
        self.context = Context(
            store=self.store,
            cluster=cluster,
            enqueue=self._enqueue,
            notify=notify or (lambda resource, reason, message, warning: None),
            clock=clock,
            now=now,
            drift_mended=on_drift,
            elsewhere=self.cluster_event,
            control_plane=control_plane,
            system_namespace=system_namespace,
        )
        self._concurrency = concurrency
        self._resync = resync
        self._selects = selects
        self._shard = shard
        self._on_outcome = on_outcome
        self._clock = clock
        self._behind: dict[OwnerKey, float] = {}
        self._workers: list[asyncio.Task[None]] = []

    def _enqueue(self, key: OwnerKey, priority: int = USER, after: float = 0.0) -> None:
        self.queue.add(key, priority, after)

    # -- what is seen ---------------------------------------------------------------------------------------------

    def seen(self, body: Body, gone: bool = False) -> None:
        """A resource of ours appeared, changed, or is gone. Called by the watch; returns at once."""
        if not self._selects(body):
            return
        key = key_of(body)
        before: Body | None
        after: Body | None
        if gone:
            before, after = self.store.remove(key) or body, None
        else:
            before, after = self.store.put(body), body
        self._note(key, before, after)
        triggers.resource_changed(before, after, self.context)

    def _note(self, key: OwnerKey, before: Body | None, after: Body | None) -> None:
        if not key.namespace:
            return
        found = activity.entry(before, after, timestamp(self.context.now()))
        if found is not None:
            # The newest by their time, whatever order they are told in: a restart must come to the same log.
            known = self.context.activity.get(key.namespace, ())
            self.context.activity[key.namespace] = project_plan.merge_activity(known, (found,))

    def cluster_event(self, gvk: GVK, kind: str, before: Body | None, after: Body | None) -> None:
        """Something in the cluster appeared, changed or is gone. Called by the informers; returns at once."""
        triggers.cluster_changed(gvk, before, after, self.context)

    # -- its life -------------------------------------------------------------------------------------------------

    def lead(self) -> None:
        """Begin to work: this process is the leader now. Every key is looked at once; claims are known before."""
        observe.served(self.store, self.context.clusters, self.context.claims)
        # The oldest first: whoever asked first for a host gets it.
        for key in sorted(self.store.keys(None), key=self._created):
            self.queue.add(key, RESYNC)
        for owner in self._orphans():
            self.queue.add(owner, RESYNC)
        self.queue.resume()

    def _created(self, key: OwnerKey) -> str:
        return str((self.store.body(key) or {}).get("metadata", {}).get("creationTimestamp", ""))

    def _orphans(self) -> set[OwnerKey]:
        """Owners of children whose resource is gone: its finalizer was taken off by force while we were away."""
        owners = set()
        for _, cluster in self.context.clusters.connected():
            for gvk in (*CHILD_KINDS, *OPTIONAL_KINDS):
                children = (labels.owner_of(child, cluster.plane) for child in cluster.children_of(gvk))
                owners |= {owner for owner in children if owner is not None and self.store.body(owner) is None}
        return owners

    async def connect(self, seconds: float = 20.0) -> None:
        """Reach the other clusters that environments live in, so that a restart doesn't take them for gone."""
        for key in self.store.keys("Environment"):
            resource, error = self.store.look(key)
            if resource is not None and error is None:
                self.context.clusters.ensure(environment_place.cluster_of(resource), key)
        await asyncio.gather(self.context.clusters.settle(seconds), self._read_first(seconds))

    async def _read_first(self, seconds: float) -> None:
        """Read items from Git, and hosts, so that a restart doesn't have anybody wait who waits for nothing."""
        reading = []
        for key in (*self.store.keys("CatalogItem"), *self.store.keys("ProxmoxHost")):
            resource, error = self.store.look(key)
            if resource is None or error is not None or resource.suspended:
                continue
            if key.kind == "ProxmoxHost" or resource.spec.git is not None:
                kind = KINDS_BY_NAME[key.kind]
                world = kind.observe(resource, self.context)
                reading.append(asyncio.create_task(kind.prepare(resource, world, self.context), name=str(key)))
        if reading:
            done, late = await asyncio.wait(reading, timeout=seconds)
            for task in late:
                task.cancel()
            for task in done:
                if (failed := task.exception()) is not None:
                    log.warning("%s can't be read yet: %s", task.get_name(), failed)

    def start(self) -> None:
        """Start the workers; they wait until ``lead``."""
        self._workers = [
            asyncio.create_task(self._work(), name=f"worker-{number}") for number in range(self._concurrency)
        ]

    async def rest(self) -> None:
        """Stop to lead: nothing is handed out, and what is in flight is broken off. ``lead`` takes it up again."""
        self.queue.pause()
        workers, self._workers = self._workers, []
        for task in workers:
            task.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        await self.context.notices.stop()
        self.start()

    async def stop(self, grace: float = 8.0) -> None:
        """Hand out nothing more, and give what is in flight ``grace`` seconds to finish."""
        self.queue.close()
        if self._workers:
            _, late = await asyncio.wait(self._workers, timeout=grace)
            for task in late:
                task.cancel()
            await asyncio.gather(*self._workers, return_exceptions=True)

    async def _work(self) -> None:
        while True:
            try:
                key = await self.queue.get()
            except QueueClosed:
                return
            try:
                await self.process(key)
            finally:
                self.queue.done(key)

    async def process(self, key: OwnerKey) -> Outcome:
        """Reconcile one key and arrange what comes next. Never raises but on cancellation."""
        started = self._clock()
        try:
            outcome = await reconcile(key, self.context)
        except errors.Forbidden as error:
            outcome = Stalled(Reason.ACCESS_DENIED, str(error))
            log.warning("%s: %s", key, error)
            self.queue.add(key, RESYNC, FORBIDDEN_PAUSE)
        except (errors.Conflict, errors.NotFound) as error:
            # Somebody was faster, or the resource is gone and its watch hasn't said so.
            outcome = Transient(Reason.PROGRESSING_WITH_RETRY, str(error))
            await self._look_up(key)
        except errors.ApiError as error:
            outcome = Transient(Reason.PROGRESSING_WITH_RETRY, str(error))
            log.warning("%s: %s", key, error)
        except Exception as error:
            # A fault of ours on one resource must not end the others; it is told, and tried again later and later.
            log.exception("%s: reconciling failed", key)
            outcome = Transient(Reason.PROGRESSING_WITH_RETRY, f"internal error: {type(error).__name__}: {error}")
            await self._confess(key, outcome)
        seconds = self._clock() - started
        self._on_outcome(key.kind, type(outcome).__name__, seconds)
        log.debug("%s: %s in %.3f s: %s", key, type(outcome).__name__, seconds, outcome.message)
        if isinstance(outcome, Transient):
            self.queue.backoff(key, RESYNC)
        else:
            self.queue.forget(key)
        return outcome

    async def _look_up(self, key: OwnerKey) -> None:
        """Ask the API server what is true of a resource now, when the watch seems to be behind."""
        try:
            body = await self.cluster.client.get(types.by_kind(labels.API_VERSION, key.kind), key.namespace, key.name)
        except errors.ApiError as error:
            log.info("%s: %s", key, error)
            return
        known = self.store.body(key)
        if body is not None:
            self.seen(body)
        elif known is not None:
            self.seen(known, gone=True)

    async def _confess(self, key: OwnerKey, outcome: Outcome) -> None:
        """Write an internal error into the status, if that is still possible."""
        resource, _ = self.store.look(key)
        if resource is None:
            return
        try:
            await self._report(resource, outcome)
        except Exception as error:  # the fault may be in the writing itself; the worker must live on
            log.warning("%s: the status can't be written: %s", key, error)

    async def _report(self, resource: Resource[Any], outcome: Outcome) -> None:
        fields, entries = kept_fields(resource)
        await write_status(resource, fields, outcome, self.context, inventory=entries)

    # -- looking at everything from time to time --------------------------------------------------------------------

    async def resync_forever(self) -> None:
        """Look at every resource each ``resync`` seconds, spread over that time; drift that no event told is found."""
        while True:
            await asyncio.sleep(self._resync)
            for _, cluster in self.context.clusters.connected():
                cluster.look_again()
            keys = self.store.keys()
            for number, key in enumerate(keys):
                self.queue.add(key, RESYNC, 0.5 * self._resync * number / max(len(keys), 1))

    async def missing(self) -> list[OwnerKey]:
        """Resources that the API server has and the watch hasn't told of yet. Raises ApiError without our CRDs."""
        out = []
        for kind in KINDS:
            items, _ = await self.cluster.client.list(
                types.by_kind(labels.API_VERSION, kind.name),
                labels=self._labels(kind.name),
                metadata_only=True,
                resource_version="0",
            )
            for item in items:
                key = OwnerKey(kind.name, item["metadata"].get("namespace") or "", item["metadata"]["name"])
                if self._selects({**item, "kind": kind.name}) and self.store.body(key) is None:
                    out.append(key)
        return out

    def _labels(self, kind: str) -> str | None:
        """What is listed of a kind: CatalogItems whatever their labels, as they are watched."""
        return None if kind == "CatalogItem" else self._shard

    def maybe_behind(self) -> bool:
        """Whether the last audit found something newer than what the watch had told, however briefly."""
        return bool(self._behind)

    async def audit(self) -> list[OwnerKey]:
        """Resources that a list shows newer than the watch has told for more than 5 s: the watch is behind.

        Lists metadata only, from the API server's own cache. Kopf's watches reconnect by themselves and don't say when
        they have gone silent, so their word is held against the API server's.
        """
        now = self._clock()
        behind: dict[OwnerKey, float] = {}
        listed: set[OwnerKey] = set()
        before = self.store.keys()
        for kind in KINDS:
            gvk = types.by_kind(labels.API_VERSION, kind.name)
            items, _ = await self.cluster.client.list(
                gvk, labels=self._labels(kind.name), metadata_only=True, resource_version="0"
            )
            for item in items:
                metadata = item["metadata"]
                key = OwnerKey(kind.name, metadata.get("namespace") or "", metadata["name"])
                known = self.store.body(key)
                listed.add(key)
                if not self._selects({**item, "kind": kind.name}):
                    continue
                if known is None or _newer(metadata["resourceVersion"], known["metadata"]["resourceVersion"]):
                    behind[key] = self._behind.get(key, now)
        for key in before:
            # Kopf lists anew after a 410 and says nothing of what went meanwhile.
            if key not in listed:
                await self._look_up(key)
        self._behind = behind
        return [key for key, since in behind.items() if now - since > SETTLE]

    def forget_unwatched(self) -> None:
        """Drop what only this process remembers of objects that are gone."""
        there = {key for key in self.context.in_step if self._has(key)}
        for key in set(self.context.in_step) - there:
            del self.context.in_step[key]
        for name in [name for name, readers in self.context.readers.items() if not readers]:
            del self.context.readers[name]

    def _has(self, key: Any) -> bool:
        reference, found = key
        gvk = next((g for g in types.KINDS if g.kind == found.kind and g.group == found.group), None)
        cluster = self.context.clusters.get(reference)
        if gvk is None or cluster is None:
            return False
        return cluster.get(gvk, found.namespace or None, found.name) is not None


def _newer(one: str, other: str) -> bool:
    try:
        return int(one) > int(other)
    except ValueError:
        return one != other


__all__ = ["Engine", "Ok", "Wait"]
