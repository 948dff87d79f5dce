"""The queue of what has to be looked at: keyed, one flight per key, by priority, with delays and backoff.

::

              add(after)                    due                   get
    (unknown) ----------> waiting (by due) -----> ready (by rank) ----> in flight -- done --> (unknown)
                                                        ^                  | added again meanwhile
                                                        +------------------+

Two heaps and one timer serve any number of keys; no key costs a task. A key that is added again while it waits
keeps the earlier due time and the more urgent priority; heap entries that this outdates stay behind and are skipped.

Rank is a priority with ageing: the time when a key became ready, plus ``AGEING`` seconds per priority step. Within
that time the more urgent goes first, and nothing starves after it.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import math
import random
import time
from collections import deque
from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

USER, CHILD, RESYNC = 0, 1, 2
"""Priorities: a user's change, a child's event, a periodic look."""

AGEING: Final = 10.0
"""Seconds by which a more urgent key may overtake one of the next priority."""
BACKOFF_FIRST, BACKOFF_LAST, JITTER = 0.5, 300.0, 0.2
"""The first and the longest backoff in seconds, and the part of it that is left to chance in either direction."""


K = TypeVar("K", bound=Hashable)


class QueueClosed(Exception):  # noqa: N818 - it ends a worker's loop, it isn't a fault
    """Nothing is handed out any more: the worker that asked should end."""


class _Item(Generic[K]):
    """One key's place: ``due`` and ``ready_at`` are times of the clock; ``ready_at`` is None while it waits."""

    __slots__ = ("due", "key", "priority", "ready_at")

    def __init__(self, key: K, priority: int, due: float) -> None:
        self.key = key
        self.priority = priority
        self.due = due
        self.ready_at: float | None = None


