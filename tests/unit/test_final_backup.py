"""finalBackup: nothing of a project is scaled down or removed before every Backup's last run is good."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

import memory_world
from homeport.api.resource import parse
from homeport.drivers.kubernetes import types
from homeport.engine import kinds
from homeport.engine.plainkind import Plain
from homeport.outcome import Ok
from homeport.plan.backup import final
from homeport.plan.world import Desired
from memory_world import Manifest, Running, World, load, play

SHOP = load(Path(__file__).parents[1] / "faults" / "shop.yaml")
BACKUPS = ("nightly", "weekly")


class Played(Plain):
    """Runs that end as the test says, without anything that carries them out."""

    def __init__(self) -> None:
        self.phases: dict[str, str] = {}

    def observe(self, resource: Any, context: Any) -> Any:
        return Empty()

    def desired(self, resource: Any, world: Any, context: Any) -> Desired:
        return Desired()

    def status(self, resource: Any, world: Any, desired: Any, report: Any) -> Any:
        phase = self.phases.get(resource.name.partition("-")[0], "Succeeded")
        return ({"phase": phase, "message": "no space"} if resource.kind == "BackupRun" else {}), Ok("played")


class Empty:
    live: dict[Any, Any] = {}  # noqa: RUF012


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> Played:
    kind = Played()
    monkeypatch.setattr(memory_world, "OURS", (*memory_world.OURS, types.BACKUP, types.BACKUP_RUN))
    for name in ("Backup", "BackupRun"):
        monkeypatch.setitem(kinds.BY_NAME, name, kind)
    return kind


def project(**spec: Any) -> Manifest:
    body = next(copy.deepcopy(body) for body in SHOP if body["kind"] == "Project")
    body["spec"] |= {"finalBackup": True, **spec}
    return body


def backup(name: str) -> Manifest:
    return {
        "apiVersion": "homeport.dev/v1alpha1",
        "kind": "Backup",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"source": {"project": True}, "repositoryRef": {"name": "r"}},
    }


async def shop(world: World) -> None:
    await world.apply([*SHOP, project(), *map(backup, BACKUPS)])


async def archive(world: World) -> None:
    await world.apply([project(archived=True)])


def replicas(world: World) -> set[int]:
    return {
        body["spec"]["replicas"]
        for (gvk, *_), body in world.client._objects.items()
        if gvk in (types.DEPLOYMENT, types.STATEFUL_SET)
    }


def runs(world: World) -> list[Manifest]:
    return [body for (gvk, *_), body in world.client._objects.items() if gvk == types.BACKUP_RUN]


async def world_with(*steps: Any) -> tuple[World, Running]:
    world = World()
    running = None
    for step in steps:
        running = await play(world, step)
    assert running is not None
    return world, running


async def test_archiving_waits_for_the_last_backups(played: Played) -> None:
    played.phases = {"weekly": "Running"}
    world, _ = await world_with(shop, archive)
    assert {run["metadata"]["name"].partition("-final-")[0] for run in runs(world)} == set(BACKUPS)
    assert all(
        run["spec"] == {"backupRef": run["spec"]["backupRef"], "protected": True, "trigger": "Final"}
        for run in runs(world)
    )
    assert 0 not in replicas(world), "nothing is scaled to zero yet"
    told = world.condition(types.PROJECT, "shop", "shop")
    assert told["message"] == "waits for the last backup of weekly, as finalBackup says"
    known = world.get(types.PROJECT, "shop", "shop")["status"]["finalBackup"]
    assert known["taken"] == ["nightly"] and not known.get("done")

    played.phases = {}
    await touch(world)
    assert replicas(world) == {0}
    assert world.condition(types.PROJECT, "shop", "shop")["reason"] == "Archived"
    assert len(runs(world)) == 2


def test_a_run_that_hasnt_begun_says_why() -> None:
    ready = [{"type": "Ready", "message": "BackupRepository offsite doesn't exist"}]
    waiting = final._begun(["nightly"], final._ready({"phase": "Pending", "conditions": ready}))
    assert waiting == (
        "waits for the last backup of nightly, as finalBackup says (BackupRepository offsite doesn't exist; "
        "finalBackup: false goes on without)"
    )
    assert final._ready({"phase": "Running", "conditions": ready}) == ""  # how far it is changes all the time


async def touch(world: World) -> None:
    """Let the runs be looked at again."""

    async def step(world: World) -> None:
        for run in runs(world):
            run["metadata"].setdefault("annotations", {})["homeport.dev/reconcile-at"] = "now"
            await world.client.patch(types.BACKUP_RUN, "shop", run["metadata"]["name"], {"metadata": run["metadata"]})

    await play(world, step)


async def test_a_failed_one_holds_until_it_is_taken_again_or_nobody_asks(played: Played) -> None:
    played.phases = {"nightly": "Failed"}
    world, _ = await world_with(shop, archive)
    told = world.condition(types.PROJECT, "shop", "shop")
    assert (told["status"], told["reason"]) == ("False", "BackupFailed")
    assert "nightly-final-" in told["message"] and "no space" in told["message"]
    assert "set finalBackup: false to go on without" in told["message"]
    assert 0 not in replicas(world)
    other = world.clone()

    async def without(world: World) -> None:
        await world.apply([project(archived=True, finalBackup=False)])

    await play(other, without)
    assert replicas(other) == {0}

    played.phases = {}
    (failed,) = [run["metadata"]["name"] for run in runs(world) if run["metadata"]["name"].startswith("nightly")]
    await play(world, lambda world: world.delete(types.BACKUP_RUN, "shop", failed))
    assert replicas(world) == {0} and failed in {run["metadata"]["name"] for run in runs(world)}


async def test_deletion_waits_too(played: Played) -> None:
    played.phases = {"nightly": "Running"}
    world, _ = await world_with(shop, lambda world: world.delete(types.PROJECT, "shop", "shop"))
    assert (types.APPLICATION, "shop", "web") in world.client._objects
    assert "waits for the last backup of nightly" in world.condition(types.PROJECT, "shop", "shop")["message"]
    played.phases = {}
    await touch(world)
    assert (types.PROJECT, "shop", "shop") not in world.client._objects
    assert (types.APPLICATION, "shop", "web") not in world.client._objects
    assert len(runs(world)) == 2, "what was saved is not removed"


async def test_what_is_brought_back_gets_another_last_backup_later(played: Played) -> None:
    async def back(world: World) -> None:
        await world.apply([project(archived=False)])

    world, _ = await world_with(shop, archive, back)
    assert "finalBackup" not in world.get(types.PROJECT, "shop", "shop")["status"]
    assert 0 not in replicas(world)
    world.clock.seconds += 3600
    await play(world, archive)
    assert len(runs(world)) == 4 and replicas(world) == {0}


async def test_without_a_backup_there_is_nothing_to_take(played: Played) -> None:
    async def bare(world: World) -> None:
        await world.apply([*SHOP, project(archived=True)])

    world, _ = await world_with(bare)
    assert "the project has no Backup" in world.condition(types.PROJECT, "shop", "shop")["message"]


async def test_a_crash_at_any_write_makes_no_second_run_and_scales_nothing_down_early(played: Played) -> None:
    start, _ = await world_with(shop)
    clean = start.clone()
    whole = await play(clean, archive)
    for number in range(len(whole.gate.writes)):
        for carried_out in (False, True):
            world = start.clone()
            await play(world, archive, (number, carried_out))
            assert replicas(world) == {0} and len(runs(world)) == 2, whole.gate.writes[number]
    first_down = next(i for i, write in enumerate(whole.gate.writes) if "Deployment" in write)
    made = [i for i, write in enumerate(whole.gate.writes) if write.startswith("create BackupRun shop/")]
    assert len(made) == 2 and max(made) < first_down


def test_too_late_is_said_at_deletion() -> None:
    body = project(archived=True)
    body["metadata"] |= {"deletionTimestamp": "2026-01-01T00:00:00Z"}
    body["status"] = {"conditions": [{"type": "Archived", "status": "True"}]}
    late = parse(body)
    step = final.step(late, [parse(backup("nightly"))], {}, memory_world.EPOCH)
    assert step.outcome is not None and "set archived: false to take one" in step.outcome.message
    assert final.lets_go(late)
