"""``homeport policy``: whether admission policies refuse what they should, and nothing else."""

# ruff: noqa: PLC0415 - imported when it is needed, so that help, completion and errors are quick
from __future__ import annotations

from pathlib import Path

import click

from homeport.cli import output as out
from homeport.cli.errors import Failure
from homeport.cli.options import DEBUG, KUBE, Options, pass_options, with_options
from homeport.cli.options import output as output_option


@click.group()
@with_options(DEBUG)
def policy() -> None:
    """Try the admission policies of a cluster."""


@policy.command()
@click.argument("paths", nargs=-1, type=click.Path(exists=True, path_type=Path))
@with_options(*KUBE, output_option("text", "json"), DEBUG)
@pass_options
def test(options: Options, /, paths: tuple[Path, ...], output: str) -> int:
    """Run cases of accepted and refused objects against a cluster.

    PATHS are files of cases, or folders of them; by default Homeport's own (policies/tests). Each case gets a namespace
    of its own, which is removed afterwards. What is created or changed is a dry run; what a case deletes, or needs to
    be there, is made. Use a cluster for trying, and an account that may make what is in the cases.
    """
    from homeport.cli.cluster import connected, run
    from homeport.cli.policycases import Result, read, tried

    suites = read(paths or _own())

    async def work() -> list[Result]:
        async with connected(options) as connection:
            return [result for suite in suites for result in await tried(suite, connection.client)]

    results = run(work())
    bad = [result for result in results if result.problem]
    if output == "json":
        out.print_json([result._asdict() for result in results])
    else:
        console = out.console()
        for result in results:
            console.print(f"{'FAILED' if result.problem else 'ok    '}  {result.policy}: {result.case}", soft_wrap=True)
            if result.problem:
                console.print(f"        {result.problem}", soft_wrap=True)
        console.print(f"{len(results) - len(bad)} of {len(results)} cases are as they should be")
    return 1 if bad else 0


def _own() -> tuple[Path, ...]:
    """Homeport's own cases: in the package, or in the checkout that it is run from."""
    import homeport

    package = Path(homeport.__file__).resolve().parent
    for folder in (package / "policies", package.parents[1] / "policies"):
        if (folder / "tests").is_dir():
            return (folder / "tests",)
    raise Failure("Homeport's own cases aren't here", "name files of cases")
