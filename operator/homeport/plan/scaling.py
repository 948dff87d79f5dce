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


def may_be_several(scope: Scope) -> bool:
    """Whether there are, or may come to be, two replicas or more."""
    if scope.place.archived:
        return False
    scaling = scope.component.autoscaling
    return (scaling.max if scaling is not None and scope.autoscaled else scope.replicas) >= 2


def disruption_budget(scope: Scope) -> Child:
    """The PodDisruptionBudget of a component with several replicas: a drained node takes one Pod at a time.

    It says how many may be missing, not how many must be there: the last Pod of an autoscaled component that has shrunk
    to one must not keep a node from being drained.
    """
    spec: Manifest = {"maxUnavailable": 1, "selector": {"matchLabels": dict(scope.selector)}}
    return scope.child(scope.manifest("policy/v1", "PodDisruptionBudget", spec=spec), Phase.EXPOSE)
