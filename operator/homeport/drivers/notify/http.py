"""Messages by POST: to addresses that the guard lets through, never redirected, bounded in time."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
from collections.abc import Mapping
from ipaddress import ip_address
from urllib.parse import urlsplit

import aiohttp

from homeport.drivers.notify.errors import NotDelivered
from homeport.drivers.notify.guard import Guard, NotAllowed, Resolver

SECONDS = 15.0
"""That an answer may take."""
SAID = 200
"""Characters of what a receiver answers that are told."""


def signature(body: bytes, key: bytes) -> str:
    """For the header X-Signature, as Flux's generic-hmac has it: ``sha256=…``."""
    return "sha256=" + hmac.new(key, body, hashlib.sha256).hexdigest()


class Http:
    """A session. Everything but an answer of 2xx is a NotDelivered."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Let go of connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def post(self, url: str, body: bytes, headers: Mapping[str, str], *, secret_url: bool = False) -> None:
        """Send a body. ``secret_url``: the address itself is a secret: only its host is told, and http isn't taken
        unless an administrator allowed its network."""
        parts = urlsplit(url)
        host = parts.hostname or ""
        if parts.scheme not in ("https", "http") or not host or parts.username:
            raise NotDelivered("the address must begin with https:// and have no name in it", passes=False)
        try:
            await self._may(host, parts.scheme, parts.port or 443, secret_url)
            async with self._http().post(url, data=body, headers=dict(headers), allow_redirects=False) as answer:
                # What it says of its own is read for errors only, and bounded.
                said = b"" if answer.status < 300 else await answer.content.read(4096)
                _hold(host, answer.status, answer.headers, said, secret_url)
        except NotAllowed as error:
            raise NotDelivered(str(error), passes=False) from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _unreachable(host, error) from None

    async def _may(self, host: str, scheme: str, port: int, secret_url: bool) -> None:
        with contextlib.suppress(ValueError):
            self._guard.check(host, str(ip_address(host)))
        if secret_url and scheme == "http":
            found = await self._guard.addresses(host, port)
            if not all(self._guard.named(address) for address in found):
                raise NotDelivered(
                    f"{host}: the address is a secret, which http would send in clear text; write one that begins with "
                    "https://",
                    passes=False,
                )

    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(resolver=Resolver(self._guard), limit=8, use_dns_cache=False)
            timeout = aiohttp.ClientTimeout(total=SECONDS, connect=10.0)
            # No proxy of the environment: it would resolve names past the guard.
            self._session = aiohttp.ClientSession(
                connector=connector, timeout=timeout, trust_env=False, headers={"User-Agent": "homeport"}
            )
        return self._session


def _unreachable(host: str, error: BaseException) -> NotDelivered:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, NotAllowed):
            return NotDelivered(str(cause), passes=False)
        cause = cause.__cause__ or getattr(cause, "os_error", None)
    if isinstance(error, TimeoutError):
        return NotDelivered(f"{host} gives no answer within {SECONDS:g} s", passes=True)
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return NotDelivered(f"{host}: its certificate isn't trusted", passes=False)
    # aiohttp's own words have the host and the cause, never the path.
    return NotDelivered(f"{host} can't be reached: {type(error).__name__}", passes=True)


def _hold(host: str, status: int, headers: Mapping[str, str], said: bytes, secret: bool) -> None:
    if status < 300:
        return
    if status < 400:
        where = urlsplit(headers.get("Location", "")).hostname or "elsewhere"
        text = f"{host} redirects to {where}, which isn't followed; write the new address"
        raise NotDelivered(text, passes=False)
    words = " ".join(said.decode(errors="replace").split())[:SAID]
    told = f" ({words})" if words and words.isprintable() and not secret else ""
    passes = status >= 500 or status in (408, 425, 429)
    raise NotDelivered(f"{host} answers {status}{told}", passes=passes, after=_seconds(headers.get("Retry-After")))


def _seconds(text: str | None) -> float:
    return float(text) if text is not None and text.isdecimal() else 0.0
