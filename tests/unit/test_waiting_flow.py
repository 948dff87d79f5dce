"""What ``homeport wait gitsource/… --revision`` says at every write of an operator that applies that commit."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from gitops_world import GitRunning, GitWorld, config, namespace, source
from homeport.api import labels
from homeport.cli.waiting import State, Want, look
from homeport.drivers.kubernetes import types

ONE = {"a.yaml": config("a", x="1")}
TWO = {"a.yaml": config("a", x="2"), "b.yaml": config("b", x="2")}


def run(play: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(play(), 60))


async def home(files: dict[str, str], **spec: Any) -> tuple[GitWorld, GitRunning]:
    world = GitWorld()
    await world.apply([namespace()])
    world.repository.push(files)
    await world.apply([source(**spec)])
    running = await world.operator()
    await running.settle()
    return world, running


def data(world: GitWorld, name: str) -> Any:
    found = world.client._objects.get((types.CONFIG_MAP, "shop", name))
    return found and found["data"]


@pytest.mark.parametrize("before", [ONE, {**ONE, "b.yaml": "kind: ConfigMap\nmetadata: {name: [\n"}])
@pytest.mark.parametrize("condition", ["Ready", "Healthy"])
def test_it_is_neither_ready_nor_stalled_before_all_is_there(
    before: dict[str, str], condition: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ready, and Stalled, of the commit before stand in the status while the next one is being applied."""

    async def play() -> None:
        world, running = await home(ONE)
        world.repository.push(before)
        await running.settle()
        want = Want(condition, revision=world.repository.push(TWO)[:12])
        write, said = running.gate._write, []

        async def told(*args: Any, **kwargs: Any) -> Any:
            answer = await write(*args, **kwargs)
            whole = data(world, "a") == data(world, "b") == {"x": "2"}
            said.append((look(world.source(), want).state, whole))
            return answer

        monkeypatch.setattr(running.gate, "_write", told)
        await running.settle()
        await running.stop()
        # The inventory is written first, the status last.
        assert (State.WAITING, False) in said
        assert said[-1] == (State.DONE, True)
        assert {whole for state, whole in said if state is State.DONE} == {True}
        assert State.STALLED not in {state for state, _ in said}

    run(play)


def test_a_commit_that_fails_is_stalled_and_never_done() -> None:
    async def play() -> None:
        world, running = await home(ONE)
        bad = world.repository.push({**ONE, "b.yaml": "kind: ConfigMap\nmetadata: {name: [\n"})
        await running.settle()
        for condition in ("Ready", "Healthy"):
            assert look(world.source(), Want(condition, revision=bad)).state is State.STALLED
        await running.stop()

    run(play)


def test_a_commit_that_changes_nothing_is_told_when_somebody_asks() -> None:
    async def play() -> None:
        world, running = await home(ONE, path="./")
        want = Want(revision=world.repository.push({**ONE, "readme.md": "2"}))
        await running.settle()
        # No write for what isn't of this source, so nobody can tell.
        assert look(world.source(), want).state is State.WAITING
        await world.apply([source(path="./", annotations={labels.RECONCILE_AT: "1"})])
        await running.settle()
        assert look(world.source(), want).state is State.DONE
        writes = len(running.gate.writes)
        world.repository.push({**ONE, "readme.md": "3"})
        await running.settle()
        assert running.gate.writes[writes:] == [], "asked once, it is told once"
        await running.stop()

    run(play)


def test_a_dry_run_is_never_done() -> None:
    async def play() -> None:
        world, running = await home(ONE)
        await world.apply([source(dryRun=True)])
        want = Want(revision=world.repository.push(TWO))
        await running.settle()
        assert world.status()["lastAttemptedRevision"].endswith(want.revision)
        assert look(world.source(), want).state is State.STALLED
        await running.stop()

    run(play)
