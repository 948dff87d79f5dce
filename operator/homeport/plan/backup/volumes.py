"""The volume that a backup by files reads: which claim, where its Pod is, and what of it."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from homeport.api.backup import BackupSource
from homeport.api.conditions import Reason
from homeport.outcome import Outcome, Stalled, Wait
from homeport.plan.backup import snapshots
from homeport.plan.backup.program import main_container
from homeport.plan.backup.snapshots import Reading
from homeport.plan.types import Manifest
from homeport.plan.world import Live

if TYPE_CHECKING:
    from homeport.plan.backup.source import Source, SourceWorld

ROOT = "/source"
"""Volumes are at ``/source/<name>`` in the runner: a path that stays the same whatever mounts it elsewhere."""


@dataclass(frozen=True)
class Mounted:
    """A component's volume."""

    name: str
    claim: str
    path: str
    """Where the component sees it."""
    sub_path: str = ""
    read_only: bool = False
    """Whether the runner only reads it."""

    @property
    def at(self) -> str:
        """Where the runner sees it."""
        return f"{ROOT}/{self.name}"

    def seen(self, path: str) -> str:
        """Where the component sees what the runner sees at ``path``."""
        return posixpath.normpath(posixpath.join(self.path, posixpath.relpath(path, self.at)))


def claims_of(pod: Live) -> dict[str, str]:
    """The claims that a Pod, or a template of Pods, has: by the names of its volumes."""
    return {
        volume["name"]: volume["persistentVolumeClaim"]["claimName"]
        for volume in (pod.get("spec") or {}).get("volumes") or ()
        if volume.get("persistentVolumeClaim")
    }


def _template(workload: Live) -> Manifest:
    spec = workload["spec"]
    template: Manifest = (spec["jobTemplate"]["spec"] if workload["kind"] == "CronJob" else spec)["template"]
    return template


def claims(workload: Live) -> dict[str, str]:
    """The claims that a component has, by the names of its volumes. Of a StatefulSet those of its first Pod."""
    name, made = workload["metadata"]["name"], workload["spec"].get("volumeClaimTemplates") or ()
    own = {one["metadata"]["name"]: f"{one['metadata']['name']}-{name}-0" for one in made}
    return claims_of(_template(workload)) | own


def of(workload: Live, component: str) -> list[Mounted]:
    """The volumes of a component that claims back, by name. Of a StatefulSet those of its first Pod."""
    there, template = claims(workload), _template(workload)
    mounts = {mount["name"]: mount for mount in main_container(template, component).get("volumeMounts") or ()}
    return [
        Mounted(volume, there[volume], mounts[volume]["mountPath"], mounts[volume].get("subPath", ""))
        for volume in sorted(there.keys() & mounts.keys())
    ]


def with_volume(
    common: Source, source: BackupSource, workload: Live, world: SourceWorld, reading: Reading
) -> Source | Outcome:
    """The source with its volume, and the node where that is."""
    chosen = _chosen(of(workload, common.component), source, common, workload)
    if not isinstance(chosen, Mounted):
        return chosen
    paths = _paths(chosen, source, common.method)
    if isinstance(paths, Outcome):
        return paths
    claim = world.claims.get(chosen.claim)
    if claim is None:
        text = f"the claim {chosen.claim} doesn't exist in namespace {common.namespace} yet"
        return Wait(Reason.DEPENDENCY_NOT_READY, text, 15.0)
    # A snapshot of a database that is written to would do, too; its own backup function needs no driver for it.
    asked = reading if common.method == "Files" else snapshots.LIVE
    class_name, why = snapshots.class_of(claim, chosen.claim, world.snapshots, asked)
    if why and asked.mode == "Always":
        return _stalled(
            f"spec.files.snapshot: Always, and no snapshot can be made: {why}; with Auto the volume is read while it "
            "is in use then"
        )
    node = _node(claim, chosen, world.pods, workload, alone=not class_name)
    if isinstance(node, Outcome):
        return node
    # SQLite takes part in the write-ahead log, which is beside the database.
    volume = replace(chosen, read_only=common.method != "SQLite")
    out = replace(common, volume=volume, paths=paths, exclude=tuple(source.exclude), node=node)
    return replace(out, snapshot=class_name, unheld=why)


