"""``homeport pipeline``: pipelines described once, and rendered for the CI systems that run them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from homeport.cli import output as out
from homeport.cli import pipelineup
from homeport.cli.options import DEBUG, with_options
from homeport.cli.options import output as output_option
from homeport.cli.pipelinefile import FILE, load, rendered

_FOLDER: Any = click.option(
    "-d",
    "--directory",
    "folder",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="The repository; by default the folder that the file is in.",
)


@click.group()
@with_options(DEBUG)
def pipeline() -> None:
    """Render a pipeline to GitHub Actions, Jenkins and GitLab, and check it."""


@pipeline.command()
@with_options(FILE, _FOLDER, output_option("text", "json"), DEBUG)
def render(source: Path, folder: Path | None, output: str) -> int:
    """Write the workflow, Jenkinsfile, .gitlab-ci.yml and pull-request template that pipeline.yaml asks for.

    They are whole: what was changed in them by hand is overwritten. Commit them.
    """
    wanted, there = rendered(source), folder or source.parent
    stale = _stale(wanted, there)
    for name in stale:
        path = there / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(wanted[name], encoding="utf-8")
    if output == "json":
        out.print_json({"written": stale, "unchanged": [name for name in wanted if name not in stale]})
        return 0
    for name in wanted:
        click.echo(f"{'wrote ' if name in stale else 'as is '} {name}")
    return 0


@pipeline.command()
@with_options(FILE, _FOLDER, output_option("text", "json"), DEBUG)
def check(source: Path, folder: Path | None, output: str) -> int:
    """Check pipeline.yaml, and that what is in the repository is what it renders to.

    Everything that a pipeline runs must be pinned: actions by commit, images by digest, programs by version. What would
    let jobs of any branch at a deployment's secrets is a warning.

    Exit code 0: all is well; 1: something isn't.
    """
    wanted, there = rendered(source), folder or source.parent
    stale, warned = _stale(wanted, there), _warnings(source)
    for text in warned if output != "json" else ():
        click.echo(f"warning: {text}", err=True)
    if output == "json":
        out.print_json({"file": str(source), "stale": stale, "files": sorted(wanted), "warnings": warned})
    else:
        for name in stale:
            state = "isn't what pipeline.yaml renders to" if (there / name).exists() else "isn't there"
            click.echo(f"{name}: {state}; run `homeport pipeline render` and commit it", err=True)
        if not stale:
            click.echo(f"{source}: well, and {len(wanted)} rendered files are fresh")
    return 1 if stale else 0


def _warnings(source: Path) -> list[str]:
    from homeport.pipelines import exposure  # noqa: PLC0415 - imported when it is needed

    return list(exposure.warnings(load(source)))


def _stale(wanted: dict[str, str], folder: Path) -> list[str]:
    """Which of the files aren't as they should be."""

    def there(path: Path) -> str | None:
        return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None

    return [name for name, text in wanted.items() if there(folder / name) != text]


for command in pipelineup.COMMANDS:
    pipeline.add_command(command)
