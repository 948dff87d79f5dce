"""``homeport version``: of the client, the server and the operator."""

# ruff: noqa: PLC0415 - imported when it is needed, so that help, completion and errors are quick
from __future__ import annotations

from typing import Any

import click

from homeport import __version__
from homeport.cli import output
from homeport.cli.options import DEBUG, KUBE, LEASE_NAMESPACE, Options, pass_options, with_options
from homeport.cli.options import output as output_option

_PATIENCE = 5.0


@click.command()
@with_options(
    click.option("--client", is_flag=True, help="Only this program's; no cluster is asked."),
    LEASE_NAMESPACE,
    output_option("text", "json"),
    *KUBE,
    DEBUG,
)
@pass_options
def version(options: Options, client: bool, lease_namespace: str, output: str) -> int:
    """Show the versions of client, server and operator.

    Exit code 1 when the cluster doesn't answer; the client's version is shown all the same.
    """
    found: dict[str, Any] = {"client": __version__}
    trouble: Exception | None = None
    if not client:
        try:
            found |= _cluster(options, lease_namespace)
        except Exception as error:
            trouble = error
    _show(found, output == "json")
    if trouble is not None:
        raise trouble
    return 0


def _cluster(options: Options, lease_namespace: str) -> dict[str, Any]:
    from homeport.cli.cluster import run

    return run(_ask(options, lease_namespace))


async def _ask(options: Options, lease_namespace: str) -> dict[str, Any]:
    from homeport.api import labels
    from homeport.cli import kinds, lease
    from homeport.cli.cluster import connected

    async with connected(options, timeout=_PATIENCE) as connection:
        server = await connection.client.version()
        served = await connection.client.discover(labels.API_VERSION)
        return {
            "server": server.get("gitVersion", ""),
            "api": labels.API_VERSION if served else None,
            "kinds": sorted(kind.kind for kind in kinds.ALL if kind.gvk.plural in served),
            "operator": (await lease.look(connection.client, lease_namespace)).as_json(),
        }


def _show(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        output.print_json(found)
        return
    click.echo(f"client:   homeport {found['client']}")
    if "server" not in found:
        return
    click.echo(f"server:   Kubernetes {found['server']}")
    click.echo(f"api:      {found['api']} ({', '.join(found['kinds'])})" if found["api"] else "api:      not installed")
    operator = found["operator"]
    text = f"{operator['state']} {operator['holder']}".strip()
    click.echo(f"operator: {text}{': ' + operator['message'] if operator['message'] else ''}")
