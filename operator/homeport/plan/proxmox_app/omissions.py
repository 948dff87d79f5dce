"""What a component declares and isn't carried out on Proxmox VE, though the component runs: the setting, and why.

It is named in the Application's message (decision 006): never dropped without a word. What a component can't do without
is refused instead, in ``checks``.
"""

from __future__ import annotations

from collections.abc import Iterable

from homeport.api.component import Component
from homeport.plan import monitoring
from homeport.plan.types import Place

_LOAD = "Proxmox VE doesn't tell a container's load to autoscalers: min replicas run"
_TURNS = "containers are replaced one after the other"
_NODES = "write spec.proxmox.node in the environment; without it a node with free memory is chosen"
_HARDENING = "an unprivileged LXC container is what holds it in; a token can't set more"
_FIREWALL = "Homeport writes no rules of Proxmox VE's firewall"
_ACCOUNT = "there is no Kubernetes account in a container"
_PULL = "an image's digest is looked up when its reference or restartAt changes"
_PLACE = "volumes are on the environment's storage"
_ROOT = "it is a folder of the root disk; resources' ephemeral-storage is that disk's size"
_ONCE = "a run of a schedule isn't bounded, and not tried again by itself"
_CRON = "runs are one at a time, and only the last one's exit code is kept"
_DIRECT = "siblings reach it on its own port; the Service in Kubernetes has servicePort"
_PODS = "there are no Pods to scrape: write metrics.headless: true to have a Service lead there"


def of(component: Component, place: Place, siblings: bool) -> dict[str, str]:
    """Settings of ``component`` that aren't carried out. ``siblings``: whether others may reach it by its name."""
    return {name: why for name, why, declared in _all(component, place, siblings) if declared}


def _all(component: Component, place: Place, siblings: bool) -> Iterable[tuple[str, str, object]]:
    yield "autoscaling", _LOAD, component.autoscaling is not None and component.replicas != 0
    strategy = component.strategy
    yield "strategy.rollingUpdate", _TURNS, strategy is not None and strategy.rolling_update is not None
    for name, given in (
        ("nodeSelector", component.node_selector),
        ("tolerations", component.tolerations),
        ("affinity", component.affinity),
    ):
        yield name, _NODES, given
    yield "serviceAccountName", _ACCOUNT, component.service_account_name
    yield "imagePullPolicy", _PULL, component.image_pull_policy in ("Always", "Never")
    yield "egress", _FIREWALL, component.egress and place.spec.isolation == "Strict"
    yield from _security(component)
    yield from _volumes(component)
    yield from _runs(component)
    yield (
        "ports.servicePort",
        _DIRECT,
        siblings and any(port.service_port not in (None, port.port) for port in component.ports or ()),
    )
    yield from _metrics(component)


def _security(component: Component) -> Iterable[tuple[str, str, object]]:
    given = component.security_context
    if given is None:
        return
    for name, value in (
        ("runAsNonRoot", given.run_as_non_root and given.run_as_user is None),
        ("readOnlyRootFilesystem", given.read_only_root_filesystem),
        ("capabilities", given.capabilities),
        ("seccompProfile", given.seccomp_profile),
        ("supplementalGroups", given.supplemental_groups),
        ("sysctls", given.sysctls),
    ):
        yield f"securityContext.{name}", _HARDENING, value


def _volumes(component: Component) -> Iterable[tuple[str, str, object]]:
    volumes = component.volumes or ()
    yield "volumes.storageClass", _PLACE, any(volume.storage_class for volume in volumes)
    yield "volumes.size", _ROOT, any(volume.ephemeral and volume.size for volume in volumes)


def _runs(component: Component) -> Iterable[tuple[str, str, object]]:
    if component.type == "cron":
        yield "backoffLimit", _ONCE, component.backoff_limit
        yield "activeDeadlineSeconds", _ONCE, component.active_deadline_seconds
    yield "concurrencyPolicy", _CRON, component.concurrency_policy not in (None, "Forbid")
    for name, given in (
        ("startingDeadlineSeconds", component.starting_deadline_seconds),
        ("successfulJobsHistoryLimit", component.successful_jobs_history_limit),
        ("failedJobsHistoryLimit", component.failed_jobs_history_limit),
    ):
        yield name, _CRON, given is not None


def _metrics(component: Component) -> Iterable[tuple[str, str, object]]:
    metrics = component.metrics
    if metrics is not None:
        yield "metrics", _PODS, not monitoring.has_service(component) and not metrics.headless
