"""``homeport catalog``: what there is, what one item takes, how to use it, and how to bring others in."""

# ruff: noqa: PLC0415 - imported when it is needed, so that help, completion and errors are quick
from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from homeport.cli import output
from homeport.cli.errors import Failure
from homeport.cli.options import DEBUG, with_options
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


def _items(more: Iterable[str]) -> Items:
    from homeport.drivers.catalog import folders, load

    return load([*folders(), *(Path(folder) for folder in more)])


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
@with_options(*FILTERS, FOLDERS, output_option("text", "json"), DEBUG)
def list_(category: str | None, tags: tuple[str, ...], runtime: str | None, more: tuple[str, ...], output: str) -> int:
    """List the items."""
    items = _items(more)
    found = _matching(items, (), category, tags, runtime)
    if not found and category is not None:
        there = ", ".join(sorted({entry.item.category for entry in items.entries.values()}))
        raise Failure(f"there is nothing in category {category!r}", f"the categories are {there}")
    _print(found, items, output)
    return 0


@catalog.command()
@click.argument("words", nargs=-1, required=True)
@with_options(*FILTERS, FOLDERS, output_option("text", "json"), DEBUG)
def search(
    words: tuple[str, ...],
    category: str | None,
    tags: tuple[str, ...],
    runtime: str | None,
    more: tuple[str, ...],
    output: str,
) -> int:
    """Search names, titles, tags, categories and descriptions; every word must be in one of them."""
    items = _items(more)
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
    near = difflib.get_close_matches(name, items.entries, 1)
    hint = f"did you mean {near[0]}?" if near else "`homeport catalog list` shows all"
    raise Failure(f"the catalog has no item {name!r}", hint)


@catalog.command()
@click.argument("name")
@with_options(FOLDERS, output_option("text", "json"), DEBUG)
def show(name: str, more: tuple[str, ...], output: str) -> int:
    """Show one item: versions, values, ports, backup."""
    entry = _entry(_items(more), name)
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
    click.option("-n", "--namespace", metavar="NAME", default=None, help="The project."),
    click.option("--version", metavar="VERSION", default=None, help="The item's version; default: its newest."),
    click.option("--set", "sets", metavar="VALUE=…", multiple=True, help="A value, such as storage=10Gi or a.b=3."),
    click.option("--expand", is_flag=True, help="Write the item's components out, instead of its name."),
    FOLDERS,
    output_option("yaml", "json"),
    DEBUG,
)
def add(
    name: str,
    component: str | None,
    application: str | None,
    namespace: str | None,
    version: str | None,
    sets: tuple[str, ...],
    expand: bool,
    more: tuple[str, ...],
    output: str,
) -> int:
    """Print an Application with this item, checked, for `kubectl apply -f -`."""
    from homeport.cli.output import print_json, print_yaml

    items = _items(more)
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


@catalog.command("import")
@click.argument("paths", nargs=-1, required=True, type=click.Path())
@with_options(
    click.option(
        "--output", "folder", metavar="DIR", default=None, help="Where to write the items; default: only report."
    ),
    click.option("--var", "variables", metavar="NAME=VALUE", multiple=True, help="A variable of the Compose file."),
    click.option("--format", "how", type=click.Choice(("text", "json")), default="text", help="The report's format."),
    DEBUG,
)
def import_(paths: tuple[str, ...], folder: str | None, variables: tuple[str, ...], how: str) -> int:
    """Import Compose files and catalog entries that hold them.

    PATH is a file, or a folder with entries (*.json) or Compose files. Says of every field what it became, if that is
    not the same, and what could not be carried over. Exit code 1 when something could not be imported at all.
    """
    from homeport.cli.importing import source
    from homeport.cli.importing.item import Imported, imported, write
    from homeport.drivers.catalog import Renderer

    given = dict(text.partition("=")[::2] for text in variables)
    renderer = Renderer()
    done: list[Imported] = []
    refused: list[tuple[str, str]] = []
    for path in [file for each in paths for file in source.find(Path(each))]:
        try:
            made = imported(path, given, renderer)
            if folder is not None:
                _write(Path(folder) / made.name, made.files, write)
            done.append(made)
        except Failure as error:
            refused.append((str(path), f"{error}{'; ' if error.hint else ''}{error.hint}"))
    renderer.close()
    if how == "json":
        output.print_json(
            {
                "imported": [_report(made) for made in done],
                "refused": [{"file": file, "message": message} for file, message in refused],
            }
        )
    else:
        _say(done, refused, folder)
    return 1 if refused else 0


def _write(folder: Path, files: Mapping[str, str], write: Any) -> None:
    if folder.exists():
        raise Failure(f"{folder} exists already, and nothing is overwritten", "name another folder with --output")
    write(folder, files)


def _report(made: Any) -> dict[str, Any]:
    notes = [{"service": n.service, "field": n.field, "text": n.text, "carriedOver": not n.dropped} for n in made.notes]
    return {
        "name": made.name,
        "file": str(made.source),
        "podSecurity": made.pod_security,
        "components": list(made.components),
        "notes": notes,
    }


def _say(done: list[Any], refused: list[tuple[str, str]], folder: str | None) -> None:
    for made in done:
        where = f" -> {Path(folder) / made.name}" if folder is not None else ""
        click.echo(f"{made.name}: {len(made.components)} components, podSecurity {made.pod_security}{where}")
        for note in made.notes:
            click.echo(f"  {note.shown}")
    for _, message in refused:
        click.echo(f"refused: {message}", err=True)
    total = sum(len(made.components) for made in done)
    click.echo(f"{len(done)} imported ({total} components), {len(refused)} refused")
