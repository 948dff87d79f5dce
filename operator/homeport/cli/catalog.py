"""``homeport catalog``: what there is, what one item takes, how to use it, and how to bring others in."""

# ruff: noqa: PLC0415 - imported when it is needed, so that help, completion and errors are quick
from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from homeport.cli import output
from homeport.cli.errors import Failure
from homeport.cli.importing.command import import_
from homeport.cli.options import DEBUG, KUBE, NAMESPACE, Options, pass_options, with_options
from homeport.cli.options import output as output_option

if TYPE_CHECKING:
    from homeport.plan.catalog import Entry, Items

FOLDERS = click.option(
    "--catalog",
    "more",
    metavar="DIR",
    multiple=True,
    type=click.Path(file_okay=False, exists=True),
    help="A folder with more items; may be given several times. Also: HOMEPORT_CATALOG.",
)
FILTERS = (
    click.option("-c", "--category", default=None, help="Only this category."),
    click.option("-t", "--tag", "tags", multiple=True, help="Only items with this tag; may be given several times."),
    click.option("--runtime", type=click.Choice(("Kubernetes", "Proxmox")), default=None, help="Only what runs there."),
)


@click.group()
@with_options(DEBUG)
def catalog() -> None:
    """Look through the catalog, use its items, and import others."""


catalog.add_command(import_)
IN_CLUSTER = (
    click.option("--cluster", is_flag=True, help="With the CatalogItems of the cluster: the project's, everybody's."),
    NAMESPACE,
    *KUBE,
)


def _items(more: Iterable[str], options: Options | None = None, namespace: str | None = None) -> Items:
    """The items of folders; with ``options`` those of a cluster too, a project's own over everybody's over folders'."""
    from homeport.cli.cluster import run
    from homeport.drivers.catalog import folders, load

    items = load([*folders(), *(Path(folder) for folder in more)])
    if options is None:
        return items
    return run(of_cluster(items, options, namespace))


async def of_cluster(items: Items, options: Options, namespace: str | None) -> Items:
    """``items`` with the CatalogItems of a cluster: everybody's, and over them a project's own."""
    from homeport.api.resource import InvalidSpec, parse
    from homeport.cli import kinds
    from homeport.cli.cluster import connected, listed
    from homeport.engine.catalogitems import SYSTEM
    from homeport.plan import items as kept
    from homeport.plan.catalog import Items

    entries, broken = dict(items.entries), dict(items.broken)
    async with connected(options) as connection:
        for home in dict.fromkeys((SYSTEM, namespace or connection.namespace)):
            for body in (await listed(connection.client, kinds.find("catalogitem"), home))[0]:
                name, shown = body["metadata"]["name"], f"CatalogItem {home}/{body['metadata']['name']}"
                entries.pop(name, None)
                broken.pop(name, None)
                try:
                    resource = parse(body)
                    if resource.spec.git is None:
                        entries[name] = kept.from_spec(name, resource.spec, shown)
                    else:
                        versions = ", ".join(resource.status.get("versions") or ()) or "none read yet"
                        broken[name] = f"{shown} is in Git, where only the operator reads it; its versions: {versions}"
                except InvalidSpec as error:
                    broken[name] = f"{shown}: {error}"
    return Items(entries, broken)


def _matching(
    items: Items,
    words: Iterable[str] = (),
    category: str | None = None,
    tags: Iterable[str] = (),
    runtime: str | None = None,
) -> list[Entry]:
    """Items that have all of it, those first whose name or title has the words."""
    found: list[tuple[int, str, Entry]] = []
    terms = [word.lower() for phrase in words for word in phrase.split()]
    for name, entry in items.entries.items():
        item = entry.item
        if category is not None and item.category.lower() != category.lower():
            continue
        if runtime is not None and runtime not in item.runtimes:
            continue
        if not {tag.lower() for tag in tags} <= {tag.lower() for tag in item.tags}:
            continue
        fields = [f"{name} {item.title}", " ".join(item.tags), item.category, item.description]
        ranks = [next((rank for rank, text in enumerate(fields) if term in text.lower()), -1) for term in terms]
        if -1 not in ranks:
            found.append((sum(ranks), name, entry))
    return [entry for _, _, entry in sorted(found, key=lambda each: each[:2])]


