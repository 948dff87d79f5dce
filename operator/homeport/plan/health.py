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
PAUSED = "the rollout is paused"
SCALED_TO_ZERO = "scaled to zero"

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


_PULLING = frozenset({"ErrImagePull", "ImagePullBackOff"})


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
    if spec.get("paused"):
        if not status.get("replicas"):
            return Verdict(Health.SUSPENDED, f"{PAUSED} before it began", 0, desired)
        return _paused(int(status.get("availableReplicas", 0)), updated, desired)
    if updated < desired:
        return Verdict(Health.PROGRESSING, f"{updated} of {desired} replicas updated", ready, desired)
    old = int(status.get("replicas", 0)) - updated
    if old > 0:
        return Verdict(Health.PROGRESSING, f"{old} old replicas are still there", ready, desired)
    if ready < desired:
        return Verdict(Health.PROGRESSING, f"{ready} of {desired} replicas ready", ready, desired)
    return _running(ready, desired)


def _running(ready: int, desired: int) -> Verdict:
    """All that is wanted is there; nothing is, when nothing is wanted."""
    if not desired:
        return Verdict(Health.SUSPENDED, SCALED_TO_ZERO)
    return Verdict(Health.HEALTHY, "", ready, desired)


def _paused(ready: int, updated: int, desired: int) -> Verdict:
    """Held by somebody who wanted that: all replicas run, and some may be of the version before."""
    if ready < desired:
        return Verdict(Health.PROGRESSING, f"{ready} of {desired} replicas ready, and {PAUSED}", ready, desired)
    updated = min(updated, desired)
    where = f" at {updated} of {desired} replicas" if updated < desired else ""
    return Verdict(Health.SUSPENDED, PAUSED + where, desired, desired)


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
    same = status.get("currentRevision") == status.get("updateRevision")
    updated = desired if same else int(status.get("updatedReplicas", 0))
    # Pods below the partition keep the version that they have.
    held = min(int(((spec.get("updateStrategy") or {}).get("rollingUpdate") or {}).get("partition") or 0), desired)
    if updated < desired - held:
        return Verdict(Health.PROGRESSING, f"{updated} of {desired} replicas updated", ready, desired)
    if held and (held == desired or updated < desired):
        return _paused(ready, updated, desired)
    return _running(ready, desired)


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


_PASSING = frozenset({"Pending", "AddressNotAssigned", "NoMatchingListenerHostname", "BackendNotFound"})
"""Reasons that usually pass by themselves: a listener or a Service is on its way, an address is being found."""


def http_route(live: Manifest) -> Verdict:
    """An HTTPRoute: refused by a Gateway, or leading nowhere, when its controller says so of the newest spec.

    Without a word from any controller it is well, as an Ingress is: there may be none that writes a status.
    """
    for parent in (live.get("status") or {}).get("parents") or ():
        for kind in ("Accepted", "ResolvedRefs"):
            trouble = _denied(live, parent, kind)
            if trouble is not None:
                name = (parent.get("parentRef") or {}).get("name", "")
                return Verdict(
                    trouble.health, f"HTTPRoute {live['metadata']['name']} at Gateway {name}: {trouble.message}"
                )
    return HEALTHY


def gateway(live: Manifest) -> Verdict:
    """A Gateway: refused, or not in the data plane yet, when its controller says so of the newest spec."""
    for kind in ("Accepted", "Programmed"):
        trouble = _denied(live, live.get("status") or {}, kind)
        if trouble is not None:
            return Verdict(trouble.health, f"Gateway {live['metadata']['name']}: {trouble.message}")
    return HEALTHY


def _denied(live: Manifest, status: Mapping[str, Any], kind: str) -> Verdict | None:
    """What a False condition says. Unknown is what the CRD itself fills in before any controller has looked."""
    for entry in status.get("conditions") or ():
        newest = int(entry.get("observedGeneration") or 0) >= int(live["metadata"].get("generation", 0))
        if entry.get("type") == kind and entry.get("status") == "False" and newest:
            reason = str(entry.get("reason", kind))
            health = Health.PROGRESSING if reason in _PASSING else Health.DEGRADED
            return Verdict(health, f"{reason}: {_shorten(str(entry.get('message', '')))}")
    return None


_STILL = frozenset({"Progressing", "ProgressingWithRetry", "DependencyNotReady"})
"""Reasons of a container that isn't ready and is on its way, or waits for somebody."""


