"""Lines that tests ran, in the XML of Cobertura (coverage.py) and JaCoCo and in lcov; several reports as one.

Reports are put together by lines, never averaged: a line counts once, and as run when one of the reports says so.
Formats: https://github.com/cobertura/web/blob/master/htdocs/xml/coverage-04.dtd,
https://www.jacoco.org/jacoco/trunk/coverage/report.dtd, geninfo(1).
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from homeport.gates.reports import BadReport, Report, elements

Lines = dict[str, dict[int, bool]]
"""By file: each line that could run, and whether it did."""


@dataclass(frozen=True)
class Counted:
    """How many lines of a file could run, and how many didn't."""

    file: str
    lines: int
    missed: int


def read(report: Report, root: str = "") -> Lines:
    """The lines of one report; files below ``root`` by their paths there. Raises BadReport, for no line at all too."""
    start = report.bytes().lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    found = _xml(report, root) if start == b"<" else _lcov(report, root)
    if not any(found.values()):
        raise BadReport("it counts no line: look whether the tests ran, and what the tool was told to measure")
    return found


def combined(reports: Iterable[Lines]) -> Lines:
    """Several reports as one: what ran in any of them did run."""
    out: Lines = {}
    for report in reports:
        for file, lines in report.items():
            mine = out.setdefault(file, {})
            for number, ran in lines.items():
                mine[number] = ran or mine.get(number, False)
    return out


def counted(lines: Mapping[str, Mapping[int, bool]]) -> list[Counted]:
    """Files by how many lines didn't run, most first."""
    out = [Counted(file, len(found), sum(not ran for ran in found.values())) for file, found in lines.items()]
    return sorted(out, key=lambda one: (-one.missed, one.file))


def share(counts: Iterable[Counted]) -> float | None:
    """Percent of lines that ran; None when there is no line."""
    known = list(counts)
    total = sum(one.lines for one in known)
    return None if total == 0 else 100.0 * (total - sum(one.missed for one in known)) / total


def _note(lines: Lines, file: str, number: str, hits: str) -> None:
    try:
        line, ran = int(number), int(hits) > 0
    except ValueError:
        raise BadReport(f"{file}: line {number[:20]!r} with {hits[:20]!r} hits are no numbers") from None
    mine = lines.setdefault(file, {})
    mine[line] = ran or mine.get(line, False)


def _below(root: str, path: str) -> str:
    path = posixpath.normpath(path.replace("\\", "/"))
    return path.removeprefix(f"{root.rstrip('/')}/") if root else path


def _xml(report: Report, root: str) -> Lines:
    kind = ""
    for _, element in elements(report):
        kind = element.tag
        break
    if kind == "coverage":
        return _cobertura(report, root)
    if kind == "report":
        return _jacoco(report)
    raise BadReport(f"<{kind[:40]}> is neither Cobertura's <coverage> nor JaCoCo's <report>: name a coverage report")


def _cobertura(report: Report, root: str) -> Lines:
    out: Lines = {}
    sources: list[str] = []
    file = ""
    for event, element in elements(report):
        if event == "end" and element.tag == "source" and (element.text or "").strip():
            sources.append((element.text or "").strip())
        elif event == "start" and element.tag == "class":
            file = _found_at(element.get("filename") or "", sources, root)
        elif event == "start" and element.tag == "line" and file:
            _note(out, file, element.get("number") or "", element.get("hits") or "")
    return out


def _found_at(file: str, sources: list[str], root: str) -> str:
    """A file's path. Where several folders may hold it the report doesn't say which: then all are in its name."""
    if not file or posixpath.isabs(file) or not sources:
        return _below(root, file) if file else ""
    if len(sources) == 1:
        return _below(root, posixpath.join(sources[0], file))
    return f"{{{','.join(_below(root, one) for one in sorted(sources))}}}/{file}"


def _jacoco(report: Report) -> Lines:
    out: Lines = {}
    package = file = ""
    for event, element in elements(report):
        if element.tag == "package" and event == "start":
            package = element.get("name") or ""
        elif element.tag == "sourcefile":
            file = posixpath.join(package, element.get("name") or "?") if event == "start" else ""
        elif element.tag == "line" and event == "start" and file:
            _note(out, file, element.get("nr") or "", element.get("ci") or "")
    return out


def _lcov(report: Report, root: str) -> Lines:
    out: Lines = {}
    file, whole = "", True
    for line in report.bytes().decode(errors="replace").splitlines():
        word, _, rest = line.strip().partition(":")
        if word == "SF":
            file, whole = _below(root, rest), False
        elif word == "DA" and file:
            number, _, hits = rest.partition(",")
            _note(out, file, number, hits.partition(",")[0])
        elif word == "end_of_record":
            file, whole = "", True
    if not out:
        raise BadReport("it is neither XML nor lcov: write the report with `coverage xml`, or as lcov.info")
    if not whole:
        raise BadReport(f"it ends within {file}: look whether the tool wrote all of it")
    return out
