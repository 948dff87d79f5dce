"""The whole reconciliation in memory, with a clock that only we turn.

``golden/reconcile/<kind>-<case>/``: ``cr.yaml`` is what is reconciled, ``observed.yaml`` what is there besides;
``changes.yaml`` is what the plan says, ``status.yaml`` the status three seconds later. ``--update-golden`` writes them.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from homeport.api import labels
from homeport.api.labels import OwnerKey
from homeport.drivers.kubernetes import errors, types
from homeport.engine import reconcile
from homeport.engine.preview import preview
from homeport.engine.store import key_of
from homeport.outcome import Stalled
from homeport.plan.types import Verb
from memory_world import Manifest, Running, World, drain, load

GOLDEN = Path(__file__).parent / "golden" / "reconcile"
CASES = sorted(path.name for path in GOLDEN.iterdir())
WEB = OwnerKey("Application", "shop", "web")
SHOP = load(Path(__file__).parents[1] / "faults" / "shop.yaml")


async def observed(world: World, documents: list[Manifest]) -> None:
    """Put objects there, statuses included."""
    for body in documents:
        await world.client.create(types.gvk_of(body), body["metadata"].get("namespace"), copy.deepcopy(body))


@pytest.mark.parametrize("case", CASES)
async def test_golden(case: str, update_golden: bool) -> None:
    folder, world = GOLDEN / case, World()
    await observed(world, load(folder / "observed.yaml"))
    (cr,) = load(folder / "cr.yaml")
    await observed(world, [cr])
    running = await world.operator()
    key = key_of(cr)
    resource, error = running.engine.store.look(key)
    assert resource is not None
    changes: dict[str, Any] = {}
    if error is None and not resource.suspended:
        plan = await reconcile.preview(resource, running.engine.context)
        steps = {step.id for step in plan.decision.steps}
        for change in plan.changes:
            if change.verb is not Verb.NOTHING:
                when = "now" if change.id in steps else plan.decision.held.get((change.cluster, change.id), "kept")
                changes[change.id.shown] = {"change": f"{change.verb}: {change.reason}", "when": when}
        again = await reconcile.preview(resource, running.engine.context)
        assert plan.changes == again.changes, "planning twice is planning once"
    await running.engine.process(key)
    await drain()
    world.clock.seconds += 3
    await running.engine.process(key)
    await running.stop()
    found = world.get(types.gvk_of(cr), key.namespace, key.name).get("status", {})
    for name, value in (("changes.yaml", changes), ("status.yaml", found)):
        text = yaml.safe_dump(without_chance(value), sort_keys=False, width=116, allow_unicode=True)
        if update_golden:
            (folder / name).write_text(text)
        assert (folder / name).read_text() == text


def without_chance(value: Any) -> Any:
    """Creation times are the machine's own; the rest is our clock's."""
    if isinstance(value, dict) and {"time", "actor", "verb"} <= set(value):
        return {**value, "time": "…"}
    if isinstance(value, dict):
        return {key: without_chance(part) for key, part in value.items()}
    return [without_chance(part) for part in value] if isinstance(value, list) else value


# --- over time ------------------------------------------------------------------------------------------------------


@pytest.fixture
async def world() -> World:
    return World()


@pytest.fixture
async def running(world: World) -> AsyncIterator[Running]:
    """The shop, with everything ready."""
    await world.apply(SHOP)
    running = await world.operator()
    await running.settle()
    assert world.condition(types.APPLICATION, "shop", "web")["status"] == "True"
    running.gate.writes.clear()
    yield running
    await running.stop()


def spec_of(**changes: Any) -> Manifest:
    body = copy.deepcopy(SHOP[-1])
    body["spec"].update(changes)
    return body


async def test_steady_state_writes_nothing(world: World, running: Running) -> None:
    every = running.engine.store.keys()
    for key in every:
        running.engine.queue.add(key)
    await running.settle()
    assert running.gate.writes == []


async def test_ready_without_waiting_for_the_next_look(world: World) -> None:
    await world.apply(SHOP)
    running = await world.operator()
    began = world.clock.seconds
    while not any(
        entry["type"] == "Ready" and entry["status"] == "True"
        for entry in world.get(types.APPLICATION, "shop", "web").get("status", {}).get("conditions", [])
    ):
        await drain()
        if not await world.controllers() and not await running.step():
            world.clock.seconds += 0.1
    await running.stop()
    assert world.clock.seconds - began < 2


@pytest.mark.parametrize(
    ("gvk", "name", "patch"),
    [
        (types.DEPLOYMENT, "front", {"spec": {"template": {"spec": {"serviceAccountName": "thief"}}}}),
        (types.SERVICE, "front", {"spec": {"ports": []}}),
        (types.CONFIG_MAP, "front-files", {"data": None}),
        (types.SECRET, "keys", {"data": {"token": "c3RvbGVu"}}),
        (types.NETWORK_POLICY, "front", {"metadata": {"labels": {labels.COMPONENT: "x"}}}),
        (types.CRON_JOB, "nightly", {"spec": {"suspend": True}}),
    ],
)
async def test_drift_is_mended(world: World, running: Running, gvk: types.GVK, name: str, patch: Any) -> None:
    before = world.state()
    await world.client.patch(gvk, "shop-main", name, patch)
    await running.settle()
    mended = world.state()
    if name == "front" and gvk == types.DEPLOYMENT:  # a field that nobody declares is nobody's business
        assert mended[f"Deployment shop-main/{name}"]["spec"]["template"]["spec"]["serviceAccountName"] == "thief"
        assert running.gate.writes == []
        return
    assert mended == before
    assert any(f"{gvk.kind} shop-main/{name}" in write for write in running.gate.writes)
    if gvk != types.SECRET:  # Pods roll when a Secret changes: with the thief's, and with the right one again
        assert len(running.gate.writes) == 1, running.gate.writes


async def test_what_is_deleted_is_made_anew(world: World, running: Running) -> None:
    before = world.state()
    for gvk, name in ((types.SERVICE, "front"), (types.DEPLOYMENT, "front"), (types.SECRET, "keys")):
        await world.client.delete(gvk, "shop-main", name)
    await running.settle()
    after = world.state()
    assert after == before
    assert world.births("Job") == 2, "no migration runs again for it"


async def test_a_job_that_was_tidied_up_stays_away(world: World, running: Running) -> None:
    (seed,) = [name for name in world.state() if "seed-" in name and name.startswith("Job")]
    await world.client.delete(types.JOB, "shop-main", seed.partition("/")[2])
    await running.settle()
    assert seed not in world.state()
    assert world.condition(types.APPLICATION, "shop", "web")["status"] == "True"
    # And what depends on it isn't held back by that.
    body = spec_of()
    body["spec"]["components"][0]["env"] = [{"name": "MODE", "value": "new"}]
    await world.apply([body])
    await running.settle()
    (container,) = world.get(types.DEPLOYMENT, "shop-main", "front")["spec"]["template"]["spec"]["containers"]
    assert container["env"][0]["value"] == "new"


async def test_a_failed_migration_holds_the_workload_back(world: World, running: Running) -> None:
    world.failing.add("front-migrate")
    await world.apply([spec_of(version="2.0.0")])
    await running.settle()
    ready = world.condition(types.APPLICATION, "shop", "web")
    assert (ready["status"], ready["reason"]) == ("False", "HealthCheckFailed")
    assert "front" in ready["message"] and "BackoffLimitExceeded" in ready["message"]
    (container,) = world.get(types.DEPLOYMENT, "shop-main", "front")["spec"]["template"]["spec"]["containers"]
    assert container["image"].endswith(":1.0.0"), "the old version goes on"
    world.failing.clear()
    await world.apply([spec_of(version="2.0.1")])
    await running.settle()
    assert world.condition(types.APPLICATION, "shop", "web")["status"] == "True"


async def test_what_cannot_progress_is_said(world: World, running: Running) -> None:
    world.failing.add("front")
    await world.apply([spec_of(version="2.0.0")])
    await running.settle()
    ready = world.condition(types.APPLICATION, "shop", "web")
    assert (ready["reason"], "timed out progressing" in ready["message"]) == ("HealthCheckFailed", True)
    assert world.get(types.PROJECT, "shop", "shop")["status"]["health"] == "Degraded"


async def test_suspended_is_left_alone(world: World, running: Running) -> None:
    await world.apply([spec_of(suspend=True, version="2.0.0")])
    await world.client.delete(types.SERVICE, "shop-main", "front")
    await running.settle()
    assert "Service shop-main/front" not in world.state()
    status = world.get(types.APPLICATION, "shop", "web")["status"]
    assert status["observedGeneration"] == 2
    assert {entry["type"]: entry["status"] for entry in status["conditions"]} == {"Ready": "True", "Suspended": "True"}
    await world.apply([spec_of(version="2.0.0")])
    await running.settle()
    assert "Service shop-main/front" in world.state()
    await world.apply([spec_of(suspend=True)])
    await world.delete(types.APPLICATION, "shop", "web")
    await running.settle()
    assert "Application shop/web" not in world.state(), "deletion works while suspended"


async def test_an_immutable_field_is_replaced_when_asked(world: World, running: Running) -> None:
    body = spec_of()
    body["spec"]["components"][1]["volumes"][0]["size"] = "2Gi"
    await world.apply([body])
    await running.settle()
    ready = world.condition(types.APPLICATION, "shop", "web")
    assert (ready["reason"], labels.REPLACE_AT in ready["message"]) == ("ReplacementRequired", True)
    uid = world.get(types.STATEFUL_SET, "shop-main", "store")["metadata"]["uid"]
    body["metadata"]["annotations"] = {labels.REPLACE_AT: "1"}
    await world.apply([body])
    await running.settle()
    assert world.condition(types.APPLICATION, "shop", "web")["status"] == "True"
    assert world.get(types.STATEFUL_SET, "shop-main", "store")["metadata"]["uid"] != uid
    assert world.births("PersistentVolumeClaim") == 1, "never its volumes"
    assert world.get(types.APPLICATION, "shop", "web")["status"]["lastReplaceAt"] == "1"
    # The token counts once.
    body["spec"]["components"][1]["volumes"][0]["size"] = "3Gi"
    await world.apply([body])
    await running.settle()
    assert world.condition(types.APPLICATION, "shop", "web")["reason"] == "ReplacementRequired"


async def test_hosts_are_served_once(world: World, running: Running) -> None:
    other = spec_of(components=[{**SHOP[-1]["spec"]["components"][0], "name": "other", "dependsOn": []}])
    other["metadata"] = {"name": "late", "namespace": "shop"}
    other["spec"]["components"][0]["secrets"] = []
    await world.apply([other])
    await running.settle()
    ready = world.condition(types.APPLICATION, "shop", "late")
    assert (ready["reason"], "application shop/web" in ready["message"]) == ("HostTaken", True)
    assert "Ingress shop-main/other" not in world.state()
    await world.delete(types.APPLICATION, "shop", "web")
    await running.settle()
    assert world.condition(types.APPLICATION, "shop", "late")["status"] == "True"
    assert "Ingress shop-main/other" in world.state()


async def test_a_copied_secret_is_kept_in_step(world: World, running: Running) -> None:
    await world.client.patch(types.SECRET, "shop", "keys-main", {"data": {"token": "bmV3"}})
    await running.settle()
    assert world.get(types.SECRET, "shop-main", "keys")["data"] == {"token": "bmV3"}


async def test_children_forced_off_their_owner_are_removed(world: World, running: Running) -> None:
    await world.client.patch(types.APPLICATION, "shop", "web", {"metadata": {"finalizers": None}})
    await world.delete(types.APPLICATION, "shop", "web")
    await running.settle()
    assert not [name for name in world.state() if name.startswith(("Deployment", "CronJob", "Job"))]


@pytest.mark.parametrize(
    "error",
    [
        errors.TooManyRequests(429, "TooManyRequests", "slow down"),
        errors.ServerUnavailable(503, "ServiceUnavailable", "not now"),
        errors.Conflict(409, "Conflict", "the object has been modified"),
        errors.NotFound(404, "NotFound", "namespaces not found"),
        RuntimeError("a fault of ours"),
    ],
)
async def test_what_may_pass_is_tried_again(world: World, error: Exception) -> None:
    await world.apply(SHOP)
    clean = World()
    await clean.apply(SHOP)
    for each in (clean, world):
        running = await each.operator()
        if each is world:
            each.client.fail(lambda call: call.verb == "apply" and call.namespace == "shop-main", error, 3)
            each.client.fail(lambda call: call.verb == "apply" and call.gvk.kind == "Application", error, 2)
        await running.settle()
        await running.stop()
    assert world.state() == clean.state()


async def test_what_is_refused_is_said_once(world: World) -> None:
    refusal = errors.Forbidden(403, "Forbidden", "exceeded quota: homeport")
    world.client.fail(lambda call: call.verb == "apply" and call.gvk.kind == "StatefulSet", refusal, 99)
    await world.apply(SHOP)
    running = await world.operator()
    await running.settle()
    await running.stop()
    ready = world.condition(types.APPLICATION, "shop", "web")
    assert (ready["reason"], "raise the environment's quota" in ready["message"]) == ("ApplyFailed", True)
    assert sum(write.startswith("apply StatefulSet") for write in running.gate.writes) < 5, "no hot retry"


async def test_a_quota_that_was_not_counted_yet_is_waited_for(world: World) -> None:
    refusal = errors.Forbidden(403, "Forbidden", "status unknown for quota: homeport, resources: count/pods")
    world.client.fail(lambda call: call.verb == "apply" and call.gvk.kind == "StatefulSet", refusal, 2)
    await world.apply(SHOP)
    running = await world.operator()
    await running.settle()
    await running.stop()
    assert world.condition(types.APPLICATION, "shop", "web")["status"] == "True"


async def test_an_event_for_each_transition(world: World, running: Running) -> None:
    running.events.clear()
    world.failing.add("front")
    await world.apply([spec_of(version="2.0.0")])
    await running.settle()
    world.failing.clear()
    await world.apply([spec_of(version="2.0.1")])
    await running.settle()
    told = [reason for key, reason, _ in running.events if key == WEB]
    assert told[0] in ("Progressing", "HealthCheckFailed")
    assert told[-1] == "ReconciliationSucceeded"
    assert all(one != other for one, other in itertools.pairwise(told))


async def test_what_belongs_to_another_shard_is_no_orphan(world: World, running: Running) -> None:
    """Another operator looks after it: that it isn't in our store says nothing."""
    await running.stop()
    before = world.state()
    other = Running(world)
    other.engine._selects = lambda body: body["metadata"].get("namespace") == "elsewhere"
    await other.start()
    await world.client.delete(types.SERVICE, "shop-main", "front")  # an event of another's child
    await other.settle()
    await other.stop()
    assert other.gate.writes == []
    del before["Service shop-main/front"]
    assert world.state() == before


