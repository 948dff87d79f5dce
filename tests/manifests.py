"""Reading YAML as kubectl does, for tests: a day stays text, and two tags make what is large."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent


class Loader(yaml.SafeLoader):
    """SafeLoader without timestamps, with ``!repeat {text, times}`` and ``!list {item, times}``."""


Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _repeat(loader: Loader, node: yaml.MappingNode) -> str:
    fields = loader.construct_mapping(node, deep=True)
    return str(fields["text"]) * int(fields["times"])


def _list(loader: Loader, node: yaml.MappingNode) -> list[Any]:
    """``item`` so many times, with its number for each ``<n>``."""
    fields = loader.construct_mapping(node, deep=True)
    text = json.dumps(fields["item"])
    return [json.loads(text.replace("<n>", str(number))) for number in range(int(fields["times"]))]


Loader.add_constructor("!repeat", _repeat)
Loader.add_constructor("!list", _list)


def load(path: Path) -> list[Any]:
    """Every document in the file."""
    return [document for document in yaml.load_all(path.read_text(), Loader) if document is not None]


def load_all(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Every manifest in the folder's files, in the order in which kubectl applies them."""
    for path in sorted(folder.glob("*.yaml")):
        for document in load(path):
            yield path, document


def merged(base: Any, patch: Any) -> Any:
    """``base`` with ``patch`` merged into it (RFC 7386: maps merge, null removes, the rest replaces)."""
    if not isinstance(base, dict) or not isinstance(patch, dict):
        return patch
    out = dict(base)
    for key, value in patch.items():
        if value is None:
            out.pop(key, None)
        else:
            out[key] = merged(out.get(key), value) if isinstance(value, dict) else value
    return out
