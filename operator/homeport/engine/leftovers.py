"""Removes templates of ours that nothing has needed for a day, one at a time, where the token may.

Deleting a template needs Datastore.Allocate on its storage, which is more than anything else that we do needs
(pve-storage ``API2/Storage/Content.pm``): where it is lacking, templates stay, and nobody is told a fault.

How long one has been unneeded is known by this process only, so a restart begins to count anew. What is broken off is
found still there, or gone; a template that is wanted again is uploaded again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from homeport.api import labels
from homeport.drivers.kubernetes import errors as kubernetes_errors
from homeport.drivers.kubernetes import types
from homeport.drivers.proxmox import errors
from homeport.drivers.proxmox.protocol import ProxmoxHost
from homeport.engine.context import Context
from homeport.engine.images import IDLE, Images
from homeport.outcome import Outcome
from homeport.plan import uploaded
from homeport.plan.proxmox import privileges
from homeport.plan.uploaded import Upload
from homeport.plan.world import HostReading

log = logging.getLogger(__name__)

EVERY = 300.0
"""Seconds between two looks: as often as a host's templates are read."""
PRIVILEGE = "Datastore.Allocate"
KIND = "LXCContainer"


class Leftovers:
    """``leads`` says whether this process may still change anything."""

    def __init__(self, context: Context, images: Images, leads: Callable[[], bool]) -> None:
        self._context = context
        self._images = images
        self._leads = leads
        self._since: dict[tuple[str, Upload], float] = {}

    async def forever(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await asyncio.sleep(EVERY)
            try:
                await self.look()
            except Exception:
                log.exception("looking for templates that nothing needs")

    async def look(self) -> None:
        """Remove what has been unneeded for long enough, on all hosts."""
        if not self._leads():
            self._since.clear()
            return
        readings = self._context.hosts.readings()
        self._since = {key: at for key, at in self._since.items() if key[0] in readings}
        for host, reading in readings.items():
            driver = self._context.hosts.driver(host)
            if reading is None or isinstance(driver, Outcome):
                continue  # what can't be seen goes on counting
            try:
                await self._of(host, reading, driver)
            except (errors.ProxmoxError, kubernetes_errors.ApiError) as error:
                log.info("templates of %s that nothing needs stay for now: %s", host, error)

    async def _of(self, host: str, reading: HostReading, driver: ProxmoxHost) -> None:
        found = uploaded.on_host(reading, self._context.clusters.installation)
        bodies = [self._context.store.body(key) or {} for key in self._context.store.keys(KIND)]
        idle = uploaded.unneeded(found, bodies, host)
        now = self._context.clock()
        for one in found:
            if one in idle and not self._images.needs(host, one.storage, one.file):
                self._since.setdefault((host, one), now)
            else:
                self._since.pop((host, one), None)
        gone = [key for key in self._since if key[0] == host and key[1] not in found]
        for key in gone:
            del self._since[key]
        for one in found:
            path = f"/storage/{one.storage}"
            due = now - self._since.get((host, one), now) >= IDLE
            if due and privileges.holds(reading.permissions, path, PRIVILEGE):
                await self._remove(host, one, driver)

    async def _remove(self, host: str, one: Upload, driver: ProxmoxHost) -> None:
        # Our own memory may lag behind, and may have only some of the LXCContainers (--shard, --namespace).
        bodies, _ = await self._context.cluster.client.list(types.by_kind(labels.API_VERSION, KIND))
        if not self._leads() or one not in uploaded.unneeded([one], bodies, host):
            return
        if await self._images.remove(driver, host, one.node, one.storage, one.file):
            log.info("removed %s from %s of %s: nothing has needed it for a day", one.volume, one.node, host)
            self._context.hosts.refresh(host)
