"""Who of backups has to be looked at when something changes.

=============================  =========================================================
what changed                   who is looked at
=============================  =========================================================
a BackupRun or a Restore       its Backup; a run also wakes restores, which may wait for it
a Backup                       its runs and restores that aren't over, its repository
a BackupRepository             Backups that name it, and their runs and restores that aren't over
an Application, Environment,   Backups of it, and their runs and restores that aren't over
LXCContainer
a Project                      its Backups and repositories
a ProxmoxHost                  repositories on it
=============================  =========================================================
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from homeport.api.labels import OwnerKey
from homeport.engine.context import Context
from homeport.engine.queue import CHILD

Body = Mapping[str, Any]
SOURCES = {"Application": "application", "Environment": "environment", "LXCContainer": "container"}
_FINISHED = frozenset({"Succeeded", "Incomplete", "Failed"})
DELAY = 0.05
"""Seconds in which several changes are gathered into one look."""


def changed(key: OwnerKey, before: Body | None, after: Body | None, context: Context) -> None:
    """Wake whoever of backups is concerned by a change of a resource of ours."""
    if before is not None and after is not None and not _matters(key.kind, before, after):
        return
    for other in _concerned(key, after or before or {}, context):
        context.enqueue(other, CHILD, DELAY)


def _matters(kind: str, before: Body, after: Body) -> bool:
    old, new = before["metadata"], after["metadata"]
    if any(old.get(field) != new.get(field) for field in ("uid", "generation", "annotations", "deletionTimestamp")):
        return True
    return bool(_told(kind, before) != _told(kind, after))


def _told(kind: str, body: Body) -> Any:
    """What others take from a status."""
    status = body.get("status") or {}
    if kind in ("BackupRun", "Restore"):
        return status.get("phase"), status.get("finishedAt"), status.get("before")
    ready = [(entry["status"], entry.get("message")) for entry in status.get("conditions") or ()
             if entry.get("type") == "Ready"]  # fmt: skip
    if kind == "BackupRepository":
        return status.get("initialized"), ready
    if kind == "Environment":
        return status.get("namespace")
    if kind == "LXCContainer":
        return status.get("vmid"), status.get("node"), ready
    return ready if kind in ("Application", "ProxmoxHost") else None


def _concerned(key: OwnerKey, body: Body, context: Context) -> Iterator[OwnerKey]:
    spec = body.get("spec") or {}
    if key.kind in ("BackupRun", "Restore"):
        name = str((spec.get("backupRef") or {}).get("name", ""))
        yield OwnerKey("Backup", key.namespace, name)
        yield from _unfinished("Restore", key.namespace, {name}, context) if key.kind == "BackupRun" else ()
    elif key.kind == "Backup":
        yield from _work(key.namespace, {key.name}, context)
        yield OwnerKey("BackupRepository", key.namespace, (spec.get("repositoryRef") or {}).get("name", ""))
    elif key.kind == "BackupRepository":
        yield from _backups(key.namespace, lambda s: (s.get("repositoryRef") or {}).get("name") == key.name, context)
    elif key.kind in SOURCES:
        field = SOURCES[key.kind]
        yield from _backups(key.namespace, lambda s: (s.get("source") or {}).get(field) == key.name, context)
    if key.kind in ("Environment", "Project", "ProxmoxHost"):
        yield from _around(key, context)


def _around(key: OwnerKey, context: Context) -> Iterator[OwnerKey]:
    """Repositories, and a Project's Backups, that depend on what they are in or on."""
    if key.kind == "Project":
        yield from context.store.keys("Backup", key.namespace)
    namespace = key.namespace if key.kind != "ProxmoxHost" else None
    for name in context.store.keys("BackupRepository", namespace):
        spec = (context.store.body(name) or {}).get("spec") or {}
        host = ((spec.get("proxmox") or {}).get("hostRef") or {}).get("name")
        if key.kind == "Project" or key.name == host or key.name in spec.get("environments", ()):
            yield name


def _backups(namespace: str, wanted: Any, context: Context) -> Iterator[OwnerKey]:
    found = [
        key
        for key in context.store.keys("Backup", namespace)
        if wanted((context.store.body(key) or {}).get("spec") or {})
    ]
    yield from found
    yield from _work(namespace, {key.name for key in found}, context)


def _work(namespace: str, backups: set[str], context: Context) -> Iterator[OwnerKey]:
    for kind in ("BackupRun", "Restore"):
        yield from _unfinished(kind, namespace, backups, context)


def _unfinished(kind: str, namespace: str, backups: set[str], context: Context) -> Iterator[OwnerKey]:
    """Runs or restores of ``backups`` that aren't over."""
    for key in context.store.keys(kind, namespace):
        body = context.store.body(key) or {}
        over = (body.get("status") or {}).get("phase") in _FINISHED
        if not over and ((body.get("spec") or {}).get("backupRef") or {}).get("name") in backups:
            yield key
