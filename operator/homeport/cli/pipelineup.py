"""``homeport pipeline up|preview|refresh|destroy``: the repository of a pipeline, as its pipeline.yaml wants it."""

# ruff: noqa: PLC0415 - imported when it is needed, so that help, completion and errors are quick
from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from homeport.cli import output as out
from homeport.cli.errors import Failure
from homeport.cli.options import DEBUG, KUBE, Options, pass_options, with_options
from homeport.cli.options import output as output_option
from homeport.cli.pipelinefile import FILE, load, rendered

if TYPE_CHECKING:
    from homeport.cli import stacks
    from homeport.pipelines.repository import Repository

_BACKEND: Any = click.option(
    "--backend", metavar="URL", help="Where Pulumi keeps the state; by default files of this user."
)
_YES: Any = click.option("--yes", is_flag=True, help="Don't ask.")
_REFRESH: Any = click.option("--refresh", is_flag=True, help="Look at the forge first, for what was changed by hand.")
_OPTIONS = (FILE, _BACKEND, output_option("text", "json"), *KUBE, DEBUG)


@click.command()
@with_options(_REFRESH, *_OPTIONS)
@pass_options
def up(options: Options, source: Path, backend: str | None, output: str, refresh: bool) -> int:
    """Make the repository what pipeline.yaml says: protection, environments, secrets, webhooks, the rendered files.

    Only what differs is written. What the forge doesn't have is said, and not made.
    """
    return _run("up", options, source, backend, output, refresh=refresh)


@click.command()
@with_options(_REFRESH, *_OPTIONS)
@pass_options
def preview(options: Options, source: Path, backend: str | None, output: str, refresh: bool) -> int:
    """Show what `up` would do. Nothing is written to the forge.

    Exit code 0: nothing would change; 2: something would.
    """
    return _run("preview", options, source, backend, output, refresh=refresh)


@click.command()
@with_options(*_OPTIONS)
@pass_options
def refresh(options: Options, source: Path, backend: str | None, output: str) -> int:
    """Look at the forge for what was changed by hand. Nothing is written to it; the next `up` mends it.

    The values of secrets can't be read back; only whether they are there. Exit code 0: nothing differs; 2: something
    does.
    """
    return _run("refresh", options, source, backend, output)


@click.command()
@click.option(
    "--delete-repository",
    "delete",
    metavar="OWNER/NAME",
    default="",
    help="Delete the repository, too, if Homeport made it and pipeline.yaml says protect: false.",
)
@with_options(_YES, *_OPTIONS)
@pass_options
def destroy(options: Options, source: Path, backend: str | None, output: str, yes: bool, delete: str) -> int:
    """Take away what `up` made. The repository with its commits stays, unless told twice."""
    block = _block(source)
    _consider(block, delete)
    if not yes:
        _ask(block)
    found = _run("destroy", options, source, backend, output, delete=delete)
    if not delete:
        click.echo(f"{block.full_name} and its commits are left as they are", err=True)
    return found


def _consider(block: Repository, delete: str) -> None:
    """Whether deleting is meant. Raises Failure."""
    if delete and delete != block.full_name:
        raise Failure(f"--delete-repository {delete}: pipeline.yaml is about {block.full_name}; write that name")
    if delete and block.protect:
        raise Failure(
            f"{block.full_name} is protected",
            "write protect: false into pipeline.yaml, run `homeport pipeline up`, and destroy it then",
        )


def _ask(block: Repository) -> None:
    if not sys.stdin.isatty():
        raise Failure("this takes away what pipeline.yaml made", "say --yes where nobody can be asked")
    if click.prompt(f"Write {block.full_name} to take away what was made there", err=True) != block.full_name:
        raise Failure("that is another name; nothing was done")


def _block(source: Path) -> Repository:
    """The repository block. Raises Failure."""
    block = load(source).repository
    if block is None:
        raise Failure(f"{source} has no repository block", "docs/pipelines.md says what is written there")
    return block


def _run(verb: stacks.Verb, options: Options, source: Path, backend: str | None, output: str, **more: Any) -> int:
    block = _block(source)
    try:
        from homeport_clusters.providers.base import ProviderError
        from homeport_pipelines import automation, program
    except ModuleNotFoundError:
        from homeport.cli.engine import PACKAGES_HINT

        raise Failure("the Python package of Pulumi isn't installed", PACKAGES_HINT) from None
    variables = _cluster(options)
    os.environ.update(variables)

    def prepare() -> program.Prepared:
        from homeport.pipelines import exposure

        contents = rendered(source)
        return program.prepare(exposure.repository(load(source)) or block, source.resolve().parent, contents)

    try:
        found = automation.run(verb, block, prepare, backend=backend, environment=variables, tell=_tell, **more)
    except ProviderError as error:
        raise Failure(str(error)) from None
    if output == "json":
        out.print_json(found.shown())
    else:
        _show(verb, found)
    return 2 if verb in ("preview", "refresh") and found.changed else 0


def _cluster(options: Options) -> dict[str, str]:
    """Which cluster GitSources and Secrets are read from, for the processes that read them."""
    from homeport_pipelines.sources import CONTEXT

    chosen = {"KUBECONFIG": options.kubeconfig, CONTEXT: options.context}
    return {name: value for name, value in chosen.items() if value}


def _tell(line: str) -> None:
    click.echo(line, err=True)


def _show(verb: str, found: stacks.Result) -> None:
    told: Callable[[str], None] = click.echo
    changes = ", ".join(f"{number} {operation}" for operation, number in found.changes.items() if number)
    told(f"{verb}: {changes or 'nothing to do'}")
    for name, value in found.shown()["outputs"].items():
        if value not in ("", None):
            told(f"{name}: {value}")


COMMANDS: tuple[click.Command, ...] = (up, preview, refresh, destroy)
"""What `homeport pipeline` has of these."""
