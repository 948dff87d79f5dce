"""The generated parts of docs/: field tables, rules, columns, condition reasons and the operator's flags.

A page is written by hand; what stands between ``<!-- generated: NAME … -->`` and ``<!-- /generated -->`` is put in
here.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click

from homeport.api import base, conditions
from homeport.api.kinds import KINDS, Kind
from homeport.api.schema import crd
from homeport.cli.operator import operator
from homeport.pipelines.read import schema as pipeline_schema

Schema = dict[str, Any]

# Kubernetes's own types, and overrides, which are a component over again: named, not spelled out.
CLOSED = {
    "affinity": "as in a Pod",
    "tolerations": "as in a Pod",
    "initContainers": "containers, as in a Pod",
    "sidecars": "containers, as in a Pod",
    "overrides": "map of component to the fields of spec.components[] that differ",
}
MANY = 253  # characters: more isn't worth mentioning
PART = re.compile(r"(<!-- generated: ([a-z-]+)[^>]*-->\n).*?(<!-- /generated -->)", re.DOTALL)


def pages(root: Path, resolve: Callable[[str], Schema]) -> dict[Path, str]:
    """Every page with generated parts, as it should be."""
    out = {}
    for path in sorted((root / "docs").rglob("*.md")):
        text = path.read_text()
        if PART.search(text):
            out[path] = PART.sub(partial(_part, path, resolve), text)
    return out


def _part(path: Path, resolve: Callable[[str], Schema], found: re.Match[str]) -> str:
    head, name, tail = found.groups()
    kind = next((kind for kind in KINDS if kind.name.lower() == path.stem), None)
    if name == "reasons":
        body = reasons()
    elif name == "flags":
        body = flags()
    elif name == "pipeline-fields":
        body = re.sub(r"(?m)^[|] `[.]", "| `", _fields(_inlined(pipeline_schema()), ""))
    elif kind is None:
        raise ValueError(f"{path}: no kind is called {path.stem}, so there is nothing to put into {name!r}")
    else:
        schema = crd(kind, resolve)
        body = {"spec": spec, "status": status, "rules": rules, "columns": columns}[name](kind, schema)
    return f"{head}\n{body}\n{tail}"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


# --- a kind -----------------------------------------------------------------------------------------------------------


def _root(manifest: Schema) -> Schema:
    found: Schema = manifest["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return found


def spec(kind: Kind, manifest: Schema) -> str:
    """The fields of the spec."""
    return _fields(_root(manifest)["properties"]["spec"], "spec")


def status(kind: Kind, manifest: Schema) -> str:
    """The fields of the status."""
    return _fields(_root(manifest)["properties"]["status"], "status", default=False)


def columns(kind: Kind, manifest: Schema) -> str:
    """The columns of kubectl get."""
    rows = [
        (column["name"], f"`{column['jsonPath']}`", column.get("description", "") + _wide(column))
        for column in manifest["spec"]["versions"][0]["additionalPrinterColumns"]
    ]
    return _table(("Column", "From", "What it says"), rows)


def _wide(column: Schema) -> str:
    return " With `-o wide`." if column.get("priority") else ""


def rules(kind: Kind, manifest: Schema) -> str:
    """What is refused beyond types and bounds, by field."""
    seen: dict[str, list[str]] = {}
    for path, message in _rules(_root(manifest), ""):
        paths = seen.setdefault(message, [])
        if path not in paths:
            paths.append(path)
    rows = [
        (", ".join(f"`{path}`" for path in paths[:3]) + (", …" if len(paths) > 3 else ""), message)
        for message, paths in seen.items()
    ]
    return _table(("Field", "The message, which says what to write"), rows)


def _rules(schema: Schema, path: str) -> Iterator[tuple[str, str]]:
    for rule in schema.get("x-kubernetes-validations", []):
        yield (path or "metadata.name") + rule.get("fieldPath", ""), rule["message"]
    for name, child in schema.get("properties", {}).items():
        if name not in CLOSED and not (path == "" and name != "spec"):
            yield from _rules(child, f"{path}.{name}" if path else name)
    if "items" in schema:
        yield from _rules(schema["items"], f"{path}[]")
    if isinstance(schema.get("additionalProperties"), dict):
        yield from _rules(schema["additionalProperties"], f"{path}.*")


def _fields(schema: Schema, path: str, default: bool = True) -> str:
    rows = []
    for where, field, required in _walk(schema, path):
        text = _plain_text(field.get("description", ""))
        bounds = _bounds(field)
        about = f"{text} {bounds}".strip()
        kind = _type(where.rsplit(".", 1)[-1].removesuffix("[]"), field) + (" **required**" if required else "")
        rows.append((f"`{where}`", kind, _default(field), about) if default else (f"`{where}`", kind, about))
    return _table(("Field", "Type", "Default", "What it is") if default else ("Field", "Type", "What it is"), rows)


def _plain_text(text: str) -> str:
    """``text`` with <placeholders> that Markdown doesn't take for HTML."""
    return re.sub(r"<([a-z]+)>", r"&lt;\1&gt;", text).replace("``", "`")


