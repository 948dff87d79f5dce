"""Wiring: from settings to a running operator, and from SIGTERM to a clean end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from homeport import __version__, logs
from homeport.api.resource import Resource
from homeport.drivers.kubernetes import config as client_config
from homeport.drivers.kubernetes.client import Client
from homeport.drivers.kubernetes.cluster import Cluster
from homeport.drivers.kubernetes.errors import ApiError
from homeport.drivers.notify import Guard
from homeport.drivers.oci import program
from homeport.drivers.proxmox.config import HostConfig
from homeport.drivers.proxmox.host import Host
from homeport.drivers.proxmox.protocol import ProxmoxHost
from homeport.engine import storemetrics
from homeport.engine.engine import Engine
from homeport.engine.events import EventRecorder
from homeport.engine.images import Images
from homeport.engine.leader import Leader
from homeport.engine.leftovers import Leftovers
from homeport.engine.lxc.images import ContainerImages
from homeport.engine.metrics import Metrics
from homeport.engine.notify.ways import Ways
from homeport.engine.serve import Server
from homeport.handlers.door import Door
from homeport.loops import loop_factory
from homeport.plan.proxmox.readings import Identity
from homeport.settings import Settings, lease_name

log = logging.getLogger("homeport")

WATCH_SILENT = 180.0
"""Seconds without a sign of life (a bookmark comes each minute) after which a watch counts as dead."""
AUDIT_INTERVAL = 15.0
"""Seconds between two looks whether the watches of our own kinds keep up."""
REOPENINGS = 2
"""How often a watch that is behind is opened anew before only a restart is thought to help."""
AUDIT_SOON = 6.0
"""Seconds until the second look at what was behind in the first."""
START_TIMEOUT = 300.0
"""Seconds that the caches may take to fill."""
SHUTDOWN_GRACE = 4.0
"""Seconds that reconciliations in flight get to finish after SIGTERM."""


def run(settings: Settings) -> int:
    """Run the operator until it is told to stop; the process's exit code."""
    logs.configure(settings.log_format, settings.log_level)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(Operator(settings).run())


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
            control_plane=settings.control_plane,
            system_namespace=settings.lease_namespace,
            notify=self._notify,
            on_outcome=self.metrics.observe_reconcile,
            on_wait=self.metrics.observe_wait,
            on_drift=self.metrics.mended,
        )
        self.events.on_event = self.engine.context.notices.heard
        self.engine.context.notices.ways = Ways(Guard(settings.notify_allow))
        self.engine.context.hosts.connect = self._connect_host
        self.engine.context.reports = self._reports
        self.engine.context.runner_image = settings.runner_image
        mirrors = self.engine.context.gitops.mirrors
        mirrors.folder = Path(settings.data_dir, "git") if settings.data_dir else None
        mirrors.observe = self.metrics.observe_git
        self.images = Images(
            self.engine.context.enqueue,
            self.engine.context.clock,
            partial(program.read, program.folder(settings.init_dir)),
        )
        self.images.mirrors = dict(mirror.split("=", 1) for mirror in settings.registry_mirror)
        self.engine.context.gitops.registries.mirrors = self.images.mirrors
        self.engine.context.images = ContainerImages(self.images, self.engine.context)
        self.leftovers = Leftovers(self.engine.context, self.images, lambda: self.leading)
        self.engine.context.agents.url = settings.agent_url.rstrip("/")
        self._listening: asyncio.Task[None] | None = None
        self.leader: Leader | None = None
        self.leading = False
        self.synced = False
        self._reopened = 0
        self.stopping = asyncio.Event()
        self.behind: list[str] = []
        self._door = Door(self.engine.seen, self.config, settings)
        self._term: int | None = None

    def _cluster_event(self, gvk: Any, kind: str, before: Any, after: Any) -> None:
        self.engine.cluster_event(gvk, kind, before, after)

    def _connect_host(self, config: HostConfig, *, identity: Identity | None) -> ProxmoxHost:
        return Host(config, identity=identity, on_call=self.metrics.observe_host_call)

    def _selects(self, body: Mapping[str, Any]) -> bool:
        # Cluster-scoped ones are for an operator of the whole cluster: two would write one status.
        wanted, namespace = self.settings.namespaces, body["metadata"].get("namespace")
        if body.get("kind") == "CatalogItem" and namespace == self.settings.lease_namespace:
            return True
        return not wanted or namespace in wanted

    def _reports(self, resource: Resource[Any]) -> bool:
        """Whether a CatalogItem's status is ours to write: operators that only use it would write over each other."""
        if resource.kind != "CatalogItem":
            return True
        wanted = self.settings.namespaces
        shard = (term.replace("==", "=").partition("=") for term in (self.settings.shard or "").split(",") if term)
        return (not wanted or resource.namespace in wanted) and all(
            resource.labels.get(key.strip()) == value.strip() for key, _, value in shard
        )

    def _notify(self, resource: Resource[Any], reason: str, message: str, warning: bool) -> None:
        about = {
            "apiVersion": "homeport.dev/v1alpha1",
            "kind": resource.kind,
            "metadata": {**resource.key.metadata(), "uid": resource.uid},
        }
        self.events.record(about, str(reason), message, type="Warning" if warning else "Normal")

    # -- its life -------------------------------------------------------------------------------------------------

    async def run(self) -> int:
        """Serve, watch, wait for leadership, work; then stop in the reverse order."""
        self._catch_signals()
        self._connect_metrics()
        server = Server(self.settings.listen, health=self.health, ready=self.readiness, metrics=self.metrics.render)
        await server.start()
        if self.settings.webhook_listen:
            self.engine.context.gitops.hooks.leading = lambda: self.leading
            await self.engine.context.gitops.hooks.start(self.settings.webhook_listen)
        log.info("homeport %s as %s", __version__, self.identity)
        try:
            return await self._serve()
        finally:
            await server.stop()
            await self.engine.context.gitops.hooks.stop()
            await self.client.close()

    async def _serve(self) -> int:
        door = asyncio.create_task(self._door.forever(self.stopping), name="kopf")
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
                asyncio.create_task(self._probe_forever(), name="probe"),
                asyncio.create_task(self.leftovers.forever(), name="leftovers"),
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
            self._door.stop()
            await self.engine.context.clusters.stop()
            await self.engine.context.hosts.stop()
            await self.engine.context.notices.close()
            await self.images.stop()
            await self.engine.context.gitops.stop()
            await self._stop_agents()
            await self.cluster.stop()
            with contextlib.suppress(Exception, asyncio.CancelledError):
                await asyncio.wait_for(door, 1.5)
            stop.cancel()
            log.info("stopped")

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
        if self.settings.agent_url:
            serving = self.engine.context.agents.serve(
                self.cluster, self.settings.lease_namespace, self.settings.agent_listen
            )
            self._listening = asyncio.create_task(serving, name="agents")

    async def _stopped(self) -> None:
        self.leading = False
        if not self.stopping.is_set():
            log.warning("leadership lost: nothing is written until it is regained")
            await self._stop_agents()
            await self.engine.rest()

    async def _stop_agents(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.wait({self._listening})
        await self.engine.context.agents.stop()
        self.engine.context.containers.shells.close()

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
                    self._door.reopen(self.behind)
                else:
                    self._reopened = 0

    async def _probe_forever(self) -> None:
        while True:
            await asyncio.sleep(AUDIT_INTERVAL)
            await self.engine.context.clusters.probe()

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
        self.metrics.resources = partial(storemetrics.resources, self.engine.store)
        self.metrics.hosts = self.engine.context.hosts.readings
        self.metrics.backups = partial(storemetrics.backups, self.engine.store)
        mirrors = self.engine.context.gitops.mirrors
        self.metrics.repositories = lambda: (len(mirrors), mirrors.failing)
        self.metrics.deliveries = lambda: self.engine.context.gitops.hooks.count
        self.metrics.backup_repositories = partial(storemetrics.repositories, self.engine.store)

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
