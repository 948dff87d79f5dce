"""What differs between kinds: how each is observed, planned and summed up. The flow itself is in ``reconcile``."""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol

from homeport.api import labels
from homeport.api.conditions import Reason
from homeport.api.resource import Resource
from homeport.drivers.kubernetes import types
from homeport.engine import observe
from homeport.engine.context import Context
from homeport.outcome import Ok, Outcome
from homeport.plan import application as application_plan
from homeport.plan import environment as environment_plan
from homeport.plan import project as project_plan
from homeport.plan.diff import differences
from homeport.plan.world import ApplicationWorld, Desired, EnvironmentWorld, ProjectWorld, Report


class Kind(Protocol):
    """One kind's part in a reconciliation."""

    def observe(self, resource: Resource[Any], context: Context) -> Any:
        """What planning must know, from caches."""
        ...

    async def prepare(self, resource: Resource[Any], world: Any, context: Context) -> Any:
        """``world`` with what takes a while to find out."""
        ...

    def desired(self, resource: Resource[Any], world: Any, context: Context) -> Desired:
        """Every object that is wanted."""
        ...

    def status(
        self, resource: Resource[Any], world: Any, desired: Desired, report: Report
    ) -> tuple[dict[str, Any], Outcome]:
        """The kind's own status fields and the outcome."""
        ...

    async def after(
        self, resource: Resource[Any], world: Any, desired: Desired, outcome: Outcome, context: Context
    ) -> None:
        """What is left to do once the children are as wanted."""
        ...


class ApplicationKind:
    """Applications."""

    def observe(self, resource: Resource[Any], context: Context) -> ApplicationWorld:
        """Environments, children, Pods, and what others claim."""
        return observe.application(
            resource, context.store, context.clusters, context.readers, context.claims, context.now()
        )

    async def prepare(self, resource: Resource[Any], world: ApplicationWorld, context: Context) -> ApplicationWorld:
        """What its catalog items make, rendered if that isn't known yet."""
        expansion = await context.catalog.expansion(resource.spec)
        return world if expansion is None else dataclasses.replace(world, catalog=expansion)

    def desired(self, resource: Resource[Any], world: ApplicationWorld, context: Context) -> Desired:
        """Rendered components; the hosts that they claim are taken note of."""
        desired = application_plan.desired(resource, world)
        claims = set(desired.claims)
        if not desired.complete or desired.unplanned or desired.spared or world.missing:
            # What can't be planned now is served as before.
            claims |= context.claims.of(resource.key)
        for other in context.claims.register(resource.key, resource.created, claims):
            context.enqueue(other)
        return desired

    def status(
        self, resource: Resource[Any], world: ApplicationWorld, desired: Desired, report: Report
    ) -> tuple[dict[str, Any], Outcome]:
        """By environment and component."""
        return application_plan.status(resource, world, desired, report)

    async def after(
        self, resource: Resource[Any], world: ApplicationWorld, desired: Desired, outcome: Outcome, context: Context
    ) -> None:
        """Remove Pods of a superseded version that can't start, where Kubernetes would wait for them for good."""
        for cluster, pod in application_plan.abandoned(world):
            metadata = pod["metadata"]
            await context.clusters[cluster].client.delete(
                types.POD, metadata["namespace"], metadata["name"], uid=metadata["uid"]
            )


class EnvironmentKind:
    """Environments."""

    def observe(self, resource: Resource[Any], context: Context) -> EnvironmentWorld:
        """The project, siblings, namespace and Secrets."""
        return observe.environment(resource, context.store, context.clusters, context.readers, context.now())

    async def prepare(self, resource: Resource[Any], world: EnvironmentWorld, context: Context) -> EnvironmentWorld:
        """Nothing."""
        return world

    def desired(self, resource: Resource[Any], world: EnvironmentWorld, context: Context) -> Desired:
        """The namespace and what guards it."""
        return environment_plan.desired(resource, world)

    def status(
        self, resource: Resource[Any], world: EnvironmentWorld, desired: Desired, report: Report
    ) -> tuple[dict[str, Any], Outcome]:
        """The namespace and the copied Secrets."""
        return environment_plan.status(resource, world, desired, report)

    async def after(
        self, resource: Resource[Any], world: EnvironmentWorld, desired: Desired, outcome: Outcome, context: Context
    ) -> None:
        """Nothing."""


class ProjectKind:
    """Projects."""

    def observe(self, resource: Resource[Any], context: Context) -> ProjectWorld:
        """Environments, applications and what changed in them."""
        activity = context.activity_of(resource.namespace)
        return observe.project(resource, context.store, context.clusters, activity, context.now())

    async def prepare(self, resource: Resource[Any], world: ProjectWorld, context: Context) -> ProjectWorld:
        """Nothing."""
        return world

    def desired(self, resource: Resource[Any], world: ProjectWorld, context: Context) -> Desired:
        """Members' rights."""
        return project_plan.desired(resource, world)

    def status(
        self, resource: Resource[Any], world: ProjectWorld, desired: Desired, report: Report
    ) -> tuple[dict[str, Any], Outcome]:
        """Health, progress, counts and activity."""
        return project_plan.status(resource, world, desired, report)

    async def after(
        self, resource: Resource[Any], world: ProjectWorld, desired: Desired, outcome: Outcome, context: Context
    ) -> None:
        """Mark the project's own namespace, so that an admission policy can guard it."""
        if not desired.complete or world.namespace is None or world.namespace["metadata"].get("deletionTimestamp"):
            return
        archived = isinstance(outcome, Ok) and outcome.reason == Reason.ARCHIVED
        marks = project_plan.namespace_marks(resource, archived)
        if any(differences(marks, world.namespace)):
            await context.cluster.client.apply(
                types.NAMESPACE, None, resource.namespace, marks, manager=labels.MARKS_MANAGER
            )


BY_NAME: dict[str, Kind] = {
    "Application": ApplicationKind(),
    "Environment": EnvironmentKind(),
    "Project": ProjectKind(),
}
