"""How anything that a source applied is: kinds whose status says more have their own reading, all others are read as
kstatus reads them.

Source: https://github.com/kubernetes-sigs/cli-utils/blob/master/pkg/kstatus/README.md
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from homeport.api import labels
from homeport.api.conditions import HEALTH_ORDER, Health
from homeport.plan import health
from homeport.plan.health import HEALTHY, Verdict, condition

Manifest = Mapping[str, Any]
_SHORT = 300
"""Characters of another controller's message that are told."""


def daemon_set(live: Manifest) -> Verdict:
    """A DaemonSet: on every node that it is for, updated and available."""
    status = live.get("status") or {}
    desired = int(status.get("desiredNumberScheduled", 0))
    ready = int(status.get("numberAvailable", 0))
    if not _seen(live, required=True):
        return Verdict(Health.PROGRESSING, "waiting for the DaemonSet controller", ready, desired)
    updated = int(status.get("updatedNumberScheduled", 0))
    on_delete = ((live.get("spec") or {}).get("updateStrategy") or {}).get("type") == "OnDelete"
    if updated < desired and not on_delete:
        return Verdict(Health.PROGRESSING, f"{updated} of {desired} Pods updated", ready, desired)
    if ready < desired:
        return Verdict(Health.PROGRESSING, f"{ready} of {desired} Pods ready", ready, desired)
    return Verdict(Health.HEALTHY, "", ready, desired)


def replica_set(live: Manifest) -> Verdict:
    """A ReplicaSet: all replicas ready."""
    desired = int((live.get("spec") or {}).get("replicas", 1))
    ready = int((live.get("status") or {}).get("readyReplicas", 0))
    if not _seen(live, required=True) or ready < desired:
        return Verdict(Health.PROGRESSING, f"{ready} of {desired} replicas ready", ready, desired)
    return Verdict(Health.HEALTHY, "", ready, desired)


def pod(live: Manifest) -> Verdict:
    """A Pod by itself: ready, or done."""
    phase = (live.get("status") or {}).get("phase")
    if phase == "Succeeded":
        return HEALTHY
    trouble = health.pod_trouble([live], None)
    if phase == "Failed" or trouble:
        return Verdict(Health.DEGRADED, trouble or "the Pod has failed")
    ready = condition(live, "Ready")
    if ready is not None and ready.get("status") == "True":
        return HEALTHY
    return Verdict(Health.PROGRESSING, "the Pod isn't ready")


def service(live: Manifest) -> Verdict:
    """A Service: a load balancer has its address."""
    balanced = (live.get("spec") or {}).get("type") == "LoadBalancer"
    given = ((live.get("status") or {}).get("loadBalancer") or {}).get("ingress")
    return Verdict(Health.PROGRESSING, "waits for a load balancer's address") if balanced and not given else HEALTHY


def definition(live: Manifest) -> Verdict:
    """A CustomResourceDefinition: its names are accepted, and it is served."""
    refused = condition(live, "NamesAccepted")
    if refused is not None and refused.get("status") == "False":
        return Verdict(Health.DEGRADED, _said(refused))
    established = condition(live, "Established")
    if established is not None and established.get("status") == "True":
        return HEALTHY
    return Verdict(Health.PROGRESSING, "isn't served yet")


def api_service(live: Manifest) -> Verdict:
    """An APIService: the server behind it answers."""
    available = condition(live, "Available")
    if available is not None and available.get("status") == "True":
        return HEALTHY
    return Verdict(Health.PROGRESSING, _said(available) if available else "isn't available yet")


_WAITING = frozenset({"Progressing", "ProgressingWithRetry", "DependencyNotReady"})


def ours(live: Manifest) -> Verdict:
    """A kind of Homeport's: always has a Ready condition once it was looked at."""
    if condition(live, "Suspended") is not None:
        return Verdict(Health.SUSPENDED, "suspended")
    ready = condition(live, "Ready")
    if ready is None or not _seen(live, required=True):
        return Verdict(Health.PROGRESSING, "is being looked at")
    stalled = condition(live, "Stalled")
    if ready.get("status") == "True" and stalled is None:
        return HEALTHY
    broken = stalled is not None or ready.get("reason") not in _WAITING
    return Verdict(Health.DEGRADED if broken else Health.PROGRESSING, _said(stalled or ready))


def generic(live: Manifest) -> Verdict:
    """Anything else: as kstatus reads ``observedGeneration`` and the conditions Ready, Reconciling and Stalled."""
    if not _seen(live, required=False):
        return Verdict(Health.PROGRESSING, "its controller hasn't seen its newest spec")
    stalled, reconciling, ready = (condition(live, kind) for kind in ("Stalled", "Reconciling", "Ready"))
    if stalled is not None and stalled.get("status") == "True":
        return Verdict(Health.DEGRADED, _said(stalled))
    if reconciling is not None and reconciling.get("status") == "True":
        return Verdict(Health.PROGRESSING, _said(reconciling))
    if ready is not None and ready.get("status") != "True":
        return Verdict(Health.PROGRESSING, _said(ready))
    return HEALTHY


_APPS = "apps"
_BY_KIND: dict[tuple[str, str], Callable[[Manifest], Verdict]] = {
    (_APPS, "Deployment"): health.deployment,
    (_APPS, "StatefulSet"): health.stateful_set,
    (_APPS, "DaemonSet"): daemon_set,
    (_APPS, "ReplicaSet"): replica_set,
    ("batch", "Job"): health.job,
    ("batch", "CronJob"): health.cron_job,
    ("", "PersistentVolumeClaim"): health.claim,
    ("", "Namespace"): health.namespace,
    ("", "Pod"): pod,
    ("", "Service"): service,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): definition,
    ("apiregistration.k8s.io", "APIService"): api_service,
    ("gateway.networking.k8s.io", "HTTPRoute"): health.http_route,
    ("gateway.networking.k8s.io", "Gateway"): health.gateway,
    (labels.GROUP, "LXCContainer"): health.lxc_container,
}


def verdict(live: Manifest) -> Verdict:
    """How ``live`` is."""
    if live["metadata"].get("deletionTimestamp"):
        return Verdict(Health.PROGRESSING, "being deleted")
    group, slash, _ = str(live["apiVersion"]).partition("/")
    group = group if slash else ""
    judge = _BY_KIND.get((group, live["kind"])) or (ours if group == labels.GROUP else generic)
    try:
        return judge(live)
    except (ValueError, TypeError, AttributeError):
        # Somebody else's status under a name that means something else to us.
        return Verdict(Health.UNKNOWN, "its status can't be read")


def is_ready(found: Verdict) -> bool:
    """Whether it counts as ready: what is suspended is as somebody wants it."""
    return found.health in (Health.HEALTHY, Health.SUSPENDED)


def badness(found: Verdict) -> int:
    """For sorting: the worst has the highest."""
    return HEALTH_ORDER.index(found.health)


def _seen(live: Manifest, *, required: bool) -> bool:
    """Whether the controller has seen the newest spec; ``required``: it also has to have said so."""
    observed = (live.get("status") or {}).get("observedGeneration")
    if observed is None:
        return not required
    return int(observed) >= int(live["metadata"].get("generation", 0))


def _said(found: Mapping[str, Any]) -> str:
    text = " ".join(str(found.get("message") or found.get("reason") or "isn't ready").split())
    return text if len(text) <= _SHORT else text[: _SHORT - 1] + "…"
