"""A container's configuration: what ``/config`` and ``/pending`` say, and what a change of each option takes.

Sources: pve-container ``LXC/Config.pm`` (``$LXC_FASTPLUG_OPTIONS``, ``vmconfig_hotplug_pending``,
``vmconfig_apply_pending``, ``update_pct_config``) and ``LXC.pm`` (``check_ct_modify_config_perm``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from homeport.plan.proxmox import properties
from homeport.plan.proxmox.properties import Features, Mount, Network

_NETWORK = re.compile(r"net\d+")
_MOUNT = re.compile(r"mp\d+")
_UNUSED = re.compile(r"unused\d+")
_DEVICE = re.compile(r"dev\d+")


class Impact(StrEnum):
    """What a change of an option takes."""

    LIVE = "live"
    """It takes effect at once, also on a running container."""
    REBOOT = "pending-reboot"
    """On a running container it waits in ``/pending`` for a reboot."""
    RECREATE = "recreate"
    """Only a new container can have it."""
    ROOT_ONLY = "root-only"
    """PVE lets nobody but root@pam change it; a token never is."""
    BY_HAND = "by-hand"
    """Homeport leaves it to a person: where a container is."""


_FAST = frozenset({"description", "onboot", "startup", "protection", "hostname", "cores", "tags"})
_CGROUP = frozenset({"cpulimit", "cpuunits", "memory", "swap"})
_HOT_DELETE = frozenset({"cpulimit", "cpuunits", "swap"})
_CREATE_ONLY = frozenset({"unprivileged", "ostemplate", "ssh-public-keys", "password"})


def impact(option: str, *, running: bool, there: bool, delete: bool = False) -> Impact:
    """What setting ``option`` takes, or deleting it. ``there``: the container has it already.

    Of ``features`` only ``nesting`` isn't root's alone, and only in an unprivileged container: ask
    ``Features.root_only`` too. A disk that grows is ``/resize``, which is live, and not a change of ``mpN``.
    """
    if option in _CREATE_ONLY:
        return Impact.RECREATE
    if option in ("hookscript", "lxc") or _DEVICE.fullmatch(option):
        return Impact.ROOT_ONLY
    if not running or option in _FAST or _NETWORK.fullmatch(option) or _UNUSED.fullmatch(option):
        return Impact.LIVE
    if option in (_HOT_DELETE if delete else _CGROUP):
        return Impact.LIVE
    if _MOUNT.fullmatch(option) and not there and not delete:
        return Impact.LIVE
    return Impact.REBOOT


@dataclass(frozen=True)
class ContainerConfig:
    """``/nodes/{node}/lxc/{vmid}/config``, typed; ``options`` has every option as it came."""

    digest: str
    """To be sent along with a change: PVE refuses it if somebody else has changed the configuration since."""
    rootfs: Mount | None = None
    mounts: Mapping[str, Mount] = field(default_factory=dict)
    networks: Mapping[str, Network] = field(default_factory=dict)
    features: Features = field(default_factory=Features)
    tags: frozenset[str] = frozenset()
    hostname: str | None = None
    description: str = ""
    cores: int | None = None
    memory: int = 512
    """In MiB."""
    swap: int = 512
    """In MiB."""
    on_boot: bool = False
    protection: bool = False
    unprivileged: bool = False
    template: bool = False
    lock: str | None = None
    """What holds it: backup, migrate, snapshot, …"""
    unused: Mapping[str, str] = field(default_factory=dict)
    """Volumes that belong to it and are mounted nowhere; they go with it when it is destroyed."""
    options: Mapping[str, Any] = field(default_factory=dict)


def container_config(raw: Mapping[str, Any]) -> ContainerConfig:
    """What PVE answered, typed. Raises PropertyError for a property string that it can't have written."""
    return ContainerConfig(
        digest=str(raw.get("digest", "")),
        rootfs=Mount.parse(str(raw["rootfs"])) if "rootfs" in raw else None,
        mounts={key: Mount.parse(str(raw[key])) for key in _numbered(raw, _MOUNT)},
        networks={key: Network.parse(str(raw[key])) for key in _numbered(raw, _NETWORK)},
        features=Features.parse(str(raw.get("features", ""))),
        tags=properties.tags(str(raw.get("tags", ""))),
        hostname=str(raw["hostname"]) if "hostname" in raw else None,
        # PVE keeps it as comment lines and ends the last one.
        description=str(raw.get("description", "")).removesuffix("\n"),
        cores=int(raw["cores"]) if "cores" in raw else None,
        memory=int(raw.get("memory", 512)),
        swap=int(raw.get("swap", 512)),
        on_boot=_is(raw, "onboot"),
        protection=_is(raw, "protection"),
        unprivileged=_is(raw, "unprivileged"),
        template=_is(raw, "template"),
        lock=str(raw["lock"]) if raw.get("lock") else None,
        unused={key: str(raw[key]) for key in _numbered(raw, _UNUSED)},
        options={key: value for key, value in raw.items() if key != "digest"},
    )


def _is(raw: Mapping[str, Any], key: str) -> bool:
    return properties.boolean(str(raw.get(key, "0")))


def _numbered(raw: Iterable[str], pattern: re.Pattern[str]) -> list[str]:
    found = [key for key in raw if pattern.fullmatch(key)]
    return sorted(found, key=lambda key: int(re.sub(r"\D", "", key)))


class PendingChange(NamedTuple):
    """A change that waits for a reboot: from ``now`` to ``then``; None is absent."""

    option: str
    now: str | None
    then: str | None


def pending_changes(raw: Iterable[Mapping[str, Any]]) -> tuple[PendingChange, ...]:
    """What of ``/pending`` still waits, sorted by option; the rest of that answer is the configuration as it is."""
    out = []
    for entry in raw:
        now = str(entry["value"]) if "value" in entry else None
        if entry.get("delete"):
            out.append(PendingChange(str(entry["key"]), now, None))
        elif "pending" in entry and str(entry["pending"]) != now:
            out.append(PendingChange(str(entry["key"]), now, str(entry["pending"])))
    return tuple(sorted(out))
