"""The door: Kopf's watches of our own kinds, in a thread to themselves, opened anew whenever they end or hang."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import kopf

from homeport.drivers.kubernetes.config import ClientConfig
from homeport.handlers import Seen, login, registry, settings
from homeport.loops import loop_factory
from homeport.settings import Settings

log = logging.getLogger("homeport")

PAUSE = 1.0
"""Seconds before the watch of our own kinds is opened anew."""


class Door:
    """Hands every event of our own kinds to ``seen``, on the loop that ``forever`` runs on."""

    def __init__(self, seen: Seen, config: ClientConfig, settings: Settings) -> None:
        self._seen, self._config, self._settings = seen, config, settings
        self._give_up: Callable[[str], None] = lambda reason: None
        self._break: Callable[[], object] = lambda: None
        self._stop: Callable[[], None] = lambda: None

    async def forever(self, stopping: asyncio.Event) -> None:
        """The watches of our own kinds, opened anew whenever Kopf gives them up: it does so over a mere error event."""
        while not stopping.is_set():
            ended = await self._watch_ours()
            if stopping.is_set():
                return
            log.warning("the watch of our own kinds ended (%s); opening it anew", ended)
            await asyncio.sleep(PAUSE)

    async def _watch_ours(self) -> str:
        """Kopf, as far as we use it, until it ends; why it did.

        It has a thread and a loop to itself: in ours it would take SIGTERM for itself, and when it ends, for whatever
        reason, it cancels every task that it doesn't know.
        """
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[str] = loop.create_future()

        def seen(body: Mapping[str, Any], gone: bool = False) -> None:
            loop.call_soon_threadsafe(self._seen, body, gone)

        def tell(reason: str) -> None:
            if not ended.done():
                ended.set_result(reason)

        self._give_up = tell

        def work() -> None:
            try:
                with asyncio.Runner(loop_factory=loop_factory()) as runner:
                    runner.run(self._kopf(seen))
                reason = "it stopped"
            except BaseException as error:
                reason = f"{type(error).__name__}: {error}"
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(tell, reason)

        threading.Thread(target=work, name="kopf", daemon=True).start()
        return await ended

    async def _kopf(self, seen: Seen) -> None:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()

        def stop_kopf() -> None:
            with contextlib.suppress(RuntimeError):  # it has ended already
                loop.call_soon_threadsafe(stop.set)

        self._stop = stop_kopf
        self._break = lambda: loop.call_soon_threadsafe(loop.stop)
        watched = registry(seen)
        login(watched, self._config)
        namespaces = self._settings.namespaces
        if namespaces:
            # CatalogItems there are everybody's; what else is there is sorted out.
            namespaces = tuple(dict.fromkeys((*namespaces, self._settings.lease_namespace)))
        await kopf.operator(
            registry=watched,
            settings=settings(self._settings.shard),
            standalone=True,
            clusterwide=not namespaces,
            namespaces=namespaces,
            stop_flag=stop,
        )

    def stop(self) -> None:
        """Have Kopf end; ``forever`` returns then, if it is stopping."""
        self._stop()

    def reopen(self, behind: Sequence[str]) -> None:
        """Leave a watch of our own kinds that has fallen behind, and open another.

        Kopf (1.45) can hang in its own end: when a watch breaks while a request of another is under way, the callback
        that should cancel that request fails on an assertion, and nobody waits for less. A second one does no harm:
        what it tells is compared by version.
        """
        log.warning("the watch of our own kinds is behind on %s; opening it anew", ", ".join(behind[:3]))
        with contextlib.suppress(RuntimeError):  # its loop is closed: it has ended already
            self._break()
        self._give_up("it fell behind")
