"""``homeport plan``: the operator's own reconciliation of files, with apply left out."""

# ruff: noqa: PLC0415 - imported when it is needed, so that help, completion and errors are quick
from __future__ import annotations

from typing import Any

import click
from rich.console import Console
from rich.text import Text

from homeport.cli import changes as changes_of
from homeport.cli import output
from homeport.cli.cluster import connected, run
from homeport.cli.documents import Document, bodies, read
from homeport.cli.errors import Failure
from homeport.cli.options import DEBUG, FILES, KUBE, NAMESPACE, Options, pass_options, with_options
from homeport.cli.options import output as output_option

WELL, ERROR, CHANGES = 0, 1, 2


@click.command()
@with_options(
    FILES,
    NAMESPACE,
    click.option("--full", is_flag=True, help="Show the manifests of what would be created, too."),
    output_option("text", "json"),
    *KUBE,
    DEBUG,
)
@pass_options
def plan(options: Options, *, sources: tuple[str, ...], namespace: str | None, full: bool, output: str) -> int:
    """Show what applying files would change.

    Nothing is written. The operator's own code compares what would be wanted with what is in the cluster, and says what
    would be made, changed, replaced and deleted, and whether data would be lost.

    Exit code 0: nothing to do; 2: there are changes; 1: an error, or something that would be stuck.
    """
    documents = readable(sources)
    found = run(_preview(options, documents, namespace))
    return _show(found, output, full)


def readable(sources: tuple[str, ...]) -> list[Document]:
    """The documents, if all of them could be applied. Raises Failure, when what is wrong has been shown."""
    from homeport.cli.checks import check
    from homeport.cli.validate import show_problems

    documents, unreadable = read(sources)
    checked = check(documents)
    wrong = [*unreadable, *checked.errors]
    if wrong:
        show_problems(wrong, output.console(stderr=True))
        raise Failure("the files can't be applied as they are", "mend what is named above")
    if not checked.ours:
        raise Failure(f"nothing of Homeport's is in {', '.join(sources)}", "name files with kinds of homeport.dev")
    return documents


async def _preview(options: Options, documents: list[Document], namespace: str | None) -> Any:
    from homeport.engine.preview import preview

    async with connected(options) as connection:
        return await preview(connection.client, bodies(documents, namespace or connection.namespace))


def _show(found: Any, output_format: str, full: bool) -> int:
    """Print a ``engine.preview.Preview``; the exit code."""
    from homeport.outcome import Stalled

    stuck = any(isinstance(outcome, Stalled) for _, outcome in found.problems)
    if output_format == "json":
        answer = changes_of.as_json(found.changes)
        answer["problems"] = [
            {
                "kind": key.kind,
                "namespace": key.namespace,
                "name": key.name,
                "outcome": type(outcome).__name__,
                "reason": getattr(outcome, "reason", ""),
                "message": outcome.message,
            }
            for key, outcome in found.problems
        ]
        output.print_json(answer)
    else:
        out = output.console()
        changes_of.render_changes(found.changes, out, full=full)
        _problems(found.problems, out, Stalled)
    if stuck:
        return ERROR
    return CHANGES if found.pending else WELL


def _problems(problems: list[Any], out: Console, stalled: type) -> None:
    for key, outcome in problems:
        stuck = isinstance(outcome, stalled)
        line = Text("stuck: " if stuck else "would wait: ", "bold red" if stuck else "yellow")
        line.append(f"{key.kind} {key.namespace}/{key.name}: {outcome.message}")
        if getattr(outcome, "reason", ""):
            line.append(f" ({outcome.reason})", "dim")
        out.print(line, soft_wrap=True)
