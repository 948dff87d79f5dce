"""Wiring: from settings to a running operator, and from SIGTERM to a clean end."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import kopf

from homeport import __version__, handlers, logs
from homeport.api.conditions import ConditionType
from homeport.api.resource import Resource
from homeport.drivers.kubernetes import config as client_config
from homeport.drivers.kubernetes.client import Client
from homeport.drivers.kubernetes.cluster import Cluster
from homeport.drivers.kubernetes.errors import ApiError
from homeport.engine.engine import Engine
from homeport.engine.events import EventRecorder
from homeport.engine.leader import Leader
from homeport.engine.metrics import Metrics
from homeport.engine.serve import Server

log = logging.getLogger("homeport")

WATCH_SILENT = 180.0
"""Seconds without a sign of life (a bookmark comes each minute) after which a watch counts as dead."""
AUDIT_INTERVAL = 15.0
"""Seconds between two looks whether the watches of our own kinds keep up."""
LEASE = "homeport-operator"
DOOR_PAUSE = 1.0
"""Seconds before the watch of our own kinds is opened anew."""
REOPENINGS = 2
"""How often a watch that is behind is opened anew before only a restart is thought to help."""
AUDIT_SOON = 6.0
"""Seconds until the second look at what was behind in the first."""
START_TIMEOUT = 300.0
"""Seconds that the caches may take to fill."""
SHUTDOWN_GRACE = 4.0
"""Seconds that reconciliations in flight get to finish after SIGTERM."""


@dataclass(frozen=True)
class Settings:
    """What the operator is told on the command line. Times are in seconds."""

    concurrency: int = 16
    resync_seconds: float = 600.0
    namespaces: tuple[str, ...] = ()
    shard: str | None = None
    log_format: str = "human"
    log_level: str = "info"
    listen: str = "0.0.0.0:8080"
    kubeconfig: str | None = None
    context: str | None = None
    lease_namespace: str = "homeport-system"
    leader_election: bool = True
    identity: str | None = None


def run(settings: Settings) -> int:
    """Run the operator until it is told to stop; the process's exit code."""
    logs.configure(settings.log_format, settings.log_level)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(Operator(settings).run())


def lease_name(settings: Settings) -> str:
    """The Lease of all replicas that do the same work; operators of different shards don't wait for each other."""
    if not settings.shard and not settings.namespaces:
        return LEASE
    scope = "\n".join((settings.shard or "", *sorted(settings.namespaces)))
    return f"{LEASE}-{hashlib.sha256(scope.encode()).hexdigest()[:8]}"


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where there is one; None for asyncio's own."""
    try:
        import uvloop  # noqa: PLC0415 - faster, and not there on every platform
    except ImportError:
        return None
    return uvloop.new_event_loop


