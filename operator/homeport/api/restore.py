"""Restore: brings a run back, to a new place, over the original, or into a scratch place that proves it (a drill)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StrictBool, StrictInt

from homeport.api.backupparts import (
    BackupMethod,
    BackupRef,
    Bytes,
    CheckResult,
    HostTask,
    RunPart,
    SnapshotId,
    TimeStamp,
    TransferProgress,
    unchanged,
)
from homeport.api.base import ATOMIC, SET, Duration, Label, ListMap, Model, NameRef, Rule, ShortText, Text, matches
from homeport.api.lxcparts import Vmid
from homeport.api.proxmoxhost import NodeName, StorageName
from homeport.api.status import Inventory, Status


class RestoreSource(Model):
    """What a repository has of a Backup that is gone."""

    repository_ref: NameRef
    """The BackupRepository."""
    backup: Label | None = None
    """The name of the Backup that is gone; without, snapshot has to be an id."""
    method: BackupMethod | None = None
    """The method that it was taken with; absent means what the name of the target's image tells."""


class NewTarget(Model):
    """A new place; nothing that is there is changed."""

    environment: Label | None = None
    """The environment; absent means the original's."""
    application: Label | None = None
    """The Application; absent means the original's."""
    component: Label | None = None
    """Its component; absent means the original's."""
    container: Label | None = None
    """Of a container: the name of the new LXCContainer; absent means the original's and this restore's."""
    vmid: Vmid | None = None
    """Of a container: its VMID; absent means one from the range."""
    node: NodeName | None = None
    """Of a container: the node; absent means the original's."""
    storage: StorageName | None = None
    """Of a container: where its volumes are made; absent means where the original's were."""


class InPlaceTarget(Model):
    """The original. What is there now is backed up first, and then replaced."""

    confirm: (
        Annotated[
            str,
            Field(max_length=64),
            matches(
                r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$|^$", "write a UID such as 7f6d1c1e-…, all 36 characters"
            ),
        ]
        | None
    ) = None
    """The UID of the Application or LXCContainer that is overwritten. It is another one on another cluster, so this
    never runs again from Git there."""
    quiesce: StrictBool = False
    """True: what uses the data is scaled to zero meanwhile. Volumes need it."""
    keep: Duration = "24h"
    """Of a container: how long the one that was replaced is kept beside, stopped. Databases and files aren't: what was
    there is in the backup that was taken before."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.confirm) && self.confirm != ''",
            "inPlace overwrites what is there; write confirm: the UID that kubectl get hpapp NAME (or hplxc NAME) "
            "-o jsonpath='{.metadata.uid}' prints, or leave inPlace out to restore beside it",
            lambda s: bool(s.confirm),
        ),
    )


class DrillTarget(Model):
    """A scratch place, which is gone afterwards. How it is checked says the Backup's verify."""


class RestoreTarget(Model):
    """Where to; exactly one."""

    new: NewTarget | None = None
    """A new place."""
    in_place: InPlaceTarget | None = None
    """The original."""
    drill: DrillTarget | None = None
    """A scratch place, to prove that it can be restored."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "[has(self.new), has(self.inPlace), has(self.drill)].filter(x, x).size() == 1",
            "write exactly one of new, inPlace and drill, or leave target out to restore beside the original",
            lambda s: (s.new is not None) + (s.in_place is not None) + (s.drill is not None) == 1,
        ),
    )


def _is_id(snapshot: str | None) -> bool:
    return snapshot is not None and snapshot != "latest"


def _drill(spec: RestoreSpec) -> bool:
    return spec.target is not None and spec.target.drill is not None


class RestoreSpec(Model):
    """What is brought back, and where to. It can't be changed."""

    backup_ref: BackupRef | None = None
    """The Backup."""
    source: RestoreSource | None = None
    """Instead, when the Backup is gone: the repository that still has its snapshots."""
    snapshot: (
        Annotated[
            str,
            Field(min_length=1, max_length=512),
            matches(
                r"^(latest|[0-9a-f]{8,64}|[A-Za-z][-A-Za-z0-9._]*:backup/[^ ]+)$",
                "write latest, or a snapshot's id as the Backup's status.runs lists them (at least 8 digits)",
            ),
        ]
        | None
    ) = None
    """latest, or an id; absent means latest."""
    before: TimeStamp | None = None
    """Instead: the newest one before a moment."""
    paths: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=1024)], ...], Field(max_length=64), SET] = ()
    """Of files: only these; absent means all."""
    target: RestoreTarget | None = None
    """Where to; absent means beside the original."""
    ttl_seconds_after_finished: Annotated[StrictInt, Field(ge=0, le=315360000)] | None = None
    """This object is deleted so long after it is over; what was restored stays."""

    rules: ClassVar[tuple[Rule, ...]] = (
        unchanged(),
        Rule(
            "!has(self.ttlSecondsAfterFinished) || !has(self.target) || !has(self.target.inPlace)",
            "a restore in place stays, so that what applies it again (Git) doesn't overwrite again; leave "
            "ttlSecondsAfterFinished out",
            lambda s: s.ttl_seconds_after_finished is None or s.target is None or s.target.in_place is None,
            ".ttlSecondsAfterFinished",
        ),
        Rule(
            "has(self.backupRef) != has(self.source)",
            "write either backupRef or, when the Backup is gone, source with its repositoryRef",
            lambda s: (s.backup_ref is None) != (s.source is None),
        ),
        Rule(
            "!has(self.before) || !has(self.snapshot) || self.snapshot == 'latest'",
            "write either a snapshot's id or before",
            lambda s: s.before is None or not _is_id(s.snapshot),
            ".before",
        ),
        Rule(
            "!has(self.source) || has(self.source.backup) || (has(self.snapshot) && self.snapshot != 'latest')",
            "a repository holds several backups; write source.backup, the name of the one that is gone, or an id as "
            "snapshot",
            lambda s: s.source is None or s.source.backup is not None or _is_id(s.snapshot),
            ".source",
        ),
        Rule(
            "!has(self.source) || (has(self.target) && has(self.target.new) && "
            "((has(self.target.new.application) && has(self.target.new.component) && "
            "has(self.target.new.environment)) || has(self.target.new.container)))",
            "the Backup is gone, so nothing says where its data belongs; write target.new with application, component "
            "and environment, or with container",
            lambda s: s.source is None or _says_where(s),
            ".target",
        ),
        Rule(
            "!has(self.paths) || self.paths.size() == 0 || !has(self.target) || !has(self.target.drill)",
            "a drill restores everything; leave paths out",
            lambda s: not s.paths or not _drill(s),
            ".paths",
        ),
    )


