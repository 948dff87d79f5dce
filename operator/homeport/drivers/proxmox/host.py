"""A Proxmox VE host over its API: typed answers, tasks within the limit, and always the same cluster."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

from homeport.drivers.proxmox import errors
from homeport.drivers.proxmox.client import Client
from homeport.drivers.proxmox.config import HostConfig
from homeport.drivers.proxmox.connection import OnCall
from homeport.drivers.proxmox.protocol import Options
from homeport.drivers.proxmox.slots import Slots
from homeport.plan.proxmox import archives as archive_values
from homeport.plan.proxmox import bridges as bridge_values
from homeport.plan.proxmox import config as config_values
from homeport.plan.proxmox import readings
from homeport.plan.proxmox import templates as template_values
from homeport.plan.proxmox.archives import Archive, StorageRetention
from homeport.plan.proxmox.bridges import Bridge
from homeport.plan.proxmox.config import ContainerConfig, PendingChange
from homeport.plan.proxmox.privileges import Permissions
from homeport.plan.proxmox.readings import ClusterStatus, Guest, Identity, Interface, Resources, Version, Volume
from homeport.plan.proxmox.tasks import TaskStatus, Upid, task_status

LOG_PAGE = 500
LOG_PAGES = 40
"""Pages of a task's log that are read for its end, at most: a backup of a large disk writes a line per percent."""