def _chosen(found: Sequence[Mounted], source: BackupSource, common: Source, workload: Live) -> Mounted | Outcome:
    if not found:
        return _stalled(
            f"component {common.component} has no volume that outlives its Pods; there is nothing to back up"
        )
    names = ", ".join(volume.name for volume in found)
    if source.volume is not None:
        chosen = next((volume for volume in found if volume.name == source.volume), None)
        if chosen is None:
            return _stalled(f"spec.source.volume: component {common.component} has no {source.volume}; write {names}")
    else:
        holding = [volume for volume in found if any(_within(path, volume.path) for path in source.paths)] or found
        if len(holding) > 1:
            return _stalled(
                f"component {common.component} has several volumes; write one of them in spec.source.volume: {names}, "
                "and another Backup for each of the others"
            )
        chosen = holding[0]
    replicas = (workload.get("spec") or {}).get("replicas") or 1
    if workload["kind"] == "StatefulSet" and replicas > 1 and _is_template(chosen, workload):
        return _stalled(
            f"component {common.component} has {replicas} replicas, each with a volume of its own, and a Backup by "
            f"{common.method} reads one; back up the server with a method of its own, or use one replica"
        )
    return chosen


def _is_template(volume: Mounted, workload: Live) -> bool:
    made = workload["spec"].get("volumeClaimTemplates") or ()
    return any(entry["metadata"]["name"] == volume.name for entry in made)


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _paths(volume: Mounted, source: BackupSource, method: str) -> tuple[str, ...] | Outcome:
    """What of the volume is read, as the runner sees it."""
    if method == "SQLite" and not source.paths:
        return _stalled(
            "spec.source.paths: write the files of the databases as the component sees them, such as "
            f"[{posixpath.join(volume.path, 'app.db')}]; no image tells which files they are"
        )
    out = []
    for path in source.paths:
        if ".." in path.split("/"):
            return _stalled(f"spec.source.paths: {path}: write a path without '..'")
        if path.startswith("/") and not _within(path, volume.path):
            return _stalled(
                f"spec.source.paths: {path} isn't in the volume {volume.name}, which the component has at "
                f"{volume.path}; write a path below that"
            )
        inner = posixpath.relpath(path, volume.path) if path.startswith("/") else path
        out.append(posixpath.normpath(posixpath.join(volume.at, inner)))
    folders = sorted({volume.seen(posixpath.dirname(path)) for path in out})
    if method == "SQLite" and len(folders) > 1:
        # The runner knows them by their files' names, and brings all of them back to one folder.
        return _stalled(
            f"spec.source.paths: the databases are in several folders ({', '.join(folders)}); write one Backup for "
            "each folder"
        )
    return tuple(out) or (volume.at,)


def _node(claim: Live, volume: Mounted, pods: Sequence[Live], workload: Live, *, alone: bool) -> str | Outcome:
    """Where a Pod has the volume, if a volume can be mounted on one node at a time only; anywhere when none has.
    ``alone``: the runner is to have that very volume."""
    modes = (claim.get("spec") or {}).get("accessModes") or ()
    if "ReadWriteMany" in modes or "ReadOnlyMany" in modes:
        return ""
    first = f"{workload['metadata']['name']}-0"
    there = [
        pod
        for pod in pods
        if (pod.get("status") or {}).get("phase") in ("Running", "Pending")
        and (pod.get("spec") or {}).get("nodeName")
        and (not _is_template(volume, workload) or pod["metadata"]["name"] == first)
    ]
    if alone and there and "ReadWriteOncePod" in modes:
        return _stalled(
            f"the claim {volume.claim} is ReadWriteOncePod, so no runner can mount it beside the component's Pod; use "
            "ReadWriteOnce, or scale the component to zero for the backup"
        )
    return str(min(there, key=lambda pod: str(pod["metadata"]["name"]))["spec"]["nodeName"]) if there else ""


def _stalled(text: str) -> Stalled:
    return Stalled(Reason.INVALID_SPEC, text)


def mount(volume: Mounted, name: str) -> Manifest:
    """The runner's mount of it; ``name`` is that of the Pod's volume."""
    entry: Manifest = {"name": name, "mountPath": volume.at}
    if volume.sub_path:
        entry["subPath"] = volume.sub_path
    if volume.read_only:
        entry["readOnly"] = True
    return entry
