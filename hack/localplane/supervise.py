"""Keeps one command running: `python -m localplane.supervise CHILD-RECORD COMMAND...`.

A child that ends is started again, at once the first time, later each time it ends soon. SIGTERM ends the child, then
this. Whoever kills this process kills the child with it, where the kernel offers that.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType

from localplane.processes import birth, write_atomically

FIRST, LONGEST, STEADY = 0.2, 10.0, 30.0
GRACE = 12.0
PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Child:
    """The supervised process, as its record keeps it."""

    pid: int
    born: str
    starts: int
    code: int | None = None

    @staticmethod
    def load(path: Path) -> Child | None:
        """The record, None when there is none."""
        try:
            return Child(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def save(self, path: Path) -> None:
        """Write the record."""
        write_atomically(path, json.dumps(asdict(self)))


class Supervisor:
    """Starts a command again and again until told to stop."""

    def __init__(self, record: Path, command: list[str]) -> None:
        self._record = record
        self._command = command
        self._child: subprocess.Popen[bytes] | None = None
        self._stopping = False

    def run(self) -> int:
        """Supervise until SIGTERM."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        starts, pause = 0, 0.0
        while not self._stopping:
            starts += 1
            began = time.monotonic()
            self._child = subprocess.Popen(self._command, preexec_fn=_die_with_parent)  # noqa: PLW1509 - there is one thread only
            child = Child(self._child.pid, birth(self._child.pid), starts)
            child.save(self._record)
            code = self._wait()
            Child(child.pid, child.born, starts, code).save(self._record)
            if self._stopping:
                break
            pause = 0.0 if time.monotonic() - began > STEADY else min(max(pause * 2, FIRST), LONGEST)
            say(f"{self._command[0]} ended with {code}; start {starts + 1} in {pause:.1f} s")
            self._sleep(pause)
        self._record.unlink(missing_ok=True)
        return 0

    def _wait(self) -> int:
        assert self._child
        told_at = 0.0
        while True:
            if self._stopping and not told_at:
                self._child.send_signal(signal.SIGTERM)
                told_at = time.monotonic()
            if told_at and time.monotonic() - told_at > GRACE:
                self._child.kill()
            try:
                return self._child.wait(0.2)
            except subprocess.TimeoutExpired:
                continue

    def _sleep(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not self._stopping and time.monotonic() < deadline:
            time.sleep(0.1)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._stopping = True


def _die_with_parent() -> None:
    """Runs in the child before its program does; this process has one thread only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def say(text: str) -> None:
    """A line for the log, among the child's own."""
    print(f"supervise[{os.getpid()}]: {text}", flush=True)


if __name__ == "__main__":
    sys.exit(Supervisor(Path(sys.argv[1]), sys.argv[2:]).run())
