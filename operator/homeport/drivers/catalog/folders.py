"""Items from folders: ``<item>/item.yaml``, ``values.schema.json`` and ``templates/*.yaml.j2``.

Read once, when they are first asked for. An item that can't be used doesn't take the others with it: whoever names it
is told why.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

import homeport
from homeport.api.catalog import Item
from homeport.api.resource import InvalidSpec, parse_spec
from homeport.plan import values
from homeport.plan.catalog import Entry, Items
from homeport.plan.templates import SUFFIX

FOLDERS_VARIABLE = "HOMEPORT_CATALOG"
"""More folders with items, separated as in PATH; a later one wins over an earlier, and all over our own."""

FILE_LIMIT = 256 * 1024
TEMPLATES_LIMIT = 64
_IMAGE = {
    "type": "string",
    "pattern": r"^[^\s]{1,512}$",
    "description": "Another image, such as a mirror's.",
    "examples": ["registry.example.com/mirror/image:1.0"],
}


def folders() -> list[Path]:
    """Our own items (in the package, or in the checkout that it is run from), then those of ``HOMEPORT_CATALOG``."""
    package = Path(homeport.__file__).resolve().parent
    own = next((path for path in (package / "catalog", package.parents[1] / "catalog") if path.is_dir()), None)
    more = [Path(part) for part in os.environ.get(FOLDERS_VARIABLE, "").split(os.pathsep) if part]
    return [*([own] if own is not None else []), *more]


def load(where: Iterable[Path]) -> Items:
    """Every item in the folders ``where``."""
    entries: dict[str, Entry] = {}
    broken: dict[str, str] = {}
    for folder in where:
        for path in sorted(folder.glob("*/item.yaml")):
            name = path.parent.name
            entries.pop(name, None)
            broken.pop(name, None)
            try:
                entries[name] = load_entry(path.parent)
            except (InvalidSpec, OSError) as error:
                broken[name] = str(error)
    return Items(entries, broken)


def load_entry(folder: Path) -> Entry:
    """The item in ``folder``. Raises InvalidSpec with what is wrong in which file."""
    digest = hashlib.sha256()
    raw = _parsed(folder / "item.yaml", digest)
    if not isinstance(raw, dict):
        raise InvalidSpec(["item.yaml: must be a mapping"])
    item = parse_spec(Item, raw, "item.yaml")
    if item.name != folder.name:
        raise InvalidSpec([f"item.yaml.name: is {item.name!r}; an item is named as its folder, {folder.name}"])
    schema = _schema(folder / "values.schema.json", digest)
    templates = _templates(folder / "templates", digest)
    return Entry(item, schema, templates, digest.hexdigest()[:16], str(folder))


def _schema(path: Path, digest: Any) -> dict[str, Any]:
    schema = _parsed(path, digest) if path.exists() else {"type": "object", "properties": {}}
    if not isinstance(schema, dict) or schema.get("type") != "object":
        raise InvalidSpec(["values.schema.json: must be a JSON schema of type object"])
    # Every item can be told to take another image: there is no other way to use a mirror.
    properties = {**schema.get("properties", {})}
    properties.setdefault("image", _IMAGE)
    schema = {"additionalProperties": False, **schema, "properties": properties}
    wrong = values.check_schema(schema)
    if wrong:
        raise InvalidSpec([f"values.schema.json: {wrong}"])
    return schema


def _templates(folder: Path, digest: Any) -> dict[str, str]:
    paths = sorted(folder.glob(f"*{SUFFIX}"))
    if not any(not path.name.startswith("_") for path in paths):
        raise InvalidSpec([f"templates: there is no *{SUFFIX} file in it"])
    if len(paths) > TEMPLATES_LIMIT:
        raise InvalidSpec([f"templates: there are {len(paths)} files; {TEMPLATES_LIMIT} are allowed"])
    return {path.name: _read(path, digest) for path in paths}


def _parsed(path: Path, digest: Any) -> Any:
    text = _read(path, digest)
    try:
        return json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise InvalidSpec([f"{path.name}: can't be read: {' '.join(str(error).split())}"]) from None


def _read(path: Path, digest: Any) -> str:
    if path.stat().st_size > FILE_LIMIT:
        raise InvalidSpec([f"{path.name}: is larger than {FILE_LIMIT // 1024} KiB"])
    data = path.read_bytes()
    digest.update(path.name.encode() + b"\0" + data + b"\0")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise InvalidSpec([f"{path.name}: isn't UTF-8 text"]) from None
