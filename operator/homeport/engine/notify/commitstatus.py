"""Commits marked on their forge: pending, success or failure, as the GitSource that applies them is.

Follows what is, not what happens: what the forge has taken is in the status, and what differs from it is sent. So a
restart loses nothing, and of many changes in a row the last is sent.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from homeport.api.conditions import Reason
from homeport.api.labels import OwnerKey
from homeport.drivers import forge as forges
from homeport.drivers.forge import Forge, ForgeFailed
from homeport.engine.gitops.forgeplaces import Place
from homeport.outcome import Outcome, Stalled, Transient
from homeport.plan.gitops.pulls import State, Status

log = logging.getLogger(__name__)

AGAIN_FIRST, AGAIN_LAST = 2.0, 600.0
"""The first and the longest pause in seconds before what the forge didn't take is sent again."""

Connect = Callable[[str, str, str, str], Forge]
"""(provider, API address, repository, token) -> its client."""


@dataclass(frozen=True)
class Mark:
    """What a commit is to be marked with."""

    commit: str
    state: str
    description: str
    context: str

    @property
    def noted(self) -> dict[str, str]:
        """As the status has it."""
        return {"revision": self.commit, "state": self.state}


@dataclass
class _Desk:
    place: Place
    forge: Forge
    sent: Mapping[str, Any] | None = None
    problem: Outcome | None = None
    failures: int = 0
    retry_at: float = 0.0
    task: asyncio.Task[None] | None = None


class CommitStatuses:
    """All Notifications that mark commits. ``wake`` takes a key and a delay (``after``), as the queue does."""

    def __init__(
        self, wake: Callable[..., None], clock: Callable[[], float], connect: Connect = forges.connect
    ) -> None:
        self._wake = wake
        self._clock = clock
        self._connect = connect
        self._desks: dict[OwnerKey, _Desk] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def look(
        self, key: OwnerKey, place: Place, mark: Mark, known: Mapping[str, Any] | None
    ) -> tuple[Mapping[str, Any] | None, Outcome | None]:
        """What the forge has taken (``known``: as the status has it), and why it doesn't take what it should.

        Begins to send what differs; ``key`` is woken when that has ended. Returns at once.
        """
        desk = self._desks.get(key)
        if desk is None or desk.place != place:
            self.forget(key)
            forge = self._connect(place.provider, place.url, place.repository, place.token)
            desk = self._desks[key] = _Desk(place, forge, known)
        if desk.sent == mark.noted:
            desk.problem = None
        elif desk.task is None and self._clock() >= desk.retry_at:
            desk.task = asyncio.create_task(self._send(key, desk, mark), name=f"commit status {key}")
        return desk.sent, desk.problem

    async def _send(self, key: OwnerKey, desk: _Desk, mark: Mark) -> None:
        try:
            await desk.forge.status(mark.commit, Status(mark.context, State(mark.state), mark.description))
        except ForgeFailed as error:
            desk.retry_at = self._clock() + max(
                error.after, min(AGAIN_LAST, AGAIN_FIRST * 2.0 ** min(desk.failures, 9))
            )
            desk.failures += 1
            make = Transient if error.passes else Stalled
            desk.problem = make(Reason.NOT_DELIVERED, f"commit {mark.commit[:12]} can't be marked: {error}")
            self._wake(key, after=desk.retry_at - self._clock())
        except Exception as error:
            log.exception("%s: marking a commit broke", key)
            desk.retry_at = self._clock() + AGAIN_LAST
            desk.problem = Transient(Reason.NOT_DELIVERED, f"internal error: {type(error).__name__}")
        else:
            desk.sent, desk.problem, desk.failures, desk.retry_at = mark.noted, None, 0, 0.0
        finally:
            desk.task = None
        self._wake(key)

    def forget(self, key: OwnerKey) -> None:
        """A Notification is gone, suspended, or marks elsewhere."""
        desk = self._desks.pop(key, None)
        if desk is not None:
            task = asyncio.get_running_loop().create_task(_close(desk))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def stop(self) -> None:
        """Break off what is under way."""
        for key in list(self._desks):
            self.forget(key)
        await asyncio.gather(*self._closing, return_exceptions=True)


async def _close(desk: _Desk) -> None:
    if desk.task is not None:
        desk.task.cancel()
        await asyncio.gather(desk.task, return_exceptions=True)
    await desk.forge.close()
