"""Condition types and the closed list of reasons, after kstatus.

Source: https://github.com/kubernetes-sigs/cli-utils/blob/master/pkg/kstatus/README.md
``Ready`` is always there; ``Reconciling`` and ``Stalled`` only while True.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any


class ConditionType(StrEnum):
    """What a condition is about."""

    READY = "Ready"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    SUSPENDED = "Suspended"
    ARCHIVED = "Archived"
    DEGRADED = "Degraded"
    BACKUP_COVERAGE = "BackupCoverage"
    HEALTHY = "Healthy"
    PULL_REQUESTS = "PullRequests"
    WEBHOOK = "Webhook"


def ready(status: Mapping[str, Any]) -> tuple[str, str, str] | None:
    """(status, reason, message) of the Ready condition."""
    for entry in status.get("conditions") or ():
        if entry.get("type") == ConditionType.READY:
            return str(entry.get("status")), str(entry.get("reason")), str(entry.get("message", ""))
    return None


class Reason(StrEnum):
    """Why a condition has its status. Closed: documents, alerts and scripts may rely on it."""

    RECONCILIATION_SUCCEEDED = "ReconciliationSucceeded"
    """Everything is as declared."""
    PROGRESSING = "Progressing"
    """Objects are applied and not all ready yet."""
    PROGRESSING_WITH_RETRY = "ProgressingWithRetry"
    """A fault that may pass; it is tried again with growing pauses."""
    DEPENDENCY_NOT_READY = "DependencyNotReady"
    """Something this object names isn't there or isn't ready yet."""
    INVALID_SPEC = "InvalidSpec"
    """The spec can't be carried out as written; the message says what to write instead."""
    APPLY_FAILED = "ApplyFailed"
    """The API server refused an object."""
    HEALTH_CHECK_FAILED = "HealthCheckFailed"
    """An object exists but can't become ready; the message has the object's own reason."""
    PRUNE_FAILED = "PruneFailed"
    """An object that left the desired set couldn't be removed."""
    NAMESPACE_TAKEN = "NamespaceTaken"
    """The namespace belongs to somebody else."""
    ACCESS_DENIED = "AccessDenied"
    """The operator, or the account it acts as, lacks a right."""
    SUSPENDED = "Suspended"
    """Reconciliation is suspended by ``spec.suspend``."""
    ARCHIVED = "Archived"
    """The project is archived: scaled to zero, data kept."""
    HOST_TAKEN = "HostTaken"
    """Another application serves this host and path."""
    NAME_TAKEN = "NameTaken"
    """An object of this name exists and belongs to somebody else."""
    REPLACEMENT_REQUIRED = "ReplacementRequired"
    """An immutable field changed; the object is replaced only when asked."""
    CONFIRMATION_REQUIRED = "ConfirmationRequired"
    """Deletion would lose data and wants to be told twice."""
    TERMINATING = "Terminating"
    """The object is being deleted and what it made is being removed."""
    NOT_ARCHIVED = "NotArchived"
    """A project is deleted only after it was archived."""
    UNSUPPORTED_VERSION = "UnsupportedVersion"
    """The version of Proxmox VE isn't one whose behaviour is known."""
    NODE_OFFLINE = "NodeOffline"
    """A node of a Proxmox VE cluster can't be reached."""
    NO_QUORUM = "NoQuorum"
    """A Proxmox VE cluster has no majority: it can be read, and takes no changes."""
    LOCKED = "Locked"
    """A task, a backup or a snapshot holds the container on its host, or has left its lock behind."""
    MISSING = "Missing"
    """The container, or a volume of it, isn't on its host any more."""
    BACKUP_FAILED = "BackupFailed"
    """The newest backup failed."""
    BACKUP_STALE = "BackupStale"
    """The newest good backup is older than ``maxAge``."""
    RESTORE_FAILED = "RestoreFailed"
    """What was to be restored couldn't be."""
    VERIFICATION_FAILED = "VerificationFailed"
    """The newest drill or check says that the backup can't be restored, or isn't what is expected."""
    KEY_NOT_ESCROWED = "KeyNotEscrowed"
    """A repository's key was generated, and nobody has said yet that it is kept elsewhere."""
    REPOSITORY_FAILED = "RepositoryFailed"
    """A repository can't be used: another password, no access, damage; the message says which."""
    PRUNE_CONFLICT = "PruneConflict"
    """Something else deletes backups at the same place, by its own rules."""
    NOT_RESTORABLE_BY_TOKEN = "NotRestorableByToken"  # noqa: S105 - a reason, no password
    """An API token can't restore this container whole: Proxmox VE drops what root@pam alone may set."""
    SNAPSHOT_MISSING = "SnapshotMissing"
    """The snapshot that is to be restored isn't there; the message has the nearest."""
    COVERED = "Covered"
    """Every volume and container of the project is in a backup."""
    NOT_COVERED = "NotCovered"
    """No backup takes some of the project's volumes or containers."""
    FETCH_FAILED = "FetchFailed"
    """A repository can't be read: no access, no such reference, a broken connection; the message says which."""
    BUILD_FAILED = "BuildFailed"
    """No objects can be made of a folder in Git; the message has file and line."""
    DRY_RUN_FAILED = "DryRunFailed"
    """The API server wouldn't take an object of the new revision, so that nothing of it was applied."""
    CONFLICT = "Conflict"
    """An object in Git is there already and somebody else's; the message says whose."""
    PRUNE_GUARD = "PruneGuard"
    """A source renders nothing any more, or far less; nothing is removed until that is allowed."""
    DRIFT_DETECTED = "DriftDetected"
    """Somebody changed what a source applied; the message has the field and who."""
    DEPENDENCY_CYCLE = "DependencyCycle"
    """Sources wait for each other in a circle; the message has it."""
    UNSIGNED = "Unsigned"
    """A commit isn't signed, or not by one of the keys that are asked for."""
    PUSH_FAILED = "PushFailed"
    """A commit or a pull request can't be brought into the repository; the message says why."""
    NOT_DELIVERED = "NotDelivered"
    """Nobody takes a Notification's messages; the message says why. They are sent again with growing pauses."""


class Health(StrEnum):
    """How well something runs; an aggregate is as healthy as the worst of its parts."""

    HEALTHY = "Healthy"
    SUSPENDED = "Suspended"
    PROGRESSING = "Progressing"
    UNKNOWN = "Unknown"
    DEGRADED = "Degraded"


HEALTH_ORDER = (Health.HEALTHY, Health.SUSPENDED, Health.PROGRESSING, Health.UNKNOWN, Health.DEGRADED)
"""From best to worst."""


def worst_health(values: list[Health]) -> Health:
    """The worst of ``values``; Healthy when there is none."""
    return max(values, key=HEALTH_ORDER.index, default=Health.HEALTHY)