def _print(found: list[Entry], items: Items, how: str) -> None:
    if how == "json":
        output.print_json([_as_json(entry) for entry in found])
        return
    rows = [
        [
            e.item.name,
            e.item.category,
            ", ".join(v.name for v in e.item.versions),
            e.item.pod_security,
            e.item.description,
        ]
        for e in found
    ]
    header = ("NAME", "CATEGORY", "VERSIONS", "PODSECURITY", "DESCRIPTION")
    output.table(output.console(), header, rows, flexible=4, optional=(3, 2))
    for name, why in items.broken.items():
        click.echo(f"warning: {name} can't be used: {why}", err=True)


def _as_json(entry: Entry) -> dict[str, Any]:
    return entry.item.model_dump(by_alias=True, exclude_none=True, mode="json")


@catalog.command("list")
@with_options(*FILTERS, FOLDERS, *IN_CLUSTER, output_option("text", "json"), DEBUG)
@pass_options
def list_(
    options: Options,
    category: str | None,
    tags: tuple[str, ...],
    runtime: str | None,
    more: tuple[str, ...],
    cluster: bool,
    namespace: str | None,
    output: str,
) -> int:
    """List the items."""
    items = _items(more, options if cluster else None, namespace)
    found = _matching(items, (), category, tags, runtime)
    if not found and category is not None:
        there = ", ".join(sorted({entry.item.category for entry in items.entries.values()}))
        raise Failure(f"there is nothing in category {category!r}", f"the categories are {there}")
    _print(found, items, output)
    return 0


@catalog.command()
@click.argument("words", nargs=-1, required=True)
@with_options(*FILTERS, FOLDERS, *IN_CLUSTER, output_option("text", "json"), DEBUG)
@pass_options
def search(
    options: Options,
    words: tuple[str, ...],
    category: str | None,
    tags: tuple[str, ...],
    runtime: str | None,
    more: tuple[str, ...],
    cluster: bool,
    namespace: str | None,
    output: str,
) -> int:
    """Search names, titles, tags, categories and descriptions; every word must be in one of them."""
    items = _items(more, options if cluster else None, namespace)
    found = _matching(items, words, category, tags, runtime)
    if not found and output == "text":
        raise Failure(f"nothing in the catalog has {' '.join(words)!r}", "`homeport catalog list` shows all")
    _print(found, items, output)
    return 0


def _entry(items: Items, name: str) -> Entry:
    import difflib

    entry = items.entries.get(name)
    if entry is not None:
        return entry
    if name in items.broken:
        raise Failure(f"the catalog's item {name} can't be used: {items.broken[name]}")
    near = difflib.get_close_matches(name, [*items.entries, *items.broken], 1)
    hint = f"did you mean {near[0]}?" if near else "`homeport catalog list` shows all"
    raise Failure(f"the catalog has no item {name!r}", hint)


@catalog.command()
@click.argument("name")
@with_options(FOLDERS, *IN_CLUSTER, output_option("text", "json"), DEBUG)
@pass_options
def show(options: Options, name: str, more: tuple[str, ...], cluster: bool, namespace: str | None, output: str) -> int:
    """Show one item: versions, values, ports, backup."""
    entry = _entry(_items(more, options if cluster else None, namespace), name)
    if output == "json":
        from homeport.cli.output import print_json

        print_json({**_as_json(entry), "values": entry.schema, "source": entry.source})
        return 0
    _show(entry)
    return 0


def _show(entry: Entry) -> None:
    from homeport.plan import values

    item = entry.item
    click.echo(f"{item.title} ({item.name})\n{item.description}\n")
    facts = {
        "category": item.category,
        "tags": ", ".join(item.tags),
        "versions": ", ".join(f"{v.name} ({v.image})" for v in item.versions),
        "runs on": ", ".join(item.runtimes),
        "podSecurity": item.pod_security,
        "ports": ", ".join(f"{port.port}/{port.protocol or 'TCP'} {port.name}" for port in item.ports),
        "backup": item.backup.method if item.backup else "none",
        **(item.links or {}),
    }
    for name, fact in facts.items():
        if fact:
            click.echo(f"{name + ':':<15}{fact}")
    click.echo("\nvalues:")
    for path, schema in _values(entry.schema):
        default = f"; default {_shown(schema['default'])}" if "default" in schema else ""
        click.echo(f"  {path}: {schema.get('description', '')} ({values.described(schema)}{default})")
    for note in item.notes:
        click.echo(f"\nnote: {note}")
    click.echo(f"\nuse it: homeport catalog add {item.name}")


