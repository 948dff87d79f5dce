"""The clusters that environments live in: this one, and those that a kubeconfig in a Secret leads to.

An environment names a cluster by a *reference*, ``<namespace>/<secret>/<key>``, empty for this one. Where that leads is
the cluster's *identity*: the project and the UID of its namespace kube-system, empty for this one. Everything that is
made in a cluster goes by the identity, so that two Secrets for one cluster, or a Secret for this very one, do no harm.

Connecting happens in the background: whoever needs the cluster waits, and is looked at again when it is there.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from homeport.api.conditions import Reason
from homeport.api.labels import OwnerKey
from homeport.drivers.kubernetes import config, errors, types
from homeport.drivers.kubernetes.client import Client
from homeport.drivers.kubernetes.cluster import Cluster
from homeport.drivers.kubernetes.types import GVK
from homeport.outcome import Outcome, Stalled, Transient, Wait

log = logging.getLogger(__name__)

HOME = ""
PATIENCE = 20.0
"""Seconds that another cluster may take to be listed."""
PROBE_PATIENCE = 10.0
"""Seconds that another cluster may take to give a sign of life."""
SILENCES = 2
"""So many probes in a row without a sign of life make a cluster unreachable: a short break isn't worth a word."""

OnEvent = Callable[[GVK, str, Mapping[str, Any] | None, Mapping[str, Any] | None], None]


@dataclass
class _Link:
    """One reference's connection. ``identity`` is set once it has led somewhere."""

    version: str
    identity: str | None = None
    problem: Outcome | None = None
    silences: int = 0
    """Probes in a row that went without an answer."""
    task: asyncio.Task[None] | None = None
    waiting: set[OwnerKey] = field(default_factory=set)


