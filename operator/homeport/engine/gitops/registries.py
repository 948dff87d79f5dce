"""Tags of images, polled in the background: once per image and credentials, however many ask for it.

Whoever asks is answered at once from what is known, and woken when that changes. The shortest interval of those who ask
counts, give or take a tenth, so that not all come at once; a registry that says when it wants to be asked again is
obeyed. Nothing here has a timer: whoever asks comes again when ``due`` says.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace

from homeport.api.conditions import Reason
from homeport.api.labels import OwnerKey
from homeport.drivers.oci import errors
from homeport.drivers.oci import tags as driver
from homeport.drivers.oci.credentials import Login
from homeport.drivers.oci.reference import Reference
from homeport.drivers.oci.registry import Registry
from homeport.drivers.oci.tags import Listed
from homeport.outcome import Outcome, Stalled, Transient

log = logging.getLogger(__name__)

AT_ONCE = 4
"""Polls at a time."""
TOGETHER = 0.25
"""The part of an interval by which a poll may be early, so that all images of one ImageUpdate are polled together: what
is new at once becomes one commit."""
AGAIN = 30.0
"""Seconds until the first try after a failure."""
SECONDS = 120.0
"""That one poll may take."""


@dataclass(frozen=True)
class Seen:
    """What is known of an image. ``tags`` is None until they were read once; ``problem`` says why the last poll failed;
    what was known before stays."""

    tags: tuple[str, ...] | None = None
    digests: Mapping[str, str] = field(default_factory=dict)
    """What tags led to in the last poll, of those whose digest was asked for."""
    problem: Outcome | None = None
    busy: bool = False
    """Whether a poll is under way."""
    due: float = 0.0
    """When the next poll is due, on the clock."""


@dataclass
class _Watch:
    """One image, with one set of credentials."""

    reference: Reference
    registry: Registry
    seen: Seen = field(default_factory=Seen)
    listed: Listed | None = None
    askers: dict[OwnerKey, tuple[float, frozenset[str]]] = field(default_factory=dict)
    """Who asks: every how many seconds, and for which tags' digests."""
    task: asyncio.Task[None] | None = None
    failures: int = 0
    polls: int = 0


