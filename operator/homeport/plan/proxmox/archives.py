"""Backups on a storage as Proxmox VE lists them, and the configuration that is in one. Pure.

Sources: pve-storage ``API2/Storage/Content.pm`` (of notes only the first line is listed), ``PBSPlugin.pm``; pve-manager
``VZDump.pm`` (with ``remove=0`` a storage's own retention is a limit that new backups fail at); pve-container
``LXC/Config.pm`` (``write_pct_config``, ``parse_pct_config``).
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from homeport.plan.proxmox.config import ContainerConfig, container_config

Raw = Mapping[str, Any]
_SECTION = re.compile(r"\[\S+\]\s*$")
_LINE = re.compile(r"([a-z][a-z_-]*\d*):\s*(.*)$")
_RAW_LINE = re.compile(r"(lxc\.[A-Za-z0-9_.-]+)\s*[:=]\s*(.*)$")
_VMID = re.compile(r":backup/(?:vzdump-(?:lxc|openvz|qemu)-(?P<file>\d+)-|(?:ct|vm)/(?P<server>\d+)/)")


class Archive(NamedTuple):
    """One backup of a guest."""

    volume: str
    """Its id: ``local:backup/vzdump-lxc-210-…`` or ``pbs:backup/ct/210/…``."""
    vmid: int | None
    size: int
    """In bytes."""
    time: datetime | None
    """When it was begun."""
    notes: str = ""
    protected: bool = False
    verification: str = ""
    """What a Proxmox Backup Server found when it last verified it: ``ok``, ``failed``, or empty."""
    format: str = ""

    @property
    def storage(self) -> str:
        """Where it is."""
        return self.volume.partition(":")[0]


def vmid_of(volume: str) -> int | None:
    """The VMID of the guest that a backup is of, by its name."""
    found = _VMID.search(volume)
    return int(found["file"] or found["server"]) if found is not None else None


def archive(entry: Raw) -> Archive:
    """One entry of ``/content``, or the answer of ``/content/{volume}``."""
    volume, ctime = str(entry["volid"]), entry.get("ctime")
    verification = entry.get("verification")
    vmid = entry.get("vmid")
    return Archive(
        volume=volume,
        vmid=int(vmid) if vmid is not None else vmid_of(volume),
        size=int(entry.get("size") or 0),
        time=datetime.fromtimestamp(int(ctime), UTC) if ctime else None,
        notes=str(entry.get("notes") or ""),
        protected=bool(int(entry.get("protected") or 0)),
        verification=str(verification.get("state") or "") if isinstance(verification, Mapping) else "",
        format=str(entry.get("format") or ""),
    )


def archives(raw: Iterable[Raw]) -> tuple[Archive, ...]:
    """The answer of ``/content?content=backup``, sorted by id."""
    return tuple(sorted(archive(entry) for entry in raw if entry.get("content", "backup") == "backup"))


class StorageRetention(NamedTuple):
    """What Proxmox VE itself does about backups on a storage."""

    keeps: str = ""
    """The storage's own ``prune-backups``; empty when it keeps all. Our backups fail at its limit."""
    jobs: tuple[str, ...] = ()
    """The datacenter's backup jobs that prune there: by VMID, whoever made a backup."""


def retention(storage: str, defaults: Raw, jobs: Iterable[Raw]) -> StorageRetention:
    """From ``vzdump/defaults`` of the storage and ``/cluster/backup``."""
    pruning = []
    for job in jobs:
        if job.get("storage") == storage and _keeps(job.get("prune-backups")) and _is_on(job, "enabled"):
            pruning.append(str(job.get("id") or "?"))
    return StorageRetention(_keeps(defaults.get("prune-backups")), tuple(sorted(pruning)))


def _keeps(value: Any) -> str:
    if isinstance(value, Mapping):
        value = ",".join(f"{key}={count}" for key, count in sorted(value.items()))
    text = str(value or "")
    return "" if re.search(r"keep-all=(1|yes|true|on)\b", text) else text


def _is_on(job: Raw, key: str) -> bool:
    return str(job.get(key, 1)) not in ("0", "False", "")


def parse_config(text: str) -> ContainerConfig:
    """The configuration in a backup. ``options`` has ``lxc`` with the raw lines, as ``/config`` does.

    Raises ``properties.PropertyError`` for what can't be read.
    """
    raw: dict[str, Any] = {}
    described: list[str] = []
    low: list[list[str]] = []
    for line in text.split("\n"):
        if _SECTION.match(line):
            break  # snapshots
        if line.startswith("#"):
            described.append(urllib.parse.unquote(line[1:]))
        elif (found := _RAW_LINE.match(line)) is not None:
            low.append([found[1], found[2].strip()])
        elif (found := _LINE.match(line)) is not None and found[1] != "description":
            raw[found[1]] = found[2].strip()
        elif found is not None:
            described.append(urllib.parse.unquote(found[2]))
    if described:
        raw["description"] = "\n".join(described)
    if low:
        raw["lxc"] = low
    return container_config(raw)
