"""How a Notification's messages get to whom they are for: its spec with the Secrets that it names, ready to be used."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from homeport.api.base import SecretKeyRef
from homeport.api.notification import Email, NotificationSpec
from homeport.drivers.notify import Guard, Http, Letter, MailServer, NotAllowed, NotDelivered, send
from homeport.drivers.notify.http import signature
from homeport.engine.status import timestamp
from homeport.plan.notify import messages
from homeport.plan.notify.outbox import Batch

_FORBIDDEN = frozenset({"host", "content-length", "transfer-encoding", "connection", "x-signature"})


class SecretMissing(Exception):  # noqa: N818 - it says what is missing
    """A Secret isn't there, or lacks what is asked for."""


Secrets = Mapping[str, Mapping[str, Any] | None]
"""Secrets by name, as the API server has them."""


def named(spec: NotificationSpec) -> list[str]:
    """The Secrets that a Notification names."""
    refs: list[Any] = []
    if spec.webhook is not None:
        refs += [spec.webhook.secret_ref, spec.webhook.headers_secret_ref]
    if spec.slack is not None:
        refs.append(spec.slack.url_secret_ref)
    if spec.email is not None:
        refs.append(spec.email.credentials_secret_ref)
    return sorted({ref.name for ref in refs if ref is not None})


@dataclass(frozen=True)
class Way:
    """Where messages go, with all that is needed for it. Nothing of it is told."""

    spec: NotificationSpec
    project: str
    url: str = field(default="", repr=False)
    key: bytes = field(default=b"", repr=False)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)


def way(spec: NotificationSpec, project: str, secrets: Secrets) -> Way:
    """The way of a webhook, a channel or a mail. Raises SecretMissing."""
    if spec.webhook is not None:
        ref, headers = spec.webhook.secret_ref, spec.webhook.headers_secret_ref
        key = _value(secrets, ref).encode() if ref is not None else b""
        return Way(spec, project, spec.webhook.url, key, _headers(_all(secrets, headers.name)) if headers else ())
    if spec.slack is not None:
        return Way(spec, project, _value(secrets, spec.slack.url_secret_ref).strip())
    assert spec.email is not None
    if spec.email.credentials_secret_ref is None:
        return Way(spec, project)
    found = _all(secrets, spec.email.credentials_secret_ref.name)
    if not found.get("username") or not found.get("password"):
        raise SecretMissing(f"Secret {spec.email.credentials_secret_ref.name} lacks username or password")
    return Way(spec, project, username=found["username"], password=found["password"])


def _all(secrets: Secrets, name: str) -> dict[str, str]:
    body = secrets.get(name)
    if body is None:
        raise SecretMissing(f"Secret {name} doesn't exist beside it; create it")
    try:
        return {key: base64.b64decode(value).decode() for key, value in (body.get("data") or {}).items()}
    except (binascii.Error, UnicodeDecodeError):
        raise SecretMissing(f"Secret {name} holds something that isn't text") from None


def _value(secrets: Secrets, ref: SecretKeyRef) -> str:
    found = _all(secrets, ref.name).get(ref.key, "")
    if not found:
        raise SecretMissing(f"Secret {ref.name} has nothing in the key {ref.key}")
    return found


def _headers(found: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    for name, value in found.items():
        wrong = name.lower() in _FORBIDDEN or not name.replace("-", "").replace("_", "").isalnum()
        if wrong or not name.isascii() or not value.strip().isprintable():
            raise SecretMissing(f"{name} in the Secret of headersSecretRef can't be sent as a header")
    return tuple(sorted((name, value.strip()) for name, value in found.items()))


class Ways:
    """Carries messages."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._http = Http(guard)
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="mail")

    async def close(self) -> None:
        """Let go of connections; a mail that is being handed in isn't waited for."""
        await self._http.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def carry(self, way: Way, batch: Batch, now: datetime) -> str:
        """Send one message; what is worth telling although it was taken. Raises NotDelivered."""
        spec = way.spec
        if spec.email is not None:
            return await self._mail(way, spec.email, batch)
        if spec.slack is not None:
            body = json.dumps(messages.slack(batch, spec.slack.channel, spec.template)).encode()
            await self._http.post(way.url, body, {"Content-Type": "application/json"}, secret_url=True)
            return ""
        body = json.dumps(messages.payload(batch, way.project, timestamp(now), spec.template)).encode()
        headers = {**dict(way.headers), "Content-Type": "application/json", "X-Homeport-Id": messages.batch_id(batch)}
        if way.key:
            headers["X-Signature"] = signature(body, way.key)
        await self._http.post(way.url, body, headers)
        return ""

    async def _mail(self, way: Way, email: Email, batch: Batch) -> str:
        host, _, port = email.server.rpartition(":")
        host = host.strip("[]")
        try:
            addresses = await self._guard.addresses(host, int(port))
        except NotAllowed as error:
            raise NotDelivered(str(error), passes=False) from None
        except OSError as error:
            raise NotDelivered(f"{host} can't be resolved: {error.strerror or error}", passes=True) from None
        server = MailServer(host, addresses[0], int(port), email.tls, way.username, way.password)
        mail = messages.mail(batch, way.project, way.spec.template)
        letter = Letter(email.from_, email.to, mail.subject, mail.text, mail.id)
        refused = await asyncio.get_running_loop().run_in_executor(self._threads, partial(send, server, letter))
        return f"{host} refuses {', '.join(refused)}; others got it" if refused else ""
