"""The ``gates`` block of pipeline.yaml: which figures a change must reach before it is deployed."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, model_validator

from homeport.api.base import Model

_UNITS = {"ms": 1.0, "s": 1000.0, "m": 60_000.0}
_TIME = r"^[0-9]+([.][0-9]+)?(ms|s|m)$"

Percent = Annotated[float, Field(ge=0, le=100)]
PathPattern = Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^[^\x00-\x1f]+$")]
Patterns = Annotated[tuple[PathPattern, ...], Field(min_length=1, max_length=100)]


class Grade(StrEnum):
    """How bad the worst finding is: A nothing, B low, C medium, D high, E critical."""

    A = "A"
    B = "B"
    C = "C"
    D = "D"
    E = "E"


class Performance(Model):
    """How fast a load test must find the application to be."""

    score: Percent = 90
    """The least score: ``100 x min(1, p95 wanted / p95 measured) x min(1, errors allowed / errors measured)``."""
    p95: Annotated[str, Field(pattern=_TIME, max_length=16)] = "500ms"
    """The response time that 95 of 100 requests must keep for the full score, such as ``500ms`` or ``1.5s``."""
    errors: Percent = 1
    """The share of requests, in percent, that may fail at the full score."""
    requests: Annotated[int, Field(ge=1, le=1_000_000_000)] = 100
    """A load test with fewer requests says nothing, and fails."""

    @model_validator(mode="after")
    def _positive(self) -> Self:
        if self.p95_ms <= 0:
            raise ValueError("p95: write a time above zero, such as 500ms")
        return self

    @property
    def p95_ms(self) -> float:
        """``p95`` in milliseconds."""
        number = self.p95.rstrip("ms")
        return float(number) * _UNITS[self.p95.removeprefix(number)]


class DocsRule(Model):
    """Documentation that must change together with something else."""

    when: Patterns
    """Paths, as in .gitignore, of what asks for it when it changes, such as ``src/**``."""
    then: Patterns
    """Paths, as in .gitignore, of which at least one must change then, too, such as ``docs/**`` or ``CHANGELOG.md``."""


class Docs(Model):
    """Whether documentation is there and up to date."""

    exist: Annotated[tuple[PathPattern, ...], Field(max_length=100)] = ()
    """Files that must be there and hold something, and folders that must hold a file; relative to the repository."""
    changed: Annotated[tuple[DocsRule, ...], Field(max_length=50)] = ()
    """What must change together."""

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.exist and not self.changed:
            raise ValueError("docs: write exist, changed or both; leave docs out to check nothing")
        return self


class Gates(Model):
    """The quality gates. A gate that isn't written isn't checked; one that is fails without a report to judge."""

    coverage: Percent | None = None
    """The least share of lines, in percent, that tests must run: all reports together, by lines."""
    security: Grade | None = None
    """The worst grade of findings that passes: A nothing is found, B at worst low, C medium, D high, E all passes."""
    performance: Percent | Performance | None = None
    """The least score of a load test, 0 to 100; with targets of its own where 500ms and 1 % errors aren't right."""
    critical_issues: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    """How many critical findings pass."""
    docs: Docs | None = None
    """Whether documentation is there and up to date."""

    @property
    def load(self) -> Performance | None:
        """The performance gate with its targets; None when there is none."""
        if self.performance is None or isinstance(self.performance, Performance):
            return self.performance
        return Performance(score=self.performance)
