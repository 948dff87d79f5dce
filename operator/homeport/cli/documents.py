"""YAML files with line numbers: documents as kubectl would read them, and where in the file each field stands."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from homeport.cli.errors import Failure
from homeport.drivers.kubernetes import types

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
Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int",
    re.compile(r"^[-+]?(0|[1-9][0-9_]*|0b[01_]+|0x[0-9a-fA-F_]+|0[0-7_]+)$"),
    list("-+0123456789"),
)
Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^[-+]?(([0-9][0-9_]*)?[.][0-9]+([eE][-+]?[0-9]+)?|[0-9][0-9_]*[.]?([eE][-+]?[0-9]+)|[0-9][0-9_]*[.])$"
    ),
    list("-+0123456789."),
)


def _float(loader: Loader, node: ScalarNode) -> float:
    return float(node.value.replace("_", ""))


Loader.add_constructor("tag:yaml.org,2002:float", _float)


def line_of(node: Node) -> int:
    """The line on which ``node`` begins."""
    return int(node.start_mark.line) + 1


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
    except ValueError as error:
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


# --- from a field's path to its line --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """A field in a file: its line, its path as far as it is written, and what came after the path."""

    line: int
    path: str
    rest: str


def child(node: Node, key: str) -> Node | None:
    """The value of ``key`` in a mapping."""
    found: list[Node] = []
    if isinstance(node, MappingNode):
        found = [value for name, value in node.value if isinstance(name, ScalarNode) and name.value == key]
    return found[0] if found else None


def locate(node: Node, text: str) -> Place:
    """Where the field is that ``text`` begins with, such as ``spec.components[web].ports: a sentence``.

    Keys may hold dots and colons, so the text is read along the file: the longest key that is there wins. A field that
    isn't there is at the line of what it is missing from.
    """
    line, rest = line_of(node), text
    while rest:
        step = _into_mapping(node, rest) if isinstance(node, MappingNode) else _into_list(node, rest)
        if step is None:
            break
        node, line, rest = step
    return Place(line, text[: len(text) - len(rest)].removeprefix("."), rest)


Step = tuple[Node, int, str]


def _into_mapping(node: MappingNode, rest: str) -> Step | None:
    best: Step | None = None
    for key, value in node.value:
        if not isinstance(key, ScalarNode):
            continue
        for spelled in (key.value, f".{key.value}", f"[{key.value}]"):
            after = rest[len(spelled) :]
            fits = rest.startswith(spelled) and (not after or after[0] in ".[:")
            if fits and (best is None or len(after) < len(best[2])):
                best = value, line_of(key), after
    return best


_INDEX = re.compile(r"^\[([^\]]*)\]")


def _into_list(node: Node, rest: str) -> Step | None:
    match = _INDEX.match(rest)
    if match is None or not isinstance(node, SequenceNode):
        return None
    token, after = match.group(1), rest[match.end() :]
    for item in node.value:
        if _names(item, token):
            return item, line_of(item), after
    if token.isdecimal() and int(token) < len(node.value):
        item = node.value[int(token)]
        return item, line_of(item), after
    return None


def _names(item: Node, token: str) -> bool:
    name = child(item, "name")
    return isinstance(name, ScalarNode) and name.value == token


def bodies(documents: Sequence[Document], namespace: str) -> list[dict[str, Any]]:
    """The manifests, in ``namespace`` where they name none."""
    out = []
    for document in documents:
        metadata = {"namespace": namespace, **document.metadata}
        out.append({**document.body, "metadata": metadata} if not _cluster_scoped(document.body) else document.body)
    return out


def _cluster_scoped(body: Mapping[str, Any]) -> bool:
    try:
        return not types.gvk_of(body).namespaced
    except KeyError:
        return False
