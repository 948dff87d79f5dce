"""Catalog items from what they are kept in: a folder's files, or a CatalogItem's fields. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

import yaml

from homeport.api.catalog import CatalogItemSpec, Item, ItemGit
from homeport.api.resource import InvalidSpec, parse_spec
from homeport.plan import names, values
from homeport.plan.catalog import Entry
from homeport.plan.templates import SUFFIX, PlainLoader

FILE_LIMIT = 256 * 1024
TEMPLATES_LIMIT = 64
ITEM, SCHEMA, TEMPLATES = "item.yaml", "values.schema.json", "templates/"

CheckSchema = Callable[[Mapping[str, Any]], str]
"""Says what is wrong with a JSON schema; empty when nothing is."""

_IMAGE = {
    "type": "string",
    "pattern": r"^[^\s]{1,512}$",
    "description": "Another image, such as a mirror's.",
    "examples": ["registry.example.com/mirror/image:1.0"],
}


def is_part(path: str) -> bool:
    """Whether a file of an item's folder belongs to the item."""
    folder, _, name = path.rpartition("/")
    return path in (ITEM, SCHEMA) or (f"{folder}/" == TEMPLATES and name.endswith(SUFFIX))


def from_files(name: str, files: Mapping[str, bytes], source: str, check: CheckSchema = values.check_schema) -> Entry:
    """The item called ``name`` in a folder's files, by their paths in it. Raises InvalidSpec: what is wrong where."""
    texts = {path: _text(path, data) for path, data in sorted(files.items()) if is_part(path)}
    if ITEM not in texts:
        raise InvalidSpec([f"{ITEM}: isn't there"])
    raw = _parsed(ITEM, texts[ITEM])
    if not isinstance(raw, dict):
        raise InvalidSpec([f"{ITEM}: must be a mapping"])
    item = parse_spec(Item, raw, ITEM)
    if item.name != name:
        raise InvalidSpec([f"{ITEM}.name: is {item.name!r}; an item is named as its folder or its CatalogItem, {name}"])
    schema = _parsed(SCHEMA, texts[SCHEMA]) if SCHEMA in texts else {"type": "object", "properties": {}}
    templates = {path.removeprefix(TEMPLATES): text for path, text in texts.items() if path.startswith(TEMPLATES)}
    digest = hashlib.sha256()
    for path, text in texts.items():
        digest.update(f"{path}\0{text}\0".encode())
    return _entry(item, schema, templates, digest.hexdigest()[:16], source, SCHEMA, check)


def from_spec(name: str, spec: CatalogItemSpec, source: str, check: CheckSchema = values.check_schema) -> Entry:
    """The item that a CatalogItem writes out. Raises InvalidSpec."""
    assert spec.item is not None
    raw = spec.item.model_dump(by_alias=True, exclude_unset=True, mode="json")
    item = parse_spec(Item, {**raw, "name": name}, "spec.item")
    schema = spec.schema_ if spec.schema_ is not None else {"type": "object", "properties": {}}
    templates = {f"{key}{SUFFIX}": text for key, text in (spec.templates or {}).items()}
    digest = names.digest_of([raw, schema, templates])
    return _entry(item, schema, templates, digest, source, "spec.schema", check)


def revision(git: ItemGit, commit: str) -> str:
    """What status says of a commit: main@sha1:…"""
    name = git.ref.branch or git.ref.tag
    told = f"{'sha256' if len(commit) == 64 else 'sha1'}:{commit}"
    return f"{name}@{told}" if name else told


def manifest(entry: Entry, namespace: str = "") -> dict[str, Any]:
    """``entry`` as a CatalogItem."""
    item = entry.item.model_dump(by_alias=True, exclude_unset=True, mode="json")
    name = item.pop("name")
    schema = {key: value for key, value in entry.schema.items() if key != "$schema"}
    spec = {
        "item": item,
        "schema": {**schema, "properties": {k: v for k, v in schema["properties"].items() if v != _IMAGE}},
        "templates": {key.removesuffix(SUFFIX): text for key, text in entry.templates.items()},
    }
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": "homeport.dev/v1alpha1", "kind": "CatalogItem", "metadata": metadata, "spec": spec}


def _entry(
    item: Item,
    raw: Any,
    templates: Mapping[str, str],
    digest: str,
    source: str,
    where: str,
    check: CheckSchema,
) -> Entry:
    if not isinstance(raw, dict) or raw.get("type") != "object" or not isinstance(raw.get("properties", {}), dict):
        raise InvalidSpec([f"{where}: must be a JSON schema of type object"])
    if not any(not name.startswith("_") for name in templates):
        raise InvalidSpec([f"templates: there is no *{SUFFIX} file in it"])
    if len(templates) > TEMPLATES_LIMIT:
        raise InvalidSpec([f"templates: there are {len(templates)} files; {TEMPLATES_LIMIT} are allowed"])
    # Every item can be told to take another image: there is no other way to use a mirror.
    schema = {"additionalProperties": False, **raw, "properties": {**raw.get("properties", {})}}
    schema["properties"].setdefault("image", _IMAGE)
    wrong = check(schema)
    if wrong:
        raise InvalidSpec([f"{where}: {wrong}" if not wrong.startswith(SCHEMA) else wrong])
    return Entry(item, schema, dict(templates), digest, source)


def _parsed(path: str, text: str) -> Any:
    try:
        return json.loads(text) if path.endswith(".json") else yaml.load(text, PlainLoader)  # noqa: S506 - it is safe  # nosec B506
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise InvalidSpec([f"{path}: can't be read: {' '.join(str(error).split())}"]) from None


def _text(path: str, data: bytes) -> str:
    if len(data) > FILE_LIMIT:
        raise InvalidSpec([f"{path}: is larger than {FILE_LIMIT // 1024} KiB"])
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise InvalidSpec([f"{path}: isn't UTF-8 text"]) from None
