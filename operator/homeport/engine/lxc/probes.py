"""Checks of containers from here: a TCP port or an HTTP path, in the background; a reconciliation takes the last."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NamedTuple

import aiohttp

from homeport.api.labels import OwnerKey
from homeport.plan.lxc.view import Health


class Target(NamedTuple):
    """What is checked, and how often."""

    address: str
    port: int
    path: str | None = None
    """None checks that the port accepts a connection."""
    scheme: str = "HTTP"
    period: float = 30.0
    timeout: float = 5.0
    failures: int = 3

    @property
    def shown(self) -> str:
        """For people."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        where = f"{host}:{self.port}"
        return f"{self.scheme.lower()}://{where}{self.path}" if self.path is not None else f"port {where}"


Check = Callable[[Target], Awaitable[str]]
"""What is wrong; empty for nothing."""


@dataclass
class _Known:
    target: Target
    well: bool | None = None
    said: str = ""
    failures: int = 0
    at: float = float("-inf")
    task: asyncio.Task[None] | None = None


class Prober:
    """The last verdict on each container; ``wake`` is told when one changes."""

    def __init__(
        self, wake: Callable[[OwnerKey], None], clock: Callable[[], float], check: Check | None = None
    ) -> None:
        self.check = check or make
        self._wake = wake
        self._clock = clock
        self._known: dict[OwnerKey, _Known] = {}

    def look(self, key: OwnerKey, target: Target) -> Health:
        """What is known; begins a check when the last one is too old."""
        known = self._known.get(key)
        if known is None or known.target != target:
            self.forget(key)
            known = self._known[key] = _Known(target)
        idle = known.task is None or known.task.done()
        # A container that isn't known to be well is asked more often.
        period = target.period if known.well else min(target.period, 5.0)
        if idle and self._clock() - known.at >= period:
            known.at = self._clock()
            known.task = asyncio.create_task(self._run(key, known), name=f"check {key}")
        return Health(known.well, known.said)

    def due_in(self, key: OwnerKey) -> float:
        """Seconds until it is to be checked next."""
        known = self._known.get(key)
        return float("inf") if known is None else max(1.0, known.at + known.target.period - self._clock())

    async def _run(self, key: OwnerKey, known: _Known) -> None:
        said = await self.check(known.target)
        before = known.well
        known.failures = known.failures + 1 if said else 0
        if not said:
            known.well, known.said = True, ""
        elif known.failures >= known.target.failures or before is None:
            known.well = False if known.failures >= known.target.failures else None
            known.said = f"{known.target.shown}: {said}"
        if known.well != before and self._known.get(key) is known:
            self._wake(key)

    def forget(self, key: OwnerKey) -> None:
        """It is gone, or checked otherwise."""
        known = self._known.pop(key, None)
        if known is not None and known.task is not None:
            known.task.cancel()


async def make(target: Target) -> str:
    """Make a check once."""
    try:
        async with asyncio.timeout(target.timeout):
            return await (_tcp(target) if target.path is None else _http(target))
    except TimeoutError:
        return f"no answer within {target.timeout:.0f} s"
    except (OSError, aiohttp.ClientError) as error:
        return str(error) or type(error).__name__


async def _tcp(target: Target) -> str:
    _, writer = await asyncio.open_connection(target.address, target.port)
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return ""


async def _http(target: Target) -> str:
    url = target.shown
    async with (
        aiohttp.ClientSession(trust_env=False) as session,
        # As a Pod's probes: the certificate isn't looked at, and a redirect is an answer.
        session.get(url, ssl=False, allow_redirects=False) as answer,
    ):
        return "" if 200 <= answer.status < 400 else f"HTTP {answer.status}"