def _says_where(spec: RestoreSpec) -> bool:
    new = spec.target.new if spec.target is not None else None
    if new is None:
        return False
    return bool(new.application and new.component and new.environment) or new.container is not None


class RestoredTo(Model):
    """What was made, or overwritten."""

    databases: Annotated[tuple[ShortText, ...], Field(max_length=64), ATOMIC] = ()
    """Databases, as they are called there."""
    claims: Annotated[tuple[ShortText, ...], Field(max_length=64), ATOMIC] = ()
    """PersistentVolumeClaims."""
    namespace: ShortText | None = None
    """The namespace that they are in."""
    container: ShortText | None = None
    """The LXCContainer."""
    vmid: Vmid | None = None
    """Its VMID."""


class RestoreStatus(Status):
    """How far it is, and what came of it."""

    phase: (
        Literal[
            "Pending",
            "Before",
            "Quiescing",
            "Running",
            "Checking",
            "Swapping",
            "Resuming",
            "Cleaning",
            "Succeeded",
            "Incomplete",
            "Failed",
        ]
        | None
    ) = None
    """Pending, Before (the present state is saved), Quiescing, Running, Checking, Swapping, Resuming, Cleaning; at last
    Succeeded, Incomplete or Failed."""
    run: ShortText | None = None
    """The run that is restored; written before anything is."""
    snapshot: SnapshotId | None = None
    """Its snapshot."""
    time: ShortText | None = None
    """When the run was begun: what came later isn't in it."""
    restored_to: RestoredTo | None = None
    """What was made, or overwritten."""
    progress: TransferProgress | None = None
    """How far it is."""
    before: ShortText | None = None
    """The BackupRun that saved what was there before."""
    check: CheckResult | None = None
    """What the check said."""
    started_at: ShortText | None = None
    """When it began."""
    finished_at: ShortText | None = None
    """When it was over."""
    duration: ShortText | None = None
    """How long it took to bring the data back: what an outage would take at least."""
    bytes: Bytes | None = None
    """How much was written."""
    method: ShortText | None = None
    """The method that was used."""
    reason: ShortText | None = None
    """Why it isn't a success, as one word."""
    message: Text | None = None
    """What came of it, as a sentence."""
    notes: Annotated[tuple[Text, ...], Field(max_length=64), ATOMIC] = ()
    """What a person should know although it succeeded."""
    parts: Annotated[tuple[RunPart, ...], Field(max_length=64), ListMap("part")] = ()
    """What was restored, part by part."""
    attempts: Annotated[StrictInt, Field(ge=0)] | None = None
    """How many times it was begun."""
    quiesced: Annotated[tuple[ShortText, ...], Field(max_length=64), ATOMIC] = ()
    """What is scaled to zero for it, each as application/environment/component."""
    stopped_at: ShortText | None = None
    """In place: since when what uses the data is scaled to zero."""
    run_as_user: Annotated[StrictInt, Field(ge=0)] | None = None
    """As whom files are written: whoever its Pods ran as before they were stopped."""
    outcome: Literal["Succeeded", "Incomplete", "Failed"] | None = None
    """What came of it, known before all is tidied up; then the phase says it too."""
    step: ShortText | None = None
    """For a container: what is done next on the host."""
    node: ShortText | None = None
    """For a container: the node."""
    vmid: Vmid | None = None
    """For a container: the VMID that it is restored to; written before it is used."""
    address: ShortText | None = None
    """For a drill of a container: its address on the isolated network."""
    previous_vmid: Vmid | None = None
    """For a container: the one that was replaced, and is kept, stopped."""
    keep_until: ShortText | None = None
    """Until when what was replaced is kept."""
    task: HostTask | None = None
    """What is being done on the host."""
    inventory: Inventory | None = None
    """The objects that were made for it in Kubernetes."""
