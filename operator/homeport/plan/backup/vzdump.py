"""What vzdump is asked for, and what its task's log says really happened. Pure.

Source: pve-manager ``VZDump.pm`` and pve-container ``VZDump/LXC.pm`` (their ``debugmsg`` and ``loginfo``): a mode that
the storage can't do becomes another one, and mounts are left out, without a word but in the log.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from homeport.plan.backup.proxmoxmarks import Mark
from homeport.plan.proxmox.config import ContainerConfig
from homeport.plan.proxmox.tasks import End, TaskStatus

COMPRESS = {"zstd": "zstd", "gzip": "gzip", "lzo": "lzo", "none": "0"}

_MODE = re.compile(r"backup mode: (\w+)")
_STATUS = re.compile(r"INFO: status = (\w+)")
_LEFT_OUT = re.compile(
    r"excluding (?P<kind>\w+) mount point (?P<key>\S+) \('(?P<path>.*)'\) from backup \((?P<why>.*)\)"
)
_ARCHIVE = re.compile(r"creating (?P<kind>.+) archive '(?P<target>.+)'")
_FAILED = re.compile(r"ERROR: Backup of VM \d+ failed - (?P<why>.*)")
_WARNED = re.compile(r"(?:WARN|WARNING):? (?P<what>.*)")
_FULL = "No space left on device"
WAITS, GOT = "trying to get global lock", "got global lock"


def params(mark: Mark, vmid: int, storage: str, *, mode: str, compress: str, protected: bool) -> dict[str, Any]:
    """The body of ``POST vzdump``.

    ``remove`` is off, always: it would apply the storage's own retention, which goes by VMID. ``prune-backups``
    is never sent.
    """
    out = {
        "vmid": str(vmid),
        "storage": storage,
        "mode": mode,
        "compress": COMPRESS[compress],
        "remove": False,
        "notes-template": mark.template(),
    }
    return {**out, "protected": True} if protected else out


class Told(NamedTuple):
    """What a task's log says."""

    mode: str = ""
    """What was really done; empty when it didn't come so far."""
    was_running: bool = True
    left_out: tuple[str, ...] = ()
    """The mounts that aren't in it, and why."""
    volume: str = ""
    """The archive."""
    failed: str = ""
    """Why it failed."""
    warnings: tuple[str, ...] = ()


def read(lines: Iterable[str], storage: str) -> Told:
    """The log, in order."""
    mode, status, volume, failed, full = "", "running", "", "", ""
    left_out: list[str] = []
    warnings: list[str] = []
    for line in lines:
        if (found := _MODE.search(line)) is not None:
            mode = found[1]
        elif (found := _STATUS.search(line)) is not None:
            status = found[1]
        elif (found := _LEFT_OUT.search(line)) is not None:
            # The attempt at a snapshot says it as well as the suspension after it.
            entry = f"{found['path']} ({found['key']}): {_why(found['kind'], found['why'])}"
            left_out += [] if entry in left_out else [entry]
        elif (found := _ARCHIVE.search(line)) is not None:
            name = found["target"] if found["kind"] != "vzdump" else found["target"].rpartition("/")[2]
            volume = f"{storage}:backup/{name}"
        elif (found := _FAILED.search(line)) is not None:
            failed = found["why"]
        elif _FULL in line:
            full = f" ({_FULL})"
        elif line.startswith(("WARN", "TASK WARN")) and (found := _WARNED.search(line)) is not None:
            warnings.append(found["what"])
    return Told(mode, status == "running", tuple(left_out), volume, failed + full if failed else "", tuple(warnings))


def _why(kind: str, why: str) -> str:
    if why == "disabled":
        return "its backup is off; set backup: true on the mount to have it"
    return "a bind mount, which vzdump never takes" if kind == "bind" else f"vzdump leaves it out ({why})"


def left_out(config: ContainerConfig) -> tuple[str, ...]:
    """The same, told from a configuration before anything is done."""
    out = []
    for key, mount in config.mounts.items():
        if mount.kind != "volume":
            out.append(f"{mount.path} ({key}): {_why(mount.kind, 'not a volume')}")
        elif not mount.backup:
            out.append(f"{mount.path} ({key}): {_why('volume', 'disabled')}")
    return tuple(out)


