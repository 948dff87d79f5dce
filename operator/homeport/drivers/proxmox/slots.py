"""How many of our tasks run on a host: never more than it was said to take. Pure bookkeeping; nobody waits in here.

Whoever finds no room stands in line, and is told when there is some: the first first, as many as there is room for. Who
was told and doesn't come holds nobody up; who comes too late keeps its place. An owner may hold its slot for a moment
when its task has ended: what it does next is begun before others are told.
"""

from __future__ import annotations

from collections.abc import Callable

from homeport.plan.proxmox.tasks import Upid


class Slots:
    """``limit`` tasks at a time, and one for each owner. ``room`` is told for whom there is some again."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.room: Callable[[str], None] = lambda owner: None
        self._taken: dict[str, Upid | None] = {}
        self._held: set[str] = set()
        self._line: dict[str, bool] = {}
        """Who waits, and whether it was told."""

    def __len__(self) -> int:
        return len(self._taken)

    def __contains__(self, owner: str) -> bool:
        """Whether the owner's task still runs."""
        return owner in self._taken and owner not in self._held

    def has_room(self, owner: str) -> bool:
        """Whether there is a slot for one more, or the owner holds one."""
        return owner in self._held or len(self._taken) < self.limit

    def take(self, owner: str) -> bool:
        """Take a slot before a task is asked for; False when there is none left, or the owner's task still runs."""
        if owner in self or not self.has_room(owner):
            return False
        self._taken[owner] = None
        self._begun(owner)
        return True

    def wait(self, owner: str) -> None:
        """Stand in line; at the same place as before, if it did already."""
        self._line[owner] = False

    def fill(self, owner: str, upid: Upid) -> None:
        """The task that an owner's slot is for. One that runs already is counted, even beyond the limit."""
        self._taken[owner] = upid
        self._begun(owner)

    def _begun(self, owner: str) -> None:
        self._held.discard(owner)
        self._line.pop(owner, None)

    def free(self, owner: str) -> None:
        """Nothing runs for this owner."""
        if owner in self._taken:
            del self._taken[owner]
            self._held.discard(owner)
            self._tell()

    def leave(self, owner: str) -> None:
        """As ``free``; and it waits for nothing."""
        self._line.pop(owner, None)
        self.free(owner)

    def ended(self, upid: Upid, *, hold: bool = False) -> None:
        """A task has ended, whoever asked. ``hold``: its owner keeps the slot until ``pass_on``."""
        for owner in [owner for owner, running in self._taken.items() if running == upid]:
            if hold:
                self._held.add(owner)
            else:
                self.free(owner)

    def pass_on(self, owner: str) -> None:
        """What an owner holds, and has no use for, is the next one's."""
        if owner in self._held:
            self.free(owner)

    def _tell(self) -> None:
        waiting = [owner for owner, told in self._line.items() if not told]
        for owner in waiting[: max(0, self.limit - len(self._taken))]:
            self._line[owner] = True
            self.room(owner)
