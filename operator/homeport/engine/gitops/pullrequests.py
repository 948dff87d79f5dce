"""Open pull requests of sources: read in the background, each by its interval or when a webhook says so, and what is
written beside them.

A reconciliation takes what was last read, and is woken when that is another. What is read is the truth each time,
whether anybody heard of a change or not. A list is read page by page, and shifts meanwhile: a pull request that was
known and isn't in it is asked for by its number before it counts as closed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from homeport.api.conditions import Reason
from homeport.api.labels import OwnerKey
from homeport.drivers import forge as driver
from homeport.drivers.forge import Forge, ForgeFailed
from homeport.engine.gitops import admission
from homeport.engine.gitops.admission import Admission, Rules
from homeport.outcome import Outcome, Stalled, Transient
from homeport.plan.gitops.pulls import Pull, Status

log = logging.getLogger(__name__)

SOONEST = 1.0
"""Seconds between two readings at least, however often somebody asks."""
AT_MOST = 64
"""Pull requests of one source that are looked at; a status holds as many."""

Connect = Callable[[str, str, str, str], Forge]
"""(provider, API address, repository, token) -> its client."""


@dataclass(frozen=True)
class Ask:
    """What a source wants to know."""

    provider: str
    url: str
    repository: str
    token: str = field(repr=False)
    base: str
    rules: Rules
    interval: float = 60.0


@dataclass(frozen=True)
class Seen:
    """What is known. ``pulls`` is None until they were read once; ``problem`` says why the last reading failed."""

    pulls: tuple[Pull, ...] | None = None
    held_back: Mapping[int, str] = field(default_factory=dict)
    """Why one isn't let in, by number."""
    trusted: frozenset[int] = frozenset()
    """Those of authors who are trusted, label or not."""
    left_out: int = 0
    """How many more there are than are looked at."""
    problem: Outcome | None = None
    closed: frozenset[int] = frozenset()
    """Those that were known, and aren't open any more by the forge's word. What is neither here nor in ``pulls`` may be
    open."""


@dataclass
class _Link:
    """One source's forge."""

    ask: Ask
    forge: Forge
    admission: Admission
    seen: Seen = field(default_factory=Seen)
    due: float = 0.0
    read_at: float = float("-inf")
    task: asyncio.Task[None] | None = None
    known: Mapping[int, str] = field(default_factory=dict)
    standing: frozenset[int] = frozenset()
    """Those that something is there of."""
    answered: frozenset[int] = frozenset()
    """Those of which the newest reading told whether they are open."""
    posts: dict[int, _Post] = field(default_factory=dict)
    posted: dict[tuple[int, str], tuple[Any, ...]] = field(default_factory=dict)
    writer: asyncio.Task[None] | None = None
    unwritten: str = ""
    """Why the last thing couldn't be written."""


@dataclass(frozen=True)
class _Post:
    """What is to be beside a pull request and its head."""

    head: str
    marker: str
    text: str
    statuses: tuple[Status, ...]

    @property
    def content(self) -> tuple[Any, ...]:
        """What tells it from another."""
        return self.marker, self.text, self.statuses


