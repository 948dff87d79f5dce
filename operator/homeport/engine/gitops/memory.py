"""What builds remember, in this process alone: what is in it may have been encrypted in the repository."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Memory(Generic[T]):
    """Things by their keys, as many as ``limit`` bytes hold; the ones that weren't asked for longest go first."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held: OrderedDict[Hashable, tuple[T, int]] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> T | None:
        """What is held; None when nothing is."""
        with self._lock:
            found = self._held.get(key)
            if found is None:
                return None
            self._held.move_to_end(key)
            return found[0]

    def put(self, key: Hashable, value: T, size: int) -> None:
        """Hold ``value``, which takes ``size`` bytes; what is larger than the limit isn't held."""
        with self._lock:
            old = self._held.pop(key, None)
            self._size -= old[1] if old is not None else 0
            if size > self._limit:
                return
            self._held[key] = value, size
            self._size += size
            while self._size > self._limit:
                _, (_, gone) = self._held.popitem(last=False)
                self._size -= gone
