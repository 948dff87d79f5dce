"""Progress as JSON lines on standard output: bytes, percent, and how long it may still take."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable
from typing import IO, Any

EVERY = 1.0  # seconds between two lines of one part


class Progress:
    """Writes lines such as ``{"event": "progress", "part": "globals", "bytes": 1048576, "percent": 40}``.

    Percent and ETA are there where the whole is known, or known from the run before; that estimate never says 100.
    """

    def __init__(self, stream: IO[str] | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream or sys.stdout
        self._clock = clock
        self._part = ""
        self._began = self._told = 0.0
        self._expected = 0
        self._done = 0

    def begin(self, part: str, expected: int = 0) -> None:
        """A part begins; ``expected`` bytes of it are a guess, 0 none."""
        self._part, self._expected, self._done = part, expected, 0
        self._began = self._told = self._clock()
        self.say("begin", part=part, **({"expectedBytes": expected} if expected else {}))

    def advance(self, done: int, total: int = 0) -> None:
        """So many bytes are done, of a ``total`` that is known, or 0."""
        self._done = done
        now = self._clock()
        if now - self._told < EVERY:
            return
        self._told = now
        fields: dict[str, Any] = {"part": self._part, "bytes": done}
        whole = total or self._expected
        if whole and done:
            share = min(done / whole, 1.0 if total else 0.99)
            fields["percent"] = int(share * 100)
            if share < 1:
                fields["etaSeconds"] = round((now - self._began) * (1 - share) / share)
        self.say("progress", **fields)

    def end(self, done: int | None = None) -> None:
        """The part is whole."""
        self.say("end", part=self._part, bytes=self._done if done is None else done)

    def say(self, event: str, **fields: Any) -> None:
        """One line. Nobody reading isn't a fault: the result counts."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(json.dumps({"event": event, **fields}, ensure_ascii=False) + "\n")
            self._stream.flush()