class Operator:
    """Everything that runs, and how it is put together."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.identity = settings.identity or f"{socket.gethostname()}-{os.getpid()}"
        self.metrics = Metrics()
        self.config = client_config.load(settings.kubeconfig, context=settings.context)
        self.client = Client(
            self.config,
            connections=max(32, 2 * settings.concurrency),
            user_agent=f"homeport-operator/{__version__}",
            on_call=self.metrics.observe_call,
        )
        self.events = EventRecorder(self.client, instance=self.identity, repeat=0.0)
        self.cluster = Cluster(self.client, on_event=self._cluster_event)
        self.engine = Engine(
            self.cluster,
            concurrency=settings.concurrency,
            resync=settings.resync_seconds,
            selects=self._selects,
            shard=settings.shard,
            notify=self._notify,
            on_outcome=self.metrics.observe_reconcile,
            on_wait=self.metrics.observe_wait,
            on_drift=self.metrics.mended,
        )
        self.leader: Leader | None = None
        self.leading = False
        self.synced = False
        self._reopened = 0
        self._give_up_kopf: Callable[[str], None] = lambda reason: None
        self._break_kopf: Callable[[], object] = lambda: None
        self.stopping = asyncio.Event()
        self.behind: list[str] = []
        self._stop_kopf: Callable[[], None] = lambda: None
        self._term: int | None = None

    def _cluster_event(self, gvk: Any, kind: str, before: Any, after: Any) -> None:
        self.engine.cluster_event(gvk, kind, before, after)

    def _selects(self, body: Mapping[str, Any]) -> bool:
        wanted = self.settings.namespaces
        return not wanted or body["metadata"].get("namespace") in wanted

    def _notify(self, resource: Resource[Any], reason: str, message: str, warning: bool) -> None:
        about = {
            "apiVersion": "homeport.dev/v1alpha1",
            "kind": resource.kind,
            "metadata": {"name": resource.name, "namespace": resource.namespace, "uid": resource.uid},
        }
        self.events.record(about, str(reason), message, type="Warning" if warning else "Normal")

    # -- its life -------------------------------------------------------------------------------------------------

    async def run(self) -> int:
        """Serve, watch, wait for leadership, work; then stop in the reverse order."""
        self._catch_signals()
        self._connect_metrics()
        server = Server(self.settings.listen, health=self.health, ready=self.readiness, metrics=self.metrics.render)
        await server.start()
        log.info("homeport %s as %s", __version__, self.identity)
        try:
            return await self._serve()
        finally:
            await server.stop()
            await self.client.close()

    async def _serve(self) -> int:
        door = asyncio.create_task(self._door(), name="kopf")
        stop = asyncio.create_task(self.stopping.wait(), name="stop")
        background: list[asyncio.Task[Any]] = []
        try:
            start = asyncio.create_task(self._fill_caches(), name="caches")
            await asyncio.wait({start, stop, door}, return_when=asyncio.FIRST_COMPLETED)
            if not start.done() or stop.done():
                start.cancel()
                return 0 if stop.done() else 1
            start.result()
            self.events.start()
            self.engine.start()
            background += [
                asyncio.create_task(self.engine.resync_forever(), name="resync"),
                asyncio.create_task(self._audit_forever(), name="audit"),
            ]
            self._stand()
            election = self.leader.task if self.leader is not None else None
            await asyncio.wait({stop, door} | ({election} if election else set()), return_when=asyncio.FIRST_COMPLETED)
            if stop.done():
                return 0
            what = "the election" if election is not None and election.done() else "the watch of our own kinds"
            log.error("%s ended; stopping, to be started anew", what)
            return 1
        except TimeoutError as error:
            log.error("%s", error)
            return 1
        finally:
            log.info("stopping: finishing what is in flight")
            for task in background:
                task.cancel()
            await self.engine.stop(SHUTDOWN_GRACE)
            if self.leader is not None:
                try:
                    await self.leader.stop()
                except Exception:
                    log.exception("the election broke")
            await self.events.stop(1.0)
            self._stop_kopf()
            await self.engine.context.clusters.stop()
            await self.cluster.stop()
            with contextlib.suppress(Exception, asyncio.CancelledError):
                await asyncio.wait_for(door, 1.5)
            stop.cancel()
            log.info("stopped")

    async def _door(self) -> None:
        """The watches of our own kinds, opened anew whenever Kopf gives them up: it does so over a mere error event."""
        while not self.stopping.is_set():
            ended = await self._watch_ours()
            if self.stopping.is_set():
                return
            log.warning("the watch of our own kinds ended (%s); opening it anew", ended)
            await asyncio.sleep(DOOR_PAUSE)

    async def _watch_ours(self) -> str:
        """Kopf, as far as we use it, until it ends; why it did.

        It has a thread and a loop to itself: in ours it would take SIGTERM for itself, and when it ends, for whatever
        reason, it cancels every task that it doesn't know.
        """
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[str] = loop.create_future()

        def seen(body: Mapping[str, Any], gone: bool = False) -> None:
            loop.call_soon_threadsafe(self.engine.seen, body, gone)

        def tell(reason: str) -> None:
            if not ended.done():
                ended.set_result(reason)

        self._give_up_kopf = tell

        def work() -> None:
            try:
                with asyncio.Runner(loop_factory=loop_factory()) as runner:
                    runner.run(self._kopf(seen))
                reason = "it stopped"
            except BaseException as error:
                reason = f"{type(error).__name__}: {error}"
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(tell, reason)

        threading.Thread(target=work, name="kopf", daemon=True).start()
        return await ended

    async def _kopf(self, seen: handlers.Seen) -> None:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()

        def stop_kopf() -> None:
            with contextlib.suppress(RuntimeError):  # it has ended already
                loop.call_soon_threadsafe(stop.set)

        self._stop_kopf = stop_kopf
        self._break_kopf = lambda: loop.call_soon_threadsafe(loop.stop)
        registry = handlers.registry(seen)
        handlers.login(registry, self.config)
        namespaces = self.settings.namespaces
        await kopf.operator(
            registry=registry,
            settings=handlers.settings(self.settings.shard),
            standalone=True,
            clusterwide=not namespaces,
            namespaces=namespaces,
            stop_flag=stop,
        )

    async def _fill_caches(self) -> None:
        """Wait until children and resources have all been seen once. Survives an API server that isn't there yet."""
        while True:
            try:
                await self.cluster.start(START_TIMEOUT)
                break
            except ApiError as error:
                log.warning("the API server isn't ready: %s", error)
                await asyncio.sleep(1.0)
        last = 0
        while True:
            try:
                behind = len(await self.engine.missing())
                if not behind:
                    break
                if behind != last:
                    log.info("waiting to see %d resources", behind)
                    last = behind
            except ApiError as error:
                log.warning("our own kinds can't be listed: %s; are the CRDs installed?", error)
            await asyncio.sleep(0.2)
        await self.engine.connect()
        self.synced = True
        log.info("caches are filled: %d resources", len(self.engine.store))

    def _stand(self) -> None:
        if not self.settings.leader_election:
            self._started()
            return
        self.leader = Leader(
            self.client,
            self.settings.lease_namespace,
            lease_name(self.settings),
            identity=self.identity,
            on_started=self._started,
            on_stopped=self._stopped,
        )
        self.leader.start()

    def _started(self) -> None:
        term = self.leader.transitions if self.leader is not None else 0
        if self._term is not None and term > self._term + 1:
            # Another has led meanwhile. Only a new process is sure to remember nothing that the other has changed.
            log.error("another has led meanwhile; stopping, to be started anew")
            self.stopping.set()
            return
        log.info("leading: reconciling %d resources", len(self.engine.store))
        self._term = term
        self.leading = True
        self.engine.lead()

    async def _stopped(self) -> None:
        self.leading = False
        if not self.stopping.is_set():
            log.warning("leadership lost: nothing is written until it is regained")
            await self.engine.rest()

    async def _audit_forever(self) -> None:
        while True:
            # What is behind for the first time may just be under way: a second look tells.
            await asyncio.sleep(AUDIT_SOON if self.engine.maybe_behind() else AUDIT_INTERVAL)
            try:
                self.behind = [str(key) for key in await self.engine.audit()]
                self.engine.forget_unwatched()
            except ApiError as error:
                log.warning("the audit of our own watches failed: %s", error)
            else:
                if self.behind:
                    self._reopened += 1
                    self._reopen_door()
                else:
                    self._reopened = 0

    def _reopen_door(self) -> None:
        """Leave a watch of our own kinds that has fallen behind, and open another.

        Kopf (1.45) can hang in its own end: when a watch breaks while a request of another is under way, the callback
        that should cancel that request fails on an assertion, and nobody waits for less. A second one does no harm:
        what it tells is compared by version.
        """
        log.warning("the watch of our own kinds is behind on %s; opening it anew", ", ".join(self.behind[:3]))
        with contextlib.suppress(RuntimeError):  # its loop is closed: it has ended already
            self._break_kopf()
        self._give_up_kopf("it fell behind")

    # -- what it says of itself -------------------------------------------------------------------------------------

    def health(self) -> list[str]:
        """What a restart would mend."""
        ages = self.cluster.ages() if self.synced else {}
        wrong = [f"watch {name} silent for {age:.0f} s" for name, age in ages.items() if age > WATCH_SILENT]
        if self.behind and self._reopened > REOPENINGS:
            wrong.append(f"the watch of our own kinds is behind: {', '.join(sorted(self.behind)[:5])}")
        return wrong

    def readiness(self) -> list[str]:
        """What is missing before it can work, or take over."""
        if self.stopping.is_set():
            return ["stopping"]
        return [] if self.synced else ["the caches are not filled yet"]

    def _connect_metrics(self) -> None:
        self.metrics.queue_depth = self.engine.queue.depth
        self.metrics.queue_oldest = self.engine.queue.oldest_wait
        self.metrics.leader = lambda: self.leading
        self.metrics.watch_ages = self.cluster.ages
        self.metrics.events_dropped = lambda: dict(self.events.dropped)
        self.metrics.resources = self._count_resources

    def _count_resources(self) -> dict[tuple[str, bool], int]:
        out: dict[tuple[str, bool], int] = {}
        for key in self.engine.store.keys(None):
            body = self.engine.store.body(key) or {}
            ready = any(
                entry.get("type") == ConditionType.READY and entry.get("status") == "True"
                for entry in (body.get("status") or {}).get("conditions") or ()
            )
            out[key.kind, ready] = out.get((key.kind, ready), 0) + 1
        return out

    def _catch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._told_to_stop, number)

    def _told_to_stop(self, number: int) -> None:
        if self.stopping.is_set():
            log.warning("told to stop twice: stopping at once")
            sys.exit(1)
        log.info("%s: stopping", signal.Signals(number).name)
        self.stopping.set()
