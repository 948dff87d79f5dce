"""Which runs of a backup are kept, decided in one place for restic and for vzdump alike.

Each rule keeps the newest run of each of the newest N hours, days, weeks (ISO), months or years *that have one*, and
``last`` the newest N runs; a run that several rules want counts for each of them. Calendar days are those of the
schedule's time zone. That is how restic's own policy counts; PVE's differs (a period that an earlier rule covers isn't
counted again), and is never asked.

Beside the rules, and whatever they say:

- the newest good run and the newest verified one are kept, and what is protected;
- what is incomplete or failed counts for no rule; it goes once a good run is newer than it;
- what the policy knows nothing of isn't touched.

Sources: restic ``internal/restic/snapshot_policy.go``; pve-storage ``Prune.pm`` (``prune_mark_backup_group``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, tzinfo
from typing import NamedTuple


class Run(NamedTuple):
    """One run's backup, as it is in the repository."""

    id: str
    time: datetime
    """When it was begun; with its zone."""
    good: bool = True
    """Complete, with every part that belongs to it."""
    verified: bool = False
    """A drill or a check has proven it."""
    protected: bool = False
    """Somebody said that it stays."""


class Policy(NamedTuple):
    """How many are kept; 0 means that this rule keeps none."""

    last: int = 0
    hourly: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0

    @property
    def keeps_something(self) -> bool:
        """Whether any rule keeps anything."""
        return any(self)


class Verdict(NamedTuple):
    """What becomes of one run, and why."""

    run: Run
    keep: bool
    reasons: tuple[str, ...]


_Period = Callable[[datetime], tuple[int, ...]]
_PERIODS: tuple[tuple[str, _Period], ...] = (
    # The offset tells the two apart that clocks show alike when summer time ends.
    ("hourly", lambda t: (t.year, t.month, t.day, t.hour, -int((t.utcoffset() or t - t).total_seconds()))),
    ("daily", lambda t: (t.year, t.month, t.day)),
    ("weekly", lambda t: tuple(t.isocalendar()[:2])),
    ("monthly", lambda t: (t.year, t.month)),
    ("yearly", lambda t: (t.year,)),
)


def decide(runs: Iterable[Run], policy: Policy, zone: tzinfo) -> tuple[Verdict, ...]:
    """What is kept and what goes, newest first. Raises ValueError for a policy that keeps nothing."""
    if not policy.keeps_something:
        raise ValueError(
            "retention keeps nothing; write at least one of keepLast, keepHourly, keepDaily, keepWeekly, keepMonthly "
            "and keepYearly, or leave retention out to keep everything"
        )
    ordered = sorted(runs, key=lambda run: (run.time, run.id), reverse=True)
    good = [run for run in ordered if run.good]
    reasons: dict[str, list[str]] = {run.id: [] for run in ordered}
    if good:
        reasons[good[0].id].append("the newest good one")
    verified = next((run for run in good if run.verified), None)
    if verified is not None:
        reasons[verified.id].append("the newest verified one")
    for run in ordered:
        if run.protected:
            reasons[run.id].append("protected")
    for number, run in enumerate(good[: policy.last], 1):
        reasons[run.id].append(f"last {number} of {policy.last}")
    for name, period in _PERIODS:
        wanted = getattr(policy, name)
        for number, run in enumerate(_newest_of_each(good, period, zone, wanted), 1):
            reasons[run.id].append(f"{name} {number} of {wanted}")
    newest = good[0].time if good else None
    return tuple(_verdict(run, reasons[run.id], newest) for run in ordered)


def _newest_of_each(ordered: list[Run], period: _Period, zone: tzinfo, wanted: int) -> list[Run]:
    out: dict[tuple[int, ...], Run] = {}
    for run in ordered:
        if len(out) >= wanted:
            break
        out.setdefault(period(run.time.astimezone(zone)), run)
    return list(out.values())


def _verdict(run: Run, reasons: list[str], newest_good: datetime | None) -> Verdict:
    if reasons:
        return Verdict(run, True, tuple(reasons))
    if run.good:
        return Verdict(run, False, ("no rule wants it",))
    if newest_good is None or run.time >= newest_good:
        return Verdict(run, True, ("incomplete, and no good one is newer",))
    return Verdict(run, False, ("incomplete",))
