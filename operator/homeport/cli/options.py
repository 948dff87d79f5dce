"""What several commands take, on the command line and from the environment."""

# ruff: noqa: PLC0415 - imported when it is needed, so that help, completion and errors are quick
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])
Decorator = Callable[[Any], Any]


@dataclass
class Options:
    """Which cluster, and how errors are shown; one for the whole command line."""

    kubeconfig: str | None = None
    context: str | None = None
    debug: bool = False


pass_options = click.make_pass_decorator(Options, ensure=True)


def _store(ctx: click.Context, parameter: click.Parameter, value: Any) -> None:
    """Remember an option, whether it stood before or after the command's name."""
    if value is not None and parameter.name is not None:
        setattr(ctx.ensure_object(Options), parameter.name, value)


def _contexts(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[Any]:
    from homeport.cli import candidates

    return candidates.contexts(ctx, incomplete)


def _namespaces(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[Any]:
    from homeport.cli import candidates

    return candidates.namespaces(ctx, incomplete)


KUBE: tuple[Decorator, ...] = (
    click.option(
        "--kubeconfig",
        metavar="FILE",
        type=click.Path(dir_okay=False),
        default=None,
        expose_value=False,
        callback=_store,
        help="The kubeconfig; by default $KUBECONFIG, the Pod's own, or ~/.kube/config.",
    ),
    click.option(
        "--context",
        metavar="NAME",
        default=None,
        expose_value=False,
        callback=_store,
        shell_complete=_contexts,
        help="The kubeconfig's context to use.",
    ),
)
DEBUG: Decorator = click.option(
    "--debug",
    is_flag=True,
    default=None,
    expose_value=False,
    callback=_store,
    envvar="HOMEPORT_DEBUG",
    help="Show the traceback of an error.",
)
NAMESPACE: Decorator = click.option(
    "-n", "--namespace", metavar="NAME", default=None, shell_complete=_namespaces, help="The namespace."
)
ALL_NAMESPACES: Decorator = click.option("-A", "--all-namespaces", is_flag=True, help="All namespaces.")
LEASE_NAMESPACE: Decorator = click.option(
    "--lease-namespace",
    metavar="NAME",
    default="homeport-system",
    show_default=True,
    envvar="HOMEPORT_LEASE_NAMESPACE",
    help="Where the operator's Lease is.",
)
FILES: Decorator = click.option(
    "-f",
    "--filename",
    "sources",
    metavar="FILE|DIR|-",
    multiple=True,
    required=True,
    type=click.Path(allow_dash=True),
    help="A file, a folder with all that is in it, or - for standard input; may be given several times.",
)


def output(*choices: str) -> Decorator:
    """``-o`` with ``choices``, of which the first is the default."""
    return click.option(
        "-o", "--output", type=click.Choice(choices), default=choices[0], show_default=True, help="The output's format."
    )


def with_options(*decorators: Decorator) -> Callable[[F], F]:
    """Several options at once, in the order in which the help shows them."""

    def decorate(function: F) -> F:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate
