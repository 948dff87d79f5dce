"""When something runs: five cron fields in a time zone, spread by a jitter, and one missed run caught up.

Fields mean what they mean in Kubernetes CronJobs and in cron(5): where day-of-month and day-of-week are both limited,
either will do. On days when clocks change a run at a certain time neither falls out nor comes twice, as Debian's cron
has it: what falls into the hour that is left out runs at its end, and of an hour that comes twice the first counts.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from cronsim import CronSim, CronSimError

# https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/#schedule-syntax
MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_LOOK_BACK = tuple(timedelta(**span) for span in ({"hours": 1}, {"days": 1}, {"days": 32}, {"days": 400}))
_LONGEST = timedelta(days=12 * 366)
"""29 February is up to eight years away; on a certain day of the week only up to forty, which nobody means."""


class Schedule(NamedTuple):
    """A schedule that was checked; make it with ``parse``."""

    fields: str
    zone: ZoneInfo
    jitter: timedelta = timedelta(0)
    """A run begins up to this much later than its time, always the same for one run."""

    def after(self, moment: datetime) -> datetime | None:
        """The first time after ``moment``, in UTC; None when there is none for many years."""
        return next(self._times(moment), None)

    def latest(self, since: datetime, now: datetime) -> datetime | None:
        """The last time after ``since`` that isn't after ``now``, in UTC; None when nothing was due.

        However long nobody looked: one time is answered, so one run is caught up, never a pile.
        """
        for span in (*_LOOK_BACK, _LONGEST):
            found = deque(self._times(max(since, now - span), until=now), maxlen=1)
            if found or now - span <= since:
                return found[0] if found else None
        return None

    def start_of(self, time: datetime, key: str) -> datetime:
        """When the run of ``time`` begins: spread by the jitter, the same for one ``key`` and time after a restart."""
        if not self.jitter:
            return time
        digest = hashlib.sha256(f"{key} {time.astimezone(UTC).isoformat()}".encode()).digest()
        share = int.from_bytes(digest[:4]) / 2**32
        return time + timedelta(seconds=int(self.jitter.total_seconds() * share))

    def _times(self, moment: datetime, until: datetime | None = None) -> Iterator[datetime]:
        for found in CronSim(self.fields, moment.astimezone(self.zone)):
            time = found.astimezone(UTC)
            if until is not None and time > until:
                return
            # In an hour that clocks show twice the library may answer a time that has been.
            if time > moment:
                yield time


def parse(expression: str, time_zone: str | None = None, jitter: timedelta = timedelta(0)) -> Schedule:
    """A schedule. Raises ValueError that says what to write instead; ``time_zone`` None means UTC."""
    fields = MACROS.get(expression.strip().lower(), expression)
    if fields.startswith("@"):
        raise ValueError(f"{expression} isn't known; write five fields, or one of {', '.join(MACROS)}")
    if len(fields.split()) != 5:
        raise ValueError(
            f"{expression!r} has {len(fields.split())} fields and five are needed: minute, hour, day of the month, "
            "month, day of the week; there is no field for seconds"
        )
    zone = zone_of(time_zone)
    try:
        found = CronSim(fields, datetime(2024, 1, 1, tzinfo=UTC))
        next(found)
    except CronSimError as error:
        raise ValueError(f"{expression!r}: {_reason(error)}") from None
    except StopIteration:
        raise ValueError(f"{expression!r} never comes: no month has such a day") from None
    return Schedule(" ".join(fields.split()), zone, jitter)


def zone_of(name: str | None) -> ZoneInfo:
    """A time zone by its name in the tz database. Raises ValueError with names that are near."""
    try:
        return ZoneInfo(name or "UTC")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        wanted = str(name).rpartition("/")[2].replace(" ", "_").lower()
        near = sorted(known for known in available_timezones() if wanted and wanted in known.lower())[:3]
        text = f"; perhaps {', '.join(near)}" if near else ", such as Europe/Rome"
        raise ValueError(f"{name!r} isn't a time zone; write a name of the tz database{text}") from None


_BOUNDS = {
    "minute": "0 to 59",
    "hour": "0 to 23",
    "day-of-month": "1 to 31, and a day that the month has",
    "month": "1 to 12, or JAN to DEC",
    "day-of-week": "0 to 7, or SUN to SAT; 0 and 7 are Sunday",
}


def _reason(error: CronSimError) -> str:
    field = str(error).removeprefix("Bad ")
    return f"the {field} isn't one; write {_BOUNDS[field]}" if field in _BOUNDS else str(error)
