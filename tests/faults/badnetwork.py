"""A bad network between the operator and the API server: refuses, delays, cuts off, and loses answers."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from aiohttp import web

from homeport.drivers.kubernetes import config

STATUS = {"kind": "Status", "apiVersion": "v1", "status": "Failure"}
_HOP = {"connection", "transfer-encoding", "content-length", "keep-alive", "host"}


class Proxy:
    """Forwards everything while ``bad`` is 0; else so many of a hundred requests fare badly. ``done`` counts how."""

    def __init__(self, kubeconfig: Path, seed: int = 1) -> None:
        self.bad = 0
        self.done: Counter[str] = Counter()
        self._config = config.load(kubeconfig)
        self._chance = random.Random(seed)
        self._runner: web.AppRunner | None = None
        self._session: aiohttp.ClientSession | None = None

    async def start(self, folder: Path) -> Path:
        """Listen; answers a kubeconfig that leads here."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=self._config.ssl or True), auto_decompress=False
        )
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        port = self._runner.addresses[0][1]
        path = folder / "proxied.kubeconfig"
        cluster = {"name": "proxy", "cluster": {"server": f"http://127.0.0.1:{port}"}}
        context = {"name": "proxy", "context": {"cluster": "proxy", "user": "nobody"}}
        user = {"name": "nobody", "user": {}}
        path.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "clusters": [cluster],
                    "contexts": [context],
                    "users": [user],
                    "current-context": "proxy",
                }
            )
        )
        return path

    async def stop(self) -> None:
        """Close."""
        if self._runner is not None:
            await self._runner.cleanup()
        if self._session is not None:
            await self._session.close()

    def _strikes(self) -> bool:
        return self._chance.random() * 100 < self.bad

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        assert self._session is not None
        watch = request.query.get("watch") == "true"
        fate = self._chance.choice(("429", "500", "503", "409", "slow", "lost", "torn")) if self._strikes() else ""
        if fate == "409" and (request.method != "PATCH" or "leases" in request.path):
            fate = "slow"
        if fate:
            self.done[fate] += 1
        if fate in ("429", "500", "503", "409") and not watch:
            return self._refusal(int(fate))
        if fate == "slow":
            await asyncio.sleep(self._chance.uniform(0.05, 1.0))
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP}
        url = self._config.server + str(request.rel_url)
        body, patience = await request.read() or None, aiohttp.ClientTimeout(None)
        try:
            async with self._session.request(
                request.method, url, headers=headers, data=body, timeout=patience
            ) as answer:
                kept = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP}
                if watch and answer.status == 200:
                    return await self._watch(request, answer, kept)
                body = await answer.read()
                if fate == "lost":  # it was carried out, and nobody hears of it
                    self._cut(request)
                if fate == "torn":
                    return await self._torn(request, answer.status, body, kept)
                return web.Response(status=answer.status, body=body, headers=kept)
        except aiohttp.ClientError:
            self._cut(request)
            raise

    def _refusal(self, code: int) -> web.Response:
        reason = {429: "TooManyRequests", 409: "Conflict", 500: "InternalError", 503: "ServiceUnavailable"}[code]
        body = {**STATUS, "code": code, "reason": reason, "message": "the network is bad today"}
        return web.json_response(body, status=code, headers={"Retry-After": "1"} if code == 429 else None)

    def _cut(self, request: web.Request) -> None:
        if request.transport is not None:
            request.transport.abort()

    async def _torn(self, request: web.Request, status: int, body: bytes, headers: Any) -> web.StreamResponse:
        response = web.StreamResponse(status=status, headers={**headers, "Content-Length": str(len(body))})
        await response.prepare(request)
        await response.write(body[: len(body) // 2])
        self._cut(request)
        return response

    async def _watch(self, request: web.Request, answer: aiohttp.ClientResponse, headers: Any) -> web.StreamResponse:
        """A watch: ends by itself, in the middle of a line, or with an error event."""
        response = web.StreamResponse(status=200, headers=headers)
        await response.prepare(request)
        async for chunk in answer.content.iter_any():
            if self._strikes():
                how = self._chance.choice(("closed", "broken", "gone", "error"))
                self.done[how] += 1
                if how == "broken":
                    await response.write(chunk[: len(chunk) // 2])
                    self._cut(request)
                    return response
                if how in ("gone", "error"):
                    code, reason = (410, "Expired") if how == "gone" else (500, "InternalError")
                    event = {"type": "ERROR", "object": {**STATUS, "code": code, "reason": reason, "message": how}}
                    await response.write(json.dumps(event).encode() + b"\n")
                return response
            await response.write(chunk)
        return response
