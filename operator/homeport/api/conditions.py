"""Condition types and the closed list of reasons, after kstatus.

Source: https://github.com/kubernetes-sigs/cli-utils/blob/master/pkg/kstatus/README.md
``Ready`` is always there; ``Reconciling`` and ``Stalled`` only while True.
"""

from __future__ import annotations

from enum import StrEnum


class ConditionType(StrEnum):
    """What a condition is about."""

    READY = "Ready"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    SUSPENDED = "Suspended"
    ARCHIVED = "Archived"
    DEGRADED = "Degraded"


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
    BACKUP_FAILED = "BackupFailed"
    """The newest backup failed."""
    BACKUP_STALE = "BackupStale"
    """The newest good backup is older than ``maxAge``."""


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
