"""What runs all the time: Deployments and StatefulSets."""

from __future__ import annotations

from homeport.plan import inputs, names, pods, storage
from homeport.plan.canonical import int_or_string
from homeport.plan.scope import Scope
from homeport.plan.types import Child, Manifest, Phase

REVISIONS = 5
SURGE = UNAVAILABLE = "25%"
# A partition beyond every replica: no Pod of a StatefulSet is replaced. It has no field for a pause of its own.
_HELD = 1000


def workload(scope: Scope) -> Child:
    """The Deployment or StatefulSet of a component."""
    manifest = stateful_set(scope) if scope.component.type == "stateful" else deployment(scope)
    # Replicas that an autoscaler decides about are left to it.
    scaled = scope.autoscaled
    if scaled:
        manifest["metadata"]["annotations"] = {names.AUTOSCALED: "true"}
    else:
        manifest["spec"] = {"replicas": 0 if scope.place.archived else scope.replicas, **manifest["spec"]}
    scale_to = scope.replicas if scaled else None
    return scope.child(manifest, Phase.RUN, scale_to=scale_to, reads=inputs.reads(scope))


def deployment(scope: Scope) -> Manifest:
    """The Deployment of a service or worker, without its replicas."""
    spec: Manifest = {
        "revisionHistoryLimit": _revisions(scope),
        "selector": {"matchLabels": dict(scope.selector)},
        "strategy": _strategy(scope),
        "template": pods.running_template(scope),
    }
    if scope.component.paused:
        spec["paused"] = True
    return scope.manifest("apps/v1", "Deployment", spec=spec)


def _strategy(scope: Scope) -> Manifest:
    given = scope.component.strategy
    kind = given.type if given is not None else None
    pace = given.rolling_update if given is not None else None
    if kind is None:
        kind = "Recreate" if pace is None and storage.exclusive(scope.component) else "RollingUpdate"
    if kind == "Recreate":
        return {"type": "Recreate"}
    # Declared even where they are the defaults: a default once filled in would stay behind when the type becomes
    # Recreate, and the API server refuses the two together.
    surge = pace.max_surge if pace is not None and pace.max_surge is not None else SURGE
    unavailable = pace.max_unavailable if pace is not None and pace.max_unavailable is not None else UNAVAILABLE
    return {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": int_or_string(surge), "maxUnavailable": int_or_string(unavailable)},
    }


def stateful_set(scope: Scope) -> Manifest:
    """The StatefulSet of a stateful component, without its replicas."""
    spec: Manifest = {
        "revisionHistoryLimit": _revisions(scope),
        "selector": {"matchLabels": dict(scope.selector)},
        "serviceName": scope.name,
        "updateStrategy": {
            "type": "RollingUpdate",
            "rollingUpdate": {"partition": _HELD if scope.component.paused else 0},
        },
        "template": pods.running_template(scope, claims_from_templates=True),
    }
    templates = storage.claim_templates(scope)
    if templates:
        spec["volumeClaimTemplates"] = templates
        spec["persistentVolumeClaimRetentionPolicy"] = storage.claim_retention(scope)
    return scope.manifest("apps/v1", "StatefulSet", spec=spec)


def _revisions(scope: Scope) -> int:
    limit = scope.app.spec.revision_history_limit
    return REVISIONS if limit is None else limit
