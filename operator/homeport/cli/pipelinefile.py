"""pipeline.yaml as commands take it: the option, the pipeline in it, and what that is rendered to."""

# ruff: noqa: PLC0415 - imported when it is needed, so that help, completion and errors are quick
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from homeport.cli.errors import Failure

if TYPE_CHECKING:
    from homeport.pipelines.model import Pipeline

FILE: Any = click.option(
    "-f",
    "--file",
    "source",
    metavar="FILE",
    default="pipeline.yaml",
    show_default=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The pipeline.",
)


def load(source: Path) -> Pipeline:
    """The pipeline in a file. Raises Failure, with a line for each problem."""
    from homeport.pipelines.read import InvalidPipeline, read

    try:
        return read(source.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise Failure(f"{source}: this isn't text in UTF-8") from None
    except InvalidPipeline as error:
        lines = "\n".join(f"{source}:{problem.line}: {problem.sentence}" for problem in error.problems)
        raise Failure(lines, "docs/pipelines.md has all fields") from None


def rendered(source: Path) -> dict[str, str]:
    """What the pipeline in a file is rendered to. Raises Failure."""
    from homeport.pipelines import render as rendering
    from homeport.pipelines.pins import UnknownPin

    found = load(source)
    try:
        return rendering.files(found)
    except UnknownPin as error:
        raise Failure(f"{source}: {error.args[0]}") from None
