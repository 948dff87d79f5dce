"""Secrets by reference: a job names an environment variable or a file, and what was read is never said again."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from homeport.runner.result import Failure, Reason

_SHORTEST = 4  # characters; shorter ones would blot out ordinary words


@dataclass(frozen=True)
class Reference:
    """Where a value is: given, in an environment variable, or in a file (whose last newline isn't part of it)."""

    where: str  # the field of the job, for messages
    value: str = ""
    env: str = ""
    file: str = ""
    default: str | None = None
    """For a variable that isn't set; None: it has to be."""


class Secrets:
    """Reads values, and takes them out of texts."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self._environment = os.environ if environment is None else environment
        self._known: set[str] = set()

    def read(self, reference: Reference | None) -> str:
        """The value, "" for none. Raises Failure when it isn't where the job says."""
        if reference is None:
            return ""
        if reference.env:
            value = self._environment.get(reference.env, reference.default)
            if value is None:
                raise Failure(Reason.INVALID_JOB, f"{reference.where}: the variable {reference.env} isn't set")
        elif reference.file:
            try:
                value = Path(reference.file).read_text().removesuffix("\n")
            except (OSError, UnicodeDecodeError) as error:
                raise Failure(
                    Reason.INVALID_JOB, f"{reference.where}: {reference.file} can't be read: {error}"
                ) from None
        else:
            return reference.value
        if len(value) >= _SHORTEST:
            self._known.add(value)
        return value

    def scrub(self, text: str) -> str:
        """The text without any value that was read."""
        for value in sorted(self._known, key=len, reverse=True):
            text = text.replace(value, "***")
        return text
