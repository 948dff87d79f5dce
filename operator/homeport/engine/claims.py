"""Who serves which host and path: claimed once in the cluster, and the older application keeps it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from homeport.api.labels import OwnerKey

Place = tuple[str, str, str]
"""Cluster, host, path."""


class _Claim(NamedTuple):
    created: str
    owner: OwnerKey


class Claims:
    """The claims of all applications. An application's claims are kept even while it loses one, so that it gets the
    host as soon as the older one lets go."""

    def __init__(self) -> None:
        self._by_place: dict[Place, set[_Claim]] = {}
        self._by_owner: dict[OwnerKey, frozenset[Place]] = {}
        self._created: dict[OwnerKey, str] = {}

    def register(self, owner: OwnerKey, created: str, places: Iterable[Place]) -> set[OwnerKey]:
        """Take note of all that ``owner`` claims; returns the others whose standing may have changed by it."""
        now = frozenset(places)
        before = self._by_owner.get(owner, frozenset())
        touched: set[OwnerKey] = set()
        if before and self._created.get(owner) != created:
            # Another resource of the same name: it isn't as old as its predecessor was.
            touched = self._drop(owner, before)
            before = frozenset()
        if now == before:
            return touched - {owner}
        touched |= self._drop(owner, before - now)
        for place in now - before:
            claims = self._by_place.setdefault(place, set())
            touched.update(claim.owner for claim in claims)
            claims.add(_Claim(created, owner))
        if now:
            self._by_owner[owner] = now
            self._created[owner] = created
        else:
            self._by_owner.pop(owner, None)
            self._created.pop(owner, None)
        return touched - {owner}

    def _drop(self, owner: OwnerKey, places: Iterable[Place]) -> set[OwnerKey]:
        touched: set[OwnerKey] = set()
        for place in places:
            claims = self._by_place[place]
            claims -= {claim for claim in claims if claim.owner == owner}
            touched.update(claim.owner for claim in claims)
            if not claims:
                del self._by_place[place]
        return touched

    def forget(self, owner: OwnerKey) -> set[OwnerKey]:
        """``owner`` is gone; returns those who may go on now."""
        return self.register(owner, self._created.get(owner, ""), ())

    def of(self, owner: OwnerKey) -> frozenset[Place]:
        """Everything that ``owner`` claims."""
        return self._by_owner.get(owner, frozenset())

    def held_against(self, owner: OwnerKey, created: str) -> Mapping[Place, str]:
        """What others hold that ``owner`` can't have: (cluster, host, path) -> who has it. Only contested places."""
        return _Held(self, _Claim(created, owner))

    def holder(self, place: Place) -> OwnerKey | None:
        """Who has a place: the oldest of its claimants."""
        claims = self._by_place.get(place)
        return min(claims).owner if claims else None

    def _winner_over(self, place: Place, mine: _Claim) -> OwnerKey | None:
        claims = self._by_place.get(place)
        if not claims:
            return None
        best = min(claims)
        return best.owner if best.owner != mine.owner and best < mine else None


class _Held(dict[Place, str]):
    """Looks a place up only when it is asked for: an application has few, the cluster may have thousands."""

    def __init__(self, claims: Claims, mine: _Claim) -> None:
        super().__init__()
        self._claims = claims
        self._mine = mine

    def __contains__(self, place: object) -> bool:
        return isinstance(place, tuple) and self._claims._winner_over(place, self._mine) is not None

    def __getitem__(self, place: Place) -> str:
        winner = self._claims._winner_over(place, self._mine)
        if winner is None:
            raise KeyError(place)
        return f"application {winner.namespace}/{winner.name}"