def is_of(lines: Iterable[str], mark: Mark) -> bool | None:
    """Whether a task makes the archive of ``mark``: it logs what it was called with. None: it hasn't begun yet."""
    for line in lines:
        if "starting new backup job" in line:
            return mark.text in line
    return None


def queued(lines: Iterable[str]) -> bool:
    """Whether it waits for another backup on its node: Proxmox VE makes one at a time."""
    waits = False
    for line in lines:
        waits = WAITS in line or (waits and GOT not in line)
    return waits


class Verdict(NamedTuple):
    """What came of one archive."""

    reason: str = ""
    """Why it isn't a success, as one word; empty when it is."""
    message: str = ""
    notes: tuple[str, ...] = ()
    """What a person should know although it succeeded."""


def verdict(status: TaskStatus, told: Told, asked: str, *, require_mode: bool) -> Verdict:
    """Whether it is a backup. Warnings are shown, and don't make it none."""
    if status.end is End.UNKNOWN:
        return Verdict("TaskLost", f"the task ended without saying how ({status.message}); its node may have restarted")
    if not status.succeeded:
        return Verdict(*_failure(told.failed or status.message))
    notes = [f"Proxmox VE warned: {warning}" for warning in told.warnings]
    if status.warnings and not told.warnings:
        notes.append(f"the task ended with {status.warnings} warning(s); its log has them: {status.upid}")
    # What doesn't run is dumped as it lies there; that is as consistent as any mode.
    if told.mode and told.mode != asked and told.was_running:
        text = f"it was taken with mode {told.mode}, not {asked}: a volume's storage can't make snapshots"
        if require_mode:
            return Verdict("OtherMode", f"{text}; write container.mode: {told.mode}, or leave requireMode out", ())
        notes.append(text)
    return Verdict("", "", tuple(notes))


def _failure(why: str) -> tuple[str, str]:
    text = why.strip() or "it failed without saying why"
    lowered = text.lower()
    if "no space left" in lowered or "exit code 70" in lowered:
        return "RepositoryFull", f"the storage is full: {text}"
    if "max backup limit" in lowered:
        return "StorageRetention", (
            f"{text} That is the storage's own retention, which goes by VMID: set its prune-backups to keep-all=1, "
            "Homeport's retention does the rest"
        )
    if "protected backups per guest" in lowered:
        return "StorageRetention", f"{text}; raise max-protected-backups on the storage, or unprotect some"
    if "is locked" in lowered:
        return "Locked", f"{text}: something else holds the container"
    if "vm.backup" in lowered:
        return "AccessDenied", f"the token lacks VM.Backup: {text}"
    if "wrong content type" in lowered:
        return "InvalidSpec", f"{text}: add Backup to the storage's content, or name another"
    return "BackupFailed", text


class Obstacle(NamedTuple):
    """Why an API token can't restore a container as it is."""

    what: str

    def __str__(self) -> str:
        return self.what


INIT = "/.homeport/init"


def not_restorable(config: ContainerConfig) -> tuple[Obstacle, ...]:
    """What Proxmox VE lets root@pam restore only, or drops when a token restores it (``sanitize_and_merge_config``,
    ``API2/LXC.pm``). Raw lines of a container that Homeport's init runs in aren't missed: init does what they say."""
    out: list[str] = []
    raw: Any = config.options.get("lxc") or ()
    lines = [f"{key}: {value}" for key, value in raw]
    if lines and not str(config.options.get("entrypoint") or "").startswith(INIT):
        out.append(f"its raw lines are dropped ({'; '.join(lines)})")
    out += [f"{key} is a {mount.kind} mount" for key, mount in config.mounts.items() if mount.kind != "volume"]
    out += [f"{key} is a device" for key in sorted(config.options) if re.fullmatch(r"dev\d+", key)]
    if config.options.get("hookscript"):
        out.append("it has a hookscript, which would run on the host")
    if not config.unprivileged:
        out.append("it is privileged")
    return tuple(Obstacle(text) for text in out)


def obstacles(found: Mapping[str, tuple[Obstacle, ...]]) -> str:
    """For people; empty when there is none."""
    parts = [f"{container}: {', '.join(map(str, why))}" for container, why in sorted(found.items()) if why]
    if not parts:
        return ""
    return (
        f"Homeport can't restore it as it is, since an API token mayn't ({'; '.join(parts)}); root@pam can, with pct "
        "restore"
    )
