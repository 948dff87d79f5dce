"""From a field's path, as messages have it, to its line in a YAML file."""

from __future__ import annotations

import re
from dataclasses import dataclass

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

try:
    from yaml.cyaml import CSafeLoader as Composer
except ImportError:  # PyYAML without libyaml: slower, and the same
    from yaml import SafeLoader as Composer  # type: ignore[assignment]


def line_of(node: Node) -> int:
    """The line on which ``node`` begins."""
    return int(node.start_mark.line) + 1


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


def lines(text: str, begins: int, sentences: list[str]) -> list[int]:
    """The lines of the fields that ``sentences`` begin with, of the object that begins on line ``begins``.

    The text was read before, so that it isn't nested too deeply to be composed.
    """
    try:
        waiting = [node for node in yaml.compose_all(text, Composer) if node is not None]
    except yaml.YAMLError:
        return [begins] * len(sentences)
    while waiting:
        node = waiting.pop()
        items = child(node, "items")
        if isinstance(node, MappingNode) and line_of(node) == begins and not isinstance(items, SequenceNode):
            return [locate(node, each).line for each in sentences]
        waiting += items.value if isinstance(items, SequenceNode) else []
    return [begins] * len(sentences)
