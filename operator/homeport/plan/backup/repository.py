"""A BackupRepository: what is known of it, whether it can be used, and the Secret and Job that belong to it. Pure.

One thing at a time is done to it, by a Job: it is made, once; then pruned and checked by schedule (``maintenance``).
What is begun is in ``status.task`` before its Job is, and the Job goes when its result is in the status
(``repositorystatus``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from homeport.api import conditions, labels
from homeport.api.backuprepository import BackupRepositorySpec
from homeport.api.conditions import Reason
from homeport.api.resource import Resource
from homeport.outcome import Outcome, Stalled, Wait
from homeport.plan import environment_objects
from homeport.plan.backup import access as accesses
from homeport.plan.backup import runnerjob
from homeport.plan.backup.runnerjob import RunnerJob
from homeport.plan.types import Child, Manifest
from homeport.plan.world import ChildKey, Live

Repository = Resource[BackupRepositorySpec]

LOCK_WAIT = 2400
"""Seconds that maintenance waits for a lock: a killed Pod's is stale after 30 minutes."""
_TIMEOUTS = {"init": 900, "prune": 43200, "check": 86400}
"""Seconds."""
PASSWORD_LENGTH = 48


@dataclass(frozen=True)
class RepositoryWorld:
    """What a repository's plan depends on."""

    now: datetime
    namespace: str = ""
    """Where its Jobs run; empty when that isn't known."""
    cluster: str = ""
    environment: str = ""
    image: str = ""
    """The runner's."""
    held: Outcome | None = None
    """Why nothing can be done to it now."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """The versions of the Secrets that it needs, of those that are there."""
    key: bool = False
    """Whether the Secret with its password is there."""
    fingerprint: str = ""
    """Of a generated password, where that was read."""
    begun: bool = False
    """Whether the task's Job is there: it is left alone then, whatever the spec says meanwhile."""
    result: Mapping[str, Any] | None = None
    """What came of the task's Job, once it is over."""
    trouble: str = ""
    """Why the task's Job doesn't go on."""
    backups: Sequence[str] = ()
    """The Backups that name it."""
    restoring: bool = False
    """Whether a Restore reads it, which takes no lock: nothing is pruned meanwhile."""
    archived: bool = False
    conflict: str = ""
    """What else deletes backups at the same place."""
    live: Mapping[ChildKey, Live] = field(default_factory=dict)

    @property
    def conditions(self) -> Mapping[str, tuple[str, str]]:
        """Conditions beside Ready: Degraded, when something else deletes what is in it."""
        return {"Degraded": (Reason.PRUNE_CONFLICT, self.conflict)} if self.conflict else {}


def usable(repository: Repository) -> Outcome | None:
    """Why nothing can be kept in it now; None when something can.

    It needn't be Ready: that its key isn't kept elsewhere, or that its last check failed, is no reason to back up
    nothing; whoever backs up says so.
    """
    if repository.deleted_at is not None:
        return Wait(Reason.DEPENDENCY_NOT_READY, f"BackupRepository {repository.name} is being deleted")
    if not repository.status.get("initialized"):
        said = conditions.ready(repository.status)
        why = said[2] if said is not None else "nobody has looked at it yet"
        return Wait(Reason.DEPENDENCY_NOT_READY, f"BackupRepository {repository.name} isn't there yet: {why}")
    return None


def secrets(repository: Repository) -> dict[str, str]:
    """The Secrets that it needs, and what they have to hold."""
    spec, out = repository.spec, {}
    if spec.s3 is not None:
        out[spec.s3.credentials_secret_ref.name] = "accessKeyId and secretAccessKey"
        if spec.s3.ca_secret_ref is not None:
            out[spec.s3.ca_secret_ref.name] = spec.s3.ca_secret_ref.key
    if spec.encryption is not None and spec.encryption.password_secret_ref is not None:
        out[spec.encryption.password_secret_ref.name] = spec.encryption.password_secret_ref.key
    return out


def password_secret(repository: Repository) -> str | None:
    """The Secret of a generated password; None when it isn't generated."""
    encryption = repository.spec.encryption
    if encryption is None or not encryption.generate:
        return None
    return accesses.generated_password(repository.name)


def missing(repository: Repository, world: RepositoryWorld) -> Outcome | None:
    """Which Secret isn't there."""
    for name, holds in secrets(repository).items():
        if name not in world.versions:
            text = f"Secret {name} doesn't exist in namespace {repository.namespace}; create it, with {holds}"
            return Wait(Reason.DEPENDENCY_NOT_READY, text)
    made = password_secret(repository)
    if made is None or world.key:
        return None
    if repository.status.get("initialized"):
        text = (
            f"Secret {made} with its key is gone from namespace {repository.namespace}, and without it nobody reads "
            "what is in it; create it again, with the key under password"
        )
        return Stalled(Reason.REPOSITORY_FAILED, text)
    return Wait(Reason.PROGRESSING, f"Secret {made} is being made", 1.0)


def children(repository: Repository, world: RepositoryWorld) -> tuple[Child, ...]:
    """The Secret of a generated password, and the Job of what is being done."""
    out: list[Child] = []
    made = password_secret(repository)
    if made is not None and (world.key or not repository.status.get("initialized")):
        out.append(_password(repository, made))
    task = repository.status.get("task")
    if task and world.namespace and not world.begun:
        out += runnerjob.children(_job(repository, world, task))
    return tuple(out)


def _password(repository: Repository, name: str) -> Child:
    marks = environment_objects.owned(repository.key, repository.namespace, None, "backup")
    metadata = {"name": name, "namespace": repository.namespace, "labels": {**marks, labels.PRIVATE: "true"}}
    manifest: Manifest = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque"}
    return Child(manifest, deletion="Retain", generate={accesses.PASSWORD: PASSWORD_LENGTH})


def _job(repository: Repository, world: RepositoryWorld, task: Mapping[str, Any]) -> RunnerJob:
    operation = str(task["operation"])
    found = accesses.access(repository.name, repository.namespace, repository.spec)
    document: Manifest = {"operation": operation}
    if operation != "init":
        found = replace(found, document={**found.document, "lockWaitSeconds": LOCK_WAIT})
    share = repository.spec.maintenance.read_data_subset if repository.spec.maintenance is not None else None
    if operation == "check" and share:
        document["readData"] = share
    return RunnerJob(
        name=str(task["job"]),
        owner=repository.key,
        image=world.image,
        namespace=world.namespace,
        job=document,
        access=found,
        timeout=_TIMEOUTS[operation],
        environment=world.environment,
        cluster=world.cluster,
    )
