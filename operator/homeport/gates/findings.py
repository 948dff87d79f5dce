"""What scanners found, how bad it is, and the grade of it all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from homeport.gates.config import Grade


class Severity(IntEnum):
    """How bad a finding is."""

    NONE = 0
    LOW = 1
    MEDIUM = 2
    HIGH = 3
    CRITICAL = 4

    @property
    def shown(self) -> str:
        """For people."""
        return self.name.lower()


UNRATED = Severity.HIGH
"""What a known vulnerability counts as that its tool doesn't rate, as pip-audit rates none."""

GRADES = {
    Severity.NONE: Grade.A,
    Severity.LOW: Grade.B,
    Severity.MEDIUM: Grade.C,
    Severity.HIGH: Grade.D,
    Severity.CRITICAL: Grade.E,
}
"""SonarQube's letters, by its rule that the worst finding decides; its severities there are minor to blocker:
https://docs.sonarsource.com/sonarqube-server/user-guide/code-metrics/metrics-definition"""

_WORDS = {
    "critical": Severity.CRITICAL,
    "high": Severity.HIGH,
    "medium": Severity.MEDIUM,
    "moderate": Severity.MEDIUM,
    "low": Severity.LOW,
    "negligible": Severity.LOW,
    "info": Severity.NONE,
    "none": Severity.NONE,
}


@dataclass(frozen=True)
class Finding:
    """One thing that a scanner found."""

    severity: Severity
    rule: str
    """What it is: a rule's or an advisory's id."""
    place: str
    """Where: a file with its line, or a package with its version."""

    @property
    def shown(self) -> str:
        """For people."""
        return f"{self.severity.shown}: {self.rule} in {self.place}"


def rated(word: object) -> Severity:
    """A severity as tools write it; one that isn't known counts as ``UNRATED``."""
    return _WORDS.get(str(word).strip().lower(), UNRATED)


def together(found: Iterable[Finding]) -> list[Finding]:
    """Each finding once, however many reports have it; the worst first."""
    return sorted(dict.fromkeys(found), key=lambda one: (-one.severity, one.place, one.rule))


def grade(found: Iterable[Finding]) -> Grade:
    """The grade: the worst finding's."""
    return GRADES[max((one.severity for one in found), default=Severity.NONE)]