async def test_what_moves_to_another_shard_is_left_as_it_is(world: World, running: Running) -> None:
    running.engine.seen(world.get(types.APPLICATION, "shop", "web"), gone=True)  # as a watch by label tells it
    await running.settle()
    assert [write for write in running.gate.writes if write.startswith("delete")] == []


async def test_an_environment_that_isnt_there_keeps_nothing_from_being_archived(world: World, running: Running) -> None:
    nowhere = spec_of(environments=[{"name": "nowhere"}])
    nowhere["metadata"] = {"name": "nowhere", "namespace": "shop"}
    await world.apply([nowhere])
    await running.settle()
    assert world.condition(types.APPLICATION, "shop", "nowhere")["reason"] == "DependencyNotReady"
    project = next(copy.deepcopy(body) for body in SHOP if body["kind"] == "Project")
    project["spec"]["archived"] = True
    await world.apply([project])
    await running.settle()
    assert world.condition(types.APPLICATION, "shop", "nowhere")["reason"] == "Archived"
    assert world.condition(types.PROJECT, "shop", "shop", "Archived")["status"] == "True"
    project["spec"]["archived"] = False
    await world.apply([project])
    await running.settle()
    assert world.condition(types.APPLICATION, "shop", "nowhere")["reason"] == "DependencyNotReady"


