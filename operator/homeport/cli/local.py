"""``homeport up`` and ``homeport down``: the local control plane of a checkout."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from homeport.cli.errors import Failure
from homeport.cli.options import DEBUG, with_options

_PASSED_ON = {"ignore_unknown_options": True, "allow_extra_args": True}


def _localplane(command: str, rest: Sequence[str]) -> int:
    """Run ``python -m localplane COMMAND`` in this process."""
    try:
        module: Any = importlib.import_module("localplane.__main__")
    except ModuleNotFoundError as error:
        if error.name not in ("localplane", "localplane.__main__"):
            raise
        hack = Path(__file__).resolve().parents[3] / "hack"
        if str(hack) in sys.path or not (hack / "localplane" / "__main__.py").exists():
            raise Failure(
                f"`homeport {command}` works in a checkout of Homeport only: the local control plane isn't installed",
                "clone the repository and run `make demo`; or name a cluster of yours with KUBECONFIG and apply crds/",
            ) from None
        sys.path.insert(0, str(hack))
        module = importlib.import_module("localplane.__main__")
    answer = module.main([command, *rest])
    return answer if isinstance(answer, int) else 0


@click.command(context_settings=_PASSED_ON)
@click.argument("rest", metavar="[OPTIONS]", nargs=-1, type=click.UNPROCESSED)
@with_options(DEBUG)
def up(rest: tuple[str, ...]) -> int:
    """Start the local control plane and the operator.

    What is missing is found or built first. Everything is left running in the background; `homeport down` stops it.
    Options are those of `python -m localplane up`.
    """
    return _localplane("up", rest)


@click.command(context_settings=_PASSED_ON)
@click.argument("rest", metavar="[OPTIONS]", nargs=-1, type=click.UNPROCESSED)
@with_options(DEBUG)
def down(rest: tuple[str, ...]) -> int:
    """Stop the local control plane; nothing of it is left running."""
    return _localplane("down", rest)
