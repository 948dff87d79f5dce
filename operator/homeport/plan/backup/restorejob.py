"""The Job that brings a run back: into databases or a volume, over the original's or beside them. Pure."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from homeport.api import labels
from homeport.api.conditions import Reason
from homeport.api.labels import OwnerKey
from homeport.api.restore import RestoreSpec
from homeport.outcome import Outcome, Stalled
from homeport.plan import names
from homeport.plan.backup import runnerjob
from homeport.plan.backup.access import Access
from homeport.plan.backup.choosing import Chosen
from homeport.plan.backup.runnerjob import RunnerJob
from homeport.plan.backup.source import Source
from homeport.plan.backup.volumes import Mounted
from homeport.plan.types import Child, Manifest
from homeport.plan.world import Live

ON_VOLUMES = frozenset({"SQLite", "Redis", "Files"})
"""Methods whose data is files: what uses them must not run while they are written."""
DATABASES = frozenset({"Postgres", "MySQL"})
_APPEND_ONLY = re.compile(r"--appendonly[=\s]+[\"']?yes")
_NAME_LIMIT = 63


@dataclass(frozen=True)
class Order:
    """What is to be restored, and where to."""

    owner: OwnerKey
    uid: str
    spec: RestoreSpec
    chosen: Chosen
    tags: Manifest
    """Under which the repository has the runs (``access.tags``), or whose they are at least."""
    target: Source
    access: Access
    image: str
    timeout: int
    volume: Mounted | None = None
    """The volume that holds the target's data, for methods whose data is files."""
    claim: Live | None = None
    """Its claim."""
    user: int | None = None
    """As whom files are written, where the target's Pods told it."""

    @property
    def in_place(self) -> bool:
        """Whether what is there is overwritten."""
        return self.spec.target is not None and self.spec.target.in_place is not None

    @property
    def name(self) -> str:
        """Of the Job and of all beside it."""
        return runnerjob.named("restore", self.owner.name)

    @property
    def suffix(self) -> str:
        """What the names of databases get that are restored beside the original."""
        return f"_{self.owner.name}"


def problem(method: str, spec: RestoreSpec) -> Outcome | None:
    """What this method can't do."""
    where = spec.target
    if method == "Manifests" and (where is None or where.drill is None):
        return _stalled(
            "spec.target: manifests are brought back by `homeport import`, which compares them with what is there; a "
            "Restore only proves that they can be read (target: {drill: {}})"
        )
    if spec.paths and method != "Files":
        return _stalled(f"spec.paths: only method Files knows files; leave paths out of a restore by {method}")
    if wrong := [path for path in spec.paths if ".." in path.split("/")]:
        return _stalled(f"spec.paths: {wrong[0]}: write a path without '..'")
    in_place = where.in_place if where is not None else None
    if in_place is not None and method in ON_VOLUMES and not in_place.quiesce:
        return _stalled(
            "spec.target.inPlace: the volume is in use, and would be changed under whoever reads it; write quiesce: "
            "true to have that scaled to zero meanwhile, or leave inPlace out to restore into a new volume"
        )
    return None


def base(order: Order, job: Manifest, source: Source | None) -> RunnerJob:
    """A job for the runner where the target is."""
    target = order.target
    if order.user is not None and source is not None and source.volume is not None:
        source = replace(source, security={**source.security, "runAsUser": order.user})
    return RunnerJob(
        name=order.name,
        owner=order.owner,
        image=order.image,
        namespace=target.namespace,
        job={"method": target.method, "tags": order.tags, "select": order.chosen.select(_selected(order)), **job},
        access=order.access,
        timeout=order.timeout,
        environment=target.environment,
        cluster=target.cluster,
        source=source,
    )


def _selected(order: Order) -> list[str]:
    """The paths as the run has them: from where it was taken, which is the volume's root as a rule. Given as the
    component sees them, or so already."""
    volume = order.volume
    if volume is None or order.target.method != "Files":
        return list(order.spec.paths)
    taken = posixpath.normpath(posixpath.join(volume.path, posixpath.relpath(order.target.paths[0], volume.at)))
    return [
        posixpath.relpath(path, taken) if path == taken or path.startswith(f"{taken.rstrip('/')}/") else path
        for path in order.spec.paths
    ]