def _walk(schema: Schema, path: str) -> Iterator[tuple[str, Schema, bool]]:
    required = schema.get("required", [])
    for name, child in schema.get("properties", {}).items():
        where = f"{path}.{name}"
        yield where, child, name in required
        if name in CLOSED:
            continue
        yield from _walk(child, where)
        if "items" in child:
            yield from _walk(child["items"], f"{where}[]")
        if isinstance(child.get("additionalProperties"), dict):
            yield from _walk(child["additionalProperties"], f"{where}.*")


def _type(name: str, field: Schema) -> str:
    if name in CLOSED:
        return CLOSED[name]
    if "enum" in field:
        return " \\| ".join(f"`{value}`" for value in field["enum"]).replace("\\|", "|")
    if field.get("x-kubernetes-int-or-string"):
        return "quantity" if field.get("pattern") == base.QUANTITY_PATTERN else "number or text"
    if field.get("x-kubernetes-preserve-unknown-fields"):
        return "anything"
    if field.get("type") == "array":
        return f"list of {_plain('', field['items'])}"
    if field.get("type") == "object":
        more = field.get("additionalProperties")
        return f"map of text to {_plain('', more)}" if isinstance(more, dict) else "object"
    return {"integer": "number", "number": "number", "string": "text", "boolean": "true or false"}.get(
        field.get("type", ""), "anything"
    )


def _plain(name: str, field: Schema) -> str:
    kind = _type(name, field)
    return "objects" if kind == "object" else kind


def _default(field: Schema) -> str:
    if "default" not in field or field["default"] == "":
        return ""
    value = field["default"]
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _bounds(field: Schema) -> str:
    said = []
    low, high = field.get("minimum"), field.get("maximum")
    if low is not None and high is not None:
        said.append(f"{low} to {high}")
    elif low and not field.get("x-kubernetes-int-or-string"):
        said.append(f"at least {low}")
    if field.get("type") == "string" and "enum" not in field and field.get("maxLength", MANY) < MANY:
        said.append(f"at most {field['maxLength']} characters")
    if "maxItems" in field:
        said.append(f"at most {field['maxItems']}")
    if "maxProperties" in field:
        said.append(f"at most {field['maxProperties']}")
    keys = field.get("x-kubernetes-list-map-keys")
    if keys:
        said.append("merged by " + " and ".join(keys))
    return f"({'; '.join(said)})" if said else ""


def _inlined(schema: Schema) -> Schema:
    """A JSON Schema as `_fields` reads it: what it refers to put in place, and optional fields without their null."""
    kept = schema["$defs"]

    def put(node: Any) -> Any:
        if isinstance(node, list):
            return [put(item) for item in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            node = {**kept[node["$ref"].rpartition("/")[2]], **{key: node[key] for key in node if key != "$ref"}}
        options = [option for option in node.get("anyOf", ()) if option.get("type") != "null"]
        if options:
            # Of several ways to write it, the one with fields of its own is what needs describing.
            best = next((option for option in options if "$ref" in option), options[0])
            node = {**best, **{key: node[key] for key in node if key != "anyOf"}}
            return put(node)
        # Nothing is what an empty default says, too.
        empty = "default" in node and node["default"] in (None, {}, [])
        nested = isinstance(node.get("default"), dict)
        return {key: put(value) for key, value in node.items() if key != "default" or not (empty or nested)}

    inlined: Schema = put({key: value for key, value in schema.items() if key != "$defs"})
    return inlined


# --- reasons and flags ----------------------------------------------------------------------------------------------


def documented() -> dict[str, str]:
    """What each condition reason means, from the text under it in the module."""
    (body,) = [node for node in ast.parse(inspect.getsource(conditions.Reason)).body if isinstance(node, ast.ClassDef)]
    out: dict[str, str] = {}
    for statement, following in zip(body.body, [*body.body[1:], None], strict=True):
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Constant):
            text = following.value if isinstance(following, ast.Expr) else None
            said = text.value if isinstance(text, ast.Constant) else ""
            out[str(statement.value.value)] = " ".join(str(said).replace("``", "`").split())
    return out


def reasons() -> str:
    """The table of condition reasons."""
    return _table(("Reason", "What it means"), [(f"`{name}`", text) for name, text in documented().items()])


def flags() -> str:
    """The operator's flags, with the variables that set them."""
    rows = []
    for parameter in operator.params:
        if not isinstance(parameter, click.Option) or parameter.hidden:
            continue
        names = ", ".join(f"`{name}`" for name in [*parameter.opts, *parameter.secondary_opts])
        variable = f"`{parameter.envvar}`" if parameter.envvar else ""
        default = parameter.default
        plain = isinstance(default, str | int | float)
        value = f"`{str(default).lower() if isinstance(default, bool) else default}`" if plain else ""
        rows.append((names, variable, value if default != "" else "", parameter.help or ""))
    return _table(("Flag", "Variable", "Default", "What it does"), rows)
