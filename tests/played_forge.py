"""A forge that is played: what is open, who may do what, and what was written."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from homeport.drivers.forge import ForgeFailed
from homeport.plan.gitops.pulls import Labelled, Pull, Status

HEAD = "a" * 40


def pull(number: int = 7, author: str = "eve", labels: tuple[str, ...] = (), **fields: Any) -> Pull:
    known = {"title": "t", "head": HEAD, "ref": f"refs/pull/{number}/head", "base": "main", "fork": True}
    return Pull(**{"number": number, "author": author, "labels": frozenset(labels), **known, **fields})


@dataclass
class Played:
    """A forge."""

    open: list[Pull] = field(default_factory=list)
    writers: set[str] = field(default_factory=set)
    teams: dict[str, set[str]] = field(default_factory=dict)
    labels: dict[int, Labelled] = field(default_factory=dict)
    failing: ForgeFailed | None = None
    asked: list[str] = field(default_factory=list)
    comments: list[tuple[int, str, str]] = field(default_factory=list)
    statuses: list[tuple[str, Status]] = field(default_factory=list)
    closed: bool = False
    missed: set[int] = field(default_factory=set)
    """Open, and not in the list: it shifted while it was read."""

    def _asked(self, what: str) -> None:
        self.asked.append(what)
        if self.failing is not None:
            raise self.failing

    async def pulls(self, base: str) -> list[Pull]:
        self._asked("pulls")
        return [one for one in self.open if one.number not in self.missed]

    async def pull(self, number: int) -> Pull | None:
        self._asked(f"pull {number}")
        return next((one for one in self.open if one.number == number), None)

    async def labelled(self, of: Pull, label: str) -> Labelled | None:
        self._asked(f"labelled {of.number}")
        return self.labels.get(of.number)

    async def may_write(self, user: str) -> bool:
        self._asked(f"may_write {user}")
        return user in self.writers

    async def is_member(self, user: str, team: str) -> bool:
        self._asked(f"is_member {user}")
        return user in self.teams.get(team, ())

    async def comment(self, number: int, marker: str, text: str) -> None:
        self._asked("comment")
        self.comments.append((number, marker, text))

    async def status(self, commit: str, status: Status) -> None:
        self._asked("status")
        self.statuses.append((commit, status))

    async def close(self) -> None:
        self.closed = True
