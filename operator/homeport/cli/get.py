"""``homeport get``: as ``kubectl get``, for Homeport's kinds."""

# ruff: noqa: PLC0415 - imported when it is needed, so that help, completion and errors are quick
from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import click
from rich.text import Text

from homeport.cli import candidates, kinds, output
from homeport.cli.cluster import connected, everything, one, run
from homeport.cli.errors import Failure
from homeport.cli.kinds import KindName
from homeport.cli.options import ALL_NAMESPACES, DEBUG, KUBE, NAMESPACE, Options, pass_options, with_options
from homeport.cli.options import output as output_option
from homeport.drivers.kubernetes.types import Manifest


@click.command()
@click.argument("words", metavar="[KIND [NAME]...]", nargs=-1, shell_complete=candidates.kinds_and_names)
@with_options(
    NAMESPACE,
    ALL_NAMESPACES,
    output_option("table", "wide", "json", "yaml", "name"),
    click.option("--no-headers", is_flag=True, help="Leave out the table's first line."),
    *KUBE,
    DEBUG,
)
@pass_options
def get(
    options: Options,
    *,
    words: tuple[str, ...],
    namespace: str | None,
    all_namespaces: bool,
    output: str,
    no_headers: bool,
) -> int:
    """List projects, environments, applications and Proxmox hosts.

    KIND is a kind, its plural or short name (hpapp, app), several with commas, or all; without NAME all of them.
    """
    kind, names = kinds.split(words)
    wanted = kinds.several(kind)
    if names and (len(wanted) != 1 or all_namespaces):
        raise Failure("with a NAME, write one kind and one namespace")
    items = run(_fetch(options, wanted, names, namespace, all_namespaces))
    if output == "json":
        print_list(items, one=len(names) == 1, yaml=False)
    elif output == "yaml":
        print_list(items, one=len(names) == 1, yaml=True)
    elif output == "name":
        for item in items:
            click.echo(f"{kinds.find(item['kind']).gvk.plural}.{kinds.ALL[0].gvk.group}/{item['metadata']['name']}")
    else:
        _tables(items, wanted, wide=output == "wide", everywhere=all_namespaces, header=not no_headers)
    return 0


async def _fetch(
    options: Options, wanted: Sequence[KindName], names: Sequence[str], namespace: str | None, everywhere: bool
) -> list[Manifest]:
    async with connected(options) as connection:
        if everywhere:
            return await everything(connection.client, wanted, None)
        here = namespace or connection.namespace
        if names:
            return [await one(connection.client, wanted[0], here, name) for name in names]
        items = await everything(connection.client, wanted, here)
        if not items:
            scoped = any(kind.gvk.namespaced for kind in wanted)
            where = f"in namespace {here}; -A looks everywhere" if scoped else "in this cluster"
            click.echo(f"nothing of Homeport's is {where}", err=True)
        return items


def print_list(items: Sequence[Manifest], *, one: bool, yaml: bool) -> None:
    """Manifests as kubectl prints them: one by itself, several in a List."""
    cleaned = [output.clean(item) for item in items]
    value: Any = cleaned[0] if one else {"apiVersion": "v1", "kind": "List", "metadata": {}, "items": cleaned}
    if yaml:
        output.print_yaml(value)
    else:
        output.print_json(value)


def _tables(
    items: Sequence[Manifest], wanted: Sequence[KindName], *, wide: bool, everywhere: bool, header: bool
) -> None:
    out = output.console()
    first = True
    for kind in wanted:
        found = [item for item in items if item["kind"] == kind.kind]
        if not found:
            continue
        if not first:
            out.print()
        first = False
        head, rows, flexible = _table(kind, found, wide=wide, everywhere=everywhere, prefixed=len(wanted) > 1)
        output.table(out, head if header else [""] * len(head), rows, flexible=flexible)


def _table(
    kind: KindName, items: Sequence[Manifest], *, wide: bool, everywhere: bool, prefixed: bool
) -> tuple[list[str], list[list[str | Text]], int]:
    from homeport.api.kinds import AGE, BY_NAME, READY, STATUS

    own = BY_NAME[kind.kind].columns
    columns = [READY, *(c for c in own if not c.priority), STATUS, AGE, *(c for c in own if c.priority and wide)]
    head = [*(["NAMESPACE"] if everywhere else []), "NAME", *(column.name.upper() for column in columns)]
    rows: list[list[str | Text]] = []
    for item in items:
        metadata = item["metadata"]
        row: list[str | Text] = [metadata.get("namespace") or ""] if everywhere else []
        row.append(f"{kind.gvk.kind.lower()}/{metadata['name']}" if prefixed else metadata["name"])
        for column in columns:
            value = json_path(item, column.path)
            text = "" if value is None else output.age(value) if column.type == "date" else " ".join(str(value).split())
            styles = output.READY_STYLES if column is READY else output.HEALTH_STYLES if column.name == "Health" else {}
            row.append(Text(text, styles.get(text, "")))
        rows.append(row)
    return head, rows, head.index("STATUS")


_STEP = re.compile(r"[.](\w+)|\[[?]\(@[.](\w+)==\"([^\"]*)\"\)\]")


def json_path(body: Any, path: str) -> Any:
    """The value at a path as printer columns spell them: fields, and one filter by equality. None when absent."""
    value = body
    for name, key, wanted in _STEP.findall(path):
        if name:
            value = value.get(name) if isinstance(value, Mapping) else None
        else:
            entries = value if isinstance(value, list) else []
            value = next((entry for entry in entries if entry.get(key) == wanted), None)
    return value
