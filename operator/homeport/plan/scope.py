"""What every builder needs to know: which component of which application goes where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from homeport.api import labels
from homeport.api.application import ApplicationSpec
from homeport.api.component import RUNNING_TYPES, Component
from homeport.api.resource import Resource
from homeport.plan import names
from homeport.plan.types import Child, Manifest, Phase, Place, Versions

ObjectRef = tuple[str, str]
"""The kind and name of a Secret or ConfigMap in the environment's namespace."""

MIGRATE_SUFFIX = ".migrate"
"""On a migration's Pods: no component's name holds a dot, so no Service, autoscaler or budget selects them."""


@dataclass(frozen=True, slots=True)
class Scope:
    """One component in one environment. ``made`` are the Secrets that the application itself makes, each with a digest
    of what may change in it: its template, if it has one."""

    app: Resource[ApplicationSpec]
    place: Place
    component: Component
    name: str
    version: str
    versions: Versions
    labels: Mapping[str, str]
    pod_labels: Mapping[str, str]
    selector: Mapping[str, str]
    made: Mapping[ObjectRef, str]

    @property
    def autoscaled(self) -> bool:
        """Whether an autoscaler decides about the replicas. Zero stops it, as Kubernetes has it.

        Source: https://kubernetes.io/docs/concepts/workloads/autoscaling/horizontal-pod-autoscale/
        (implicit maintenance-mode deactivation)
        """
        component = self.component
        return component.autoscaling is not None and component.replicas != 0 and not self.place.archived

    @property
    def replicas(self) -> int:
        """How many replicas are wanted at least, archived or not."""
        scaling, number = self.component.autoscaling, self.component.replicas
        if scaling is not None and number != 0:
            return scaling.min
        return 1 if number is None else number

    @property
    def runs(self) -> bool:
        """Whether it is meant to run all the time."""
        return self.component.type in RUNNING_TYPES

    def metadata(self, name: str | None = None, annotations: Mapping[str, str] | None = None) -> Manifest:
        """Metadata of an object of this component."""
        out: Manifest = {"name": name or self.name, "namespace": self.place.namespace, "labels": dict(self.labels)}
        if annotations:
            out["annotations"] = dict(annotations)
        return out

    def manifest(self, api_version: str, kind: str, *, name: str | None = None, **parts: Any) -> Manifest:
        """An object of this component with ``parts`` beside its metadata."""
        return {"apiVersion": api_version, "kind": kind, "metadata": self.metadata(name), **parts}

    def child(
        self,
        manifest: Manifest,
        phase: Phase,
        *,
        deletion: Literal["Delete", "Retain"] = "Delete",
        scale_to: int | None = None,
        generate: Mapping[str, int] | None = None,
        template: Mapping[str, str] | None = None,
        reads: tuple[ObjectRef, ...] = (),
        turn: Literal["", "Rolling", "Ordered"] = "",
    ) -> Child:
        """``manifest`` as a child of the application."""
        return Child(
            manifest=manifest,
            environment=self.place.name,
            component=self.component.name,
            phase=phase,
            deletion=deletion,
            cluster=self.place.cluster,
            scale_to=scale_to,
            generate=generate,
            template=template or {},
            reads=reads,
            turn=turn,
            paused=bool(self.component.paused),
        )


def scope(
    app: Resource[ApplicationSpec],
    place: Place,
    component: Component,
    *,
    version: str,
    versions: Versions,
    made: Mapping[ObjectRef, str],
) -> Scope:
    """The scope of ``component``, with its labels."""
    value = names.label_value
    selector = {
        labels.APPLICATION: value(app.name),
        labels.COMPONENT: component.name,
        labels.ENVIRONMENT: value(place.name),
    }
    pod_labels = {
        **(component.labels or {}),
        labels.APP_NAME: component.name,
        labels.APP_INSTANCE: value(app.name),
        labels.APP_COMPONENT: component.type,
        labels.APP_PART_OF: value(place.project),
        labels.MANAGED_BY: labels.MANAGER,
        labels.PROJECT: value(place.project),
        labels.OWNER_KIND: app.kind,
        labels.OWNER_NAME: value(app.name),
        **selector,
    }
    return Scope(
        app=app,
        place=place,
        component=component,
        name=f"{app.spec.name_prefix or ''}{component.name}",
        version=version,
        versions=versions,
        # The version is on objects only: on a Pod template it would roll components whose image didn't change.
        labels={**pod_labels, labels.APP_VERSION: value(version)},
        pod_labels=pod_labels,
        selector=selector,
        made=made,
    )
