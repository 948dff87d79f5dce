"""A Proxmox VE for the tests: the stand-in of hack/localpve as a real HTTPS server on a thread of its own.

Faults that need a connection are here: an answer that is lost after the deed (``lose``), endpoints that go and come
back.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from aiohttp import web
from fakepve.certs import make_cert

from homeport.drivers.proxmox.config import Endpoint, HostConfig, Token, Trust
from localpve import API, StandIn
from localpve.lab import ALL, SECRET, TEMPLATE, TOKEN, furnish

__all__ = ["ALL", "API", "SECRET", "TEMPLATE", "TOKEN", "ProxmoxWorld"]

T = TypeVar("T")


class ProxmoxWorld:
    """A cluster ``lab`` on a thread of its own: nodes pve1 and pve2, three guests that aren't ours, a template."""

    def __init__(self, directory: Path, endpoints: int = 2, stand_in: StandIn | None = None) -> None:
        self.pve = furnish(stand_in or StandIn())
        self.certificate, key, der = make_cert(str(directory), hosts=("127.0.0.1",))
        self.fingerprint = _fingerprint(der)
        self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._tls.load_cert_chain(self.certificate, key)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fakepve", daemon=True)
        self._thread.start()
        self._sites: list[web.TCPSite | None] = [None] * endpoints
        self.ports = [0] * endpoints
        self.do(self._start())

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something in the server's own loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def call(self, work: Callable[[], T]) -> T:
        """Call something in the server's own thread: its state isn't made for others."""

        async def wrapped() -> T:
            return work()

        return self.do(wrapped())

    async def _start(self) -> None:
        self._runner = web.AppRunner(self.pve.app(), shutdown_timeout=0.1)
        await self._runner.setup()
        for number in range(len(self._sites)):
            await self._open(number)

    async def _open(self, number: int) -> None:
        site = web.TCPSite(self._runner, "127.0.0.1", self.ports[number], ssl_context=self._tls, reuse_address=True)
        await site.start()
        assert site._server is not None
        self.ports[number] = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
        self._sites[number] = site

    def go(self, number: int = 0) -> None:
        """An endpoint goes: connections to it are refused."""
        site = self._sites[number]
        assert site is not None
        self._sites[number] = None
        self.do(site.stop())
        self.do(self._drop_kept())

    async def _drop_kept(self) -> None:
        server = self._runner.server
        assert server is not None
        for connection in list(server.connections):
            if connection.transport is not None:
                connection.transport.close()

    def come_back(self, number: int = 0) -> None:
        """It is there again, where it was."""
        self.do(self._open(number))

    def lose(self, method: str, path: str) -> None:
        """Do what is asked next, and lose the answer."""
        self.call(lambda: self.pve.lost.append((method, path)))

    def fail(
        self, method: str, suffix: str, status: int, message: str, times: int | None = None, html: bool = False
    ) -> None:
        """Answer requests with an error."""
        self.call(lambda: self.pve.fail(method, suffix, status, message, times=times, html=html))

    def heal(self) -> None:
        """No more errors."""
        self.call(self.pve.failures.clear)

    @property
    def urls(self) -> list[str]:
        """The endpoints."""
        return [f"https://127.0.0.1:{port}" for port in self.ports]

    def asked(self) -> list[tuple[str, str]]:
        """(method, path) of every request since the last time this was asked."""

        def take() -> list[tuple[str, str]]:
            out, self.pve.seen = self.pve.seen, []
            return out

        return self.call(take)

    def config(self, trust: Trust | None = None, token: Token | None = None, **fields: Any) -> HostConfig:
        """How the driver reaches it."""
        trust = trust or Trust(ca=Path(self.certificate).read_text())
        endpoints = tuple(Endpoint(url, trust) for url in self.urls)
        return HostConfig(endpoints, token or Token(TOKEN, SECRET), **fields)

    def stop(self) -> None:
        """Stop it. What it had to refuse because the schema knows no such thing is an error of ours."""
        self.do(self._runner.cleanup())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        assert not self.pve.refused, f"requests that Proxmox VE would refuse: {self.pve.refused}"


def _fingerprint(der: bytes) -> str:
    digits = hashlib.sha256(der).hexdigest().upper()
    return ":".join(digits[n : n + 2] for n in range(0, 64, 2))
