"""Three pages for those who look after the operator: /healthz, /readyz and /metrics."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from aiohttp import web

log = logging.getLogger(__name__)

Check = Callable[[], Sequence[str]]
"""Says what is wrong, one sentence each; nothing when all is well."""


class Server:
    """An HTTP server on ``bind`` ("host:port", "[::1]:port" or ":port"; port 0 takes a free one).

    ``health`` decides whether a restart would help (503 with its sentences), ``ready`` whether the caches are filled,
    which a standby's are as well. ``metrics`` renders what Prometheus reads.
    """

    def __init__(
        self,
        bind: str,
        *,
        health: Check,
        ready: Check,
        metrics: Callable[[], bytes],
        content_type: str = "text/plain; version=1.0.0; charset=utf-8",
    ) -> None:
        self.host, self.port = parse_bind(bind)
        self._health = health
        self._ready = ready
        self._metrics = metrics
        self._content_type = content_type
        self._runner: web.AppRunner | None = None

    async def start(self) -> int:
        """Listen; the port that was taken. Raises OSError when the address is in use."""
        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._scrape)
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, self.host or None, self.port).start()
        except OSError:
            await runner.cleanup()
            raise
        self._runner = runner
        self.port = int(runner.addresses[0][1])
        log.info("health and metrics on http://%s:%d", self.host or "0.0.0.0", self.port)  # noqa: S104 - what is shown  # nosec B104
        return self.port

    async def stop(self) -> None:
        """Close the port."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def _healthz(self, _: web.Request) -> web.Response:
        return _page(self._health)

    async def _readyz(self, _: web.Request) -> web.Response:
        return _page(self._ready)

    async def _scrape(self, _: web.Request) -> web.Response:
        return web.Response(body=self._metrics(), headers={"Content-Type": self._content_type})


def _page(check: Check) -> web.Response:
    wrong = list(check())
    return web.Response(status=503 if wrong else 200, text="".join(f"{line}\n" for line in wrong) or "ok\n")


def silent(ages: Callable[[], dict[str, float]], seconds: float) -> Check:
    """A health check: every watch has given a sign of life within ``seconds`` (bookmarks come every 60 to 75 s)."""

    def check() -> list[str]:
        return [f"the watch of {kind} has been silent for {age:.0f} s" for kind, age in ages().items() if age > seconds]

    return check


def parse_bind(bind: str) -> tuple[str, int]:
    """Host ("" for all) and port. Raises ValueError that says what to write."""
    host, separator, port = bind.rpartition(":")
    if not separator or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"{bind!r} is not an address: write host:port, as in 127.0.0.1:8080 or :8080")
    return host.removeprefix("[").removesuffix("]"), int(port)
