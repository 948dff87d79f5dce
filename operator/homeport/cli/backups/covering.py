"""``homeport backup coverage``: which volumes and containers are in a backup, and which aren't."""

from __future__ import annotations

from typing import Any

import click
from rich.text import Text

from homeport.api.resource import InvalidSpec, Resource, parse
from homeport.cli import kinds
from homeport.cli import output as out_of
from homeport.cli.catalog import of_cluster
from homeport.cli.cluster import connected, everything, run
from homeport.cli.options import Options
from homeport.drivers.catalog import folders, load
from homeport.engine.catalog import Catalog
from homeport.plan import render
from homeport.plan.backup import coverage
from homeport.plan.backup.coverage import Coverage, Finding, State

KINDS = ("application", "environment", "lxccontainer", "backup")
HEADER = ("DATA", "VOLUME", "STATE", "BACKUPS", "WHY")
STYLES = {State.COVERED: "green", State.NOT_COVERED: "bold red", State.LEFT_OUT: "blue"}


def show(options: Options, namespace: str | None, output: str) -> bool:
    """Tell of all that holds data in a project; whether all of it is covered."""
    seen, here = run(_look(options, namespace))
    if output == "json":
        out_of.print_json(_as_data(seen))
    else:
        _table(seen, here)
    return not seen.missing and not seen.unknown


async def _look(options: Options, namespace: str | None) -> tuple[Coverage, str]:
    async with connected(options) as connection:
        here = namespace or connection.namespace
        bodies = await everything(connection.client, [kinds.find(kind) for kind in KINDS], here)
    by_kind: dict[str, list[Resource[Any]]] = {}
    broken = {}
    for body in bodies:
        try:
            by_kind.setdefault(body["kind"], []).append(parse(body))
        except InvalidSpec as error:
            if body["kind"] == "Application":
                broken[body["metadata"]["name"]] = str(error)
    apps = by_kind.get("Application", [])
    known = await _catalog(options, here) if any(render.uses_catalog(app.spec) for app in apps) else Catalog()
    made = {app.name: known.expansion_now(app.spec, app.namespace) for app in apps}
    environments, containers, backups = (by_kind.get(kind, []) for kind in ("Environment", "LXCContainer", "Backup"))
    seen = coverage.look(apps, environments, containers, backups, made)
    return Coverage(seen.findings, {**seen.unknown, **broken}), here


async def _catalog(options: Options, namespace: str) -> Catalog:
    """The items of folders and of the cluster, as the operator uses them."""
    items = await of_cluster(load(folders()), options, namespace)
    return Catalog(load=lambda: items)


def _table(seen: Coverage, here: str) -> None:
    if seen.findings:
        rows = [_row(found) for found in seen.findings]
        out_of.table(out_of.console(), HEADER, rows, flexible=len(HEADER) - 1)
    for name, why in seen.unknown.items():
        click.echo(f"what application {name} keeps can't be told: {why}", err=True)
    counted = [found for found in seen.findings if found.state is not State.LEFT_OUT]
    if counted:
        click.echo(f"{len(counted) - len(seen.missing)} of {len(counted)} covered")
    elif not seen.unknown:
        click.echo(f"nothing in namespace {here} holds data that would have to be backed up")


def _row(found: Finding) -> list[str | Text]:
    state = Text(str(found.state), STYLES[found.state])
    return [found.data.owner, found.data.volume, state, ", ".join(found.backups), found.why]


def _as_data(seen: Coverage) -> dict[str, Any]:
    return {
        "covered": not seen.missing and not seen.unknown,
        "data": [
            {
                "environment": found.data.environment or None,
                "application": found.data.application or None,
                "component": found.data.component or None,
                "container": found.data.container or None,
                "volume": found.data.volume,
                "state": str(found.state),
                "backups": list(found.backups),
                "message": found.why,
            }
            for found in seen.findings
        ],
        "unknown": dict(seen.unknown),
    }
