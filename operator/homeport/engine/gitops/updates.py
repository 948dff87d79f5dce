"""ImageUpdates at work in the background: files are looked through, commits pushed, pull requests kept up to date.

A commit's id is written into the status before it is pushed (``announced``), and its date is the same at a second try:
an operator that takes over after a crash finds what was pushed, and doesn't make it twice.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from homeport.api.conditions import Reason
from homeport.api.labels import OwnerKey
from homeport.drivers import forge as forges
from homeport.drivers.forge import Forge, ForgeFailed
from homeport.drivers.git import GitFailed
from homeport.engine.gitops.forgeplaces import Place
from homeport.engine.gitops.mirrors import Mirrors
from homeport.outcome import Outcome, Stalled, Transient
from homeport.plan.gitops import updates as plan
from homeport.plan.gitops.checkout import Checkout, CheckoutFailed
from homeport.plan.gitops.markers import Marks
from homeport.plan.gitops.pulls import Pull
from homeport.plan.gitops.updates import Edits

log = logging.getLogger(__name__)

SCAN_AGAIN, SCAN_KEPT = 10.0, 600.0
"""Seconds for which it is said that files can't be looked through: when that may pass, and when not."""
PUSH_FIRST, PUSH_LAST = 2.0, 600.0
"""The first and the longest pause in seconds before what couldn't be pushed is tried again on the same commit."""

Connect = Callable[[str, str, str, str], Forge]
"""(provider, API address, repository, token) -> its client."""


@dataclass(frozen=True)
class Proposal:
    """Where pull requests are opened."""

    place: Place
    base: str
    branch: str


@dataclass(frozen=True)
class Push:
    """A commit that is to be made."""

    edits: Edits
    branch: str
    message: str
    author: str
    when: int
    """Its date, in seconds since the epoch."""
    there: bool = False
    """It was pushed before; only its pull request isn't open yet."""


@dataclass
class Work:
    """What goes on for one ImageUpdate."""

    scanned: tuple[object, Edits] | None = None
    """(of what, what was found)."""
    scan_problem: tuple[object, Outcome, float] | None = None
    """(of what, what is wrong, until when that is said without trying again)."""
    scan: asyncio.Task[None] | None = None
    push: asyncio.Task[None] | None = None
    pushing: Push | None = None
    announced: Mapping[str, Any] | None = None
    """The commit that was made, as the status is to have it, before it is pushed."""
    written: asyncio.Event = field(default_factory=asyncio.Event)
    """That the status has it."""
    pushed: Mapping[str, Any] | None = None
    pushed_base: str = ""
    """What the newest push was on top of: until the branch is seen to have moved, nothing more is pushed onto that."""
    pushed_at: float = 0.0
    """When that was; seconds since the epoch."""
    problem: Outcome | None = None
    """Why the newest push failed."""
    failures: int = 0
    failed_base: str = ""
    retry_at: float = 0.0
    forge: Forge | None = None
    asked: Proposal | None = None
    pulls: asyncio.Task[None] | None = None
    pulls_due: float = 0.0
    pull: Pull | None = None
    """The pull request that is open."""
    pulls_known: bool = False
    pulls_problem: Outcome | None = None


