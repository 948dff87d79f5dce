"""What differs between kinds: how each is observed, planned and summed up. The flow itself is in ``reconcile``."""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol

from homeport.api import labels
from homeport.api.base import interval_seconds
from homeport.api.conditions import Reason
from homeport.api.resource import Resource
from homeport.drivers.kubernetes import types
from homeport.engine import finalbackups, history, observe
from homeport.engine.backups import backupkind, repositorykind, restorekind, runkind
from homeport.engine.context import Context
from homeport.engine.gitops import updatekind
from homeport.engine.gitops.sourcekind import GitSourceKind
from homeport.engine.history import Noted
from homeport.engine.lxc import kind as lxc_kind
from homeport.engine.notify import notificationkind
from homeport.engine.plainkind import Plain
from homeport.engine.queue import RESYNC
from homeport.engine.report import kept_fields
from homeport.outcome import Ok, Outcome, Stalled, Transient, Wait
from homeport.plan import application as application_plan
from homeport.plan import application_components, application_status, catalogitem
from homeport.plan import environment as environment_plan
from homeport.plan import host as host_plan
from homeport.plan import project as project_plan
from homeport.plan.backup import coverage
from homeport.plan.catalogitem import Offer
from homeport.plan.diff import differences
from homeport.plan.names import seconds
from homeport.plan.world import (
    ApplicationWorld,
    ChildKey,
    Desired,
    EnvironmentWorld,
    HostWorld,
    Live,
    ProjectWorld,
    Report,
)


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

    async def before(self, resource: Resource[Any], world: Any, desired: Desired, context: Context) -> Noted:
        """What is written down before anything is applied."""
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


class ApplicationKind(Plain):
    """Applications."""

    def observe(self, resource: Resource[Any], context: Context) -> ApplicationWorld:
        """Environments, children, Pods, and what others claim."""
        return observe.application(
            resource, context.store, context.clusters, context.readers, context.claims, context.now()
        )

    async def prepare(self, resource: Resource[Any], world: ApplicationWorld, context: Context) -> ApplicationWorld:
        """What its catalog items make, rendered if that isn't known yet."""
        expansion = await context.catalog.expansion(resource.spec, resource.namespace)
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

    async def before(self, resource: Resource[Any], world: Any, desired: Desired, context: Context) -> Noted:
        """Keep the spec in the application's history, if it can be carried out."""
        if any(isinstance(p, Stalled) and p.reason == Reason.INVALID_SPEC for p in desired.problems):
            return Noted(history.known(resource))
        return await history.record(resource, context)

    def status(
        self, resource: Resource[Any], world: ApplicationWorld, desired: Desired, report: Report
    ) -> tuple[dict[str, Any], Outcome]:
        """By environment and component."""
        return application_status.status(resource, world, desired, report)

    async def after(
        self, resource: Resource[Any], world: ApplicationWorld, desired: Desired, outcome: Outcome, context: Context
    ) -> None:
        """Remove Pods of a superseded version that can't start, where Kubernetes would wait for them for good."""
        for cluster, pod in application_components.abandoned(world):
            metadata = pod["metadata"]
            await context.clusters[cluster].client.delete(
                types.POD, metadata["namespace"], metadata["name"], uid=metadata["uid"]
            )


class EnvironmentKind(Plain):
    """Environments."""

    def observe(self, resource: Resource[Any], context: Context) -> EnvironmentWorld:
        """The project, siblings, namespace and Secrets."""
        return observe.environment(resource, context.store, context.clusters, context.readers, context.now())

    def desired(self, resource: Resource[Any], world: EnvironmentWorld, context: Context) -> Desired:
        """The namespace and what guards it."""
        return environment_plan.desired(resource, world)

    def status(
        self, resource: Resource[Any], world: EnvironmentWorld, desired: Desired, report: Report
    ) -> tuple[dict[str, Any], Outcome]:
        """The namespace and the copied Secrets."""
        return environment_plan.status(resource, world, desired, report)


class ProjectKind(Plain):
    """Projects."""

    def observe(self, resource: Resource[Any], context: Context) -> ProjectWorld:
        """Environments, applications and what changed in them."""
        activity = context.activity_of(resource.namespace)
        return observe.project(resource, context.store, context.clusters, activity, context.now())

    async def prepare(self, resource: Resource[Any], world: ProjectWorld, context: Context) -> ProjectWorld:
        """What its backups take, of what the catalog makes of its applications, too."""
        made = {app.name: await context.catalog.expansion(app.spec, app.namespace) for app in world.applications}
        seen = coverage.look(world.applications, world.environments, world.containers, world.backups, made)
        return dataclasses.replace(world, coverage=seen)

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
        """Begin the last backups; mark the project's own namespace, so that an admission policy can guard it."""
        await finalbackups.begin(project_plan.last_backups(resource, world), context)
        if not desired.complete or world.namespace is None or world.namespace["metadata"].get("deletionTimestamp"):
            return
        archived = isinstance(outcome, Ok) and outcome.reason == Reason.ARCHIVED
        marks = project_plan.namespace_marks(resource, archived)
        if any(differences(marks, world.namespace)):
            await context.cluster.client.apply(
                types.NAMESPACE, None, resource.namespace, marks, manager=labels.MARKS_MANAGER
            )


DOWNLOAD_AGAIN = 2.0
"""Seconds between looks at a template that is being fetched."""