def _shown(value: Any) -> str:
    import json

    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


def _values(schema: Mapping[str, Any], path: str = "") -> Iterable[tuple[str, Mapping[str, Any]]]:
    for name, described in (schema.get("properties") or {}).items():
        if described.get("type") == "object" and described.get("properties"):
            yield from _values(described, f"{path}{name}.")
        else:
            yield f"{path}{name}", described


@catalog.command()
@click.argument("name")
@with_options(
    click.option(
        "--name", "component", metavar="NAME", default=None, help="The component's name; default: the item's."
    ),
    click.option(
        "--application", metavar="NAME", default=None, help="The Application's name; default: the component's."
    ),
    click.option("--version", metavar="VERSION", default=None, help="The item's version; default: its newest."),
    click.option("--set", "sets", metavar="VALUE=…", multiple=True, help="A value, such as storage=10Gi or a.b=3."),
    click.option("--expand", is_flag=True, help="Write the item's components out, instead of its name."),
    FOLDERS,
    *IN_CLUSTER,
    output_option("yaml", "json"),
    DEBUG,
)
@pass_options
def add(
    options: Options,
    name: str,
    component: str | None,
    application: str | None,
    namespace: str | None,
    version: str | None,
    sets: tuple[str, ...],
    expand: bool,
    more: tuple[str, ...],
    cluster: bool,
    output: str,
) -> int:
    """Print an Application with this item, checked, for `kubectl apply -f -`."""
    from homeport.cli.output import print_json, print_yaml

    items = _items(more, options if cluster else None, namespace)
    entry = _entry(items, name)
    part: dict[str, Any] = {"name": component or name, "catalog": {"name": name}}
    if version is not None:
        part["catalog"]["version"] = version
    if sets:
        part["values"] = _given(sets)
    metadata = {"name": application or part["name"], **({"namespace": namespace} if namespace else {})}
    body = _application(items, metadata, part, expand)
    if entry.item.pod_security != "restricted":
        click.echo(f"note: {name} needs an environment with podSecurity: {entry.item.pod_security}", err=True)
    (print_json if output == "json" else print_yaml)(body)
    return 0


@catalog.command()
@click.argument("item", metavar="ITEM|DIR")
@with_options(NAMESPACE, FOLDERS, output_option("yaml", "json"), DEBUG)
def manifest(item: str, namespace: str | None, more: tuple[str, ...], output: str) -> int:
    """Print an item as a CatalogItem, for `kubectl apply -f -` or Git. DIR is an item's folder."""
    from homeport.cli.output import print_json, print_yaml
    from homeport.drivers.catalog import load_entry
    from homeport.plan import items

    entry = load_entry(Path(item).resolve()) if (Path(item) / items.ITEM).is_file() else _entry(_items(more), item)
    (print_json if output == "json" else print_yaml)(items.manifest(entry, namespace or ""))
    return 0


def _given(sets: Iterable[str]) -> dict[str, Any]:
    import yaml

    out: dict[str, Any] = {}
    for text in sets:
        path, equals, value = text.partition("=")
        if not equals or not path:
            raise Failure(f"--set {text}: write a value's name, '=' and what it is", "such as --set storage=10Gi")
        *above, last = path.split(".")
        place = out
        for key in above:
            place = place.setdefault(key, {})
        place[last] = yaml.safe_load(value)
    return out


def _application(items: Items, metadata: Mapping[str, str], part: dict[str, Any], expand: bool) -> dict[str, Any]:
    from homeport.api import labels
    from homeport.api.resource import parse
    from homeport.engine.catalog import Catalog
    from homeport.plan import render

    spec = {"version": "1.0.0", "components": [part]}
    body = {"apiVersion": labels.API_VERSION, "kind": "Application", "metadata": dict(metadata), "spec": spec}
    app = parse(body)
    expansion = Catalog(lambda: items).expansion_now(app.spec)
    render.check(app.spec, expansion)
    if expand:
        made = render.components_of(app.spec, "", expansion)
        spec["components"] = [c.model_dump(by_alias=True, exclude_unset=True, mode="json") for c in made]
    return body
