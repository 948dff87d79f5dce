"""Reading pull requests, letting them in, and writing beside them: a forge that is played, and a clock of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from homeport.api.labels import OwnerKey
from homeport.drivers.forge import ForgeFailed
from homeport.engine.gitops import pullrequests
from homeport.engine.gitops.admission import SETTLED, UNKNOWN, Admission, Rules
from homeport.engine.gitops.previews import Told
from homeport.engine.gitops.pullplans import Heads, Plans, beside
from homeport.engine.gitops.pullrequests import Ask, PullRequests, Seen
from homeport.outcome import Stalled, Transient
from homeport.plan.gitops.build import Built, BuiltObject
from homeport.plan.gitops.comment import PreviewView
from homeport.plan.gitops.previews import Stage, Ticket
from homeport.plan.gitops.pulls import Labelled, Pull
from homeport.plan.gitops.types import SourcePlan
from played_forge import HEAD, Played, pull

KEY = OwnerKey("GitSource", "shop", "fleet")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


# --- who is let in --------------------------------------------------------------------------------------------------


async def let_in(
    forge: Played, clock: Clock, *pulls: Pull, authors: tuple[str, ...] = ("ann",), known: Any = None
) -> Any:
    admission = Admission(forge, Rules(authors, "preview"), clock)
    await admission.of(pulls, known or {})
    clock.now += SETTLED
    held_back, trusted, _ = await admission.of(pulls, known or {})
    return held_back, trusted


@pytest.mark.parametrize(
    ("author", "authors", "trusted"),
    [
        ("ann", ("ann",), True),
        ("Ann", ("ann",), True),
        ("ann", (), False),
        ("", ("ann",), False),
        ("bob", ("team",), True),
        ("eve", ("team",), False),
        # "team" is a word, and nobody's login.
        ("team", ("team",), False),
        ("web", ("org/web",), False),
        ("meg", ("org/web",), True),
    ],
)
async def test_authors_who_are_trusted(author: str, authors: tuple[str, ...], trusted: bool) -> None:
    forge = Played(writers={"bob"}, teams={"org/web": {"meg"}})
    held_back, found = await let_in(forge, Clock(), pull(author=author), authors=authors)
    assert (7 in found) is trusted
    assert (7 not in held_back) is trusted


@pytest.mark.parametrize(
    ("labelled", "why"),
    [
        (Labelled("bob", "t", HEAD), ""),
        (Labelled("bob", "t", "", False), ""),
        (Labelled("ann", "t", HEAD), ""),
        (Labelled("bob", "t", "b" * 40), "there was a push after the label preview was put on"),
        (Labelled("bob", "t", "", True), "there was a push after the label preview was put on"),
        (Labelled("bob", "t"), "doesn't tell which commit"),
        (Labelled("eve", "t", HEAD), "its author put the label preview on"),
        (Labelled("joe", "t", HEAD), "joe put the label preview on, and may not push"),
        (None, "somebody who may push puts the label preview on"),
    ],
)
async def test_a_label_lets_in_the_commit_it_was_put_on(labelled: Labelled | None, why: str) -> None:
    forge = Played(writers={"bob", "eve"}, labels={7: labelled} if labelled else {})
    held_back, trusted = await let_in(forge, Clock(), pull(labels=("preview",)))
    assert trusted == frozenset()
    assert why in held_back.get(7, "")
    assert (7 in held_back) is bool(why)


async def test_a_head_has_to_be_seen_a_while_before_its_label_counts() -> None:
    forge, clock = Played(writers={"bob"}, labels={7: Labelled("bob", "t", "", False)}), Clock()
    admission = Admission(forge, Rules(("ann",), "preview"), clock)
    held_back, _, again = await admission.of([pull(labels=("preview",))], {})
    assert (held_back, again) == ({7: UNKNOWN}, SETTLED)
    assert "labelled 7" not in forge.asked
    clock.now += SETTLED
    assert (await admission.of([pull(labels=("preview",))], {}))[0] == {}
    # Pushed just now: what the forge says of the label may be of the commit before.
    assert (await admission.of([pull(labels=("preview",), head="c" * 40)], {}))[0] == {7: UNKNOWN}


async def test_after_a_restart_what_was_let_in_stays_in() -> None:
    forge = Played(writers={"bob"}, labels={7: Labelled("bob", "t", HEAD)})
    admission = Admission(forge, Rules(("ann",), "preview"), Clock())
    assert (await admission.of([pull(labels=("preview",))], {7: HEAD}))[0] == {}
    assert (await Admission(forge, Rules(("ann",), "preview"), Clock()).of([pull()], {7: HEAD}))[0] != {}


async def test_what_cant_be_found_out_lets_nobody_in() -> None:
    forge = Played(failing=ForgeFailed("the token may not do that", passes=False))
    held_back, trusted = await let_in(forge, Clock(), pull(labels=("preview",)), authors=("team",))
    assert trusted == frozenset()
    assert "the token may not do that" in held_back[7]


# --- reading --------------------------------------------------------------------------------------------------------


@dataclass
class World:
    forge: Played
    clock: Clock
    pulls: PullRequests
    woken: list[tuple[OwnerKey, float]] = field(default_factory=list)

    def ask(self, **fields: Any) -> Ask:
        known = {"provider": "Gitea", "url": "http://x", "repository": "a/b", "token": "t", "base": "main"}
        return Ask(**{**known, "rules": Rules(("eve",), "preview"), "interval": 60.0, **fields})

    async def look(self, **fields: Any) -> Seen:
        """What is known when nothing is under way any more."""
        self.pulls.look(KEY, self.ask(**fields), {})
        await self.settle()
        return self.pulls.look(KEY, self.ask(**fields), {})

    async def settle(self) -> None:
        for _ in range(50):
            await asyncio.sleep(0)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    forge, clock = Played(open=[pull()]), Clock()
    woken: list[tuple[OwnerKey, float]] = []

    def wake(key: OwnerKey, priority: int = 0, after: float = 0.0) -> None:
        woken.append((key, after))

    pulls = PullRequests(wake, clock, lambda provider, url, repository, token: forge)
    yield World(forge, clock, pulls, woken)
    await pulls.stop()


async def test_a_list_is_read_by_its_interval_and_wakes_only_when_it_is_another(world: World) -> None:
    assert world.pulls.look(KEY, world.ask(), {}) == Seen()
    await world.settle()
    assert world.pulls.look(KEY, world.ask(), {}) == Seen((pull(),), {}, frozenset({7}))
    assert world.woken == [(KEY, 0.0), (KEY, 60.0)]
    await world.look()
    assert world.forge.asked == ["pulls"]
    world.clock.now += 60
    await world.look()
    assert world.forge.asked == ["pulls", "pulls"]
    assert world.woken[2:] == [(KEY, 60.0)], "nothing is new: only the next look is asked for"
    world.forge.open = []
    world.clock.now += 60
    assert (await world.look()).pulls == ()


async def test_what_is_missing_from_a_list_is_asked_for(world: World) -> None:
    """A list shifts while it is read page by page: what isn't in it may be open all the same."""
    world.forge.open = [pull(7), pull(8), pull(9)]
    await world.look()
    world.forge.missed, world.forge.open = {8}, [pull(7), pull(8)]
    world.clock.now += 60
    seen = await world.look()
    assert [one.number for one in seen.pulls or ()] == [7, 8]
    assert seen.closed == {9}
    assert world.forge.asked == ["pulls", "pulls", "pull 8", "pull 9"]
    world.forge.open = [pull(7), pull(8, base="other")]
    world.clock.now += 60
    seen = await world.look()
    assert ([one.number for one in seen.pulls or ()], seen.closed) == ([7], {8}), "it goes into another branch"


