"""Requests to a forge: bounded, conditional, patient where the forge asks for patience, and never redirected."""

from __future__ import annotations

import asyncio
import json
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

import aiohttp

from homeport.drivers.forge.errors import ForgeFailed

ANSWER_LIMIT = 8 * 1024 * 1024
"""Bytes of one answer."""
PAGES = 20
PER_PAGE = 50
"""What all of them give at most by default: Gitea's ``MAX_RESPONSE_ITEMS`` is 50."""
_REMEMBERED = 256
"""Answers that are kept with their ETags."""
_LONGEST = 3600.0
HINTS = {
    401: "the token isn't good; write a new one into the Secret of pullRequests.forge.tokenSecretRef",
    403: "the token may not do that; give it the rights that docs/kinds/gitsource.md lists",
    404: "there is no such thing, or the token may not see it; check forge.url and forge.repository",
}
"""What to do about an answer, in the words of a GitSource."""


class Http:
    """A session with one forge. Raises ``ForgeFailed`` for everything but the codes that a caller takes.

    ``hints``: what to do about an answer, by its code.
    """

    def __init__(
        self,
        base: str,
        headers: Mapping[str, str],
        clock: Callable[[], float] = time.time,
        hints: Mapping[int, str] = HINTS,
    ) -> None:
        self.base = base
        self._hints = hints
        self._headers = {"User-Agent": "homeport", "Accept": "application/json", **headers}
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None
        self._known: OrderedDict[str, tuple[str, Any]] = OrderedDict()
        self._closed_until = 0.0
        self._why = ""
        self.requests = 0
        """Requests that were made; answers of "not changed" among them."""

    async def close(self) -> None:
        """Let go of connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def get(self, path: str, query: Mapping[str, Any] | None = None, *, accept: Collection[int] = ()) -> Any:
        """A document; None for a code in ``accept``."""
        return await self.send("GET", path, query=query, accept=accept)

    async def pages(
        self, path: str, query: Mapping[str, Any] | None = None, *, accept: Collection[int] = ()
    ) -> AsyncIterator[Any]:
        """The items of a list, page by page; all three forges count pages from 1. None for a code in ``accept``."""
        for page in range(1, PAGES + 1):
            found = await self.get(path, {**(query or {}), "page": page}, accept=accept)
            if found is None and accept:
                return
            if not isinstance(found, list):
                raise ForgeFailed(f"{self._host} answered {path} with something that isn't a list", passes=False)
            for item in found:
                yield item
            if len(found) < PER_PAGE:
                return
        # What the rest says may be what counts: that a label was taken off again.
        raise ForgeFailed(f"{self._host} has more than {PAGES * PER_PAGE} entries at {path}", passes=False)

    async def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, Any] | None = None,
        accept: Collection[int] = (),
    ) -> Any:
        """One request; its document (None when there is none, or for a code in ``accept``)."""
        url = f"{self.base}{path}" + (f"?{urlencode(query)}" if query else "")
        wait = self._closed_until - self._clock()
        if wait > 0:
            raise ForgeFailed(self._why, passes=True, after=wait)
        etag, kept = self._known.get(url, ("", None)) if method == "GET" else ("", None)
        headers = {**self._headers, **({"If-None-Match": etag} if etag else {})}
        try:
            status, answer, data = await self._exchange(method, url, headers, body)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ForgeFailed(f"{self._host} doesn't answer: {_why(error)}", passes=True) from None
        self._note_limits(status, answer)
        if status == 304 and etag:
            self._known.move_to_end(url)
            return kept
        if status in accept:
            return None
        if status >= 300:
            raise self._failure(method, path, status, answer, data)
        found = _document(data, self._host, path)
        if method == "GET" and (tag := answer.get("ETag")):
            self._known[url] = (tag, found)
            while len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return found

    async def _exchange(
        self, method: str, url: str, headers: Mapping[str, str], body: Any
    ) -> tuple[int, Mapping[str, str], bytes]:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=30.0, connect=10.0)
            self._session = aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=4))
        self.requests += 1
        # A redirect would take the token elsewhere.
        async with self._session.request(method, url, headers=headers, json=body, allow_redirects=False) as answer:
            data = bytearray()
            async for piece in answer.content.iter_chunked(65536):
                data += piece
                if len(data) > ANSWER_LIMIT:
                    raise ForgeFailed(f"{self._host} answers with more than {ANSWER_LIMIT >> 20} MiB", passes=False)
            return answer.status, answer.headers, bytes(data)

    @property
    def _host(self) -> str:
        return urlsplit(self.base).netloc

    def _note_limits(self, status: int, answer: Mapping[str, str]) -> None:
        """Ask nothing more until the forge takes questions again.

        Sources: https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api,
        https://docs.gitlab.com/administration/settings/user_and_ip_rate_limits/ (RateLimit-Reset, Retry-After)
        """
        now = self._clock()
        wait = _number(answer.get("Retry-After")) if status in (403, 429, 503) else None
        left = answer.get("X-RateLimit-Remaining", answer.get("RateLimit-Remaining"))
        if wait is None and left == "0" and (status in (403, 429) or status < 400):
            until = _number(answer.get("X-RateLimit-Reset", answer.get("RateLimit-Reset")))
            wait = until - now if until is not None else 60.0
        if wait is None and status == 429:
            wait = 60.0
        if wait is not None and wait > 0:
            wait = min(wait, _LONGEST)
            self._closed_until = now + wait
            self._why = f"{self._host} takes no more questions for {wait:.0f} s: its rate limit is reached"

    def _failure(self, method: str, path: str, status: int, answer: Mapping[str, str], data: bytes) -> ForgeFailed:
        wait = self._closed_until - self._clock()
        if wait > 0 and status in (403, 429, 503):
            return ForgeFailed(self._why, passes=True, after=wait, code=status)
        said = _said(data)
        about = f"{method} {path} at {self._host}"
        if 300 <= status < 400:
            where = urlsplit(answer.get("Location", "")).netloc or "elsewhere"
            text = f"it redirects to {where}, which a token doesn't follow; write that address into forge.url"
            return ForgeFailed(f"{about}: {text}", passes=False, code=status)
        text = self._hints.get(status) or f"it answers {status}"
        return ForgeFailed(f"{about}: {text}{said}", passes=status >= 500 or status in (408, 409, 423), code=status)


def _document(data: bytes, host: str, path: str) -> Any:
    if not data:
        return None
    try:
        return json.loads(data)
    except ValueError:
        raise ForgeFailed(
            f"{host} answers {path} with something that isn't JSON; check forge.url", passes=False
        ) from None


def _said(data: bytes) -> str:
    """What the forge says of it, bounded and on one line."""
    try:
        found = json.loads(data)
        text = found.get("message") or found.get("error") or "" if isinstance(found, dict) else ""
        # GitHub's 422 says only here which field it is about.
        more = [one.get("message") or one.get("field") for one in _listed(found, "errors") if isinstance(one, dict)]
        text = ": ".join(str(part) for part in (text, ", ".join(str(one) for one in more if one)) if part)
    except ValueError:
        return ""
    return f" ({' '.join(str(text).split())[:200]})" if text else ""


def _listed(found: Any, key: str) -> list[Any]:
    value = found.get(key) if isinstance(found, dict) else None
    return value if isinstance(value, list) else []


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text is not None else None
    except ValueError:
        return None


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError | asyncio.TimeoutError):
        return "no answer within 30 s"
    return str(error) or type(error).__name__
