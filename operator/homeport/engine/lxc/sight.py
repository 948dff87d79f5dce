"""What is known of containers on hosts: read when something says that it changed, and kept.

A reading of the host (one request for all of it) tells of each container whether it runs, where it is, and what holds
it. As long as that is as it was, nothing more is asked; what a reading doesn't show (networks, mounts, features) is
looked at by an audit, one request a container each quarter of an hour or so.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from homeport.api.labels import OwnerKey
from homeport.drivers.proxmox import errors
from homeport.drivers.proxmox.protocol import ProxmoxHost
from homeport.plan.lxc.view import Absence, Seen
from homeport.plan.proxmox import changes
from homeport.plan.proxmox.readings import Guest, Resources

AUDIT = 900.0
"""Seconds after which a configuration is read again although nothing speaks for a change; a fifth more or less."""
UNSEEN = 30.0
"""Seconds after which one that isn't there is looked for again."""
STALE_LOCK = 60.0
"""Seconds that a lock must have been there before it is taken for one that was left behind."""


@dataclass
class _Known:
    """One container as it was read."""

    seen: Seen
    resources: Resources
    """The host's reading that was there then."""
    reads: tuple[Any, ...]
    """What the resource was then: its generation, and its token."""
    due: float
    read_at: float
    """When ``seen`` was read (monotonic seconds)."""
    searched: bool = True
    """Whether all was done to find it."""
    addresses: tuple[str, ...] | None = None
    locked_at: float | None = None

    def aged(self, now: float) -> Seen:
        """What was read, with the time since then added to how long the container runs: it restarted no later."""
        guest = self.seen.guest
        if guest is None or guest.uptime is None:
            return self.seen
        return replace(self.seen, guest=guest._replace(uptime=guest.uptime + round(now - self.read_at)))


class Sight:
    """All containers, by owner and VMID."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._readings = itertools.count(1)
        self._known: dict[tuple[OwnerKey, int], _Known] = {}

    def stale(self, key: OwnerKey) -> dict[tuple[OwnerKey, int], float]:
        """Something was changed: read it again before anything is decided. Answers what ``restore`` takes."""
        dues = {entry: known.due for entry, known in self._known.items() if entry[0] == key}
        for entry in dues:
            self._known[entry].due = 0.0
        return dues

    def restore(self, dues: Mapping[tuple[OwnerKey, int], float]) -> None:
        """Nothing was changed after all: what was read holds for as long as it did."""
        for entry, due in dues.items():
            if entry in self._known:
                self._known[entry].due = due

    def forget(self, key: OwnerKey) -> None:
        """Let go of what is known."""
        for entry in [entry for entry in self._known if entry[0] == key]:
            del self._known[entry]

    def kept(self, key: OwnerKey) -> frozenset[int]:
        """The readings that it is known by without asking: each as old as an audit lets it be."""
        return frozenset(known.seen.reading for (owner, _), known in self._known.items() if owner == key)

    def due_in(self, key: OwnerKey, vmid: int) -> float:
        """Seconds until the next audit."""
        known = self._known.get((key, vmid))
        return max(1.0, known.due - self._clock()) if known is not None else AUDIT

    async def see(
        self,
        key: OwnerKey,
        vmid: int,
        node: str,
        driver: ProxmoxHost,
        resources: Resources,
        reads: tuple[Any, ...],
        *,
        made: bool = True,
    ) -> Seen:
        """The container as it is; ``made``: whether it is known to have been. Raises ``errors.ProxmoxError`` when that
        can't be found out."""
        now, entry = self._clock(), (key, vmid)
        known = self._known.get(entry)
        searched = known is not None and (known.searched or not made)
        if known is not None and searched and known.reads == reads and not _differs(known, resources, vmid):
            if now < known.due:
                known.resources = resources
                return known.aged(now)
            if known.due and await self._audit(known, driver, vmid, now):
                return known.aged(now)
        before = known
        last = known.seen if known is not None else Seen()
        found = await look(driver, vmid, node, resources, last, made=made)
        seen = replace(found, reading=next(self._readings))
        due = now + AUDIT * random.uniform(0.8, 1.2)  # noqa: S311 - spreads load
        fresh = _Known(seen, resources, reads, due, read_at=self._clock(), searched=made or seen.here)
        fresh.locked_at = before.locked_at if before is not None else None
        if seen.lock is None:
            fresh.locked_at = None
        else:
            fresh.seen = await self._weigh_lock(fresh, driver, now)
        if seen.lock is not None:
            fresh.due = now + 5.0
        elif not seen.here:
            # When one comes a reading shows it; and Proxmox VE makes none where one is.
            fresh.due = now + (UNSEEN if made else AUDIT)
        self._known[entry] = fresh
        return fresh.seen

    async def _audit(self, known: _Known, driver: ProxmoxHost, vmid: int, now: float) -> bool:
        """One request: whether the configuration is still the same. Its digest covers what waits for a reboot, too."""
        seen = known.seen
        if seen.guest is None or seen.config is None or seen.lock is not None:
            return False
        config = await driver.config(seen.guest.node, vmid)
        if config.digest != seen.config.digest:
            return False
        known.due = now + AUDIT * random.uniform(0.8, 1.2)  # noqa: S311 - spreads load
        known.addresses = None
        return True

    async def _weigh_lock(self, known: _Known, driver: ProxmoxHost, now: float) -> Seen:
        """Whether a lock is somebody's at work, or was left behind: then no task is seen for a while."""
        seen = known.seen
        known.locked_at = known.locked_at if known.locked_at is not None else now
        if now - known.locked_at < STALE_LOCK or seen.guest is None:
            return seen
        busy = await driver.is_at_work(seen.guest.node, seen.guest.vmid)
        return replace(seen, busy=busy)

    async def addresses(self, key: OwnerKey, seen: Seen, driver: ProxmoxHost) -> tuple[str, ...]:
        """The addresses of a running container, without prefixes: read once, and with each audit."""
        assert seen.guest is not None
        known = self._known.get((key, seen.guest.vmid))
        if known is not None and known.addresses:
            return known.addresses
        found = await driver.interfaces(seen.guest.node, seen.guest.vmid)
        out = tuple(address.partition("/")[0] for interface in found for address in interface.addresses)
        if known is not None:
            known.addresses = out
        return out


