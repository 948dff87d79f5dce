"""From reports to verdicts. Pure: pipelines call it with files, promotions with what they keep of them.

What is missing, empty or broken fails its gate, and says what to do; no gate passes because nothing was looked at.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from homeport.gates import audits, coverage, docs, locust, sarif
from homeport.gates import findings as scans
from homeport.gates.config import Gates, Performance
from homeport.gates.findings import Finding, Severity
from homeport.gates.reports import BadReport, Report

T = TypeVar("T")
WORST = 5
"""Places that are named where a gate failed most."""
LINE = 400
"""Characters of one of them, at most."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True)
class Changes:
    """What a range of commits touches: all paths, and those of them that are there afterwards."""

    changed: tuple[str, ...] = ()
    written: tuple[str, ...] = ()
    problem: str = ""
    """Why that isn't known."""


@dataclass(frozen=True)
class Given:
    """All that gates judge."""

    coverage: Sequence[Report] = ()
    sarif: Sequence[Report] = ()
    audits: Sequence[Report] = ()
    locust: Sequence[Report] = ()
    there: Collection[str] = ()
    """Of the paths that must exist, those that do and hold something."""
    docs: Sequence[str] = ()
    """Paths that must exist on top of those in the gates' block."""
    changes: Changes | None = None
    """None: no range of commits was named."""
    root: str = ""
    """The repository's folder, by which files are shortened."""


@dataclass(frozen=True)
class Verdict:
    """What a gate says. ``figure`` and ``threshold`` are for people, ``value`` and ``wanted`` for programs."""

    gate: str
    passed: bool
    figure: str
    threshold: str
    value: float | str | None = None
    wanted: float | str | None = None
    worst: tuple[str, ...] = ()
    """Where it failed most, the worst first."""
    problems: tuple[str, ...] = ()
    """Reports that say nothing, each with what to do."""

    @property
    def message(self) -> str:
        """Why it failed, or where it is weakest; empty when there is nothing to say."""
        return "; ".join((*self.problems, *self.worst))

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "gate": self.gate,
            "passed": self.passed,
            "figure": self.figure,
            "threshold": self.threshold,
            "value": self.value,
            "wanted": self.wanted,
            "worst": list(self.worst),
            "problems": list(self.problems),
        }


@dataclass
class _Read:
    """What could be read of several reports."""

    found: list[Any] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def _all(reports: Sequence[Report], read: Callable[[Report], T], into: _Read) -> None:
    for report in reports:
        try:
            into.found.append(read(report))
        except BadReport as error:
            into.problems.append(f"{report.name}: {error}")


def judge(gates: Gates, given: Given) -> list[Verdict]:
    """A verdict for each gate that is written, in the order of the block."""
    out: list[Verdict] = []
    if gates.coverage is not None:
        out.append(_coverage(gates.coverage, given))
    if gates.security is not None or gates.critical_issues is not None:
        out += _security(gates, given)
    if gates.load is not None:
        out.insert(len(out) - (gates.critical_issues is not None), _performance(gates.load, given))
    if gates.docs is not None or given.docs:
        out.append(_docs(gates, given))
    return [replace(one, worst=_lines(one.worst), problems=_lines(one.problems)) for one in out]


def _lines(texts: Sequence[str]) -> tuple[str, ...]:
    """What comes of reports as single lines: nothing in them steers a terminal, or is a command to a pipeline."""
    return tuple(_CONTROL.sub(" ", " ".join(text.split()))[:LINE] for text in texts)


def _floor(number: float) -> str:
    """Two digits, rounded down: a figure never looks like the threshold that it misses."""
    return f"{math.floor(number * 100 + 1e-9) / 100:g}"


def _coverage(wanted: float, given: Given) -> Verdict:
    read = _Read()
    _all(given.coverage, lambda report: coverage.read(report, given.root), read)
    if not given.coverage:
        read.problems.append("no report was given: name the tests' report with --coverage FILE")
    counts = coverage.counted(coverage.combined(read.found))
    share = coverage.share(counts)
    worst = tuple(f"{one.file}: {one.missed} of {one.lines} lines didn't run" for one in counts[:WORST] if one.missed)
    passed = share is not None and share >= wanted and not read.problems
    figure = "unknown" if share is None else f"{_floor(share)} %"
    return Verdict("coverage", passed, figure, f"≥ {wanted:g} %", share, wanted, worst, tuple(read.problems))


