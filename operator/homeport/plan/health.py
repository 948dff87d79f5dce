"""How well an object runs, read from its own status as kstatus does, with the Pods' own reasons.

Source: https://github.com/kubernetes-sigs/cli-utils/blob/master/pkg/kstatus/status/core.go
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from homeport.api.conditions import Health

Manifest = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Verdict:
    """How one object is: ``ready`` of ``desired`` replicas, and why it isn't healthy."""

    health: Health
    message: str = ""
    ready: int = 0
    desired: int = 0


HEALTHY = Verdict(Health.HEALTHY)

# Container states that don't pass without a change to the spec or the cluster.
# Source: pkg/kubelet/images/types.go, pkg/kubelet/container/sync_result.go and pkg/kubelet/kuberuntime.
STUCK_REASONS = frozenset(
    {
        "ImagePullBackOff",
        "ErrImagePull",
        "ErrImageNeverPull",
        "InvalidImageName",
        "ImageInspectError",
        "RegistryUnavailable",
        "CrashLoopBackOff",
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
    }
)


def condition(live: Manifest, kind: str) -> Mapping[str, Any] | None:
    """The condition of type ``kind`` of an object."""
    for entry in (live.get("status") or {}).get("conditions") or ():
        if entry.get("type") == kind:
            return dict(entry)
    return None


def _current(live: Manifest) -> bool:
    """Whether the controller has seen the newest spec."""
    observed = (live.get("status") or {}).get("observedGeneration", 0)
    return int(observed) >= int(live["metadata"].get("generation", 0))


def deployment(live: Manifest) -> Verdict:
    """A Deployment: all replicas updated and available."""
    spec, status = live.get("spec") or {}, live.get("status") or {}
    desired = int(spec.get("replicas", 1))
    ready = min(int(status.get("availableReplicas", 0)), int(status.get("updatedReplicas", 0)))
    if not _current(live):
        return Verdict(Health.PROGRESSING, "waiting for the Deployment controller", ready, desired)
    progressing = condition(live, "Progressing")
    if progressing and progressing.get("reason") == "ProgressDeadlineExceeded":
        return Verdict(Health.DEGRADED, str(progressing.get("message", "no progress")), ready, desired)
    failure = condition(live, "ReplicaFailure")
    if failure and failure.get("status") == "True":
        return Verdict(Health.DEGRADED, str(failure.get("message", "Pods can't be made")), ready, desired)
    updated = int(status.get("updatedReplicas", 0))
    if updated < desired:
        return Verdict(Health.PROGRESSING, f"{updated} of {desired} replicas updated", ready, desired)
    old = int(status.get("replicas", 0)) - updated
    if old > 0:
        return Verdict(Health.PROGRESSING, f"{old} old replicas are still there", ready, desired)
    if ready < desired:
        return Verdict(Health.PROGRESSING, f"{ready} of {desired} replicas ready", ready, desired)
    if spec.get("paused"):
        return Verdict(Health.SUSPENDED, "the rollout is paused", ready, desired)
    return Verdict(Health.HEALTHY, "", ready, desired)


def stateful_set(live: Manifest) -> Verdict:
    """A StatefulSet: all replicas of the newest revision and ready."""
    spec, status = live.get("spec") or {}, live.get("status") or {}
    desired = int(spec.get("replicas", 1))
    ready = int(status.get("readyReplicas", 0))
    if not _current(live):
        return Verdict(Health.PROGRESSING, "waiting for the StatefulSet controller", ready, desired)
    if ready < desired:
        return Verdict(Health.PROGRESSING, f"{ready} of {desired} replicas ready", ready, desired)
    if int(status.get("replicas", 0)) > desired:
        return Verdict(Health.PROGRESSING, "scaling down", desired, desired)
    updated = int(status.get("updatedReplicas", 0))
    if desired and status.get("currentRevision") != status.get("updateRevision") and updated < desired:
        return Verdict(Health.PROGRESSING, f"{updated} of {desired} replicas updated", ready, desired)
    return Verdict(Health.HEALTHY, "", ready, desired)


def job(live: Manifest) -> Verdict:
    """A Job: complete, failed, or under way."""
    failed = condition(live, "Failed")
    if failed and failed.get("status") == "True":
        reason, message = failed.get("reason", "Failed"), failed.get("message", "")
        return Verdict(Health.DEGRADED, f"{reason}: {message}", 0, 1)
    complete = condition(live, "Complete")
    if complete and complete.get("status") == "True":
        return Verdict(Health.HEALTHY, "", 1, 1)
    if (live.get("spec") or {}).get("suspend"):
        return Verdict(Health.SUSPENDED, "the Job is suspended", 0, 1)
    return Verdict(Health.PROGRESSING, "the Job is running", 0, 1)


