"""Who serves which host and path: claimed once in the cluster, and whoever has it keeps it until it lets go."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from homeport.api.labels import OwnerKey

Place = tuple[str, str, str]
"""Cluster, host, path."""


class Claims:
    """The claims of all applications. An application's claims are kept even while another has the place, so that the
    oldest of those that wait gets it as soon as it is free."""

    def __init__(self) -> None:
        self._claimants: dict[Place, dict[OwnerKey, str]] = {}
        self._holders: dict[Place, OwnerKey] = {}
        self._by_owner: dict[OwnerKey, frozenset[Place]] = {}

    def register(self, owner: OwnerKey, created: str, places: Iterable[Place]) -> set[OwnerKey]:
        """Take note of all that ``owner`` claims; returns the others who have a place by it that they hadn't before."""
        now = frozenset(places)
        before = self._by_owner.get(owner, frozenset())
        if now == before:
            return set()
        heirs = {heir for place in before - now if (heir := self._let_go(place, owner)) is not None}
        for place in now - before:
            self._claimants.setdefault(place, {})[owner] = created
            self._holders.setdefault(place, owner)
        if now:
            self._by_owner[owner] = now
        else:
            self._by_owner.pop(owner, None)
        return heirs

    def _let_go(self, place: Place, owner: OwnerKey) -> OwnerKey | None:
        claimants = self._claimants[place]
        del claimants[owner]
        if self._holders[place] != owner:
            return None
        if not claimants:
            del self._claimants[place], self._holders[place]
            return None
        heir = self._holders[place] = min(claimants, key=lambda key: (claimants[key], key))
        return heir

    def forget(self, owner: OwnerKey) -> set[OwnerKey]:
        """``owner`` is gone; returns those who may go on now."""
        return self.register(owner, "", ())

    def of(self, owner: OwnerKey) -> frozenset[Place]:
        """Everything that ``owner`` claims."""
        return self._by_owner.get(owner, frozenset())

    def held_against(self, owner: OwnerKey) -> Mapping[Place, str]:
        """What others have that ``owner`` can't: (cluster, host, path) -> who has it."""
        return _Held(self, owner)

    def holder(self, place: Place) -> OwnerKey | None:
        """Who has a place."""
        return self._holders.get(place)


class _Held(dict[Place, str]):
    """Looks a place up only when it is asked for: an application has few, the cluster may have thousands."""

    def __init__(self, claims: Claims, owner: OwnerKey) -> None:
        super().__init__()
        self._claims = claims
        self._owner = owner

    def __contains__(self, place: object) -> bool:
        return isinstance(place, tuple) and self._claims.holder(place) not in (None, self._owner)

    def __getitem__(self, place: Place) -> str:
        holder = self._claims.holder(place)
        if holder is None:
            raise KeyError(place)
        return f"application {holder.namespace}/{holder.name}"
