"""Retention: what each rule keeps, and what nothing may remove."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.plan.backup.retention import Policy, Run, decide

START = datetime(2026, 1, 1, 3, tzinfo=UTC)


def daily(count: int) -> list[Run]:
    return [Run(f"d{n:03}", START + timedelta(days=n)) for n in range(count)]


def kept(runs: list[Run], policy: Policy, zone: tzinfo = UTC) -> list[str]:
    return [verdict.run.id for verdict in decide(runs, policy, zone) if verdict.keep]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (Policy(last=3), ["d059", "d058", "d057"]),
        (Policy(daily=2), ["d059", "d058"]),
        # 1 March 2026 is a Sunday: d059. The weeks before end on the Sundays d052 and d045.
        (Policy(weekly=3), ["d059", "d052", "d045"]),
        # The newest of March, of February, of January.
        (Policy(monthly=5), ["d059", "d058", "d030"]),
        (Policy(yearly=1), ["d059"]),
        (Policy(last=1, weekly=2, monthly=2), ["d059", "d058", "d052"]),
    ],
)
def test_what_each_rule_keeps(policy: Policy, expected: list[str]) -> None:
    assert kept(daily(60), policy) == expected


def test_periods_without_a_run_do_not_count() -> None:
    runs = [Run("old", START), Run("new", START + timedelta(days=400))]
    assert kept(runs, Policy(daily=2)) == ["new", "old"]


def test_days_are_those_of_the_time_zone() -> None:
    late = Run("late", datetime(2026, 6, 1, 22, 30, tzinfo=UTC))
    early = Run("early", datetime(2026, 6, 1, 1, 0, tzinfo=UTC))
    assert kept([late, early], Policy(daily=5)) == ["late"]
    assert kept([late, early], Policy(daily=5), ZoneInfo("Europe/Rome")) == ["late", "early"]


def test_an_hour_that_comes_twice_is_two() -> None:
    rome = ZoneInfo("Europe/Rome")
    runs = [Run(f"r{n}", datetime(2026, 10, 25, 0, 30, tzinfo=UTC) + timedelta(hours=n)) for n in range(2)]
    assert {run.time.astimezone(rome).strftime("%H:%M") for run in runs} == {"02:30"}
    assert kept(runs, Policy(hourly=5), rome) == ["r1", "r0"]


def test_reasons_tell_which_rules() -> None:
    runs = [*daily(3), Run("part", START + timedelta(days=9), good=False), Run("torn", START, good=False)]
    runs[0] = runs[0]._replace(protected=True)
    runs[1] = runs[1]._replace(verified=True)
    told = {verdict.run.id: (verdict.keep, verdict.reasons) for verdict in decide(runs, Policy(last=1), UTC)}
    assert told == {
        "part": (True, ("incomplete, and no good one is newer",)),
        "d002": (True, ("the newest good one", "last 1 of 1")),
        "d001": (True, ("the newest verified one",)),
        "d000": (True, ("protected",)),
        "torn": (False, ("incomplete",)),
    }


def test_what_keeps_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="keeps nothing; write at least one of keepLast"):
        decide(daily(1), Policy(), UTC)


RUNS = st.lists(
    st.builds(
        Run,
        id=st.uuids().map(str),
        time=st.datetimes(datetime(2024, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC)),
        good=st.booleans(),
        verified=st.booleans(),
        protected=st.booleans(),
    ),
    max_size=40,
    unique_by=lambda run: run.id,
)
POLICIES = st.builds(Policy, *[st.integers(0, 5)] * 6).filter(lambda policy: policy.keeps_something)
ZONES = st.sampled_from([UTC, ZoneInfo("Europe/Rome"), ZoneInfo("Pacific/Auckland")])


@given(RUNS, POLICIES, ZONES)
def test_what_must_never_go(runs: list[Run], policy: Policy, zone: tzinfo) -> None:
    stay = set(kept(runs, policy, zone))
    good = sorted((run for run in runs if run.good), key=lambda run: (run.time, run.id))
    assert {run.id for run in runs if run.protected} <= stay
    if good:
        assert good[-1].id in stay
        verified = [run for run in good if run.verified]
        assert not verified or verified[-1].id in stay
    else:
        assert len(stay) == len(runs)


@given(RUNS, POLICIES, ZONES)
def test_deciding_again_removes_nothing_more(runs: list[Run], policy: Policy, zone: tzinfo) -> None:
    stay = set(kept(runs, policy, zone))
    left = [run for run in runs if run.id in stay]
    assert set(kept(left, policy, zone)) == stay


@given(RUNS, POLICIES, ZONES, st.randoms())
def test_the_order_of_the_list_does_not_matter(runs: list[Run], policy: Policy, zone: tzinfo, random: object) -> None:
    mixed = list(runs)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    assert decide(mixed, policy, zone) == decide(runs, policy, zone)


@given(RUNS, POLICIES, ZONES, st.sampled_from(Policy._fields))
def test_asking_for_more_removes_nothing_that_was_kept(
    runs: list[Run], policy: Policy, zone: tzinfo, field: str
) -> None:
    more = policy._replace(**{field: getattr(policy, field) + 1})
    assert set(kept(runs, policy, zone)) <= set(kept(runs, more, zone))
