"""A load test's figures, as Locust's ``--csv`` writes them, and the score that follows.

``score = 100 x min(1, p95 wanted / p95 measured) x min(1, errors allowed / errors measured)``: 100 while both targets
are kept, 50 at twice the response time or twice the errors that are allowed. Which columns there are:
https://docs.locust.io/en/stable/retrieving-stats.html.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from homeport.gates.config import Performance
from homeport.gates.reports import BadReport, Report

_TOTAL = "Aggregated"
_NEEDED = ("Name", "Request Count", "Failure Count", "95%")


@dataclass(frozen=True)
class Requests:
    """Requests of one name: how many, how many failed, and the time in milliseconds that 95 of 100 kept."""

    name: str
    count: int
    failed: int
    p95: float

    @property
    def errors(self) -> float:
        """Percent that failed."""
        return 100.0 * self.failed / self.count if self.count else 0.0

    @property
    def shown(self) -> str:
        """For people."""
        return f"{self.name}: p95 {self.p95:g} ms, {self.failed} of {self.count} failed"


@dataclass(frozen=True)
class Load:
    """A load test: all of it, and request by request."""

    total: Requests
    parts: tuple[Requests, ...]


def read(report: Report) -> Load:
    """The figures of ``PREFIX_stats.csv``. Raises BadReport."""
    try:
        text = report.bytes().decode("utf-8-sig")
        rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadReport(f"it isn't CSV ({error})") from None
    if not rows or any(name not in rows[0] for name in _NEEDED):
        raise BadReport(
            "it isn't Locust's statistics: name the file PREFIX_stats.csv that `locust --csv PREFIX` writes"
        )
    found = [_row(row) for row in rows]
    total = next((one for one in found if one.name == _TOTAL), None)
    if total is None:
        raise BadReport(f"it has no row {_TOTAL}: Locust was ended before it had written all")
    return Load(total, tuple(one for one in found if one.name != _TOTAL))


def _row(row: Mapping[str, str | None]) -> Requests:
    name = (row["Name"] or "").strip()
    try:
        count, failed = int(row["Request Count"] or ""), int(row["Failure Count"] or "")
        # Without a request there are no times.
        p95 = float(row["95%"] or "") if count else 0.0
    except ValueError:
        raise BadReport(f"row {name[:80]!r} has no figures: Locust was ended before it had written all") from None
    if not math.isfinite(p95) or not 0 <= failed <= count or p95 < 0:
        raise BadReport(f"row {name[:80]!r} has figures that can't be: {failed} of {count} failed, p95 {p95:g} ms")
    method = (row.get("Type") or "").strip()
    return Requests(f"{method} {name}".strip(), count, failed, p95)


def together(loads: Iterable[Load]) -> Load:
    """Several tests as one: requests are added up, and the slowest test's time counts."""
    known = list(loads)
    totals = [one.total for one in known]
    total = Requests(_TOTAL, sum(t.count for t in totals), sum(t.failed for t in totals), max(t.p95 for t in totals))
    return Load(total, tuple(part for one in known for part in one.parts))


def score(requests: Requests, wanted: Performance) -> float:
    """0 to 100."""
    speed = min(1.0, wanted.p95_ms / requests.p95) if requests.p95 else 1.0
    reliability = min(1.0, wanted.errors / requests.errors) if requests.errors else 1.0
    return 100.0 * speed * reliability
