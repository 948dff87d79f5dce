"""Moments and durations as statuses have them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from homeport.plan.names import seconds


def moment(text: str | None) -> datetime | None:
    """RFC 3339 as a datetime with its zone; None for nothing and for what isn't one."""
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def text(when: datetime) -> str:
    """RFC 3339, whole seconds, UTC, as metav1.Time has it."""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def stamp(when: datetime) -> str:
    """The minute in UTC as it is in names: 202611210300."""
    return when.astimezone(UTC).strftime("%Y%m%d%H%M")


def span(duration: str) -> timedelta:
    """A duration of a spec, such as 26h."""
    return timedelta(seconds=seconds(duration))


def shown(length: timedelta | float) -> str:
    """A duration for people: 41s, 2m05s, 1h02m, 3d04h."""
    total = round(length.total_seconds() if isinstance(length, timedelta) else length)
    minutes, secs = divmod(max(total, 0), 60)
    hours, mins = divmod(minutes, 60)
    days, rest = divmod(hours, 24)
    if days:
        return f"{days}d{rest:02d}h"
    if hours:
        return f"{hours}h{mins:02d}m"
    return f"{mins}m{secs:02d}s" if mins else f"{secs}s"
