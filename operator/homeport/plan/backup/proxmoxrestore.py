"""What a container is restored as, and whether it came out so. Pure.

Without ``unique`` PVE takes what isn't posted from the archive, networks too; with it, it ignores networks that
are (pve-container ``Create.pm``, ``sanitize_and_merge_config``). So ``unique`` is never sent, and every ``netN`` of the
archive is posted. ``force`` is never sent: it destroys what is there before it extracts.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from homeport.plan.backup import vzdump
from homeport.plan.backup.proxmoxmarks import Found
from homeport.plan.proxmox import sizes
from homeport.plan.proxmox.config import ContainerConfig
from homeport.plan.proxmox.properties import Mount, Network

TAG = "homeport-restore"
"""Of a container that a Restore is at work on."""
_MARK = re.compile(
    r"^homeport\.dev/restore=(?P<installation>[^/\s]+)/(?P<namespace>[^/\s]+)/(?P<name>[^/\s]+)/(?P<vmid>\d+)[ \t]*$",
    re.MULTILINE,
)


class Scratch(NamedTuple):
    """Whose a container is that a Restore is at work on."""

    installation: str
    namespace: str
    name: str
    """The Restore's."""
    vmid: int

    def describe(self, what: str) -> str:
        """Its description."""
        path = "/".join((self.installation, self.namespace, self.name, str(self.vmid)))
        return f"{what}\n\nhomeport.dev/restore={path}"

    def owns(self, description: str) -> bool:
        """Whether a description says so, and nothing else of ours."""
        found = [match.groups() for match in _MARK.finditer(description)]
        others = len(re.findall(r"^homeport\.dev/(?:owner|retained)=", description, re.MULTILINE))
        return found == [(self.installation, self.namespace, self.name, str(self.vmid))] and not others


@dataclass(frozen=True)
class As:
    """As what it is restored."""

    scratch: Scratch
    hostname: str
    what: str
    """For people, in the description."""
    bridge: str | None = None
    """The isolated bridge of a drill; None: its links are down."""
    address: str | None = None
    """On that bridge, with its prefix."""
    storage: str | None = None
    """Where its volumes are made; None: where the original's were."""
    pool: str | None = None
    env: str | None = None
    """The environment of Homeport's init: it must never connect as the original."""
    left_out: bool = True
    """Whether mounts that aren't in the archive are made all the same, empty."""


def networks(archived: ContainerConfig, wish: As) -> dict[str, Network]:
    """Every interface of the archive, cut off: without its MAC and address, and on the isolated bridge, or down."""
    out = {}
    for number, (key, found) in enumerate(archived.networks.items()):
        isolated = wish.bridge is not None and number == 0
        out[key] = Network(
            name=found.name,
            bridge=wish.bridge or found.bridge,
            ip=wish.address if isolated and wish.address is not None else "manual",
            tag=None if wish.bridge is not None else found.tag,
            link_down=None if isolated else True,
            host_managed=found.host_managed,
        )
    return out


def mounts(archived: ContainerConfig, wish: As) -> dict[str, Mount]:
    """The volumes that are made. Raises ValueError for one whose size isn't known."""
    out = {}
    given: dict[str, Mount] = {"rootfs": archived.rootfs} if archived.rootfs is not None else {}
    for key, found in {**given, **archived.mounts}.items():
        if key != "rootfs" and not wish.left_out and not found.backup:
            continue
        storage = wish.storage or found.storage
        if storage is None or not found.size:
            raise ValueError(f"the archive doesn't say how large {key} is")
        volume = sizes.new_volume(storage, str(found.size))
        out[key] = dataclasses.replace(found, volume=volume, size=None)
    if "rootfs" not in out:
        raise ValueError("the archive has no rootfs")
    return out


def params(archive: str, archived: ContainerConfig, wish: As) -> dict[str, Any]:
    """The body of ``POST lxc``. Raises ValueError."""
    out: dict[str, Any] = {
        "vmid": wish.scratch.vmid,
        "ostemplate": archive,
        "restore": True,
        "hostname": wish.hostname,
        "description": wish.scratch.describe(wish.what),
        "tags": TAG,
        "onboot": False,
        "protection": False,
        "start": False,
        "unprivileged": True,
        "pool": wish.pool,
        **{key: mount.render() for key, mount in mounts(archived, wish).items()},
        **{key: network.render() for key, network in networks(archived, wish).items()},
    }
    if wish.env is not None:
        out["env"] = wish.env
    return {key: value for key, value in out.items() if value is not None}


