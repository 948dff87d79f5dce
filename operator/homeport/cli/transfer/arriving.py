"""``homeport import``: what an export holds, made on another cluster. Every step may be done again.

=================  =========================================================================================
step               again
=================  =========================================================================================
Secrets, objects   applied; what is the same stays
history            only before an Application was first carried out; revisions' names tell their content
runs               restic copies no snapshot twice
Restores           named after the Backup; one that is there is followed, after one that failed comes the next
=================  =========================================================================================
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import yaml

from homeport.api.resource import parse
from homeport.cli import edit, kinds, standing
from homeport.cli.backups import common, following
from homeport.cli.backups.common import MANAGER, status
from homeport.cli.errors import Failure
from homeport.cli.transfer import stores
from homeport.cli.transfer.leaving import SECRETS_FILE, SECRETS_TAG, needed
from homeport.cli.transfer.restic import Repository, Restic
from homeport.drivers.kubernetes import errors, types
from homeport.drivers.kubernetes.protocol import Api
from homeport.drivers.kubernetes.types import Manifest
from homeport.plan import history

ON_VOLUMES = ("Files", "SQLite", "Redis")
TRIES = 9
"""How often data is restored anew, import by import, when it failed."""
LOOK = 1.0
"""Seconds between looks at what is waited for."""


@dataclass(frozen=True)
class Place:
    """Where repositories are to be instead of where they were; empty parts stay."""

    endpoint: str = ""
    bucket: str = ""
    prefix: str = ""

    @property
    def fields(self) -> dict[str, str]:
        """Of ``spec.s3``."""
        found = {"endpoint": self.endpoint, "bucket": self.bucket, "prefix": self.prefix}
        return {key: value for key, value in found.items() if value}


def bodies(folder: Path, place: Place) -> list[Manifest]:
    """The objects, in the order in which they were written."""
    out = [yaml.safe_load(path.read_text()) for path in sorted((folder / "manifests").glob("*.yaml"))]
    several = sum(body["kind"] == "BackupRepository" and "s3" in body["spec"] for body in out) > 1
    for body in out:
        if body["kind"] == "BackupRepository" and "s3" in body["spec"]:
            body["spec"]["s3"] |= place.fields
            if place.prefix and several:
                body["spec"]["s3"]["prefix"] = f"{place.prefix}/{body['metadata']['name']}"
    return out


async def apply(client: Api, project: str, found: Sequence[Manifest], folder: Path) -> None:
    """The namespace and the objects; Applications that are new begin with their history. Raises ApiError."""
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": project}}
    await client.apply(types.NAMESPACE, None, project, namespace, manager=MANAGER)
    for body in found:
        if body["kind"] == "Application":
            await _application(client, body, folder)
        else:
            await _apply(client, body)
        click.echo(f"{body['kind']} {body['metadata']['name']} applied", err=True)


async def _apply(client: Api, body: Manifest) -> Manifest:
    metadata = body["metadata"]
    return await client.apply(types.gvk_of(body), metadata.get("namespace"), metadata["name"], body, manager=MANAGER)


async def _application(client: Api, body: Manifest, folder: Path) -> None:
    """One that isn't there yet is made suspended, so that nothing is carried out before its history is there."""
    name, namespace = body["metadata"]["name"], body["metadata"]["namespace"]
    path = folder / "history" / f"{name}.json"
    there = await client.get(types.APPLICATION, namespace, name)
    known = json.loads(path.read_text()) if path.is_file() else []
    if known and (there is None or not (there.get("status") or {}).get("revision")):
        await _apply(client, {**body, "spec": {**body["spec"], "suspend": True}})
        made = parse(await _whole(client, namespace, name))
        for entry in sorted(known, key=lambda entry: int(entry["number"])):
            revision = history.manifest(made, entry["spec"], int(entry["number"]), entry["since"])
            if entry.get("cause"):
                revision["metadata"]["annotations"][history.CHANGE_CAUSE] = entry["cause"]
            try:
                await client.create(types.CONTROLLER_REVISION, namespace, revision, manager="homeport")
            except errors.AlreadyExists:
                continue
    await _apply(client, body)


async def _whole(client: Api, namespace: str, name: str) -> Manifest:
    found = await client.get(types.APPLICATION, namespace, name)
    if found is None:
        raise Failure(f"Application {name} has been deleted meanwhile")
    return found


async def secrets(client: Api, project: str, restic: Restic, source: Repository) -> list[str]:
    """Make the Secrets that the export has, in the project's namespace: their names."""
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": project}}
    await client.apply(types.NAMESPACE, None, project, namespace, manager=MANAGER)
    found = [body for body in yaml.safe_load_all(restic.read(source, SECRETS_FILE, SECRETS_TAG)) if body]
    for body in found:
        await _apply(client, body)
    return [body["metadata"]["name"] for body in found]


