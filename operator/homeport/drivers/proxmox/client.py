"""Requests to a cluster: endpoints in order, the last good one first, and no doubt about what has happened.

=============================  ======================================  =========================================
what goes wrong                a read                                  a write
=============================  ======================================  =========================================
no connection, wrong TLS       the next endpoint                       the next endpoint: nothing was sent
connection breaks              once more, then the next endpoint       OutcomeUnknown
no answer in time              the next endpoint                       OutcomeUnknown
595 (node unreachable)         the next endpoint, which may be it      OutcomeUnknown
596 … 599, 502, 503, 504       the next endpoint                       OutcomeUnknown
another cluster, old version   the next endpoint                       the next endpoint: nothing was sent
anything else that PVE says    the error                               the error
=============================  ======================================  =========================================

Before an endpoint is read for the first time, or anew after it failed, its version and cluster are looked at. A write
goes over a connection only after they were looked at over that very connection, so that it never lands in another
cluster because a name in the DNS has moved: ``guard.Guard`` refuses to open one unseen. A proxy that spreads
the requests of one connection over several clusters isn't guarded against.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, BinaryIO
from urllib.parse import quote

from homeport.drivers.proxmox import errors
from homeport.drivers.proxmox.config import HostConfig
from homeport.drivers.proxmox.connection import Broken, Connection, OnCall
from homeport.drivers.proxmox.pool import Pool
from homeport.plan.proxmox import readings
from homeport.plan.proxmox.readings import Identity, Version

Params = Mapping[str, str | int | bool | BinaryIO | None]

THREADS = 8
"""Requests to one host at the same time."""


class Client:
    """A cluster. ``identity``: which one it must be, once that is known; the first one that answers otherwise.

    Raises ValueError when a CA isn't one.
    """

    def __init__(
        self,
        config: HostConfig,
        *,
        identity: Identity | None = None,
        on_call: OnCall | None = None,
        threads: int = THREADS,
    ) -> None:
        self.config = config
        self.identity = identity
        told = on_call or (lambda method, code, seconds: None)
        self._pool = Pool(threads, f"proxmox-{config.endpoints[0].host}")
        self._connections = [Connection(endpoint, config, self._look_at, told) for endpoint in config.endpoints]
        self._recognising = threading.Lock()
        self._admitted = [False] * len(self._connections)
        self._admitting = asyncio.Lock()
        self._good = 0

    @property
    def endpoint(self) -> str:
        """The endpoint that is tried first now."""
        return self._connections[self._good].endpoint.url

    async def call(self, method: str, *segments: str | int, params: Params | None = None, sure: bool = False) -> Any:
        """The data that PVE answers. Raises ``errors.ProxmoxError`` or one of its children; ValueError for a segment
        that is no name.

        ``segments`` are the path's, each one name; parameters that are None are left out, booleans are 1 and 0.
        ``sure``: a read on which something is done that can't be undone; it goes the way of a write.
        """
        sure = sure or method != "GET"
        path, sent = _path(segments), _sent(params or {})
        if self._pool.closed:
            raise errors.Unreachable(0, f"{self.endpoint}: the connection was given up")
        told: list[errors.ProxmoxError] = []
        for number in self._order():
            with _noting(told, method):
                if not sure:
                    await self._admit(number)
                asking = partial(self._connections[number].request, method, path, sent, sure=sure)
                found = await self._pool.run(asking)
                self._good = number
                return found
            self._admitted[number] = self._admitted[number] and isinstance(told[-1], errors.NodeUnreachable)
        raise _worst(told)

    def _order(self) -> Iterator[int]:
        yield self._good
        yield from (number for number in range(len(self._connections)) if number != self._good)

    async def _admit(self, number: int) -> None:
        """Look at an endpoint before it is used for the first time, or anew after it failed."""
        if self._admitted[number]:
            return
        async with self._admitting:
            if not self._admitted[number]:
                await self._pool.run(self._connections[number].admit)
                self._admitted[number] = True

    def _look_at(self, where: str, ask: Callable[[str], Any]) -> None:
        """Whether it is a version that is known, and the cluster that it was. Runs in a thread."""
        version = ask("version")
        try:
            found = Version.parse(str(version["version"]))
        except (ValueError, TypeError, KeyError):
            raise errors.UnsupportedVersion(
                0, f"{where} doesn't say which version of Proxmox VE it is; {readings.SUPPORTED} work"
            ) from None
        if not readings.is_supported(found):
            raise errors.UnsupportedVersion(
                0, f"{where} is Proxmox VE {found.text}, which isn't supported; {readings.SUPPORTED} work"
            )
        self._recognise(where, readings.cluster_status(ask("cluster/status")).identity)

    def recognise(self, found: Identity) -> None:
        """Hold the cluster that has just answered against the one that it must be.

        A connection that ended is opened anew under the same name, which may lead elsewhere by now. Raises
        ``errors.OtherCluster``; every endpoint is looked at again then.
        """
        try:
            self._recognise(self.endpoint, found)
        except errors.OtherCluster:
            self._admitted = [False] * len(self._connections)
            raise

    def _recognise(self, where: str, found: Identity) -> None:
        with self._recognising:
            if self.identity is not None and not self.identity.is_same(found):
                raise errors.OtherCluster(
                    0, f"{where} belongs to cluster {found}, and this host is cluster {self.identity}"
                )
            self.identity = found

    async def close(self) -> None:
        """Let go of everything; what is under way may go on for as long as a request may take."""
        self._pool.close()
        for connection in self._connections:
            connection.close()


@contextlib.contextmanager
def _noting(told: list[errors.ProxmoxError], method: str) -> Iterator[None]:
    """Swallow and note what another endpoint may do better; a write whose end isn't known is no such thing."""
    try:
        yield
    except Broken as error:
        if method != "GET":
            raise errors.OutcomeUnknown(0, f"no answer to a change: {error.message}") from None
        told.append(errors.Unreachable(0, error.message))
    except (
        errors.Unreachable,
        errors.NodeUnreachable,
        errors.OtherCluster,
        errors.UnsupportedVersion,
    ) as error:
        told.append(error)


_WEIGHT = (errors.OtherCluster, errors.UnsupportedVersion, errors.NodeUnreachable, errors.Untrusted)


def _worst(told: list[errors.ProxmoxError]) -> errors.ProxmoxError:
    """What to say when no endpoint did: what a person has to mend first; all of it, if it is all of a kind."""
    for kind in _WEIGHT:
        found = next((error for error in told if isinstance(error, kind)), None)
        if found is not None:
            return found
    return errors.Unreachable(told[0].status, "; ".join(error.message for error in told))


def _path(segments: tuple[str | int, ...]) -> str:
    """A path whose parts can't leave their place. Raises ValueError for a name that nothing can have."""
    names = [str(segment) for segment in segments]
    wrong = [name for name in names if name in ("", ".", "..")]
    if wrong:
        raise ValueError(f"{wrong[0]!r} is no name in Proxmox VE")
    return "/".join(quote(name, safe=":@!") for name in names)


def _sent(params: Params) -> dict[str, str | int | BinaryIO]:
    """Parameters as PVE takes them."""
    return {
        name: int(value) if isinstance(value, bool) else value for name, value in params.items() if value is not None
    }
