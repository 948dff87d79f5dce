"""``homeport proxmox``: what an administrator of Proxmox VE has to do for Homeport."""

# ruff: noqa: PLC0415 - imported when it is needed, so that help, completion and errors are quick
from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import click

from homeport.cli import output as out
from homeport.cli.errors import Failure
from homeport.cli.options import DEBUG, KUBE, Options, pass_options, with_options
from homeport.cli.options import output as output_option

if TYPE_CHECKING:
    from homeport.plan.proxmox.privileges import Need

USER = r"^[A-Za-z0-9._-]+@[A-Za-z][A-Za-z0-9._-]+$"


@click.group()
@with_options(DEBUG)
def proxmox() -> None:
    """Prepare a Proxmox VE host."""


def _user(ctx: click.Context, parameter: click.Parameter, value: str) -> str:
    import re

    if re.match(USER, value) is None:
        raise click.BadParameter("write a user with its realm, such as homeport@pve")
    return value


def _token(ctx: click.Context, parameter: click.Parameter, value: str) -> str:
    import re

    if re.match(r"^[A-Za-z][A-Za-z0-9._-]*$", value) is None:
        raise click.BadParameter("write a name such as operator: letters, digits, '.', '_' and '-'")
    return value


@proxmox.command()
@click.argument("name", required=False)
@with_options(
    click.option(
        "-f",
        "--filename",
        "source",
        metavar="FILE|-",
        default=None,
        type=click.Path(allow_dash=True),
        help="A file with the ProxmoxHost, instead of one in the cluster.",
    ),
    click.option("--user", default="homeport@pve", show_default=True, callback=_user, help="The user to make."),
    click.option("--token", default="operator", show_default=True, callback=_token, help="The name of its API token."),
    click.option(
        "--backup-storage",
        "backups",
        metavar="STORAGE",
        multiple=True,
        help="A storage that backups of containers are kept on; as often as there are. In the cluster those that "
        "BackupRepositories name are known.",
    ),
    output_option("commands", "json"),
    *KUBE,
    DEBUG,
)
@pass_options
def role(
    options: Options, name: str | None, source: str | None, user: str, token: str, backups: tuple[str, ...], output: str
) -> None:
    """Print what root runs on a node, so that a token may do what a ProxmoxHost needs and no more.

    NAME is a ProxmoxHost in the cluster, -f FILE one that isn't there yet: its projects' pools, storages and bridges,
    and its templates, say what is needed where. Without either: the same for all pools, storages and bridges. Nothing
    is asked of the host, and nothing is changed.
    """
    from homeport.plan.proxmox import privileges

    needs = _needs(name, source, options, backups)
    if output == "json":
        made, granted = privileges.roles(needs)
        grants = [{"path": path, "roles": list(names)} for path, names in granted]
        out.print_json({"roles": {role: list(made[role]) for role in made}, "grants": grants})
        return
    shown = [shlex.quote(user), shlex.quote(token)]
    click.echo("# On a node of the Proxmox VE cluster, as root. The last command prints the token's secret, once.")
    for line in privileges.commands(needs, *shown):
        click.echo(line)


def _needs(name: str | None, source: str | None, options: Options, backups: tuple[str, ...]) -> tuple[Need, ...]:
    from homeport.cli.cluster import run
    from homeport.plan import host as host_plan
    from homeport.plan.proxmox import privileges
    from homeport.plan.proxmox.privileges import Use

    if name is not None and source is not None:
        raise click.UsageError("name a ProxmoxHost or a file with one, not both")
    if name is None and source is None:
        return privileges.needs([Use()], backups=backups)
    if source is not None:
        return host_plan.needs(_written(source), backups)
    spec, known = run(_live(str(name), options))
    return host_plan.needs(spec, sorted({*backups, *known}))


def _written(source: str) -> Any:
    from homeport.cli.documents import bodies, read

    documents, problems = read([source])
    if problems:
        raise Failure(f"{problems[0].file}:{problems[0].line}: {problems[0].message}")
    hosts = [body for body in bodies(documents, "default") if body.get("kind") == "ProxmoxHost"]
    if len(hosts) != 1:
        raise Failure(f"{source} has {len(hosts) or 'no'} ProxmoxHosts", "one is needed")
    return _parsed(hosts[0])


async def _live(name: str, options: Options) -> tuple[Any, list[str]]:
    from homeport.cli import kinds
    from homeport.cli.cluster import connected, one
    from homeport.drivers.kubernetes import types

    async with connected(options) as connection:
        spec = _parsed(await one(connection.client, kinds.find("proxmoxhost"), "", name))
        found, _ = await connection.client.list(types.BACKUP_REPOSITORY)
    places = [(body.get("spec") or {}).get("proxmox") or {} for body in found]
    return spec, [str(place["storage"]) for place in places if (place.get("hostRef") or {}).get("name") == name]


def _parsed(body: dict[str, Any]) -> Any:
    from homeport.api.resource import InvalidSpec, parse

    try:
        return parse(body).spec
    except InvalidSpec as error:
        raise Failure(f"ProxmoxHost {body['metadata']['name']}: {error}") from None
