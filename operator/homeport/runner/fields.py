"""The fields of a JSON object, taken one by one, so that each refusal has its place and nothing is read past."""

from __future__ import annotations

import difflib
from enum import StrEnum
from typing import Any, TypeVar

from homeport.runner.result import Failure, Reason
from homeport.runner.secrets import Reference

_T = TypeVar("_T")
_E = TypeVar("_E", bound=StrEnum)


class Fields:
    """The fields of one object, taken one by one; what is left over isn't known."""

    def __init__(self, document: Any, path: str) -> None:
        if not isinstance(document, dict):
            raise Failure(Reason.INVALID_JOB, f"{path} has to be an object")
        self._document: dict[str, Any] = document
        self._path = path
        self._taken: set[str] = set()

    def has(self, name: str) -> bool:
        """Whether the field is there."""
        return name in self._document

    def take(self, name: str, kind: type[_T], default: _T) -> _T:
        """A field of one type, or its default."""
        self._taken.add(name)
        value = self._document.get(name, default)
        # JSON's true is an int to Python.
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise Failure(Reason.INVALID_JOB, f"{self._path}.{name} has to be {_NAMES[kind]}")
        return value

    def need(self, name: str) -> str:
        """A text that has to be there."""
        value = self.take(name, str, "")
        if not value:
            raise Failure(Reason.INVALID_JOB, f"{self._path}.{name} is needed")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts."""
        values = self.take(name, list, [])
        if not all(isinstance(value, str) and value for value in values):
            raise Failure(Reason.INVALID_JOB, f"{self._path}.{name} has to be a list of texts")
        return tuple(values)

    def choose(self, name: str, kind: type[_E], *, optional: bool = False) -> _E | None:
        """A word of a closed list."""
        value = self.take(name, str, "")
        if not value and optional:
            return None
        try:
            return kind(value)
        except ValueError:
            raise Failure(
                Reason.INVALID_JOB, f"{self._path}.{name} is {value!r}; write one of {', '.join(kind)}"
            ) from None

    def within(self, name: str) -> Fields:
        """The fields of an object below; of an empty one when it is absent."""
        return Fields(self.take(name, dict, {}), f"{self._path}.{name}")

    def reference(self, name: str) -> Reference | None:
        """Where a value is; None when the field is absent."""
        if not self.has(name):
            return None
        path = f"{self._path}.{name}"
        given = self.within(name)
        found = Reference(
            path, given.take("value", str, ""), given.take("env", str, ""), given.take("file", str, ""),
            given.take("default", str, "") if given.has("default") else None,
        )  # fmt: skip
        given.finish()
        if sum(map(bool, (found.value, found.env, found.file))) != 1:
            raise Failure(Reason.INVALID_JOB, f"{path}: write exactly one of value, env and file")
        if found.value and name in ("password", "secretAccessKey"):
            raise Failure(Reason.INVALID_JOB, f"{path}: a secret isn't written into a job; name a variable or a file")
        return found

    def finish(self) -> None:
        """Refuse what nobody took."""
        for name in self._document:
            if name not in self._taken:
                near = difflib.get_close_matches(name, self._taken, 1)
                text = f"; do you mean {near[0]}?" if near else f"; known are {', '.join(sorted(self._taken))}"
                raise Failure(Reason.INVALID_JOB, f"{self._path}.{name} isn't known{text}")


_NAMES: dict[type, str] = {
    str: "a text",
    int: "a whole number",
    dict: "an object",
    list: "a list",
    bool: "true or false",
}
