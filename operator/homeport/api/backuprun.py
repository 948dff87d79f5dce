"""BackupRun: one backup, now. Made by a Backup's schedule, or by hand."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StrictBool, StrictInt

from homeport.api.backupparts import (
    BackupRef,
    Bytes,
    HookState,
    HostTask,
    Listing,
    RunPart,
    SnapshotId,
    TransferProgress,
    unchanged,
)
from homeport.api.base import ATOMIC, ListMap, Model, Rule, ShortText, Text
from homeport.api.status import Inventory, Status


class BackupRunSpec(Model):
    """One backup, now. It can't be changed."""

    backup_ref: BackupRef
    """The Backup that says what, how and where to."""
    ttl_seconds_after_finished: Annotated[StrictInt, Field(ge=0, le=315360000)] | None = None
    """This object is deleted so long after it is over; its snapshot stays. Absent means the Backup's historyLimit."""
    protected: StrictBool = False
    """True: its snapshot is kept by every retention."""
    trigger: Literal["Schedule", "Manual", "Final", "BeforeRestore"] = "Manual"
    """Who asked for it."""

    rules: ClassVar[tuple[Rule, ...]] = (unchanged(),)


class VolumeSnapshot(Model):
    """A CSI snapshot of a volume, and the claim that it is read from."""

    name: ShortText
    """The VolumeSnapshot's name, and that of the claim that is made from it."""
    claim: ShortText
    """The claim that it is of."""
    class_name: ShortText
    """Its VolumeSnapshotClass."""
    time: ShortText | None = None
    """When the driver took it: what came later isn't in the backup."""
    size: ShortText | None = None
    """How large the claim is that is made from it."""


class BackupRunStatus(Status):
    """How far it is, and what came of it."""

    phase: (
        Literal["Pending", "Before", "Snapshotting", "Running", "After", "Succeeded", "Incomplete", "Failed"] | None
    ) = None
    """Pending, Before (hooks), Snapshotting (of a volume), Running, After (hooks); at last Succeeded, Incomplete or
    Failed."""
    started_at: ShortText | None = None
    """When it began."""
    finished_at: ShortText | None = None
    """When it was over."""
    duration: ShortText | None = None
    """How long it took."""
    run: ShortText | None = None
    """Its name in the repository."""
    snapshot: SnapshotId | None = None
    """Its snapshot's id; of Proxmox VE the archive's volume."""
    bytes: Bytes | None = None
    """How much was read."""
    bytes_added: Bytes | None = None
    """How much of that the repository didn't have."""
    method: ShortText | None = None
    """The method that was used."""
    reason: ShortText | None = None
    """Why it isn't a success, as one word."""
    message: Text | None = None
    """What came of it, as a sentence."""
    notes: Annotated[tuple[Text, ...], Field(max_length=64), ATOMIC] = ()
    """What a person should know although it succeeded."""
    parts: Annotated[tuple[RunPart, ...], Field(max_length=64), ListMap("part")] = ()
    """What was saved."""
    progress: TransferProgress | None = None
    """How far it is."""
    attempts: Annotated[StrictInt, Field(ge=0)] | None = None
    """How many times it was begun."""
    hooks: Annotated[tuple[HookState, ...], Field(max_length=16), ListMap("hook")] = ()
    """What came of its hooks."""
    volume_snapshot: VolumeSnapshot | None = None
    """For method Files: the CSI snapshot that is read instead of the volume; it is removed when the run is over."""
    listing: Listing | None = None
    """What the repository has of this backup since."""
    node: ShortText | None = None
    """For a container: the node that it was on."""
    vmid: Annotated[StrictInt, Field(ge=100)] | None = None
    """For a container: its VMID."""
    volume: SnapshotId | None = None
    """For a container: the archive."""
    mode: ShortText | None = None
    """For a container: the mode that Proxmox VE really used."""
    not_covered: Annotated[tuple[Text, ...], Field(max_length=64), ATOMIC] = ()
    """What of the source isn't in it, such as mounts that are left out."""
    task: HostTask | None = None
    """What is being done on the host."""
    inventory: Inventory | None = None
    """The objects that were made for it in Kubernetes."""
