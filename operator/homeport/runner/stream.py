"""A file of a snapshot, streamed into a program: nothing of it is on disk, and little of it in memory."""

from __future__ import annotations

import collections
import contextlib
import fcntl
import os
import subprocess
import threading
from collections.abc import Mapping, Sequence
from typing import IO

from homeport.runner.progress import Progress
from homeport.runner.restic import Restic, stop
from homeport.runner.result import Failure

_CHUNK = 1024 * 1024
_KEPT = 40
F_SETPIPE_SZ = getattr(fcntl, "F_SETPIPE_SZ", 1031)


class Consumer:
    """A program that takes the stream; its last lines on standard error are kept."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=dict(environment),
        )
        self._lines: collections.deque[str] = collections.deque(maxlen=_KEPT)
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        assert self.process.stderr
        for raw in self.process.stderr:
            self._lines.append(raw.decode(errors="replace").rstrip())

    def finish(self) -> tuple[int, list[str]]:
        """Its exit code and last lines, once its input has ended."""
        if self.process.stdin:
            with contextlib.suppress(OSError):
                self.process.stdin.close()
        code = self.process.wait()
        self._thread.join()
        return code, list(self._lines)

    def kill(self) -> None:
        """End it without an end of its input, which it might take for the whole."""
        self.process.kill()
        self.process.wait()


def into(
    restic: Restic, snapshot: str, file: str, command: Sequence[str], environment: Mapping[str, str],
    progress: Progress, total: int,
) -> tuple[int, list[str]]:  # fmt: skip
    """Stream ``file`` of a snapshot into a program; its exit code and last lines.

    Raises Failure when the repository gave less than the whole: the program is killed then, before its input ends, so
    that no half of a dump is taken for all of it.
    """
    consumer = Consumer(command, environment)
    assert consumer.process.stdin
    broken = False
    try:
        with restic.started("dump", "--no-lock", snapshot, file) as process:
            assert process.stdout
            broken = not _pump(process.stdout, consumer.process.stdin, progress, total)
            if broken:  # it takes no more: what it says matters, not that restic has nowhere to write to
                process.stdout.close()
                stop(process)
    except Failure:
        if not broken:
            consumer.kill()
            raise
    except BaseException:
        consumer.kill()
        raise
    code, lines = consumer.finish()
    return (code, lines) if code or not broken else (-1, [*lines, "it stopped reading before the end"])


def whole(command: Sequence[str]) -> tuple[str, ...]:
    """A command that may stop before its input's end, as pg_restore does: what it leaves is read and dropped."""
    return ("sh", "-c", '"$@" && exec cat >/dev/null', "sh", *command)


def ending(lines: int, pattern: str) -> tuple[str, ...]:
    """A command that reads all, and ends well when one of the last ``lines`` matches (grep): data may hold the words
    anywhere else."""
    return ("sh", "-c", 'tail -n "$1" | grep -q -a -e "$2"', "sh", str(lines), pattern)


def to_file(restic: Restic, snapshot: str, file: str, target: IO[bytes], progress: Progress, total: int) -> None:
    """Write ``file`` of a snapshot into an open file. Raises Failure."""
    with restic.started("dump", "--no-lock", snapshot, file) as process:
        assert process.stdout
        _pump(process.stdout, target, progress, total)


def _pump(source: IO[bytes], target: IO[bytes], progress: Progress, total: int) -> bool:
    """Move all bytes, within the kernel where it can; False when the target is closed at its other end."""
    done = 0
    for end in (source, target):
        with contextlib.suppress(OSError):
            fcntl.fcntl(end.fileno(), F_SETPIPE_SZ, _CHUNK)
    while True:
        try:
            moved = os.splice(source.fileno(), target.fileno(), _CHUNK)
        except BrokenPipeError:
            return False
        if not moved:
            progress.advance(done, total)
            return True
        done += moved
        progress.advance(done, total)