class Registries:
    """``wake`` takes a key; ``chance`` answers 0 to 1."""

    def __init__(
        self, wake: Callable[[OwnerKey], None], clock: Callable[[], float], chance: Callable[[], float]
    ) -> None:
        self.mirrors: Mapping[str, str] = {}
        """URLs that are asked instead of registries."""
        self.list_tags = driver.tags
        self.digest_of = driver.digest
        self._wake = wake
        self._clock = clock
        self._chance = chance
        self._watches: dict[tuple[str, str], _Watch] = {}
        self._at_once = asyncio.Semaphore(AT_ONCE)
        self._closing: list[asyncio.Future[None]] = []

    def look(
        self,
        key: OwnerKey,
        image: str,
        logins: tuple[Login, ...],
        interval: float,
        digests: Collection[str] = (),
        now_please: bool = False,
    ) -> Seen:
        """What is known of an image's tags; a poll begins when one is due. ``digests``: tags whose digest is wanted.

        Raises ValueError for what is no image's name. Needs a running loop; returns at once.
        """
        reference = Reference.parse(image)
        name = (f"{reference.registry}/{reference.repository}", _digest(logins))
        watch = self._watches.get(name)
        if watch is None:
            watch = self._watches[name] = _Watch(reference, Registry(logins, self.mirrors))
        watch.askers[key] = (interval, frozenset(digests))
        now, every = self._clock(), self._every(watch)
        early = watch.seen.tags is not None and watch.seen.problem is None
        missing = early and not set(digests) & set(watch.seen.tags or ()) <= watch.seen.digests.keys()
        due = watch.seen.due - (TOGETHER * every if now_please and early else 0.0)
        if watch.task is None and (now >= due or missing):
            spread = every * (0.9 + 0.2 * self._chance())
            watch.seen = replace(watch.seen, busy=True, due=now + spread)
            watch.task = asyncio.create_task(self._poll(watch), name=f"tags of {name[0]}")
        return watch.seen

    def due(self, key: OwnerKey) -> float | None:
        """When the first poll of what ``key`` asks for is due."""
        return min((watch.seen.due for watch in self._watches.values() if key in watch.askers), default=None)

    def again(self, key: OwnerKey) -> None:
        """Poll all that ``key`` asks for at its next look: a person asks."""
        for watch in self._watches.values():
            if key in watch.askers:
                watch.seen = replace(watch.seen, due=0.0)

    def keep(self, key: OwnerKey, images: Collection[tuple[str, tuple[Login, ...]]]) -> None:
        """``key`` asks for these images only, from now on."""
        names = set()
        for image, logins in images:
            reference = Reference.parse(image)
            names.add((f"{reference.registry}/{reference.repository}", _digest(logins)))
        for name, watch in list(self._watches.items()):
            if key in watch.askers and name not in names:
                self._leave(key, name, watch)

    def forget(self, key: OwnerKey) -> None:
        """Whoever asked is gone."""
        for name, watch in list(self._watches.items()):
            if key in watch.askers:
                self._leave(key, name, watch)

    def _leave(self, key: OwnerKey, name: tuple[str, str], watch: _Watch) -> None:
        del watch.askers[key]
        if not watch.askers:
            del self._watches[name]
            self._closing.append(asyncio.ensure_future(self._close(watch)))
            self._closing = [task for task in self._closing if not task.done()]

    async def _close(self, watch: _Watch) -> None:
        if watch.task is not None:
            watch.task.cancel()
            await asyncio.gather(watch.task, return_exceptions=True)
        await watch.registry.close()

    async def stop(self) -> None:
        """Break off what is under way."""
        watches, self._watches = list(self._watches.values()), {}
        await asyncio.gather(*self._closing, *(self._close(watch) for watch in watches), return_exceptions=True)

    def _every(self, watch: _Watch) -> float:
        return min(interval for interval, _ in watch.askers.values())

    async def _poll(self, watch: _Watch) -> None:
        try:
            async with self._at_once, asyncio.timeout(SECONDS):
                watch.polls += 1
                watch.listed = await self.list_tags(watch.registry, watch.reference, watch.listed)
                wanted = {tag for _, tags in watch.askers.values() for tag in tags} & set(watch.listed.tags)
                digests = {tag: await self._digest(watch, tag) for tag in sorted(wanted)}
        except Exception as error:
            watch.seen = self._failed(watch, error)
        else:
            watch.seen = replace(watch.seen, tags=watch.listed.tags, digests=digests, problem=None, busy=False)
            watch.failures = 0
        finally:
            watch.task = None
        # Whoever waits for the end of a poll is told of it, whatever it brought.
        for key in watch.askers:
            self._wake(key)

    async def _digest(self, watch: _Watch, tag: str) -> str:
        return await self.digest_of(watch.registry, replace(watch.reference, tag=tag))

    def _failed(self, watch: _Watch, error: Exception) -> Seen:
        name = f"{watch.reference.registry}/{watch.reference.repository}"
        every, problem = self._every(watch), _problem(name, error)
        pause = min(every, AGAIN * 2.0 ** min(watch.failures, 8)) * (0.9 + 0.2 * self._chance())
        if isinstance(error, errors.Unavailable):
            pause = max(pause, min(error.after, 3600.0))
        watch.failures += 1
        return replace(watch.seen, problem=problem, busy=False, due=self._clock() + pause)


def _digest(logins: tuple[Login, ...]) -> str:
    if not logins:
        return ""
    text = "\n".join(f"{one.where}\0{one.user}\0{one.password}" for one in logins)
    return hashlib.sha256(text.encode()).hexdigest()


def _problem(name: str, error: Exception) -> Outcome:
    match error:
        case errors.AccessDenied():
            text = (
                f"{name}: its registry doesn't let us list its tags; check the name, and name a Secret of type "
                "kubernetes.io/dockerconfigjson in credentialsSecretRef"
            )
            return Stalled(Reason.ACCESS_DENIED, text)
        case errors.NoSuchImage():
            return Stalled(Reason.INVALID_SPEC, f"{name}: its registry has no such image")
        case errors.Unusable():
            return Stalled(Reason.INVALID_SPEC, str(error))
        case errors.Unavailable():
            return Transient(Reason.PROGRESSING_WITH_RETRY, str(error))
        case TimeoutError():
            return Transient(Reason.PROGRESSING_WITH_RETRY, f"{name}: listing its tags takes longer than {SECONDS:g} s")
    log.exception("tags of %s", name, exc_info=error)
    return Transient(Reason.PROGRESSING_WITH_RETRY, f"{name}: internal error: {type(error).__name__}")
