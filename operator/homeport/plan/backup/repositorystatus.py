"""What the status of a BackupRepository says: what came of its Jobs, and how it is. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from homeport.api import labels
from homeport.api.conditions import Reason
from homeport.outcome import Ok, Outcome, Stalled, Wait
from homeport.plan.backup import schedule, times
from homeport.plan.backup.maintenance import LAST, PASSING, next_task
from homeport.plan.backup.repository import Repository, RepositoryWorld, password_secret

_KEPT = (
    "initialized",
    "repositoryID",
    "keyFingerprint",
    "size",
    "snapshots",
    "lastInit",
    "lastPrune",
    "lastCheck",
    "task",
)


def fields(
    repository: Repository, world: RepositoryWorld, table: Mapping[str, schedule.Schedule], may_begin: bool
) -> dict[str, Any]:
    """The status but for its conditions."""
    out = {name: repository.status[name] for name in _KEPT if repository.status.get(name)}
    if world.fingerprint:
        out["keyFingerprint"] = world.fingerprint
    if repository.spec.proxmox is not None:
        out["initialized"] = bool(out.get("initialized")) or may_begin
    elif world.result is not None and (task := out.pop("task", None)):
        out |= _ended(repository, world, task, world.result)
    elif "task" not in out and may_begin and not world.archived:
        out |= {"task": task} if (task := next_task(repository, world, table)) is not None else {}
    for operation, found in table.items():
        if (coming := found.after(world.now)) is not None:
            out[f"next{operation.capitalize()}"] = times.text(coming)
    out["location"] = location(repository, world)
    out["backups"] = len(world.backups)
    return {name: value for name, value in out.items() if value}


def _ended(
    repository: Repository, world: RepositoryWorld, task: Mapping[str, Any], result: Mapping[str, Any]
) -> dict[str, Any]:
    """What a Job's result means."""
    operation = str(task["operation"])
    good = result.get("outcome") == "Succeeded"
    known, found = repository.status.get("repositoryID"), result.get("repositoryID")
    entry = {
        "time": times.text(world.now),
        "outcome": str(result.get("outcome") or "Failed"),
        "message": str(result.get("message") or "")[:1024],
        **{name: task[name] for name in ("scheduled", "inputs") if task.get(name)},
        **({"reason": str(result["reason"])} if result.get("reason") else {}),
    }
    if good and known and found and known != found:
        good = False
        text = f"another repository is at this place: its id is {found[:12]}, and it was {known[:12]}"
        entry |= {"outcome": "Failed", "reason": "OtherRepository", "message": text}
    out: dict[str, Any] = {LAST[operation]: entry}
    if good:
        out["initialized"] = True
        out |= {"repositoryID": found} if found else {}
        told = {"size": result.get("repositoryBytes"), "snapshots": result.get("repositorySnapshots")}
        out |= {name: value for name, value in told.items() if value is not None}
    return out


def location(repository: Repository, world: RepositoryWorld) -> str:
    """Where it is, for people."""
    spec = repository.spec
    if spec.s3 is not None:
        return "/".join(filter(None, (spec.s3.endpoint.rstrip("/"), spec.s3.bucket, spec.s3.prefix)))
    if spec.filesystem is not None:
        claim = spec.filesystem.persistent_volume_claim
        where = f"claim {claim}" + (f" in {world.namespace}" if world.namespace else "")
        return f"{where}, {spec.filesystem.path}" if spec.filesystem.path else where
    assert spec.proxmox is not None
    return f"storage {spec.proxmox.storage} on {spec.proxmox.host_ref.name}"


def outcome(repository: Repository, world: RepositoryWorld, found: Mapping[str, Any]) -> Outcome:
    """How it is, from what the status says."""
    task = found.get("task") or {}
    if not found.get("initialized"):
        return _unmade(found, world, task)
    if world.held is not None:
        return world.held
    notes: list[str] = []
    for operation, what in (("check", "the check"), ("prune", "pruning")):
        last = found.get(LAST[operation]) or {}
        if last.get("outcome") in (None, "Succeeded"):
            continue
        text = f"{what} of {last['time']} failed: {last.get('reason', '')}: {last.get('message', '')}"
        if last.get("reason") not in PASSING:
            return Stalled(Reason.REPOSITORY_FAILED, text)
        notes.append(text)
    if (secret := password_secret(repository)) is not None and not _escrowed(repository, found):
        return Stalled(Reason.KEY_NOT_ESCROWED, escrow(repository, secret, str(found.get("keyFingerprint", ""))))
    if task:
        notes.append(f"{task['operation']} is under way" + (f": {world.trouble}" if world.trouble else ""))
    return Ok("; ".join([str(found.get("location", "")), *notes]))


def _unmade(found: Mapping[str, Any], world: RepositoryWorld, task: Mapping[str, Any]) -> Outcome:
    if world.held is not None:
        return world.held
    last = found.get("lastInit") or {}
    failed = f"{last.get('reason', '')}: {last.get('message', '')}" if last.get("outcome") == "Failed" else ""
    if failed and last.get("reason") not in PASSING:
        return Stalled(Reason.REPOSITORY_FAILED, failed)
    trouble = f": {world.trouble}" if task and world.trouble else f"; the last try: {failed}" if failed else ""
    return Wait(Reason.PROGRESSING, f"it is being made{trouble}")


def _escrowed(repository: Repository, found: Mapping[str, Any]) -> bool:
    known = found.get("keyFingerprint")
    return bool(known) and repository.annotations.get(labels.KEY_ESCROWED) == known


def escrow(repository: Repository, secret: str, fingerprint: str) -> str:
    """What to do about a key that is only in this cluster."""
    where = f"-n {repository.namespace}"
    return (
        "its key is only in this cluster, and is lost with it. Keep it elsewhere (kubectl get secret "
        f"{secret} {where} -o jsonpath='{{.data.password}}' | base64 -d), then say so: kubectl annotate hprepo "
        f"{repository.name} {where} --overwrite {labels.KEY_ESCROWED}={fingerprint}"
    )
