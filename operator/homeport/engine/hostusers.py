"""Who uses which Proxmox VE host, and whom a reading concerns. Bookkeeping; what is done then is the queue's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from homeport.api.labels import OwnerKey
from homeport.engine.store import Store
from homeport.plan.proxmox import changes
from homeport.plan.world import HostReading

Status = Callable[[OwnerKey], Mapping[str, Any]]
"""The status of a resource as last seen."""


class Users:
    """Users by host. One that is told to wait is remembered, and told when that is over."""

    def __init__(self, wake: Callable[[OwnerKey], None], status: Status) -> None:
        self._wake = wake
        self._status = status
        self._host_of: dict[OwnerKey, str] = {}
        self._users: dict[str, set[OwnerKey]] = {}
        self._waiting: dict[str, set[OwnerKey]] = {}

    def of(self, host: str) -> frozenset[OwnerKey]:
        """Who has asked for a host, and hasn't gone since."""
        return frozenset(self._users.get(host, ()))

    def register(self, host: str, user: OwnerKey, *, waits: bool) -> None:
        """``user`` asks for ``host``, and for no other any more. ``waits``: it was told that it can't be used."""
        if self._host_of.get(user) != host:
            self.forget(user)
            self._host_of[user] = host
            self._users.setdefault(host, set()).add(user)
        waiting = self._waiting.setdefault(host, set())
        (waiting.add if waits else waiting.discard)(user)

    def forget(self, user: OwnerKey) -> None:
        """``user`` uses no host."""
        host = self._host_of.pop(user, None)
        if host is not None:
            self._users[host].discard(user)
            self._waiting.get(host, set()).discard(user)  # nobody waits, once all were woken

    def usable(self, host: str) -> None:
        """Wake those who were told that it isn't."""
        for user in self._waiting.pop(host, ()):
            self._wake(user)

    def all(self, host: str) -> None:
        """Wake everyone."""
        for user in self.of(host):
            self._wake(user)

    def saw(self, host: str, before: HostReading | None, after: HostReading) -> None:
        """Wake those whom a new reading concerns."""
        if before is None or changes.nodes(before.resources, after.resources):
            self.all(host)
            return
        changed = changes.guests(before.resources, after.resources)
        more = changes.templates(before.templates, after.templates)
        for user in self.of(host) if changed or more else ():
            status = self._status(user)
            if not changed.isdisjoint(guests(status)) or (more and not status.get("created")):
                self._wake(user)


def guests(status: Mapping[str, Any]) -> Iterator[int]:
    """The VMIDs of a resource's own: its guest, and the one that this is taking the place of."""
    for part in (status, status.get("replacing") or {}):
        if isinstance(part, Mapping) and isinstance(vmid := part.get("vmid"), int):
            yield vmid


def users_of(store: Store, host: str) -> list[OwnerKey]:
    """The LXCContainers that are on a ProxmoxHost or name it, the Environments and BackupRepositories that do."""
    out = []
    for kind in ("BackupRepository", "Environment", "LXCContainer"):
        for key in store.keys(kind):
            spec, status = (store.body(key) or {}).get("spec") or {}, store.status(key)
            place = spec if kind == "LXCContainer" else spec.get("proxmox") or {}
            if host in ((place.get("hostRef") or {}).get("name"), status.get("host")):
                out.append(key)
    return sorted(out)