class ProxmoxHostKind(Plain):
    """Proxmox VE hosts. Nothing is made for them."""

    def observe(self, resource: Resource[Any], context: Context) -> HostWorld:
        """Nothing yet."""
        return HostWorld(context.now(), context.clusters.installation)

    async def prepare(self, resource: Resource[Any], world: HostWorld, context: Context) -> HostWorld:
        """What was last read of it; a reading begins when that is too old."""
        return await observe.host(resource, context.hosts, context.clusters, context.readers, context.now())

    def desired(self, resource: Resource[Any], world: HostWorld, context: Context) -> Desired:
        """Nothing."""
        return Desired()

    async def before(self, resource: Resource[Any], world: Any, desired: Desired, context: Context) -> Noted:
        """Fetch templates that aren't there, a step at a time."""
        driver, reading = context.hosts.driver(resource.name), context.hosts.reading(resource.name)
        if isinstance(driver, Outcome) or reading is None:
            kept = resource.status.get("downloads")
            return Noted({"downloads": kept} if kept else {})
        downloads, said, arrived = await context.hosts.downloads.step(resource, driver, reading)
        if arrived:
            context.hosts.refresh(resource.name)
        if any("message" not in entry for entry in downloads):
            context.enqueue(resource.key, RESYNC, DOWNLOAD_AGAIN)
        fields = {"downloads": downloads} if downloads else {}
        return Noted(fields, tuple(Wait(Reason.DEPENDENCY_NOT_READY, text) for text in said))

    def status(
        self, resource: Resource[Any], world: HostWorld, desired: Desired, report: Report
    ) -> tuple[dict[str, Any], Outcome]:
        """Nodes, storages, templates, counts, what the token lacks, and which templates can't be had."""
        fields, outcome = host_plan.status(resource, world, kept_fields(resource)[0])
        if isinstance(outcome, Ok) and report.problems:
            said = "; ".join(problem.message for problem in report.problems)
            outcome = dataclasses.replace(outcome, message=f"{outcome.message}; {said}")
        return fields, outcome

    async def after(
        self, resource: Resource[Any], world: HostWorld, desired: Desired, outcome: Outcome, context: Context
    ) -> None:
        """Look again by the interval, however this ended: nobody tells us of what happens on a host."""
        context.enqueue(resource.key, RESYNC, interval_seconds(resource.spec.interval))


@dataclasses.dataclass(frozen=True)
class ItemWorld:
    """What is known of a CatalogItem. It makes nothing, so nothing of it is live."""

    offer: Offer
    live: dict[ChildKey, Live] = dataclasses.field(default_factory=dict)


class CatalogItemKind(Plain):
    """CatalogItems."""

    def observe(self, resource: Resource[Any], context: Context) -> ItemWorld:
        """What was known before; a Secret that it logs in with is listened for."""
        secret = _secret_of(resource)
        if secret:
            context.readers.setdefault(("Secret", resource.namespace, secret), set()).add(resource.key)
        return ItemWorld(context.catalog_items.last(resource) or Offer(resource.uid, resource.generation))

    async def prepare(self, resource: Resource[Any], world: ItemWorld, context: Context) -> ItemWorld:
        """Read it, if it is in Git, and prove it; applications that name it are looked at when that changed."""
        items = context.catalog_items
        before = items.last(resource)
        if resource.spec.git is None:
            offer = await items.aside(items.written_out, resource)
        else:
            secret = _secret_of(resource)
            found = await context.cluster.client.get(types.SECRET, resource.namespace, secret) if secret else None
            offer = await items.from_git(resource, found)
        if before is None or before.says != offer.says:
            for user in items.users(resource.key):
                context.enqueue(user)
        return ItemWorld(offer)

    def desired(self, resource: Resource[Any], world: ItemWorld, context: Context) -> Desired:
        """Nothing is made of it."""
        return Desired()

    def status(
        self, resource: Resource[Any], world: ItemWorld, desired: Desired, report: Report
    ) -> tuple[dict[str, Any], Outcome]:
        """What it offers."""
        return catalogitem.status(resource, world.offer)

    async def after(
        self, resource: Resource[Any], world: ItemWorld, desired: Desired, outcome: Outcome, context: Context
    ) -> None:
        """What is in Git is looked at again after its interval, however it went."""
        git = resource.spec.git
        if git is not None and not isinstance(outcome, Transient):
            context.enqueue(resource.key, RESYNC, float(seconds(git.interval)))


def _secret_of(resource: Resource[Any]) -> str:
    git = resource.spec.git
    return git.credentials_secret_ref.name if git is not None and git.credentials_secret_ref is not None else ""


MAKE_NOTHING = frozenset({"CatalogItem", "ImageUpdate", "Notification"})
"""Kinds without objects of their own: nothing has to be removed before they go."""
BY_NAME: dict[str, Kind] = {
    "Application": ApplicationKind(),
    "Environment": EnvironmentKind(),
    "Project": ProjectKind(),
    "ProxmoxHost": ProxmoxHostKind(),
    "LXCContainer": lxc_kind.LXCContainerKind(),
    "CatalogItem": CatalogItemKind(),
    "BackupRepository": repositorykind.RepositoryKind(),
    "Backup": backupkind.BackupKind(),
    "BackupRun": runkind.RunKind(),
    "Restore": restorekind.RestoreKind(),
    "GitSource": GitSourceKind(),
    "ImageUpdate": updatekind.ImageUpdateKind(),
    "Notification": notificationkind.NotificationKind(),
}
