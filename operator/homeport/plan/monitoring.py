"""How Prometheus finds a component, and Grafana its dashboards.

Where the cluster has the Prometheus operator's kinds, a component gets a ServiceMonitor (or a PodMonitor, when nothing
leads to its Pods); where not, its Service or Pods carry the annotations that Prometheus's usual jobs go by.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from homeport.api.component import DASHBOARDS_LIMIT, RUNNING_TYPES, Component, Metrics
from homeport.plan import capabilities, names
from homeport.plan.scope import Scope
from homeport.plan.types import Child, Manifest, Phase, Place

API = "monitoring.coreos.com/v1"
GRAFANA_LABEL = "grafana_dashboard"
"""Source: https://github.com/grafana/helm-charts/tree/main/charts/grafana (sidecar.dashboards.label)"""

_NAME = re.compile(r"[-a-zA-Z0-9_]{1,63}")


def has_service(component: Component) -> bool:
    """Whether a Service leads to the component's Pods."""
    return component.type in ("service", "stateful")


def _api_of(component: Component) -> str:
    return capabilities.SERVICE_MONITOR if has_service(component) else capabilities.POD_MONITOR


def _monitored(component: Component, place: Place) -> bool:
    """Whether a monitor tells of it. What ends is left to annotations: its Pods are gone before they are discovered."""
    return (
        component.metrics is not None
        and component.type in RUNNING_TYPES
        and place.capabilities.serves(_api_of(component))
    )


def children(scope: Scope) -> Iterable[Child]:
    """The component's monitor, if the cluster has such a kind, its headless Service and its dashboards."""
    metrics = scope.component.metrics
    if metrics is None:
        return
    if _monitored(scope.component, scope.place):
        yield scope.child(_monitor(scope, metrics), Phase.PREPARE)
    if metrics.headless and scope.component.type in ("service", "worker"):
        yield scope.child(_headless(scope), Phase.PREPARE)
    if metrics.dashboards:
        yield scope.child(_dashboards(scope, metrics.dashboards), Phase.PREPARE)


def _monitor(scope: Scope, metrics: Metrics) -> Manifest:
    """Source: https://prometheus-operator.dev/docs/api-reference/api/"""
    endpoint: Manifest = {"port": _port(scope)[0], "path": metrics.path or "/metrics"}
    if metrics.interval is not None:
        endpoint["interval"] = f"{names.seconds(metrics.interval)}s"
    by_service = has_service(scope.component)
    kind, field = ("ServiceMonitor", "endpoints") if by_service else ("PodMonitor", "podMetricsEndpoints")
    spec = {"selector": {"matchLabels": dict(scope.selector)}, field: [endpoint]}
    out = scope.manifest(API, kind, spec=spec)
    out["metadata"]["labels"] = {**(metrics.labels or {}), **out["metadata"]["labels"]}
    return out


def _headless(scope: Scope) -> Manifest:
    """The headless Service whose name stands for every Pod, ready or not: who isn't ready is worth a look.

    Its port has a name of its own, so that a ServiceMonitor, which goes by names of ports, doesn't see the Pods twice.
    """
    number = port(scope)
    spec: Manifest = {
        "type": "ClusterIP",
        "clusterIP": "None",
        "publishNotReadyAddresses": True,
        "selector": dict(scope.selector),
        "ports": [{"name": "by-pod", "port": number, "targetPort": number, "protocol": "TCP"}],
    }
    return scope.manifest("v1", "Service", name=f"{scope.name}-metrics", spec=spec)


def _dashboards(scope: Scope, given: dict[str, str]) -> Manifest:
    out = scope.manifest(
        "v1", "ConfigMap", name=f"{scope.name}-dashboards", data={f"{name}.json": text for name, text in given.items()}
    )
    out["metadata"]["labels"][GRAFANA_LABEL] = "1"
    return out


def service_annotations(scope: Scope) -> dict[str, str]:
    """What the Service says when no monitor does. Not the Pods: a monitor that takes over would replace them all."""
    if scope.component.metrics is None or _monitored(scope.component, scope.place):
        return {}
    return _annotations(scope)


def pod_annotations(scope: Scope) -> dict[str, str]:
    """What Pods say that no Service leads to, with and without a monitor: they aren't replaced for the difference."""
    if scope.component.metrics is None or has_service(scope.component):
        return {}
    return _annotations(scope)


def _annotations(scope: Scope) -> dict[str, str]:
    metrics = scope.component.metrics
    assert metrics is not None
    return {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": str(port(scope)),
        "prometheus.io/path": metrics.path or "/metrics",
    }


def port(scope: Scope) -> int:
    """The number of the port that metrics are served at, in the Pod."""
    return _port(scope)[1]


def _port(scope: Scope) -> tuple[str, int]:
    """The name and number of the port; ``checks`` has seen that it is there."""
    metrics = scope.component.metrics
    assert metrics is not None
    for entry in scope.component.ports or ():
        if metrics.port is None or metrics.port in (entry.name, str(entry.port)):
            return entry.name, entry.port
    return (metrics.port or "http"), 80


def left_out(component: Component, place: Place) -> dict[str, str]:
    """What annotations can't say: the setting, and what to do about it."""
    metrics = component.metrics
    if metrics is None or _monitored(component, place):
        return {}
    why = f"install the Prometheus operator's CRDs: {_api_of(component).rpartition('/')[2]} isn't served"
    return {f"metrics.{name}": why for name in ("interval", "labels") if getattr(metrics, name)}


def problems(component: Component) -> Iterable[str]:
    """What the schema can't know of dashboards."""
    given = (component.metrics.dashboards if component.metrics is not None else None) or {}
    for name, text in given.items():
        where = f".metrics.dashboards[{name}]"
        if not _NAME.fullmatch(name):
            yield f"{where}: write a name of at most 63 letters, digits, '-' and '_': it becomes <name>.json"
        try:
            if not isinstance(json.loads(text), dict):
                yield f"{where}: a dashboard is a JSON object; export it from Grafana as JSON"
        except ValueError as error:
            yield f"{where}: it isn't JSON ({error}); export it from Grafana as JSON"
    size = sum(len(text.encode()) for text in given.values())
    if size > DASHBOARDS_LIMIT:
        yield (
            f".metrics.dashboards: they have {size // 1024} KiB together, and {DASHBOARDS_LIMIT // 1024} are allowed; "
            "give some to another component"
        )