def lxc_container(live: Manifest) -> Verdict:
    """An LXCContainer: ready, on its way, or with what is wrong in its own words. One that is to be stopped and is
    counts for nothing; one that runs a command once is well when that has succeeded."""
    spec, status = live.get("spec") or {}, live.get("status") or {}
    name, stopped = live["metadata"]["name"], spec.get("state") == "Stopped"
    desired = 0 if stopped else 1
    software = status.get("software") or {}
    ready, stalled = condition(live, "Ready"), condition(live, "Stalled")
    if not _current(live):
        return Verdict(Health.PROGRESSING, f"{name} is being looked at", 0, desired)
    if stalled is not None and stalled.get("status") == "True":
        return Verdict(Health.DEGRADED, f"{name}: {_shorten(str(stalled.get('message', '')))}", 0, desired)
    if (spec.get("software") or {}).get("restartPolicy") == "Never" and not stopped:
        code = software.get("exitCode")
        if code is not None:
            ended = f"{name} ended with exit code {code}"
            return Verdict(Health.DEGRADED, ended, 0, 1) if code else Verdict(Health.HEALTHY, "", 1, 1)
        return Verdict(Health.PROGRESSING, _under_way(name, ready) or f"{name} is running", 0, 1)
    if ready is not None and ready.get("status") == "True":
        return Verdict(Health.HEALTHY, "", desired, desired)
    broken = ready is not None and ready.get("reason") not in _STILL
    return Verdict(
        Health.DEGRADED if broken else Health.PROGRESSING, _under_way(name, ready) or f"{name} is new", 0, desired
    )


def of_process(live: Manifest, process: str, seen: Verdict) -> Verdict:
    """How one of several components in a container is, when the container is as ``seen``."""
    found = ((live.get("status") or {}).get("software") or {}).get("processes") or ()
    mine: Mapping[str, Any] = next((one for one in found if one.get("name") == process), {})
    stalled = condition(live, "Stalled")
    if not mine or seen.health is Health.HEALTHY or not seen.desired or (stalled or {}).get("status") == "True":
        return seen
    if mine.get("ready"):
        well = seen.health is Health.DEGRADED  # another one is ill
        return Verdict(Health.HEALTHY, "", 1, 1) if well else Verdict(seen.health, seen.message, 1, 1)
    said = _shorten(str(mine.get("message") or ""))
    return Verdict(seen.health, f"{live['metadata']['name']}: {said}" if said else seen.message, 0, 1)


def _under_way(name: str, ready: Mapping[str, Any] | None) -> str:
    said = _shorten(str((ready or {}).get("message", "")))
    return f"{name}: {said}" if said and (ready or {}).get("status") != "True" else ""


def volume_snapshot(live: Manifest) -> Verdict:
    """Ready to use, or what the driver said last: it goes on trying."""
    status = live.get("status") or {}
    if status.get("readyToUse"):
        return HEALTHY
    said = (status.get("error") or {}).get("message") or "the snapshot isn't ready to use"
    return Verdict(Health.PROGRESSING, _shorten(str(said)))


_BY_KIND: dict[str, Callable[[Manifest], Verdict]] = {
    "Deployment": deployment,
    "StatefulSet": stateful_set,
    "Job": job,
    "CronJob": cron_job,
    "PersistentVolumeClaim": claim,
    "Namespace": namespace,
    "HTTPRoute": http_route,
    "Gateway": gateway,
    "LXCContainer": lxc_container,
    "VolumeSnapshot": volume_snapshot,
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
        if looping := _crash_loop(entry):
            return looping
        waiting = (entry.get("state") or {}).get("waiting")
        if waiting and waiting.get("reason") in STUCK_REASONS:
            reason, message = str(waiting["reason"]), str(waiting.get("message") or "").strip()
            if reason in _PULLING:
                # The two take turns with every try, the second with the first's words in it: a status says one.
                reason, message = "ImagePullBackOff", message.partition("ErrImagePull: ")[2] or message
            return f"{reason}: {_shorten(message)}" if message else reason
    return ""


def _crash_loop(entry: Manifest) -> str:
    """How a container ends that is started over and over; empty for others.

    In its own words and not the kubelet's, which name the Pod and a growing time. Said also of the moments in which it
    has just ended or runs once more, so that a status doesn't change with every start.
    Source: https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#restart-policy
    """
    state, restarts = entry.get("state") or {}, int(entry.get("restartCount") or 0)
    before = (entry.get("lastState") or {}).get("terminated")
    backing_off = (state.get("waiting") or {}).get("reason") == "CrashLoopBackOff"
    again = restarts >= 2 and before and before.get("exitCode") and "running" in state and not entry.get("ready")
    ended = (restarts >= 1 and state.get("terminated")) or ((backing_off or again) and before)
    if not ended or (not backing_off and not ended.get("exitCode")):
        return ""
    reason = f" ({ended['reason']})" if ended.get("reason") else ""
    return f"CrashLoopBackOff: container {entry.get('name')} ended with exit code {ended.get('exitCode')}{reason}"


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
