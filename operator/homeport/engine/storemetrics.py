"""What metrics tell of the resources in the store."""

from __future__ import annotations

from collections.abc import Iterator

from homeport.api.conditions import ConditionType
from homeport.engine.backupmetrics import BackupState, RepositoryState
from homeport.engine.store import Store


def backups(store: Store) -> Iterator[BackupState]:
    """All Backups, as they were last seen."""
    for key in store.keys("Backup"):
        spec = (store.body(key) or {}).get("spec") or {}
        yield BackupState(key.namespace, key.name, spec, store.status(key))


def repositories(store: Store) -> Iterator[RepositoryState]:
    """All BackupRepositories, as they were last seen."""
    for key in store.keys("BackupRepository"):
        yield RepositoryState(key.namespace, key.name, store.status(key))


def resources(store: Store) -> dict[tuple[str, bool], int]:
    """How many there are, by kind and by whether they are Ready."""
    out: dict[tuple[str, bool], int] = {}
    for key in store.keys(None):
        body = store.body(key) or {}
        ready = any(
            entry.get("type") == ConditionType.READY and entry.get("status") == "True"
            for entry in (body.get("status") or {}).get("conditions") or ()
        )
        out[key.kind, ready] = out.get((key.kind, ready), 0) + 1
    return out
