"""VMIDs, addresses and room on nodes that LXCContainers were given: each to one, and for as long as it is there.

A claim counts from the moment it is handed out; whoever has it writes it to its status before it is used. What is in
statuses and specs counts by itself, so that a restart knows all claims, and one that was never written was never used.
Only the leader hands anything out. A claim ends with its LXCContainer; what is left on the host then (a container that
is Retained) is known by the reading.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from homeport.api import labels
from homeport.api.environment import VmidRange
from homeport.api.labels import OwnerKey
from homeport.drivers.proxmox import errors
from homeport.engine.hosts import Hosts
from homeport.engine.store import Store
from homeport.plan.proxmox import addresses, archives, grants, placement, sizes
from homeport.plan.proxmox.addresses import Address, Unavailable
from homeport.plan.proxmox.placement import Ask, Load, NoNode
from homeport.plan.world import HostReading

Body = Mapping[str, Any]

KIND, RESTORE = "LXCContainer", "Restore"
MAKING = ("Create", "Compare", "Start", "Check", "Clean")
"""Steps of a Restore whose VMID is its own."""


class _Place(NamedTuple):
    host: str
    node: str
    memory: int


class Allocations:
    """Who was given what. ``wake`` is told who may try again when something was freed."""

    def __init__(self, store: Store, hosts: Hosts, wake: Callable[[OwnerKey], None]) -> None:
        self._store = store
        self._hosts = hosts
        self._wake = wake
        self._vmids: dict[OwnerKey, tuple[str, int]] = {}
        self._addresses: dict[tuple[OwnerKey, str], str] = {}
        self._places: dict[OwnerKey, _Place] = {}
        self._lost: dict[str, set[int]] = {}
        self._backed_up: dict[str, frozenset[int]] = {}
        self._waiting: set[OwnerKey] = set()
        hosts.freed = self.retry

    # -- VMIDs -------------------------------------------------------------------------------------------------------

    def vmid(self, owner: OwnerKey, host: str, allowed: VmidRange | None, reading: HostReading) -> int | Unavailable:
        """A VMID for ``owner``: the same until it is in its status, or lost; then another one.

        ``allowed`` is the environment's range, or the project's; None for any.
        """
        allowed = allowed or addresses.VMIDS
        lost = self._lost.get(host, set()) | self._backed_up.get(host, frozenset()) | self._in_backups()
        guests = {guest.vmid for guest in reading.resources.guests}
        where, mine = self._vmids.get(owner, ("", 0))
        written = _vmids({"status": self._store.status(owner)})
        if where == host and grants.within(mine, allowed) and mine not in {*guests, *lost, *written}:
            return mine
        claimed = {vmid for vmid, _ in self._claims(host, but=None)}
        found = addresses.vmid(allowed, guests=guests, claimed=claimed, lost=lost)
        if isinstance(found, int):
            self._vmids[owner] = (host, found)
        self._note(owner, isinstance(found, Unavailable))
        return found

    def backed_up(self, host: str, vmids: Iterable[int]) -> None:
        """Backups of these are on a storage of a host, whoever made them. A VMID is given to nobody else while there
        are some: Proxmox VE tells backups of one guest from those of another by nothing else."""
        self._backed_up[host] = frozenset(vmids)

    def _in_backups(self) -> set[int]:
        """The VMIDs of backups that statuses tell of; what is there is known once a storage was listed."""
        out: set[int] = set()
        for key in self._store.keys("Backup"):
            found = (archives.vmid_of(str(run.get("snapshot"))) for run in self._store.status(key).get("runs") or ())
            out.update(vmid for vmid in found if vmid is not None)
        for key in self._store.keys("BackupRun"):
            parts = self._store.status(key).get("parts") or ()
            out.update(part["vmid"] for part in parts if isinstance(part.get("vmid"), int))
        return out

    def lose(self, host: str, vmid: int) -> None:
        """A VMID is somebody else's, although nothing is seen there; it isn't handed out again."""
        self._lost.setdefault(host, set()).add(vmid)

    def holder(self, host: str, vmid: int, but: OwnerKey) -> OwnerKey | None:
        """Which other LXCContainer was given a VMID, or has it in its status; for one that a spec names.

        Of two that name the same in their specs, and neither has it yet, the older one does.
        """
        return self.holders(host, but).get(vmid)

    def holders(self, host: str, but: OwnerKey) -> dict[int, OwnerKey]:
        """``holder`` of every VMID on a host that another LXCContainer was given, has, or names with better right."""
        claims: dict[int, list[tuple[OwnerKey, bool]]] = {}
        for vmid, given in self._claims(host, but):
            claims.setdefault(vmid, []).append(given)
        mine = _vmids({"status": self._store.status(but)})
        out = {}
        for vmid, found in claims.items():
            has = next((key for key, has in found if has), None)
            if has is None and vmid not in mine:
                oldest = min([but, *(key for key, _ in found)], key=lambda key: (self._created(key), key))
                has = oldest if oldest != but else None
            if has is not None:
                out[vmid] = has
        return out

    def _created(self, key: OwnerKey) -> str:
        return str(((self._store.body(key) or {}).get("metadata") or {}).get("creationTimestamp") or "~")

    def _claims(self, host: str, but: OwnerKey | None) -> Iterator[tuple[int, tuple[OwnerKey, bool]]]:
        """(VMID, (who, whether it has it; else its spec only names it)), on a host or on one that isn't known yet."""
        for key, body in self._containers():
            if key == but or _host(body) not in (host, ""):
                continue
            for vmid in _vmids(body):
                yield vmid, (key, True)
            named = (body.get("spec") or {}).get("vmid")
            if isinstance(named, int):
                yield named, (key, False)
        for key in self._store.keys(RESTORE):  # on whichever host: until it is there, or is gone again
            status = self._store.status(key)
            if key != but and status.get("step") in MAKING and isinstance(status.get("vmid"), int):
                yield status["vmid"], (key, True)
        for key, (where, vmid) in self._vmids.items():
            if key != but and where == host:
                yield vmid, (key, True)

    # -- addresses ---------------------------------------------------------------------------------------------------

    async def address(
        self, owner: OwnerKey, host: str, interface: str, cidr: str, gateway: str | None
    ) -> str | Unavailable:
        """An address of ``cidr`` for one interface, with its prefix: the same until the owner is gone.

        Raises ``errors.ProxmoxError`` when the configurations of the host's guests can't be read, and ValueError when
        ``cidr`` isn't a network.
        """
        network = ipaddress.ip_network(cidr, strict=False)
        mine = self._addresses.get((owner, interface))
        if mine is not None and ipaddress.ip_interface(mine).ip in network:
            return mine
        try:
            configured = await self._hosts.addresses(host)
        except errors.NodeUnreachable as error:
            text = (
                f"which addresses other guests have can't be read ({error}); write an address instead of auto, or wait"
            )
            self._note(owner, True)
            return Unavailable(text)
        # From here on nothing waits: two that ask at once get two.
        found = addresses.address(cidr, gateway=gateway, claimed=self._given(), configured=configured)
        if isinstance(found, str):
            self._addresses[owner, interface] = found
        self._note(owner, isinstance(found, Unavailable))
        return found

    def address_holder(self, host: str, but: OwnerKey) -> tuple[Address, OwnerKey] | None:
        """An address that one LXCContainer writes, and another that has it; the older one of two that only write it.

        ``but`` is who writes. What is on another bridge or VLAN is another network's.
        """
        mine = _static(self._store.body(but) or {}, self._store.status(but))
        for key, body in self._containers() if mine else ():
            theirs = _static(body, body["status"]) if key != but and _host(body) in (host, "") else {}
            for address, (segment, have) in mine.items():
                other, has = theirs.get(address, (segment, False))
                apart = any(None not in pair and pair[0] != pair[1] for pair in zip(segment, other, strict=True))
                older = (self._created(key), key) < (self._created(but), but)
                if address in theirs and not apart and (has > have or (has == have and older)):
                    return address, key
        return None

    def _given(self) -> frozenset[Address]:
        """On whichever host: several may share a network."""
        out = set(addresses.static(self._addresses.values()))
        for _, body in self._containers():
            status, spec = body.get("status") or {}, body.get("spec") or {}
            out |= addresses.static(status.get("addresses") or ())
            for network in (*(status.get("networks") or ()), *(spec.get("networks") or ())):
                out |= addresses.static((network.get("address"), network.get("address6")))
        return frozenset(out)

    # -- nodes -------------------------------------------------------------------------------------------------------

    def place(self, owner: OwnerKey, host: str, ask: Ask, reading: HostReading) -> str | NoNode:
        """A node for ``owner``, whose memory is kept there until the reading shows the container."""
        found = placement.choose(ask, reading, self._load(owner, host, reading))
        if isinstance(found, str):
            self._places[owner] = _Place(host, found, ask.memory)
        self._note(owner, isinstance(found, NoNode))
        return found

    def _load(self, owner: OwnerKey, host: str, reading: HostReading) -> Load:
        guests = {guest.vmid: guest.node for guest in reading.resources.guests}
        load: tuple[dict[str, int], dict[str, int], dict[str, int]] = ({}, {}, {})
        application, component = _part(self._store.body(owner))
        for key, body in self._containers():
            if key == owner:
                continue
            status = body.get("status") or {}
            there = guests.get(status.get("vmid") or 0)
            place = self._places.get(key)
            node = there or (status.get("node") if _host(body) == host else None)
            if node is None and place is not None and place.host == host:
                node = place.node
            if node is None:
                continue
            if there is None:
                _add(load[0], node, _memory(body))
            others = _part(body)
            if application and key.namespace == owner.namespace and others[0] == application:
                _add(load[1], node, int(others[1] == component))
                _add(load[2], node, 1)
        return Load(*load)

    # -- and all of it -----------------------------------------------------------------------------------------------

    def _note(self, owner: OwnerKey, waits: bool) -> None:
        (self._waiting.add if waits else self._waiting.discard)(owner)

    def _containers(self) -> Iterator[tuple[OwnerKey, Body]]:
        for key in self._store.keys(KIND):
            body = self._store.body(key)
            if body is not None:
                yield key, {**body, "status": self._store.status(key)}

    def forget(self, owner: OwnerKey) -> None:
        """``owner`` is gone: what it was given is free."""
        if owner.kind not in (KIND, RESTORE):
            return
        self._vmids.pop(owner, None)
        self._places.pop(owner, None)
        for claim in [claim for claim in self._addresses if claim[0] == owner]:
            del self._addresses[claim]
        self._waiting.discard(owner)
        self.retry()

    def retry(self) -> None:
        """Something was freed: whoever got nothing tries again."""
        waiting, self._waiting = self._waiting, set()
        for other in waiting:
            self._wake(other)


