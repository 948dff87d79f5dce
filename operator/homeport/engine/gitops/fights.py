"""Notices when somebody undoes what a source mends, over and over: two programs that each take a field back at once
would write for ever, and neither would ever say why."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from homeport.api.labels import OwnerKey
from homeport.plan.types import ObjectId

ROUNDS = 5
"""So often within ``WINDOW`` an object is mended; then it is left for a while."""
WINDOW, TRUCE = 30.0, 300.0
"""Seconds in which that counts as a fight, and for which the object is left as it is then."""
MOST = 4096
"""Objects that are remembered."""


class Round(NamedTuple):
    """One object of one source."""

    source: OwnerKey
    id: ObjectId


class Fights:
    """Which objects were mended lately. ``clock`` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._mended: dict[Round, deque[float]] = {}

    def may_mend(self, source: OwnerKey, id: ObjectId) -> bool:
        """Whether an object may be mended now; False while it is undone again and again."""
        times = self._mended.get(Round(source, id))
        if times is None or len(times) < ROUNDS:
            return True
        return times[-1] - times[0] > WINDOW or self._clock() - times[-1] > TRUCE

    def mended(self, source: OwnerKey, id: ObjectId) -> None:
        """It was mended just now."""
        if len(self._mended) >= MOST:
            self._mended.clear()
        self._mended.setdefault(Round(source, id), deque(maxlen=ROUNDS)).append(self._clock())

    def forget(self, source: OwnerKey) -> None:
        """A source is gone."""
        for each in [each for each in self._mended if each.source == source]:
            del self._mended[each]
