"""What backups, runs and restores share: methods, schedules, and what is reported of a run."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StrictBool, StrictInt

from homeport.api.base import ATOMIC, Label, ListMap, Model, Rule, ShortText, Text, matches
from homeport.api.pod import Argument

BackupMethod = Literal["Postgres", "MySQL", "SQLite", "Redis", "Files", "Container", "Manifests"]
Command = Annotated[tuple[Argument, ...], Field(min_length=1, max_length=64), ATOMIC]
SnapshotId = Annotated[str, Field(max_length=512)]
Bytes = Annotated[StrictInt, Field(ge=0)]

TimeZone = Annotated[
    str,
    Field(min_length=1, max_length=64),
    matches(
        r"^[A-Za-z][-A-Za-z0-9_+]*(/[A-Za-z0-9][-A-Za-z0-9_+]*)*$",
        "write a time zone's name of the tz database, such as Europe/Rome or UTC",
    ),
]


class BackupRef(Model):
    """Names a Backup in the same namespace."""

    name: Label
    """The Backup's name."""


class TransferProgress(Model):
    """How far a run or a restore is; written at most every 10 seconds."""

    part: ShortText | None = None
    """What is being read or written."""
    bytes: Bytes | None = None
    """How much is done."""
    percent: Annotated[StrictInt, Field(ge=0, le=100)] | None = None
    """How much of the whole that is, where the whole is known or expected."""
    eta: ShortText | None = None
    """How long the rest takes, where that can be told."""
    message: Text | None = None
    """What it waits for."""


class RunPart(Model):
    """One part of a run: a database, a volume, a container."""

    part: ShortText
    """Which."""
    snapshot: SnapshotId | None = None
    """The snapshot's id; of Proxmox VE the archive's volume."""
    file: Text | None = None
    """Where it is inside the snapshot."""
    bytes: Bytes | None = None
    """How large it is."""
    container: ShortText | None = None
    """The LXCContainer."""
    vmid: Annotated[StrictInt, Field(ge=100)] | None = None
    """The container's VMID."""
    mode: ShortText | None = None
    """The mode that Proxmox VE really used."""
    done: StrictBool | None = None
    """Whether it is finished."""
    reason: ShortText | None = None
    """Why it failed."""


class HostTask(Model):
    """A task on a Proxmox VE host. Written before it is asked for."""

    type: ShortText
    """What it does."""
    node: ShortText
    """The node that it runs on."""
    vmid: Annotated[StrictInt, Field(ge=100)] | None = None
    """The container."""
    upid: ShortText | None = None
    """The task's id; absent until the host has answered."""
    since: ShortText
    """When it was asked for."""
    detail: Text | None = None
    """What of it."""


class HookState(Model):
    """What came of one hook."""

    hook: ShortText
    """Which: before[0], after[1]."""
    exit_code: StrictInt | None = None
    """The command's exit code; absent while it runs."""
    message: Text | None = None
    """Why it failed."""


class CheckResult(Model):
    """What a check of restored data said."""

    output: Text = ""
    """The first 1024 characters of what it printed."""
    passed: StrictBool
    """Whether that is what was expected."""


class KeptRun(Model):
    """One run in a repository."""

    run: ShortText
    """The BackupRun's name; the object may be gone."""
    snapshot: SnapshotId | None = None
    """Its snapshot's id; of Proxmox VE the archive's volume."""
    time: ShortText
    """When it was begun."""
    bytes: Bytes | None = None
    """How much was read."""
    protected: StrictBool | None = None
    """True: kept by every retention."""
    complete: StrictBool | None = None
    """False: it was cut off; it can't be restored, and counts for no retention rule."""
    verified: StrictBool | None = None
    """True: it is the newest that was proven, or Proxmox Backup Server has verified it."""


class LastRun(Model):
    """How the newest run or drill ended."""

    name: ShortText
    """The object's name."""
    phase: ShortText
    """How it ended, or how far it is."""
    time: ShortText
    """When it ended, or was begun."""
    message: Text = ""
    """What a person needs to know."""


class Verified(Model):
    """The run that was proven last."""

    run: ShortText
    """The BackupRun's name."""
    snapshot: SnapshotId | None = None
    """Its snapshot's id."""
    time: ShortText
    """When the run was begun."""


class Listing(Model):
    """What a repository has of one backup, as a run saw it when it was done."""

    snapshots: Annotated[StrictInt, Field(ge=0)]
    """How many runs there are."""
    runs: Annotated[tuple[KeptRun, ...], Field(max_length=100), ListMap("run")] = ()
    """The newest, newest first."""


IMMUTABLE = "a run or a restore is done once, as it was asked for; make another one"


def unchanged() -> Rule:
    """The rule that a spec never changes."""
    return Rule("self == oldSelf", IMMUTABLE)


TimeStamp = Annotated[
    str,
    Field(max_length=40),
    matches(
        r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]+)?"
        r"(Z|[-+]([01][0-9]|2[0-3]):[0-5][0-9])$",
        "write a moment with its zone, such as 2026-11-20T18:00:00Z or 2026-11-20T19:00:00+01:00",
    ),
]
