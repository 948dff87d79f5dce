"""Schedules: fields, zones, days on which clocks change, jitter, and one missed run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.plan.backup import schedule

ROME = "Europe/Rome"


def at(text: str) -> datetime:
    """A moment in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def times(expression: str, zone: str | None, since: str, count: int) -> list[str]:
    found, moment = [], at(since)
    made = schedule.parse(expression, zone)
    for _ in range(count):
        after = made.after(moment)
        assert after is not None
        assert after > moment
        moment = after
        found.append(moment.strftime("%m-%d %H:%M"))
    return found


@pytest.mark.parametrize(
    ("expression", "zone", "since", "expected"),
    [
        ("0 3 * * *", None, "2026-11-21T03:00", ["11-22 03:00", "11-23 03:00"]),
        ("0 3 * * *", ROME, "2026-11-21T03:00", ["11-22 02:00", "11-23 02:00"]),
        ("@daily", "America/New_York", "2026-07-01T00:00", ["07-01 04:00", "07-02 04:00"]),
        ("@weekly", None, "2026-11-21T00:00", ["11-22 00:00", "11-29 00:00"]),
        ("*/20 9-10 * * mon-fri", None, "2026-11-20T10:20", ["11-20 10:40", "11-23 09:00"]),
        # Both days limited: either will do, as in cron(5).
        ("0 0 13 * 5", None, "2026-11-10T00:00", ["11-13 00:00", "11-20 00:00"]),
        ("0 0 29 2 *", None, "2026-01-01T00:00", ["02-29 00:00"]),
    ],
)
def test_times(expression: str, zone: str | None, since: str, expected: list[str]) -> None:
    assert times(expression, zone, since, len(expected)) == expected


@pytest.mark.parametrize(
    ("expression", "since", "expected"),
    [
        # 29 March 2026: 02:00 to 03:00 is left out in Rome. What falls into it runs at its end, once.
        ("30 2 * * *", "2026-03-28T12:00", ["03-29 01:00", "03-30 00:30"]),
        ("0,30 2 * * *", "2026-03-28T12:00", ["03-29 01:00", "03-30 00:00"]),
        ("*/30 * * * *", "2026-03-29T00:30", ["03-29 01:00", "03-29 01:30"]),
        # 25 October 2026: 02:00 to 03:00 comes twice. A certain time runs the first time only; "every" goes on.
        ("30 2 * * *", "2026-10-24T12:00", ["10-25 00:30", "10-26 01:30"]),
        ("*/30 * * * *", "2026-10-25T00:00", ["10-25 00:30", "10-25 01:00", "10-25 01:30", "10-25 02:00"]),
    ],
)
def test_days_on_which_clocks_change(expression: str, since: str, expected: list[str]) -> None:
    assert times(expression, ROME, since, len(expected)) == expected


@pytest.mark.parametrize("zone", [ROME, "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", None])
def test_a_daily_run_is_one_a_day_all_year(zone: str | None) -> None:
    made = schedule.parse("30 2 * * *", zone)
    moment, days = at("2026-01-01T00:00"), []
    while True:
        found = made.after(moment)
        assert found is not None
        if found >= at("2027-01-01T00:00"):
            break
        moment = found
        days.append(found.astimezone(made.zone).date())
    assert len(set(days)) == len(days)
    assert days == [days[0] + timedelta(days=n) for n in range(len(days))]
    assert len(days) in (365, 366)


@pytest.mark.parametrize(
    ("expression", "zone", "told"),
    [
        ("0 0 3 * * *", None, "has 6 fields and five are needed"),
        ("0 3 * *", None, "has 4 fields and five are needed"),
        ("61 3 * * *", None, "the minute isn't one; write 0 to 59"),
        ("0 24 * * *", None, "the hour isn't one; write 0 to 23"),
        ("0 3 * * 9", None, "the day-of-week isn't one; write 0 to 7, or SUN to SAT"),
        ("0 3 31 2 *", None, "the day-of-month isn't one; write 1 to 31, and a day that the month has"),
        ("0 3 31 4,6,9,11 *", None, "a day that the month has"),
        ("@fortnightly", None, "@fortnightly isn't known; write five fields, or one of @yearly"),
        ("0 3 * * *", "Europe/Roma", "'Europe/Roma' isn't a time zone; write a name of the tz database"),
        ("0 3 * * *", "rome", "perhaps Europe/Rome"),
        ("0 3 * * *", "../../etc/passwd", "isn't a time zone"),
    ],
)
def test_what_is_none(expression: str, zone: str | None, told: str) -> None:
    with pytest.raises(ValueError) as caught:
        schedule.parse(expression, zone)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("expression", "since", "now", "expected"),
    [
        ("0 3 * * *", "2026-11-20T03:00", "2026-11-21T02:59", None),
        ("0 3 * * *", "2026-11-20T03:00", "2026-11-21T03:00", "2026-11-21T03:00"),
        # Three weeks away: the last one, and only that.
        ("0 3 * * *", "2026-11-01T03:00", "2026-11-21T12:00", "2026-11-21T03:00"),
        ("* * * * *", "2020-01-01T00:00", "2026-11-21T12:00:30", "2026-11-21T12:00"),
        ("0 0 29 2 *", "2020-03-01T00:00", "2026-11-21T12:00", "2024-02-29T00:00"),
        ("0 0 1 1 *", "2026-01-01T00:00", "2026-11-21T12:00", None),
    ],
)
def test_one_missed_run(expression: str, since: str, now: str, expected: str | None) -> None:
    found = schedule.parse(expression).latest(at(since), at(now))
    assert found == (None if expected is None else at(expected))


MOMENTS = st.datetimes(datetime(2024, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))
EXPRESSIONS = st.sampled_from(["*/7 * * * *", "30 2 * * *", "0 */5 * * *", "15 3 * * 1", "59 23 31 * *", "0 1-3 * * *"])


@given(EXPRESSIONS, st.sampled_from([None, ROME, "Australia/Lord_Howe"]), MOMENTS, MOMENTS)
def test_the_latest_is_one_of_the_times(expression: str, zone: str | None, one: datetime, other: datetime) -> None:
    since, now = min(one, other), max(one, other)
    made = schedule.parse(expression, zone)
    found = made.latest(since, now)
    if found is None:
        after = made.after(since)
        assert after is None or after > now
        return
    assert since < found <= now
    assert made.after(found - timedelta(seconds=1)) == found
    following = made.after(found)
    assert following is None or following > now


@given(st.integers(0, 7200), st.text(max_size=8), MOMENTS)
def test_a_jitter_is_the_same_after_a_restart(seconds: int, key: str, moment: datetime) -> None:
    made = schedule.parse("0 3 * * *", jitter=timedelta(seconds=seconds))
    start = made.start_of(moment, key)
    assert timedelta(0) <= start - moment <= timedelta(seconds=seconds)
    assert start == made.start_of(moment, key)
