"""ImageUpdates, killed before and after every write to the API server, every push and every call that opens or changes
a pull request: what was pushed isn't made twice, and the status says what it was."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from homeport.drivers.kubernetes import types
from memory_world import Killed
from update_world import DOMAIN, UpdateRunning, UpdateWorld, documents

pytestmark = pytest.mark.faults

FILE = f"""\
web: {DOMAIN}/web:1.0.0 # {{"$homeport": "images/web"}}
tag: 1.0.0 # {{"$homeport": "images/db:tag"}}
"""


async def new_world(pull_request: bool) -> UpdateWorld:
    world = UpdateWorld()
    world.repository.commit({"apps.yaml": FILE})
    world.repository.tags = {"web": ["1.0.0", "latest"], "db": ["1.0.0"]}
    await world.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}])
    await world.apply(documents(pull_request, web={}, db={}))
    return world


async def first(world: UpdateWorld) -> None:
    """Both images are newer before anything runs."""
    world.repository.tags = {"web": ["1.0.0", "1.1.0"], "db": ["1.0.0", "1.2.0"]}


async def run(world: UpdateWorld, kill: tuple[str, int, bool] | None = None) -> tuple[list[str], list[str]]:
    """An update to its end, and a second; with a crash in the first. What was written, and done outside."""
    running = await world.operator()
    await first(world)
    if kill is not None:
        kind, number, done = kill
        (running.gate if kind == "write" else running.outside).kill_at = (number, done)
    with contextlib.suppress(Killed):
        await running.settle()
    writes, outside = list(running.gate.writes), list(running.outside.done)
    if kill is not None:
        await running.stop()
        running = await world.operator()
        await running.settle()
    await again(world, running)
    await running.stop()
    return writes, outside


async def again(world: UpdateWorld, running: UpdateRunning) -> None:
    """A newer tag later, found by the next poll."""
    world.repository.tags["web"].append("1.3.0")
    await running.until(world.clock.seconds + 400)
    await running.settle()


def wrong(world: UpdateWorld, pull_request: bool) -> list[str]:
    """What isn't as it should be at the end."""
    branch = "homeport/shop-images" if pull_request else "main"
    repository, status = world.repository, world.status()
    out = []
    content = repository.content("apps.yaml", branch)
    if content != FILE.replace("web:1.0.0", "web:1.3.0").replace("tag: 1.0.0", "tag: 1.2.0"):
        out.append(content)
    if len(repository.history(branch)) != 3:
        out.append(f"{len(repository.history(branch))} commits")
    pushed = status.get("lastPushed") or {}
    if pushed.get("commit") != repository.branches[branch] or pushed.get("images") != [f"{DOMAIN}/web:1.3.0"]:
        out.append(f"lastPushed is {pushed}, the branch {repository.branches[branch]}")
    if status.get("pushing"):
        out.append(f"pushing is {status['pushing']}")
    if world.ready()[:2] != ("True", "ReconciliationSucceeded"):
        out.append(str(world.ready()))
    if pull_request and len(repository.pulls) != 1:
        out.append(f"{len(repository.pulls)} pull requests")
    if pull_request and status.get("pullRequest", {}).get("number") != 1:
        out.append(f"pullRequest is {status.get('pullRequest')}")
    return out


@pytest.mark.parametrize("pull_request", [False, True])
async def test_killed_at_every_write(pull_request: bool, tell: Any) -> None:
    start = await new_world(pull_request)
    clean = start.clone()
    writes, outside = await run(clean)
    assert wrong(clean, pull_request) == []
    pushes = ["push to homeport/shop-images", "open a pull request"] if pull_request else ["push to main"]
    assert outside[: len(pushes)] == pushes
    points = [("write", number, done) for number in range(len(writes)) for done in (False, True)]
    points += [("outside", number, done) for number in range(len(pushes)) for done in (False, True)]
    failed = []
    for kill in points:
        world = start.clone()
        await run(world, kill)
        names = writes if kill[0] == "write" else outside
        failed += [
            f"{'after' if kill[2] else 'before'} {names[kill[1]]}: {text}" for text in wrong(world, pull_request)
        ]
    tell(f"an ImageUpdate, by {'pull request' if pull_request else 'commit'}", len(points), len(failed))
    assert not failed, "\n".join(failed)


async def test_a_commit_that_was_pushed_is_known_after_a_crash() -> None:
    """The id that was written down before is the one of the commit that is there."""
    world = await new_world(False)
    running = await world.operator()
    await first(world)
    running.outside.kill_at = (0, True)
    with contextlib.suppress(Killed):
        await running.settle()
    await running.stop()
    announced = world.status()["pushing"]
    assert announced["commit"] == world.repository.branches["main"]
    running = await world.operator()
    await running.settle()
    await running.stop()
    assert world.status()["lastPushed"] == announced
    assert len(world.repository.history()) == 2
    assert world.get(types.IMAGE_UPDATE, "shop", "images")["status"].get("pushing") is None
