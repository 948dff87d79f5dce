"""The generated parts of ``pulumi/clusters``: cluster.yaml's JSON Schema, and the tables of the README."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from homeport_clusters import addons
from homeport_clusters.config import TYPES, ClusterFile

Schema = dict[str, Any]
PART = re.compile(r"(<!-- generated: (fields|addons)[^>]*-->\n).*?(<!-- /generated -->)", re.DOTALL)
DIALECT = "https://json-schema.org/draft/2020-12/schema"


def outputs(root: Path) -> dict[Path, str]:
    """The files, and what belongs in them."""
    folder = root / "pulumi" / "clusters"
    found = schema()
    out = {folder / "cluster.schema.json": json.dumps(found, indent=2, ensure_ascii=False) + "\n"}
    parts = {"fields": fields(found), "addons": addon_table()}
    readme = folder / "README.md"
    out[readme] = PART.sub(lambda match: f"{match[1]}\n{parts[match[2]]}\n{match[3]}", readme.read_text())
    return out


def schema() -> Schema:
    """cluster.yaml's JSON Schema."""
    found = ClusterFile.model_json_schema(by_alias=True, mode="validation")
    return {"$schema": DIALECT, **found, "title": "cluster.yaml"}


def fields(found: Schema) -> str:
    """Every field: its path, type, default and what it is."""
    rows = [f"| `{path}` | {kind} | {default} | {text} |\n" for path, kind, default, text in _walk(found, found, "")]
    return "| Field | Type | Default | What it is |\n| --- | --- | --- | --- |\n" + "".join(rows)


def _walk(root: Schema, block: Schema, path: str) -> Iterator[tuple[str, str, str, str]]:
    for name, field in block["properties"].items():
        where = f"{path}.{name}" if path else name
        inner, kind = _inner(root, field)
        required = " **required**" if name in block.get("required", ()) else ""
        text = " ".join(field.get("description", "").split()).replace("|", "\\|")
        yield where, kind + required, _default(field), text
        if "properties" in inner:
            yield from _walk(root, inner, where + ("[]" if kind.startswith("list") else ""))


def _inner(root: Schema, field: Schema) -> tuple[Schema, str]:
    """The block that a field holds, if any, and the field's type in words."""
    if "anyOf" in field:
        field = next(option for option in field["anyOf"] if option.get("type") != "null")
    if "$ref" in field:
        return root["$defs"][field["$ref"].rpartition("/")[2]], "block"
    if field.get("type") == "array":
        inner, kind = _inner(root, field["items"])
        return inner, f"list of {'blocks' if kind == 'block' else kind}"
    if "enum" in field:
        return {}, " \\| ".join(f"`{value}`" for value in field["enum"])
    if field.get("type") == "object":
        return {}, "map"
    return {}, {"integer": "number", "string": "text", "boolean": "true or false"}.get(
        field.get("type", ""), "anything"
    )


def _default(field: Schema) -> str:
    value = field.get("default")
    plain = isinstance(value, str | int | float) and value != ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`" if plain else ""


def addon_table() -> str:
    """Which types have which add-ons unless the file says otherwise."""
    names = ("ingress", "certManager", "metricsServer", "storageClass")
    head = "| Type | " + " | ".join(f"`{name}`" for name in names) + " |\n|" + " --- |" * (len(names) + 1) + "\n"
    return head + "".join(
        f"| `{kind}` | " + " | ".join("yes" if name in addons.BY_DEFAULT[kind] else "no" for name in names) + " |\n"
        for kind in TYPES
    )
