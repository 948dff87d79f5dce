"""Whose pull requests get a preview: authors who are trusted, and commits that somebody who may push has labelled.

===============================================  ==============================================================
the author                                       a preview
===============================================  ==============================================================
is named in ``authors``, or in a team there      at once
may push, and ``authors`` has ``team``           at once
anybody else                                     when the label is on, put there by somebody else who may push,
                                                 and nothing was pushed since
===============================================  ==============================================================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from homeport.drivers.forge import Forge, ForgeFailed
from homeport.plan.gitops.pulls import Firm, Labelled, Pull

TEAM = "team"
"""In ``authors``: whoever may push to the repository."""
TRUST = 300.0
"""Seconds for which it stays known who may push."""
SETTLED = 5.0
"""Seconds that a head must have been seen before a label counts for it: a forge writes down a push a little later than
it shows its commit, and a label that was meant for the commit before must not count meanwhile."""
UNKNOWN = "it is being found out whether it gets a preview"


@dataclass(frozen=True)
class Rules:
    """Who is trusted, and which label lets in others."""

    authors: tuple[str, ...]
    label: str


class Admission:
    """Of one repository."""

    def __init__(self, forge: Forge, rules: Rules, clock: Callable[[], float]) -> None:
        self._forge = forge
        self._rules = rules
        self._clock = clock
        self._trusted: dict[str, tuple[bool, float]] = {}
        self._writers: dict[str, tuple[bool, float]] = {}
        self._heads: dict[int, tuple[str, float]] = {}
        """By number: the head, and since when it has been seen."""
        self._labels: dict[int, tuple[Pull, Labelled | None]] = {}

    async def of(self, pulls: Sequence[Pull], known: Mapping[int, str]) -> tuple[dict[int, str], frozenset[int], float]:
        """Why pull requests aren't let in, by number; those of trusted authors; seconds until it is worth another look.

        ``known``: commits that were let in before. What can't be found out is a reason not to let one in.
        """
        now = self._clock()
        self._heads = {
            pull.number: self._heads[pull.number]
            if self._heads.get(pull.number, ("", 0.0))[0] == pull.head
            else (pull.head, now)
            for pull in pulls
        }
        self._labels = {number: found for number, found in self._labels.items() if number in self._heads}
        held_back: dict[int, str] = {}
        trusted: set[int] = set()
        again = float("inf")
        for pull in pulls:
            try:
                if await self._is_trusted(pull.author):
                    trusted.add(pull.number)
                    continue
                why = await self._objection(pull, known.get(pull.number) == pull.head)
            except ForgeFailed as error:
                why = f"who may have a preview can't be found out: {error}"
            if why:
                held_back[pull.number] = why
            if why == UNKNOWN:
                again = min(again, SETTLED)
        return held_back, frozenset(trusted), again

    async def _is_trusted(self, user: str) -> bool:
        if not user:
            return False
        found, until = self._trusted.get(user, (False, 0.0))
        if self._clock() < until:
            return found
        found = await self._find_out(user)
        self._trusted[user] = (found, self._clock() + TRUST)
        return found

    async def _find_out(self, user: str) -> bool:
        authors = self._rules.authors
        if any(name.lower() == user.lower() for name in authors if name != TEAM and "/" not in name):
            return True
        if TEAM in authors and await self._may_write(user):
            return True
        for team in authors:
            if "/" in team and await self._forge.is_member(user, team):
                return True
        return False

    async def _may_write(self, user: str) -> bool:
        found, until = self._writers.get(user, (False, 0.0))
        if self._clock() < until:
            return found
        found = await self._forge.may_write(user)
        self._writers[user] = (found, self._clock() + TRUST)
        return found

    async def _objection(self, pull: Pull, let_in_before: bool) -> str:
        """Why the label doesn't let it in; empty when it does."""
        label = self._rules.label
        author = pull.author or "its author"
        wanted = Firm(f"{author} isn't among the authors; somebody who may push puts the label {label} on")
        if label not in pull.labels:
            return wanted
        if not let_in_before and self._clock() - self._heads[pull.number][1] < SETTLED:
            return UNKNOWN
        remembered = self._labels.get(pull.number)
        if remembered is None or remembered[0] != pull:
            remembered = (pull, await self._forge.labelled(pull, label))
            self._labels[pull.number] = remembered
        found = remembered[1]
        if found is None:
            return wanted
        if found.by.lower() == pull.author.lower():
            return Firm(f"its author put the label {label} on; somebody else who may push has to")
        if not (await self._is_trusted(found.by) or await self._may_write(found.by)):
            return Firm(f"{found.by} put the label {label} on, and may not push; somebody who may has to")
        return self._moved(pull, found)

    def _moved(self, pull: Pull, found: Labelled) -> str:
        label = self._rules.label
        if found.commit == pull.head or (not found.commit and found.moved is False):
            return ""
        if found.commit or found.moved:
            return f"there was a push after the label {label} was put on; take it off and put it on again"
        return f"the forge doesn't tell which commit the label {label} was put on; name its author in authors"
