"""The Proxmox VE hosts: read in the background, each by its interval, and kept for whoever asks.

A reconciliation doesn't wait for a host: it takes what was last read, and a reading that ends wakes it. One reading is
one request, ``/cluster/resources``; what seldom changes (version, quorum, privileges, templates) is read anew every
five minutes, when somebody asks by a token, and when a node or a guest has come or gone.

Whoever uses a host (``ensure``) is woken by a reading that shows something of its own otherwise than it was:

=============================================  =========================================================
what a reading shows                           who is woken
=============================================  =========================================================
a guest came, went, or changed; usage aside    who has its VMID in its status
a node came, went, can('t) be reached          all users of the host
a template came                                those whose container hasn't been made
the host can't be used any more                all users; after a minute, if it may pass by itself
the host can be used again                     who was told that it can't
=============================================  =========================================================
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from homeport.api.base import interval_seconds
from homeport.api.conditions import Reason
from homeport.api.labels import OwnerKey
from homeport.api.proxmoxhost import ProxmoxHostSpec
from homeport.api.resource import Resource
from homeport.drivers.kubernetes.cluster import Cluster
from homeport.drivers.proxmox import errors
from homeport.drivers.proxmox.config import HostConfig
from homeport.drivers.proxmox.protocol import ProxmoxHost
from homeport.engine import hostlink
from homeport.engine.downloads import Downloads
from homeport.engine.hostaddresses import GuestAddresses
from homeport.engine.hostlink import Link
from homeport.engine.hostusers import Users
from homeport.engine.store import Store
from homeport.outcome import Outcome, Transient, Wait
from homeport.plan import host as host_plan
from homeport.plan.proxmox import changes
from homeport.plan.proxmox.addresses import Address
from homeport.plan.proxmox.readings import Identity
from homeport.plan.world import HostReading

log = logging.getLogger(__name__)

DETAILS = 300.0
"""Seconds after which also what seldom changes is read again."""
PATIENCE = 10.0
"""Seconds that a reconciliation waits for the first reading, or for one that a person has asked for; never else."""
AGAIN = 1.0
"""Seconds that lie between two tries at least, whoever asks."""
LOST = 60.0
"""Seconds after which a fault that may pass is a fault for those who use the host, too."""

SecretVersion = Callable[[str, str], str | None]
"""(namespace, name) of a Secret -> its version; None when it isn't there."""


class Connect(Protocol):
    """Makes the driver of a host. Raises ValueError for what can't be used."""

    def __call__(self, config: HostConfig, *, identity: Identity | None) -> ProxmoxHost:
        """``identity``: the cluster that it must be, once that is known."""
        ...


@dataclass(frozen=True)
class Seen:
    """What is known of a host now."""

    reading: HostReading | None = None
    problem: Outcome | None = None


