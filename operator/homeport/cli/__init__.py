"""The ``homeport`` command. Each command's module is imported when it is called, so that help and completion are quick.

========== ==========================================================
module     what
========== ==========================================================
app        the commands by name, in the order of the help
options    what several commands take
errors     from exceptions to sentences
cluster    the connection, and how resources are found
kinds      the names under which kinds go
output     tables, JSON, YAML, colours
documents  YAML files with line numbers
standing   how a resource is, read from its status
========== ==========================================================

Every other module is a command, or the part of one that needs no terminal.
"""

# ruff: noqa: PLC0415 - imported when it is needed, so that help, completion and errors are quick
from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

COMPLETE_VAR = "_HOMEPORT_COMPLETE"
"""The variable by which a shell asks for completions."""


def program() -> str:
    """The name that help shows: ``kubectl homeport`` when kubectl started us as its plugin."""
    return "kubectl homeport" if Path(sys.argv[0]).name.startswith("kubectl-homeport") else "homeport"


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code. 0 is well, 1 an error (of usage too); ``plan`` answers 2 for changes."""
    import click

    from homeport.cli.app import root
    from homeport.cli.options import Options

    options = Options()
    try:
        answer = root.main(
            args=None if args is None else list(args),
            prog_name=program(),
            complete_var=COMPLETE_VAR,
            standalone_mode=False,
            obj=options,
        )
    except click.ClickException as error:
        error.show()
        return 1
    except (click.Abort, KeyboardInterrupt):
        return 130
    except Exception as error:
        if options.debug:
            raise
        from homeport.cli import errors

        errors.show(error)
        return 1
    return answer if isinstance(answer, int) else 0