class Clusters:
    """All clusters by identity. ``on_event`` hears of every change in the others, ``wake`` of who may go on."""

    def __init__(self, home: Cluster, on_event: OnEvent, wake: Callable[[OwnerKey], None], plane: str = "") -> None:
        self.home = home
        self.plane = plane
        """What this control plane is called in other clusters; empty for the UID of this cluster's kube-system."""
        self._on_event = on_event
        self._wake = wake
        self._links: dict[str, _Link] = {}
        self._others: dict[str, Cluster] = {}

    def identity(self, reference: str) -> str:
        """The identity of the cluster that a reference leads to. Raises ServerUnavailable when it isn't connected."""
        if reference == HOME:
            return HOME
        link = self._links.get(reference)
        if link is None or link.identity is None:
            raise errors.ServerUnavailable(0, "NotConnected", f"the cluster of Secret {reference} isn't connected")
        return link.identity

    def __getitem__(self, identity: str) -> Cluster:
        """A connected cluster. Raises ServerUnavailable when it isn't connected."""
        if identity == HOME:
            return self.home
        found = self._others.get(identity)
        if found is None:
            raise errors.ServerUnavailable(0, "NotConnected", f"the cluster {identity} isn't connected")
        return found

    def plane_in(self, identity: str) -> str:
        """What this control plane is called in a cluster; empty in its own, and in one that isn't connected."""
        cluster = self.get(identity)
        return cluster.plane if cluster is not None else ""

    def get(self, identity: str) -> Cluster | None:
        """A connected cluster; None when it isn't."""
        return self.home if identity == HOME else self._others.get(identity)

    def connected(self, project: str | None = None) -> list[tuple[str, Cluster]]:
        """Every cluster that can be asked (for a project: by its own connections), this one first."""
        others = [(i, c) for i, c in self._others.items() if project is None or i.partition(":")[0] == project]
        return [(HOME, self.home), *others]

    def ensure(self, reference: str, waiting: OwnerKey) -> Outcome | None:
        """Connect if that hasn't begun. None when the cluster can be used; else what to wait for or to mend.

        Must be called in a running event loop; returns at once.
        """
        if reference == HOME:
            return None
        namespace, name, key = reference.split("/")
        version = self.home.secret_version(namespace, name)
        if version is None:
            return Wait(
                Reason.DEPENDENCY_NOT_READY,
                f"Secret {name} doesn't exist in namespace {namespace}; create it, the kubeconfig under the key {key}",
            )
        link = self._links.get(reference)
        if link is None or link.version != version:
            # A new kubeconfig: what the old one led to stays in use until the new one has led somewhere.
            before = link.identity if link is not None else None
            link = self._links[reference] = _Link(version, before, waiting=set(link.waiting) if link else set())
            link.task = asyncio.create_task(self._connect(reference, link), name=f"connect {reference}")
        link.waiting.add(waiting)
        if link.problem is not None:
            return link.problem
        if link.identity is None:
            return Wait(Reason.DEPENDENCY_NOT_READY, f"connecting to the cluster of Secret {name}")
        return None

    async def _connect(self, reference: str, link: _Link) -> None:
        """Read the Secret, reach the cluster, fill its caches; then take the place of an older connection."""
        namespace, name, key = reference.split("/")
        client: Client | None = None
        cluster: Cluster | None = None
        try:
            secret = await self.home.client.get(types.SECRET, namespace, name)
            text = base64.b64decode(((secret or {}).get("data") or {}).get(key, ""), validate=True)
            if not text:
                raise config.KubeconfigError(f"it has no key {key}; put the kubeconfig there")
            client = Client(config.from_inline(text), user_agent="homeport-operator")
            cluster = Cluster(client, on_event=self._on_event, plane=self.installation)
            await cluster.start(PATIENCE)
            link.identity, kept = await self._adopt(namespace, cluster)
            log.info("the Secret %s leads to cluster %s", reference, link.identity or "(this one)")
            if kept:
                client = cluster = None
        except (config.KubeconfigError, binascii.Error) as error:
            link.problem = Stalled(Reason.INVALID_SPEC, f"the kubeconfig in Secret {name}: {error}")
        except (errors.Unauthorized, errors.Forbidden) as error:
            link.problem = Stalled(Reason.ACCESS_DENIED, f"the cluster of Secret {name}: {error}")
        except (errors.ApiError, TimeoutError) as error:
            link.problem = Transient(Reason.PROGRESSING_WITH_RETRY, f"the cluster of Secret {name}: {error}")
            # Forgotten, so that the next look tries again.
            link.version = ""
        finally:
            if cluster is not None:
                await cluster.stop()
            if client is not None:
                await client.close()
        for waiting in link.waiting:
            self._wake(waiting)

    async def _adopt(self, project: str, cluster: Cluster) -> tuple[str, bool]:
        """Which cluster this is, by the UID of its kube-system, and whether this connection to it is kept.

        Two Secrets of a project may lead to one cluster, and one may lead to this very cluster: an object must not be
        seen twice. Projects don't share a connection: what a far side says of itself proves nothing, and one project's
        rights there are not another's.
        """
        system = cluster.get(types.NAMESPACE, None, "kube-system")
        found = str(system["metadata"]["uid"]) if system is not None else ""
        if not found:
            raise errors.ServerUnavailable(0, "NoIdentity", "it has no namespace kube-system")
        if found == self._here():
            return HOME, False
        identity = f"{project}:{found}"
        before = self._others.get(identity)
        self._others[identity] = cluster
        if before is not None:
            await before.stop()
            await before.client.close()
        return identity, True

    @property
    def installation(self) -> str:
        """What this control plane is called elsewhere. Raises ServerUnavailable before this cluster is known."""
        return self.plane or self._here()

    def _here(self) -> str:
        """The UID of this cluster's kube-system. Raises ServerUnavailable when it isn't there."""
        system = self.home.get(types.NAMESPACE, None, "kube-system")
        if system is None:
            raise errors.ServerUnavailable(0, "NoIdentity", "this cluster has no namespace kube-system")
        return str(system["metadata"]["uid"])

    async def probe(self) -> None:
        """Ask the other clusters for a sign of life. Who uses one that gives none any more, or again, is woken.

        Watches alone don't tell: a cluster that has gone without closing its connections is only silent.
        """
        links = [(reference, link) for reference, link in self._links.items() if link.identity]
        await asyncio.gather(*(self._probe(reference, link) for reference, link in links))

    async def _probe(self, reference: str, link: _Link) -> None:
        cluster = self._others.get(link.identity or HOME)
        if cluster is None or (link.problem is not None and not link.silences):
            return
        before = link.problem
        name = reference.split("/")[1]
        try:
            async with asyncio.timeout(PROBE_PATIENCE):
                await cluster.client.get(types.NAMESPACE, None, "kube-system", metadata_only=True)
        except (errors.ApiError, TimeoutError) as error:
            link.silences += 1
            if link.silences >= SILENCES:
                said = str(error) or f"no answer in {PROBE_PATIENCE:g} s"
                text = f"the cluster of Secret {name}: {said}; what runs there is left as it is"
                refused = isinstance(error, errors.Unauthorized | errors.Forbidden)
                link.problem = (
                    Stalled(Reason.ACCESS_DENIED, text) if refused else Transient(Reason.PROGRESSING_WITH_RETRY, text)
                )
        else:
            link.silences, link.problem = 0, None
        if link.problem != before:
            log.warning("%s", link.problem.message if link.problem else f"the cluster of Secret {name} answers again")
            for waiting in link.waiting:
                self._wake(waiting)

    async def settle(self, seconds: float) -> None:
        """Wait until every connection that has begun has ended well or badly, for so long at most."""
        tasks = [link.task for link in self._links.values() if link.task is not None and not link.task.done()]
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)

    async def stop(self) -> None:
        """End the connections to other clusters."""
        for link in self._links.values():
            if link.task is not None:
                link.task.cancel()
        for cluster in self._others.values():
            await cluster.stop()
            await cluster.client.close()
        self._links.clear()
        self._others.clear()
