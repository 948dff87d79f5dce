"""Hosts are claimed once, and the older application keeps them: against a model that looks at everything each time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from homeport.api.labels import OwnerKey
from homeport.engine.claims import Claims, Place

PLACES: list[Place] = [("", "a.example.com", "/"), ("", "b.example.com", "/"), ("other", "a.example.com", "/")]
OWNERS = [OwnerKey("Application", "shop", name) for name in ("one", "two", "three")]
STEPS = st.tuples(
    st.sampled_from(OWNERS),
    st.sampled_from(("2026-01-01", "2026-01-02")),
    st.sets(st.sampled_from(PLACES)).map(frozenset),
)


@given(st.lists(STEPS, max_size=12))
def test_who_has_a_place_keeps_it_and_the_oldest_inherits(steps: list[tuple[OwnerKey, str, frozenset[Place]]]) -> None:
    claims = Claims()
    wants: dict[OwnerKey, frozenset[Place]] = {}
    since: dict[tuple[OwnerKey, Place], str] = {}
    holders: dict[Place, OwnerKey] = {}
    for owner, created, places in steps:
        for place in places - wants.get(owner, frozenset()):
            since[owner, place] = created
        wants[owner] = places
        heirs = set()
        for place in PLACES:
            claimants = [key for key, wanted in wants.items() if place in wanted]
            if holders.get(place) in claimants:
                continue
            had = holders.pop(place, None)
            if claimants:
                holders[place] = min(claimants, key=lambda key: (since[key, place], key))
                if had is not None:
                    heirs.add(holders[place])
        assert claims.register(owner, created, places) - {owner} == heirs - {owner}
        for place in PLACES:
            assert claims.holder(place) == holders.get(place)
            for other in OWNERS:
                assert (place in claims.held_against(other)) == (holders.get(place) not in (None, other))
        assert claims.of(owner) == places


@given(st.lists(STEPS, max_size=8))
def test_forgetting_leaves_nothing(steps: list[tuple[OwnerKey, str, frozenset[Place]]]) -> None:
    claims = Claims()
    for owner, created, places in steps:
        claims.register(owner, created, places)
    for owner in OWNERS:
        claims.forget(owner)
    assert all(claims.holder(place) is None for place in PLACES)


def test_says_who_has_it() -> None:
    claims = Claims()
    claims.register(OWNERS[0], "2026-01-02", PLACES[:1])
    claims.register(OWNERS[1], "2026-01-01", PLACES[:1])
    held = claims.held_against(OWNERS[1])
    assert held[PLACES[0]] == "application shop/one", "it was there first, though it is younger"
    assert PLACES[1] not in held
    assert claims.forget(OWNERS[0]) == {OWNERS[1]}
