"""The run that saves what is there before a Restore in place overwrites it. Pure."""

from __future__ import annotations

from typing import Any

from homeport.api import labels
from homeport.api.conditions import Reason
from homeport.api.resource import Resource
from homeport.api.restore import RestoreSpec
from homeport.outcome import Stalled
from homeport.plan.types import Manifest
from homeport.plan.world import Live


def safety_run(restore: Resource[RestoreSpec], backup: Resource[Any], name: str) -> Manifest:
    """A protected run of the Backup, marked as made for this very Restore."""
    owner = {"apiVersion": labels.API_VERSION, "kind": "Backup", "name": backup.name, "uid": backup.uid}
    return {
        "apiVersion": labels.API_VERSION,
        "kind": "BackupRun",
        "metadata": {
            "name": name,
            "namespace": restore.namespace,
            "labels": {labels.BACKUP: backup.name},
            "annotations": {labels.RESTORE_UID: restore.uid},
            "ownerReferences": [owner],
        },
        "spec": {"backupRef": {"name": backup.name}, "protected": True, "trigger": "BeforeRestore"},
    }


def saved_by(run: Live, restore: Resource[RestoreSpec]) -> bool:
    """Whether a BackupRun was made for this very Restore, and not for one of its name that is gone."""
    return bool((run["metadata"].get("annotations") or {}).get(labels.RESTORE_UID) == restore.uid)


def taken(name: str) -> Stalled:
    """What is in the way of that run."""
    return Stalled(
        Reason.NAME_TAKEN,
        f"BackupRun {name} exists, and isn't what this Restore had saved; delete it (its snapshot stays), or make a "
        "Restore of another name",
    )