def storages(archived: ContainerConfig, wish: As) -> tuple[str, ...]:
    """Where volumes are made."""
    return tuple(dict.fromkeys(str(mount.volume).partition(":")[0] for mount in mounts(archived, wish).values()))


def refusal(archived: ContainerConfig) -> str:
    """Why it can't be restored by a token; empty when it can."""
    why = vzdump.not_restorable(archived)
    return "; ".join(map(str, why))


def differences(found: ContainerConfig, archived: ContainerConfig, wish: As) -> tuple[str, ...]:
    """What isn't as it was posted; what was restored isn't started then."""
    out: list[str] = []
    posted = networks(archived, wish)
    macs = {net.hwaddr.upper() for net in archived.networks.values() if net.hwaddr}
    for key in sorted({*posted, *found.networks}):
        mine, theirs = posted.get(key), found.networks.get(key)
        if mine is None or theirs is None or not mine.same_as(theirs):
            out.append(f"{key} is {theirs.render() if theirs else 'absent'}")
        elif theirs.hwaddr and theirs.hwaddr.upper() in macs:
            out.append(f"{key} has the original's MAC")
    if found.on_boot:
        out.append("it starts with the host")
    if found.protection:
        out.append("it is protected")
    if not wish.scratch.owns(found.description):
        out.append("its description isn't the one that was posted")
    if not found.unprivileged:
        out.append("it is privileged")
    out += [f"{key} is a {mount.kind} mount" for key, mount in found.mounts.items() if mount.kind != "volume"]
    out += [f"it has {key}" for key in sorted(found.options) if re.fullmatch(r"dev\d+|hookscript|lxc", key)]
    wanted = {key: mount.path for key, mount in mounts(archived, wish).items()}
    there = {key: mount.path for key, mount in {"rootfs": found.rootfs, **found.mounts}.items() if mount is not None}
    if wanted != there:
        out.append(f"its mounts are {', '.join(sorted(there))}, and {', '.join(sorted(wanted))} were asked for")
    env = str(found.options.get("env") or "")
    if wish.env is not None and env != wish.env:
        out.append("its environment isn't the one that was posted")
    return tuple(out)


# --- which one --------------------------------------------------------------------------------------------------------


class NoSuchRun(NamedTuple):
    """Nothing fits; ``text`` says what there is."""

    text: str


NEAREST = 5


def choose(runs: Sequence[Found], snapshot: str | None, before: str | None) -> Found | NoSuchRun:
    """The run that is asked for; of ``latest`` and ``before`` the newest good one."""
    if snapshot not in (None, "latest"):
        wanted = [run for run in runs if snapshot == run.run or any(snapshot == one.volume for one in run.archives)]
        if wanted:
            return wanted[0]
        return NoSuchRun(f"there is no snapshot {snapshot}{_there(runs)}")
    good = [run for run in runs if run.good]
    if before is not None:
        moment = datetime.fromisoformat(before)
        good = [run for run in good if run.time < moment]
        return good[0] if good else NoSuchRun(f"there is no good run before {before}{_there(runs)}")
    return good[0] if good else NoSuchRun(f"there is no good run{_there(runs)}")


def _there(runs: Sequence[Found]) -> str:
    if not runs:
        return ": no archive on the storage is of this Backup"
    shown = [_shown(run) for run in runs[:NEAREST]]
    more = f" and {len(runs) - NEAREST} older ones" if len(runs) > NEAREST else ""
    return f"; there are {', '.join(shown)}{more}"


def _shown(run: Found) -> str:
    volume = next((archive.volume for archive in run.archives), "")
    return f"{volume} ({run.time:%Y-%m-%dT%H:%M:%SZ}{'' if run.good else ', not good'})"


def left_out(archived: ContainerConfig) -> Mapping[str, Mount]:
    """The volumes that the archive has nothing of."""
    return {key: mount for key, mount in archived.mounts.items() if mount.kind == "volume" and not mount.backup}
