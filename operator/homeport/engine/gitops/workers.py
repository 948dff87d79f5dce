"""The processes that read files and render templates for builds: each is bounded, and started when it is needed."""

from __future__ import annotations

import queue
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from homeport.drivers.catalog import Renderer, RenderFailed, WorkerLost
from homeport.plan.gitops import reading
from homeport.plan.gitops.build import BuildFailed
from homeport.plan.gitops.reading import Answer

SMALL = 16 * 1024
"""Characters of files that are read in the thread that asks, one thread at a time: that takes a few milliseconds, and
on a busy machine the way to a process and back takes longer."""
BATCH = 256 * 1024
"""Characters of files that go to a process at a time."""
TEMPLATES = 16
"""Templates that are rendered at a time."""


class Workers:
    """Processes of our own: however slow a repository is, catalog items have theirs."""

    def __init__(self, number: int = 2) -> None:
        self._idle: queue.SimpleQueue[Renderer] = queue.SimpleQueue()
        self._all = [Renderer() for _ in range(number)]
        for renderer in self._all:
            self._idle.put(renderer)
        self._here = threading.Lock()
        self._threads = ThreadPoolExecutor(number, thread_name_prefix="reading")

    def read(self, files: Mapping[str, str], substituted: Mapping[str, str] | None) -> dict[str, Answer]:
        """What is in each file. Blocks. Raises BuildFailed where a process can't tell which file is to blame."""
        if sum(map(len, files.values())) <= SMALL:
            with self._here:
                found: dict[str, Answer] = reading.answer(reading.read_request(files, substituted))["files"]
            return found
        batches: list[dict[str, str]] = [{}]
        size = 0
        for name, text in files.items():
            if size + len(text) > BATCH and batches[-1]:
                batches.append({})
                size = 0
            batches[-1][name] = text
            size += len(text)
        return self._asked([reading.read_request(batch, substituted) for batch in batches if batch])

    def render(
        self, names: Sequence[str], templates: Mapping[str, str], context: Mapping[str, Any]
    ) -> dict[str, Answer]:
        """What the templates ``names`` make. Blocks. Raises BuildFailed."""
        batches = [names[first : first + TEMPLATES] for first in range(0, len(names), TEMPLATES)]
        return self._asked([reading.render_request(batch, templates, context) for batch in batches])

    def _asked(self, requests: Sequence[Mapping[str, Any]]) -> dict[str, Answer]:
        futures: list[Future[Mapping[str, Any]]] = [self._threads.submit(self._ask, each) for each in requests]
        out: dict[str, Answer] = {}
        try:
            for future in futures:
                out |= future.result()["files"]
        finally:
            for future in futures:
                future.cancel()
        return out

    def _ask(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        renderer = self._idle.get()
        try:
            return renderer.read(request)
        except RenderFailed as error:
            raise BuildFailed(str(error)) from None
        except WorkerLost as error:
            raise BuildFailed(str(error), passes=True) from None
        finally:
            self._idle.put(renderer)

    def stop(self) -> None:
        """End the processes; what they are at is broken off first."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for renderer in self._all:
            renderer.close()
