"""How a Job with the backup runner is: under way, stuck, or over, with what its runner said at last."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from homeport.api import labels
from homeport.api.conditions import Health
from homeport.drivers.kubernetes import errors, types
from homeport.drivers.kubernetes.cluster import Cluster
from homeport.plan.backup.drilljob import RESTORE
from homeport.plan.backup.runnerjob import RUNNER
from homeport.plan.health import pod_trouble, verdict
from homeport.plan.world import Live

_ENDED = (Health.HEALTHY, Health.DEGRADED)
NO_RESULT = "NoResult"
"""The reason of a Job that ended without a word of its runner's."""


@dataclass(frozen=True)
class State:
    """A Job as it is. ``result`` is there once it is over."""

    result: Mapping[str, Any] | None = None
    """The runner's, or what stands for it when there is none: then its ``reason`` is ``NO_RESULT``."""
    event: Mapping[str, Any] = field(default_factory=dict)
    """The last line of a runner that is at work."""
    trouble: str = ""
    """Why its Pod doesn't start."""


async def look(job: Live, cluster: Cluster, now: datetime) -> State:
    """How ``job`` is. Raises ApiError when its Pods can't be read."""
    seen = verdict(job)
    metadata = job["metadata"]
    pods, _ = await cluster.client.list(
        types.POD, metadata["namespace"], labels=f"{labels.RUNNER}={metadata['labels'][labels.RUNNER]}"
    )
    mine = sorted(
        (pod for pod in pods if _of(pod, metadata["uid"])), key=lambda pod: str(pod["metadata"]["creationTimestamp"])
    )
    if seen.health in _ENDED:
        return State(await _result(mine, cluster) or _without(seen.health is Health.HEALTHY, seen.message))
    if not mine:
        return State(trouble="it has no Pod yet")
    container = _at_work(mine[-1])
    event = await _last_line(mine[-1], container, cluster) if container else {}
    return State(event=event, trouble=pod_trouble(mine, now))


def _of(pod: Live, uid: str) -> bool:
    """Whether a Pod is of this very Job, and not of one of its name before."""
    return any(owner.get("uid") == uid for owner in pod["metadata"].get("ownerReferences") or ())


def _at_work(pod: Live) -> str:
    """The name of the runner's container that runs; empty for none."""
    return next((found["name"] for found in _containers(pod) if "running" in (found.get("state") or {})), "")


def _containers(pod: Live) -> list[Mapping[str, Any]]:
    """Those in which a runner is: the last first."""
    status = pod.get("status") or {}
    found = [*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())]
    return [entry for entry in found if entry.get("name") in (RUNNER, RESTORE)]


async def _result(pods: Sequence[Live], cluster: Cluster) -> Mapping[str, Any] | None:
    """What the last runner said of itself: all of it from its log, else what the kubelet kept of it."""
    for pod in reversed(pods):
        for found in _containers(pod):
            ended = (found.get("state") or {}).get("terminated")
            if ended is None:
                continue
            line = await _last_line(pod, found["name"], cluster)
            kept = line if line.get("event") == "result" else _parsed(ended.get("message") or "")
            if found["name"] != RUNNER and kept.get("outcome") == "Succeeded":
                continue  # what came before was well, and the runner itself has said nothing
            if kept.get("outcome"):
                return _consistent(kept, int(ended.get("exitCode", 1)))
    return None


def _consistent(result: Mapping[str, Any], code: int) -> Mapping[str, Any]:
    """What it says, held against how it ended: good are only both."""
    if result["outcome"] == "Succeeded" and code:
        return {**result, "outcome": "Failed", "reason": NO_RESULT,
                "message": f"the runner ended with {code} after it had said: {result.get('message', '')}"}  # fmt: skip
    return result


def _without(succeeded: bool, said: str) -> Mapping[str, Any]:
    if succeeded:
        text = "the Job succeeded, and its runner's result can't be read: nobody knows what was done"
    elif "DeadlineExceeded" in said:
        text = "it took longer than the Backup's timeout, and was ended"
    else:
        text = f"the Job failed without a word of its runner ({said or 'its Pod is gone'})"
    return {"outcome": "Failed", "reason": NO_RESULT, "message": text}


async def _last_line(pod: Live, container: str, cluster: Cluster) -> Mapping[str, Any]:
    metadata = pod["metadata"]
    try:
        text = await cluster.client.log(metadata["namespace"], metadata["name"], container, lines=1)
    except errors.ApiError:
        # No kubelet answers for it: what is in its status is all there is.
        return {}
    return _parsed(text)


def _parsed(text: str) -> Mapping[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