class Updates:
    """All ImageUpdates' work. ``wake`` takes a key."""

    def __init__(
        self,
        mirrors: Mirrors,
        wake: Callable[[OwnerKey], None],
        clock: Callable[[], float],
        connect: Connect = forges.connect,
        epoch: Callable[[], float] = time.time,
    ) -> None:
        self._mirrors = mirrors
        self._wake = wake
        self._clock = clock
        self._connect = connect
        self._epoch = epoch
        self._works: dict[OwnerKey, Work] = {}
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="imageupdates")

    def work(self, key: OwnerKey) -> Work:
        """What goes on for one."""
        return self._works.setdefault(key, Work())

    def forget(self, key: OwnerKey) -> None:
        """One is gone or suspended. What is being pushed is broken off."""
        work = self._works.pop(key, None)
        if work is None:
            return
        for task in (work.scan, work.push, work.pulls):
            if task is not None:
                task.cancel()
        if work.forge is not None:
            asyncio.ensure_future(work.forge.close())  # noqa: RUF006 - nobody waits for it

    async def stop(self) -> None:
        """Break off what is under way."""
        works = list(self._works.values())
        tasks = [task for work in works for task in (work.scan, work.push, work.pulls) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(work.forge.close() for work in works if work.forge is not None))
        self._works.clear()
        self._threads.shutdown(wait=False, cancel_futures=True)

    # -- looking through files ------------------------------------------------------------------------------------

    def edits(self, key: OwnerKey, checkout: Checkout, paths: Sequence[str], marks: Marks) -> Edits | Outcome | None:
        """What has to be written on top of a commit; None while that is found out."""
        work, inputs = self.work(key), (checkout.commit, tuple(paths), _frozen(marks))
        if work.scanned is not None and work.scanned[0] == inputs:
            return work.scanned[1]
        if work.scan_problem is not None and work.scan_problem[0] == inputs and self._clock() < work.scan_problem[2]:
            return work.scan_problem[1]
        if work.scan is None:
            work.scan = asyncio.create_task(self._scan(key, work, inputs, checkout, paths, marks), name=f"scan {key}")
        return None

    async def _scan(
        self, key: OwnerKey, work: Work, inputs: object, checkout: Checkout, paths: Sequence[str], marks: Marks
    ) -> None:
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(self._threads, partial(plan.edits, checkout, paths, marks))
            work.scanned, work.scan_problem = (inputs, found), None
        except CheckoutFailed as error:
            make = Transient if error.passes else Stalled
            reason = Reason.PROGRESSING_WITH_RETRY if error.passes else Reason.INVALID_SPEC
            until = self._clock() + (SCAN_AGAIN if error.passes else SCAN_KEPT)
            work.scan_problem = inputs, make(reason, str(error)), until
        except Exception as error:
            log.exception("%s: looking for markers broke", key)
            told = Transient(Reason.PROGRESSING_WITH_RETRY, f"internal error: {type(error).__name__}")
            work.scan_problem = inputs, told, self._clock() + SCAN_KEPT
        finally:
            work.scan = None
        self._wake(key)

    # -- commits --------------------------------------------------------------------------------------------------

    def begin(self, key: OwnerKey, push: Push, tell: Callable[[str], Mapping[str, Any]], ask: Proposal | None) -> None:
        """Make a commit and push it; ``tell`` is how the status has it. ``ask``: a pull request is opened for it."""
        work = self.work(key)
        if work.push is None:
            work.pushing, work.announced = push, None
            work.written.clear()
            work.push = asyncio.create_task(self._push(key, work, push, tell, ask), name=f"push {key}")

    async def _push(
        self, key: OwnerKey, work: Work, push: Push, tell: Callable[[str], Mapping[str, Any]], ask: Proposal | None
    ) -> None:
        async def announce(commit: str) -> None:
            work.announced = tell(commit)
            self._wake(key)
            await work.written.wait()

        made, new = push.edits, ask is not None and work.pull is None
        try:
            commit = made.base
            if not push.there:
                commit = await self._mirrors.commit(
                    key, made.base, push.branch, dict(made.files), push.message, push.author, push.when, announce
                )
            if ask is not None:
                await self._propose(work, ask, push, commit)
        except (GitFailed, ForgeFailed) as error:
            self._failed(work, made.base, _problem(push.branch, error, new))
            self._mirrors.poke(key)
        except Exception as error:
            log.exception("%s: pushing broke", key)
            told = f"internal error: {type(error).__name__}"
            self._failed(work, made.base, Transient(Reason.PROGRESSING_WITH_RETRY, told))
        else:
            work.pushed, work.problem, work.failures = tell(commit), None, 0
            work.pushed_base, work.pushed_at = "" if push.there else made.base, self._epoch()
            log.info("%s: pushed %s to %s", key, commit, push.branch)
        finally:
            work.push, work.pushing = None, None
            work.pulls_due = 0.0
        self._wake(key)

    def _failed(self, work: Work, base: str, problem: Outcome) -> None:
        pause = (
            PUSH_LAST if isinstance(problem, Stalled) else min(PUSH_LAST, PUSH_FIRST * 2.0 ** min(work.failures, 16))
        )
        work.problem, work.failed_base, work.retry_at = problem, base, self._clock() + pause
        work.failures += 1

    # -- pull requests --------------------------------------------------------------------------------------------

    def proposed(self, key: OwnerKey, ask: Proposal, interval: float) -> Work:
        """The pull request that is open, as far as is known; it is asked for each ``interval`` seconds."""
        work = self.work(key)
        if work.asked != ask:
            if work.forge is not None:
                asyncio.ensure_future(work.forge.close())  # noqa: RUF006 - nobody waits for it
            work.forge = self._connect(ask.place.provider, ask.place.url, ask.place.repository, ask.place.token)
            work.asked, work.pulls_known, work.pulls_due = ask, False, 0.0
        if work.pulls is None and work.push is None and self._clock() >= work.pulls_due:
            work.pulls_due = self._clock() + interval
            work.pulls = asyncio.create_task(self._look(key, work, ask), name=f"pull request of {key}")
        return work

    async def _look(self, key: OwnerKey, work: Work, ask: Proposal) -> None:
        before = (work.pull, work.pulls_known, work.pulls_problem)
        try:
            work.pull = await self._open(work, ask)
            work.pulls_known, work.pulls_problem = True, None
        except ForgeFailed as error:
            work.pulls_problem = _unread(error)
            work.pulls_due = self._clock() + max(10.0, error.after)
        except Exception as error:
            log.exception("%s: reading pull requests broke", key)
            told = f"internal error: {type(error).__name__}"
            work.pulls_problem = Transient(Reason.PROGRESSING_WITH_RETRY, told)
        finally:
            work.pulls = None
        if before != (work.pull, work.pulls_known, work.pulls_problem):
            self._wake(key)

    async def _open(self, work: Work, ask: Proposal) -> Pull | None:
        assert work.forge is not None
        found = await work.forge.pulls(ask.base)
        return next((pull for pull in found if pull.branch == ask.branch and not pull.fork), None)

    async def _propose(self, work: Work, ask: Proposal, push: Push, commit: str) -> None:
        """Open the pull request, or say in the one that is open what it brings now."""
        assert work.forge is not None
        title, text = plan.title(push.message), plan.body(push.message)
        pull = await self._open(work, ask)
        if pull is None:
            pull = await work.forge.open(ask.branch, ask.base, title, text)
        else:
            await work.forge.describe(pull.number, title, text)
        work.pull, work.pulls_known = replace(pull, head=commit), True


def _frozen(marks: Marks) -> object:
    return marks.update, marks.namespace, tuple(sorted(marks.images.items(), key=str)), marks.flux


def _problem(branch: str, error: GitFailed | ForgeFailed, new: bool) -> Outcome:
    if isinstance(error, ForgeFailed):
        text = f"the pull request can't be opened: {error}"
    elif new and "moved on" in str(error):
        text = (
            f"the branch {branch} is there with commits of its own, and no pull request is open for it; delete the "
            "branch to have the update proposed"
        )
        return Stalled(Reason.PUSH_FAILED, text)
    else:
        text = f"the commit can't be pushed to {branch}: {error}"
    return Transient(Reason.PROGRESSING_WITH_RETRY, text) if error.passes else Stalled(Reason.PUSH_FAILED, text)


def _unread(error: ForgeFailed) -> Outcome:
    text = f"pull requests can't be read: {error}"
    return Transient(Reason.PROGRESSING_WITH_RETRY, text) if error.passes else Stalled(Reason.ACCESS_DENIED, text)
