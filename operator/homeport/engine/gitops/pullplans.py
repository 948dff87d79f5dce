"""Plans of pull requests, and what is written beside them.

A plan asks the server about every object that differs, so it is made in the background, one at a time, and again only
when what is built of the head or what the source has applied is another.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Hashable, Sequence
from dataclasses import dataclass, field

from homeport.api.labels import OwnerKey
from homeport.drivers.kubernetes.errors import ApiError
from homeport.engine.gitops.previews import Told
from homeport.engine.gitops.pullrequests import PullRequests
from homeport.outcome import Outcome, Stalled
from homeport.plan.gitops import comment, planview
from homeport.plan.gitops.build import Built, BuiltObject
from homeport.plan.gitops.comment import PlanView
from homeport.plan.gitops.previews import Stage
from homeport.plan.gitops.pulls import Pull
from homeport.plan.gitops.types import SourcePlan

log = logging.getLogger(__name__)

AT_ONCE = 2
"""Plans that are made at a time, of all sources."""

Making = Callable[[], Awaitable[PlanView]]


@dataclass
class _Known:
    """The plan of one pull request."""

    of: Hashable = None
    view: PlanView | None = None
    making: Hashable = None
    task: asyncio.Task[None] | None = None


class Plans:
    """All pull requests' plans. ``wake`` is told whose is another."""

    def __init__(self, wake: Callable[[OwnerKey], None]) -> None:
        self._wake = wake
        self._known: dict[tuple[OwnerKey, int], _Known] = {}
        self._room = asyncio.Semaphore(AT_ONCE)

    def view(self, key: OwnerKey, number: int, of: Hashable, make: Making) -> PlanView | None:
        """The plan of just this; None while it is made. Returns at once."""
        known = self._known.setdefault((key, number), _Known())
        if known.of == of and known.view is not None:
            return known.view
        if known.making != of:
            if known.task is not None:
                known.task.cancel()
            known.making = of
            known.task = asyncio.create_task(self._make(key, known, of, make), name=f"plan of {key} #{number}")
        return None

    async def _make(self, key: OwnerKey, known: _Known, of: Hashable, make: Making) -> None:
        async with self._room:
            try:
                view = await make()
            except ApiError as error:
                view = PlanView(problems=(f"the API server can't be asked: {error}",))
            except asyncio.CancelledError:
                raise
            except Exception as error:
                log.exception("%s: a plan broke", key)
                view = PlanView(problems=(f"the plan couldn't be made: {type(error).__name__}",))
        known.of, known.view, known.task = of, view, None
        self._wake(key)

    def keep(self, key: OwnerKey, numbers: Collection[int]) -> None:
        """Let go of all others of a source."""
        for of in [of for of in self._known if of[0] == key and of[1] not in numbers]:
            task = self._known.pop(of).task
            if task is not None:
                task.cancel()

    def forget(self, key: OwnerKey) -> None:
        """A source is gone."""
        self.keep(key, ())

    async def stop(self) -> None:
        """Break off what is under way."""
        tasks = [known.task for known in self._known.values() if known.task is not None]
        self._known.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@dataclass
class Heads:
    """How pull requests are built and planned, for one reconciliation of one source."""

    whole: Callable[[Pull], Built | Outcome | None]
    """With the source's Secrets, as it would be applied."""
    public: Callable[[Pull], Built | Outcome | None]
    """Without anything secret."""
    preview: Callable[[Pull], Built | Outcome | None]
    """Likewise, as its preview: with the variables that say which pull request it is."""
    base: Callable[[], Built | Outcome | None]
    """The source's own commit, without anything secret."""
    plan: Callable[[Sequence[BuiltObject], str], Awaitable[SourcePlan]]
    """(objects, digest) -> what applying them would change."""
    applied: Hashable = None
    """What tells one state of the source from another: a plan is made anew when it is another."""
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """Values of the source's own Secrets."""


def beside(key: OwnerKey, told: Told, heads: Heads, plans: Plans, pulls: PullRequests, comments: bool) -> str:
    """Have a comment and commit statuses beside each pull request; why the last one couldn't be written, if so."""
    problem = ""
    plans.keep(key, {pull.number for pull, _, _ in told.views})
    for pull, ticket, view in told.views:
        whole = pull.number in told.trusted and not pull.fork
        plan, quoted = _plan(key, pull, whole, heads, plans)
        shown = view
        if view.stage in (Stage.BUILDING, Stage.RUNNING) and not view.ready:
            # How a rollout goes changes by the second; a comment isn't for that.
            shown = comment.PreviewView(view.stage, view.url, "status.previews says what it waits for", said=view.said)
        text = ""
        if comments and plan is not None:
            text = comment.text(key.name, pull.head, plan, shown, (*heads.secrets, *quoted))
        lines = comment.statuses(key.namespace, key.name, plan, shown if ticket.admitted or ticket.message else None)
        problem = pulls.post(key, pull, comment.marker(key.namespace, key.name), text, lines) or problem
    return problem


def _plan(
    key: OwnerKey, pull: Pull, whole: bool, heads: Heads, plans: Plans
) -> tuple[PlanView | None, tuple[str, ...]]:
    """The plan, and what must not be quoted of it."""
    built = heads.whole(pull) if whole else heads.public(pull)
    if built is None:
        return None, ()
    if not isinstance(built, Built):
        return (PlanView(problems=(built.message,)) if isinstance(built, Stalled) else None), ()
    if not whole:
        base = heads.base()
        if base is None:
            return None, ()
        why = "it comes from a fork" if pull.fork else "its author isn't among those who are trusted"
        return planview.offline(base if isinstance(base, Built) else None, built, why), ()

    async def make() -> PlanView:
        return planview.of_plan(await heads.plan(built.objects, built.digest), built)

    found = plans.view(key, pull.number, (built.digest, heads.applied), make)
    return found, tuple(planview.secret_values(built.objects))
