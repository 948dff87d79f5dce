"""A Restore, killed at every write: it comes to the same end, and nothing is made twice on the way."""

from __future__ import annotations

from typing import Any

import pytest
from killing import wrong_after
from restore_world import PLACE, SPACE, RestoreWorld, furnish, restore, save

from homeport.drivers.kubernetes import types
from memory_world import Manifest, play

pytestmark = pytest.mark.faults

KINDS = ("BackupRun", "Job", "Secret", "NetworkPolicy", "PersistentVolumeClaim", "Pod")


def in_place(world: RestoreWorld) -> Manifest:
    uid = world.get(types.APPLICATION, SPACE, "web")["metadata"]["uid"]
    return {"inPlace": {"confirm": uid, "quiesce": True}}


TARGETS: dict[str, Any] = {
    "beside": lambda world: None,
    "in place": in_place,
    "drill": lambda world: {"drill": {}},
}


async def saved() -> RestoreWorld:
    world = RestoreWorld()
    await play(world, furnish)
    await play(world, save)
    run = world.get(types.BACKUP_RUN, SPACE, "good")["status"]
    assert run["phase"] == "Succeeded", run
    return world


def told(world: RestoreWorld) -> Manifest:
    return dict(world.get(types.RESTORE, SPACE, "undo")["status"])


def left(world: RestoreWorld) -> set[str]:
    """What was made for the Restore and is still there."""
    return {
        f"{gvk.kind} {name}"
        for (gvk, _, name), found in world.client._objects.items()
        if (found["metadata"].get("labels") or {}).get("homeport.dev/owner-kind") == "Restore"
    }


def state(world: RestoreWorld) -> dict[str, Any]:
    """Without how long things took: a crash costs time, and a new operator looks at things in another order."""
    found = world.state()
    for name, body in found.items():
        status = body.get("status") or {}
        for field in (
            "duration",
            "startedAt",
            "stoppedAt",
            "finishedAt",
            "activity",
            "measuredRTO",
            "lastVerified",
            "conditions",
        ):
            status.pop(field, None)
        if name.startswith(("Backup ", "BackupRun ", "Restore ")):
            for field in ("time", "runs", "listing", "lastSuccess", "lastRun", "lastDrill", "verified"):
                status.pop(field, None)
    return found


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("fails", [False, True], ids=["succeeds", "fails"])
async def test_killed_at_every_write(target: str, fails: bool) -> None:
    start = await saved()
    if fails:
        start.failing |= {"restore", "drill"}

    async def step(world: RestoreWorld) -> None:
        await world.apply([restore(TARGETS[target](world))])

    clean = start.clone()
    writes = (await play(clean, step)).gate.writes
    assert told(clean)["phase"] == ("Failed" if fails else "Succeeded"), told(clean)
    assert left(clean) == ({"PersistentVolumeClaim web-data-undo"} if target == "beside" else set())
    assert clean.get(types.DEPLOYMENT, PLACE, "web")["spec"]["replicas"] == 1
    wrong = await wrong_after(start, step, clean, writes, KINDS, state)
    assert not wrong, "\n".join(wrong[:30])


async def test_the_order_of_what_is_done_in_place() -> None:
    world = await saved()

    async def step(world: RestoreWorld) -> None:
        await world.apply([restore(in_place(world))])

    writes = (await play(world, step)).gate.writes
    job, scaled = f"{PLACE}/homeport-restore-undo", f"apply Deployment {PLACE}/web"
    run = next(n for n, write in enumerate(writes) if write == f"create BackupRun {SPACE}/undo-before")
    down = writes.index(scaled)
    begun = next(n for n, write in enumerate(writes) if "Job" in write and job in write)
    up = len(writes) - 1 - writes[::-1].index(scaled)
    gone = next(n for n, write in enumerate(writes) if write.startswith("delete Job") and job in write)
    assert run < down < begun < up
    assert begun < gone
    before = writes[:run]
    assert f"apply Restore/status {SPACE}/undo" in before


async def test_a_new_operator_has_nothing_to_do() -> None:
    world = await saved()

    async def step(world: RestoreWorld) -> None:
        await world.apply([restore(in_place(world))])

    await play(world, step)
    again = await world.operator()
    await again.settle()
    await again.stop()
    assert again.gate.writes == []