def _security(gates: Gates, given: Given) -> list[Verdict]:
    """The grade, and how many findings are critical."""
    read = _Read()
    _all(given.sarif, sarif.read, read)
    _all(given.audits, audits.read, read)
    if not given.sarif and not given.audits:
        read.problems.append("no report was given: name scanners' reports with --sarif FILE and --audit FILE")
    found: list[Finding] = scans.together(one for each in read.found for one in each)
    problems, out = tuple(read.problems), []
    if gates.security is not None:
        grade = scans.grade(found)
        bad = tuple(one.shown for one in found if one.severity)[:WORST]
        passed, value = not problems and grade <= gates.security, grade.value if read.found else None
        wanted = gates.security.value
        threshold = wanted if wanted == "A" else f"{wanted} or better"
        out.append(Verdict("security", passed, value or "unknown", threshold, value, wanted, bad, problems))
    if gates.critical_issues is not None:
        critical = [one for one in found if one.severity is Severity.CRITICAL]
        passed, most = not problems and len(critical) <= gates.critical_issues, gates.critical_issues
        count = len(critical) if read.found else None
        shown = "unknown" if count is None else str(count)
        worst = tuple(one.shown for one in critical[:WORST])
        out.append(Verdict("criticalIssues", passed, shown, f"≤ {most}", count, most, worst, problems))
    return out


def _performance(wanted: Performance, given: Given) -> Verdict:
    read = _Read()
    _all(given.locust, locust.read, read)
    if not given.locust:
        read.problems.append("no report was given: name Locust's PREFIX_stats.csv with --locust FILE")
    load = locust.together(read.found) if read.found else None
    count = load.total.count if load else 0
    if load and count < wanted.requests:
        read.problems.append(f"{count} requests say too little: let Locust run longer, for {wanted.requests} at least")
    score = locust.score(load.total, wanted) if load and count else None
    parts = sorted(load.parts if load else (), key=lambda one: (locust.score(one, wanted), -one.p95, one.name))
    worst = tuple(one.shown for one in parts if locust.score(one, wanted) < 100)[:WORST]
    passed = score is not None and score >= wanted.score and not read.problems
    figure = "unknown" if score is None else _floor(score)
    problems = tuple(read.problems)
    return Verdict("performance", passed, figure, f"≥ {wanted.score:g}", score, wanted.score, worst, problems)


def _docs(gates: Gates, given: Given) -> Verdict:
    exist = dict.fromkeys([*(gates.docs.exist if gates.docs else ()), *given.docs])
    rules = gates.docs.changed if gates.docs else ()
    missing = [f"{path} isn't there, or holds nothing" for path in exist if path not in given.there]
    problems: list[str] = []
    if rules and given.changes is None:
        problems.append("no commits were named: give --range BASE..HEAD for docs.changed")
    elif rules and given.changes is not None:
        problems += [given.changes.problem] if given.changes.problem else []
        missing += docs.outdated(rules, given.changes.changed, given.changes.written)
    figure = "unknown" if problems else "up to date" if not missing else f"{len(missing)} lacking"
    passed = not missing and not problems
    value = None if problems else float(len(missing))
    return Verdict("docs", passed, figure, "up to date", value, 0, tuple(missing[:WORST]), tuple(problems))


def markdown(verdicts: Sequence[Verdict]) -> str:
    """The verdicts as a table for a pull request or a job's summary."""
    lines = ["## Quality gates", "", "| | gate | figure | threshold | where |", "|---|---|---|---|---|"]
    for one in verdicts:
        where = "<br>".join(_cell(text) for text in (*one.problems, *one.worst))
        mark = "✅" if one.passed else "❌"
        lines.append(f"| {mark} | {one.gate} | {_cell(one.figure)} | {_cell(one.threshold)} | {where} |")
    bad = sum(not one.passed for one in verdicts)
    lines += ["", f"{len(verdicts) - bad} of {len(verdicts)} gates pass.", ""]
    return "\n".join(lines)


_PLAIN: Mapping[int, str] = {ord(one): f"&#{ord(one)};" for one in "|<>&@`*_[]\\#~!"}


def _cell(text: str) -> str:
    """Text of a report as a table's cell: nothing in it is markup, and nobody is called by it."""
    return text[:LINE].translate(_PLAIN)
