"""Autoscalers and disruption budgets."""

from __future__ import annotations

from homeport.plan.scope import Scope
from homeport.plan.types import Child, Manifest, Phase


def autoscaler(scope: Scope) -> Child:
    """The HorizontalPodAutoscaler of a component with ``autoscaling``."""
    scaling = scope.component.autoscaling
    assert scaling is not None
    workload = "StatefulSet" if scope.component.type == "stateful" else "Deployment"
    spec: Manifest = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": workload, "name": scope.name},
        "minReplicas": scaling.min,
        "maxReplicas": scaling.max,
        "metrics": [
            {
                "type": "Resource",
                "resource": {"name": name, "target": {"type": "Utilization", "averageUtilization": percent}},
            }
            for name, percent in (("cpu", scaling.cpu), ("memory", scaling.memory))
            if percent is not None
        ],
    }
    return scope.child(scope.manifest("autoscaling/v2", "HorizontalPodAutoscaler", spec=spec), Phase.EXPOSE)


def disruption_budget(scope: Scope) -> Child:
    """The PodDisruptionBudget of a component with two replicas or more: a drained node takes one Pod at a time."""
    spec: Manifest = {"maxUnavailable": 1, "selector": {"matchLabels": dict(scope.selector)}}
    return scope.child(scope.manifest("policy/v1", "PodDisruptionBudget", spec=spec), Phase.EXPOSE)