async def lacking(client: Api, project: str, header: Mapping[str, Any], found: Sequence[Manifest]) -> list[str]:
    """Secrets that the objects name, that were in the project, and that aren't here."""
    out = []
    for name in needed(header.get("secrets") or (), found):
        if await client.get(types.SECRET, project, name, metadata_only=True) is None:
            out.append(name)
    return out


# --- data -------------------------------------------------------------------------------------------------------------


async def fill(
    client: Api, found: Sequence[Manifest], runs: Sequence[Mapping[str, str]], restic: Restic, source: Repository,
    scratch: Path, patience: float,
) -> dict[str, str]:  # fmt: skip
    """Copy the runs into the repositories that the Backups name: the snapshot of each Backup's run there."""
    repositories = {body["metadata"]["name"]: body for body in found if body["kind"] == "BackupRepository"}
    backups = {body["metadata"]["name"]: body for body in found if body["kind"] == "Backup"}
    out: dict[str, str] = {}
    for run in runs:
        backup = backups[run["backup"]]
        body = repositories[backup["spec"]["repositoryRef"]["name"]]
        try:
            target = await stores.store(client, body, scratch)
        except stores.Unreachable as why:
            raise Failure(str(why), "create it, and import the file again: what is done isn't done twice") from None
        await _made(client, body, restic, target, patience)
        tags = stores.tags(backup, run["run"])
        click.echo(f"copies {run['backup']}: run {run['run']}", err=True)
        restic.copy(source, target, tags)
        index = [one for one in restic.snapshots(target, tags) if "part=index" in (one.get("tags") or ())]
        if not index:
            raise Failure(f"run {run['run']} of {run['backup']} isn't whole in the file", "export the project again")
        out[run["backup"]] = str(index[-1]["id"])
    return out


async def _made(client: Api, body: Manifest, restic: Restic, target: Repository, patience: float) -> None:
    """Wait until the operator has made the repository; it alone does, so that no two are made at one place."""
    metadata, told = body["metadata"], False
    try:
        async with asyncio.timeout(patience):
            while True:
                now = await client.get(kinds.find("backuprepository").gvk, metadata["namespace"], metadata["name"])
                if now is not None and status(now).get("initialized") and restic.is_there(target):
                    return
                if not told:
                    click.echo(f"waits for BackupRepository {metadata['name']} to be made", err=True)
                told = True
                await asyncio.sleep(LOOK)
    except TimeoutError:
        said = standing.of(now).message if now is not None else "it isn't there"
        raise Failure(
            f"BackupRepository {metadata['name']} isn't made yet: {said}",
            "import the file again when it is: what is done isn't done twice",
        ) from None


async def restore(
    client: Api, found: Sequence[Manifest], runs: Sequence[Mapping[str, str]], snapshots: Mapping[str, str],
    patience: float | None,
) -> int:  # fmt: skip
    """A Restore over what each Application has just made for itself, of each Backup's run; the worst exit code."""
    methods = {run["backup"]: run.get("method") or "" for run in runs}
    backups = {body["metadata"]["name"]: body for body in found if body["kind"] == "Backup"}
    made = []
    for name, snapshot in snapshots.items():
        source = backups[name]["spec"]["source"]
        if "application" not in source:
            continue  # the manifests are here already
        namespace = backups[name]["metadata"]["namespace"]
        # Where the Backup names none, what is there now may not have told yet: the file says by which it was saved.
        method = str(backups[name]["spec"].get("method") or methods.get(name) or "")
        made.append(await _restore(client, namespace, backups[name], method, snapshot, patience))
    if patience is None:
        return 0
    return max([await following.follow(client, common.RESTORE, body, patience) for body in made], default=0)


async def _restore(
    client: Api, namespace: str, backup: Manifest, method: str, snapshot: str, patience: float | None
) -> Manifest:
    name, source = backup["metadata"]["name"], backup["spec"]["source"]
    app = await _whole(client, namespace, source["application"])
    if patience is not None:
        await edit.settled(client, edit.APPLICATION, app, patience)
    in_place: dict[str, Any] = {"confirm": app["metadata"]["uid"]}
    if method in ON_VOLUMES:
        in_place["quiesce"] = True
    spec = {"backupRef": {"name": name}, "snapshot": snapshot, "target": {"inPlace": in_place}}
    for number in range(1, TRIES + 1):
        called = f"{name}-import" + (f"-{number}" if number > 1 else "")
        there = await client.get(common.RESTORE.gvk, namespace, called)
        if there is None:
            body = common.manifest("Restore", namespace, called, spec)
            return await client.create(common.RESTORE.gvk, namespace, body, manager=MANAGER)
        if status(there).get("phase") not in following.EXIT or following.succeeded(there):
            click.echo(f"Restore {called} is there already", err=True)
            return there
    raise Failure(f"{TRIES} Restores of {name} have failed", f"look at Restore {name}-import, and delete them")
