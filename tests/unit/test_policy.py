"""Policy: whose an object is, what waits for what, what is replaced, what is pruned and what is kept."""

from __future__ import annotations

from typing import Any

import pytest

from homeport.api import labels
from homeport.api.labels import OwnerKey
from homeport.outcome import Stalled, Wait
from homeport.plan import policy
from homeport.plan.types import Change, Child, Phase, Verb, Versions, object_id
from homeport.plan.world import Desired

OWNER = OwnerKey("Application", "shop", "web")
MARKS = {
    labels.MANAGED_BY: labels.MANAGER,
    labels.PROJECT: "shop",
    labels.OWNER_KIND: "Application",
    labels.OWNER_NAME: "web",
}
WELL = {"availableReplicas": 1, "updatedReplicas": 1, "replicas": 1, "readyReplicas": 1}


def manifest(kind: str, name: str, marks: dict[str, str] | None = None, **fields: Any) -> dict[str, Any]:
    version = {"Deployment": "apps/v1", "StatefulSet": "apps/v1", "Job": "batch/v1"}.get(kind, "v1")
    metadata = {"name": name, "namespace": "shop-main", "labels": MARKS if marks is None else marks}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **fields}


def change(
    verb: Verb,
    kind: str,
    component: str,
    phase: Phase = Phase.PREPARE,
    live: dict[str, Any] | None = None,
    reads: tuple[tuple[str, str], ...] = (),
    paused: bool = False,
    **fields: Any,
) -> Change:
    child = Child(manifest(kind, component), "main", component, phase, reads=reads, paused=paused)
    return Change(verb, child.id, "why", child, live, **fields)


def taken(decision: Any) -> list[str]:
    return [f"{step.verb} {step.id.kind} {step.id.name}" for step in decision.steps]


def test_the_order_of_one_component() -> None:
    changes = [
        change(Verb.CREATE, "Ingress", "a", Phase.EXPOSE),
        change(Verb.CREATE, "Deployment", "a", Phase.RUN),
        change(Verb.CREATE, "ConfigMap", "a", Phase.PREPARE),
        Change(Verb.DELETE, object_id(manifest("Service", "old")), live=manifest("Service", "old")),
        change(Verb.NOTHING, "Secret", "a", live=manifest("Secret", "a")),
    ]
    decision = policy.decide(OWNER, Desired(), changes)
    assert taken(decision) == ["create ConfigMap a", "create Deployment a", "create Ingress a", "delete Service old"]
    assert decision.held == {} and decision.problems == ()


@pytest.mark.parametrize(
    ("status", "goes_on"),
    [
        (None, False),
        ({}, False),
        ({"conditions": [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}]}, False),
        ({"conditions": [{"type": "Complete", "status": "True"}]}, True),
    ],
)
def test_a_migration_comes_before_the_workload(status: dict[str, Any] | None, goes_on: bool) -> None:
    live = None if status is None else manifest("Job", "a", status=status)
    changes = [
        change(Verb.CREATE if live is None else Verb.NOTHING, "Job", "a", Phase.MIGRATE, live),
        change(Verb.UPDATE, "Deployment", "a", Phase.RUN, manifest("Deployment", "a")),
        change(Verb.UPDATE, "Ingress", "a", Phase.EXPOSE, manifest("Ingress", "a")),
    ]
    decision = policy.decide(OWNER, Desired(), changes)
    assert ("update Deployment a" in taken(decision)) is goes_on
    assert ("update Ingress a" in taken(decision)) is goes_on
    assert all("waits for its migration" in why for why in decision.held.values())
    assert decision.problems == (), "what a component waits for is told in its own health"


@pytest.mark.parametrize(
    ("verb", "live", "goes_on"),
    [
        (Verb.CREATE, None, False),
        (Verb.NOTHING, manifest("StatefulSet", "db", status={}), False),
        (Verb.NOTHING, manifest("StatefulSet", "db", status=WELL), True),
        (Verb.UPDATE, manifest("StatefulSet", "db", status=WELL), False),
    ],
)
def test_depends_on(verb: Verb, live: dict[str, Any] | None, goes_on: bool) -> None:
    desired = Desired(needs={("main", "web"): ("db",)})
    changes = [
        change(verb, "StatefulSet", "db", Phase.RUN, live),
        change(Verb.CREATE, "ConfigMap", "web"),
        change(Verb.CREATE, "Deployment", "web", Phase.RUN),
    ]
    decision = policy.decide(OWNER, desired, changes)
    assert "create ConfigMap web" in taken(decision), "nothing runs from it"
    assert ("create Deployment web" in taken(decision)) is goes_on
    assert list(decision.held.values()) == ([] if goes_on else ["waits for db"])


def test_drift_is_mended_whatever_waits() -> None:
    desired = Desired(needs={("main", "web"): ("db",)})
    changes = [
        change(Verb.CREATE, "StatefulSet", "db", Phase.RUN),
        change(Verb.UPDATE, "Deployment", "web", Phase.RUN, manifest("Deployment", "web"), drift=True),
    ]
    assert "update Deployment web" in taken(policy.decide(OWNER, desired, changes))


