"""The status writer: kstatus conditions, times that move only on a flip, and no write in vain."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.api.resource import Resource
from homeport.engine import status
from homeport.outcome import Ok, Outcome, Stalled, Transient, Wait

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(minutes=1)
OUTCOMES = st.sampled_from(
    [
        Ok("well"),
        Ok("still well"),
        Wait("Progressing", "on its way"),
        Wait("DependencyNotReady", "waits for x"),
        Wait("HealthCheckFailed", "it crashes"),
        Transient("ProgressingWithRetry", "500"),
        Stalled("InvalidSpec", "write y"),
        None,
    ]
)


def resource(found: dict[str, Any] | None = None, **changes: Any) -> Resource[Any]:
    fields = {
        "kind": "Application", "namespace": "shop", "name": "web", "uid": "u", "generation": 3, "resource_version": "7",
        "created": "", "spec": None, "raw_spec": {}, "status": found or {},
    }  # fmt: skip
    return Resource(**{**fields, **changes})


def by_type(conditions: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {entry["type"]: entry for entry in conditions}


@pytest.mark.parametrize(
    ("outcome", "ready", "other"),
    [
        (Ok("well"), ("True", "ReconciliationSucceeded"), None),
        (Wait("Progressing", "m"), ("False", "Progressing"), ("Reconciling", "Progressing")),
        (Wait("HealthCheckFailed", "m"), ("False", "HealthCheckFailed"), ("Reconciling", "Progressing")),
        (
            Transient("ProgressingWithRetry", "m"),
            ("False", "ProgressingWithRetry"),
            ("Reconciling", "ProgressingWithRetry"),
        ),
        (Stalled("InvalidSpec", "m"), ("False", "InvalidSpec"), ("Stalled", "InvalidSpec")),
    ],
)
def test_conditions_follow_kstatus(outcome: Outcome, ready: tuple[str, str], other: tuple[str, str] | None) -> None:
    found = by_type(status.conditions((), outcome, 3, NOW))
    assert (found["Ready"]["status"], found["Ready"]["reason"]) == ready
    assert set(found) == {"Ready", *([other[0]] if other else [])}
    if other:
        assert (found[other[0]]["status"], found[other[0]]["reason"]) == ("True", other[1])
    assert all(entry["observedGeneration"] == 3 for entry in found.values())


@given(st.lists(OUTCOMES, min_size=1, max_size=8))
def test_times_move_only_on_a_flip(outcomes: list[Outcome | None]) -> None:
    known: list[dict[str, Any]] = []
    for number, outcome in enumerate(outcomes):
        before = by_type(known)
        known = status.conditions(known, outcome, number, NOW + timedelta(minutes=number))
        after = by_type(known)
        assert after["Ready"]["observedGeneration"] == number
        assert not {"Reconciling", "Stalled"} <= set(after), "both at once is for nobody to understand"
        for kind, entry in after.items():
            same = kind in before and before[kind]["status"] == entry["status"]
            assert (entry["lastTransitionTime"] == before.get(kind, {}).get("lastTransitionTime")) == same
        if outcome is None and "Ready" in before:
            keep = ("status", "reason", "message")
            assert [after["Ready"][field] for field in keep] == [before["Ready"][field] for field in keep]


@given(OUTCOMES, st.dictionaries(st.sampled_from("ab"), st.integers(0, 3)))
def test_building_twice_is_the_same(outcome: Outcome | None, fields: dict[str, int]) -> None:
    first = status.build(resource(), fields, outcome, NOW)
    again = status.build(resource(first), fields, outcome, LATER)
    assert status.is_same(first, again)
    assert first["observedGeneration"] == 3


def test_a_token_is_echoed() -> None:
    annotated = resource(annotations={"homeport.dev/reconcile-at": "now"})
    assert status.build(annotated, {}, Ok(), NOW)["lastHandledReconcileAt"] == "now"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({}, {"a": None, "b": [], "c": {}, "d": "", "e": False, "f": 0}, True),
        ({"a": 1}, {"a": 2}, False),
        ({"l": [{"name": "a"}, {"name": "b"}]}, {"l": [{"name": "b"}, {"name": "a"}]}, True),
        ({"l": [{"name": "a", "x": 1}]}, {"l": [{"name": "a", "x": 2}]}, False),
        ({"activity": [{"verb": "a"}, {"verb": "b"}]}, {"activity": [{"verb": "b"}, {"verb": "a"}]}, False),
        ({"l": ["a", "b"]}, {"l": ["b", "a"]}, False),
        ({"l": [{"name": "a"}]}, {"l": [{"name": "a"}, {"name": "b"}]}, False),
    ],
)
def test_what_counts_as_the_same(one: dict[str, Any], other: dict[str, Any], same: bool) -> None:
    assert status.is_same(one, other) is same
    assert status.is_same(other, one) is same


def told(outcome: Outcome) -> dict[str, Any]:
    return status.build(resource(), {}, outcome, NOW)


PROGRESSING = Wait("Progressing", "1 of 2")


@pytest.mark.parametrize(
    ("before", "outcome", "waits"),
    [
        ({}, PROGRESSING, True),
        (told(Ok()), PROGRESSING, True),
        (told(PROGRESSING), Wait("Progressing", "2 of 2"), True),
        (told(PROGRESSING), Ok(), False),
        (told(PROGRESSING), Wait("HealthCheckFailed", "it crashes"), False),
        (told(Wait("HealthCheckFailed", "it crashes")), PROGRESSING, False),
        (told(Stalled("InvalidSpec", "x")), PROGRESSING, False),
        (told(Ok()), Wait("DependencyNotReady", "x"), False),
        (told(Ok()), Transient("ProgressingWithRetry", "x"), False),
    ],
)
def test_only_progress_can_wait(before: dict[str, Any], outcome: Outcome, waits: bool) -> None:
    after = status.build(resource(before), {}, outcome, LATER)
    assert status.only_progress(before, after, outcome) is waits


def test_messages_are_bounded() -> None:
    (entry,) = status.conditions((), Ok("x" * 5000), 1, NOW)
    assert len(entry["message"]) == 2048
    assert entry["message"].endswith("…")