async def test_of_what_stands_it_is_asked_whether_it_is_open(world: World) -> None:
    world.forge.open, world.forge.missed = [pull(7), pull(5)], {5}
    world.pulls.look(KEY, world.ask(), {}, {5, 6})
    await world.settle()
    seen = world.pulls.look(KEY, world.ask(), {}, {5, 6})
    assert ([one.number for one in seen.pulls or ()], seen.closed) == ([5, 7], {6})
    world.pulls.look(KEY, world.ask(), {}, {5, 6, 4})
    await world.settle()
    assert world.forge.asked == ["pulls", "pull 5", "pull 6"]
    world.clock.now += 1
    world.pulls.look(KEY, world.ask(), {}, {5, 6, 4})
    await world.settle()
    assert world.pulls.look(KEY, world.ask(), {}, {5, 6, 4}).closed == {4, 6}, "at once, not after an interval"


async def test_one_that_is_known_keeps_its_place_among_those_that_are_looked_at(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pullrequests, "AT_MOST", 2)
    world.forge.open = [pull(7), pull(8)]
    await world.look()
    world.forge.open = [pull(1), pull(2), pull(7), pull(8)]
    world.clock.now += 60
    seen = await world.look()
    assert ([one.number for one in seen.pulls or ()], seen.left_out, seen.closed) == ([7, 8], 2, frozenset())


async def test_a_webhook_makes_it_look_now_but_not_all_the_time(world: World) -> None:
    await world.look()
    world.forge.open = [pull(), pull(8)]
    world.pulls.poke(KEY)
    world.pulls.poke(KEY)
    assert world.woken[-1] == (KEY, 1.0)
    assert len((await world.look()).pulls or ()) == 1
    world.clock.now += 1
    assert len((await world.look()).pulls or ()) == 2
    world.pulls.poke(OwnerKey("GitSource", "shop", "other"))


async def test_while_it_cant_be_read_what_was_known_stays(world: World) -> None:
    await world.look()
    world.forge.failing = ForgeFailed("x doesn't answer", passes=True, after=300.0)
    world.clock.now += 60
    seen = await world.look()
    assert seen.pulls == (pull(),)
    assert isinstance(seen.problem, Transient)
    assert "x doesn't answer" in seen.problem.message
    assert world.woken[-1] == (KEY, 300.0), "when the forge takes questions again"
    world.forge.failing = ForgeFailed("the token isn't good", passes=False)
    world.clock.now += 300
    assert isinstance((await world.look()).problem, Stalled)


