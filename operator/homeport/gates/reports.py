"""Files that tools wrote: read within bounds, and never trusted. What can't be read fails its gate."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError

import orjson
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import iterparse

LIMIT = 64 * 1024 * 1024
"""Bytes of one report. A coverage report of a million lines has about 50 MiB."""


class BadReport(Exception):  # noqa: N818 - it becomes a verdict
    """A report that says nothing: why, and what to do."""


@dataclass(frozen=True)
class Report:
    """A file's name, for people, and what is in it; or why that couldn't be read."""

    name: str
    content: bytes = b""
    problem: str = ""

    def bytes(self) -> bytes:
        """What is in it. Raises BadReport when it couldn't be read, or is empty."""
        if self.problem:
            raise BadReport(self.problem)
        if not self.content.strip():
            raise BadReport("the file is empty: look why the step that writes it ended early")
        return self.content


def read(path: Path, limit: int = LIMIT) -> Report:
    """A report as it is on the disk; what can't be read is a report with a problem."""
    name = str(path)
    try:
        # Not blocking: a pipe that nobody writes into would hold us up for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                return Report(name, problem="it is no file: name the report itself")
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                content = b"" if found.st_size > limit else file.read(limit + 1)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        return Report(name, problem="there is no such file: look whether the step that writes it ran, and where to")
    except OSError as error:
        return Report(name, problem=f"it can't be read: {error.strerror}")
    if found.st_size > limit or len(content) > limit:
        told = f"it is larger than {limit // 1024 // 1024} MiB: split the report, or leave generated code out of it"
        return Report(name, problem=told)
    return Report(name, content)


def json_of(report: Report) -> Any:
    """A report in JSON. Raises BadReport."""
    try:
        return orjson.loads(report.bytes())
    except orjson.JSONDecodeError as error:
        raise BadReport(f"it isn't JSON ({error}): look whether the tool wrote all of it, and nothing else") from None


def elements(report: Report) -> Iterator[tuple[str, Element]]:
    """("start" or "end", element) of a report in XML, in order. Raises BadReport for what isn't, or holds entities."""
    try:
        for event, element in iterparse(io.BytesIO(report.bytes()), events=("start", "end")):
            yield event, element
            if event == "end":
                element.clear()
    except ParseError as error:
        raise BadReport(f"it isn't XML ({error}): look whether the tool wrote all of it") from None
    except DefusedXmlException:
        raise BadReport("it declares XML entities, which no coverage report needs: it isn't read") from None
    except (ValueError, LookupError) as error:
        raise BadReport(f"it isn't XML that can be read ({error})") from None