def cron_job(live: Manifest) -> Verdict:
    """A CronJob: there, or suspended."""
    if (live.get("spec") or {}).get("suspend"):
        return Verdict(Health.SUSPENDED, "suspended")
    return HEALTHY


def claim(live: Manifest) -> Verdict:
    """A PersistentVolumeClaim: lost is bad; pending is normal until the first Pod arrives."""
    if (live.get("status") or {}).get("phase") == "Lost":
        return Verdict(Health.DEGRADED, "the claim has lost its volume")
    return HEALTHY


def namespace(live: Manifest) -> Verdict:
    """A Namespace: active, or going away."""
    if (live.get("status") or {}).get("phase") == "Terminating":
        return Verdict(Health.PROGRESSING, "the namespace is terminating")
    return HEALTHY


_BY_KIND: dict[str, Callable[[Manifest], Verdict]] = {
    "Deployment": deployment,
    "StatefulSet": stateful_set,
    "Job": job,
    "CronJob": cron_job,
    "PersistentVolumeClaim": claim,
    "Namespace": namespace,
}


REPORTING_KINDS = frozenset(_BY_KIND)
"""Kinds whose status says how they are; the others are well when they are there."""


def verdict(live: Manifest) -> Verdict:
    """How ``live`` is; a kind without a status of its own is healthy when it is there."""
    if live["metadata"].get("deletionTimestamp"):
        return Verdict(Health.PROGRESSING, "being deleted")
    judge = _BY_KIND.get(live["kind"])
    return judge(live) if judge else HEALTHY


UNSCHEDULABLE_GRACE = 5.0
"""Seconds that a Pod may be unschedulable before it is called stuck: a claim that is being bound looks the same."""


def pod_trouble(pods: Iterable[Manifest], now: datetime | None) -> str:
    """Why Pods don't become ready, in their own words; empty when nothing is stuck. The newest Pod speaks first.

    Without ``now``, what isn't called stuck yet and will be after its time of grace counts as well."""
    for pod in sorted(pods, key=lambda p: str(p["metadata"].get("creationTimestamp")), reverse=True):
        if pod["metadata"].get("deletionTimestamp"):
            continue
        trouble = _container_trouble(pod) or _scheduling_trouble(pod, now)
        if trouble:
            return trouble
    return ""


def superseded(stateful_set: Manifest, pods: Iterable[Manifest]) -> list[Manifest]:
    """The Pods of a StatefulSet that can't start and aren't of the revision that is wanted now."""
    spec, status = stateful_set.get("spec") or {}, stateful_set.get("status") or {}
    pace = (spec.get("updateStrategy") or {}).get("rollingUpdate") or {}
    wanted = status.get("updateRevision")
    if not wanted or not _current(stateful_set) or pace.get("partition"):
        return []
    return [
        pod
        for pod in pods
        if not pod["metadata"].get("deletionTimestamp")
        and (pod["metadata"].get("labels") or {}).get("controller-revision-hash") not in (None, wanted)
        and _container_trouble(pod)
    ]


def _container_trouble(pod: Manifest) -> str:
    status = pod.get("status") or {}
    for entry in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        waiting = (entry.get("state") or {}).get("waiting")
        if waiting and waiting.get("reason") in STUCK_REASONS:
            message = str(waiting.get("message") or "").strip()
            return f"{waiting['reason']}: {_shorten(message)}" if message else str(waiting["reason"])
    return ""


def _scheduling_trouble(pod: Manifest, now: datetime | None) -> str:
    scheduled = condition(pod, "PodScheduled")
    if scheduled and scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable":
        since = parse_time(str(scheduled.get("lastTransitionTime") or ""))
        if now is not None and since is not None and (now - since).total_seconds() < UNSCHEDULABLE_GRACE:
            return ""
        return f"Unschedulable: {_shorten(str(scheduled.get('message', '')))}"
    return ""


def parse_time(text: str) -> datetime | None:
    """An RFC 3339 time as Kubernetes writes it; None for anything else."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _shorten(text: str, limit: int = 300) -> str:
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1] + "…"
