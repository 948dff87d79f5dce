"""Conventional commits: https://www.conventionalcommits.org/en/v1.0.0/."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

_HEADER = re.compile(r"([A-Za-z]+)(?:\(([^()\r\n]+)\))?(!)?: +(\S.*)")
_BREAKING = re.compile(
    r"^BREAKING[ -]CHANGE: +(.+?)(?=\n\n|\n[A-Za-z][A-Za-z-]*(?:: | #)|\Z)", re.MULTILINE | re.DOTALL
)
_REVERTS = re.compile(r"This reverts commit ([0-9a-f]{7,64})")


class Bump(IntEnum):
    """Which part of a version a commit raises."""

    NOTHING = 0
    PATCH = 1
    MINOR = 2
    MAJOR = 3


_BUMPS = {"feat": Bump.MINOR, "fix": Bump.PATCH, "perf": Bump.PATCH, "security": Bump.PATCH, "revert": Bump.PATCH}


@dataclass(frozen=True)
class Commit:
    """A commit by what its message says. ``type`` is empty for one that isn't conventional."""

    id: str
    subject: str
    """What was done, without type and scope."""
    type: str = ""
    scope: str = ""
    breaking: str = ""
    """What breaks, in the author's words; empty when nothing does."""
    reverts: str = ""
    """The beginning of the commit that it takes back."""

    @property
    def bump(self) -> Bump:
        """Which part of the version it raises."""
        return Bump.MAJOR if self.breaking else _BUMPS.get(self.type, Bump.NOTHING)


def parse(id: str, message: str) -> Commit:
    """A commit's message, read."""
    text = message.replace("\r\n", "\n").strip()
    header, _, body = text.partition("\n")
    reverts = _REVERTS.search(body)
    taken = reverts[1] if reverts else ""
    found = _HEADER.fullmatch(header.strip())
    if found is None:
        return Commit(id, header.strip(), reverts=taken)
    said = _BREAKING.search(body)
    told = " ".join(said[1].split()) if said else found[4].strip() if found[3] else ""
    return Commit(id, found[4].strip(), found[1].lower(), (found[2] or "").strip(), told, taken)


def standing(commits: Sequence[Commit]) -> list[Commit]:
    """The commits without those that another one takes back, and without what only does that. Newest first."""
    gone: set[str] = set()
    out = []
    for commit in commits:
        if commit.id in gone:
            continue
        of = next((one.id for one in commits if commit.reverts and one.id.startswith(commit.reverts)), "")
        if of and of != commit.id:
            gone.add(of)
        else:
            out.append(commit)
    return [one for one in out if one.id not in gone]
