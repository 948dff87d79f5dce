"""Reading YAML without recursion: documents with their lines, or what is wrong on which line.

The parser's events are walked with a stack of our own, for its convenient faces recurse: a few thousand brackets end
the process. Aliases cost what they expand to, so that a small file can't become a large one. Scalars mean what they
mean to kubectl: a date, a time and 12:30 are text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml
from yaml import events

from homeport.plan.gitops.malformed import Malformed

try:
    from yaml.cyaml import CParser as Parser  # type: ignore[attr-defined]
except ImportError:  # PyYAML without libyaml: slower, and the same
    from yaml import Loader as Parser  # type: ignore[assignment]

DEPTH = 128
"""Mappings and lists in one another."""
SIZE = 32 * 1024 * 1024
"""What a file may expand to: 16 bytes for each value, and its text."""

_WORDS: Mapping[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys((f(word) for word in ("yes", "true", "on") for f in (str, str.title, str.upper)), True),
    **dict.fromkeys((f(word) for word in ("no", "false", "off") for f in (str, str.title, str.upper)), False),
}
_NUMERIC = frozenset("+-.0123456789")
INT = re.compile(r"[-+]?(0|[1-9][0-9_]*|0b[01_]+|0x[0-9a-fA-F_]+|0[0-7_]+)\Z")
"""Whole numbers as Kubernetes's YAML library has them: nothing in base 60."""
FLOAT = re.compile(
    r"[-+]?(([0-9][0-9_]*)?[.][0-9]+([eE][-+]?[0-9]+)?|[0-9][0-9_]*[.]?([eE][-+]?[0-9]+)|[0-9][0-9_]*[.])\Z"
)
_TAG = "tag:yaml.org,2002:"


@dataclass(frozen=True)
class Document:
    """One document that isn't empty, and where it begins. ``items`` are the lines of a list's entries."""

    body: Any
    line: int
    items: tuple[int, ...] = ()


class _Open:
    """A mapping or list that isn't at its end yet."""

    __slots__ = ("anchor", "before", "key", "line", "merged", "value")

    def __init__(self, value: dict[str, Any] | list[Any], line: int, anchor: str | None, before: int) -> None:
        self.value = value
        self.line = line
        self.anchor = anchor
        self.before = before
        """The size before it began."""
        self.key: str | None = None
        """The key whose value comes next."""
        self.merged: list[dict[str, Any]] = []


_MERGE = "<<"


