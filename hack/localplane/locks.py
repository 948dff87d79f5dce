"""File locks between processes, released by the kernel when their holder dies."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def file_lock(path: Path, waiting: Callable[[], None] | None = None, timeout: float | None = None) -> Iterator[None]:
    """Hold an exclusive lock on `path`; `waiting` is called once when someone else has it.

    Raises TimeoutError when it is still held after `timeout` seconds.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        deadline = None if timeout is None else time.monotonic() + timeout
        told = False
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not told and waiting:
                    waiting()
                told = True
                if deadline is not None and time.monotonic() > deadline:
                    raise TimeoutError(f"{path} has been locked by another process for {timeout:.0f} s") from None
                time.sleep(0.1)
        yield
    finally:
        os.close(descriptor)
