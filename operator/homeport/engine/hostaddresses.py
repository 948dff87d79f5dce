"""Which addresses the guests of a host are configured with: read when an address is asked for, and kept for a while.

``/cluster/resources`` doesn't say, so that each guest has to be asked once. What a guest gets by DHCP, or sets up by
itself, is in no configuration: a network that addresses are allocated from shouldn't overlap with the range of a DHCP
server.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import chain

from homeport.drivers.proxmox import errors
from homeport.drivers.proxmox.protocol import ProxmoxHost
from homeport.plan.proxmox import addresses
from homeport.plan.proxmox.addresses import Address
from homeport.plan.proxmox.readings import Guest, Resources

KEPT = 300.0
"""Seconds for which a guest's configuration isn't read again for this."""


class GuestAddresses:
    """Of one host. ``clock`` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._known: dict[int, tuple[float, frozenset[Address]]] = {}
        self._reading = asyncio.Lock()

    async def read(self, driver: ProxmoxHost, found: Resources) -> frozenset[Address]:
        """All of them. Raises ``errors.ProxmoxError`` when a guest can't be asked that isn't known from before."""
        async with self._reading:
            guests = {guest.vmid: guest for guest in found.guests}
            self._known = {vmid: known for vmid, known in self._known.items() if vmid in guests}
            now = self._clock()
            due = [g for g in guests.values() if g.vmid not in self._known or now - self._known[g.vmid][0] >= KEPT]
            for guest, answer in zip(due, await asyncio.gather(*(self._ask(driver, g) for g in due)), strict=True):
                if answer is not None:
                    self._known[guest.vmid] = (now, answer)
            return frozenset(chain.from_iterable(known for _, known in self._known.values()))

    async def _ask(self, driver: ProxmoxHost, guest: Guest) -> frozenset[Address] | None:
        """None when it is gone meanwhile, and when its node can't be reached and it is known from before."""
        try:
            return addresses.configured(await driver.guest_options(guest.node, guest.type, guest.vmid))
        except errors.NotFound:
            return None
        except errors.NodeUnreachable:
            if guest.vmid in self._known:
                return None
            raise
