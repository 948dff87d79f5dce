"""A Proxmox VE host as the engine sees it. ``host.Host`` fulfils it over HTTPS."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO, Protocol

from homeport.plan.proxmox.archives import Archive, StorageRetention
from homeport.plan.proxmox.bridges import Bridge
from homeport.plan.proxmox.config import ContainerConfig, PendingChange
from homeport.plan.proxmox.privileges import Permissions
from homeport.plan.proxmox.readings import ClusterStatus, Guest, Interface, Resources, Version, Volume
from homeport.plan.proxmox.tasks import TaskStatus, Upid

Options = Mapping[str, str | int | bool | BinaryIO | None]
"""Parameters by PVE's own names; None is left out."""


class ProxmoxHost(Protocol):
    """One cluster. Every method raises ``errors.ProxmoxError`` or one of its children, and nothing else."""

    async def version(self) -> Version:
        """Its version; a supported one."""
        ...

    async def cluster(self) -> ClusterStatus:
        """Its name, nodes and quorum; the same cluster as ever."""
        ...

    async def resources(self) -> Resources:
        """Nodes, storages and guests, in one call."""
        ...

    async def permissions(self) -> Permissions:
        """What the token may do."""
        ...

    async def firewall(self) -> bool:
        """Whether the datacenter's firewall is on: without it, an interface's flag means nothing."""
        ...

    async def templates(self, node: str, storage: str) -> tuple[Volume, ...]:
        """The container templates on a storage."""
        ...

    async def is_free(self, vmid: int) -> bool:
        """Whether no guest has this VMID, whatever the token may see. It may be taken the next moment."""
        ...

    async def container(self, node: str, vmid: int) -> Guest:
        """A container as it is this moment: whether it runs, and what holds it."""
        ...

    async def is_at_work(self, node: str, vmid: int) -> bool:
        """Whether a task is at work on a guest, as far as the token may see tasks."""
        ...

    async def config(self, node: str, vmid: int) -> ContainerConfig:
        """A container's configuration as it is, without what waits for a reboot."""
        ...

    async def guest_options(self, node: str, kind: str, vmid: int) -> Mapping[str, str]:
        """The configuration of a guest, whoever made it, as it came; ``kind`` is lxc or qemu."""
        ...

    async def bridges(self, node: str) -> tuple[Bridge, ...]:
        """The bridges of a node that the token may use."""
        ...

    async def pending(self, node: str, vmid: int) -> tuple[PendingChange, ...]:
        """What waits for a reboot."""
        ...

    async def snapshots(self, node: str, vmid: int) -> Mapping[str, frozenset[str]]:
        """The volumes that each snapshot of a container holds."""
        ...

    async def interfaces(self, node: str, vmid: int) -> tuple[Interface, ...]:
        """A running container's interfaces and their addresses."""
        ...

    async def configure(self, node: str, vmid: int, options: Options, *, digest: str) -> None:
        """Change a container's configuration; DigestConflict when it isn't the one that was read any more."""
        ...

    async def begin(self, owner: str, method: str, *segments: str | int, params: Options | None = None) -> Upid:
        """Start a task. Busy when as many run as may; ``owner`` says whose it is, and has one at a time."""
        ...

    def full(self, owner: str) -> str:
        """Why no task for this owner can begin now; it is told then when there is room. Empty when one can."""
        ...

    def on_room(self, told: Callable[[str], None]) -> None:
        """Have ``told`` called with each owner for whom there was no room, when there is some."""
        ...

    async def appliances(self, node: str) -> tuple[str, ...]:
        """The files of the templates that a node can fetch (``pveam available``)."""
        ...

    async def active(self, node: str, kind: str) -> tuple[Upid, ...]:
        """The tasks of a kind that run on a node, as far as the token may see them."""
        ...

    async def begun(self, node: str, kind: str, vmid: int, since: int) -> TaskStatus | None:
        """The newest task of this token's own of a kind on a guest, begun after ``since`` (seconds since 1970)."""
        ...

    async def begun_all(self, node: str, kind: str, vmid: int, since: int) -> tuple[TaskStatus, ...]:
        """All of them, newest first."""
        ...

    async def archives(self, node: str, storage: str) -> tuple[Archive, ...]:
        """The backups on a storage that the token may see, whoever made them; of notes the first line."""
        ...

    async def archive(self, node: str, volume: str) -> Archive:
        """A backup as it is this moment, with all of its notes. NotFound when it isn't there."""
        ...

    async def archived_config(self, node: str, volume: str) -> str:
        """The configuration of the guest that a backup is of, as its file has it."""
        ...

    async def annotate(
        self, node: str, volume: str, *, notes: str | None = None, protected: bool | None = None
    ) -> None:
        """Write a backup's notes, its protected flag, or both."""
        ...

    async def storage_retention(self, node: str, storage: str) -> StorageRetention:
        """What Proxmox VE itself removes, or refuses, on a storage for backups. Raises when it isn't one."""
        ...

    async def upload(self, node: str, storage: str, file: Path, checksum: str) -> Upid:
        """Upload a file as a container template, under its own name; the task that puts it into place."""
        ...

    def pass_on(self, owner: str) -> None:
        """Give away the slot that an owner holds, if it does."""
        ...

    def release(self, owner: str) -> None:
        """Free an owner's slot: its task is gone."""
        ...

    def resume(self, owner: str, upid: Upid) -> None:
        """Count a task that was started before a restart."""
        ...

    async def task(self, upid: Upid, *, hold: bool = False) -> TaskStatus:
        """How a task stands. Returns at once. ``hold``: when it has ended, its owner keeps the slot until
        ``pass_on``."""
        ...

    async def stop(self, upid: Upid) -> None:
        """Have a task stopped; it ends a moment later."""
        ...

    async def task_log(self, upid: Upid, lines: int = 20) -> tuple[str, ...]:
        """The last lines of its log."""
        ...

    async def close(self) -> None:
        """Let go of all connections."""
        ...
