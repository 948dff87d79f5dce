"""``${NAME}`` in what isn't a template.

Only that form is replaced; ``$${NAME}`` stays ``${NAME}``, and what a shell would make more of (``${NAME:-text}``) is
left alone and told. A value takes the place of text inside a value, never of YAML: nothing in it can end the field that
it is in. Written without quotes, what it becomes may be a number or a truth value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from homeport.plan.gitops.malformed import Malformed

_NAMED = re.compile(r"(\$?)\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_OTHER = re.compile(r"(?<!\$)\$\{[A-Za-z_][A-Za-z0-9_]*[^}A-Za-z0-9_][^}\n]*\}")
# Characters for private use take the place of braces while YAML is read, where they would begin a mapping.
_BEGIN, _ESCAPED, _END = "\ue000", "\ue002", "\ue001"
_MARK = re.compile(f"[{_BEGIN}{_ESCAPED}]([A-Za-z0-9_]+){_END}")


def unknown(name: str) -> str:
    """That nobody says what a variable is."""
    return f"${{{name}}} isn't a variable; write it in build.variables, or $${{{name}}} to keep it as it is"


def marked(text: str) -> str:
    """The text, with what is to be replaced in a form that YAML takes for text anywhere."""
    return _NAMED.sub(lambda found: f"{_ESCAPED if found[1] else _BEGIN}{found[2]}{_END}", text)


class Marks:
    """Replaces what ``marked`` has marked, in one value."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables

    def __call__(self, value: str, line: int) -> str:
        """The value with its variables. Raises Malformed."""
        if _END not in value:
            return value
        return _MARK.sub(lambda found: self._value(found, line), value)

    def _value(self, found: re.Match[str], line: int) -> str:
        if found[0][0] == _ESCAPED:
            return f"${{{found[1]}}}"
        if found[1] not in self._variables:
            raise Malformed(line, unknown(found[1]))
        return self._variables[found[1]]


def in_value(value: Any, variables: Mapping[str, str], lacks: Callable[[str], str]) -> Any:
    """Plain data with its variables. ``lacks`` is called with the name of one that isn't there, and raises."""
    if isinstance(value, str):
        return _NAMED.sub(
            lambda found: (
                f"${{{found[2]}}}" if found[1] else variables[found[2]] if found[2] in variables else lacks(found[2])
            ),
            value,
        )
    if isinstance(value, dict):
        return {in_value(k, variables, lacks): in_value(v, variables, lacks) for k, v in value.items()}
    if isinstance(value, list):
        return [in_value(each, variables, lacks) for each in value]
    return value


def others(text: str) -> list[tuple[int, str]]:
    """(line, text) of what looks like a variable and isn't replaced."""
    return [(text.count("\n", 0, found.start()) + 1, found[0]) for found in _OTHER.finditer(text)]


def place(name: str, texts: Mapping[str, str]) -> tuple[str, int] | None:
    """The first (file, line) where a variable is written."""
    for file, text in texts.items():
        for found in _NAMED.finditer(text):
            if found[2] == name and not found[1]:
                return file, text.count("\n", 0, found.start()) + 1
    return None
