"""An imported application as an item: its files, and the proof that it renders."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from homeport.api import labels
from homeport.api.environment import EnvironmentSpec
from homeport.api.resource import InvalidSpec, parse, parse_spec
from homeport.cli.errors import Failure
from homeport.cli.importing import convert, service
from homeport.cli.importing.conversion import ACCESS, END, HOST, IMAGE, NAME, SIZE, Conversion
from homeport.cli.importing.files import Found
from homeport.cli.importing.source import Note, read, slug
from homeport.cli.output import yaml_text
from homeport.engine.catalog import Catalog
from homeport.plan import items, render
from homeport.plan.catalog import Entry, Items
from homeport.plan.types import Child, Place

LEVELS = ("restricted", "baseline", "privileged")
_NOTES = 64


@dataclass(frozen=True)
class Imported:
    """An application that was imported: its files by path within the item's folder, and what is to be said of it."""

    name: str
    source: Path
    files: Mapping[str, str]
    notes: tuple[Note, ...]
    pod_security: str
    components: tuple[str, ...]
    services: Mapping[str, str]
    """By Compose's service: its component, when the main one is called as the item."""


def imported(found: Path | Found, variables: Mapping[str, str], renderer: Any = None) -> Imported:
    """The item that a file becomes. Raises Failure with what stands against it; NotAnEntry if it holds none."""
    found = Found(found) if isinstance(found, Path) else found
    path = found.path
    source = read(found, variables)
    made = convert.convert(source, service.services(source))
    schema = _schema(made)
    templates = {f"templates/{_file(made, name)}.yaml.j2": _template(body) for name, body in made.components.items()}
    tried = ""
    for level in LEVELS:
        files = {"item.yaml": yaml_text(_item(made, level)), "values.schema.json": json.dumps(schema, indent=2) + "\n"}
        files |= templates
        try:
            children = _rendered(source.name, files, level, renderer)
        except InvalidSpec as error:
            tried = str(error)
            continue
        components = tuple(dict.fromkeys(child.component for child in children))
        services = {name: made.name(name).replace(NAME, source.name) for name in made.services}
        return Imported(source.name, path, files, tuple(dict.fromkeys(source.notes)), level, components, services)
    raise Failure(f"{path}: what it becomes can't be used: {tried}")


def _rendered(name: str, files: Mapping[str, str], level: str, renderer: Any) -> tuple[Child, ...]:
    entry = _entry(name, files)
    catalog = Catalog(lambda: Items({name: entry}), renderer)
    body = {
        "apiVersion": labels.API_VERSION,
        "kind": "Application",
        "metadata": {"name": name, "namespace": name},
        "spec": {"version": "1.0.0", "components": [{"name": name, "catalog": {"name": name}}]},
    }
    app = parse(body)
    expansion = catalog.expansion_now(app.spec)
    render.check(app.spec, expansion)
    place = Place(name, "live", f"{name}-live", parse_spec(EnvironmentSpec, {"podSecurity": level}))
    return render.render(app, place, catalog=expansion)


def as_manifest(made: Imported, namespace: str) -> dict[str, Any]:
    """What was imported as a CatalogItem."""
    return items.manifest(_entry(made.name, made.files), namespace)


def _entry(name: str, files: Mapping[str, str]) -> Entry:
    return items.from_files(name, {path: text.encode() for path, text in files.items()}, "import")


def write(folder: Path, files: Mapping[str, str]) -> None:
    """Write an item's files."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _file(made: Conversion, name: str) -> str:
    return made.parts[name] or "main"


def _item(made: Conversion, level: str) -> dict[str, Any]:
    source, entry = made.source, made.source.entry
    main = made.services[made.main]
    tag = main.image.rpartition(":")[2] if ":" in main.image.rpartition("/")[2] else "1"
    images = {made.parts[name]: s.image for name, s in made.services.items() if name != made.main}
    version: dict[str, Any] = {"name": str(entry.get("version") or tag)[:64], "image": main.image}
    if images:
        version["images"] = images
    out: dict[str, Any] = {
        "name": source.name,
        "title": str(entry.get("name") or source.name.replace("-", " ").title()),
        "description": str(entry.get("description") or f"Imported from {source.file.name}."),
        "category": str(entry.get("category") or "Imported"),
        "tags": list(dict.fromkeys(slug(str(tag)) for tag in entry.get("tags") or ())),
        "versions": [version],
        "podSecurity": level,
    }
    if entry.get("icon"):
        out["icon"] = str(entry["icon"])
    if entry.get("website"):
        out["links"] = {"website": str(entry["website"])}
    needs = {
        name: f"{entry[field]}{unit}"
        for name, field, unit in (("cpu", "min_cpu", ""), ("memory", "min_memory", "Mi"), ("disk", "min_disk", "Gi"))
        if entry.get(field)
    }
    if needs:
        out["needs"] = needs
    out["ports"] = made.components[made.main].get("ports", [])
    notes = list(dict.fromkeys(note.shown for note in source.notes))
    out["notes"] = [*notes[: _NOTES - 1], f"and {len(notes) - _NOTES + 1} more"] if len(notes) > _NOTES else notes
    return out


def _schema(made: Conversion) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    if made.sizes:
        size = {"type": "string", "quantity": {"minimum": "1Mi", "maximum": "100Ti"}}
        volumes = {
            name: {**size, "default": default, "description": f"How large the volume {name} is.", "examples": ["10Gi"]}
            for name, default in sorted(made.sizes.items())
        }
        properties["storage"] = {
            "type": "object",
            "description": "The volumes' sizes.",
            "additionalProperties": False,
            "properties": volumes,
        }
    if made.shared:
        properties["sharedAccess"] = {
            "enum": ["ReadWriteMany", "ReadWriteOnce"],
            "default": "ReadWriteMany",
            "description": "How volumes that several components share are mounted; Once keeps them on one node.",
        }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
    }


def _template(component: Mapping[str, Any]) -> str:
    """A component as a template: what looks like one in its texts is kept as it is, then the tokens are put in."""
    text = re.sub(r"\{\{|\{%|\{#", lambda found: "{{ " + json.dumps(found.group(0)) + " }}", yaml_text(component))
    text = text.replace(NAME, "{{ name }}").replace(HOST, "{{ host }}")
    text = text.replace(f"{IMAGE}{END}", "{{ image | tojson }}")
    text = re.sub(f"{IMAGE}([-a-z0-9]+){END}", r'{{ images["\1"] | tojson }}', text)
    text = re.sub(f"{SIZE}([-a-z0-9]+){END}", r'{{ values.storage["\1"] | tojson }}', text)
    return text.replace(ACCESS, "{{ values.sharedAccess }}")
