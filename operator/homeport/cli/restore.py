"""``homeport restore``: bring a backup back, beside the original unless told otherwise."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import click

from homeport.cli import kinds, output
from homeport.cli.backups import common, following
from homeport.cli.backups.choice import chosen
from homeport.cli.backups.command import refuse_suspended
from homeport.cli.cluster import Connection, connected, one, run
from homeport.cli.errors import Failure
from homeport.cli.options import DEBUG, KUBE, NAMESPACE, Options, pass_options, with_options
from homeport.drivers.kubernetes.types import Manifest

ON_VOLUMES = ("Files", "SQLite", "Redis")
"""Methods whose data is on a volume that nobody may have open while it is replaced."""


@dataclass(frozen=True)
class Asked:
    """What was asked for on the command line."""

    snapshot: str | None
    before: str | None
    paths: tuple[str, ...]
    environment: str | None
    in_place: bool
    quiesce: bool | None
    yes: bool
    dry_run: bool


@click.command()
@common.NAME
@with_options(
    click.option("--snapshot", metavar="ID", default=None, help="This run: its name, or its snapshot's id."),
    click.option(
        "--before", metavar="TIME", default=None, help="The newest one before a moment: 2026-11-20T18:00:00Z."
    ),
    click.option("--path", "paths", metavar="P", multiple=True, help="Of files: only this; may be given again."),
    click.option("--to-environment", "environment", metavar="ENV", default=None, help="Into another environment."),
    click.option("--in-place", is_flag=True, help="Replace what is there now, which is backed up first."),
    click.option(
        "--quiesce/--no-quiesce",
        default=None,
        help="With --in-place: scale to zero what uses the data meanwhile. Default: where the data is on a volume.",
    ),
    click.option("-y", "--yes", is_flag=True, help="Don't ask."),
    click.option("--dry-run", is_flag=True, help="Show what would be done, and write nothing."),
    following.WAIT,
    following.TIMEOUT,
    NAMESPACE,
    *KUBE,
    DEBUG,
)
@pass_options
def restore(options: Options, /, *, name: str, wait: bool, timeout: int, namespace: str | None, **given: Any) -> int:
    """Bring a backup back: the newest, into a new place beside the original.

    A database comes back under another name, a volume as a claim of its own, a container under another VMID; nothing
    that is there is changed. --in-place replaces what is there: that is backed up first, and has to be confirmed by
    typing its name, or with --yes.

    Exit code with --wait: 0: all is back; 3: some of it; 1: it failed, or isn't over in time.
    """
    asked = Asked(**given)
    if asked.in_place and asked.environment:
        raise Failure("write --in-place or --to-environment, not both")
    if asked.quiesce is not None and not asked.in_place:
        raise Failure("--quiesce is for --in-place: nothing that is there is touched otherwise")
    return run(_restore(options, name, namespace, asked, timeout if wait else None))


async def _restore(options: Options, name: str, namespace: str | None, asked: Asked, patience: int | None) -> int:
    async with connected(options) as connection:
        body = await common.found(connection, name, namespace)
        refuse_suspended(body)
        here, backup = body["metadata"]["namespace"], body["metadata"]["name"]
        picked = chosen(body, asked.snapshot, asked.before)
        click.echo(f"restores {picked.shown}", err=True)
        spec: dict[str, Any] = {"backupRef": {"name": backup}, **picked.fields}
        if asked.paths:
            spec["paths"] = list(asked.paths)
        if asked.environment:
            spec["target"] = {"new": {"environment": asked.environment}}
        if asked.in_place:
            spec["target"] = {"inPlace": await _in_place(connection, body, asked)}
        wanted = common.manifest("Restore", here, common.new_name(f"{backup}-restore"), spec)
        client, gvk = connection.client, common.RESTORE.gvk
        if asked.dry_run:
            await client.create(gvk, here, wanted, dry_run=True, manager=common.MANAGER)
            output.print_yaml(wanted)
            click.echo("nothing was written: --dry-run", err=True)
            return 0
        made = await client.create(gvk, here, wanted, manager=common.MANAGER)
        click.echo(f"Restore {made['metadata']['name']} created", err=patience is not None)
        return 0 if patience is None else await following.follow(client, common.RESTORE, made, patience)


async def _in_place(connection: Connection, body: Manifest, asked: Asked) -> dict[str, Any]:
    """The consent, which is the UID of what is overwritten: looked up only once a person has said that they mean it."""
    source, here = body["spec"]["source"], body["metadata"]["namespace"]
    if source.get("project"):
        raise Failure(
            "manifests aren't restored in place: what Git or a person wrote since would be lost",
            "leave --in-place out, and apply what you need of them",
        )
    kind, name = (
        ("lxccontainer", source["container"]) if "container" in source else ("application", source["application"])
    )
    quiesce = asked.quiesce if asked.quiesce is not None else _method(body) in ON_VOLUMES
    for line in _what_goes(body, quiesce):
        click.echo(line, err=True)
    if not asked.yes and not asked.dry_run:
        _confirm(name)
    target = await one(connection.client, kinds.find(kind), here, name)
    return {"confirm": target["metadata"]["uid"], **({"quiesce": True} if quiesce else {})}


def _method(body: Mapping[str, Any]) -> str:
    return str(common.status(body).get("method") or body["spec"].get("method") or "")


def _what_goes(body: Manifest, quiesce: bool) -> list[str]:
    """What a person has to know before they say yes."""
    source, last = body["spec"]["source"], common.status(body).get("lastSuccess") or {}
    if "container" in source:
        what = f"container {source['container']}"
    else:
        what = (
            f"{_method(body) or 'the data'} of {source['application']}/{source['component']} in {source['environment']}"
        )
    lines = [f"replaces {what} in namespace {body['metadata']['namespace']}"]
    if quiesce:
        lines.append("what uses it is scaled to zero meanwhile")
    lines.append(
        "what is there now is backed up first, and kept by every retention; if that fails, nothing is replaced"
    )
    if last:
        lines.append(f"the newest backup before that is of {common.day(last.get('time'))}")
    return lines


def _confirm(name: str) -> None:
    """Raises Failure unless the person types the name."""
    if not sys.stdin.isatty():
        raise Failure("there is nobody to ask", "say --yes to go on without, or --dry-run to look only")
    if click.prompt(f"Type {name} to go on", default="", show_default=False) != name:
        raise Failure("nothing was written: that isn't its name")
