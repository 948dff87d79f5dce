"""A token bucket, for whatever may come in bursts and not for long."""

from __future__ import annotations


class Bucket:
    """``burst`` at once, ``rate`` a second afterwards. ``now`` is in seconds, of any clock that never goes back."""

    __slots__ = ("_at", "_burst", "_left", "_rate")

    def __init__(self, *, burst: float, rate: float, now: float) -> None:
        self._burst, self._rate, self._left, self._at = burst, rate, burst, now

    def take(self, now: float) -> bool:
        """Whether one more may pass."""
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