class Hosts:
    """All hosts by name. ``connect`` is None where hosts aren't talked to (a plan on the command line)."""

    def __init__(
        self,
        home: Cluster,
        store: Store,
        wake: Callable[[OwnerKey], None],
        clock: Callable[[], float],
        connect: Connect | None = None,
    ) -> None:
        self.connect = connect
        self.users = Users(wake, store.status)
        self._home = home
        self._store = store
        self._wake = wake
        self._clock = clock
        self._links: dict[str, Link] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self.downloads = Downloads(clock)
        self.freed: Callable[[], None] = lambda: None
        """Told when guests have gone, and with them what they took up."""

    # -- for whoever uses a host -------------------------------------------------------------------------------------

    def ensure(self, name: str, user: OwnerKey) -> ProxmoxHost | Outcome:
        """The driver of a host that was read and can be used; else what to wait for or to mend.

        ``user`` is woken as the table above says, until it is forgotten. Returns at once.
        """
        found = self._usable(name)
        self.users.register(name, user, waits=isinstance(found, Outcome))
        return found

    def _usable(self, name: str) -> ProxmoxHost | Outcome:
        host, _ = self._store.look(OwnerKey("ProxmoxHost", "", name))
        if host is None:
            return Wait(Reason.DEPENDENCY_NOT_READY, f"ProxmoxHost {name} doesn't exist; an administrator makes it")
        if host.suspended:
            text = f"ProxmoxHost {name} is suspended: nothing on it is touched until its spec.suspend is false again"
            return Wait(Reason.DEPENDENCY_NOT_READY, text)
        link = self._links.get(name)
        if link is None or link.driver is None or link.reading is None or not link.fresh:
            if link is None or link.problem is None:
                # A restart or a new Secret is worth no word, unless it lasts.
                return Wait(Reason.PROGRESSING, f"ProxmoxHost {name} is being read")
            return Wait(Reason.DEPENDENCY_NOT_READY, f"ProxmoxHost {name}: {link.problem.message}")
        if link.problem is not None and self._is_lost(link):
            return Wait(Reason.DEPENDENCY_NOT_READY, f"ProxmoxHost {name}: {link.problem.message}")
        if link.trouble is not None:
            return Wait(Reason.DEPENDENCY_NOT_READY, f"ProxmoxHost {name}: {link.trouble.message}")
        return link.driver

    def _is_lost(self, link: Link) -> bool:
        """Whether a problem is more than a short break, which isn't worth a word from all who use the host."""
        if not isinstance(link.problem, Transient):
            return link.problem is not None
        return link.well_at is None or self._clock() - link.well_at >= LOST

    def driver(self, name: str) -> ProxmoxHost | Outcome:
        """As ``ensure``, for the host's own resource, which is woken by each of its readings."""
        return self._usable(name)

    def reading(self, name: str) -> HostReading | None:
        """What was last read of a host; None before the first time."""
        link = self._links.get(name)
        return link.reading if link is not None else None

    def problem(self, name: str, error: Exception) -> Outcome | None:
        """What a fault of a host means for who met it, with what the token lacks; None for one of our own."""
        host, _ = self._store.look(OwnerKey("ProxmoxHost", "", name))
        reading = self.reading(name)
        if host is None or host.spec is None or reading is None:
            return hostlink.problem(error)
        return hostlink.problem(error, host_plan.missing(host.spec, reading, self.backup_storages(name)))

    def backup_storages(self, name: str) -> tuple[str, ...]:
        """The storages of a host that backups are kept on: those that BackupRepositories and Backups name."""
        out = set()
        for key in self._store.keys("BackupRepository"):
            spec = (self._store.body(key) or {}).get("spec") or {}
            place = spec.get("proxmox") or {}
            if (place.get("hostRef") or {}).get("name") == name:
                out.add(str(place.get("storage")))
        return tuple(sorted(out))

    async def addresses(self, name: str) -> frozenset[Address]:
        """The addresses that the host's guests are configured with. Raises ``errors.ProxmoxError``."""
        driver, link = self._usable(name), self._links.get(name)
        if link is None or link.reading is None or isinstance(driver, Outcome):
            raise errors.Unreachable(
                0, driver.message if isinstance(driver, Outcome) else f"ProxmoxHost {name} is gone"
            )
        if link.addresses is None:
            link.addresses = GuestAddresses(self._clock)
        return await link.addresses.read(driver, link.reading.resources)

    # -- reading -----------------------------------------------------------------------------------------------------

    def look(self, resource: Resource[ProxmoxHostSpec], version: SecretVersion) -> Seen:
        """What is known now; begins to read when that is too old. Must be called in a running loop; returns at once."""
        if self.connect is None:
            return Seen()
        spec = resource.spec
        made_of: list[Any] = [resource.uid, spec.endpoints, spec.tls, spec.limits]
        for reference in filter(None, (spec.credentials_secret_ref, spec.tls.ca_secret_ref)):
            found = version(reference.namespace, reference.name)
            if found is None:
                self.drop(resource.name)
                where = f"Secret {reference.name} doesn't exist in namespace {reference.namespace}"
                text = f"{where}; create it, with {hostlink.keys(reference)}"
                return Seen(problem=Wait(Reason.DEPENDENCY_NOT_READY, text))
            made_of.append(found)
        link = self._links.get(resource.name)
        if link is None or link.made_of != tuple(made_of):
            link = self._renew(resource, tuple(made_of), link)
        if self._is_due(link, resource):
            link.asked = link.token != resource.reconcile_token or link.stale
            link.token, link.stale = resource.reconcile_token, False
            link.task = asyncio.create_task(self._read(link, resource), name=f"read {resource.name}")
        return Seen(link.reading, link.problem)

    def _renew(self, resource: Resource[ProxmoxHostSpec], made_of: tuple[Any, ...], before: Link | None) -> Link:
        """What the old link had read stays in use until the new one has read something."""
        self.drop(resource.name)
        same = before is not None and before.made_of[0] == resource.uid
        link = Link(made_of, reading=before.reading if before is not None and same else None)
        self._links[resource.name] = link
        return link

    def _is_due(self, link: Link, resource: Resource[ProxmoxHostSpec]) -> bool:
        if link.task is not None and not link.task.done():
            return False
        if link.read_at is None or link.token != resource.reconcile_token or link.stale:
            return True
        age = self._clock() - link.read_at
        # A fault that may pass is tried as often as the queue's backoff asks.
        return age >= (AGAIN if isinstance(link.problem, Transient) else interval_seconds(resource.spec.interval))

    async def settle(self, resource: Resource[ProxmoxHostSpec], version: SecretVersion) -> Seen:
        """As ``look``, after a reading that is worth waiting for.

        That is the first, so that a restart doesn't tell every host as not ready, and one that a person has asked for.
        """
        until = self._clock() + PATIENCE
        while True:
            seen, link = self.look(resource, version), self._links.get(resource.name)
            if link is None or link.task is None or link.task.done() or self._clock() >= until:
                return seen
            if link.read_at is not None and not link.asked:
                return seen
            await asyncio.wait({link.task}, timeout=until - self._clock())

    async def _read(self, link: Link, resource: Resource[ProxmoxHostSpec]) -> None:
        """Read, take down what came of it, and have the resource and whoever uses it looked at."""
        before = link.reading
        try:
            if link.driver is None:
                link.driver = await self._open(resource)
            link.reading = await self._reading(link, link.driver)
            link.problem, link.fresh, link.well_at = None, True, self._clock()
            link.trouble = host_plan.trouble(resource.spec, link.reading)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            link.problem = hostlink.problem(error)
            if link.problem is None:
                log.exception("reading %s failed", resource.key)
                text = f"internal error: {type(error).__name__}: {error}"
                link.problem = Transient(Reason.PROGRESSING_WITH_RETRY, text)
        link.read_at, link.asked = self._clock(), False
        if self._links.get(resource.name) is link:
            self._wake(resource.key)
            self._tell(resource.name, link, before)

    def _tell(self, name: str, link: Link, before: HostReading | None) -> None:
        """Wake the users whom what was just read, or couldn't be, concerns."""
        if link.problem is None and link.reading is not None:
            self.users.saw(name, before, link.reading)
            if before is not None and changes.gone(before.resources, link.reading.resources):
                self.freed()
        unusable = link.trouble is not None or (link.problem is not None and self._is_lost(link))
        if unusable and not link.told:
            self.users.all(name)
        elif not unusable and link.fresh:
            self.users.usable(name)
        link.told = unusable

    async def _reading(self, link: Link, driver: ProxmoxHost) -> HostReading:
        before, resources = link.reading, await driver.resources()
        now = self._clock()
        recent = link.problem is None and now - link.details_at < DETAILS and not link.asked
        same = before is not None and hostlink.outline(before.resources) == hostlink.outline(resources)
        if before is not None and link.details_at and recent and same:
            return replace(before, resources=resources)
        found = replace(await hostlink.details(driver, resources), firewall=await driver.firewall())
        link.details_at = now
        return found

    async def _open(self, resource: Resource[ProxmoxHostSpec]) -> ProxmoxHost:
        assert self.connect is not None
        config = await hostlink.config(resource.spec, self._home.client)
        driver = self.connect(config, identity=host_plan.identity(resource))
        driver.on_room(self._room)
        return driver

    def _room(self, owner: str) -> None:
        """Whoever had no room for a task has some now."""
        user = OwnerKey.parse(owner)
        if user is not None:
            self._wake(user)

    def refresh(self, name: str) -> None:
        """Have everything read again: something that is seldom read was changed just now."""
        link = self._links.get(name)
        if link is not None:
            link.stale = True
            self._wake(OwnerKey("ProxmoxHost", "", name))

    def readings(self) -> Mapping[str, HostReading | None]:
        """What was last read, by host; None of one that can't be read now. For metrics."""
        return {name: link.reading if link.problem is None else None for name, link in self._links.items()}

    # -- letting go --------------------------------------------------------------------------------------------------

    def forget(self, key: OwnerKey) -> None:
        """Let go of a host that is gone, or of a user."""
        if key.kind == "ProxmoxHost":
            self.drop(key.name)
            self.users.all(key.name)  # who uses it waits from now on, and says so
        for link in self._links.values():
            if link.driver is not None:
                link.driver.release(str(key))  # nobody follows its task any more
        self.users.forget(key)

    def drop(self, name: str) -> None:
        """Let go of a host."""
        link = self._links.pop(name, None)
        if link is None:
            return
        if link.task is not None:
            link.task.cancel()
        if link.driver is not None:
            closing = asyncio.create_task(link.driver.close(), name=f"close {name}")
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    async def stop(self) -> None:
        """Let go of all hosts."""
        for name in list(self._links):
            self.drop(name)
        await asyncio.gather(*self._closing, return_exceptions=True)