def _host(body: Body) -> str:
    """The host that a container is on, as far as it is known by itself."""
    named = ((body.get("spec") or {}).get("hostRef") or {}).get("name")
    return str(named or (body.get("status") or {}).get("host") or "")


def _static(body: Body, status: Body) -> dict[Address, tuple[tuple[Any, Any], bool]]:
    """The addresses that a container's interfaces are given: (bridge, VLAN) as far as its spec says, and whether it is
    made with them."""
    out: dict[Address, tuple[tuple[Any, Any], bool]] = {}
    shown = addresses.static(status.get("addresses") or ()) if status.get("created") else frozenset()
    allocated = {one.get("name"): one.get("address") for one in status.get("networks") or ()}
    for network in (body.get("spec") or {}).get("networks") or ():
        given = addresses.static((allocated.get(network.get("name")),))
        for address in given | addresses.static((network.get("address"), network.get("address6"))):
            out[address] = ((network.get("bridge"), network.get("vlan")), address in given or address in shown)
    return out


def _vmids(body: Body) -> Collection[int]:
    """The VMIDs in a container's status: its own, and the one whose place it is taking."""
    status = body.get("status") or {}
    found = (status.get("vmid"), (status.get("replacing") or {}).get("vmid"))
    return [vmid for vmid in found if isinstance(vmid, int)]


def _part(body: Body | None) -> tuple[str, str]:
    """(Application, component) that a container says that it is of; for spreading, where nothing hangs on the truth."""
    found = ((body or {}).get("metadata") or {}).get("labels") or {}
    return str(found.get(labels.APPLICATION) or ""), str(found.get(labels.COMPONENT) or "")


def _memory(body: Body) -> int:
    try:
        return sizes.of_quantity(str((body.get("spec") or {}).get("memory") or sizes.DEFAULT_MEMORY))
    except ValueError:
        return sizes.of_quantity(sizes.DEFAULT_MEMORY)


def _add(load: dict[str, int], node: str, count: int) -> None:
    load[node] = load.get(node, 0) + count