class Queue(Generic[K]):
    """A queue of hashable keys. ``on_wait(seconds)`` is told how long each key was ready before it was taken.

    It starts paused when told so, and hands nothing out until ``resume`` (the leader does). ``clock`` is monotonic, in
    seconds; ``chance`` gives a number in [0, 1): with both injected, and ``get_nowait``, nothing is left to chance.
    """

    def __init__(
        self,
        *,
        paused: bool = False,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
        on_wait: Callable[[float], None] | None = None,
    ) -> None:
        self._paused = paused
        self._clock = clock
        self._chance = chance
        self._on_wait = on_wait
        self._closed = False
        self._items: dict[K, _Item[K]] = {}
        self._waiting: list[tuple[float, int, _Item[K]]] = []
        self._ready: list[tuple[float, int, _Item[K]]] = []
        self._ready_count = 0
        self._serial = 0
        self._flying: dict[K, _Item[K] | None] = {}
        self._failures: dict[K, int] = {}
        self._getters: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = math.inf
        self._idle: asyncio.Event | None = None

    # -- putting in -----------------------------------------------------------------------------------------------

    def add(self, key: K, priority: int = USER, after: float = 0.0) -> None:
        """Have ``key`` looked at in ``after`` seconds, or earlier when it is due earlier already."""
        if self._closed:
            return
        now = self._clock()
        due = now + after if after > 0 else now
        if key in self._flying:
            again = self._flying[key]
            if again is None:
                self._flying[key] = _Item(key, priority, due)
            else:
                again.due = min(again.due, due)
                again.priority = min(again.priority, priority)
            return
        item = self._items.get(key)
        if item is None:
            item = self._items[key] = _Item(key, priority, due)
        elif priority < item.priority or due < item.due:
            item = self._renewed(item, min(priority, item.priority), min(due, item.due))
        else:
            return
        self._push(item, now)
        self._wake(now)

    def _renewed(self, item: _Item[K], priority: int, due: float) -> _Item[K]:
        """A new item in place of ``item``, whose heap entry is dead from now on; its time in the queue counts on."""
        fresh = _Item(item.key, priority, due)
        if item.ready_at is not None:
            fresh.ready_at = item.ready_at
            self._ready_count -= 1
        self._items[item.key] = fresh
        return fresh

    def _push(self, item: _Item[K], now: float) -> None:
        self._serial += 1
        if item.ready_at is None and item.due <= now:
            item.ready_at = item.due
        if item.ready_at is None:
            heapq.heappush(self._waiting, (item.due, self._serial, item))
            heap = self._waiting
        else:
            self._ready_count += 1
            heapq.heappush(self._ready, (item.ready_at + AGEING * item.priority, self._serial, item))
            heap = self._ready
        if len(heap) > 64 and len(heap) > 2 * len(self._items):
            # Mostly dead entries: a key that backs off and is woken by events every time leaves one behind each time.
            heap[:] = [entry for entry in heap if self._items.get(entry[2].key) is entry[2]]
            heapq.heapify(heap)

    def backoff(self, key: K, priority: int = CHILD) -> float:
        """Have ``key`` looked at after its next backoff: 0.5 s, doubling to 5 min, ±20 %. Answers the seconds."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        base = min(BACKOFF_LAST, BACKOFF_FIRST * 2.0 ** min(failures, 32))
        delay = base * (1 - JITTER + 2 * JITTER * self._chance())
        self.add(key, priority, delay)
        return delay

    def failures(self, key: K) -> int:
        """How often ``backoff`` was called for ``key`` since it was last forgotten."""
        return self._failures.get(key, 0)

    def forget(self, key: K) -> None:
        """It went well: the next backoff starts from the beginning."""
        self._failures.pop(key, None)

    # -- taking out -----------------------------------------------------------------------------------------------

    async def get(self) -> K:
        """The most urgent key that is due, once there is one; ``done`` must follow. Raises QueueClosed."""
        while True:
            key = self.get_nowait()
            if key is not None:
                return key
            getter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._getters.append(getter)
            self._arm()
            try:
                await getter
            except asyncio.CancelledError:
                # A wake-up that reached a worker on its way out belongs to the next one.
                if getter.done() and not getter.cancelled():
                    self._wake(self._clock())
                with contextlib.suppress(ValueError):
                    self._getters.remove(getter)
                raise

    def get_nowait(self) -> K | None:
        """As ``get``; None when nothing is due, or while paused. Raises QueueClosed."""
        if self._closed:
            raise QueueClosed
        if self._paused:
            return None
        now = self._clock()
        self._promote(now)
        while self._ready:
            _, _, item = heapq.heappop(self._ready)
            if self._items.get(item.key) is not item:
                continue
            del self._items[item.key]
            self._ready_count -= 1
            self._flying[item.key] = None
            if self._on_wait is not None:
                self._on_wait(max(0.0, now - (item.ready_at or now)))
            return item.key
        return None

    def done(self, key: K) -> None:
        """The flight of ``key`` is over; what was added meanwhile takes its place. KeyError when it wasn't flying."""
        again = self._flying.pop(key)
        if again is not None and not self._closed:
            now = self._clock()
            again.due = max(again.due, now)  # the flight itself is no waiting
            self._items[key] = again
            self._push(again, now)
            self._wake(now)
        if self._idle is not None and not self._flying:
            self._idle.set()

    def _promote(self, now: float) -> None:
        """Move what has become due from waiting to ready."""
        while self._waiting and self._waiting[0][0] <= now:
            _, _, item = heapq.heappop(self._waiting)
            if self._items.get(item.key) is item:
                self._push(item, now)

    def _wake(self, now: float) -> None:
        """Let as many getters run as there is something ready for; set the timer for the rest."""
        if not self._getters or self._paused:
            return
        self._promote(now)
        wanted = self._ready_count
        while wanted and self._getters:
            getter = self._getters.popleft()
            if not getter.done():  # done: cancelled, and about to leave
                getter.set_result(None)
                wanted -= 1
        self._arm()

    def _arm(self) -> None:
        """One timer, for the earliest due time, and only while somebody waits for it."""
        while self._waiting and self._items.get(self._waiting[0][2].key) is not self._waiting[0][2]:
            heapq.heappop(self._waiting)
        if not self._waiting or not self._getters or self._paused:
            return
        due = self._waiting[0][0]
        if self._timer is not None:
            if self._timer_due <= due:
                return
            self._timer.cancel()
        self._timer_due = due
        # A hair late rather than early: a timer that fires before the clock says so would have to be set again.
        self._timer = asyncio.get_running_loop().call_later(max(0.0, due - self._clock()) + 0.001, self._fired)

    def _fired(self) -> None:
        self._timer = None
        self._timer_due = math.inf
        now = self._clock()
        self._wake(now)
        self._arm()

    # -- its life -------------------------------------------------------------------------------------------------

    @property
    def paused(self) -> bool:
        """Whether nothing is handed out for now; keys are still taken in."""
        return self._paused

    def pause(self) -> None:
        """Hand nothing out until ``resume``. What is in flight goes on."""
        self._paused = True

    def resume(self) -> None:
        """Hand out what is due."""
        self._paused = False
        self._wake(self._clock())
        self._arm()

    def close(self) -> None:
        """Hand nothing out any more, for good: every ``get`` raises QueueClosed. What is in flight goes on."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        while self._getters:
            getter = self._getters.popleft()
            if not getter.done():
                getter.set_exception(QueueClosed())

    async def idle(self) -> None:
        """Wait until nothing is in flight; after ``close`` or ``pause``, that is the end of all work."""
        while self._flying:
            self._idle = asyncio.Event()
            await self._idle.wait()

    # -- what it tells --------------------------------------------------------------------------------------------

    def depth(self) -> int:
        """How many keys are due and not in flight."""
        self._promote(self._clock())
        return self._ready_count

    def delayed(self) -> int:
        """How many keys wait for their due time."""
        return len(self._items) - self.depth()

    def in_flight(self) -> int:
        """How many keys are being worked on."""
        return len(self._flying)

    def oldest_wait(self) -> float:
        """Seconds for which the oldest due key has been waiting; 0.0 when none is."""
        now = self._clock()
        self._promote(now)
        oldest = min((item.ready_at for item in self._items.values() if item.ready_at is not None), default=now)
        return max(0.0, now - oldest)
