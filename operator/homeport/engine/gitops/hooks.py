"""Webhooks of forges: a port of their own, where a push is heard of at once instead of at the next poll.

Each GitSource with ``spec.webhook`` has a path of its own, which nobody can guess and which stays: a digest of the
source's UID and its Secret's. A delivery does nothing but have somebody look: what is there is asked of the repository
and of the forge, never taken from the delivery.

============================================ ====== ==============================================================
a delivery                                   answer and then
============================================ ====== ==============================================================
signed well                                  202    the source's mirror, or its pull requests, are looked at now
that came before                             409    nothing
with a wrong signature, or none              401    counted; the source has an Event of it, once an hour
to a path that is nobody's                   404    counted
too many of one source, too many wrong ones   429    counted
larger than 2 MiB                            413    counted; the next poll sees what it was about
while this replica doesn't lead              503    counted, with Retry-After
============================================ ====== ==============================================================
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import logging
import time
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from homeport.api.labels import OwnerKey
from homeport.drivers.kubernetes.errors import ApiError
from homeport.engine.bucket import Bucket
from homeport.engine.gitops.deliveries import About, Delivery, Refused, Seen, checked
from homeport.engine.serve import parse_bind

log = logging.getLogger(__name__)

PREFIX = "/hooks/"
BODY_LIMIT = 2 * 1024 * 1024
"""Bytes. GitHub sends up to 25 MiB; what is larger than this is heard of at the next poll."""
AT_ONCE = 8
"""Bodies that are read at a time."""
BURST, RATE = 30.0, 1.0
"""Deliveries of one source: so many at once, and so many a second afterwards."""
WRONG_BURST, WRONG_RATE = 10.0, 0.2
"""The same for what is wrong, of one address."""
ADDRESSES = 1024
TOLD_AGAIN = 3600.0
"""Seconds until a source's next Event about wrong signatures."""
KEY = "token"
"""The Secret's key, unless it has but one."""

ReadSecret = Callable[[str, str], Awaitable[Mapping[str, Any] | None]]
"""(namespace, name) -> the Secret; may raise ``errors.ApiError``."""
SecretVersion = Callable[[str, str], str | None]


@dataclass
class _Hook:
    """One source's."""

    key: OwnerKey
    secret: str
    branch: str
    bucket: Bucket
    seen: Seen = field(default_factory=Seen)
    known: tuple[str, bytes] | None = field(default=None, repr=False)
    """The Secret's version and what signs."""
    told: float = float("-inf")


def path_of(source_uid: str, secret_uid: str) -> str:
    """Where a source's deliveries go: the same as long as neither of the two is made anew."""
    return PREFIX + hashlib.sha256(f"homeport-webhook\0{source_uid}\0{secret_uid}".encode()).hexdigest()[:40]


