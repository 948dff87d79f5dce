"""CatalogItems without a cluster: when Git is asked, and what comes of what it answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from homeport.api.resource import parse
from homeport.cli.errors import describe
from homeport.drivers.catalog import Renderer, WorkerLost
from homeport.drivers.git import Credentials, Git, GitFailed, Ref
from homeport.engine.catalogitems import PROOF_SECONDS, CatalogItems
from homeport.engine.store import Store
from homeport.outcome import Ok, Stalled, Transient
from homeport.plan.catalogitem import Offer

ITEM = """
name: thing
title: Thing
description: A thing.
category: Test
versions: [{name: "1", image: "team/thing:1"}]
"""
MAIN = "name: {{ name }}\ntype: worker\nimage: {{ image | tojson }}\n"


class Forge(Git):
    """A repository whose one branch is at ``commit``, or which fails."""

    def __init__(self) -> None:
        super().__init__()
        self.commit = "a" * 40
        self.failure: GitFailed | None = None
        self.asked = 0

    def resolve(self, url: str, ref: Ref, credentials: Credentials) -> str:
        self.asked += 1
        if self.failure is not None:
            raise self.failure
        return self.commit

    def files(
        self, url: str, ref: Ref, commit: str, path: str, credentials: Credentials, wanted: Callable[[str], bool]
    ) -> dict[str, bytes]:
        return {"item.yaml": ITEM.encode(), "templates/main.yaml.j2": MAIN.encode()}


class Bench:
    """One item in Git, and a clock."""

    def __init__(self, renderer: Renderer) -> None:
        self.forge, self.now = Forge(), 0.0
        self.items = CatalogItems(Store(), renderer, git=self.forge, clock=lambda: self.now)
        git = {"url": "https://git.example.com/a", "ref": {"branch": "main"}, "interval": "30s"}
        self.body: dict[str, Any] = {
            "apiVersion": "homeport.dev/v1alpha1",
            "kind": "CatalogItem",
            "metadata": {"name": "thing", "namespace": "shop", "uid": "u", "generation": 1, "resourceVersion": "1"},
            "spec": {"git": git},
        }

    def look(self, version: str = "1") -> Offer:
        secret = {"metadata": {"resourceVersion": version}}
        return asyncio.run(self.items.from_git(parse(self.body), secret))


@pytest.fixture
def bench() -> Any:
    renderer = Renderer()
    yield Bench(renderer)
    renderer.close()


def test_git_is_asked_again_when_the_interval_is_over(bench: Bench) -> None:
    assert isinstance(bench.look().outcome, Ok)
    bench.forge.commit, bench.now = "b" * 40, 29.9
    assert (bench.look().commit, bench.forge.asked) == ("a" * 40, 1)
    bench.now = 30.0
    assert (bench.look().commit, bench.forge.asked) == ("b" * 40, 2)


def test_git_is_asked_at_once_when_its_secret_changed(bench: Bench) -> None:
    bench.look()
    bench.look(version="2")
    assert bench.forge.asked == 2


@pytest.mark.parametrize(("passes", "ends"), [(True, Transient), (False, Stalled)])
def test_what_passes_is_tried_again_and_what_does_not_is_for_the_user_to_mend(
    bench: Bench, passes: bool, ends: type
) -> None:
    bench.forge.failure = GitFailed("it fails", passes)
    assert isinstance(bench.look().outcome, ends)
    bench.forge.failure = None
    good = bench.look()
    assert isinstance(good.outcome, Ok)
    bench.forge.failure, bench.now = GitFailed("it fails", passes), 60.0
    told = bench.look()
    assert isinstance(told.outcome, ends)
    assert told.outcome.message == f"it fails; {good.revision} stays in use"
    assert told.entry is good.entry


def test_a_worker_that_is_lost_says_what_to_do() -> None:
    renderer = Renderer(timeout=0.0)
    with pytest.raises(WorkerLost) as caught:
        renderer.compile({"main": MAIN})
    renderer.close()
    told, hint = describe(caught.value)
    assert told.endswith("the machine is too busy, or a template too slow")
    assert hint.startswith("try again in a moment")


def test_a_proof_has_an_end(bench: Bench) -> None:
    times = iter((0.0,))
    bench.items._clock = lambda: next(times, PROOF_SECONDS + 1)
    told = bench.look().outcome
    assert isinstance(told, Transient)
    assert told.message.startswith("proving version 1 ends after 30 s: the machine is too busy")


def test_items_do_not_take_the_threads_of_others(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asyncio, "to_thread", None)
    assert isinstance(bench.look().outcome, Ok)
