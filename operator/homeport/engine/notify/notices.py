"""Who is told of what happens: a desk for each Notification, with what waits there and one task that sends it.

Events come from the recorder that writes them into the cluster, so all that is told is there as an Event, too, and an
operator that starts anew reads there what nobody was told of (``handledUntil`` in the status says how far that got).
Lost is what the recorder itself lost: when the process is killed between a status and its Event, or has too much to
say.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from homeport.api.base import interval_seconds
from homeport.api.conditions import Reason
from homeport.api.labels import OwnerKey
from homeport.api.notification import NotificationSpec
from homeport.api.resource import Resource
from homeport.drivers.notify import Guard, NotDelivered
from homeport.engine.notify.commitstatus import CommitStatuses
from homeport.engine.notify.ways import Way, Ways
from homeport.engine.status import timestamp
from homeport.outcome import Outcome, Stalled, Transient
from homeport.plan.notify import happenings
from homeport.plan.notify.happenings import Happening
from homeport.plan.notify.outbox import Batch, Outbox

log = logging.getLogger(__name__)

KNOWN = 1024
"""Events of a desk that are known, so that none is taken twice."""
TOLD_LATER = 2.0
"""Seconds after which the status says what was sent: several messages make one write."""


class Enqueue(Protocol):
    """Puts a key into the queue."""

    def __call__(self, key: OwnerKey, priority: int = ..., after: float = ...) -> None:
        """``after`` is in seconds."""


@dataclass
class Desk:
    """What is known of one Notification."""

    key: OwnerKey
    uid: str
    spec: NotificationSpec
    outbox: Outbox
    way: Way | None = None
    """How messages get there; None while something for it is missing."""
    inputs: object = None
    """What ``way`` was made of."""
    until: str = ""
    """The time of the newest event that was told."""
    handled: tuple[str, ...] = ()
    """Events of that second that were told."""
    last: Mapping[str, Any] | None = None
    """The newest message that was taken, as the status has it."""
    sent: int = 0
    dropped_before: int = 0
    problem: Outcome | None = None
    tested: Mapping[str, Any] | None = None
    testing: asyncio.Task[None] | None = None
    test_token: str = ""
    """The last one that was acted on."""
    task: asyncio.Task[None] | None = None
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    known: deque[str] = field(default_factory=lambda: deque(maxlen=KNOWN))

    @property
    def dropped(self) -> int:
        """Events that were never told."""
        return self.dropped_before + self.outbox.dropped


class Notices:
    """All desks. ``ways`` may be replaced before the first is opened; Notifications in the namespace ``system`` hear of
    all namespaces."""

    def __init__(
        self, enqueue: Enqueue, clock: Callable[[], float], now: Callable[[], datetime], system: str = ""
    ) -> None:
        self.ways = Ways(Guard())
        self.marks = CommitStatuses(enqueue, clock)
        self._enqueue = enqueue
        self._clock = clock
        self._now = now
        self._system = system
        self._desks: dict[OwnerKey, Desk] = {}

    def desk(self, key: OwnerKey) -> Desk | None:
        """The desk of a Notification."""
        return self._desks.get(key)

    def open(self, resource: Resource[NotificationSpec], status: Mapping[str, Any]) -> Desk:
        """The desk of a Notification, with what its status remembers; ``way`` is still to be set."""
        desk = self._desks.get(resource.key)
        rate, repeat = resource.spec.rate, interval_seconds(resource.spec.repeat_after)
        per = interval_seconds(rate.per)
        if desk is None or desk.uid != resource.uid:
            self.forget(resource.key)
            desk = Desk(
                resource.key,
                resource.uid,
                resource.spec,
                Outbox(repeat, rate.messages, per),
                until=str(status.get("handledUntil") or resource.created),
                handled=tuple(status.get("handled") or ()),
                last=status.get("lastSent"),
                sent=int(status.get("sent") or 0),
                dropped_before=int(status.get("dropped") or 0),
                tested=status.get("lastTest"),
            )
            self._desks[resource.key] = desk
        desk.spec = resource.spec
        desk.outbox.configure(repeat, rate.messages, per)
        return desk

    def forget(self, key: OwnerKey) -> None:
        """A Notification is gone, or suspended: nobody is told of what waits."""
        self.marks.forget(key)
        desk = self._desks.pop(key, None)
        if desk is not None and desk.task is not None:
            desk.task.cancel()

    async def stop(self) -> None:
        """Break off what is under way: it is told after the next start."""
        desks = self._desks.values()
        tasks = [task for desk in desks for task in (desk.task, desk.testing) if task is not None]
        self._desks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.marks.stop()

    async def close(self) -> None:
        """Stop for good."""
        await self.stop()
        await self.ways.close()

    # -- what happens ---------------------------------------------------------------------------------------------

    def heard(self, event: Mapping[str, Any]) -> None:
        """An Event of ours was made. Returns at once."""
        happening = happenings.of_event(event)
        if happening is None:
            return
        for desk in self._desks.values():
            self._take(desk, happening)

    def late(self, desk: Desk, events: Sequence[Mapping[str, Any]]) -> None:
        """Events that the cluster has, for a desk that was just opened."""
        for happening in happenings.missed(events, desk.until, desk.handled):
            self._take(desk, happening)

    def _take(self, desk: Desk, happening: Happening) -> None:
        ours = desk.key.namespace in (happening.namespace, self._system)
        itself = (happening.kind, happening.namespace, happening.name) == tuple(desk.key)
        if not ours or itself or happening.id in desk.known:
            return
        if happenings.fits(happening, desk.spec.events):
            desk.known.append(happening.id)
            desk.outbox.add(happening, self._clock())
            self.go_on(desk)

    def go_on(self, desk: Desk) -> None:
        """See to it that what waits is sent."""
        if desk.outbox.idle and desk.outbox.due(self._clock()) is None:
            return
        desk.wake.set()
        if desk.task is None or desk.task.done():
            desk.task = asyncio.create_task(self._send(desk), name=f"notify {desk.key}")

    # -- sending --------------------------------------------------------------------------------------------------

    async def _send(self, desk: Desk) -> None:
        """Until nothing waits."""
        while desk.way is not None:
            desk.wake.clear()
            now = self._clock()
            batch = desk.outbox.take(now)
            if batch is not None:
                await self._carry(desk, desk.way, batch)
                continue
            due = desk.outbox.due(now)
            if due is None:
                return
            try:
                async with asyncio.timeout(max(due - now, 0.01)):
                    await desk.wake.wait()
            except TimeoutError:
                continue

    async def _carry(self, desk: Desk, way: Way, batch: Batch) -> None:
        first = desk.problem is None
        try:
            noted = await self.ways.carry(way, batch, self._now())
        except NotDelivered as error:
            desk.outbox.failed(self._clock(), error.after, random.random())  # noqa: S311 - spreads load, guards nothing
            desk.problem = _problem(error)
            log.info("%s: %s", desk.key, error)
            self._enqueue(desk.key, after=0.0 if first else TOLD_LATER)
            return
        except Exception as error:
            log.exception("%s: a message couldn't be made", desk.key)
            desk.outbox.failed(self._clock(), 0.0, random.random())  # noqa: S311
            desk.problem = Transient(Reason.PROGRESSING_WITH_RETRY, f"internal error: {type(error).__name__}")
            self._enqueue(desk.key)
            return
        desk.outbox.sent()
        desk.problem = Stalled(Reason.INVALID_SPEC, noted) if noted else None
        self._note(desk, batch)
        self._enqueue(desk.key, after=TOLD_LATER)

    def _note(self, desk: Desk, batch: Batch) -> None:
        newest = max(one.time for one in batch.happenings)
        ids = [one.id for one in batch.happenings if one.time == newest]
        if newest >= desk.until:
            desk.handled = tuple([*(desk.handled if newest == desk.until else ()), *ids][-64:])
            desk.until = newest
        desk.sent += 1
        about = batch.happenings[-1].about
        desk.last = {"time": timestamp(self._now()), "events": len(batch.happenings), "about": about}

    def test(self, desk: Desk, token: str, happening: Happening) -> None:
        """Send one message now, beside what waits, and note how that went."""
        desk.test_token = token
        desk.testing = asyncio.create_task(self._test(desk, token, happening), name=f"notify test {desk.key}")

    async def _test(self, desk: Desk, token: str, happening: Happening) -> None:
        assert desk.way is not None
        try:
            noted = await self.ways.carry(desk.way, Batch((happening,), 0, (self._clock(),)), self._now())
        except NotDelivered as error:
            desk.tested = {"token": token, "delivered": False, "message": str(error)}
        else:
            desk.tested = {"token": token, "delivered": True, "message": noted}
        self._enqueue(desk.key)


def _problem(error: NotDelivered) -> Outcome:
    if error.passes:
        return Transient(Reason.NOT_DELIVERED, str(error))
    return Stalled(Reason.NOT_DELIVERED, str(error))
