"""CSI snapshots of volumes: which class can make one, what is asked for, and how far it is. Pure.

A snapshot is a moment: files that are copied out of it belong together as they would after a power cut. Source of what
the fields mean: https://kubernetes-csi.github.io/docs/snapshot-restore-feature.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from homeport.api.backup import FileBackup
from homeport.api.labels import OwnerKey
from homeport.plan import environment_objects, names
from homeport.plan.backup import times
from homeport.plan.diff import quantity
from homeport.plan.types import Child, Manifest
from homeport.plan.world import Live

if TYPE_CHECKING:
    from homeport.plan.backup.source import Source

API = "snapshot.storage.k8s.io"
DEFAULT = "snapshot.storage.kubernetes.io/is-default-class"
PATIENCE = timedelta(minutes=10)
"""How long a driver may be silent, or say that it can't, before the snapshot is given up: it tries again by itself. One
that was taken and is being stored may take as long as the run."""


@dataclass(frozen=True)
class Offered:
    """What a cluster has for snapshots."""

    served: bool = False
    """Whether there are VolumeSnapshots at all."""
    classes: Sequence[Live] = ()
    """Its VolumeSnapshotClasses."""
    drivers: Mapping[str, str] = field(default_factory=dict)
    """The driver of each StorageClass."""


@dataclass(frozen=True)
class Reading:
    """How a volume is to be read."""

    mode: Literal["Auto", "Always", "Never"] = "Never"
    class_name: str | None = None
    """The class that is asked for."""
    taken: str = ""
    """The class of the snapshot that a run has already: nothing is chosen any more."""


LIVE = Reading()
"""As it is, while it is in use."""


def reading(files: FileBackup | None) -> Reading:
    """What a Backup asks for."""
    asked = files or FileBackup()
    return Reading(asked.snapshot, asked.snapshot_class)


def class_of(claim: Live, name: str, offered: Offered, asked: Reading) -> tuple[str, str]:
    """The class that makes a snapshot of the claim ``name``, or else why there can't be one."""
    if asked.taken or asked.mode == "Never":
        return asked.taken, ""
    if not offered.served:
        return "", "the cluster has no VolumeSnapshots (snapshot.storage.k8s.io/v1)"
    storage = (claim.get("spec") or {}).get("storageClassName")
    driver = offered.drivers.get(storage or "")
    if driver is None:
        return "", f"the claim {name} has no StorageClass" if not storage else f"there is no StorageClass {storage}"
    if (claim.get("status") or {}).get("phase") != "Bound":
        return "", f"the claim {name} isn't bound yet"
    of_driver = {c["metadata"]["name"]: c for c in offered.classes if c.get("driver") == driver}
    if asked.class_name is not None:
        if asked.class_name not in of_driver:
            there = ", ".join(sorted(of_driver)) or "none"
            return "", (
                f"VolumeSnapshotClass {asked.class_name} isn't there for driver {driver} of the claim {name}; of that "
                f"driver there are: {there}"
            )
        of_driver = {asked.class_name: of_driver[asked.class_name]}
    return _chosen(of_driver, driver)


def _chosen(of_driver: Mapping[str, Live], driver: str) -> tuple[str, str]:
    if not of_driver:
        return "", f"there is no VolumeSnapshotClass for driver {driver}"
    # One that retains would leave the storage's own snapshot behind with every run.
    usable = {name: found for name, found in of_driver.items() if found.get("deletionPolicy") == "Delete"}
    if not usable:
        kept = ", ".join(sorted(of_driver))
        return "", f"VolumeSnapshotClass {kept} keeps what it makes for good; one with deletionPolicy: Delete is needed"
    default = [n for n, c in usable.items() if (c["metadata"].get("annotations") or {}).get(DEFAULT) == "true"]
    if len(default) == 1 or len(usable) == 1:
        return (default or list(usable))[0], ""
    several = ", ".join(sorted(usable))
    return "", f"several VolumeSnapshotClasses are for driver {driver}; write one of them in snapshotClass: {several}"


