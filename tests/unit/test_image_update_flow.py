"""ImageUpdates in a world in memory: what is pushed when, and what is said of it."""

from __future__ import annotations

from typing import Any

import pytest

from homeport.drivers.kubernetes import types
from update_world import DOMAIN, PlayedForge, UpdateRunning, UpdateWorld, documents

BRANCH = "homeport/shop-images"


def file(*names: str, version: str = "1.0.0") -> str:
    return "".join(f'{name}: {DOMAIN}/{name}:{version} # {{"$homeport": "images/{name}"}}\n' for name in names)


async def world_of(*names: str, pull_request: bool = False, **more: Any) -> tuple[UpdateWorld, UpdateRunning]:
    world = UpdateWorld()
    world.repository.commit({"apps.yaml": file(*names)})
    world.repository.tags = {name: ["1.0.0"] for name in names}
    await world.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}])
    await world.apply(documents(pull_request, **dict.fromkeys(names, more)))
    running = await world.operator()
    await running.settle()
    return world, running


async def later(running: UpdateRunning, seconds: float = 700.0) -> None:
    await running.until(running.world.clock.seconds + seconds)
    await running.settle()


async def test_what_is_new_at_once_is_one_commit_and_rest_is_rest() -> None:
    world, running = await world_of("a", "b", "c")
    assert world.ready()[2] == "a 1.0.0, b 1.0.0, c 1.0.0; 3 markers"
    for name in "abc":
        world.repository.tags[name].append("1.1.0")
    await later(running)
    assert len(world.repository.history()) == 2
    assert world.repository.content("apps.yaml") == file("a", "b", "c", version="1.1.0")
    writes, polls = len(running.gate.writes), len(world.repository.polls)
    await later(running, 3600.0)
    assert len(running.gate.writes) == writes
    assert 3 * 10 <= len(world.repository.polls) - polls <= 3 * 17, "each about every five minutes"
    await running.stop()


async def test_a_registry_that_is_down_does_not_hold_back_the_others() -> None:
    world, running = await world_of("a", "b")
    world.repository.down = {"a"}
    world.repository.tags["b"].append("1.1.0")
    await later(running)
    assert "b:1.1.0" in world.repository.content("apps.yaml")
    assert world.ready()[:2] == ("False", "ProgressingWithRetry")
    world.repository.down = set()
    await later(running)
    assert world.ready()[0] == "True"
    await running.stop()


async def test_a_push_that_is_refused_is_told_and_not_tried_all_the_time() -> None:
    world, running = await world_of("a")
    world.repository.refuses = "the branch is protected"
    world.repository.tags["a"].append("1.1.0")
    await later(running)
    told = world.ready()
    assert told[:2] == ("False", "PushFailed")
    assert "the commit can't be pushed to main: the branch is protected" in told[2]
    assert len(running.outside.done) <= 2
    world.repository.refuses = ""
    world.repository.commit({"README.md": "another commit"})
    running.engine.context.enqueue(running.engine.store.keys("ImageUpdate")[0])
    await later(running, 60.0)
    assert world.ready()[0] == "True", "on another commit it is tried at once"
    await running.stop()


async def test_one_pull_request_is_kept_up_to_date_and_others_commits_stay() -> None:
    world, running = await world_of("a", pull_request=True)
    assert world.repository.pulls == []
    world.repository.tags["a"].append("1.1.0")
    await later(running)
    assert [pull.title for pull in world.repository.pulls] == [f"Update {DOMAIN}/a:1.1.0"]
    assert world.status()["pullRequest"]["url"].endswith("/pulls/1")
    assert world.repository.content("apps.yaml") == file("a"), "main is as it was"
    theirs = world.repository.commit({"notes.md": "tested"}, BRANCH)
    world.repository.tags["a"].append("1.2.0")
    await later(running)
    assert [pull.title for pull in world.repository.pulls] == [f"Update {DOMAIN}/a:1.2.0"]
    assert theirs in world.repository.history(BRANCH)
    assert world.repository.content("apps.yaml", BRANCH) == file("a", version="1.2.0")
    assert world.repository.content("notes.md", BRANCH) == "tested"
    await running.stop()


async def test_a_pull_request_that_was_closed_is_not_opened_again_while_its_branch_is_there() -> None:
    world, running = await world_of("a", pull_request=True)
    world.repository.tags["a"].append("1.1.0")
    await later(running)
    world.repository.pulls.clear()
    world.repository.tags["a"].append("1.2.0")
    await later(running)
    assert world.repository.pulls == []
    assert world.ready()[:2] == ("False", "PushFailed")
    assert f"the branch {BRANCH} is there with commits of its own, and no pull request is open" in world.ready()[2]
    del world.repository.branches[BRANCH]
    await later(running, 1300.0)
    assert [pull.title for pull in world.repository.pulls] == [f"Update {DOMAIN}/a:1.2.0"]
    await running.stop()


async def test_a_merged_pull_request_is_followed_by_another() -> None:
    world, running = await world_of("a", pull_request=True)
    world.repository.tags["a"].append("1.1.0")
    await later(running)
    world.repository.branches["main"] = world.repository.branches.pop(BRANCH)
    world.repository.pulls.clear()
    await later(running)
    assert world.ready()[0] == "True"
    assert "pullRequest" not in world.status()
    world.repository.tags["a"].append("1.2.0")
    await later(running)
    assert [pull.title for pull in world.repository.pulls] == [f"Update {DOMAIN}/a:1.2.0"]
    await running.stop()


async def test_a_forge_whose_answer_breaks_the_reading_is_told_and_asked_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(self: PlayedForge, base: str) -> Any:
        raise KeyError("head")

    with monkeypatch.context() as patch:
        patch.setattr(PlayedForge, "pulls", broken)
        world, running = await world_of("a", pull_request=True)
        assert world.ready() == ("False", "ProgressingWithRetry", "internal error: KeyError")
        assert "reading pull requests broke" in caplog.text
    world.repository.tags["a"].append("1.1.0")
    await later(running)
    assert [pull.title for pull in world.repository.pulls] == [f"Update {DOMAIN}/a:1.1.0"]
    await running.stop()


async def test_an_archived_project_and_a_suspended_update_ask_nobody() -> None:
    world, running = await world_of("a")
    await world.apply([{"apiVersion": "homeport.dev/v1alpha1", "kind": "Project",
                        "metadata": {"name": "shop", "namespace": "shop"}, "spec": {"archived": True}}])  # fmt: skip
    await running.settle()
    world.repository.tags["a"].append("1.1.0")
    polls = len(world.repository.polls)
    await later(running, 1200.0)
    assert len(world.repository.polls) == polls
    assert world.ready()[:2] == ("True", "Archived")
    assert len(world.repository.history()) == 1
    await running.stop()


async def test_a_digest_that_moves_is_followed() -> None:
    world = UpdateWorld()
    world.repository.commit({"apps.yaml": file("a")})
    world.repository.tags, world.repository.digests = {"a": ["1.0.0"]}, {"a:1.0.0": "sha256:" + "1" * 64}
    await world.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}])
    await world.apply(documents(a={"digest": True}))
    running = await world.operator()
    await running.settle()
    assert world.repository.content("apps.yaml").startswith(f"a: {DOMAIN}/a:1.0.0@sha256:1111")
    world.repository.digests["a:1.0.0"] = "sha256:" + "2" * 64
    await later(running)
    assert "@sha256:2222" in world.repository.content("apps.yaml")
    assert world.get(types.IMAGE_UPDATE, "shop", "images")["status"]["images"][0]["tag"] == "1.0.0"
    await running.stop()
