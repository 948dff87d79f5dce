"""``homeport diff``: what applying a source now would change. ``flux diff`` and ``argocd app diff``."""

# ruff: noqa: PLC0415 - imported when it is needed, so that help, completion and errors are quick
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.text import Text

from homeport.cli import candidates, output, sources
from homeport.cli.changes import FieldChange, at, field_lines, hidden
from homeport.cli.cluster import connected, run
from homeport.cli.options import DEBUG, KUBE, NAMESPACE, Options, pass_options, with_options
from homeport.cli.options import output as output_option

if TYPE_CHECKING:
    from rich.console import Console

    from homeport.cli.sourceplan import Preview

WELL, ERROR, CHANGES = 0, 1, 2
_SIGNS = {
    "create": ("+", "green"),
    "update": ("~", "yellow"),
    "replace": ("±", "bold magenta"),
    "delete": ("-", "red"),
    "keep": ("=", "blue"),
}


@click.command()
@click.argument("words", metavar="SOURCE", nargs=-1, required=True, shell_complete=candidates.sources)
@with_options(
    click.option(
        "-f",
        "--folder",
        metavar="FOLDER",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        default=None,
        help="Compare a folder on this machine, before it is pushed: the repository's root, or what the source reads.",
    ),
    NAMESPACE,
    output_option("text", "json"),
    *KUBE,
    DEBUG,
)
@pass_options
def diff(options: Options, *, words: tuple[str, ...], folder: Path | None, namespace: str | None, output: str) -> int:
    """Show what applying a GitSource now would change: fields, objects made and removed, data lost, what is refused.

    It is fetched and built here, with the Secrets that the source names, and asked of the API server by dry runs: as
    the source's account, where you may impersonate it, else as yourself. Nothing is written.

    Exit code 0: nothing would change; 2: something would; 1: an error, or something is refused.
    """
    return run(_diff(options, sources.named(words) or words[0], namespace, folder, output))


async def _diff(options: Options, name: str, namespace: str | None, folder: Path | None, how: str) -> int:
    from homeport.cli.sourceplan import preview

    async with connected(options) as connection:
        body = await sources.found(connection, name, namespace)
        found = await preview(connection, body, folder)
    if how == "json":
        output.print_json(as_json(found))
    else:
        show(found, output.console())
    if found.plan.problems or found.plan.guard:
        return ERROR
    return WELL if found.plan.empty else CHANGES


def as_json(found: Preview) -> dict[str, Any]:
    """For programs."""
    from homeport.plan.gitops import source as plan

    out = plan.as_status(found.plan, found.of)
    return {**out, "guard": found.plan.guard, "problems": [problem.message for problem in found.plan.problems]}


def show(found: Preview, console: Console) -> None:
    """For people."""
    from homeport.plan.gitops.source import told

    for note in found.notes:
        click.echo(f"note: {note}", err=True)
    for change in (*found.plan.changes, *found.plan.pruned):
        sign, style = _SIGNS.get(str(change.verb), (" ", "dim"))
        line = Text(f"{sign} {change.id.shown}", style)
        line.append(f"  {change.where}" if change.where else "", "dim")
        line.append(f"  {change.reason}" if change.reason else "", "dim")
        line.append("  loses data" if change.loses_data else "", "bold red")
        console.print(line, soft_wrap=True)
        live = found.live.get(change.id)
        if live is not None and change.wanted is not None:
            there, wanted = hidden(live), hidden(change.wanted.manifest)
            for path in change.fields:
                for text in field_lines(FieldChange(path, at(there, path), at(wanted, path))):
                    console.print(text, soft_wrap=True)
    for problem in found.plan.problems:
        console.print(Text(f"refused: {problem.message}", "bold red"), soft_wrap=True)
    if found.plan.guard:
        console.print(Text(f"held: {found.plan.guard}", "yellow"), soft_wrap=True)
    console.print(Text(f"{found.of}: {told(found.plan)}", "bold"), soft_wrap=True)
