"""Mirrors on an event loop, with a clock that tests put forward, and whoever is woken."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from homeport.api.labels import OwnerKey
from homeport.drivers.git import Credentials, Ref
from homeport.engine.gitops.mirrors import Found, Mirrors, Want
from homeport.outcome import Wait
from homeport.plan.gitops.checkout import Checkout

MAIN = Ref(branch="main")
PATIENCE = 60.0
"""Seconds after which a test gives up; nothing is measured by it."""


def key(name: str = "fleet") -> OwnerKey:
    return OwnerKey("GitSource", "shop", name)


class MirrorWorld:
    """One operator's mirrors."""

    def __init__(self, folder: Path) -> None:
        self.now = 0.0
        self.woken: list[OwnerKey] = []
        self.calls: list[tuple[str, bool]] = []
        self._stir = asyncio.Event()
        self.mirrors = Mirrors(self._wake, folder, clock=lambda: self.now + time.monotonic(), chance=lambda: 0.0)
        self.mirrors.observe = lambda what, good, seconds: self.calls.append((what, good))

    def _wake(self, who: OwnerKey) -> None:
        self.woken.append(who)
        self._stir.set()

    async def until(self, done: Callable[[], Any]) -> Any:
        """What ``done`` gives, once that is something; asked anew whenever somebody is woken."""
        async with asyncio.timeout(PATIENCE):
            while True:
                self._stir.clear()
                if result := done():
                    return result
                await self._stir.wait()

    async def turn(self, seconds: float) -> None:
        """Let time pass, and all end that is due then."""
        self.now += seconds
        async with asyncio.timeout(PATIENCE):
            await self.mirrors.settled()

    def want(self, url: str, ref: Ref = MAIN, name: str = "fleet", **more: Any) -> Found:
        given = {"timeout": 30.0, **more}
        return self.mirrors.want(key(name), Want(url, ref, **given))

    async def found(self, url: str, ref: Ref = MAIN, name: str = "fleet", **more: Any) -> Found:
        """What is found, however that ends."""

        def ended() -> Found | None:
            found = self.want(url, ref, name, **more)
            return None if isinstance(found.problem, Wait) else found

        return await self.until(ended)  # type: ignore[no-any-return]

    async def looked(self, url: str, ref: Ref = MAIN, name: str = "fleet", **more: Any) -> Found:
        """What is found by a look from now on."""
        self.want(url, ref, name, **more)
        await self.turn(0.1)
        before = len(self.woken)
        self.mirrors.poke(key(name))
        await self.until(lambda: key(name) in self.woken[before:])
        await self.turn(0.0)
        return self.want(url, ref, name, **more)

    async def checkout(self, url: str, ref: Ref = MAIN, name: str = "fleet", **more: Any) -> Checkout:
        found = await self.found(url, ref, name, **more)
        assert found.problem is None, found.problem
        assert found.checkout is not None
        return found.checkout

    async def problem(self, url: str, ref: Ref = MAIN, name: str = "fleet", **more: Any) -> str:
        found = await self.found(url, ref, name, **more)
        assert found.problem is not None, found
        return f"{type(found.problem).__name__} {found.problem.reason}: {found.problem.message}"

    async def read(self, checkout: Checkout, *paths: str) -> dict[str, bytes]:
        return await asyncio.to_thread(checkout.read, paths or list(checkout.listing("")))

    async def at(self, commit: str, name: str = "fleet", **more: Any) -> Any:
        def ended() -> Any:
            got = self.mirrors.at(key(name), commit, **more)
            return None if isinstance(got, Wait) else got

        return await self.until(ended)


def login(**words: str) -> Credentials:
    return Credentials(**words)
