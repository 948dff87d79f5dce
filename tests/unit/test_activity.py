"""The activity log is a function of the objects: a restart neither repeats nor invents an entry."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from homeport.engine import activity
from homeport.plan.project import merge_activity


def body(generation: int = 1, *writers: tuple[str, str], **metadata: Any) -> dict[str, Any]:
    fields = [{"manager": manager, "time": time} for manager, time in writers]
    return {
        "kind": "Application",
        "metadata": {
            "name": "web",
            "uid": "u",
            "generation": generation,
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "managedFields": fields,
            **metadata,
        },
    }


def test_created() -> None:
    found = activity.entry(None, body(1, ("kubectl", "2026-01-01T00:00:00Z")), "")
    assert found == {
        "time": "2026-01-01T00:00:00Z", "actor": "kubectl", "verb": "created", "object": "Application/web",
    }  # fmt: skip


def test_changed_by_the_newest_writer_but_us() -> None:
    writers = (("argocd", "2026-01-02T00:00:00Z"), ("kubectl", "2026-01-03T00:00:00Z"), ("homeport", "2026-01-04"))
    found = activity.entry(body(1), body(2, *writers), "")
    assert found is not None
    assert (found["actor"], found["verb"], found["time"]) == ("kubectl", "changed", "2026-01-03T00:00:00Z")


def test_what_we_write_is_no_activity() -> None:
    before = body(2, ("kubectl", "2026-01-02T00:00:00Z"))
    after = body(2, ("kubectl", "2026-01-02T00:00:00Z"), ("homeport", "2026-01-05T00:00:00Z"))
    assert activity.entry(before, after, "") is None


def test_what_a_schedule_makes_and_cleans_up_is_no_activity() -> None:
    run = body(1, ("homeport", "2026-01-02T00:00:00Z"), labels={"homeport.dev/backup": "nightly"})
    assert activity.entry(None, run, "") is None
    assert activity.entry(run, None, "2026-01-03T00:00:00Z") is None


def test_deleted_is_noted_once() -> None:
    asked = body(2, ("kubectl", "2026-01-02T00:00:00Z"), deletionTimestamp="2026-01-09T00:00:00Z")
    first = activity.entry(body(2), asked, "2026-01-09T00:00:05Z")
    gone = activity.entry(asked, None, "2026-01-09T00:00:07Z")
    assert first == gone
    assert first is not None and (first["verb"], first["time"]) == ("deleted", "2026-01-09T00:00:00Z")


HISTORIES = st.lists(
    st.tuples(st.sampled_from(("kubectl", "argocd", "homeport")), st.booleans()), min_size=1, max_size=6
)


@given(HISTORIES)
def test_a_restart_says_nothing_new(history: list[tuple[str, bool]]) -> None:
    log: list[dict[str, Any]] = []
    before = None
    generation, writers = 1, [("kubectl", "2026-01-01T00:00:00Z")]
    for number, (manager, spec) in enumerate(history):
        if number:
            generation += spec and manager != "homeport"
            writers = [w for w in writers if w[0] != manager] + [(manager, f"2026-01-01T00:0{number}:00Z")]
        after = body(generation, *writers)
        found = activity.entry(before, after, "")
        log = merge_activity(log, [found] if found else [])
        before = after
    restarted = activity.entry(None, before, "")
    assert merge_activity(log, [restarted] if restarted else []) == log


@given(st.lists(st.integers(0, 80), max_size=120))
def test_the_log_keeps_the_newest_whatever_their_order(times: list[int]) -> None:
    entries = [{"time": f"{t:03}", "object": "a", "verb": "changed", "actor": "x"} for t in times]
    at_once = merge_activity([], entries)
    one_by_one: list[dict[str, Any]] = []
    for entry in entries:
        one_by_one = merge_activity(one_by_one, [entry])
    assert at_once == one_by_one
    assert len(at_once) <= 50
