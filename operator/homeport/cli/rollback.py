"""``homeport rollback``: an earlier spec of an application, written anew; a source, held at an earlier commit."""

from __future__ import annotations

import sys
from typing import Any

import click

from homeport.cli import candidates, edit, revisions, sources
from homeport.cli.cluster import Connection, connected, run
from homeport.cli.errors import Failure
from homeport.cli.history import find, show
from homeport.cli.options import DEBUG, KUBE, NAMESPACE, Options, pass_options, with_options
from homeport.drivers.kubernetes import errors
from homeport.drivers.kubernetes.types import Manifest
from homeport.plan import history
from homeport.plan.history import Revision


@click.command()
@click.argument("words", metavar="APP|source NAME", nargs=-1, required=True, shell_complete=candidates.applications)
@with_options(
    click.option("--to", "revision", metavar="REV", help="The revision; absent means the previous one."),
    NAMESPACE,
    click.option("--dry-run", is_flag=True, help="Show what would change, and write nothing."),
    click.option("-y", "--yes", is_flag=True, help="Don't ask."),
    click.option("--no-wait", is_flag=True, help="Don't wait until it is Ready."),
    edit.TIMEOUT,
    *KUBE,
    DEBUG,
)
@pass_options
def rollback(
    options: Options,
    *,
    words: tuple[str, ...],
    revision: str | None,
    namespace: str | None,
    dry_run: bool,
    yes: bool,
    no_wait: bool,
    timeout: int,
) -> int:
    """Bring an earlier revision of an application back, and wait until it is Ready.

    Its spec becomes the present one, under a new number; see `homeport history`. What is paused stays paused, and
    nothing is restarted that needn't be. Data stays as it is: a migration that has run isn't undone, and none that has
    run before runs again.

    For a GitSource (source NAME): it is pinned to a commit that it has applied before, and doesn't follow its reference
    until `homeport resume source NAME`. REV is a number or a commit of `homeport history source NAME`, or any commit in
    full. It works while Git can't be reached, too.

    Exit code 0: it is Ready (with --dry-run and --no-wait: it could be written); 1: an error, or it doesn't get Ready.
    """
    patience = None if no_wait else timeout
    source = sources.named(words)
    if source is not None:
        return run(sources.rollback(options, source, revision, namespace, dry_run, patience))
    if revision is not None and not revision.isdecimal():
        raise Failure(f"{revision!r} is no revision of an application", "write a number that `homeport history` shows")
    app, number = edit.only(words), None if revision is None else int(revision)
    return run(_rollback(options, app, number, namespace, (dry_run, yes), patience))


async def _rollback(
    options: Options, app: str, number: int | None, namespace: str | None, told: tuple[bool, bool], patience: int | None
) -> int:
    dry_run, yes = told
    async with connected(options) as connection:
        body, target = await _choose(connection, app, number, namespace)
        name, present = body["metadata"]["name"], body["spec"]
        click.echo(f"{name}: back to revision {target.number}, version {target.spec.get('version')}")
        show(history.content(present), target.spec)
        for line in _beside(present, target.spec):
            click.echo(f"      {line}")
        edit.warn_of_git(body)
        if dry_run:
            click.echo("nothing was written: --dry-run")
            return 0
        if not yes and not _asked():
            click.echo("nothing was written")
            return 1
        try:
            written = await edit.write(connection.client, body, history.restored(target.spec, present))
        except errors.Conflict:
            hint = f"look at it with `homeport history {name}`, and run this again"
            raise Failure(f"{name} has changed meanwhile; nothing was written", hint) from None
        if patience is None or await edit.settled(connection.client, edit.APPLICATION, written, patience):
            return 0
        return 1


async def _choose(
    connection: Connection, app: str, number: int | None, namespace: str | None
) -> tuple[Manifest, Revision]:
    """The application, and the revision to go back to. Raises Failure without one, or where it would be in vain."""
    client = connection.client
    body = await edit.found(connection, app, namespace)
    known = await revisions.kept(client, body)
    edit.refuse_at_rest(body, await edit.project_of(client, body["metadata"]["namespace"]))
    name = body["metadata"]["name"]
    target = find(body, known, number) if number is not None else revisions.previous(known, body)
    if target is None:
        raise Failure(f"there is nothing to roll {name} back to: no earlier revision is kept")
    if target is revisions.present(known, body):
        raise Failure(f"{name} is at revision {target.number} already", f"`homeport history {name}` lists the others")
    return body, target


def _beside(present: Any, old: Any) -> list[str]:
    """What a person should know beside the fields."""
    out = []
    paused = [part["name"] for part in present["components"] if part.get("paused")]
    if paused:
        out.append(f"{', '.join(paused)} stay{'s' if len(paused) == 1 else ''} paused until `homeport resume`")
    migrating = [part["name"] for part in present["components"] if part.get("migrate")]
    if migrating and present.get("version") != old.get("version"):
        out.append(f"migrations that {', '.join(migrating)} ran are not undone")
    return out


def _asked() -> bool:
    if not sys.stdin.isatty():
        raise Failure("there is nobody to ask", "say -y to go on without, or --dry-run to look only")
    return click.confirm("Write this?", default=False)