def test_a_job_that_is_done_and_gone_blocks_nobody() -> None:
    desired = Desired(needs={("main", "web"): ("seed",)})
    decision = policy.decide(OWNER, desired, [change(Verb.CREATE, "Deployment", "web", Phase.RUN)])
    assert taken(decision) == ["create Deployment web"]


@pytest.mark.parametrize(
    ("marks", "said"),
    [
        ({}, "isn't Homeport's"),
        ({**MARKS, labels.OWNER_NAME: "other"}, "belongs to Application shop/other"),
    ],
)
def test_what_is_not_ours_is_never_overwritten(marks: dict[str, str], said: str) -> None:
    live = manifest("Service", "a", marks)
    decision = policy.decide(OWNER, Desired(), [change(Verb.UPDATE, "Service", "a", live=live, drift=True)])
    assert decision.steps == ()
    (problem,) = decision.problems
    assert isinstance(problem, Stalled) and problem.reason == "NameTaken" and said in problem.message


@pytest.mark.parametrize(
    ("kind", "asked", "replaced"),
    [("StatefulSet", False, False), ("StatefulSet", True, True), ("PersistentVolumeClaim", True, False)],
)
def test_replacing_is_asked_for(kind: str, asked: bool, replaced: bool) -> None:
    changes = [change(Verb.REPLACE, kind, "a", Phase.RUN, manifest(kind, "a"))]
    decision = policy.decide(OWNER, Desired(), changes, may_replace=asked)
    assert bool(decision.steps) is replaced
    assert [problem.reason for problem in decision.problems] == ([] if replaced else ["ReplacementRequired"])


def test_a_missing_secret_is_named() -> None:
    reads = (("Secret", "keys"), ("ConfigMap", "shared"))
    changes = [
        change(Verb.CREATE, "Deployment", "a", Phase.RUN, reads=reads),
        change(Verb.CREATE, "Deployment", "b", Phase.RUN),
    ]
    seen = {"main": Versions({("ConfigMap", "shared"): "1"})}
    decision = policy.decide(OWNER, Desired(), changes, versions=seen)
    assert taken(decision) == ["create Deployment b"]
    (problem,) = decision.problems
    assert isinstance(problem, Wait) and "keys" in problem.message and "shared" not in problem.message


@pytest.mark.parametrize(
    ("annotations", "verb"),
    [
        ({}, Verb.DELETE),
        ({labels.PRUNE: "Disabled"}, Verb.KEEP),
        ({labels.DELETION_POLICY: "Retain"}, Verb.KEEP),
        ({labels.DELETION_POLICY: "Delete"}, Verb.DELETE),
        ({labels.RETAINED: "true"}, Verb.KEEP),
    ],
)
def test_pruning(annotations: dict[str, str], verb: Verb) -> None:
    gone = manifest("PersistentVolumeClaim", "gone")
    foreign = manifest("Service", "foreign", {})
    gone["metadata"]["annotations"] = annotations
    left = {("", object_id(body)): body for body in (gone, foreign)}
    found = policy.prune(OWNER, left)
    assert [(entry.verb, entry.id.name) for entry in found] == [(verb, "gone")]
    assert found[0].loses_data is (verb is Verb.DELETE)


def test_a_paused_component_does_not_migrate_and_is_told_to_hold() -> None:
    there = manifest("Deployment", "a", spec={"replicas": 1}, status=WELL)
    changes = [
        change(Verb.CREATE, "Job", "a", Phase.MIGRATE, paused=True),
        change(Verb.UPDATE, "Deployment", "a", Phase.RUN, live=there, paused=True),
    ]
    decision = policy.decide(OWNER, Desired(), changes)
    assert taken(decision) == ["update Deployment a"]
    assert list(decision.held.values()) == ["the rollout is paused: its migration waits for that"]
    assert decision.problems == (), "it is wanted so"


def test_a_paused_component_that_never_ran_waits_with_its_migration() -> None:
    changes = [
        change(Verb.CREATE, "Job", "a", Phase.MIGRATE, paused=True),
        change(Verb.CREATE, "Deployment", "a", Phase.RUN, paused=True),
    ]
    decision = policy.decide(OWNER, Desired(), changes)
    assert taken(decision) == []
    assert all("the rollout is paused" in message for message in decision.held.values())
    assert decision.problems == ()


def test_a_migration_under_way_ends_though_its_component_is_paused() -> None:
    job = manifest("Job", "a")
    there = manifest("Deployment", "a", spec={"replicas": 1}, status=WELL)
    changes = [
        change(Verb.NOTHING, "Job", "a", Phase.MIGRATE, live=job, paused=True),
        change(Verb.UPDATE, "Deployment", "a", Phase.RUN, live=there, paused=True),
    ]
    assert taken(policy.decide(OWNER, Desired(), changes)) == ["update Deployment a"]
