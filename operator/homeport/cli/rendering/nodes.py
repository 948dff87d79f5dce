"""What a Helm template is made of beside plain YAML, and how all of it is written as text. Pure.

A template is a manifest in which some values are nodes. Text that happens to hold ``{{`` is written so that Helm gives
it back as it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml


@dataclass(frozen=True)
class Expr:
    """A scalar: ``{{ text }}``."""

    text: str


@dataclass(frozen=True)
class Block:
    """A mapping or a list that an expression gives as YAML, such as ``toYaml $c.resources``."""

    text: str


@dataclass(frozen=True)
class Spliced:
    """A mapping that begins with what an expression gives."""

    text: str
    rest: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class When:
    """A field or an item that is there under a condition, such as ``if $c.autoscaling.enabled``."""

    test: str
    value: Any


_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff]")
STEP = 2


def text(manifest: Mapping[str, Any]) -> str:
    """A whole template."""
    return "\n".join(_mapping(manifest, 0)) + "\n"


def scalar(value: Any) -> str:
    """One value in one line."""
    if isinstance(value, Expr):
        return f"{{{{ {value.text} }}}}"
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, dict | list):
        return "{{ " + _go(json.dumps(value)) + " }}" if "{{" in json.dumps(value) else json.dumps(value)
    return json.dumps(value)


def _string(value: str) -> str:
    if "{{" in value or "}}" in value:
        return f"{{{{ {_go(value)} | toJson }}}}"
    if _CONTROL.search(value):
        return json.dumps(value)
    shown = yaml.safe_dump(value, default_flow_style=True, width=1_000_000, allow_unicode=True)
    return str(shown).removesuffix("...\n").strip()


def _go(value: str) -> str:
    """A string literal of Go's, which JSON's is too where no pair of surrogates is needed."""
    return json.dumps(value, ensure_ascii=False)


def _mapping(value: Mapping[str, Any], indent: int) -> Iterator[str]:
    pad = " " * indent
    for key, entry in value.items():
        if isinstance(entry, When):
            yield f"{pad}{{{{- {entry.test} }}}}"
            yield from _pair(key, entry.value, indent)
            yield f"{pad}{{{{- end }}}}"
        else:
            yield from _pair(key, entry, indent)


def _pair(key: str, value: Any, indent: int) -> Iterator[str]:
    head = " " * indent + f"{_string(key)}:"
    inner = indent + STEP
    if isinstance(value, Block):
        yield head
        yield " " * inner + f"{{{{- {value.text} | nindent {inner} }}}}"
    elif isinstance(value, Spliced):
        yield head
        yield " " * inner + f"{{{{- {value.text} | nindent {inner} }}}}"
        yield from _mapping(value.rest, inner)
    elif isinstance(value, Mapping) and value:
        yield head
        yield from _mapping(value, inner)
    elif isinstance(value, list) and value:
        yield head
        yield from _items(value, inner)
    else:
        yield f"{head} {scalar(value)}"


def _items(value: list[Any], indent: int) -> Iterator[str]:
    pad = " " * indent
    for entry in value:
        if isinstance(entry, When):
            yield f"{pad}{{{{- {entry.test} }}}}"
            yield from _item(entry.value, indent)
            yield f"{pad}{{{{- end }}}}"
        else:
            yield from _item(entry, indent)


def _item(value: Any, indent: int) -> Iterator[str]:
    pad = " " * indent
    if not isinstance(value, Mapping) or not value:
        yield f"{pad}- {scalar(value)}"
        return
    # The dash needs a field that is always there.
    first = next(key for key, entry in value.items() if not isinstance(entry, When))
    ordered = {first: value[first], **value}
    lines = list(_mapping(ordered, indent + STEP))
    yield f"{pad}- {lines[0][indent + STEP :]}"
    yield from lines[1:]
