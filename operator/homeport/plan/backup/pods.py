"""What a workload's Pods are: how they are found, which of them run, and as whom. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from homeport.api import labels
from homeport.plan.types import Manifest
from homeport.plan.world import Live


def pod_template(workload: Live) -> Manifest:
    """The template of a workload's Pods."""
    spec = workload["spec"]
    found: Manifest = (spec["jobTemplate"]["spec"] if workload["kind"] == "CronJob" else spec)["template"]
    return found


def selector(workload: Live) -> dict[str, str]:
    """The labels by which a component's Pods are found."""
    marks = workload["metadata"].get("labels") or {}
    return {name: marks[name] for name in (labels.APPLICATION, labels.COMPONENT, labels.ENVIRONMENT) if name in marks}


def running(pods: Sequence[Live]) -> list[Live]:
    """The Pods that run and aren't about to end, by name."""
    found = [
        pod
        for pod in pods
        if not pod["metadata"].get("deletionTimestamp") and (pod.get("status") or {}).get("phase") == "Running"
    ]
    return sorted(found, key=lambda pod: str(pod["metadata"]["name"]))


def first_running(pods: Sequence[Live], default: str) -> str:
    """The name of one that runs."""
    return next((str(pod["metadata"]["name"]) for pod in running(pods)), default)


def security(template: Manifest, pods: Sequence[Live], component: str) -> Mapping[str, Any]:
    """The Pod's security context; where it doesn't name the user, the one that a kubelet tells of (since 1.31)."""
    given = dict((template.get("spec") or {}).get("securityContext") or {})
    for pod in running(pods):
        for status in (pod.get("status") or {}).get("containerStatuses") or ():
            found = ((status.get("user") or {}).get("linux") or {}).get("uid")
            if status.get("name") == component and found is not None and "runAsUser" not in given:
                given["runAsUser"] = int(found)
    return given
