"""A schedule in cron's five fields as systemd's timers have it: ``OnCalendar=`` lines. Pure.

systemd wants both, the day of the week and the date, where cron takes either when both are limited: then there are two
lines, of which any is enough. Source: https://www.freedesktop.org/software/systemd/man/systemd.time.html
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from cronsim import CronSim

from homeport.plan.backup import schedule as schedules

_DAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")


def lines(expression: str, time_zone: str | None) -> list[str]:
    """What a timer is told; any of the lines. Raises ValueError that says what to write instead."""
    found = schedules.parse(expression, time_zone)
    fields = CronSim(found.fields, datetime(2024, 1, 1, tzinfo=UTC))
    special = [part for part in (*fields.days, *fields.weekdays) if not isinstance(part, int) or part < 0]
    if special:
        raise ValueError(f"schedule {expression!r}: a timer of systemd has no L and no #; write days as numbers")
    clock = f"{_listed(fields.hours, 24)}:{_listed(fields.minutes, 60)}:00 {found.zone.key}"
    months = "*" if len(fields.months) == 12 else _listed(fields.months, 13)
    date, every = f"*-{months}-{_listed(fields.days, 32, first=1)} {clock}", f"*-{months}-* {clock}"
    wanted = {day % 7 for day in fields.weekdays if isinstance(day, int)}
    week = "" if len(wanted) == 7 else ",".join(_DAYS[day] for day in sorted(wanted)) + " "
    if fields.day_and:
        return [f"{week}{date}"]
    return [date, f"{week}{every}"] if week and len(fields.days) < 31 else [every]


def _listed(values: Iterable[int | tuple[int, int]], end: int, first: int = 0) -> str:
    numbers = sorted(value for value in values if isinstance(value, int))
    return "*" if len(numbers) == end - first else ",".join(f"{number:02d}" for number in numbers)
