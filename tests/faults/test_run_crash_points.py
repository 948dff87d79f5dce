"""A BackupRun, killed at every write: it comes to the same end, and nothing is made twice on the way."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from killing import wrong_after
from restore_world import SPACE, RestoreWorld, furnish, own
from test_restore_crash_points import state

from homeport.drivers.kubernetes import types
from homeport.drivers.kubernetes.remote import Done
from memory_world import Manifest, play

pytestmark = pytest.mark.faults

KINDS = ("Job", "Secret", "NetworkPolicy", "Pod")
HOOKS = {"before": [{"exec": ["freeze"]}], "after": [{"exec": ["thaw"]}]}


async def ready(hooks: Manifest | None = None) -> RestoreWorld:
    """A project in which nothing is left to do but to back it up."""
    world = RestoreWorld()
    await play(world, furnish)
    if hooks:
        await world.client.patch(types.BACKUP, SPACE, "nightly", {"spec": {"hooks": hooks}})
        await world.client.create(types.POD, f"{SPACE}-main", pod())
    return world


def pod() -> Manifest:
    """The component's, in which hooks run."""
    marks = {"project": SPACE, "application": "web", "component": "web", "environment": "main"}
    found = {f"homeport.dev/{name}": value for name, value in marks.items()}
    metadata = {"name": "web-1", "namespace": f"{SPACE}-main", "labels": found}
    return {"metadata": metadata, "spec": {"nodeName": "one"}, "status": {"phase": "Running"}}


async def step(world: RestoreWorld) -> None:
    await world.apply([own("BackupRun", "now", {"backupRef": {"name": "nightly"}})])


def told(world: RestoreWorld) -> Manifest:
    return dict(world.get(types.BACKUP_RUN, SPACE, "now")["status"])


def left(world: RestoreWorld) -> set[str]:
    """What was made for the run and is still there."""
    return {
        f"{gvk.kind} {name}"
        for (gvk, _, name), found in world.client._objects.items()
        if (found["metadata"].get("labels") or {}).get("homeport.dev/owner-kind") == "BackupRun"
    }


async def wrong_after_a_crash(start: RestoreWorld, phase: str) -> list[str]:
    clean = start.clone()
    writes = (await play(clean, step)).gate.writes
    assert told(clean)["phase"] == phase, told(clean)
    assert left(clean) == set()
    return await wrong_after(start, step, clean, writes, KINDS, state)


@pytest.mark.parametrize("fails", [False, True], ids=["succeeds", "fails"])
async def test_killed_at_every_write(fails: bool) -> None:
    start = await ready()
    if fails:
        start.failing.add("backup")
    assert not await wrong_after_a_crash(start, "Failed" if fails else "Succeeded")


async def test_killed_at_every_write_with_hooks() -> None:
    assert not await wrong_after_a_crash(await ready(HOOKS), "Succeeded")


async def ran(world: RestoreWorld, codes: dict[str, int]) -> list[str]:
    """The hooks that ran, in their order."""
    found: list[str] = []

    def runs(command: Sequence[str]) -> Done:
        found.append(command[0])
        return Done(codes.get(command[0], 0), "", "a secret that it says")

    world.client.runs = runs
    await play(world, step)
    return found


@pytest.mark.parametrize(
    ("failing", "codes", "phase", "hooks"),
    [
        (False, {}, "Succeeded", ["freeze", "thaw"]),
        (True, {}, "Failed", ["freeze", "thaw"]),
        (False, {"freeze": 3}, "Failed", ["freeze", "thaw"]),
        (False, {"thaw": 4}, "Succeeded", ["freeze", "thaw"]),
    ],
)
async def test_what_is_to_be_done_after_it_is_done_however_it_ends(
    failing: bool, codes: dict[str, int], phase: str, hooks: list[str]
) -> None:
    world = await ready(HOOKS)
    if failing:
        world.failing.add("backup")
    jobs = world.births("Job")
    assert await ran(world, codes) == hooks
    status = told(world)
    assert status["phase"] == phase
    assert "a secret" not in str(status)
    # A hook before it that fails: nothing is saved.
    assert world.births("Job") - jobs == (0 if "freeze" in codes else 1)
    said = str(world.condition(types.BACKUP_RUN, SPACE, "now")["message"])
    if "freeze" in codes:
        assert said.startswith("HookFailed: nothing was saved: hook before[0]: it ended with exit code 3")
    if "thaw" in codes:
        assert said.endswith("hook after[0]: it ended with exit code 4")


async def test_a_run_that_is_deleted_while_it_is_under_way() -> None:
    """Its Job goes, and what is to be done after it is done."""
    world = await ready(HOOKS)
    found: list[str] = []

    def runs(command: Sequence[str]) -> Done:
        found.append(command[0])
        return Done(0, "", "")

    world.client.runs = runs
    del world.played[types.JOB]  # it goes on and on
    await play(world, step)
    assert told(world)["phase"] == "Running"

    async def delete(world: RestoreWorld) -> None:
        await world.delete(types.BACKUP_RUN, SPACE, "now")

    await play(world, delete)
    assert found == ["freeze", "thaw"]
    assert (types.BACKUP_RUN, SPACE, "now") not in world.client._objects
    assert left(world) == set()


async def test_a_new_operator_has_nothing_to_do() -> None:
    world = await ready()
    await play(world, step)
    again = await world.operator()
    await again.settle()
    await again.stop()
    assert again.gate.writes == []