class Reader:
    """One text on its way to documents."""

    def __init__(self, text: str, change: Callable[[str, int], str] | None) -> None:
        self._text = text
        self._change = change
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[Any, int] | None] = {}
        self._size = 0
        self._found: list[Document] = []
        self._items: list[int] = []
        self._line = 1

    def documents(self) -> list[Document]:
        """All of them. Raises Malformed."""
        try:
            # What it can't read at all (control characters) is told when it is made.
            parser = Parser(self._text)
            while (event := parser.get_event()) is not None:
                self._take(event)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            raise Malformed(mark.line + 1 if mark else 0, _told(error, self._text)) from None
        except yaml.reader.ReaderError as error:
            line = self._text.count("\n", 0, error.position) + 1 if isinstance(error.position, int) else 0
            raise Malformed(line, f"this isn't YAML: it holds a character that isn't allowed: {error.reason}") from None
        except yaml.YAMLError as error:
            raise Malformed(0, f"this isn't YAML: {' '.join(str(error).split())[:500]}") from None
        return self._found

    def _take(self, event: Any) -> None:
        kind = type(event)
        if kind is events.ScalarEvent:
            self._scalar(event)
        elif kind is events.MappingStartEvent or kind is events.SequenceStartEvent:
            self._begin(event, {} if kind is events.MappingStartEvent else [])
        elif kind is events.MappingEndEvent or kind is events.SequenceEndEvent:
            self._end()
        elif kind is events.AliasEvent:
            self._alias(event)
        elif kind is events.DocumentStartEvent:
            self._anchors = {}
            self._items = []

    def _scalar(self, event: Any) -> None:
        value: str = event.value
        line = event.start_mark.line + 1
        if self._change is not None:
            value = self._change(value, line)
        frame = self._open[-1] if self._open else None
        self._grow(16 + len(value), line)
        if frame is not None and frame.key is None and type(frame.value) is dict:
            self._key(frame, value, line, event)
            return
        made = _constructed(value, event, line)
        if event.anchor is not None:
            self._anchors[event.anchor] = made, 16 + len(value)
        self._add(made, line)

    def _key(self, frame: _Open, value: str, line: int, event: Any) -> None:
        if event.anchor is not None:
            self._anchors[event.anchor] = value, 16 + len(value)
        if value == _MERGE and event.implicit[0]:
            frame.key = _MERGE
            return
        assert isinstance(frame.value, dict)
        if value in frame.value:
            raise Malformed(
                line, f"{value!r} is written twice in the mapping that begins on line {frame.line}; leave one out"
            )
        frame.key = value
        # Held, so that it keeps its place and a second one is noticed.
        frame.value[value] = None

    def _begin(self, event: Any, value: dict[str, Any] | list[Any]) -> None:
        line = event.start_mark.line + 1
        frames = self._open
        if event.tag is not None and event.tag not in (f"{_TAG}map", f"{_TAG}seq"):
            raise Malformed(line, f"the tag {event.tag.replace(_TAG, '!!')} isn't read; write plain YAML")
        if frames and frames[-1].key is None and isinstance(frames[-1].value, dict):
            raise Malformed(line, "a mapping or a list can't be a key; write text")
        if len(frames) >= DEPTH:
            raise Malformed(line, f"this is nested too deeply; {DEPTH} levels are allowed")
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        frames.append(_Open(value, line, event.anchor, self._size))
        self._grow(16, line)

    def _end(self) -> None:
        frame = self._open.pop()
        value = frame.value
        if frame.merged and isinstance(value, dict):
            value = {**{k: v for each in reversed(frame.merged) for k, v in each.items()}, **value}
        if frame.anchor is not None:
            self._anchors[frame.anchor] = value, self._size - frame.before
        self._add(value, frame.line)

    def _alias(self, event: Any) -> None:
        line = event.start_mark.line + 1
        if event.anchor not in self._anchors:
            raise Malformed(line, f"*{event.anchor} refers to an anchor that isn't there before it")
        found = self._anchors[event.anchor]
        if found is None:
            raise Malformed(line, f"*{event.anchor} refers to what it is in itself")
        value, size = found
        self._grow(size, line)
        frame = self._open[-1] if self._open else None
        if frame is not None and frame.key is None and isinstance(frame.value, dict):
            raise Malformed(line, "an alias can't be a key; write text")
        self._add(value, line)

    def _add(self, value: Any, line: int) -> None:
        if not self._open:
            if value is not None:
                self._found.append(Document(value, line, tuple(self._items)))
            return
        frame = self._open[-1]
        if isinstance(frame.value, list):
            if len(self._open) == 2 and self._open[0].key == "items":
                self._items.append(line)
            frame.value.append(value)
            return
        assert frame.key is not None
        if frame.key == _MERGE and _MERGE not in frame.value:
            frame.merged += _mergeable(value, line)
        else:
            frame.value[frame.key] = value
        frame.key = None

    def _grow(self, size: int, line: int) -> None:
        self._size += size
        if self._size > SIZE:
            raise Malformed(line, f"this becomes larger than {SIZE // 1024**2} MiB; use fewer aliases, or split it")


def _mergeable(value: Any, line: int) -> list[dict[str, Any]]:
    found = value if isinstance(value, list) else [value]
    if not all(isinstance(each, dict) for each in found):
        raise Malformed(line, "'<<' takes a mapping, or a list of mappings")
    return found


def _told(error: yaml.MarkedYAMLError, text: str) -> str:
    words = " ".join(part for part in (error.context, error.problem) if part)
    mark = error.problem_mark
    lines = text.split("\n", mark.line + 1) if mark is not None else []
    if mark is not None and len(lines) > mark.line and "\t" in lines[mark.line][: mark.column + 1]:
        words += "; indent with spaces, not with tabs"
    return f"this isn't YAML: {words}"


def _constructed(value: str, event: Any, line: int) -> Any:
    tag = event.tag
    if tag is None:
        # A plain scalar has no quotes; only such a one can be anything but text.
        return _plain(value, line) if event.style is None or event.style == "" else value
    match tag.removeprefix(_TAG):
        case "!" | "str":
            return value
        case "int" | "float" | "bool" | "null":
            return _plain(value, line)
    raise Malformed(line, f"the tag {tag.replace(_TAG, '!!')} isn't read; write plain YAML")


def _plain(value: str, line: int) -> Any:
    if value in _WORDS:
        return _WORDS[value]
    if value[0] not in _NUMERIC:
        return value
    try:
        if INT.match(value):
            return _integer(value.replace("_", ""))
        if FLOAT.match(value):
            return _finite(float(value.replace("_", "")))
    except ValueError:
        raise Malformed(line, f"{value[:40]!r} is too large a number; put it in quotes if it is text") from None
    return value


def _integer(text: str) -> int | float:
    sign, digits = (-1 if text[0] == "-" else 1), text.lstrip("+-")
    base = 16 if digits.startswith("0x") else 2 if digits.startswith("0b") else 8 if digits.startswith("0") else 10
    number = sign * int(digits, base)
    return number if -(2**63) <= number < 2**64 else _finite(float(number))


def _finite(number: float) -> float:
    if number in (float("inf"), float("-inf")):
        raise ValueError
    return number