# --- what is asked for ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Snapshot:
    """A snapshot and the claim that is made from it, for one run; both have its name."""

    name: str
    claim: str
    """The claim that it is of."""
    class_name: str
    time: str | None = None
    size: str | None = None
    """Of the claim that is made from it; None before that is known."""

    @classmethod
    def of(cls, status: Mapping[str, Any]) -> Snapshot | None:
        """The one that a run's status tells of."""
        found = status.get("volumeSnapshot")
        if not found:
            return None
        return cls(found["name"], found["claim"], found["className"], found.get("time"), found.get("size"))

    def fields(self) -> dict[str, str]:
        """As the status has it."""
        out = {"name": self.name, "claim": self.claim, "className": self.class_name}
        return out | {key: value for key, value in (("time", self.time), ("size", self.size)) if value}


def planned(run: str, uid: str, source: Source) -> Snapshot | None:
    """The snapshot that a run is going to make, if it is to. Another run of the same name has another one."""
    if not source.snapshot or source.volume is None:
        return None
    name = names.bounded(f"homeport-run-{run}-{names.digest_of(uid)[:8]}", names.LABEL_LIMIT)
    return Snapshot(name, source.volume.claim, source.snapshot)


def instead(source: Source, snapshot: Snapshot) -> Source:
    """The source with what the snapshot holds in the volume's place. That may be on any node; storage that is a node's
    own is only on the same, so that one is preferred."""
    assert source.volume is not None
    return replace(source, volume=replace(source.volume, claim=snapshot.name), node="", near=source.node)


def children(
    snapshot: Snapshot, owner: OwnerKey, source: Source, original: Live | None, *, served: bool = True
) -> tuple[Child, ...]:
    """The VolumeSnapshot, and the claim once its size is known. ``original`` is the claim that the snapshot is of."""
    marks = environment_objects.owned(owner, owner.namespace, source.environment or None, "backup")
    metadata = {"name": snapshot.name, "namespace": source.namespace, "labels": marks}
    manifests: list[Manifest] = []
    if served:
        spec = {
            "volumeSnapshotClassName": snapshot.class_name,
            "source": {"persistentVolumeClaimName": snapshot.claim},
        }
        manifests.append({"apiVersion": f"{API}/v1", "kind": "VolumeSnapshot", "metadata": metadata, "spec": spec})
    if snapshot.size is not None and original is not None:
        spec = {
            "accessModes": list(original["spec"]["accessModes"]),
            "storageClassName": original["spec"]["storageClassName"],
            "dataSource": {"apiGroup": API, "kind": "VolumeSnapshot", "name": snapshot.name},
            "resources": {"requests": {"storage": snapshot.size}},
        }
        claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec}
        manifests.append(claim)
    return tuple(Child(one, source.environment, "snapshot", cluster=source.cluster) for one in manifests)


# --- how far it is ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class State:
    """How far a snapshot is."""

    ready: bool = False
    failed: bool = False
    """Whether it isn't waited for any more."""
    message: str = ""


def state(found: Live | None, now: datetime) -> State:
    """How far the VolumeSnapshot is; None: it isn't there yet."""
    if found is None:
        return State(message="the VolumeSnapshot is being made")
    status = found.get("status") or {}
    if status.get("readyToUse"):
        return State(ready=True)
    error = str((status.get("error") or {}).get("message") or "")
    made = times.moment(str(found["metadata"].get("creationTimestamp") or "")) or now
    if (error or not status.get("creationTime")) and now - made > PATIENCE:
        return State(failed=True, message=error or "no snapshot controller has answered")
    return State(message=error or "the VolumeSnapshot isn't ready to use yet")


def known(snapshot: Snapshot, found: Live, original: Live) -> Snapshot:
    """With what a snapshot that is ready says: when it was taken, and how large a claim from it has to be. The claim
    is never smaller than the original: drivers tell nothing, or what is used."""
    status = found.get("status") or {}
    asked = ((original.get("spec") or {}).get("resources") or {}).get("requests") or {}
    there = (original.get("status") or {}).get("capacity") or {}
    sizes = [str(size) for size in (status.get("restoreSize"), there.get("storage"), asked.get("storage")) if size]
    largest = max(sizes, key=lambda size: quantity(size) or 0, default="1Gi")
    return replace(snapshot, size=largest, time=str(status.get("creationTime") or "") or None)
