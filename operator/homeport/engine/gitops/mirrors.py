"""Which commits sources' references mean, and those commits to build from: polled, fetched and kept in the background.

Whoever asks is answered at once from what is known, and woken when that changes. However many sources read one
repository with the same credentials, it is asked once per interval, and kept once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import tempfile
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from homeport.api.conditions import Reason
from homeport.api.labels import OwnerKey
from homeport.drivers.git import GitFailed, commits, folders
from homeport.drivers.git.mirror import Mirror
from homeport.drivers.git.program import Running
from homeport.drivers.git.types import TooLarge
from homeport.engine.gitops.polls import Answer, Asked, Repository
from homeport.engine.gitops.wants import Found, Shared, Source, Want, found_of, problem_of
from homeport.outcome import Outcome, Wait
from homeport.plan.gitops.checkout import Checkout

__all__ = ["Found", "Mirrors", "Want"]

log = logging.getLogger(__name__)
T = TypeVar("T")

THREADS = 8
"""Repositories that are worked on at a time."""
GATHER = 0.05
"""Seconds in which sources that come together are gathered into one look."""
FIRST_RETRY = 5.0
LONGEST_RETRY = 300.0
"""Seconds until what failed is tried again: the first time, and at most where the interval isn't longer."""
JITTER = 0.15
"""By how much of itself an interval may be shorter, so that not all repositories are asked at once."""
HELD = 86400.0
"""Seconds for which a commit is kept that was asked for by its id, and for which one is refused that is too large."""
PATIENCE = 600.0
"""Seconds after a mirror was opened before anything of it is let go: sources say one by one what they need. And for
which a mirror is kept that nobody wants."""
SWEEP = 3600.0
"""Seconds between two looks for mirrors on the disk that nobody has used for long."""
FAREWELL = 2.0
"""Seconds that threads get to end."""
IDLE = 30.0
"""Seconds between two looks whether there is anything to do, and after which a mirror that isn't read gives its process
back."""


