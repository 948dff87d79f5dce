"""Requests to one API server: connections, headers, repetition, and errors instead of HTTP codes.

Reads are repeated when the connection breaks or a proxy answers 502 to 504; writes only where that does no harm
(``Call.again``). 429 is waited for as long as it asks, if that is short: a worker that is blocked for longer is
better spent on another key, so then TooManyRequests reaches the queue's own backoff.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import time
from collections.abc import AsyncGenerator, Callable
from typing import Any, NamedTuple

import aiohttp
import orjson
from yarl import URL

from homeport.drivers.kubernetes import errors, remote
from homeport.drivers.kubernetes.config import ClientConfig
from homeport.drivers.kubernetes.types import GVK, Manifest

OnCall = Callable[[str, GVK | None, int, float], None]
"""Told after each request: verb, kind, HTTP code (0: no answer), seconds."""

ATTEMPTS = 4
LONGEST_WAIT = 5.0
"""Seconds that a Retry-After may ask for and still be waited out inside the call."""

MOST_HEADERS = 1024
"""Sets of headers that are kept: one for each kind of request and each identity."""

JSON = "application/json"
_OWN_HEADERS = frozenset({"Accept", "Accept-Encoding", "User-Agent", "Content-Type"})


class Identity(NamedTuple):
    """Whom a request is made as, beside the client's own identity. Without groups the server fills in those that a
    service account has."""

    user: str
    groups: tuple[str, ...] = ()


class Call(NamedTuple):
    """One request. ``path`` has its query; ``content`` is the body's type; ``again``: a repetition does no harm;
    ``identity``: whom it is made as.
    """

    verb: str
    gvk: GVK | None
    method: str
    path: str
    accept: str = JSON
    body: bytes | None = None
    content: str | None = None
    again: bool = False
    identity: Identity | None = None


class Transport:
    """Connections to one API server: at most ``connections`` for requests; watches have their own besides.

    ``timeout`` is in seconds, per request (six times that for a page of a list); a watch that is silent for
    ``silence`` seconds counts as dead. ``on_call`` is told of every request, repeated ones too.
    """

    def __init__(
        self,
        config: ClientConfig,
        *,
        connections: int,
        user_agent: str,
        on_call: OnCall | None,
        timeout: float,
        silence: float,
    ) -> None:
        self._config = config
        self._connections = connections
        self._agent = user_agent
        self._on_call = on_call
        self._timeout = aiohttp.ClientTimeout(total=timeout, sock_connect=min(timeout, 5.0))
        self._list_timeout = aiohttp.ClientTimeout(total=6 * timeout, sock_connect=min(timeout, 5.0))
        self._silence = silence
        self._sessions: dict[bool, aiohttp.ClientSession] = {}
        self._headers: dict[tuple[str, str | None, Identity | None], list[tuple[str, str]]] = {}
        self._token: str | None = None
        self._closed = False

    async def call(self, call: Call) -> Manifest:
        """The decoded answer. Raises ``errors.ApiError`` once repeating is of no use or would do harm."""
        decoded: Manifest = await self._repeated(call)
        return decoded

    async def text(self, call: Call) -> str:
        """The answer as text; undecodable bytes are replaced. Raises as ``call`` does."""
        found: bytes = await self._repeated(call, raw=True)
        return found.decode(errors="replace")

    async def _repeated(self, call: Call, *, raw: bool = False) -> Any:
        attempt = 1
        while True:
            try:
                return await self._once(call, raw)
            except errors.TooManyRequests as error:
                # Refused before it did anything, so that any verb can be repeated.
                if attempt >= ATTEMPTS or error.retry_after > LONGEST_WAIT:
                    raise
                wait = error.retry_after * random.uniform(1.0, 1.2)  # noqa: S311 - spreads load, guards nothing
            except errors.Unauthorized:
                if attempt > 1 or not self._config.reread():
                    raise
                wait = 0.0
            except errors.ServerUnavailable as error:
                if not call.again or attempt >= ATTEMPTS or error.status in {500, 501}:
                    raise
                wait = 0.1 * 2**attempt * random.uniform(0.5, 1.0)  # noqa: S311
            attempt += 1
            await asyncio.sleep(wait)

    async def lines(
        self, call: Call, seconds: float, on_open: Callable[[], None] | None = None
    ) -> AsyncGenerator[bytes, None]:
        """The lines of an answer that goes on for about ``seconds``; no limit on a line's length. Raises ApiError.

        ``on_open`` is told when the server has accepted the request.
        """
        timeout = aiohttp.ClientTimeout(total=seconds + 60, sock_connect=5.0, sock_read=self._silence)
        started = time.perf_counter()
        try:
            async with self._send(call, timeout, watch=True) as answer:
                self._tell(call, answer.status, started)
                if answer.status >= 400:
                    raise errors.from_response(answer.status, await answer.read(), retry_after=_retry_after(answer))
                if on_open is not None:
                    on_open()
                rest = b""
                async for chunk in answer.content.iter_any():
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in lines:
                        if line:
                            yield line
        except aiohttp.SocketTimeoutError as error:
            raise errors.ServerUnavailable(0, errors.SILENT, "the watch has fallen silent") from error
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise _broken(error, write=False) from error

    async def exec(self, path: str, seconds: float) -> remote.Done:
        """Run a command, for so long at most. Raises ApiError, and TimeoutError for one that goes on."""
        token = self._config.bearer()
        headers = {"User-Agent": self._agent, **({"Authorization": f"Bearer {token}"} if token else {})}
        session = self._sessions.get(True) or self._open(True)
        try:
            async with (
                asyncio.timeout(seconds),
                session.ws_connect(
                    URL(self._config.server + path, encoded=True),
                    protocols=remote.PROTOCOLS,
                    headers=headers,
                    server_hostname=self._config.server_name,
                ) as socket,
            ):
                return await remote.read(socket)
        except TimeoutError:
            raise
        except aiohttp.WSServerHandshakeError as error:
            raise errors.from_response(error.status, error.message.encode(), write=True) from error
        except (aiohttp.ClientError, OSError) as error:
            raise _broken(error, write=True) from error

    async def close(self) -> None:
        """Let go of all connections, watches included; what is called afterwards fails."""
        self._closed = True
        sessions = list(self._sessions.values())
        self._sessions.clear()
        for session in sessions:
            await session.close()

    async def _once(self, call: Call, raw: bool) -> Any:
        started = time.perf_counter()
        code = 0
        write = call.method != "GET"
        try:
            timeout = self._list_timeout if call.verb == "list" else self._timeout
            async with self._send(call, timeout, watch=False) as answer:
                data = await answer.read()
                code = answer.status
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise _broken(error, write=write) from error
        finally:
            self._tell(call, code, started)
        if code >= 400:
            raise errors.from_response(code, data, retry_after=_retry_after(answer), write=write)
        try:
            return data if raw else orjson.loads(data)
        except orjson.JSONDecodeError:
            raise errors.from_response(502, data, write=write) from None

    def _send(
        self, call: Call, timeout: aiohttp.ClientTimeout, *, watch: bool
    ) -> aiohttp.client._RequestContextManager:
        token = self._config.bearer()
        if token != self._token:
            self._token = token
            self._headers.clear()
        headers = self._headers.get((call.accept, call.content, call.identity))
        if headers is None:
            headers = self._made_headers(call, token)
        session = self._sessions.get(watch) or self._open(watch)
        return session.request(
            call.method,
            URL(self._config.server + call.path, encoded=True),
            data=call.body,
            headers=headers,
            timeout=timeout,
            allow_redirects=False,
            server_hostname=self._config.server_name,
        )

    def _made_headers(self, call: Call, token: str | None) -> list[tuple[str, str]]:
        # identity: on a cluster's own network, gzip of a long list costs more than it saves.
        headers = [("Accept", call.accept), ("Accept-Encoding", "identity"), ("User-Agent", self._agent)]
        if token:
            headers.append(("Authorization", f"Bearer {token}"))
        if call.content is not None:
            headers.append(("Content-Type", call.content))
        if call.identity is not None:
            headers.append(("Impersonate-User", call.identity.user))
            headers.extend(("Impersonate-Group", group) for group in call.identity.groups)
        if len(self._headers) >= MOST_HEADERS:
            self._headers.clear()
        self._headers[call.accept, call.content, call.identity] = headers
        return headers

    def _open(self, watch: bool) -> aiohttp.ClientSession:
        """The session of the watches, or of everything else: watches must not use up the others' connections."""
        if self._closed:
            raise aiohttp.ClientConnectionError("the client is closed")
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0 if watch else self._connections,
                ssl=self._config.ssl if self._config.ssl is not None else True,
                keepalive_timeout=60,
                socket_factory=_socket,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=_OWN_HEADERS,
            auto_decompress=False,
            read_bufsize=2**18,
        )
        self._sessions[watch] = session
        return session

    def _tell(self, call: Call, code: int, started: float) -> None:
        if self._on_call is not None:
            self._on_call(call.verb, call.gvk, code, time.perf_counter() - started)


def _socket(info: tuple[Any, ...]) -> socket.socket:
    """A socket that notices within half a minute that the far side has vanished without a word."""
    family, kind, protocol, _, _ = info
    sock = socket.socket(family=family, type=kind, proto=protocol)
    options = (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3), ("TCP_USER_TIMEOUT", 30_000))
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in options:
            if hasattr(socket, name):  # not every system has them all
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return sock


def _retry_after(answer: aiohttp.ClientResponse) -> float:
    """Seconds; the API server sends whole seconds, never a date."""
    try:
        return max(0.0, float(answer.headers.get("Retry-After", "1")))
    except ValueError:
        return 1.0


def _broken(error: Exception, *, write: bool) -> errors.ServerUnavailable:
    """No (whole) answer. A connection that was never made cannot have written anything."""
    unknown = write and not isinstance(error, aiohttp.ClientConnectorError)
    if isinstance(error, TimeoutError):
        text = "it timed out"
    elif isinstance(error, aiohttp.ClientPayloadError):
        text = "the connection broke off"
    else:
        text = str(error) or type(error).__name__
    return errors.ServerUnavailable(0, "NoAnswer", f"the API server does not answer: {text}", outcome_unknown=unknown)
