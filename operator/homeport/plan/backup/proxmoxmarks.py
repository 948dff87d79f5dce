"""Whose a backup on a storage of Proxmox VE is: a mark in its notes, and what belongs together by it. Pure.

A VMID proves nothing: it is given to another guest once its container is gone, and clusters share a Proxmox Backup
Server. So backups are chosen by the mark alone; what has none, or another's, isn't ours. The mark is in the first line:
that is all that a listing shows of notes.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from typing import NamedTuple

from homeport.plan.backup import retention
from homeport.plan.proxmox.archives import Archive

_MARK = re.compile(
    r"\bhomeport\.dev/backup=(?P<installation>[^/\s]+)/(?P<namespace>[^/\s]+)/(?P<backup>[^/\s]+)/(?P<run>[^/\s]+)"
    r"/(?P<part>[^/\s]+)/(?P<number>[0-9]+)of(?P<count>[0-9]+)(?=\s|$)"
)
REJECTED = "homeport.dev/rejected"
"""In the notes of an archive that isn't what was asked for: it counts as a failed one."""
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


class Owner(NamedTuple):
    """The Backup that archives are of."""

    installation: str
    """The operator's --control-plane, or the UID of its kube-system."""
    namespace: str
    backup: str


class Mark(NamedTuple):
    """What the notes of one archive say."""

    owner: Owner
    run: str
    """The BackupRun's name."""
    part: str
    """The LXCContainer's name."""
    number: int
    """Which part of the run it is, from 1 to ``total``."""
    total: int

    @property
    def text(self) -> str:
        """The mark by itself."""
        path = "/".join((*self.owner, self.run, self.part))
        return f"homeport.dev/backup={path}/{self.number}of{self.total}"

    def notes(self) -> str:
        """The notes of the archive."""
        return f"{self.text} (Homeport: {self.part}, kept by the Backup's retention)"

    def template(self) -> str:
        """The same as vzdump's ``notes-template`` takes it. Raises ValueError for what that can't say."""
        if re.search(r"[{}\n]", self.notes()):
            raise ValueError(f"Proxmox VE can't write {self.text!r} into notes: leave out braces")
        return self.notes().replace("\\", "\\\\")


def mark(notes: str) -> Mark | None:
    """The mark in notes; None when there is none, or more than one, which proves nothing."""
    found = list(_MARK.finditer(notes))
    if len(found) != 1:
        return None
    one = found[0]
    owner = Owner(one["installation"], one["namespace"], one["backup"])
    return Mark(owner, one["run"], one["part"], int(one["number"]), int(one["count"]))


class Found(NamedTuple):
    """One run as it is on the storage."""

    run: str
    time: datetime
    """When its first part was begun."""
    parts: dict[str, Archive]
    """By part: the newest archive of it."""
    total: int
    """How many parts it should have."""
    archives: tuple[Archive, ...]
    """All that is of it, those included that were made twice."""

    @property
    def size(self) -> int:
        """In bytes."""
        return sum(archive.size for archive in self.parts.values())

    @property
    def protected(self) -> bool:
        """Whether somebody said of any part that it stays."""
        return any(archive.protected for archive in self.archives)

    @property
    def broken(self) -> bool:
        """Whether a Proxmox Backup Server couldn't verify a part."""
        return any(archive.verification == "failed" for archive in self.parts.values())

    @property
    def good(self) -> bool:
        """Whether all parts are there, and none is known to be broken."""
        return len(self.parts) >= self.total and not self.broken

    @property
    def verified(self) -> bool:
        """Whether a Proxmox Backup Server has verified every part."""
        return self.good and all(archive.verification == "ok" for archive in self.parts.values())


def runs(archives: Iterable[Archive], owner: Owner) -> tuple[Found, ...]:
    """The runs of one Backup, newest first."""
    by_run: dict[str, list[tuple[Mark, Archive]]] = {}
    for archive in archives:
        told = mark(archive.notes)
        if told is not None and told.owner == owner:
            by_run.setdefault(told.run, []).append((told, archive))
    found = [_found(run, of_it) for run, of_it in by_run.items()]
    return tuple(sorted(found, key=lambda one: (one.time, one.run), reverse=True))


def _found(run: str, of_it: list[tuple[Mark, Archive]]) -> Found:
    of_it = sorted(of_it, key=lambda pair: (pair[1].time or _LONG_AGO, pair[1].volume))
    # The newest of each comes last.
    parts = {told.part: archive for told, archive in of_it if REJECTED not in archive.notes}
    times = [archive.time or _LONG_AGO for _, archive in of_it]
    total = max(told.total for told, _ in of_it)
    return Found(run, min(times), parts, total, tuple(archive for _, archive in of_it))


def retained(found: Iterable[Found], verified: Collection[str] = ()) -> tuple[retention.Run, ...]:
    """The same as retention takes it; ``verified``: the runs that a drill has proven."""
    return tuple(
        retention.Run(one.run, one.time, one.good, one.good and (one.verified or one.run in verified), one.protected)
        for one in found
    )
