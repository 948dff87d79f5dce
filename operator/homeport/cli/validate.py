"""``homeport validate``: files, without a cluster."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from homeport.cli import output
from homeport.cli.built import from_build, has_sources
from homeport.cli.checks import Checked, check
from homeport.cli.documents import Problem, read
from homeport.cli.options import DEBUG, FILES, with_options
from homeport.cli.options import output as output_option

STYLES = {"error": "bold red", "warning": "yellow"}


@click.command()
@with_options(
    FILES,
    click.option("--strict", is_flag=True, help="Refuse objects that aren't Homeport's, and take warnings as errors."),
    output_option("text", "json"),
    DEBUG,
)
def validate(sources: tuple[str, ...], strict: bool, output: str) -> int:
    """Check files without a cluster.

    Says of every field that Homeport would refuse where it is and what to write instead. Objects of other kinds are
    named and left alone. A folder with kustomizations, charts or templates is built first, as a GitSource would. Exit
    code 0 when there are no errors, 1 otherwise.
    """
    plain, documents = [], []
    for source in dict.fromkeys(sources):
        if source != "-" and has_sources(Path(source)):
            documents += from_build(Path(source))
        else:
            plain.append(source)
    read_plain, unreadable = read(plain)
    documents += read_plain
    checked = check(documents, strict=strict)
    checked.problems[:0] = unreadable
    if not checked.ours and not checked.errors:
        text = f"nothing of Homeport's is in {', '.join(sources)}"
        checked.problems.append(Problem(sources[0], 1, text, severity="warning"))
    bad = checked.problems if strict else checked.errors
    if output == "json":
        _as_json(checked, not bad)
    else:
        _as_text(checked)
    return 1 if bad else 0


def _as_json(checked: Checked, valid: bool) -> None:
    output.print_json(
        {
            "valid": valid,
            "problems": [problem.as_json() for problem in checked.problems],
            "objects": [{"file": d.file, "line": d.line, "object": d.shown} for d in checked.ours],
            "skipped": [{"file": d.file, "line": d.line, "object": d.shown} for d in checked.others],
        }
    )


def _as_text(checked: Checked) -> None:
    out = output.console()
    show_problems(checked.problems, out)
    others = ", ".join(f"{d.shown} ({d.file}:{d.line})" for d in checked.others[:10])
    if len(checked.others) > 10:
        others += f" and {len(checked.others) - 10} more"
    if others:
        out.print(Text(f"not Homeport's, left alone: {others}", "dim"), soft_wrap=True)
    errors = len(checked.errors)
    warnings = len(checked.problems) - errors
    counts = [_count(len(checked.ours), "object"), _count(errors, "error")]
    if warnings:
        counts.append(_count(warnings, "warning"))
    out.print(Text(", ".join(counts), "bold red" if errors else "bold green"), soft_wrap=True)


def show_problems(problems: list[Problem], out: Console) -> None:
    """One line each: ``file:line: Kind/name: field: message``."""
    for problem in problems:
        line = Text(f"{problem.file}:{problem.line}: ", "bold")
        line.append(f"{problem.severity}: ", STYLES[problem.severity])
        if problem.object:
            line.append(f"{problem.object}: ")
        if problem.field:
            line.append(f"{problem.field}: ", "cyan")
        line.append(problem.message)
        out.print(line, soft_wrap=True)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
