"""Nothing that must not go astray is sent over a connection before who answers there was looked at."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Set

from urllib3.connection import HTTPSConnection
from urllib3.connectionpool import HTTPSConnectionPool


class NotAdmittedError(Exception):
    """A connection would have to be opened, and who answers there hasn't been looked at: nothing was sent."""


class Guard:
    """Knows when a session opens a connection, and whether the one that it has was looked at.

    A connection that ended is opened anew without a word, under a name that may lead elsewhere by now.
    """

    def __init__(self) -> None:
        self._opened = 0
        self._admitted = -1
        self._sealed = False

    def opening(self) -> None:
        """A connection is about to be opened. Raises NotAdmittedError when none may be."""
        self._opened += 1
        if self._sealed:
            raise NotAdmittedError

    @property
    def admitted(self) -> bool:
        """Whether the connection that was opened last is the one that was looked at."""
        return self._admitted == self._opened

    @property
    def connection(self) -> int:
        """The number of the connection that was opened last."""
        return self._opened

    def looked_at(self, connections: Set[int]) -> None:
        """What says who is at the other end was asked over these; it counts if that is one, and the present one."""
        self._admitted = self._opened if connections == {self._opened} else -1

    @contextlib.contextmanager
    def sealed(self) -> Iterator[None]:
        """No connection is opened in here."""
        self._sealed = True
        try:
            yield
        finally:
            self._sealed = False


def guarded(guard: Guard) -> type[HTTPSConnectionPool]:
    """urllib3's pool, whose connections ask ``guard`` before they are opened."""

    class Watched(HTTPSConnection):
        """One connection."""

        def connect(self) -> None:
            """Open it, if it may be."""
            guard.opening()
            super().connect()

    class Pool(HTTPSConnectionPool):
        """The one connection of a session."""

        ConnectionCls = Watched

    return Pool
