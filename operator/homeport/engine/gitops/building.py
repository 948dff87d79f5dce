"""Objects of sources' folders: made in the background, kept as long as nothing they were made of changes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from homeport.api.conditions import Reason
from homeport.api.labels import OwnerKey
from homeport.engine.gitops.assembling import Assembler, Result
from homeport.outcome import Outcome, Stalled, Transient
from homeport.plan.gitops.build import BuildFailed, BuildSpec, Built
from homeport.plan.gitops.checkout import Checkout, CheckoutFailed

log = logging.getLogger(__name__)

THREADS = 24
"""Builds at a time. Most wait for the server, which is asked for all of these at once; programs that are run, and
processes that read, have bounds of their own."""


@dataclass
class _Job:
    """The newest build of one source."""

    commit: str = ""
    spec: BuildSpec | None = None
    result: Result | Outcome | None = None
    task: asyncio.Task[None] | None = None
    good: tuple[BuildSpec, Result] | None = None
    """The newest that came out well."""

    def is_of(self, commit: str, spec: BuildSpec) -> bool:
        """Whether it is what is asked for."""
        return self.commit == commit and self.spec == spec


class Builder:
    """Builds; for the event loop, and from its first ``built`` on it needs one that runs.

    ``wake`` is told whose build has ended.
    """

    def __init__(self, wake: Callable[[OwnerKey], None], assembler: Assembler | None = None) -> None:
        self._wake = wake
        self._assembler = assembler or Assembler()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="builds")
        self._jobs: dict[OwnerKey, _Job] = {}

    def built(self, key: OwnerKey, checkout: Checkout, spec: BuildSpec) -> Built | Outcome | None:
        """What the folder makes, or why nothing can be made of it; None while that is found out: ``key`` is woken then.

        Returns at once. The same commit and spec are answered from memory; another commit in which nothing changed
        that the build had read gives the same ``Built``. A fault that may pass is answered once; asked again, it is
        built anew.
        """
        job = self._jobs.setdefault(key, _Job())
        if job.task is not None:
            # What is asked for now is begun when what is under way has ended, and has woken the key.
            return None
        if job.is_of(checkout.commit, spec) and job.result is not None:
            found = job.result
            if isinstance(found, Transient):
                job.result = None
            return found.built if isinstance(found, Result) else found
        job.commit, job.spec, job.result = checkout.commit, spec, None
        job.task = asyncio.create_task(self._work(key, job, checkout, spec), name=f"build {key}")
        return None

    async def _work(self, key: OwnerKey, job: _Job, checkout: Checkout, spec: BuildSpec) -> None:
        loop = asyncio.get_running_loop()
        try:
            job.result = await loop.run_in_executor(self._threads, self._build, job.good, checkout, spec)
        except Exception as error:
            job.result = _problem(error)
        if isinstance(job.result, Result):
            job.good = spec, job.result
        job.task = None
        if self._jobs.get(key) is job:
            self._wake(key)

    def _build(self, good: tuple[BuildSpec, Result] | None, checkout: Checkout, spec: BuildSpec) -> Result:
        if good is not None and good[0] == spec:
            digests = good[1].digests
            if all(checkout.digest(folder) == digest for folder, digest in digests.items()):
                return good[1]
        return self._assembler.build(checkout, spec)

    def forget(self, key: OwnerKey) -> None:
        """A source is gone."""
        self._jobs.pop(key, None)

    async def stop(self) -> None:
        """End what is under way, its processes too."""
        self._assembler.stop()
        running = [job.task for job in self._jobs.values() if job.task is not None]
        self._jobs.clear()
        await asyncio.gather(*running, return_exceptions=True)
        self._threads.shutdown(wait=False, cancel_futures=True)


def _problem(error: Exception) -> Outcome:
    match error:
        case BuildFailed():
            return (Transient if error.passes else Stalled)(Reason.BUILD_FAILED, str(error))
        case CheckoutFailed():
            return (Transient if error.passes else Stalled)(Reason.FETCH_FAILED, str(error))
    log.error("a build failed in a way that isn't known", exc_info=error)
    return Transient(Reason.BUILD_FAILED, f"building failed: {type(error).__name__}; the operator's log says more")
