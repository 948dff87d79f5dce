"""Kopf glue: the door. Watches our kinds and hands every event to the engine; decides nothing."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import aiohttp
import kopf

from homeport.api import labels
from homeport.api.kinds import KINDS
from homeport.drivers.kubernetes.config import ClientConfig

TOKEN_LIFE = timedelta(minutes=10)


class Seen(Protocol):
    """Where events go."""

    def __call__(self, body: Mapping[str, Any], gone: bool = False) -> None:
        """Must not block and must not raise."""


class Backoffs:
    """Seconds between tries of Kopf's own requests, without end: an outage may take as long as it takes."""

    def __iter__(self) -> Iterator[float]:
        yield from (0.2, 0.5, 1.0)
        while True:
            yield random.uniform(1.5, 2.5)  # noqa: S311 - spreads load, guards nothing


def registry(seen: Seen) -> kopf.OperatorRegistry:
    """One event handler per kind. Change handlers aren't used: they hang on edges (docs/decisions/002)."""
    handlers = kopf.OperatorRegistry()
    for kind in KINDS:
        _watch(handlers, kind.plural, seen)
    return handlers


def _watch(handlers: kopf.OperatorRegistry, plural: str, seen: Seen) -> None:
    @kopf.on.event(labels.GROUP, labels.VERSION, plural, registry=handlers, id=plural)
    async def on_event(event: Mapping[str, Any], **_: Any) -> None:
        seen(event["object"], gone=event["type"] == "DELETED")


def login(handlers: kopf.OperatorRegistry, config: ClientConfig) -> None:
    """Have Kopf use the very credentials that our own client uses, TLS included."""

    @kopf.on.login(registry=handlers, id="homeport")
    async def on_login(**_: Any) -> kopf.AiohttpSession:
        token = config.bearer()
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=config.ssl if config.ssl is not None else True),
            headers={"Authorization": f"Bearer {token}"} if token else None,
        )
        # Projected tokens are renewed on disk about every hour; logging in again reads the new one.
        expires = datetime.now(UTC) + TOKEN_LIFE if config.token_file is not None else None
        return kopf.AiohttpSession(server=config.server, aiohttp_session=session, expiration=expires)


def settings(shard: str | None = None) -> kopf.OperatorSettings:
    """Kopf's settings for a door: no Events of its own, no state of its own on objects, no pauses between workers."""
    out = kopf.OperatorSettings()
    out.posting.enabled = False
    if shard:
        # Items of the operator's namespace are everybody's, whatever their labels; the engine sorts the others out.
        for kind in (kind for kind in KINDS if kind.name != "CatalogItem"):
            out.watching.label_selectors[f"{labels.GROUP}/{kind.plural}"] = shard
    out.watching.server_timeout = 290
    out.watching.client_timeout = 320
    out.watching.connect_timeout = 10
    out.watching.reconnect_backoff = 0.2
    out.networking.error_backoffs = Backoffs()
    out.networking.request_timeout = 60
    out.networking.connect_timeout = 10
    out.queueing.worker_limit = None
    # A worker per object lives this long after its last event; a short life keeps thousands of objects cheap.
    out.queueing.idle_timeout = 0.2
    out.queueing.exit_timeout = 1.0
    return out


__all__ = ["login", "registry", "settings"]
