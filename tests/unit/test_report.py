"""The one status writer: no write in vain, progress only when it lasts, an Event per transition, and the next look."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from homeport.api import labels
from homeport.api.labels import OwnerKey
from homeport.api.resource import InvalidSpec
from homeport.drivers.kubernetes import types
from homeport.drivers.kubernetes.cluster import Cluster
from homeport.drivers.memory import MemoryClient
from homeport.engine import report
from homeport.engine.context import Context
from homeport.engine.store import Store
from homeport.outcome import Ok, Outcome, Stalled, Wait
from homeport.plan.types import Change, Child, Verb, object_id
from homeport.plan.world import Report

KEY = OwnerKey("Application", "shop", "web")
PROGRESS = Wait("Progressing", "1 of 2")


class Bench:
    """A resource in memory, and everything that reporting may do."""

    def __init__(self) -> None:
        self.client = MemoryClient()
        self.seconds = 100.0
        self.queued: list[tuple[OwnerKey, float]] = []
        self.told: list[tuple[str, bool]] = []
        self.store = Store()
        self.context = Context(
            self.store,
            Cluster(self.client),
            lambda key, priority=0, after=0.0: self.queued.append((key, after)),
            lambda resource, reason, message, warning: self.told.append((str(reason), warning)),
            lambda: self.seconds,
            now=lambda: datetime.fromtimestamp(self.seconds, UTC),
        )

    async def start(self, **spec: Any) -> Bench:
        body = {
            "apiVersion": labels.API_VERSION,
            "kind": "Application",
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"version": "1.0.0", "components": [{"name": "a", "type": "worker", "image": "x"}], **spec},
        }
        await self.client.create(types.APPLICATION, "shop", body)
        await self.look()
        return self

    async def look(self) -> None:
        """The watch tells."""
        found = await self.client.get(types.APPLICATION, "shop", "web")
        assert found is not None
        self.store.put(found)

    async def write(self, outcome: Outcome, **fields: Any) -> bool:
        """Whether that was written."""
        before = len(self.client.writes)
        resource, _ = self.store.look(KEY)
        assert resource is not None
        await report.write(resource, fields, outcome, self.context)
        return len(self.client.writes) > before

    @property
    def status(self) -> dict[str, Any]:
        (found,) = self.client.objects(types.APPLICATION)
        return dict(found.get("status") or {})


async def test_written_once() -> None:
    bench = await Bench().start()
    assert await bench.write(Ok("well"))
    assert not await bench.write(Ok("well")), "before the watch has shown it"
    await bench.look()
    bench.seconds += 100
    assert not await bench.write(Ok("well"))
    assert await bench.write(Ok("better"))
    assert bench.told == [("ReconciliationSucceeded", False)], "a new message is no transition"
    assert bench.status["conditions"][0]["lastTransitionTime"] == "1970-01-01T00:01:40Z"


async def test_progress_is_written_when_it_lasts() -> None:
    bench = await Bench().start()
    assert not await bench.write(PROGRESS)
    assert (KEY, 2.0) in bench.queued
    bench.seconds += 1.9
    assert not await bench.write(PROGRESS)
    bench.seconds += 0.1
    assert await bench.write(PROGRESS)
    assert bench.status["observedGeneration"] == 1
    bench.seconds += 5
    assert not await bench.write(Wait("Progressing", "2 of 3")), "how far it is isn't worth a write each time"
    bench.seconds += 5
    assert await bench.write(Wait("Progressing", "2 of 3"))
    assert await bench.write(Ok("well")), "the end is told at once"
    bench.seconds += 100
    assert not await bench.write(PROGRESS), "and the next rollout begins anew"


@pytest.mark.parametrize(
    ("outcome", "warning"),
    [
        (Wait("DependencyNotReady", "waits for x"), False),
        (Wait("HealthCheckFailed", "it crashes"), True),
        (Stalled("InvalidSpec", "write y"), True),
    ],
)
async def test_what_a_person_must_know_is_told_at_once(outcome: Outcome, warning: bool) -> None:
    bench = await Bench().start()
    assert await bench.write(outcome)
    assert bench.told == [(outcome.reason, warning)]


@pytest.mark.parametrize(
    ("outcome", "after"),
    [
        (Ok("well"), None),
        (Ok("well", 60.0), 60.0),
        (Wait("HealthCheckFailed", "m", 3.0), 3.0),
        (Wait("HealthCheckFailed", "m"), report.LOOK_AGAIN),
        (Stalled("InvalidSpec", "m"), None),
    ],
)
async def test_the_next_look(outcome: Outcome, after: float | None) -> None:
    bench = await Bench().start()
    await bench.write(outcome)
    assert bench.queued == ([] if after is None else [(KEY, after)])


async def test_a_token_is_answered_although_nothing_else_is_new() -> None:
    bench = await Bench().start()
    await bench.write(Ok("well"))
    patch = {"metadata": {"annotations": {labels.RECONCILE_AT: "1"}}}
    await bench.client.patch(types.APPLICATION, "shop", "web", patch)
    await bench.look()
    assert await bench.write(PROGRESS), "not even progress is waited with"
    assert bench.status["lastHandledReconcileAt"] == "1"


async def test_suspended_keeps_ready() -> None:
    bench = await Bench().start()
    await bench.write(Ok("well"), url="http://x")
    await bench.client.patch(types.APPLICATION, "shop", "web", {"spec": {"suspend": True}})
    await bench.look()
    resource, _ = bench.store.look(KEY)
    assert resource is not None
    await report.suspended(resource, bench.context)
    conditions = {entry["type"]: entry for entry in bench.status["conditions"]}
    assert set(conditions) == {"Ready", "Suspended"}
    assert (conditions["Ready"]["status"], conditions["Ready"]["message"]) == ("True", "well")
    assert (bench.status["observedGeneration"], bench.status["url"]) == (2, "http://x")


async def test_invalid_keeps_what_is_known() -> None:
    bench = await Bench().start()
    await bench.write(Ok("well"), url="http://x")
    resource, _ = bench.store.look(KEY)
    assert resource is not None
    await report.invalid(resource, InvalidSpec(["spec.x: is not a field"]), bench.context)
    conditions = {entry["type"]: entry for entry in bench.status["conditions"]}
    assert set(conditions) == {"Ready", "Stalled"}
    assert conditions["Stalled"]["message"] == "spec.x: is not a field"
    assert bench.status["url"] == "http://x"


def thing(name: str, owner: str = "web") -> dict[str, Any]:
    marks = {
        labels.MANAGED_BY: labels.MANAGER,
        labels.PROJECT: "shop",
        labels.OWNER_KIND: "Application",
        labels.OWNER_NAME: owner,
        labels.ENVIRONMENT: "main",
    }
    metadata = {"name": name, "namespace": "n", "labels": marks}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata}


def test_the_inventory_has_what_is_there() -> None:
    def change(verb: Verb, name: str, there: bool, owner: str = "web") -> Change:
        wanted, live = thing(name), thing(name, owner)
        child = Child(wanted) if verb is not Verb.KEEP else None
        return Change(verb, object_id(wanted), child=child, live=live if there else None)

    changes = (
        change(Verb.NOTHING, "b", True),
        change(Verb.CREATE, "made", False),
        change(Verb.CREATE, "held", False),
        change(Verb.KEEP, "kept", True),
        change(Verb.UPDATE, "a", True),
        change(Verb.UPDATE, "others", True, "other"),
    )
    result = Report(changes=changes, applied=frozenset({("", changes[1].id)}))
    found = report.inventory(KEY, result, [thing("spared")])
    names = ("a", "b", "made", "spared")
    assert found == [{"id": f"n_{name}_apps_Deployment", "v": "v1", "environment": "main"} for name in names]
