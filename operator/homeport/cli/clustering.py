"""``homeport cluster``: clusters, and Homeport in them, from one file."""

# ruff: noqa: PLC0415 - imported when it is needed, so that help, completion and errors are quick
from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from homeport.cli import output as out
from homeport.cli.errors import Failure
from homeport.cli.options import DEBUG, with_options
from homeport.cli.options import output as output_option

if TYPE_CHECKING:
    from homeport.cli.stacks import Result, Verb
    from homeport_clusters.config import ClusterFile

FILE = click.option(
    "-f", "--filename", "source", metavar="FILE", default="cluster.yaml", show_default=True,
    type=click.Path(dir_okay=False), help="The file with the clusters.",
)  # fmt: skip
BACKEND = click.option(
    "--backend", metavar="URL", envvar="PULUMI_BACKEND_URL", default=None,
    help="Where Pulumi's state is: file://, s3://, azblob://, gs:// or Pulumi Cloud. Default: files of this user.",
)  # fmt: skip
REFRESH = click.option("--refresh", is_flag=True, help="Look at what is there first, so that drift is seen.")
SECRETS = click.option("--show-secrets", is_flag=True, help="Show outputs that are secret, such as kubeconfigs.")
REPLACE = click.option(
    "--replace", metavar="CLUSTER", multiple=True,
    help="Let this cluster be deleted, with everything in it, and made anew where it can't be changed.",
)  # fmt: skip
ADOPT = click.option(
    "--adopt-stack", "adopt", is_flag=True, help="Go on with what another file of this name made: the file was moved."
)
CHANGES = 2
"""The exit code of a preview or a refresh that found something to change."""


@click.group()
@with_options(DEBUG)
def cluster() -> None:
    """Make clusters and put Homeport into them, from one file.

    NAME is the file's own `name`. What is made is kept in Pulumi's state; its secrets are encrypted by a passphrase:
    PULUMI_CONFIG_PASSPHRASE, or one that is made for you.
    """


def _file(name: str, source: str) -> tuple[ClusterFile, Path]:
    """The file of that name, and where it is. Raises Failure."""
    try:
        from homeport_clusters import config
    except ModuleNotFoundError:
        raise Failure("the package of the clusters isn't part of this installation") from None
    path = Path(source)
    try:
        file = config.load(path)
    except config.ConfigError as error:
        raise Failure(str(error), "docs/clusters.md has every field") from None
    if file.name != name:
        raise Failure(f"{source} is for {file.name!r}, not for {name!r}", f"write {file.name}, or name another file")
    return file, path.absolute()


def _run(verb: Verb, name: str, source: str, backend: str | None, **options: Any) -> Result:
    from homeport.cli import stacks

    file, path = _file(name, source)
    stacks.require()
    from homeport_clusters import automation

    return automation.run(verb, file, path, backend=backend, **options)


def _show(result: Result, output: str, *, secrets: bool = False) -> None:
    if output == "json":
        out.print_json(result.shown(secrets=secrets))
        return
    shown = result.shown(secrets=secrets)
    for key, value in sorted(shown["outputs"].items()):
        click.echo(f"{key}: {value if isinstance(value, str) else json.dumps(value)}")
    counted = [f"{number} {operation}" for operation, number in sorted(shown["changes"].items())]
    click.echo(", ".join(counted) or "nothing there")


@cluster.command()
@click.argument("name")
@with_options(FILE, REFRESH, REPLACE, ADOPT, SECRETS, output_option("text", "json"), BACKEND, DEBUG)
def up(
    name: str, source: str, refresh: bool, replace: tuple[str, ...], adopt: bool, show_secrets: bool, output: str,
    backend: str | None,
) -> None:  # fmt: skip
    """Make what the file says, and change what is there to it."""
    _show(
        _run("up", name, source, backend, refresh=refresh, replace=replace, adopt=adopt), output, secrets=show_secrets
    )


@cluster.command()
@click.argument("name")
@with_options(FILE, REFRESH, REPLACE, ADOPT, output_option("text", "json"), BACKEND, DEBUG)
def preview(
    name: str, source: str, refresh: bool, replace: tuple[str, ...], adopt: bool, output: str, backend: str | None
) -> int:  # fmt: skip
    """Show what `up` would do. Exit code 2: there are changes."""
    result = _run("preview", name, source, backend, refresh=refresh, replace=replace, adopt=adopt)
    _show(result, output)
    return CHANGES if result.changed else 0


@cluster.command()
@click.argument("name")
@with_options(FILE, ADOPT, output_option("text", "json"), BACKEND, DEBUG)
def refresh(name: str, source: str, adopt: bool, output: str, backend: str | None) -> int:
    """Look at what is there, so that the next `up` mends it. Exit code 2: something differs."""
    result = _run("refresh", name, source, backend, adopt=adopt)
    _show(result, output)
    return CHANGES if result.changed else 0


@cluster.command()
@click.argument("name")
@with_options(
    FILE,
    ADOPT,
    click.option("--yes", is_flag=True, help="Don't ask for the name."),
    click.option(
        "--delete-data",
        is_flag=True,
        help="Delete Homeport's kinds and all objects of them, too, where the file says deleteData.",
    ),
    output_option("text", "json"),
    BACKEND,
    DEBUG,
)
def destroy(
    name: str, source: str, adopt: bool, yes: bool, delete_data: bool, output: str, backend: str | None
) -> None:  # fmt: skip
    """Remove what was made, and nothing else. Homeport's kinds stay with all their objects.

    It asks for the name again; programs write --yes.
    """
    if not yes:
        typed = click.prompt(f"This removes what {name} made. Write its name to go on", default="", show_default=False)
        if typed != name:
            raise Failure(f"{typed!r} isn't the name: nothing was removed")
    _show(_run("destroy", name, source, backend, delete_data=delete_data, adopt=adopt), output)
    if not delete_data:
        click.echo(
            "Homeport's kinds stay with all their objects, those of the root GitSource and its Project too.", err=True
        )


@cluster.command("list")
@with_options(output_option("table", "json", "name"), BACKEND, DEBUG)
def list_(output: str, backend: str | None) -> None:
    """List what there is state of."""
    from homeport.cli import stacks

    stacks.require()
    from homeport_clusters import automation

    found = stacks.listed(automation.project(backend))
    if output == "json":
        out.print_json(found)
    elif output == "name":
        for entry in found:
            click.echo(entry["name"])
    else:
        rows = [
            (entry["name"], str(entry["resources"]), entry["updated"] or "", "yes" if entry["running"] else "no")
            for entry in found
        ]
        out.table(out.console(), ("NAME", "RESOURCES", "UPDATED", "RUNNING"), rows)
