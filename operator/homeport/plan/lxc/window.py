"""When a container may be rebooted: a schedule opens a window, for a while. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta

from homeport.api.lxcparts import RebootWindow
from homeport.plan.backup import schedule
from homeport.plan.names import seconds


def problem(window: RebootWindow) -> str:
    """Why it can't be used; empty when it can."""
    try:
        schedule.parse(window.schedule, window.time_zone)
    except ValueError as error:
        return str(error)
    return ""


def is_open(window: RebootWindow, now: datetime) -> bool:
    """Whether it is open."""
    times = schedule.parse(window.schedule, window.time_zone)
    return times.latest(now - timedelta(seconds=seconds(window.duration)), now) is not None


def opens(window: RebootWindow, now: datetime) -> float | None:
    """Seconds until it opens next."""
    found = schedule.parse(window.schedule, window.time_zone).after(now)
    return (found - now).total_seconds() if found is not None else None
