"""The history of an Application: what is kept of its specs, and what comes back."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from homeport.api.labels import OwnerKey
from homeport.drivers.kubernetes import errors, types
from homeport.plan import history
from homeport.plan.history import Revision
from memory_world import Manifest, Running, World, load

WEB = OwnerKey("Application", "shop", "web")
SHOP = load(Path(__file__).parents[1] / "faults" / "shop.yaml")


def spec(version: str = "1.0.0", **more: Any) -> dict[str, Any]:
    return {"version": version, "components": [{"name": "web", "image": "web"}, {"name": "db", "image": "db"}], **more}


# --- what is kept ---------------------------------------------------------------------------------------------------


def test_how_the_work_stands_is_not_kept() -> None:
    plain = spec(environments=[{"name": "a"}, {"name": "b", "overrides": {"db": {"replicas": 2}}}])
    busy = copy.deepcopy(plain)
    busy |= {"suspend": True, "revisionHistoryLimit": 3}
    busy["components"][0] |= {"paused": True, "restartAt": "1"}
    busy["environments"][0]["overrides"] = {"web": {"paused": True}}
    busy["environments"][1]["overrides"]["db"]["restartAt"] = "2"
    plain["components"].append({"name": "nightly", "type": "cron"})
    busy["components"].append({"name": "nightly", "type": "cron", "suspend": True})
    before = copy.deepcopy(busy)
    assert history.content(busy) == history.content(plain) == plain
    assert busy == before, "nothing is changed in place"


def test_everything_else_is() -> None:
    for other in (spec("1.0.1"), spec(title="Shop"), spec(deletionPolicy="Retain"), spec(environments=[])):
        assert history.content(other) != history.content(spec())


def test_what_comes_back_is_as_busy_as_it_is_now() -> None:
    old = spec("1.0.0", environments=[{"name": "a"}, {"name": "b"}])
    present = spec("2.0.0", suspend=False, revisionHistoryLimit=9, environments=[{"name": "a"}])
    present["components"][0] |= {"paused": True, "restartAt": "1"}
    present["environments"][0]["overrides"] = {"db": {"paused": True, "replicas": 7}, "new": {"paused": True}}
    back = history.restored(history.content(old), present)
    assert history.content(back) == history.content(old)
    assert back["components"][0] == {"name": "web", "image": "web", "paused": True, "restartAt": "1"}
    assert back["environments"] == [{"name": "a", "overrides": {"db": {"paused": True}}}, {"name": "b"}]
    assert (back["suspend"], back["revisionHistoryLimit"]) == (False, 9)


def test_every_environment_stays_every_environment() -> None:
    back = history.restored(spec(), spec("2.0.0", environments=[{"name": "a"}]))
    assert "environments" not in back


def test_surplus_counts_old_ones_only() -> None:
    known = [Revision(f"r{n}", "", n, "", "", {}) for n in range(9, 0, -1)]
    assert [r.name for r in history.surplus(known, "r9", None)] == ["r3", "r2", "r1"]
    assert [r.name for r in history.surplus(known, "new", 5)] == ["r4", "r3", "r2", "r1"]
    assert [r.name for r in history.surplus(known, "r9", 0)] == [f"r{n}" for n in range(8, 0, -1)]


# --- as it is made --------------------------------------------------------------------------------------------------


@pytest.fixture
async def world() -> World:
    return World()


@pytest.fixture
async def running(world: World) -> AsyncIterator[Running]:
    await world.apply(SHOP)
    running = await world.operator()
    await running.settle()
    running.gate.writes.clear()
    yield running
    await running.stop()


def app(**changes: Any) -> Manifest:
    body = copy.deepcopy(SHOP[-1])
    body["spec"] |= changes
    return body


def kept(world: World) -> list[Revision]:
    uid = world.get(types.APPLICATION, "shop", "web")["metadata"]["uid"]
    return history.revisions(world.client.objects(types.CONTROLLER_REVISION), uid)


def status(world: World) -> Manifest:
    found: Manifest = world.get(types.APPLICATION, "shop", "web")["status"]
    return found


async def change(world: World, running: Running, **changes: Any) -> list[str]:
    """Apply, settle; what was written of the history."""
    running.gate.writes.clear()
    await world.apply([app(**changes)])
    await running.settle()
    return [write.split()[0] for write in running.gate.writes if "ControllerRevision" in write]


async def test_one_write_for_each_changed_spec(world: World, running: Running) -> None:
    (first,) = kept(world)
    assert (first.number, first.spec) == (1, history.content(SHOP[-1]["spec"]))
    assert await change(world, running, version="1.1.0") == ["apply"]
    assert [(r.number, r.spec["version"]) for r in kept(world)] == [(2, "1.1.0"), (1, SHOP[-1]["spec"]["version"])]
    assert (status(world)["revision"], status(world)["updateRevision"]) == (2, kept(world)[0].name)
    assert await change(world, running, version="1.1.0", suspend=False, revisionHistoryLimit=3) == []
    running.engine.queue.add(WEB)
    running.gate.writes.clear()
    await running.settle()
    assert running.gate.writes == []


async def test_an_old_spec_gets_a_new_number_and_no_twin(world: World, running: Running) -> None:
    version = SHOP[-1]["spec"]["version"]
    await change(world, running, version="1.1.0")
    assert await change(world, running) == ["apply"]
    assert [(r.number, r.spec["version"]) for r in kept(world)] == [(3, version), (2, "1.1.0")]
    assert status(world)["revision"] == 3


async def test_five_old_ones_are_kept(world: World, running: Running) -> None:
    for minor in range(1, 7):
        written = await change(world, running, version=f"1.{minor}.0")
    assert written == ["apply", "delete"]
    assert [r.number for r in kept(world)] == [7, 6, 5, 4, 3, 2]
    assert await change(world, running, version="1.6.0", revisionHistoryLimit=1) == ["delete"] * 4
    assert [r.number for r in kept(world)] == [7, 6]
    await change(world, running, version="1.7.0", revisionHistoryLimit=1)
    assert [r.number for r in kept(world)] == [8, 7]


async def test_numbers_rise_though_revisions_were_deleted_by_hand(world: World, running: Running) -> None:
    await change(world, running, version="1.1.0")
    for revision in kept(world):
        await world.delete(types.CONTROLLER_REVISION, "shop", revision.name)
    await change(world, running, version="1.2.0")
    assert [r.number for r in kept(world)] == [3]


async def test_a_spec_that_cannot_be_carried_out_is_not_kept(world: World, running: Running) -> None:
    broken = copy.deepcopy(SHOP[-1]["spec"]["components"])
    broken[0]["ports"] = [{"name": "a", "port": 1}, {"name": "b", "port": 1}]
    assert await change(world, running, version="9.9.9", components=broken) == []
    assert world.condition(types.APPLICATION, "shop", "web")["reason"] == "InvalidSpec"
    assert status(world)["revision"] == 1, "what runs is still known"
    assert await change(world, running, version="1.1.0") == ["apply"]
    assert [r.number for r in kept(world)] == [2, 1]


async def test_a_suspended_spec_is_kept_once_it_is_acted_on(world: World, running: Running) -> None:
    assert await change(world, running, version="1.1.0", suspend=True) == []
    assert await change(world, running, version="1.1.0") == ["apply"]


async def test_a_new_application_of_the_same_name_has_a_history_of_its_own(world: World, running: Running) -> None:
    old = kept(world)
    await world.delete(types.APPLICATION, "shop", "web")
    await running.settle()
    await world.apply([app()])
    await running.settle()
    (new,) = kept(world)
    assert (new.number, new.spec) == (1, old[0].spec)
    assert new.name != old[0].name


async def test_what_cannot_be_kept_is_said_and_everything_else_goes_on(world: World, running: Running) -> None:
    refusal = errors.Forbidden(403, "Forbidden", "controllerrevisions is forbidden")
    world.client.fail(lambda call: call.gvk == types.CONTROLLER_REVISION and call.verb == "apply", refusal, 1000)
    await world.apply([app(version="1.1.0")])
    await running.settle()
    found = world.condition(types.APPLICATION, "shop", "web")
    assert (found["status"], found["reason"]) == ("False", "AccessDenied")
    assert "its history can't be kept" in found["message"]
    shown = world.get(types.DEPLOYMENT, "shop-main", "front")["metadata"]["labels"]["app.kubernetes.io/version"]
    assert shown == "1.1.0"


async def test_a_revision_is_no_child(world: World, running: Running) -> None:
    entries = status(world)["inventory"]["entries"]
    assert not [entry for entry in entries if "ControllerRevision" in entry["id"]]
    (body,) = world.client.objects(types.CONTROLLER_REVISION)
    uid = world.get(types.APPLICATION, "shop", "web")["metadata"]["uid"]
    assert [owner["uid"] for owner in body["metadata"]["ownerReferences"]] == [uid]


# --- beside it: what a rollback must not do again, and what stands still --------------------------------------------


def jobs_made(world: World) -> int:
    return world.births("Job")


async def test_a_rollback_runs_no_migration_again(world: World, running: Running) -> None:
    assert jobs_made(world) == 2
    await change(world, running, version="1.1.0")
    assert jobs_made(world) == 4, "a migration and a job of the new version"
    await change(world, running)
    await change(world, running, version="1.1.0")
    assert world.condition(types.APPLICATION, "shop", "web")["status"] == "True"
    assert jobs_made(world) == 4
    entries = {entry["id"]: len(entry.get("earlier", ())) for entry in status(world)["doneJobs"]}
    assert entries == {"main/front/migrate": 1, "main/seed/job": 1}


async def test_paused_is_ready_and_said_and_migrates_when_it_goes_on(world: World, running: Running) -> None:
    held = copy.deepcopy(SHOP[-1]["spec"]["components"])
    held[0]["paused"] = True
    await change(world, running, version="1.1.0", components=held)
    found = world.condition(types.APPLICATION, "shop", "web")
    assert (found["status"], found["reason"]) == ("True", "ReconciliationSucceeded")
    assert "main/front: the rollout is paused" in found["message"]
    assert world.get(types.DEPLOYMENT, "shop-main", "front")["spec"]["paused"] is True
    assert jobs_made(world) == 3, "the job of the component that isn't paused"
    assert status(world)["environments"][0]["health"] == "Suspended"
    await change(world, running, version="1.1.0")
    assert jobs_made(world) == 4
    assert "paused" not in world.get(types.DEPLOYMENT, "shop-main", "front")["spec"]
    assert "paused" not in world.condition(types.APPLICATION, "shop", "web")["message"]


async def test_zero_and_back_beside_autoscaling(world: World, running: Running) -> None:
    stopped = copy.deepcopy(SHOP[-1]["spec"]["components"])
    stopped[0]["replicas"] = 0
    await change(world, running, components=stopped)
    assert world.get(types.DEPLOYMENT, "shop-main", "front")["spec"]["replicas"] == 0
    guards = (types.HORIZONTAL_POD_AUTOSCALER, types.POD_DISRUPTION_BUDGET)
    assert not [world.client.objects(gvk) for gvk in guards if world.client.objects(gvk)]
    found = world.condition(types.APPLICATION, "shop", "web")
    assert found["status"] == "True" and "main/front: scaled to zero" in found["message"]
    await change(world, running)
    assert world.get(types.DEPLOYMENT, "shop-main", "front")["spec"]["replicas"] == 2
    assert all(len(world.client.objects(gvk)) == 1 for gvk in guards)
    assert "zero" not in world.condition(types.APPLICATION, "shop", "web")["message"]
