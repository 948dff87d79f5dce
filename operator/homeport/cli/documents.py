"""YAML files with line numbers: documents as kubectl would read them, and where in the file each field stands."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from yaml.nodes import MappingNode, ScalarNode, SequenceNode

from homeport.cli.errors import Failure
from homeport.drivers.kubernetes import types
from homeport.plan.gitops import reader
from homeport.plan.gitops.places import Place, child, line_of, locate

SUFFIXES = (".yaml", ".yml", ".json")
STDIN = "<stdin>"


@dataclass(frozen=True)
class Problem:
    """Something wrong with a document: where, with what, and what to write instead. ``line`` counts from 1."""

    file: str
    line: int
    message: str
    object: str = ""
    field: str = ""
    severity: Literal["error", "warning"] = "error"

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "file": self.file,
            "line": self.line,
            "object": self.object,
            "field": self.field,
            "message": self.message,
            "severity": self.severity,
        }


@dataclass(frozen=True)
class Document:
    """One object of a file."""

    file: str
    node: MappingNode
    body: dict[str, Any]

    @property
    def line(self) -> int:
        """Where it begins."""
        return line_of(self.node)

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Its metadata; empty when that isn't a mapping."""
        found = self.body.get("metadata")
        return found if isinstance(found, Mapping) else {}

    @property
    def shown(self) -> str:
        """As ``Kind/name``."""
        return f"{self.body.get('kind') or '?'}/{self.metadata.get('name') or '?'}"

    def problem(self, message: str, field: str = "", severity: Literal["error", "warning"] = "error") -> Problem:
        """A problem at ``field`` of this document."""
        return Problem(self.file, self.locate(field).line, message, self.shown, field, severity)

    def locate(self, text: str) -> Place:
        """Where the field at the beginning of ``text`` is."""
        return locate(self.node, text)


class Loader(yaml.SafeLoader):
    """YAML as kubectl reads it: a date, a time and 12:30 are text; a key that is written twice is refused."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.twice: list[tuple[ScalarNode, int]] = []

    def construct_mapping(self, node: MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Text as keys, as JSON has it; keys written twice are noted."""
        seen: dict[str, int] = {}
        for key, _ in node.value:
            if isinstance(key, ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    self.twice.append((key, seen[key.value]))
                seen.setdefault(key.value, line_of(key))
        self.flatten_mapping(node)
        out: dict[Any, Any] = {}
        for key_node, value in node.value:
            key = key_node.value if isinstance(key_node, ScalarNode) else self.construct_object(key_node, deep=True)
            out[key if isinstance(key, str) else str(key)] = self.construct_object(value, deep=deep)
        return out


def _resolvers() -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    """PyYAML's, without dates, and with numbers as Kubernetes's YAML library has them (nothing in base 60)."""
    dropped = {"tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"}
    return {
        first: [(tag, pattern) for tag, pattern in found if tag not in dropped]
        for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


Loader.yaml_implicit_resolvers = _resolvers()
Loader.add_implicit_resolver("tag:yaml.org,2002:int", reader.INT, list("-+0123456789"))
Loader.add_implicit_resolver("tag:yaml.org,2002:float", reader.FLOAT, list("-+0123456789."))


def _float(loader: Loader, node: ScalarNode) -> float:
    return float(node.value.replace("_", ""))


Loader.add_constructor("tag:yaml.org,2002:float", _float)


def read(sources: Iterable[str]) -> tuple[list[Document], list[Problem]]:
    """All objects in files, folders (with what is in them) and standard input (``-``). Raises Failure."""
    documents: list[Document] = []
    problems: list[Problem] = []
    for name, text in _texts(sources):
        found, wrong = parse(text, name)
        documents += found
        problems += wrong
    return documents, problems


def _texts(sources: Iterable[str]) -> Iterator[tuple[str, str]]:
    for source in dict.fromkeys(sources):
        if source == "-":
            yield STDIN, sys.stdin.read()
            continue
        path = Path(source)
        if not path.exists():
            raise Failure(f"{source}: there is no such file or folder")
        files = _files(path) if path.is_dir() else [path]
        if not files:
            raise Failure(f"{source}: no file in it ends with {', '.join(SUFFIXES)}")
        for file in files:
            try:
                yield str(file), file.read_text(encoding="utf-8-sig")
            except UnicodeDecodeError:
                raise Failure(f"{file}: this isn't text in UTF-8") from None


def _files(folder: Path) -> list[Path]:
    """The manifests in a folder, by name; what is hidden is left out."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix in SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def parse(text: str, name: str) -> tuple[list[Document], list[Problem]]:
    """The objects in one text; what can't be read is a problem, and what stands before it is read all the same."""
    documents: list[Document] = []
    problems: list[Problem] = []
    try:
        loader = Loader(text)
        while loader.check_node():
            node = loader.get_node()
            if node is None or (isinstance(node, ScalarNode) and node.tag == "tag:yaml.org,2002:null"):
                continue
            body = loader.construct_document(node)
            for key, first in loader.twice:
                problems.append(
                    Problem(name, line_of(key), f"{key.value!r} is written twice, on line {first} too; leave one out")
                )
            loader.twice.clear()
            if isinstance(node, MappingNode) and isinstance(body, dict):
                documents += _items(Document(name, node, body))
            else:
                text = "this isn't a Kubernetes object; write a mapping of fields"
                problems.append(Problem(name, line_of(node), text))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        words = " ".join(part for part in (error.context, error.problem) if part)
        problems.append(Problem(name, mark.line + 1 if mark else 1, f"this isn't YAML: {words}"))
    except yaml.YAMLError as error:
        problems.append(Problem(name, 1, f"this isn't YAML: {' '.join(str(error).split())}"))
    except RecursionError:
        problems.append(Problem(name, 1, "this is nested too deeply"))
    except (ValueError, LookupError) as error:  # of numbers and truth values that a tag says they are
        problems.append(Problem(name, 1, f"this isn't YAML: {error}"))
    return documents, problems


def _items(document: Document) -> list[Document]:
    """The objects in a List; any other document is itself."""
    items = document.body.get("items")
    if document.body.get("kind") != "List" or not isinstance(items, list):
        return [document]
    nodes = child(document.node, "items")
    assert isinstance(nodes, SequenceNode)
    return [
        Document(document.file, node, body)
        for node, body in zip(nodes.value, items, strict=True)
        if isinstance(node, MappingNode) and isinstance(body, dict)
    ]


def bodies(documents: Sequence[Document], namespace: str) -> list[dict[str, Any]]:
    """The manifests, in ``namespace`` where they name none."""
    out = []
    for document in documents:
        metadata = {"namespace": namespace, **document.metadata}
        out.append({**document.body, "metadata": metadata} if not cluster_scoped(document.body) else document.body)
    return out


def cluster_scoped(body: Mapping[str, Any]) -> bool:
    """Whether it belongs to no namespace; what isn't known belongs to one."""
    try:
        return not types.gvk_of(body).namespaced
    except KeyError:
        return False
