"""``homeport scale``: how many replicas components have."""

from __future__ import annotations

import click

from homeport.cli import edit, specs
from homeport.cli.cluster import run
from homeport.cli.errors import Failure
from homeport.cli.options import DEBUG, KUBE, NAMESPACE, Options, pass_options, with_options


@click.command()
@edit.APP
@click.argument("wanted", metavar="COMPONENT=N…", nargs=-1, required=True)
@with_options(edit.ENVIRONMENTS, NAMESPACE, edit.WAIT, edit.TIMEOUT, *KUBE, DEBUG)
@pass_options
def scale(
    options: Options,
    *,
    app: str,
    wanted: tuple[str, ...],
    environments: tuple[str, ...],
    namespace: str | None,
    wait: bool,
    timeout: int,
) -> int:
    """Change how many replicas components have: COMPONENT=N, or COMPONENT=auto for what the spec says without.

    0 stops a component, an autoscaled one too; auto goes on. With -e only there, as an override. The number is part of
    the spec, and so of the history.
    """
    numbers = dict(_pair(text) for text in wanted)
    return run(
        edit.change(
            options,
            app,
            namespace,
            lambda spec: specs.scale(spec, numbers, environments),
            wait=wait,
            patience=timeout,
        )
    )


def _pair(text: str) -> tuple[str, int | None]:
    name, equals, number = text.partition("=")
    if not name or not equals or not (number.isdecimal() or number == "auto"):
        raise Failure(f"{text!r} says no number", "write COMPONENT=N, such as web=3, or web=auto")
    if number != "auto" and int(number) > 1000:
        raise Failure(f"{text!r}: a component may have at most 1000 replicas")
    return name, None if number == "auto" else int(number)
