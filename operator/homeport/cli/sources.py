"""GitSources on the command line: what was applied, going back to it, and waiting for what comes."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import click

from homeport.api import labels
from homeport.cli import edit, kinds, standing
from homeport.cli import output as out_of
from homeport.cli.cluster import Connection, connected, one
from homeport.cli.errors import Failure
from homeport.cli.kinds import KindName
from homeport.cli.options import Options
from homeport.drivers.kubernetes import types
from homeport.drivers.kubernetes.types import Manifest

SOURCE = kinds.find("gitsource")
SHOWN = 12
"""Digits of a commit that people are shown."""
LEAST = 4
"""Digits of a commit that it is known by at least, as with git."""


def named(words: Sequence[str]) -> str | None:
    """``source NAME`` or ``source/NAME`` as the name; None when it is something else that is meant."""
    if len(words) == 1 and "/" not in words[0]:
        return None
    kind, names = kinds.split(words)
    if kind is None or kinds.find(kind).kind != SOURCE.kind:
        return None
    if len(names) != 1:
        raise Failure("write one source, as source NAME")
    return names[0]


async def found(connection: Connection, name: str, namespace: str | None) -> Manifest:
    """The GitSource. Raises Failure that says which there are."""
    return await one(connection.client, SOURCE, namespace or connection.namespace, name)


def commit_of(revision: str) -> str:
    """``main@sha1:…`` as the commit."""
    return revision.rpartition(":")[2]


def short(revision: str) -> str:
    """A revision with as much of its commit as people read."""
    name, colon, commit = revision.rpartition(":")
    return f"{name}{colon}{commit[:SHOWN]}"


async def annotate(connection: Connection, body: Manifest, annotations: dict[str, str | None]) -> Manifest:
    """Write annotations (None removes one)."""
    metadata = body["metadata"]
    patch = {"metadata": {"annotations": annotations}}
    gvk = types.gvk_of(body)
    return await connection.client.patch(gvk, metadata.get("namespace"), metadata["name"], patch, manager=edit.MANAGER)


async def awaited(
    connection: Connection, kind: KindName, body: Manifest, done: Callable[[Manifest], bool], patience: float
) -> bool:
    """Wait until ``done``, and what was asked for has ended well or badly, telling how it goes; whether it is Ready."""
    metadata, last = body["metadata"], ""
    try:
        async with asyncio.timeout(patience):
            while True:
                async for seen in edit.states(
                    connection.client, kind, metadata.get("namespace") or "", metadata["name"]
                ):
                    if not done(seen):
                        continue
                    now = standing.of(seen)
                    line = f"{now.reason or 'Waiting'}: {now.message}"
                    if line != last:
                        click.echo(line, err=not now.is_ready)
                        last = line
                    stalled = standing.condition(seen, "Stalled") is not None
                    if now.is_ready or (stalled and now.ready == "False"):
                        return now.is_ready
    except TimeoutError:
        click.echo(
            f"not Ready after {patience:g} s; `homeport status -n {metadata.get('namespace')}` says more", err=True
        )
        return False


# --- sync -------------------------------------------------------------------------------------------------------------


async def sync(options: Options, kind: KindName, name: str, namespace: str | None, patience: float | None) -> int:
    """Have an object looked at now; a source fetches."""
    async with connected(options) as connection:
        here = namespace or (name if kind.kind == "Project" else connection.namespace)
        body = await one(connection.client, kind, here, name)
        if (body.get("spec") or {}).get("suspend"):
            raise Failure(f"{name} is suspended", f"`homeport resume {kind.names[0]}/{name}` first")
        token = datetime.now(UTC).isoformat()
        written = await annotate(connection, body, {labels.RECONCILE_AT: token})
        if patience is None:
            click.echo(f"{name}: asked for; `homeport get {kind.names[0]} {name}` shows what comes of it")
            return 0

        def handled(seen: Manifest) -> bool:
            return bool((seen.get("status") or {}).get("lastHandledReconcileAt") == token)

        return 0 if await awaited(connection, kind, written, handled, patience) else 1


# --- history ----------------------------------------------------------------------------------------------------------


async def history(options: Options, name: str, namespace: str | None, output: str) -> int:
    """Show what was applied."""
    async with connected(options) as connection:
        body = await found(connection, name, namespace)
    known = (body.get("status") or {}).get("history") or []
    if output == "json":
        out_of.print_json(known)
    elif output == "yaml":
        out_of.print_yaml(known)
    elif not known:
        click.echo(f"{name} has applied nothing yet", err=True)
    else:
        rows = [
            [f"{number}{' *' if number == 1 else ''}", short(str(entry["revision"])), out_of.age(entry["at"]),
             str(entry["objects"])]
            for number, entry in enumerate(known, 1)
        ]  # fmt: skip
        out_of.table(out_of.console(), ("NUMBER", "REVISION", "AGE", "OBJECTS"), rows)
        pinned = pin_of(body)
        if pinned:
            click.echo(f"pinned to {pinned[:SHOWN]}; `homeport resume source {name}` follows {_reference(body)} again")
    return 0


def pin_of(body: Manifest) -> str:
    """The commit that a source is held at; empty when it isn't."""
    return str((body["metadata"].get("annotations") or {}).get(labels.PIN, ""))


def _reference(body: Manifest) -> str:
    ref = (body.get("spec") or {}).get("ref") or {}
    return next((f"{kind} {value}" for kind, value in ref.items()), "its reference")


# --- rollback and resume ----------------------------------------------------------------------------------------------


def target(body: Manifest, wanted: str | None) -> str:
    """The commit to go back to: the build before the present one, one by its number or by its commit's first digits, or
    any commit in full. Raises Failure that lists those there are."""
    name = body["metadata"]["name"]
    known = [str(entry["revision"]) for entry in (body.get("status") or {}).get("history") or ()]
    there = ", ".join(short(each) for each in known) or "none yet"
    if wanted is None:
        if len(known) < 2:
            raise Failure(f"there is nothing to roll {name} back to: nothing else was applied", f"applied: {there}")
        return commit_of(known[1])
    if re.fullmatch(r"[1-9]", wanted) and int(wanted) <= len(known):
        return commit_of(known[int(wanted) - 1])
    asked = commit_of(wanted).lower()
    if re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", asked):
        return asked
    fitting = {commit_of(each) for each in known if commit_of(each).startswith(asked)}
    if len(asked) >= LEAST and len(fitting) == 1:
        return fitting.pop()
    hint = f"applied were {there}; any other commit has to be written in full"
    raise Failure(f"{wanted!r} is {'several of' if len(fitting) > 1 else 'none of'} the commits of {name}", hint)


async def rollback(
    options: Options, name: str, wanted: str | None, namespace: str | None, dry_run: bool, patience: float | None
) -> int:
    """Hold a source at a commit."""
    async with connected(options) as connection:
        body = await found(connection, name, namespace)
        commit = target(body, wanted)
        if pin_of(body) == commit:
            raise Failure(f"{name} is pinned to {commit[:SHOWN]} already")
        edit.say(
            body, [f"pinned to {commit[:SHOWN]}; `homeport resume source {name}` follows {_reference(body)} again"]
        )
        if dry_run:
            click.echo("nothing was written: --dry-run")
            return 0
        written = await annotate(connection, body, {labels.PIN: commit})
        if patience is None:
            return 0

        def there(seen: Manifest) -> bool:
            return bool((seen.get("status") or {}).get("pinned") == commit)

        return 0 if await awaited(connection, SOURCE, written, there, patience) else 1


async def resume(options: Options, name: str, namespace: str | None, patience: float | None) -> int:
    """Take a pin and a suspension off."""
    async with connected(options) as connection:
        body = await found(connection, name, namespace)
        suspended, pinned = bool((body.get("spec") or {}).get("suspend")), pin_of(body)
        if not suspended and not pinned:
            edit.say(body, ["it is neither pinned nor suspended"])
            return 0
        patch: dict[str, Any] = {}
        if pinned:
            patch["metadata"] = {"annotations": {labels.PIN: None}}
        if suspended:
            patch["spec"] = {"suspend": False}
        metadata = body["metadata"]
        written = await connection.client.patch(SOURCE.gvk, metadata["namespace"], name, patch, manager=edit.MANAGER)
        edit.say(body, [*([f"no longer pinned: follows {_reference(body)}"] if pinned else []),
                        *(["no longer suspended"] if suspended else [])])  # fmt: skip
        if suspended:
            edit.warn_of_git(body)
        if patience is None:
            return 0

        def free(seen: Manifest) -> bool:
            return not (seen.get("status") or {}).get("pinned") and standing.condition(seen, "Suspended") is None

        return 0 if await awaited(connection, SOURCE, written, free, patience) else 1