class Receiver:
    """All sources' webhooks. ``pushed`` and ``pulled`` are told whose repository, or pull requests, to look at."""

    def __init__(
        self,
        read: ReadSecret,
        version: SecretVersion,
        *,
        pushed: Callable[[OwnerKey], None],
        pulled: Callable[[OwnerKey], None],
        refused: Callable[[OwnerKey, str], None] = lambda key, why: None,
        leading: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.listens = False
        """Whether the operator was told to listen; only then a status says where."""
        self.port = 0
        self.count: Counter[str] = Counter()
        """Deliveries by what came of them."""
        self.pushed, self.pulled, self.refused, self.leading = pushed, pulled, refused, leading
        self._read, self._version = read, version
        self._clock, self._now = clock, now
        self._hooks: dict[str, _Hook] = {}
        self._paths: dict[OwnerKey, str] = {}
        self._wrong: OrderedDict[str, Bucket] = OrderedDict()
        self._room = asyncio.Semaphore(AT_ONCE)
        self._runner: web.AppRunner | None = None

    # -- whose deliveries are taken ---------------------------------------------------------------------------------

    def expect(self, key: OwnerKey, uid: str, secret: str, secret_uid: str, branch: str = "") -> str:
        """Take a source's deliveries from now on; its path, for the status. ``branch``: the one that it follows."""
        path = path_of(uid, secret_uid)
        if self._paths.get(key) != path:
            self.forget(key)
            self._paths[key] = path
            self._hooks[path] = _Hook(key, secret, branch, Bucket(burst=BURST, rate=RATE, now=self._clock()))
        hook = self._hooks[path]
        hook.secret, hook.branch = secret, branch
        return path

    def forget(self, key: OwnerKey) -> None:
        """Take them no more."""
        path = self._paths.pop(key, None)
        if path is not None:
            self._hooks.pop(path, None)

    # -- the server -------------------------------------------------------------------------------------------------

    async def start(self, listen: str) -> int:
        """Listen at ``listen``; the port. Raises OSError and ValueError."""
        host, port = parse_bind(listen)
        app = web.Application(client_max_size=BODY_LIMIT)
        app.router.add_post(PREFIX + "{token}", self._delivered)
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, host or None, port).start()
        except BaseException:
            await runner.cleanup()
            raise
        self._runner, self.listens = runner, True
        self.port = int(runner.addresses[0][1])
        log.info("webhooks on http://%s:%d%s…", host or "0.0.0.0", self.port, PREFIX)  # noqa: S104 - what is shown  # nosec B104
        return self.port

    async def stop(self) -> None:
        """Close the port."""
        runner, self._runner = self._runner, None
        self.listens = False
        if runner is not None:
            await runner.cleanup()

    async def _delivered(self, request: web.Request) -> web.Response:
        if not self.leading():
            return self._answer(503, "standby", "this replica doesn't lead; try again", {"Retry-After": "5"})
        hook = self._hook(request.path)
        if hook is None:
            text = "no such webhook; status.webhookPath of the GitSource has its path"
            return self._wrongly(request, 404, "unknown", text)
        async with self._room:
            try:
                body = await asyncio.wait_for(request.read(), 10.0)
            except web.HTTPRequestEntityTooLarge:
                return self._answer(413, "large", "larger than 2 MiB; the next poll sees what it is about")
            except (TimeoutError, ConnectionError):
                return self._answer(408, "slow", "the body didn't come within 10 s")
        return await self._take(hook, request, body)

    async def _take(self, hook: _Hook, request: web.Request, body: bytes) -> web.Response:
        try:
            secret = await self._secret(hook)
        except ApiError as error:
            log.warning("%s: its webhook's Secret can't be read: %s", hook.key, error)
            return self._answer(503, "failed", "the secret can't be read now; try again", {"Retry-After": "10"})
        try:
            if not secret:
                raise Refused(f"Secret {hook.secret} isn't there or has no key {KEY}")
            delivery = checked(request.headers, body, secret, self._now())
        except Refused as error:
            now = self._clock()
            if now - hook.told >= TOLD_AGAIN:
                hook.told = now
                self.refused(hook.key, f"a webhook delivery was refused: {error}")
            return self._wrongly(request, 401, "refused", str(error))
        if not hook.bucket.take(self._clock()):
            return self._answer(429, "limited", "too many deliveries", {"Retry-After": "30"})
        if hook.seen.repeats(delivery.ids):
            return self._answer(409, "repeated", "this delivery came before")
        self._tell(hook, delivery)
        return self._answer(202, "taken", "")

    def _tell(self, hook: _Hook, delivery: Delivery) -> None:
        if delivery.about is About.PULL:
            self.pulled(hook.key)
        elif delivery.about is About.PUSH and (
            not delivery.branch or not hook.branch or delivery.branch == hook.branch
        ):
            self.pushed(hook.key)

    def _hook(self, path: str) -> _Hook | None:
        """A look-up by the whole digest: what the path guards is only that a body is read; the signature is what
        counts, and that is compared in constant time."""
        return self._hooks.get(path)

    async def _secret(self, hook: _Hook) -> bytes:
        version = self._version(hook.key.namespace, hook.secret)
        if version is None:
            return b""
        if hook.known is None or hook.known[0] != version:
            found = await self._read(hook.key.namespace, hook.secret)
            hook.known = (version, _signing(found or {}))
        return hook.known[1]

    def _wrongly(self, request: web.Request, code: int, result: str, text: str) -> web.Response:
        """Tell what was wrong, so often; behind a proxy all have one address, so nobody is shut out for another."""
        address, now = request.remote or "?", self._clock()
        bucket = self._wrong.setdefault(address, Bucket(burst=WRONG_BURST, rate=WRONG_RATE, now=now))
        self._wrong.move_to_end(address)
        while len(self._wrong) > ADDRESSES:
            self._wrong.popitem(last=False)
        if not bucket.take(now):
            return self._answer(429, "limited", "too many wrong deliveries", {"Retry-After": "60"})
        return self._answer(code, result, text)

    def _answer(self, code: int, result: str, text: str, headers: Mapping[str, str] | None = None) -> web.Response:
        self.count[result] += 1
        return web.Response(status=code, text=f"{text}\n" if text else "", headers=headers)


def _signing(secret: Mapping[str, Any]) -> bytes:
    """What deliveries are signed with; empty when the Secret doesn't say."""
    data = secret.get("data") or {}
    value = data.get(KEY) or (next(iter(data.values())) if len(data) == 1 else "")
    try:
        # An editor's last line end isn't part of it.
        return base64.b64decode(value or "").rstrip(b"\r\n")
    except (binascii.Error, ValueError):
        return b""
