"""Which time of a schedule is due, and when the next one begins. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from homeport.plan.backup.schedule import Schedule

_TICK = timedelta(microseconds=1)


class Due(NamedTuple):
    """What a schedule asks for now."""

    time: datetime | None
    """The time whose run is to begin now; None when none is."""
    next: datetime | None
    """When the next one begins, with its jitter; None when there is none for many years."""
    missed: datetime | None = None
    """The time whose run would begin later than the deadline lets it."""


def due(schedule: Schedule, key: str, since: datetime, now: datetime, deadline: timedelta | None = None) -> Due:
    """What of ``schedule`` is due that wasn't done up to the time ``since``.

    However many times have passed, the last of them counts: one run is caught up. ``key`` spreads the jitter.
    ``deadline``: how late a run may begin, counted from when it would have, jitter included.
    """
    upcoming = schedule.after(now)
    time = schedule.latest(since, now)
    while time is not None and schedule.start_of(time, key) > now:
        upcoming, time = time, schedule.latest(since, time - _TICK)
    begins = schedule.start_of(upcoming, key) if upcoming is not None else None
    if time is not None and deadline is not None and now - schedule.start_of(time, key) > deadline:
        return Due(None, begins, time)
    return Due(time, begins)