async def test_a_service_accounts_token_is_not_copied(world: World, running: Running) -> None:
    found = world.client._objects[types.SECRET, "shop", "keys-main"]
    body = copy.deepcopy(found)
    body["metadata"]["annotations"] = {"kubernetes.io/service-account.name": "builder"}
    await world.client.patch(types.SECRET, "shop", "keys-main", {"metadata": body["metadata"]})
    await running.settle()
    told = world.condition(types.ENVIRONMENT, "shop", "main")
    assert (told["status"], told["reason"]) == ("False", "AccessDenied")
    assert "keys-main is never copied: it is a service account's token" in told["message"]


async def test_a_plan_knows_whose_a_host_is(world: World, running: Running) -> None:
    rival = spec_of(components=[{"name": "rival", "image": "x", "ports": [{"name": "http", "port": 80}]}])
    rival["metadata"] = {"name": "rival", "namespace": "shop"}
    rival["spec"]["components"][0]["routes"] = [{"path": "/"}]
    rival["spec"]["namePrefix"] = "r-"
    found = await preview(world.client, [rival])
    told = [outcome.reason for _, outcome in found.problems if isinstance(outcome, Stalled)]
    assert told == ["HostTaken"]
    again = await preview(world.client, [spec_of(version="1.0.1")])
    assert [outcome for _, outcome in again.problems if isinstance(outcome, Stalled)] == [], "its own"
