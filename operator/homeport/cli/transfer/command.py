"""``homeport export`` and ``homeport import``."""

# ruff: noqa: PLC0415 - imported when it is needed, so that help, completion and errors are quick
from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import click

from homeport.cli import candidates
from homeport.cli.cluster import connected, run
from homeport.cli.errors import Failure
from homeport.cli.options import DEBUG, KUBE, Options, pass_options, with_options

PASSWORD = click.option(
    "--password-file",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=None,
    envvar="HOMEPORT_EXPORT_PASSWORD_FILE",
    help="The password that data and Secrets in the file are encrypted with. Without: it is asked for.",
)
WITHOUT_DATA = click.option("--without-data", is_flag=True, help="Leave the backups' data out.")
INCOMPLETE = 3


@click.group()
@with_options(DEBUG)
def export() -> None:
    """Write a project into a file that `homeport import` brings to another cluster."""


@export.command()
@click.argument("name", shell_complete=lambda ctx, param, text: candidates.namespaces(ctx, text))
@with_options(
    click.option(
        "-o",
        "--output",
        "file",
        metavar="FILE",
        required=True,
        type=click.Path(dir_okay=False, path_type=Path),
        help="The file: .tar, .tar.gz or .tar.zst.",
    ),
    click.option("--with-secrets", is_flag=True, help="With the Secrets of the project's namespace, encrypted."),
    WITHOUT_DATA,
    PASSWORD,
    *KUBE,
    DEBUG,
)
@pass_options
def project(
    options: Options, *, name: str, file: Path, with_secrets: bool, without_data: bool, password_file: Path | None
) -> int:
    """Write the project NAME into one file: what is declared, the Applications' history, and data.

    Data is the newest good run of each Backup whose repository is on S3, which this machine must reach; it is copied
    by restic into a repository inside the file. Exit code 3: the file is good, and data is missing from it.
    """
    from homeport.cli.transfer import archive

    archive.check_name(file)
    password = _password(password_file, twice=True) if with_secrets or not without_data else ""
    beside = file.absolute().parent
    work = _export(options, name, file, beside, password, with_secrets=with_secrets, with_data=not without_data)
    return run(work)


async def _export(
    options: Options, name: str, file: Path, beside: Path, password: str, *, with_secrets: bool, with_data: bool
) -> int:
    """``beside`` is where the file is to be: a folder with room for what is in it."""
    from homeport.cli.transfer import archive, leaving
    from homeport.cli.transfer.restic import Repository, Restic

    with tempfile.TemporaryDirectory(prefix="homeport-export-", dir=beside) as scratch:
        folder = Path(scratch) / "archive"
        folder.mkdir()
        async with connected(options) as connection:
            found = await leaving.find(connection.client, name)
            if with_secrets or (with_data and any(body["kind"] == "Backup" for body in found.bodies)):
                restic, target = Restic(Path(scratch)), Repository(str(folder / archive.REPOSITORY), password)
                if with_data:
                    await leaving.copy_runs(connection.client, found, restic, target, Path(scratch))
                if with_secrets:
                    leaving.save_secrets(found, restic, target)
        leaving.write(found, name, folder, with_secrets=with_secrets)
        archive.pack(folder, file)
    for line in found.left_out:
        click.echo(f"{click.style('left out:', fg='yellow', bold=True)} {line}", err=True)
    secrets = len(found.secrets) if with_secrets else "no"
    click.echo(f"{file}: {len(found.bodies)} objects, {len(found.runs)} runs, {secrets} Secrets")
    if not with_secrets and found.secrets:
        names = ", ".join(sorted(secret["metadata"]["name"] for secret in found.secrets))
        click.echo(f"  to be made by hand where it is imported: {names}", err=True)
    return INCOMPLETE if found.left_out else 0


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@with_options(
    click.option("--s3-endpoint", "endpoint", metavar="URL", default="", help="Where the repositories are to be."),
    click.option("--s3-bucket", "bucket", metavar="NAME", default="", help="The bucket there."),
    click.option("--s3-prefix", "prefix", metavar="FOLDER", default="", help="The folder in the bucket."),
    WITHOUT_DATA,
    click.option("--no-wait", is_flag=True, help="Don't wait until the data is restored."),
    click.option(
        "--timeout", type=click.IntRange(1), default=3600, show_default=True, metavar="SECONDS",
        help="How long to wait, for each thing that is waited for.",
    ),
    PASSWORD,
    *KUBE,
    DEBUG,
)  # fmt: skip
@pass_options
def import_(
    options: Options,
    /,
    *,
    file: Path,
    without_data: bool,
    no_wait: bool,
    timeout: int,
    password_file: Path | None,
    **place: Any,
) -> int:
    """Bring the project in FILE, which `homeport export` wrote, to this cluster.

    The objects are applied, the runs copied into the repositories that they name, and restored over what the
    Applications have made for themselves. Again with the same file, it goes on where it ended. Name another place for
    the repositories with --s3-…, unless the first cluster is gone: two clusters don't share one repository.

    Exit code 0: all is there; 3: some of the data; 1: an error.
    """
    return run(_import(options, file, password_file, place, without_data, None if no_wait else timeout, timeout))


async def _import(
    options: Options,
    file: Path,
    password_file: Path | None,
    place: dict[str, str],
    without_data: bool,
    patience: int | None,
    limit: int,
) -> int:
    from homeport.cli.transfer import archive, arriving
    from homeport.cli.transfer.restic import Repository, Restic

    with tempfile.TemporaryDirectory(prefix="homeport-import-") as scratch:
        folder = Path(scratch) / "archive"
        folder.mkdir()
        header = archive.unpack(file, folder)
        found, name = arriving.bodies(folder, arriving.Place(**place)), header["project"]
        runs = [] if without_data else header["runs"]
        restic = source = None
        if runs or header["withSecrets"]:
            source = Repository(str(folder / archive.REPOSITORY), _password(password_file, twice=False))
            restic = Restic(Path(scratch))
            restic.is_there(source)
        async with connected(options) as connection:
            client = connection.client
            if header["withSecrets"] and restic is not None and source is not None:
                made = await arriving.secrets(client, name, restic, source)
                click.echo(f"{len(made)} Secrets applied", err=True)
            await arriving.apply(client, name, found, folder)
            for secret in await arriving.lacking(client, name, header, found):
                said = f"Secret {secret} isn't in namespace {name}: create it, and what needs it goes on"
                click.echo(f"{click.style('missing:', fg='yellow', bold=True)} {said}", err=True)
            code = 0
            if runs and restic is not None and source is not None:
                snapshots = await arriving.fill(client, found, runs, restic, source, Path(scratch), float(limit))
                code = await arriving.restore(client, found, runs, snapshots, patience)
    for line in header.get("leftOut") or ():
        click.echo(f"{click.style('not in the file:', fg='yellow', bold=True)} {line}", err=True)
    if code == 0:
        click.echo(f"project {name}: {len(found)} objects applied, {len(runs)} runs brought along")
    return code


def _password(file: Path | None, *, twice: bool) -> str:
    """The password of what is encrypted in the file. Raises Failure when there is nobody to ask."""
    if file is not None:
        found = file.read_text().rstrip("\n")
    elif sys.stdin.isatty():
        found = click.prompt("Password of the file", hide_input=True, confirmation_prompt=twice)
    else:
        raise Failure("there is nobody to ask for the password", "name a file with it: --password-file FILE")
    if not found:
        raise Failure("the password is empty", "write one; without it nobody reads what is in the file")
    return str(found)
