"""Commands in a container: the API server's websocket is played, message by message; and the last lines of a log."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from homeport.drivers.kubernetes import errors
from homeport.drivers.kubernetes.client import Client
from homeport.drivers.kubernetes.config import ClientConfig
from homeport.drivers.kubernetes.remote import Done

Play = Callable[[web.WebSocketResponse], Awaitable[None]]
EXEC = "/api/v1/namespaces/shop/pods/db-0/exec"


@asynccontextmanager
async def server(play: Play, seen: list[web.Request]) -> AsyncIterator[Client]:
    async def handle(request: web.Request) -> web.StreamResponse:
        seen.append(request)
        socket = web.WebSocketResponse(protocols=("v5.channel.k8s.io",))
        await socket.prepare(request)
        await play(socket)
        await socket.close()
        return socket

    async def log(request: web.Request) -> web.Response:
        seen.append(request)
        return web.Response(text="one\ntwo\n")

    app = web.Application()
    app.router.add_get(EXEC, handle)
    app.router.add_get("/api/v1/namespaces/shop/pods/db-0/log", log)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    client = Client(ClientConfig(f"http://127.0.0.1:{port}", token="a-token"))
    try:
        yield client
    finally:
        await client.close()
        await runner.cleanup()


def status(**fields: object) -> bytes:
    return b"\x03" + json.dumps({"kind": "Status", "metadata": {}, **fields}).encode()


def exited(code: int) -> bytes:
    causes = [{"reason": "ExitCode", "message": str(code)}]
    return status(status="Failure", reason="NonZeroExitCode", details={"causes": causes})


async def run(*messages: bytes, seconds: float = 30.0) -> Done:
    async def play(socket: web.WebSocketResponse) -> None:
        for message in messages:
            await socket.send_bytes(message)

    async with server(play, []) as client:
        return await client.exec("shop", "db-0", "db", ["true"], seconds)


async def test_what_a_command_says_and_how_it_ends() -> None:
    good = status(status="Success")
    assert await run(b"\x01", b"\x01he", b"\x02oh", b"\x01llo", good) == Done(0, "hello", "oh")
    assert (await run(exited(3))).exit_code == 3


async def test_how_it_is_asked_for() -> None:
    seen: list[web.Request] = []

    async def play(socket: web.WebSocketResponse) -> None:
        await socket.send_bytes(status(status="Success"))

    async with server(play, seen) as client:
        await client.exec("shop", "db-0", "db", ["sh", "-c", "sync; echo a&b"], 30.0)
    asked = seen[0]
    assert asked.query.getall("command") == ["sh", "-c", "sync; echo a&b"]
    assert (asked.query["container"], asked.query["stdout"], asked.query["stderr"]) == ("db", "true", "true")
    assert asked.headers["Authorization"] == "Bearer a-token"
    assert "v5.channel.k8s.io" in asked.headers["Sec-WebSocket-Protocol"]


async def test_a_command_that_can_not_be_run() -> None:
    text = 'exec: "nothing": executable file not found in $PATH'
    with pytest.raises(errors.ApiError, match="executable file not found"):
        await run(status(status="Failure", reason="InternalError", code=500, message=text))


async def test_an_end_without_a_word_is_no_success() -> None:
    with pytest.raises(errors.ServerUnavailable, match="ended before the command did"):
        await run(b"\x01half")


async def test_a_command_that_goes_on_is_given_up_on() -> None:
    released = asyncio.Event()

    async def play(socket: web.WebSocketResponse) -> None:
        await socket.receive()
        released.set()

    async with server(play, []) as client:
        with pytest.raises(TimeoutError):
            await client.exec("shop", "db-0", "db", ["sleep", "1000"], 0.05)
        await asyncio.wait_for(released.wait(), 30)


async def test_a_pod_that_is_not_there() -> None:
    async with server(lambda socket: asyncio.sleep(0), []) as client:
        with pytest.raises(errors.NotFound):
            await client.exec("shop", "gone-0", "db", ["true"], 30.0)


async def test_what_is_said_without_an_end_is_not_kept() -> None:
    said = await run(*[b"\x01" + b"x" * 60000] * 4, status(status="Success"))
    assert len(said.stdout) == 65536


async def test_the_last_lines_of_a_log() -> None:
    seen: list[web.Request] = []
    async with server(lambda socket: asyncio.sleep(0), seen) as client:
        assert await client.log("shop", "db-0", "runner", lines=1, limit=100) == "one\ntwo\n"
        assert dict(seen[0].query) == {"container": "runner", "tailLines": "1", "limitBytes": "100"}
        with pytest.raises(errors.NotFound):
            await client.log("shop", "gone-0", "runner", lines=1)
