"""How objects are, read from their own status, and Pods' own words for what is stuck."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.api.conditions import Health
from homeport.plan import health

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def live(kind: str, spec: Any = None, status: Any = None, generation: int = 2, **metadata: Any) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"generation": generation, **metadata}, "spec": spec or {}, "status": status}


def workload(**status: Any) -> dict[str, Any]:
    return {"observedGeneration": 2, **status}


def condition(kind: str, state: str = "True", reason: str = "R", message: str = "m") -> dict[str, Any]:
    return {"conditions": [{"type": kind, "status": state, "reason": reason, "message": message}]}


def held(partition: int) -> dict[str, Any]:
    return {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": partition}}}


CHANGED = {"currentRevision": "a", "updateRevision": "b"}
ALL = {"replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2}


@pytest.mark.parametrize(
    ("found", "expected", "said"),
    [
        (live("Deployment"), "Progressing", "waiting for the Deployment controller"),
        (live("Deployment", {"replicas": 2}, {**ALL, "observedGeneration": 1}), "Progressing", "controller"),
        (live("Deployment", {"replicas": 2}, workload(**ALL)), "Healthy", ""),
        (live("Deployment", {"replicas": 0}, workload()), "Suspended", "scaled to zero"),
        (live("StatefulSet", {"replicas": 0}, workload()), "Suspended", "scaled to zero"),
        (live("Deployment", {"replicas": 2}, workload(**{**ALL, "updatedReplicas": 1})), "Progressing", "1 of 2"),
        (live("Deployment", {"replicas": 2}, workload(**{**ALL, "replicas": 3})), "Progressing", "1 old replicas"),
        (live("Deployment", {"replicas": 2}, workload(**{**ALL, "availableReplicas": 1})), "Progressing", "1 of 2"),
        (
            live("Deployment", {}, workload(**condition("Progressing", "False", "ProgressDeadlineExceeded", "slow"))),
            "Degraded",
            "slow",
        ),
        (live("Deployment", {}, workload(**condition("ReplicaFailure", message="no quota"))), "Degraded", "no quota"),
        (live("Deployment", {"replicas": 2, "paused": True}, workload(**ALL)), "Suspended", "paused"),
        (
            live("Deployment", {"replicas": 2, "paused": True}, workload(**{**ALL, "updatedReplicas": 0})),
            "Suspended",
            "the rollout is paused at 0 of 2 replicas",
        ),
        (
            live("Deployment", {"replicas": 2, "paused": True}, workload()),
            "Suspended",
            "the rollout is paused before it began",
        ),
        (
            live("Deployment", {"replicas": 2, "paused": True}, workload(**{**ALL, "availableReplicas": 1})),
            "Progressing",
            "1 of 2 replicas ready, and the rollout is paused",
        ),
        (
            live(
                "Deployment",
                {"replicas": 2, "paused": True},
                workload(**ALL, **condition("Progressing", "False", "ProgressDeadlineExceeded", "slow")),
            ),
            "Degraded",
            "slow",
        ),
        (
            live("StatefulSet", {"replicas": 2, **held(1000)}, workload(**{**ALL, **CHANGED, "updatedReplicas": 0})),
            "Suspended",
            "the rollout is paused at 0 of 2 replicas",
        ),
        (live("StatefulSet", {"replicas": 2, **held(1000)}, workload(**ALL)), "Suspended", "the rollout is paused"),
        (
            live("StatefulSet", {"replicas": 3, **held(1000)}, workload(**ALL)),
            "Progressing",
            "2 of 3 replicas ready",
        ),
        (
            live("StatefulSet", {"replicas": 2, **held(1)}, workload(**{**ALL, **CHANGED, "updatedReplicas": 0})),
            "Progressing",
            "0 of 2 replicas updated",
        ),
        (
            live("StatefulSet", {"replicas": 2, **held(1)}, workload(**{**ALL, **CHANGED, "updatedReplicas": 1})),
            "Suspended",
            "the rollout is paused at 1 of 2 replicas",
        ),
        (live("StatefulSet", {"replicas": 2, **held(1)}, workload(**ALL)), "Healthy", ""),
        (live("StatefulSet", {"replicas": 2}, workload(**ALL)), "Healthy", ""),
        (live("StatefulSet", {"replicas": 3}, workload(**ALL)), "Progressing", "2 of 3 replicas ready"),
        (live("StatefulSet", {"replicas": 1}, workload(**ALL)), "Progressing", "scaling down"),
        (
            live(
                "StatefulSet",
                {"replicas": 2},
                workload(**{**ALL, "updatedReplicas": 1}, currentRevision="a", updateRevision="b"),
            ),
            "Progressing",
            "1 of 2 replicas updated",
        ),
        (live("Job", {}, {}), "Progressing", "running"),
        (live("Job", {"suspend": True}, {}), "Suspended", "suspended"),
        (live("Job", {}, condition("Complete")), "Healthy", ""),
        (live("Job", {}, condition("Failed", reason="BackoffLimitExceeded")), "Degraded", "BackoffLimitExceeded: m"),
        (live("Job", {}, condition("Failed", "False")), "Progressing", "running"),
        (live("CronJob"), "Healthy", ""),
        (live("CronJob", {"suspend": True}), "Suspended", ""),
        (live("PersistentVolumeClaim", {}, {"phase": "Pending"}), "Healthy", ""),
        (live("PersistentVolumeClaim", {}, {"phase": "Lost"}), "Degraded", "lost"),
        (live("Namespace", {}, {"phase": "Terminating"}), "Progressing", "terminating"),
        (live("ConfigMap"), "Healthy", ""),
        (live("ConfigMap", deletionTimestamp="2026-01-01T00:00:00Z"), "Progressing", "being deleted"),
    ],
)
def test_verdicts(found: dict[str, Any], expected: str, said: str) -> None:
    judged = health.verdict(found)
    assert judged.health == expected
    assert said in judged.message
    assert bool(judged.message) == (judged.health is not Health.HEALTHY)


NUMBERS = st.integers(0, 5)


@given(
    st.sampled_from(("Deployment", "StatefulSet")),
    st.fixed_dictionaries({"replicas": NUMBERS}),
    st.dictionaries(st.sampled_from((*ALL, "observedGeneration")), NUMBERS),
)
def test_never_crashes_and_never_lies(kind: str, spec: dict[str, int], status: dict[str, int]) -> None:
    judged = health.verdict(live(kind, spec, status))
    assert judged.desired == spec["replicas"]
    if judged.health is Health.HEALTHY:
        assert judged.ready >= judged.desired
        assert status.get("observedGeneration", 0) >= 2


def pod(reason: str = "", message: str = "", age: float = 60, init: bool = False, **extra: Any) -> dict[str, Any]:
    state = {"waiting": {"reason": reason, "message": message}} if reason else {"running": {}}
    field = "initContainerStatuses" if init else "containerStatuses"
    created = (NOW - timedelta(seconds=age)).isoformat()
    return {"metadata": {"creationTimestamp": created, **extra}, "status": {field: [{"name": "web", "state": state}]}}


def unschedulable(seconds: float) -> dict[str, Any]:
    since = (NOW - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
    found = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}
    return {
        "metadata": {"creationTimestamp": since},
        "status": {"conditions": [{**found, "lastTransitionTime": since}]},
    }


@pytest.mark.parametrize(
    ("pods", "said"),
    [
        ([], ""),
        ([pod()], ""),
        ([pod("ContainerCreating")], ""),
        ([pod("ImagePullBackOff", "no such image")], "ImagePullBackOff: no such image"),
        ([pod("CrashLoopBackOff", init=True)], "CrashLoopBackOff"),
        ([pod("CrashLoopBackOff", "old", 90), pod("ImagePullBackOff", "new", 10)], "ImagePullBackOff: new"),
        ([pod("CrashLoopBackOff", deletionTimestamp="x")], ""),
        ([pod("ErrImageNeverPull", "word " * 200)], "ErrImageNeverPull: " + ("word " * 60)[:299] + "…"),
        ([pod("ErrImagePull", "x:1: not found")], "ImagePullBackOff: x:1: not found"),
        (
            [pod("ImagePullBackOff", 'Back-off pulling image "x:1": ErrImagePull: x:1: not found')],
            "ImagePullBackOff: x:1: not found",
        ),
        ([unschedulable(60)], "Unschedulable: 0/3 nodes"),
        ([unschedulable(1)], ""),
    ],
)
def test_what_is_stuck(pods: list[dict[str, Any]], said: str) -> None:
    assert health.pod_trouble(pods, NOW) == said


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01T00:00:00Z"])
def test_times_that_are_none(text: str) -> None:
    assert health.parse_time(text) is None


FAILED = {"exitCode": 3, "reason": "Error", "finishedAt": "2026-01-01T00:00:00Z"}
BACK_OFF = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s restarting failed container=web"}}
LOOPS = "CrashLoopBackOff: container web ended with exit code 3 (Error)"


def container(state: dict[str, Any], restarts: int, before: dict[str, Any] | None = None, ready: bool = False) -> dict:
    entry = {"name": "web", "state": state, "restartCount": restarts, "ready": ready}
    last = {"lastState": {"terminated": before}} if before else {}
    return {
        "metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"},
        "status": {"containerStatuses": [{**entry, **last}]},
    }


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (container(BACK_OFF, 1, FAILED), LOOPS),
        (container({"terminated": FAILED}, 1, FAILED), LOOPS),
        (container({"running": {}}, 2, FAILED), LOOPS),
        # One end may be an accident, of which the restart is the remedy.
        (container({"terminated": FAILED}, 0), ""),
        (container({"running": {}}, 1, FAILED), ""),
        (container({"running": {}}, 5, FAILED, ready=True), ""),
        # A container that ends well and shouldn't end at all.
        (
            container(BACK_OFF, 3, {"exitCode": 0, "reason": "Completed"}),
            "CrashLoopBackOff: container web ended with exit code 0 (Completed)",
        ),
        (container({"running": {}}, 3, {"exitCode": 0, "reason": "Completed"}), ""),
        (container({"terminated": {"exitCode": 0, "reason": "Completed"}}, 0), ""),
        (
            container(BACK_OFF, 4, {"exitCode": 137, "reason": "OOMKilled"}),
            "CrashLoopBackOff: container web ended with exit code 137 (OOMKilled)",
        ),
    ],
)
def test_a_crash_loop_says_how_the_container_ends_in_words_that_stay(found: dict[str, Any], said: str) -> None:
    assert health.pod_trouble([found], NOW) == said