def _differs(known: _Known, resources: Resources, vmid: int) -> bool:
    """Whether a newer reading shows the container otherwise than the last one did, or than it was read itself."""
    if resources is known.resources:
        return False
    before, after = _listed(known.resources, vmid), _listed(resources, vmid)
    mine = known.seen.guest
    if after is None or mine is None:
        return after is not mine
    restarted = None not in (after.uptime, mine.uptime) and (after.uptime or 0) < (mine.uptime or 0)
    # What it tells itself may be newer than both readings.
    changed = before is not None and changes.aside(before) != changes.aside(after)
    return changed or _told(after) != _told(mine) or restarted


def _listed(resources: Resources, vmid: int) -> Guest | None:
    return next((guest for guest in resources.guests if guest.vmid == vmid), None)


def _told(guest: Guest) -> tuple[Any, ...]:
    """What a reading and a container's own status both tell."""
    return (guest.node, guest.name, guest.status, guest.tags, guest.lock)


async def look(
    driver: ProxmoxHost,
    vmid: int,
    node: str,
    resources: Resources,
    last: Seen,
    *,
    made: bool = True,
) -> Seen:
    """Read a container where it should be, and else where it is. ``last``: what was seen when it was last read."""
    listed = _listed(resources, vmid)
    if not made and listed is None and await driver.is_free(vmid):
        # Nobody knows of one, and none is there, as PVE itself would say: more needn't be known to make it.
        return Seen(absence=Absence.UNCERTAIN, free=True)
    where = listed.node if listed is not None else node
    if (listed is None or listed.type == "lxc") and where:
        try:
            return await _read(driver, where, vmid, last)
        except errors.NotFound:
            pass
        except (errors.NodeUnreachable, errors.Forbidden) as error:
            return await _unseen(driver, vmid, error)
    # It isn't there: moved, gone, or the reading is old.
    fresh = await driver.resources()
    found = _listed(fresh, vmid)
    if found is None:
        return await _absence(driver, vmid)
    if found.type != "lxc" or found.template:
        return Seen(guest=found)
    try:
        return await _read(driver, found.node, vmid, last)
    except (errors.NotFound, errors.NodeUnreachable, errors.Forbidden) as error:
        return await _unseen(driver, vmid, error)


async def _unseen(driver: ProxmoxHost, vmid: int, error: errors.ProxmoxError) -> Seen:
    """A container that can't be read: when only its node can't be reached this moment, that is no absence."""
    seen = await _absence(driver, vmid)
    if seen.absence is Absence.HIDDEN and isinstance(error, errors.NodeUnreachable):
        raise error
    return seen


async def _read(driver: ProxmoxHost, node: str, vmid: int, last: Seen) -> Seen:
    config = await driver.config(node, vmid)
    # The digest covers what waits for a reboot, too.
    same = last.config is not None and last.config.digest == config.digest
    pending = last.pending if same else await driver.pending(node, vmid)
    return Seen(await driver.container(node, vmid), config, pending)


async def _absence(driver: ProxmoxHost, vmid: int) -> Seen:
    """Why it isn't seen. A reading leaves out what the token may not audit, so that alone proves nothing."""
    cluster = await driver.cluster()
    free = cluster.quorate and await driver.is_free(vmid)
    offline = tuple(sorted(name for name, online in cluster.nodes.items() if not online))
    if not cluster.complete:
        return Seen(absence=Absence.UNCERTAIN, free=free, offline=offline)
    return Seen(absence=Absence.GONE if free else Absence.HIDDEN, free=free)
