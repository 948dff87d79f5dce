"""A bounded pool of threads for calls that block. Unlike the standard library's, it never keeps a process from ending.

``concurrent.futures`` joins its threads at exit: a host that doesn't answer would hold the operator up for as long as a
request may take. What runs in these threads is a request whose outcome is looked up afterwards in any case.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
_Job = Callable[[], None]


class Pool:
    """At most ``size`` threads, started when there is work for them."""

    def __init__(self, size: int, name: str) -> None:
        self._size = size
        self._name = name
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._idle = threading.Semaphore(0)
        self.closed = False

    async def run(self, work: Callable[[], T]) -> T:
        """What ``work`` answers, from a thread; raises what it raises. Whoever stops waiting doesn't stop it."""
        if self.closed:
            raise RuntimeError(f"the pool {self._name} is closed")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def tell(result: T | None, error: BaseException | None) -> None:
            if future.done():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)  # type: ignore[arg-type] # None only when that is the result

        def job() -> None:
            result: T | None = None
            error: BaseException | None = None
            try:
                result = work()
            except BaseException as caught:
                error = caught
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(tell, result, error)

        self._jobs.put(job)
        if not self._idle.acquire(blocking=False) and len(self._threads) < self._size:
            thread = threading.Thread(target=self._work, name=f"{self._name}-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()
        return await future

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            if job is None:
                return
            job()
            self._idle.release()

    def close(self) -> None:
        """Take no more work, and let the threads end after what they are at. Returns at once."""
        self.closed = True
        for _ in self._threads:
            self._jobs.put(None)
