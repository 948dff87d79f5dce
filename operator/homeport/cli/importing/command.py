"""``homeport catalog import``: Compose files and catalog entries as items, and what is said of it."""

# ruff: noqa: PLC0415 - imported when it is needed, so that help, completion and errors are quick
from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from homeport.cli import output
from homeport.cli.errors import Failure
from homeport.cli.options import DEBUG, NAMESPACE, with_options


@click.command("import")
@click.argument("paths", nargs=-1, required=True, type=click.Path())
@with_options(
    click.option(
        "--output", "folder", metavar="DIR", default=None, help="Where to write the items; default: only report."
    ),
    click.option("--var", "variables", metavar="NAME=VALUE", multiple=True, help="A variable of the Compose file."),
    click.option("--crd", is_flag=True, help="Write CatalogItems, for kubectl or Git, instead of folders."),
    NAMESPACE,
    click.option("--format", "how", type=click.Choice(("text", "json")), default="text", help="The report's format."),
    DEBUG,
)
def import_(
    paths: tuple[str, ...],
    folder: str | None,
    variables: tuple[str, ...],
    crd: bool,
    namespace: str | None,
    how: str,
) -> int:
    """Import Compose files and catalog entries that hold them.

    PATH is a file, or a folder with entries (*.json) or Compose files. Says of every field what it became, if that is
    not the same, and what could not be carried over. Exit code 1 when something could not be imported at all.
    """
    from homeport.cli.importing.files import NotAnEntry, find
    from homeport.cli.importing.item import Imported, as_manifest, imported, write
    from homeport.drivers.catalog import Renderer

    given = dict(text.partition("=")[::2] for text in variables)
    renderer = Renderer()
    done: list[Imported] = []
    refused: list[tuple[str, str]] = []
    there = find(Path(path) for path in paths)
    skipped = [(str(path), why) for path, why in there.skipped]
    for found in there.found:
        try:
            made = imported(found, given, renderer)
            if folder is not None and crd:
                text = output.yaml_text(as_manifest(made, namespace or ""))
                _write(Path(folder) / f"{made.name}.yaml", {f"{made.name}.yaml": text}, write, within=Path(folder))
            elif folder is not None:
                _write(Path(folder) / made.name, made.files, write)
            done.append(made)
        except Failure as error:
            if isinstance(error, NotAnEntry) and not found.named:
                skipped.append((str(found.path), "holds no application: neither docker_compose nor services"))
            else:
                refused.append((str(found.path), f"{error}{'; ' if error.hint else ''}{error.hint}"))
    renderer.close()
    if crd and folder is None:
        for made in done:
            click.echo(f"---\n{output.yaml_text(as_manifest(made, namespace or ''))}", nl=False)
    if how == "json":
        output.print_json(
            {
                "imported": [_report(made) for made in done],
                "refused": [{"file": file, "message": message} for file, message in refused],
                "skipped": [{"file": file, "message": message} for file, message in skipped],
            }
        )
    else:
        _say(done, refused, skipped, folder, err=crd and folder is None)
    return 1 if refused else 0


def _write(place: Path, files: Mapping[str, str], write: Any, within: Path | None = None) -> None:
    if place.exists():
        raise Failure(f"{place} exists already, and nothing is overwritten", "name another folder with --output")
    write(within or place, files)


def _report(made: Any) -> dict[str, Any]:
    notes = [{"service": n.service, "field": n.field, "text": n.text, "carriedOver": not n.dropped} for n in made.notes]
    return {
        "name": made.name,
        "file": str(made.source),
        "podSecurity": made.pod_security,
        "components": list(made.components),
        "services": dict(made.services),
        "notes": notes,
    }


def _say(
    done: list[Any],
    refused: list[tuple[str, str]],
    skipped: list[tuple[str, str]],
    folder: str | None,
    err: bool,
) -> None:
    """The report; beside manifests it goes to standard error."""
    for made in done:
        where = f" -> {Path(folder) / made.name}" if folder is not None else ""
        click.echo(f"{made.name}: {len(made.components)} components, podSecurity {made.pod_security}{where}", err=err)
        for note in made.notes:
            click.echo(f"  {note.shown}", err=err)
    for file, message in skipped:
        click.echo(f"skipped: {file}: {message}", err=err)
    for _, message in refused:
        click.echo(f"refused: {message}", err=True)
    total = sum(len(made.components) for made in done)
    passed = f", {len(skipped)} skipped" if skipped else ""
    click.echo(f"{len(done)} imported ({total} components), {len(refused)} refused{passed}", err=err)
