"""Outcomes combine to the worst of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from homeport.outcome import Ok, Outcome, Stalled, Transient, Wait, worst

AFTER = st.none() | st.floats(0, 600, allow_nan=False)
OUTCOMES = st.one_of(
    st.builds(Ok, st.text(max_size=3), AFTER),
    st.builds(Wait, st.sampled_from(("Progressing", "DependencyNotReady")), st.text(max_size=3), AFTER),
    st.builds(Transient, st.just("ProgressingWithRetry"), st.text(max_size=3)),
    st.builds(Stalled, st.just("InvalidSpec"), st.text(max_size=3)),
)
ORDER = (Ok, Wait, Transient, Stalled)


def test_of_nothing_is_ok() -> None:
    assert worst([]) == Ok()


@given(st.lists(OUTCOMES, min_size=1))
def test_is_as_bad_as_the_worst(outcomes: list[Outcome]) -> None:
    found = worst(outcomes)
    rank = max(ORDER.index(type(outcome)) for outcome in outcomes)
    assert ORDER.index(type(found)) == rank
    if rank:
        first = next(outcome for outcome in outcomes if ORDER.index(type(outcome)) == rank)
        assert (found.reason, found.message) == (first.reason, first.message)


@given(st.lists(OUTCOMES))
def test_no_wish_to_be_looked_at_again_is_lost(outcomes: list[Outcome]) -> None:
    found = worst(outcomes)
    wishes = [o.after for o in outcomes if isinstance(o, Ok | Wait) and o.after is not None]
    if isinstance(found, Ok | Wait):
        assert found.after == (min(wishes) if wishes else None)


@given(st.lists(OUTCOMES), st.lists(OUTCOMES))
def test_combines_in_any_grouping(one: list[Outcome], other: list[Outcome]) -> None:
    together = worst([*one, *other])
    grouped = worst([worst(one), worst(other)])
    assert type(together) is type(grouped)
