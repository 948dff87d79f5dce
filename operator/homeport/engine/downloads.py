"""Templates that a ProxmoxHost asks for and that aren't there: fetched one after the other, each once for a storage.

What is to be fetched is written to the status before it is asked for. After a crash between the two, and after an
answer that was lost, the node is asked for its downloads first; PVE itself writes to another name until all is there,
and takes a file that is there already for a success (pve-common ``Tools.pm``, ``download_file_from_url``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from homeport.api.resource import Resource
from homeport.drivers.proxmox import errors
from homeport.drivers.proxmox.protocol import ProxmoxHost
from homeport.plan.proxmox import templates
from homeport.plan.proxmox.tasks import Upid
from homeport.plan.proxmox.templates import Entry, Missing
from homeport.plan.world import HostReading

Fields = dict[str, Any]

AGAIN = 600.0
"""Seconds after which a download that failed is tried again."""
STEP = 5
"""Percent: progress is told so coarsely, for each telling is a write."""
LIMIT = 64
"""As the schema bounds them."""


class Downloads:
    """Of all hosts. ``clock`` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._failed: dict[tuple[str, Missing], tuple[float, str | None]] = {}

    async def step(
        self, host: Resource[Any], driver: ProxmoxHost, reading: HostReading
    ) -> tuple[list[Fields], list[str], bool]:
        """``status.downloads`` after another step, why templates can't be there, and whether one has arrived."""
        asked = [Entry(one.name, one.storage, one.nodes) for one in host.spec.templates or ()]
        wanted, lacks = templates.missing(asked, reading)
        before = {_key(entry): entry for entry in host.status.get("downloads") or ()}
        out: list[Fields] = []
        said = [f"template {lack.name}: {lack.text}" for lack in lacks]
        arrived = False
        # What runs is followed to its end, whatever is asked for by now: it has one of the host's slots.
        running = [key for key, entry in before.items() if entry.get("task") and key not in wanted]
        for key in (*wanted, *running)[:LIMIT]:
            entry = await self._advance(host, key, before.get(key), driver)
            arrived = arrived or entry is None
            if entry is None:
                continue
            out.append(entry)
            if "message" in entry:
                said.append(f"template {key.name} isn't on {key.storage} of {key.node}: {entry['message']}")
        return out, said, arrived

    async def _advance(
        self, host: Resource[Any], key: Missing, entry: Mapping[str, Any] | None, driver: ProxmoxHost
    ) -> Fields | None:
        """The entry after the next step; None when the template is there."""
        fresh: Fields = dict(entry or {"name": key.name, "storage": key.storage, "node": key.node, "progress": 0})
        if "message" in fresh:
            if not self._due(host, key):
                return fresh
            fresh = {"name": key.name, "storage": key.storage, "node": key.node, "progress": 0}
        try:
            if "template" not in fresh:
                fresh["template"] = await _chosen(key, driver)
                return fresh
            owner = f"{fresh['template']} to {key.storage} of {key.node}"
            if "task" not in fresh:
                fresh["task"] = (await _begun(key, str(fresh["template"]), owner, driver)).text
                return fresh
            return await _followed(fresh, owner, driver)
        except (errors.Busy, errors.OutcomeUnknown, errors.Unreachable, errors.NodeUnreachable):
            return fresh  # looked at again
        except (errors.ProxmoxError, ValueError) as error:
            self._failed[host.name, key] = (self._clock(), host.reconcile_token)
            return {**fresh, "message": str(error)[:253]}

    def _due(self, host: Resource[Any], key: Missing) -> bool:
        """Whether one that failed is tried again: after a while, when a person asks, and after a restart."""
        at, token = self._failed.get((host.name, key), (None, None))
        return at is None or token != host.reconcile_token or self._clock() - at >= AGAIN


def _key(entry: Mapping[str, Any]) -> Missing:
    return Missing(str(entry["name"]), str(entry["storage"]), str(entry["node"]))


async def _chosen(key: Missing, driver: ProxmoxHost) -> str:
    """The file that a name means among those that can be fetched. Raises ValueError when there is none."""
    offered = await driver.appliances(key.node)
    found = templates.newest(key.name, offered)
    if found is None:
        raise ValueError(
            f"node {key.node} knows of no template {key.name} that can be fetched; have an administrator run pveam "
            "update there, or write one that pveam available lists"
        )
    return found


async def _begun(key: Missing, file: str, owner: str, driver: ProxmoxHost) -> Upid:
    """The task that fetches it: one that runs already, or a new one."""
    for upid in await driver.active(key.node, "download"):
        if upid.id == file:
            driver.resume(owner, upid)
            return upid
    params = {"storage": key.storage, "template": file}
    return await driver.begin(owner, "POST", "nodes", key.node, "aplinfo", params=params)


async def _followed(fresh: Fields, owner: str, driver: ProxmoxHost) -> Fields | None:
    upid = Upid.parse(str(fresh["task"]))
    driver.resume(owner, upid)
    try:
        task = await driver.task(upid)
    except errors.NotFound:
        # The node remembers nothing of it: what is there tells.
        driver.release(owner)
        del fresh["task"]
        return fresh
    if task.running:
        done = templates.percent(await driver.task_log(upid))
        return {**fresh, "progress": done // STEP * STEP}
    if not task.succeeded:
        raise errors.ProxmoxError(0, f"the download failed: {task.message}")
    return None