async def test_other_settings_are_asked_of_anew(world: World) -> None:
    await world.look()
    seen = world.pulls.look(KEY, world.ask(rules=Rules((), "preview")), {})
    assert seen.held_back == {7: UNKNOWN}, "who was let in by other rules isn't yet by these"
    await world.settle()
    assert world.forge.closed
    world.pulls.forget(KEY)


# --- writing --------------------------------------------------------------------------------------------------------


def built(*names: str) -> Built:
    objects = [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}} for name in names]
    return Built(tuple(BuiltObject(found, "a.yaml", 1) for found in objects), "-".join(names))


def heads(plan: Callable[..., Any], **fields: Any) -> Heads:
    known = {
        "whole": lambda _: built("x"),
        "public": lambda _: built("y"),
        "preview": lambda _: None,
        "base": lambda: built("z"),
    }
    return Heads(**{**known, "plan": plan, **fields})


def told(stage: Stage = Stage.RUNNING, ready: bool = True, of: Pull | None = None, trusted: bool = True) -> Told:
    of = of or pull(fork=False)
    view = PreviewView(stage, "https://pr-7.example.com", "0 of 1 Pods ready", ready)
    return Told(views=[(of, Ticket(of, True), view)], trusted=frozenset({7}) if trusted else frozenset())


async def test_a_plan_and_a_preview_are_written_once(world: World) -> None:
    asked: list[Any] = []

    async def plan(objects: Any, digest: str) -> SourcePlan:
        asked.append(digest)
        return SourcePlan()

    await world.look()
    plans = Plans(lambda key: world.woken.append((key, -1.0)))
    for ready in (False, False, True, True, True):
        beside(KEY, told(ready=ready), heads(plan), plans, world.pulls, True)
        await world.settle()
    assert asked == ["x"], "asked once for one build"
    assert (KEY, -1.0) in world.woken
    assert len(world.forge.comments) == 2, "when the plan is there, and when the preview is ready"
    assert "0 of 1 Pods" not in world.forge.comments[0][2]
    contexts = [(status.context, str(status.state)) for _, status in world.forge.statuses]
    assert contexts[:2] == [("homeport/shop/fleet/plan", "pending"), ("homeport/shop/fleet/preview", "pending")]
    assert contexts[-2:] == [("homeport/shop/fleet/plan", "success"), ("homeport/shop/fleet/preview", "success")]
    assert world.forge.comments[-1][1] == "<!-- homeport:shop/fleet -->"
    beside(KEY, told(), heads(plan, applied="another"), plans, world.pulls, True)
    await world.settle()
    assert asked == ["x", "x"], "what is applied is another, so the plan may be"
    await plans.stop()


@pytest.mark.parametrize(("of", "trusted"), [(pull(fork=True), True), (pull(fork=False), False)])
async def test_for_forks_and_strangers_nothing_is_asked_of_the_cluster(world: World, of: Pull, trusted: bool) -> None:
    async def plan(objects: Any, digest: str) -> SourcePlan:
        raise AssertionError("the cluster was asked")

    def whole(_: Pull) -> Built:
        raise AssertionError("it was built with Secrets")

    await world.look()
    beside(KEY, told(of=of, trusted=trusted), heads(plan, whole=whole), Plans(lambda key: None), world.pulls, True)
    await world.settle()
    ((_, _, text),) = world.forge.comments
    assert "nothing secret was read or decrypted" in text
    assert "1 made, 1 deleted" in text


async def test_what_cant_be_built_is_said(world: World) -> None:
    async def plan(objects: Any, digest: str) -> SourcePlan:
        raise AssertionError("there is nothing to plan")

    await world.look()
    broken = heads(plan, whole=lambda _: Stalled("BuildFailed", "apps/web.yaml:3: mapping values are not allowed"))
    beside(KEY, told(Stage.FAILED, False), broken, Plans(lambda key: None), world.pulls, True)
    await world.settle()
    assert "apps/web.yaml:3: mapping values are not allowed" in world.forge.comments[0][2]
    assert str(world.forge.statuses[0][1].state) == "failure"


async def test_without_comments_there_are_statuses_and_failures_are_told(world: World) -> None:
    async def plan(objects: Any, digest: str) -> SourcePlan:
        return SourcePlan()

    await world.look()
    plans = Plans(lambda key: None)
    world.forge.failing = ForgeFailed("the token may not do that", passes=False)
    for _ in range(2):
        beside(KEY, told(), heads(plan), plans, world.pulls, False)
        await world.settle()
    assert beside(KEY, told(), heads(plan), plans, world.pulls, False) == "the token may not do that"
    world.forge.failing = None
    await world.settle()
    beside(KEY, told(), heads(plan), plans, world.pulls, False)
    await world.settle()
    assert world.forge.comments == []
    assert len(world.forge.statuses) == 2
