"""Pod templates: one component's containers, volumes, identity and placement."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from homeport.api import labels
from homeport.plan import canonical, containers, inputs, monitoring, names, storage
from homeport.plan.scope import Scope
from homeport.plan.types import Manifest


def running_template(scope: Scope, *, claims_from_templates: bool = False) -> Manifest:
    """The Pod template of a component that runs all the time."""
    component = scope.component
    seen = storage.mounted(scope, templates=claims_from_templates)
    main = containers.main_container(scope, seen.mounts)
    spec = _spec(scope, seen)
    if component.init_containers:
        spec["initContainers"] = [containers.extra_container(raw, scope, seen.tmp) for raw in component.init_containers]
    spec["containers"] = [main, *(containers.extra_container(raw, scope, seen.tmp) for raw in component.sidecars or ())]
    if component.affinity is None:
        # Also with one replica, where it means nothing: going from one to two would replace the first Pod otherwise.
        spec["topologySpreadConstraints"] = [_spread(scope)]
    marks = monitoring.pod_annotations(scope)
    return _template(scope, spec, dict(scope.pod_labels), inputs.inputs_hash(scope), component.restart_at, marks)


def job_template(
    scope: Scope, *, rolls: bool, component_label: str | None = None, rerun_at: str | None = None
) -> Manifest:
    """The Pod template of something that ends. ``rolls``: it may change when a Secret does, as a CronJob's may;
    a Job's template is immutable. ``rerun_at`` is a migration's token.

    Sidecars become init containers that restart always, as Kubernetes has it for Jobs: plain ones would never let
    the Job end. They start first, so that what the init containers call through them is there.
    """
    component = scope.component
    stand_in = component.type == "stateful"
    seen = storage.mounted(scope, stand_in=stand_in)
    main = containers.main_container(scope, seen.mounts)
    spec = _spec(scope, seen)
    spec["restartPolicy"] = "Never"
    before = [
        {**containers.extra_container(raw, scope, seen.tmp), "restartPolicy": "Always"}
        for raw in component.sidecars or ()
    ]
    before += [containers.extra_container(raw, scope, seen.tmp) for raw in component.init_containers or ()]
    if before:
        spec["initContainers"] = before
    spec["containers"] = [main]
    pod_labels = dict(scope.pod_labels)
    if component_label is not None:
        pod_labels[labels.COMPONENT] = component_label
    digest = inputs.inputs_hash(scope) if rolls else inputs.files_hash(scope)
    token = component.restart_at if component.type == "job" else rerun_at
    # Nobody scrapes a migration, and how metrics are found is no reason to run one again.
    marks = monitoring.pod_annotations(scope) if component_label is None else {}
    return _template(scope, spec, pod_labels, digest, token, marks)


def _template(
    scope: Scope,
    spec: Manifest,
    pod_labels: dict[str, str],
    inputs_hash: str | None,
    restart_at: str | None,
    marks: Mapping[str, str],
) -> Manifest:
    annotations = {**(scope.component.annotations or {}), **marks}
    if inputs_hash is not None:
        annotations[labels.INPUTS_HASH] = inputs_hash
    if restart_at:
        annotations[names.RESTARTED_AT] = restart_at
    metadata: Manifest = {"labels": pod_labels}
    if annotations:
        metadata["annotations"] = annotations
    return {"metadata": metadata, "spec": spec}


def _spec(scope: Scope, seen: storage.Mounted) -> Manifest:
    component = scope.component
    out: Manifest = {
        "enableServiceLinks": False,
        "securityContext": containers.pod_security(component.security_context),
    }
    if component.service_account_name is not None:
        # Both names of the field: the old one is filled in from the new one and would stay when that goes.
        out["serviceAccountName"] = component.service_account_name
        out["serviceAccount"] = component.service_account_name
    else:
        out["automountServiceAccountToken"] = False
    if component.image_pull_secrets:
        out["imagePullSecrets"] = [{"name": secret.name} for secret in component.image_pull_secrets]
    if component.node_selector:
        out["nodeSelector"] = dict(component.node_selector)
    if component.tolerations:
        out["tolerations"] = canonical.tidy(component.tolerations)
    affinity: Any = canonical.tidy(component.affinity) if component.affinity else None
    if affinity:
        out["affinity"] = affinity
    if component.termination_grace_period_seconds is not None:
        out["terminationGracePeriodSeconds"] = component.termination_grace_period_seconds
    if seen.volumes:
        out["volumes"] = seen.volumes
    return out


def _spread(scope: Scope) -> Manifest:
    return {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": dict(scope.selector)},
    }
