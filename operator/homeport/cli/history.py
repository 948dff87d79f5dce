"""``homeport history``: the revisions of an application."""

from __future__ import annotations

from typing import Any

import click

from homeport.cli import candidates, edit, revisions, sources
from homeport.cli import output as out_of
from homeport.cli.changes import field_lines
from homeport.cli.cluster import connected, run
from homeport.cli.errors import Failure
from homeport.cli.options import DEBUG, KUBE, NAMESPACE, Options, pass_options, with_options
from homeport.cli.options import output as output_option
from homeport.drivers.kubernetes.types import Manifest
from homeport.plan import history as plan
from homeport.plan.history import Revision


@click.command()
@click.argument("words", metavar="APP|source NAME", nargs=-1, required=True, shell_complete=candidates.applications)
@with_options(
    NAMESPACE,
    click.option("--revision", "number", type=int, metavar="N", help="Show this one: how the present spec differs."),
    output_option("table", "json", "yaml"),
    *KUBE,
    DEBUG,
)
@pass_options
def history(options: Options, *, words: tuple[str, ...], namespace: str | None, number: int | None, output: str) -> int:
    """Show the revisions of an application, or what one of them holds; or what a GitSource has applied.

    A revision is a spec that was carried out. The present one and five before it are kept (spec.revisionHistoryLimit).
    With --revision: what a rollback to it would change; with -o yaml or json its whole spec.

    For a GitSource (source NAME): the newest five builds that were applied, the present one first.
    """
    source = sources.named(words)
    if source is not None:
        return run(sources.history(options, source, namespace, output))
    app = edit.only(words)
    body, known = run(_look(options, app, namespace))
    if number is not None:
        _one(body, known, number, output)
    elif output != "table":
        value = _as_data(body, known)
        out_of.print_json(value) if output == "json" else out_of.print_yaml(value)
    else:
        _table(body, known)
    return 0


async def _look(options: Options, app: str, namespace: str | None) -> tuple[Manifest, list[Revision]]:
    async with connected(options) as connection:
        body = await edit.found(connection, app, namespace)
        return body, await revisions.kept(connection.client, body)


def find(body: Manifest, known: list[Revision], number: int) -> Revision:
    """The revision with that number. Raises Failure that lists those there are."""
    for revision in known:
        if revision.number == number:
            return revision
    there = ", ".join(str(revision.number) for revision in reversed(known))
    name = body["metadata"]["name"]
    raise Failure(f"{name} has no revision {number}", f"there are: {there}" if there else "none is kept yet")


def _table(body: Manifest, known: list[Revision]) -> None:
    if not known:
        click.echo(f"{body['metadata']['name']} has no revisions yet: none of its specs was carried out", err=True)
        return
    now = revisions.present(known, body)
    rows: list[list[Any]] = []
    for number, revision in enumerate(known):
        before = known[number + 1].spec if number + 1 < len(known) else None
        change = revisions.summary(before, revision.spec)
        rows.append(
            [
                f"{revision.number}{' *' if revision is now else ''}",
                out_of.age(revision.since),
                str(revision.spec.get("version", "")),
                f"{revision.cause} ({change})" if revision.cause else change,
            ]
        )
    out_of.table(out_of.console(), ("REVISION", "AGE", "VERSION", "CHANGE"), list(reversed(rows)))
    if now is None:
        click.echo("the present spec is none of these: it isn't carried out (yet)", err=True)


def _as_data(body: Manifest, known: list[Revision]) -> list[dict[str, Any]]:
    now = revisions.present(known, body)
    return [
        {
            "revision": revision.number,
            "name": revision.name,
            "since": revision.since,
            "version": revision.spec.get("version"),
            "changeCause": revision.cause,
            "present": revision is now,
            "spec": revision.spec,
        }
        for revision in reversed(known)
    ]


def _one(body: Manifest, known: list[Revision], number: int, output: str) -> None:
    revision = find(body, known, number)
    if output == "json":
        out_of.print_json(revision.spec)
    elif output == "yaml":
        out_of.print_yaml(dict(revision.spec))
    else:
        click.echo(f"revision {number} of {body['metadata']['name']}, version {revision.spec.get('version')}")
        show(plan.content(body["spec"]), revision.spec)


LINES = 40
"""Lines of differences that are shown."""


def show(old: Any, new: Any) -> None:
    """What differs between the present spec and another, a few lines of it."""
    found = revisions.differences(old, new)
    lines = [line for field in found for line in field_lines(field)]
    out = out_of.console()
    for line in lines[:LINES]:
        out.print(line, soft_wrap=True)
    if len(lines) > LINES:
        click.echo(f"      … and {len(lines) - LINES} lines more")
    if not lines:
        click.echo("      the present spec is the same")
