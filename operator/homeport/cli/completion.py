"""``homeport completion``: the script that makes a shell complete commands, kinds and names."""

from __future__ import annotations

import os
from pathlib import Path

import click
from click.shell_completion import get_completion_class

from homeport.cli import COMPLETE_VAR
from homeport.cli.errors import Failure
from homeport.cli.options import DEBUG, with_options

SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS), required=False)
@with_options(DEBUG)
@click.pass_context
def completion(ctx: click.Context, shell: str | None) -> int:
    """Print the completion script of a shell.

    \b
    bash: homeport completion bash > ~/.local/share/bash-completion/completions/homeport
    zsh:  homeport completion zsh > a file named _homeport in a folder of $fpath
    fish: homeport completion fish > ~/.config/fish/completions/homeport.fish

    Without SHELL it is the one in $SHELL.
    """
    name = shell or Path(os.environ.get("SHELL", "")).name
    found = get_completion_class(name) if name in SHELLS else None
    if found is None:
        raise Failure(f"there is no completion for {name or 'no shell'}", f"write one of {', '.join(SHELLS)}")
    click.echo(found(ctx.find_root().command, {}, "homeport", COMPLETE_VAR).source_template % _values())
    return 0


def _values() -> dict[str, str]:
    return {"complete_func": "_homeport_completion", "complete_var": COMPLETE_VAR, "prog_name": "homeport"}