class Host:
    """One cluster; fulfils ``protocol.ProxmoxHost``. ``identity``: the cluster that it must be, when that is known.

    Raises ValueError when a CA isn't one.
    """

    def __init__(self, config: HostConfig, *, identity: Identity | None = None, on_call: OnCall | None = None) -> None:
        self.client = Client(config, identity=identity, on_call=on_call)
        self.slots = Slots(config.concurrent_tasks)
        self.token_id = config.token.id

    async def version(self) -> Version:
        """Its version; a supported one."""
        return Version.parse(str((await self.client.call("GET", "version"))["version"]))

    async def cluster(self) -> ClusterStatus:
        """Its name, nodes and quorum; the same cluster as ever, or ``errors.OtherCluster``."""
        found = readings.cluster_status(await self.client.call("GET", "cluster", "status"))
        self.client.recognise(found.identity)
        return found

    async def resources(self) -> Resources:
        """Nodes, storages and guests, in one call."""
        return readings.resources(await self.client.call("GET", "cluster", "resources"))

    async def permissions(self) -> Permissions:
        """What the token may do."""
        found: Permissions = await self.client.call("GET", "access", "permissions")
        return found

    async def firewall(self) -> bool:
        """Whether the datacenter's firewall is on; as far as can be told, if the token may not look."""
        try:
            found = await self.client.call("GET", "cluster", "firewall", "options")
        except errors.Forbidden:
            return False
        return bool(int(found.get("enable") or 0))

    async def templates(self, node: str, storage: str) -> tuple[Volume, ...]:
        """The container templates on a storage."""
        path = ("nodes", node, "storage", storage, "content")
        return readings.volumes(await self.client.call("GET", *path, params={"content": "vztmpl"}))

    async def is_free(self, vmid: int) -> bool:
        """Whether no guest has this VMID, whatever the token may see. It may be taken the next moment."""
        try:
            await self.client.call("GET", "cluster", "nextid", params={"vmid": vmid}, sure=True)
        except errors.Exists:
            return False
        return True

    async def container(self, node: str, vmid: int) -> Guest:
        """A container as it is this moment: whether it runs, and what holds it."""
        found = await self.client.call("GET", "nodes", node, "lxc", vmid, "status", "current")
        return readings.guest({**found, "vmid": vmid, "node": node, "type": "lxc"})

    async def is_at_work(self, node: str, vmid: int) -> bool:
        """Whether a task is at work on a guest, as far as the token may see tasks."""
        params: Options = {"source": "active", "limit": 500}
        found = await self.client.call("GET", "nodes", node, "tasks", params=params)
        # A volume that moves has both containers in its id, which ``vmid`` wouldn't find: 210-mp0>211-mp0.
        return any(str(vmid) in re.split(r"[->]", str(task.get("id") or "")) for task in found)

    async def config(self, node: str, vmid: int) -> ContainerConfig:
        """A container's configuration as it is, without what waits for a reboot."""
        path = ("nodes", node, "lxc", vmid, "config")
        return config_values.container_config(await self.client.call("GET", *path, params={"current": True}))

    async def guest_options(self, node: str, kind: str, vmid: int) -> Mapping[str, str]:
        """The configuration of a guest, whoever made it, as it came; ``kind`` is lxc or qemu."""
        found = await self.client.call("GET", "nodes", node, kind, vmid, "config", params={"current": True})
        return {str(key): str(value) for key, value in found.items()}

    async def bridges(self, node: str) -> tuple[Bridge, ...]:
        """The bridges of a node that the token may use."""
        return bridge_values.bridges(
            await self.client.call("GET", "nodes", node, "network", params={"type": "any_bridge"})
        )

    async def packages(self, node: str) -> Mapping[str, str]:
        """The versions of Proxmox VE's own packages on a node (``pveversion -v``); needs Sys.Audit on the node."""
        found = await self.client.call("GET", "nodes", node, "apt", "versions")
        return {str(one["Package"]): str(one.get("OldVersion") or one.get("Version") or "") for one in found}

    async def pending(self, node: str, vmid: int) -> tuple[PendingChange, ...]:
        """What waits for a reboot."""
        return config_values.pending_changes(await self.client.call("GET", "nodes", node, "lxc", vmid, "pending"))

    async def snapshots(self, node: str, vmid: int) -> Mapping[str, frozenset[str]]:
        """The volumes that each snapshot of a container holds."""
        path = ("nodes", node, "lxc", vmid)
        found: dict[str, frozenset[str]] = {}
        for entry in await self.client.call("GET", *path, "snapshot"):
            name = str(entry["name"])
            if name != "current":
                raw = await self.client.call("GET", *path, "config", params={"snapshot": name})
                held = config_values.container_config(raw)
                found[name] = frozenset(mount.volume for mount in held.mounts.values())
        return found

    async def interfaces(self, node: str, vmid: int) -> tuple[Interface, ...]:
        """A running container's interfaces and their addresses."""
        return readings.interfaces(await self.client.call("GET", "nodes", node, "lxc", vmid, "interfaces"))

    async def configure(self, node: str, vmid: int, options: Options, *, digest: str) -> None:
        """Change a container's configuration; DigestConflict when it isn't the one that was read any more."""
        await self.client.call("PUT", "nodes", node, "lxc", vmid, "config", params={**options, "digest": digest})

    async def begin(self, owner: str, method: str, *segments: str | int, params: Options | None = None) -> Upid:
        """Start a task. Busy when as many run as may; ``owner`` says whose it is, and has one at a time.

        After OutcomeUnknown the slot is free again: what came of it is for the owner to look for.
        """
        if full := self.full(owner):
            raise errors.Busy(0, full)
        self.slots.take(owner)
        try:
            upid = Upid.parse(str(await self.client.call(method, *segments, params=params)))
        except ValueError as error:
            self.slots.free(owner)
            raise errors.OutcomeUnknown(0, f"the answer to a change isn't a task: {error}") from None
        except BaseException:
            self.slots.free(owner)
            raise
        self.slots.fill(owner, upid)
        return upid

    def full(self, owner: str) -> str:
        """Why no task for this owner can begin now; it is told then when there is room. Empty when one can."""
        if owner in self.slots:
            return f"the last task for {owner} hasn't ended yet"
        if not self.slots.has_room(owner):
            self.slots.wait(owner)
            return f"{len(self.slots)} tasks of ours run, which is as many as limits.concurrentTasks lets"
        return ""

    async def appliances(self, node: str) -> tuple[str, ...]:
        """The files of the templates that a node can fetch (``pveam available``)."""
        return template_values.appliances(await self.client.call("GET", "nodes", node, "aplinfo"))

    async def active(self, node: str, kind: str) -> tuple[Upid, ...]:
        """The tasks of a kind that run on a node, as far as the token may see them."""
        params = {"source": "active", "typefilter": kind}
        found = await self.client.call("GET", "nodes", node, "tasks", params=params)
        # A task that has just ended may be listed as active still.
        return tuple(Upid.parse(str(task["upid"])) for task in found if not task.get("endtime"))

    async def begun(self, node: str, kind: str, vmid: int, since: int) -> TaskStatus | None:
        """The newest task of this token's own of a kind on a guest, running or ended, begun after ``since`` (seconds
        since 1970). A token sees its own tasks without any privilege (pve-manager ``API2/Tasks.pm``)."""
        own = await self._own(node, kind, vmid, since)
        return await self.task(own[0]) if own else None

    async def begun_all(self, node: str, kind: str, vmid: int, since: int) -> tuple[TaskStatus, ...]:
        """All of them, newest first."""
        return tuple([await self.task(upid) for upid in await self._own(node, kind, vmid, since)])

    async def _own(self, node: str, kind: str, vmid: int, since: int) -> list[Upid]:
        params: Options = {"vmid": vmid, "typefilter": kind, "source": "all", "since": since, "limit": LOG_PAGE}
        listed = await self.client.call("GET", "nodes", node, "tasks", params=params)
        tasks = {Upid.parse(str(task["upid"])) for task in listed}
        return sorted((upid for upid in tasks if upid.user == self.token_id), key=lambda upid: -upid.started)

    async def archives(self, node: str, storage: str) -> tuple[Archive, ...]:
        """The backups on a storage that the token may see, whoever made them; of notes the first line."""
        path = ("nodes", node, "storage", storage, "content")
        return archive_values.archives(await self.client.call("GET", *path, params={"content": "backup"}))

    async def archive(self, node: str, volume: str) -> Archive:
        """A backup as it is this moment, with all of its notes. NotFound when it isn't there."""
        return archive_values.archive({"volid": volume, **await self.client.call("GET", *_content(node, volume))})

    async def archived_config(self, node: str, volume: str) -> str:
        """The configuration of the guest that a backup is of, as its file has it."""
        params: Options = {"volume": volume}
        return str(await self.client.call("GET", "nodes", node, "vzdump", "extractconfig", params=params))

    async def annotate(
        self, node: str, volume: str, *, notes: str | None = None, protected: bool | None = None
    ) -> None:
        """Write a backup's notes, its protected flag, or both."""
        params: Options = {"notes": notes, "protected": protected}
        await self.client.call("PUT", *_content(node, volume), params=params)

    async def storage_retention(self, node: str, storage: str) -> StorageRetention:
        """What Proxmox VE itself removes, or refuses, on a storage for backups. Raises when it isn't one.

        Jobs of the datacenter are seen with Sys.Audit; those of a Proxmox Backup Server are its own, and never seen.
        """
        params: Options = {"storage": storage}
        defaults = await self.client.call("GET", "nodes", node, "vzdump", "defaults", params=params)
        try:
            jobs = await self.client.call("GET", "cluster", "backup")
        except errors.Forbidden:
            jobs = ()
        return archive_values.retention(storage, defaults or {}, jobs)

    async def upload(self, node: str, storage: str, file: Path, checksum: str) -> Upid:
        """Upload a file as a container template, under its own name; the task that puts it into place."""
        path = ("nodes", node, "storage", storage, "upload")
        with file.open("rb") as content:
            params: Options = {
                "content": "vztmpl",
                "checksum-algorithm": "sha256",
                "checksum": checksum,
                "filename": content,
            }
            return await self.begin(f"upload {file.name} to {storage} of {node}", "POST", *path, params=params)

    def on_room(self, told: Callable[[str], None]) -> None:
        """Have ``told`` called with each owner for whom there was no room, when there is some."""
        self.slots.room = told

    def pass_on(self, owner: str) -> None:
        """Give away the slot that an owner holds, if it does."""
        self.slots.pass_on(owner)

    def release(self, owner: str) -> None:
        """Free an owner's slot: its task is gone."""
        self.slots.leave(owner)

    def resume(self, owner: str, upid: Upid) -> None:
        """Count a task that was started before a restart."""
        self.slots.fill(owner, upid)

    async def task(self, upid: Upid, *, hold: bool = False) -> TaskStatus:
        """How a task stands. Returns at once. ``hold``: when it has ended, its owner keeps the slot until
        ``pass_on``."""
        raw = await self.client.call("GET", "nodes", upid.node, "tasks", upid.text, "status")
        found = task_status(upid, raw)
        if not found.running:
            self.slots.ended(upid, hold=hold)
        return found

    async def stop(self, upid: Upid) -> None:
        """Have a task of this token's own stopped; it ends a moment later. One that has ended stays as it is
        (pve-manager ``API2/Tasks.pm``)."""
        await self.client.call("DELETE", "nodes", upid.node, "tasks", upid.text)

    async def task_log(self, upid: Upid, lines: int = 20) -> tuple[str, ...]:
        """The last lines of its log."""
        tail: deque[str] = deque(maxlen=lines)
        for page in range(LOG_PAGES):
            path = ("nodes", upid.node, "tasks", upid.text, "log")
            found = await self.client.call("GET", *path, params={"start": page * LOG_PAGE, "limit": LOG_PAGE})
            tail.extend(str(line.get("t") or "") for line in found)
            if len(found) < LOG_PAGE:
                break
        return tuple(tail)

    async def close(self) -> None:
        """Let go of all connections."""
        await self.client.close()


def _content(node: str, volume: str) -> tuple[str, ...]:
    return ("nodes", node, "storage", volume.partition(":")[0], "content", volume)
