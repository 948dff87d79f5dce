"""``homeport export project``: what of a project goes into the file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from homeport import __version__
from homeport.api import labels
from homeport.cli import kinds, output, revisions
from homeport.cli.backups.common import size, status
from homeport.cli.backups.listing import kept
from homeport.cli.cluster import listed, one
from homeport.cli.transfer import archive, stores
from homeport.cli.transfer.restic import Repository, Restic
from homeport.drivers.kubernetes import types
from homeport.drivers.kubernetes.protocol import Api
from homeport.drivers.kubernetes.types import Manifest

KINDS = (
    "project",
    "environment",
    "catalogitem",
    "application",
    "lxccontainer",
    "backuprepository",
    "backup",
)
"""What is declared. BackupRuns and Restores are done once, not again elsewhere; ProxmoxHosts are an administrator's."""
SECRETS_FILE, SECRETS_TAG = "secrets.yaml", "homeport-export=secrets"
_OURS = (labels.RECONCILE_AT, "kubectl.kubernetes.io/last-applied-configuration")
_NO_SECRETS = ("kubernetes.io/service-account-token", "helm.sh/release.v1")


@dataclass
class Found:
    """A project as it is, and what is said of it."""

    bodies: list[Manifest]
    history: dict[str, list[dict[str, Any]]]
    secrets: list[Manifest]
    runs: list[dict[str, str]] = field(default_factory=list)
    """Those that were copied: backup and run."""
    left_out: list[str] = field(default_factory=list)


async def find(client: Api, project: str) -> Found:
    """All of a project that goes into an export. Raises Failure when there is no such project."""
    await one(client, kinds.find("project"), project, project)
    bodies: list[Manifest] = []
    history: dict[str, list[dict[str, Any]]] = {}
    for name in KINDS:
        items, _ = await listed(client, kinds.find(name), project)
        bodies.extend(item for item in items if not item["metadata"].get("deletionTimestamp"))
    for body in bodies:
        if body["kind"] == "Application":
            known = await revisions.kept(client, body)
            history[body["metadata"]["name"]] = [
                {"number": one.number, "since": one.since, "cause": one.cause, "spec": one.spec} for one in known
            ]
    secrets, _ = await client.list(types.SECRET, project)
    return Found(bodies, history, [secret for secret in secrets if _is_somebodys(secret)])


def _is_somebodys(secret: Manifest) -> bool:
    """Whether a person made it, or it holds what would be lost: not what Kubernetes or Helm keep for themselves."""
    return secret.get("type") not in _NO_SECRETS and not secret["metadata"].get("ownerReferences")


def manifest(body: Manifest) -> Manifest:
    """What was declared, without what is this cluster's own."""
    metadata = body["metadata"]
    out: dict[str, Any] = {
        "name": metadata["name"],
        **({"namespace": metadata["namespace"]} if metadata.get("namespace") else {}),
    }
    notes = {key: value for key, value in (metadata.get("annotations") or {}).items() if key not in _OURS}
    if metadata.get("labels"):
        out["labels"] = dict(metadata["labels"])
    if notes:
        out["annotations"] = notes
    rest: dict[str, Any] = {key: body[key] for key in ("spec", "type", "data") if key in body}
    return {"apiVersion": body["apiVersion"], "kind": body["kind"], "metadata": out, **rest}


async def copy_runs(client: Api, found: Found, restic: Restic, target: Repository, scratch: Path) -> None:
    """The newest good run of each Backup into ``target``, which is made. Raises Failure where restic fails."""
    repositories = {body["metadata"]["name"]: body for body in found.bodies if body["kind"] == "BackupRepository"}
    backups = [body for body in found.bodies if body["kind"] == "Backup"]
    sources: dict[str, Repository] = {}
    for body in backups:
        name, where = body["metadata"]["name"], body["spec"]["repositoryRef"]["name"]
        newest = next((run for run in kept(body) if run.get("complete") is not False), None)
        if newest is None:
            found.left_out.append(f"Backup {name} has no good run yet")
            continue
        try:
            if where not in repositories:
                raise stores.Unreachable(f"BackupRepository {where} isn't there")
            if where not in sources:
                sources[where] = await stores.store(client, repositories[where], scratch)
        except stores.Unreachable as why:
            found.left_out.append(f"data of Backup {name}: {why}")
            continue
        if not restic.is_there(target):
            restic.make(target, sources[where])
        click.echo(f"copies {name}: run {newest['run']} of {newest['time']} ({size(newest.get('bytes'))})", err=True)
        tags = stores.tags(body, newest["run"])
        restic.copy(sources[where], target, tags)
        if not restic.snapshots(target, tags):
            found.left_out.append(f"data of Backup {name}: run {newest['run']} isn't in {sources[where].location}")
            continue
        found.runs.append({"backup": name, "run": newest["run"], "method": str(status(body).get("method") or "")})


def save_secrets(found: Found, restic: Restic, target: Repository) -> None:
    """The project's Secrets, encrypted as all else in the repository."""
    if not restic.is_there(target):
        restic.make(target)
    text = "---\n".join(output.yaml_text(manifest(secret)) for secret in found.secrets)
    restic.save(target, SECRETS_FILE, text, SECRETS_TAG)


def write(found: Found, project: str, folder: Path, *, with_secrets: bool) -> None:
    """Everything that isn't in the repository."""
    (folder / "manifests").mkdir()
    (folder / "history").mkdir()
    for number, body in enumerate(found.bodies):
        name = f"{number:03}-{body['kind'].lower()}-{body['metadata']['name']}.yaml"
        (folder / "manifests" / name).write_text(output.yaml_text(manifest(body)))
    for app, known in found.history.items():
        (folder / "history" / f"{app}.json").write_text(json.dumps(known, ensure_ascii=False))
    archive.write_header(
        folder,
        {
            "project": project,
            "exported": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "homeport": __version__,
            "runs": found.runs,
            "withSecrets": with_secrets,
            "secrets": sorted(secret["metadata"]["name"] for secret in found.secrets),
            "leftOut": found.left_out,
        },
    )


def needed(secrets: Iterable[str], bodies: Sequence[Mapping[str, Any]]) -> list[str]:
    """Those of ``secrets`` that the objects name: without them nothing of it becomes Ready."""
    text = json.dumps(list(bodies))
    return [name for name in secrets if f'"{name}"' in text]
