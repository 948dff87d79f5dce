"""Objects of files in a repository, with their lines; or what is wrong, on which line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from homeport.plan.gitops import variables as substitution
from homeport.plan.gitops.malformed import Malformed
from homeport.plan.gitops.reader import DEPTH, Document, Reader

SUFFIXES = (".yaml", ".yml", ".json")
_LFS = "version https://git-lfs.github.com/spec/"


@dataclass(frozen=True)
class Manifest:
    """One object, and the line that it begins at."""

    body: dict[str, Any]
    line: int


def text_of(data: bytes) -> str:
    """A file's text. Raises Malformed where it isn't UTF-8."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Malformed(line, "this isn't text in UTF-8; save it as UTF-8") from None


def objects(text: str, name: str, variables: Mapping[str, str] | None = None) -> list[Manifest]:
    """The objects in a file, lists of objects unrolled. ``variables``: what ``${NAME}`` becomes. Raises Malformed."""
    out: list[Manifest] = []
    for document in documents(text, name, variables):
        out += _unrolled(document)
    return out


def documents(text: str, name: str, variables: Mapping[str, str] | None = None) -> list[Document]:
    """The documents in a file; ``name`` tells JSON from YAML. Raises Malformed."""
    if name.endswith(".json"):
        return _json(text, variables)
    change = None
    if variables is not None:
        text, change = substitution.marked(text), substitution.Marks(variables)
    return Reader(text, change).documents()


# --- objects ----------------------------------------------------------------------------------------------------------


def _unrolled(document: Document) -> list[Manifest]:
    body = document.body
    if isinstance(body, str) and body.startswith(_LFS):
        raise Malformed(document.line, "this is kept by Git LFS, and wasn't fetched; write lfs: true")
    if not isinstance(body, dict):
        raise Malformed(document.line, "this isn't a Kubernetes object; write a mapping with apiVersion and kind")
    kind = body.get("kind")
    if isinstance(kind, str) and kind.endswith("List") and isinstance(body.get("items"), list):
        items = body["items"]
        # Entries that came by an alias or a merge have no lines of their own.
        lines = document.items if len(document.items) == len(items) else (document.line,) * len(items)
        out: list[Manifest] = []
        for item, line in zip(items, lines, strict=True):
            out += _unrolled(Document(item, line))
        return out
    _checked(body, document.line)
    return [Manifest(body, document.line)]


def _checked(body: Mapping[str, Any], line: int) -> None:
    """What every object has. Raises Malformed."""
    absent = [name for name in ("apiVersion", "kind") if not body.get(name)]
    if absent:
        raise Malformed(
            line,
            f"{' and '.join(absent)} must be written: this isn't a Kubernetes object; what isn't one is named in "
            ".homeport-ignore",
        )
    for name in ("apiVersion", "kind"):
        if not isinstance(body[name], str):
            raise Malformed(line, f"{name} must be text; put it in quotes")
    metadata = body.get("metadata")
    if not isinstance(metadata, dict) or not metadata.get("name"):
        instead = " (generateName would make another object each time)" if "generateName" in (metadata or {}) else ""
        raise Malformed(line, f"{body['kind']}: metadata.name must be written{instead}")
    for name in ("name", "namespace"):
        if metadata.get(name) is not None and not isinstance(metadata[name], str):
            raise Malformed(line, f"{body['kind']}: metadata.{name} must be text; put it in quotes")
    for name in ("labels", "annotations"):
        for key, value in _mapping(metadata, name, line, body["kind"]).items():
            if not isinstance(value, str):
                told = f"metadata.{name}.{key} must be text; put it in quotes"
                raise Malformed(line, f"{body['kind']} {metadata['name']}: {told}")


def _mapping(metadata: Mapping[str, Any], name: str, line: int, kind: str) -> Mapping[str, Any]:
    value = metadata.get(name)
    if value is not None and not isinstance(value, dict):
        raise Malformed(line, f"{kind} {metadata['name']}: metadata.{name} must be a mapping of keys to text")
    return value or {}


# --- JSON -------------------------------------------------------------------------------------------------------------


def _json(text: str, variables: Mapping[str, str] | None) -> list[Document]:
    if not text.strip():
        return []
    try:
        body = json.loads(text, object_pairs_hook=_once, parse_constant=_not_json)
    except json.JSONDecodeError as error:
        raise Malformed(error.lineno, f"this isn't JSON: {error.msg}") from None
    except RecursionError:
        raise Malformed(1, f"this is nested too deeply; {DEPTH} levels are allowed") from None
    except ValueError as error:
        raise Malformed(1, f"this isn't JSON: {error}") from None
    if variables is not None:
        body = substitution.in_value(body, variables, lambda name: _lacks(text, name))
    if _depth(body) > DEPTH:
        raise Malformed(1, f"this is nested too deeply; {DEPTH} levels are allowed")
    return [Document(body, 1)]


def _lacks(text: str, name: str) -> NoReturn:
    line = text.count("\n", 0, text.find(f"${{{name}}}")) + 1
    raise Malformed(line, substitution.unknown(name))


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r} is written twice; leave one out")
    return out


def _not_json(word: str) -> NoReturn:
    raise ValueError(f"{word} isn't a number")


def _depth(body: Any) -> int:
    """How deep it is; json's own recursion has bounded that before."""
    deepest, waiting = 0, [(body, 1)]
    while waiting:
        value, depth = waiting.pop()
        deepest = max(deepest, depth)
        if isinstance(value, dict):
            waiting += [(each, depth + 1) for each in value.values()]
        elif isinstance(value, list):
            waiting += [(each, depth + 1) for each in value]
    return deepest
