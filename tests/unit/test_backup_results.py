"""What a Job with the runner is taken for, and what its result means for a run."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from homeport.api.labels import RUNNER
from homeport.drivers.kubernetes import types
from homeport.drivers.kubernetes.cluster import Cluster
from homeport.drivers.memory import MemoryClient
from homeport.engine.backups import results
from homeport.outcome import Ok, Stalled
from homeport.plan.backup import run as plan

NOW = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
GOOD = {"version": 1, "outcome": "Succeeded", "message": "2 parts saved", "snapshot": "4bf1", "bytes": 10}


def job(condition: str = "", reason: str = "") -> dict[str, Any]:
    status = {"conditions": [{"type": condition, "status": "True", "reason": reason}]} if condition else {}
    metadata = {"name": "homeport-run-now", "namespace": "shop", "uid": "job", "labels": {RUNNER: "homeport-run-now"}}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": {}, "status": status}


def terminated(code: int, message: str = "") -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "message": message}}


async def looked(found: dict[str, Any], *states: dict[str, Any], log: str = "", owner: str = "job") -> results.State:
    """How the Job is with these Pods, oldest first."""
    client = MemoryClient()
    for number, state in enumerate(states):
        name = f"pod-{number}"
        metadata = {
            "name": name,
            "namespace": "shop",
            "labels": {RUNNER: "homeport-run-now"},
            "creationTimestamp": f"2026-11-21T02:0{number}:00Z",
            "ownerReferences": [{"uid": owner, "kind": "Job", "name": "now", "apiVersion": "batch/v1"}],
        }
        body = {"metadata": metadata, "status": {"containerStatuses": [{"name": "runner", "state": state}]}}
        await client.create(types.POD, "shop", body)
        if log:
            client.logs["shop", name, "runner"] = log
    return await results.look(found, Cluster(client), NOW)


async def test_the_whole_result_is_in_the_log() -> None:
    line = json.dumps({"event": "result", **GOOD, "runs": [{"run": "now"}], "snapshots": 1})
    state = await looked(job("Complete"), terminated(0, json.dumps(GOOD)), log=f'{{"event":"begin"}}\n{line}\n')
    assert state.result is not None
    assert state.result["runs"] == [{"run": "now"}]


async def test_without_a_log_the_kubelet_has_kept_enough() -> None:
    assert (await looked(job("Complete"), terminated(0, json.dumps(GOOD)))).result == GOOD


@pytest.mark.parametrize(
    ("found", "states", "message"),
    [
        (job("Complete"), [], "the Job succeeded, and its runner's result can't be read: nobody knows what was done"),
        (job("Complete"), [terminated(0)], "the Job succeeded, and its runner's result can't be read: nobody knows"),
        (job("Failed", "DeadlineExceeded"), [], "it took longer than the Backup's timeout, and was ended"),
        (job("Failed", "BackoffLimitExceeded"), [terminated(137)], "the Job failed without a word of its runner"),
        (job("Failed"), [terminated(1, json.dumps(GOOD))], "the runner ended with 1 after it had said: 2 parts saved"),
    ],
)
async def test_what_nobody_can_tell_is_a_failure(found: Any, states: Any, message: str) -> None:
    result = (await looked(found, *states)).result
    assert result is not None
    assert (result["outcome"], result["reason"]) == ("Failed", "NoResult")
    assert result["message"].startswith(message)


async def test_a_pod_of_another_job_of_that_name_says_nothing() -> None:
    result = (await looked(job("Complete"), terminated(0, json.dumps(GOOD)), owner="another")).result
    assert result is not None
    assert result["reason"] == "NoResult"


async def test_the_last_try_counts() -> None:
    bad = {**GOOD, "outcome": "Failed", "reason": "RepositoryUnreachable", "message": "no answer"}
    state = await looked(job("Complete"), terminated(1, json.dumps(bad)), terminated(0, json.dumps(GOOD)))
    assert state.result == GOOD


async def test_how_far_it_is() -> None:
    line = '{"event":"progress","part":"database/shop","bytes":1000,"percent":12.7,"etaSeconds":65}'
    state = await looked(job(), {"running": {}}, log=line)
    assert (state.result, state.trouble) == (None, "")
    assert plan.progress(state.event) == {"part": "database/shop", "bytes": 1000, "percent": 12, "eta": "1m5s"}
    assert plan.progress({"event": "retrying", "message": "connection refused"}) == {"message": "connection refused"}
    assert (await looked(job())).trouble == "it has no Pod yet"
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "not found"}}
    assert "ImagePullBackOff" in (await looked(job(), waiting)).trouble


def over(result: dict[str, Any]) -> Any:
    fields = plan.fields(result)
    fields |= plan.ended(fields, "2026-11-21T03:00:00Z", NOW, NOW)
    return fields["phase"], plan.verdict(fields)


def test_what_a_result_means() -> None:
    assert over(GOOD) == ("Succeeded", Ok("2 parts saved"))
    noted = over({**GOOD, "notes": ["roles without passwords"]})
    assert noted == ("Succeeded", Ok("2 parts saved; roles without passwords"))
    incomplete = {**GOOD, "outcome": "Incomplete", "reason": "SourceIncomplete", "message": "a file can't be read"}
    assert over(incomplete) == ("Incomplete", Stalled("BackupFailed", "SourceIncomplete: a file can't be read"))
    failed = {"outcome": "Failed", "reason": "WrongPassword", "message": "no key opens with this password"}
    assert over(failed) == ("Failed", Stalled("BackupFailed", "WrongPassword: no key opens with this password"))


@pytest.mark.parametrize(("number", "text"), [(0.4, "0s"), (59.6, "1m0s"), (200, "3m20s"), (7500, "2h5m")])
def test_durations(number: float, text: str) -> None:
    assert plan.duration(number) == text