class PullRequests:
    """All sources' pull requests. ``wake`` takes a key, a priority and a delay in seconds, as the queue does."""

    def __init__(
        self, wake: Callable[..., None], clock: Callable[[], float], connect: Connect = driver.connect
    ) -> None:
        self._wake = wake
        self._clock = clock
        self._connect = connect
        self._links: dict[OwnerKey, _Link] = {}
        self._closing: set[asyncio.Task[Any]] = set()

    def look(self, key: OwnerKey, ask: Ask, known: Mapping[int, str], standing: Collection[int] = ()) -> Seen:
        """What is known of a source's pull requests; a reading begins when that is too old. Returns at once.

        ``known``: the commits that have a preview already, by number: they were let in before. ``standing``: those that
        anything is there of: of each of them a reading tells whether it is open.
        """
        link = self._links.get(key)
        if link is None or link.ask != ask:
            before = link
            self._drop(key)
            forge = self._connect(ask.provider, ask.url, ask.repository, ask.token)
            link = self._links[key] = _Link(ask, forge, Admission(forge, ask.rules, self._clock))
            if before is not None and (before.ask.repository, before.ask.base) == (ask.repository, ask.base):
                # Who may have a preview is asked anew; which are open stays known meanwhile.
                pulls = before.seen.pulls
                link.seen = Seen(pulls, {p.number: admission.UNKNOWN for p in pulls or ()})
        link.known, link.standing = known, frozenset(standing)
        if link.seen.pulls is not None and link.seen.problem is None and link.standing - link.answered:
            link.due = min(link.due, link.read_at + SOONEST)
        if link.task is None and self._clock() >= link.due:
            link.due = self._clock() + ask.interval
            link.task = asyncio.create_task(self._read(key, link), name=f"pull requests of {key}")
        return link.seen

    def due_in(self, key: OwnerKey) -> float | None:
        """Seconds until the next reading; None while one is under way, for that wakes the key. To be asked for in each
        reconciliation: a queue remembers one time for a key, and any look takes it away."""
        link = self._links.get(key)
        return max(0.0, link.due - self._clock()) if link is not None and link.task is None else None

    def poke(self, key: OwnerKey) -> None:
        """Look now: a webhook says that there is something new."""
        link = self._links.get(key)
        if link is not None:
            link.due = max(self._clock(), link.read_at + SOONEST)
            self._wake(key, after=max(0.0, link.due - self._clock()))

    def post(self, key: OwnerKey, pull: Pull, marker: str, text: str, statuses: Sequence[Status]) -> str:
        """Have this beside a pull request, written in the background; why the last try failed, if it did."""
        link = self._links.get(key)
        if link is None:
            return ""
        post = _Post(pull.head, marker, text, tuple(statuses))
        if link.posted.get((pull.number, pull.head)) != post.content:
            link.posts[pull.number] = post
            if link.writer is None:
                link.writer = asyncio.create_task(self._write(key, link), name=f"comments of {key}")
        return link.unwritten

    def forget(self, key: OwnerKey) -> None:
        """A source is gone, or has no pull requests any more."""
        self._drop(key)

    async def stop(self) -> None:
        """Break off what is under way."""
        for key in list(self._links):
            self._drop(key)
        await asyncio.gather(*self._closing, return_exceptions=True)

    def _drop(self, key: OwnerKey) -> None:
        link = self._links.pop(key, None)
        if link is None:
            return
        for task in (link.task, link.writer):
            if task is not None:
                task.cancel()
        self._aside(_close(link))

    def _aside(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    # -- reading ----------------------------------------------------------------------------------------------------

    async def _read(self, key: OwnerKey, link: _Link) -> None:
        after = link.ask.interval
        try:
            found, closed, first = await self._open(link)
            pulls = _bounded(found, first)
            held_back, trusted, again = await link.admission.of(pulls, link.known)
            seen = Seen(pulls, held_back, trusted, len(found) - len(pulls), closed=closed)
            after = min(after, again)
        except ForgeFailed as error:
            after = max(after, error.after)
            make = Transient if error.passes else Stalled
            reason = Reason.PROGRESSING_WITH_RETRY if error.passes else Reason.ACCESS_DENIED
            text = f"pull requests can't be read: {error}"
            seen = replace(link.seen, left_out=0, problem=make(reason, text))
        except Exception as error:
            log.exception("%s: reading its pull requests broke", key)
            text = f"pull requests can't be read: {type(error).__name__}"
            seen = replace(link.seen, left_out=0, problem=Transient(Reason.PROGRESSING_WITH_RETRY, text))
        finally:
            link.task = None
        link.read_at = self._clock()
        asked_meanwhile = link.due < link.read_at
        link.due = link.read_at + (SOONEST if asked_meanwhile else after)
        changed, link.seen = seen != link.seen, seen
        if changed:
            self._wake(key)
        self._wake(key, after=link.due - link.read_at)

    async def _open(self, link: _Link) -> tuple[list[Pull], frozenset[int], frozenset[int]]:
        """All that are open, by number; of those that were known the ones that aren't; and those that were known."""
        found = {pull.number: pull for pull in await link.forge.pulls(link.ask.base)}
        known = link.standing | {pull.number for pull in link.seen.pulls or ()}
        closed = set()
        for number in sorted(known - found.keys()):
            pull = await link.forge.pull(number)
            if pull is not None and pull.base == link.ask.base:
                found[number] = pull
            else:
                closed.add(number)
        link.answered = frozenset(found.keys() | closed)
        return [found[number] for number in sorted(found)], frozenset(closed), known

    # -- writing ----------------------------------------------------------------------------------------------------

    async def _write(self, key: OwnerKey, link: _Link) -> None:
        try:
            while link.posts:
                number, post = link.posts.popitem()
                try:
                    for status in post.statuses:
                        await link.forge.status(post.head, status)
                    if post.text:
                        await link.forge.comment(number, post.marker, post.text)
                except ForgeFailed as error:
                    if link.unwritten != str(error):
                        log.warning("%s: nothing can be written to pull request %d: %s", key, number, error)
                    link.unwritten = str(error)
                else:
                    link.unwritten = ""
                    open_now = {pull.number for pull in link.seen.pulls or ()}
                    link.posted = {of: what for of, what in link.posted.items() if of[0] in open_now - {number}}
                    link.posted[number, post.head] = post.content
        finally:
            link.writer = None


def _bounded(found: Sequence[Pull], first: Collection[int]) -> tuple[Pull, ...]:
    """As many as are looked at, by number: whoever was known keeps the place, however many came before."""
    kept = sorted(found, key=lambda pull: (pull.number not in first, pull.number))[:AT_MOST]
    return tuple(sorted(kept, key=lambda pull: pull.number))


async def _close(link: _Link) -> None:
    await asyncio.gather(*(task for task in (link.task, link.writer) if task is not None), return_exceptions=True)
    await link.forge.close()
