"""What waits to be told: without repetition, no oftener than agreed, bounded, and tried again until it is taken.

========================  ==============================================================================================
what                      what becomes of it
========================  ==============================================================================================
the same again            of one object, within ``repeat`` seconds: held. When that time is over it is told after all if
                          something else was told of the object meanwhile, else never: whoever reads the last message
                          of an object knows how it is.
too much                  a message holds everything that waits; there are ``messages`` of them in ``per`` seconds
nobody takes it           tried again after 1, 2, 4 … seconds, at most 5 minutes; what is an hour old is dropped
more than ``SIZE``        the oldest is dropped, and counted
========================  ==============================================================================================

Times are seconds of one clock, and come from the caller: nothing here looks at one.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable
from dataclasses import dataclass
from typing import TypeVar

from homeport.plan.notify.happenings import Happening

SIZE = 200
"""Events that wait at most."""
REMEMBERED = 4096
"""What was said, and objects: so many are known for repetitions."""
BACKOFF_LAST = 300.0
AGE = 3600.0
"""Seconds after which what nobody takes is dropped: Kubernetes keeps Events no longer, either."""

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(frozen=True)
class _Waiting:
    happening: Happening
    since: float


@dataclass(frozen=True)
class Batch:
    """What one message tells: the oldest first. ``dropped`` were lost since the last one that was taken."""

    happenings: tuple[Happening, ...]
    dropped: int
    since: tuple[float, ...]
    """Since when each of them waits."""


class Outbox:
    """Of one receiver. At most one batch is under way at a time."""

    def __init__(self, repeat: float, messages: int, per: float) -> None:
        self.dropped = 0
        """How many were never told, in all."""
        self.failures = 0
        """Tries since the last batch that was taken."""
        self._untold = 0
        self._waiting: deque[_Waiting] = deque()
        self._said: OrderedDict[tuple[str, str, str], float] = OrderedDict()
        self._newest: OrderedDict[str, tuple[str, str, str]] = OrderedDict()
        self._held: OrderedDict[str, tuple[Happening, float]] = OrderedDict()
        self._away: Batch | None = None
        self._not_before = 0.0
        self._sent_at: deque[float] = deque()
        self.configure(repeat, messages, per)

    def configure(self, repeat: float, messages: int, per: float) -> None:
        """How often it is told; what waits stays."""
        self._repeat, self._messages, self._per = repeat, messages, per

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing is under way."""
        return not self._waiting and self._away is None

    def add(self, happening: Happening, now: float) -> None:
        """Something has happened."""
        said = self._said.get(happening.said)
        if said is not None and now - said < self._repeat:
            _remember(self._held, happening.uid, (happening, said + self._repeat))
            return
        self._held.pop(happening.uid, None)
        self._put(happening, now)

    def _put(self, happening: Happening, now: float) -> None:
        _remember(self._said, happening.said, now)
        _remember(self._newest, happening.uid, happening.said)
        self._waiting.append(_Waiting(happening, now))
        self._bound()

    def _bound(self) -> None:
        while len(self._waiting) > SIZE:
            self._waiting.popleft()
            self._lose(1)

    def _lose(self, count: int) -> None:
        self.dropped += count
        self._untold += count

    def take(self, now: float) -> Batch | None:
        """Everything that waits, if it may be told now. ``sent`` or ``failed`` has to follow."""
        self._release(now)
        self._expire(now)
        if self._away is not None or not self._waiting or now < self._free_at(now):
            return None
        self._sent_at.append(now)
        batch = Batch(
            tuple(one.happening for one in self._waiting), self._untold, tuple(one.since for one in self._waiting)
        )
        self._waiting.clear()
        self._away = batch
        return batch

    def sent(self) -> None:
        """The batch under way was taken."""
        assert self._away is not None
        self._untold -= self._away.dropped
        self._away, self.failures, self._not_before = None, 0, 0.0

    def failed(self, now: float, after: float = 0.0, chance: float = 0.5) -> None:
        """Nobody took the batch under way: it is tried again, not before ``after`` seconds if the receiver said so.

        ``chance`` (0 to 1) spreads the tries of many by a fifth in either direction.
        """
        batch, self._away = self._away, None
        assert batch is not None
        back = [_Waiting(*pair) for pair in zip(batch.happenings, batch.since, strict=True)]
        self._waiting.extendleft(reversed(back))
        self._bound()
        pause = min(BACKOFF_LAST, 2.0 ** min(self.failures, 16)) * (0.8 + 0.4 * chance)
        self.failures += 1
        self._not_before = now + max(pause, min(after, AGE))

    def due(self, now: float) -> float | None:
        """When ``take`` is worth a call; None while there is nothing to be told."""
        times = [due for _, due in self._held.values()]
        if self._waiting and self._away is None:
            times.append(self._free_at(now))
        return min(times, default=None)

    def _free_at(self, now: float) -> float:
        while self._sent_at and self._sent_at[0] <= now - self._per:
            self._sent_at.popleft()
        full = len(self._sent_at) >= self._messages
        return max(self._not_before, self._sent_at[-self._messages] + self._per if full else now)

    def _release(self, now: float) -> None:
        """Tell what was held, unless it is what was told of the object last."""
        for uid, (happening, due) in list(self._held.items()):
            if due <= now:
                del self._held[uid]
                if self._newest.get(uid) != happening.said:
                    self._put(happening, now)

    def _expire(self, now: float) -> None:
        while self._waiting and now - self._waiting[0].since >= AGE:
            self._waiting.popleft()
            self._lose(1)


def _remember(store: OrderedDict[K, V], key: K, value: V) -> None:
    store[key] = value
    store.move_to_end(key)
    if len(store) > REMEMBERED:
        store.popitem(last=False)