def children(order: Order) -> tuple[Child, ...] | Outcome:
    """Everything that the restore needs while it is at work; the claim that it makes outlives it."""
    if order.target.method in DATABASES:
        return runnerjob.children(_of_server(order))
    assert order.volume is not None
    folder = _folder(order)
    if isinstance(folder, Outcome):
        return folder
    made = () if order.in_place else (_claim(order),)
    claim = order.volume.claim if order.in_place else claim_name(order)
    volume = replace(order.volume, claim=claim, read_only=False)
    # A claim that was just made is nowhere yet; one whose users are at rest follows its volume.
    source = replace(order.target, server=None, volume=volume, node="")
    place: Manifest = {"paths": [folder], "existing": "Replace"}
    if append_only(order.target):
        place["appendOnly"] = True
    return *made, *runnerjob.children(base(order, {"operation": "restore", "target": place}, source))


def _of_server(order: Order) -> RunnerJob:
    server = order.target.server
    assert server is not None
    place = server.document()
    if order.in_place:
        return base(order, {"operation": "restore", "target": {**place, "existing": "Replace"}}, order.target)
    place |= {"suffix": order.suffix, "mark": f"homeport restore {order.uid}"}
    made = base(order, {"operation": "restore", "target": place}, order.target)
    # MySQL can't undo half a restore, nor tell whose a database is: what a first try has left would be refused.
    return made if order.target.method == "Postgres" else replace(made, retries=0)


def claim_name(order: Order) -> str:
    """What the claim is called that a restore beside the original makes."""
    assert order.volume is not None
    return names.bounded(f"{order.volume.claim}-{order.owner.name}", _NAME_LIMIT)


def taken(order: Order, claims: Mapping[str, Live]) -> Outcome | None:
    """Why the claim can't be made: one of its name holds what another Restore, or somebody, has put there."""
    if order.in_place or order.volume is None or order.target.method not in ON_VOLUMES:
        return None
    found = claims.get(claim_name(order))
    if found is None or (found["metadata"].get("annotations") or {}).get(labels.RESTORE_UID) == order.uid:
        return None
    text = (
        f"PersistentVolumeClaim {claim_name(order)} exists in namespace {order.target.namespace}, and isn't this "
        "Restore's: what is in it would be overwritten. Make a Restore of another name, or delete the claim"
    )
    return Stalled(Reason.NAME_TAKEN, text)


def _claim(order: Order) -> Child:
    """A claim as the original's. It holds data: it stays when the Restore goes."""
    found: Mapping[str, Any] = (order.claim or {}).get("spec") or {}
    fields = ("accessModes", "resources", "storageClassName", "volumeMode")
    manifest: Manifest = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": claim_name(order),
            "namespace": order.target.namespace,
            "labels": runnerjob.marks(base(order, {}, None)),
            "annotations": {labels.RESTORE_UID: order.uid},
        },
        "spec": {name: found[name] for name in fields if name in found},
    }
    return Child(manifest, order.target.environment, cluster=order.target.cluster, deletion="Retain")


def _folder(order: Order) -> str | Outcome:
    """Where in the volume the files go: where they came from, as the runner sees it."""
    assert order.volume is not None
    if order.target.method == "Redis" or not order.target.paths:
        return order.volume.at
    if order.target.method == "Files":
        return order.target.paths[0]
    folders = sorted({posixpath.dirname(path) for path in order.target.paths})
    if len(folders) > 1:
        return _stalled(f"the databases are in several folders ({', '.join(folders)}), and a Restore takes one")
    return folders[0]


def append_only(target: Source) -> bool:
    """Whether a Redis reads an append-only file when it starts, and would ignore an RDB."""
    if target.method != "Redis":
        return False
    containers = (target.template.get("spec") or {}).get("containers") or ()
    words = (word for one in containers for word in (*(one.get("command") or ()), *(one.get("args") or ())))
    return _APPEND_ONLY.search(" ".join(map(str, words))) is not None


def _stalled(text: str) -> Stalled:
    return Stalled(Reason.INVALID_SPEC, text)