class Mirrors:
    """Needs a running loop from the first ``want`` on; all methods are for the event loop and return at once, save
    ``commit`` and ``stop``."""

    def __init__(
        self,
        wake: Callable[[OwnerKey], None],
        folder: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.folder = folder
        """Where mirrors are kept; None for a folder that goes with the process."""
        self.observe: Callable[[str, bool, float], None] = lambda what, good, seconds: None
        """Told of each request to a server: ``poll``, ``fetch`` or ``push``, whether it went well, and its seconds."""
        self._wake = wake
        self._clock = clock
        self._chance = chance
        self._shared: dict[str, Shared] = {}
        self._of: dict[OwnerKey, str] = {}
        self._running = Running()
        self._threads: ThreadPoolExecutor | None = None
        self._own: tempfile.TemporaryDirectory[str] | None = None
        self._stirred = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._under_way: set[tuple[OwnerKey, str]] = set()
        self._loop: asyncio.Task[None] | None = None
        self._stopped = False

    # -- what sources ask --------------------------------------------------------------------------------------------

    def want(self, key: OwnerKey, want: Want) -> Found:
        """What is known of what a source wants; ``key`` is woken when that changes, until ``forget``."""
        shared = self._of_want(want)
        if self._of.get(key) not in (None, shared.id):
            self.forget(key)
        asked = Asked(want.ref, want.submodules, want.lfs, want.verify_keys)
        source = shared.sources.get(key)
        shared.resting.discard(key)
        if source is None or source.asked != asked:
            source = Source(want, asked, Found(problem=Wait(Reason.PROGRESSING, f"fetching {want.url}")))
            shared.sources[key] = source
            self._of[key] = shared.id
            answer = shared.answers.get(asked)
            if answer is not None:
                source.found = found_of(answer, shared.notes.get(asked, ""), Found())
            else:
                self._due(shared, GATHER)
        source.want = want
        self._due(shared, want.interval)
        return source.found

    def at(
        self, key: OwnerKey, commit: str, ref: str = "", verify: bool = True, pull: bool = False
    ) -> Checkout | Outcome:
        """Another commit of the repository that ``key`` wants: one that is pinned, or a pull request's head.

        ``commit`` may be the beginning of one that is kept. ``ref`` is its full name (``refs/pull/7/head``), for
        servers that hand out no single commits. The answer is what to wait for while it isn't here; ``key`` is woken.
        ``verify`` False asks for no signature, whatever the source asks for. ``pull`` says that it is a pull request's
        head: it is held until ``heads`` names it no more, and given up for what the sources themselves need.
        """
        shared, source = self._find(key)
        if shared is None or source is None:
            return Wait(Reason.PROGRESSING, "its repository isn't known yet")
        if pull:
            source.pulls.add(commit)
        known = shared.repository.known(commit, source.asked)
        if known is not None and commit in source.held:
            source.held[commit] = self._clock()
            return known
        problem, until = source.refused.get(commit, (None, 0.0))
        if problem is not None and self._clock() < until:
            return problem
        if (key, commit) not in self._under_way:
            self._under_way.add((key, commit))
            self._spawn(self._bring(shared, source, key, commit, ref, verify, pull), f"commit {commit[:12]}")
        return Wait(Reason.PROGRESSING, f"fetching commit {commit[:12]} of {source.want.url}")

    def heads(self, key: OwnerKey, commits: Collection[str]) -> None:
        """The heads of the pull requests that are open; what was asked for of others is let go of within minutes."""
        shared, source = self._find(key)
        if shared is None or source is None or source.pulls <= set(commits):
            return
        for commit in source.pulls - set(commits):
            source.held.pop(commit, None)
            source.pulls.discard(commit)
        shared.stale = True

    def poke(self, key: OwnerKey) -> None:
        """Look now: a webhook or a person says that there is something new. ``key`` is woken whatever is found."""
        shared, _ = self._find(key)
        if shared is not None:
            shared.poked.add(key)
            self._due(shared, 0.0)

    def rest(self, key: OwnerKey) -> None:
        """A source is suspended: it is looked for no more, and its mirror stays on the disk, for a rollback."""
        shared, _ = self._find(key)
        if shared is not None:
            self.forget(key)
            shared.resting.add(key)

    def forget(self, key: OwnerKey) -> None:
        """A source is gone; what nobody else needs is removed from the disk."""
        for each in self._shared.values():
            each.resting.discard(key)
        shared, _ = self._find(key)
        self._of.pop(key, None)
        if shared is not None:
            shared.sources.pop(key, None)
            shared.poked.discard(key)

    async def commit(
        self,
        key: OwnerKey,
        base: str,
        branch: str,
        files: Mapping[str, bytes | None],
        message: str,
        author: str,
        when: int | None = None,
        announce: Callable[[str], Awaitable[None]] | None = None,
    ) -> str:
        """Write files (None removes one) on top of the commit ``base``, and push that to ``branch``; its commit.

        Never by force: when the branch has moved on from ``base`` that is a GitFailed that ``passes``. A branch that
        isn't there is made. ``author`` is ``Name <address>``. ``when`` (seconds since the epoch, in UTC) is the
        author's and the committer's date: the same arguments make the same commit, so one that was pushed before a
        crash is found as the branch's head, and isn't made twice. ``announce`` is told the commit's id after it was
        made and before it is pushed, and waited for; what it raises breaks this off.
        """
        shared, source = self._find(key)
        if shared is None or source is None:
            raise GitFailed("its repository isn't known yet", passes=True)
        mirror, at = shared.repository.mirror, int(time.time()) if when is None else when
        source.held[base] = self._clock()
        made = await self._aside(commits.make, mirror, base, files, message, author, at)
        if announce is not None:
            await announce(made)
        await self._timed("push", commits.push, mirror, made, branch)
        source.held[made] = self._clock()
        self.poke(key)
        return made

    async def stop(self) -> None:
        """Break off what is under way."""
        self._stopped = True
        self._stirred.set()
        self._running.end()
        tasks = [*self._tasks, *([self._loop] if self._loop is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._threads is not None:
            # Its processes are killed; whoever still waits for a socket isn't waited for.
            ended = asyncio.to_thread(self._threads.shutdown, wait=True, cancel_futures=True)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ended, FAREWELL)
        for shared in self._shared.values():
            shared.repository.mirror.close()
        self._shared.clear()
        self._of.clear()
        if self._own is not None:
            self._own.cleanup()
            self._own = None

    async def settled(self) -> None:
        """Wait until nothing is due and nothing under way."""
        while True:
            self._stirred.set()
            await asyncio.sleep(0.001)
            now = self._clock()
            if self._tasks:
                await asyncio.wait(self._tasks)
            elif all(shared.due > now for shared in self._shared.values()):
                return

    # -- for metrics ---------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._shared)

    @property
    def failing(self) -> int:
        """Repositories whose newest look failed."""
        return sum(shared.failures > 0 for shared in self._shared.values())

    # -- when to look --------------------------------------------------------------------------------------------------

    def _of_want(self, want: Want) -> Shared:
        name = folders.name(self._folder(), want.url, want.credentials)
        shared = self._shared.get(name)
        if shared is None:
            mirror = Mirror(folders.of(self._folder(), name), want.url, want.credentials, running=self._running)
            now = self._clock()
            shared = self._shared[name] = Shared(name, Repository(mirror), now, now + GATHER)
            if self._loop is None and not self._stopped:
                self._loop = asyncio.create_task(self._forever(), name="git mirrors")
            self._stirred.set()
        return shared

    def _folder(self) -> Path:
        if self.folder is None:
            self._own = tempfile.TemporaryDirectory(prefix="homeport-mirrors-")
            self.folder = Path(self._own.name)
        return self.folder

    def _find(self, key: OwnerKey) -> tuple[Shared | None, Source | None]:
        shared = self._shared.get(self._of.get(key, ""))
        return shared, shared.sources.get(key) if shared is not None else None

    def _due(self, shared: Shared, within: float) -> None:
        """A look is due in so many seconds, or earlier."""
        at = self._clock() + within
        if at < shared.due:
            shared.due = at
            self._stirred.set()

    async def _forever(self) -> None:
        await self._sweep()
        swept = self._clock()
        # Being cancelled isn't enough: a wait that ends at the same moment swallows that.
        while not self._stopped:
            now = self._clock()
            if now - swept >= SWEEP:
                swept = now
                self._spawn(self._sweep(), "mirrors that nobody has used for long")
            for shared in list(self._shared.values()):
                if not shared.busy:
                    self._turn(shared, now)
            soonest = min((each.due for each in self._shared.values() if not each.busy), default=now + IDLE)
            self._stirred.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, min(soonest - self._clock(), IDLE))):
                    await self._stirred.wait()

    async def _sweep(self) -> None:
        with contextlib.suppress(GitFailed, OSError):
            await self._aside(folders.sweep, self._folder())

    def _turn(self, shared: Shared, now: float) -> None:
        shared.repository.mirror.rest(IDLE)
        if not shared.sources:
            shared.idle_since = shared.idle_since or now
            shared.due = now + IDLE
            if now - shared.idle_since > PATIENCE:
                del self._shared[shared.id]
                mirror = shared.repository.mirror
                # What a suspended source will want again is for ``folders.sweep``.
                done = mirror.put_away if shared.resting else mirror.remove
                self._spawn(self._aside(done), "mirror that nobody wants")
            return
        shared.idle_since = None
        if shared.stale and now - max(shared.opened, shared.let_go_at) >= PATIENCE:
            shared.let_go_at = now
            self._spawn(self._let_go(shared), f"what nobody needs of {shared.repository.mirror.url}")
            return
        if shared.due <= now:
            shared.busy = True
            # Whatever comes from here on is for the look after this one.
            shared.due = shared.planned = now + shared.interval() * (1.0 - JITTER * self._chance())
            self._spawn(self._look(shared), f"look at {shared.repository.mirror.url}")

    # -- looking -------------------------------------------------------------------------------------------------------

    async def _look(self, shared: Shared) -> None:
        poked, shared.poked = shared.poked, set()
        asked = {source.asked for source in shared.sources.values()}
        repository = shared.repository
        try:
            before = {one: repository.last(one) for one in asked} if shared.answers else {}
            answers = await self._timed("poll", repository.look, asked, shared.seconds(), shared.paths())
        except Exception as error:
            answers, before = {one: Answer(error=_failed(repository, error)) for one in asked}, {}
        finally:
            shared.busy = False
            self._stirred.set()
        self._plan_next(shared, answers)
        shared.answers = answers
        moved = [
            (one, old, answer.target.commit)
            for one, answer in answers.items()
            if (old := before.get(one)) and one.ref.branch and answer.target and answer.target.commit != old
        ]
        for one, _, _ in moved:
            shared.notes.pop(one, None)
        self._tell(shared, poked)
        for one, old, new in moved:
            note = await self._aside(repository.rewritten, old, new)
            if note:
                log.warning("%s: %s", repository.mirror.url, note)
                shared.notes[one] = note
                self._tell(shared, set())
        await self._let_go(shared)

    def _plan_next(self, shared: Shared, answers: Mapping[Asked, Answer]) -> None:
        """What failed is tried again soon, and then with growing pauses; who asked meanwhile doesn't wait for that."""
        errors = [answer.error for answer in answers.values() if answer.error is not None]
        shared.failures = shared.failures + 1 if errors else 0
        if any(error.passes for error in errors):
            longest = max(shared.interval(), LONGEST_RETRY)
            pause = min(FIRST_RETRY * 2.0 ** min(shared.failures - 1, 16), longest)
            later = self._clock() + pause * (1.0 - JITTER * self._chance())
            shared.due = later if shared.due == shared.planned else min(shared.due, later)

    def _tell(self, shared: Shared, poked: set[OwnerKey]) -> None:
        """Wake who hears something new."""
        for key, source in list(shared.sources.items()):
            answer = shared.answers.get(source.asked)
            if answer is None:
                # It came while the server was asked for others.
                self._due(shared, GATHER)
                continue
            found = found_of(answer, shared.notes.get(source.asked, ""), source.found)
            news = replace(found, fetched_at=None) != replace(source.found, fetched_at=None)
            source.found = found
            if news or key in poked:
                self._wake(key)

    async def _let_go(self, shared: Shared) -> None:
        """What no source needs any more goes, some time after all have had the time to say what they need."""
        now = self._clock()
        if now - shared.opened < PATIENCE or shared.busy:
            return
        shared.stale, keep = False, set[str]()
        for source in shared.sources.values():
            source.held = {of: at for of, at in source.held.items() if now - at < HELD or of in source.pulls}
            source.refused = {commit: each for commit, each in source.refused.items() if now < each[1]}
            keep |= {source.found.commit, *source.want.keep, *source.held} - {""}
        if shared.kept != keep:
            shared.busy = True
            try:
                await self._aside(shared.repository.let_go, keep)
                shared.kept = keep
            except (GitFailed, OSError) as error:
                log.warning("%s: %s", shared.repository.mirror.url, error)
            finally:
                shared.busy = False

    async def _bring(
        self, shared: Shared, source: Source, key: OwnerKey, commit: str, ref: str, verify: bool, pull: bool
    ) -> None:
        try:
            seconds = source.want.timeout
            found = await self._timed("fetch", shared.repository.at, commit, source.asked, ref, seconds, verify, pull)
            source.refused.pop(commit, None)
            if pull and commit not in source.pulls:
                # It was closed, or moved on, meanwhile.
                shared.stale = True
                return
            source.held[found.commit] = self._clock()
            if found.commit != commit:
                # Asked for by its beginning.
                source.held[commit] = self._clock()
                shared.repository.also(commit, found, source.asked)
        except Exception as error:
            failed = _failed(shared.repository, error)
            # What is too large stays so, and finding out costs as much each time.
            pause = FIRST_RETRY if failed.passes else HELD if isinstance(failed, TooLarge) else LONGEST_RETRY
            source.refused[commit] = problem_of(failed), self._clock() + pause
        finally:
            self._under_way.discard((key, commit))
        self._wake(key)

    # -- threads -------------------------------------------------------------------------------------------------------

    async def _timed(self, what: str, work: Callable[..., T], *given: Any) -> T:
        began, good = self._clock(), False
        try:
            done = await self._aside(work, *given)
            good = True
            return done
        finally:
            self.observe(what, good, self._clock() - began)

    async def _aside(self, work: Callable[..., T], *given: Any) -> T:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="git")
        return await asyncio.get_running_loop().run_in_executor(self._threads, partial(work, *given))

    def _spawn(self, work: Any, name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("%s broke", task.get_name(), exc_info=error)


def _failed(repository: Repository, error: Exception) -> GitFailed:
    if isinstance(error, GitFailed):
        return error
    if not isinstance(error, OSError):
        log.error("%s", repository.mirror.url, exc_info=error)
    return GitFailed(f"{repository.mirror.url}: internal error: {type(error).__name__}: {error}"[:500], passes=True)
