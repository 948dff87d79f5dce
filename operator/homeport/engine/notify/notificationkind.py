"""Notifications as the reconciler sees them: a desk is kept for each, and its status says what was told."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from homeport.api import labels
from homeport.api.conditions import Reason
from homeport.api.labels import OwnerKey
from homeport.api.notification import CommitStatus, NotificationSpec
from homeport.api.resource import InvalidSpec, Resource
from homeport.drivers.kubernetes import types
from homeport.engine import observe
from homeport.engine.context import Context
from homeport.engine.gitops import forgeplaces
from homeport.engine.gitops.inputs import Lacking
from homeport.engine.notify import ways
from homeport.engine.notify.commitstatus import Mark
from homeport.engine.notify.notices import Desk
from homeport.engine.plainkind import Plain
from homeport.engine.status import timestamp
from homeport.outcome import Ok, Outcome, Stalled, Wait
from homeport.plan.notify import messages
from homeport.plan.notify.happenings import COMPONENT, Happening
from homeport.plan.world import ChildKey, Desired, Live, Report

Notification = Resource[NotificationSpec]


@dataclasses.dataclass(frozen=True)
class NotificationWorld:
    """What is known of it. It makes nothing, so nothing of it is live."""

    versions: tuple[tuple[str, str], ...] = ()
    """The Secrets that it names and that are there, by their versions."""
    desk: Desk | None = None
    held: Outcome | None = None
    """What keeps it from telling anybody."""
    marked: Mapping[str, Any] | None = None
    """The commit's status that the forge has taken."""
    live: dict[ChildKey, Live] = dataclasses.field(default_factory=dict)


class NotificationKind(Plain):
    """Notifications."""

    def observe(self, resource: Notification, context: Context) -> NotificationWorld:
        """Its Secrets' versions; they are listened for."""
        if resource.spec.commit_status is not None:
            name = resource.spec.commit_status.source_ref.name
            context.readers.setdefault(("GitSource", resource.namespace, name), set()).add(resource.key)
        seen = observe.SeenVersions(context.cluster, resource.namespace, resource.key, context.readers)
        found = ((name, seen.get(("Secret", name))) for name in ways.named(resource.spec))
        return NotificationWorld(tuple((name, version) for name, version in found if version is not None))

    async def prepare(self, resource: Notification, world: NotificationWorld, context: Context) -> NotificationWorld:
        """Its desk, with the way that messages go; events that nobody was told of come to it when it is opened."""
        if resource.spec.commit_status is not None:
            return await self._mark(resource, resource.spec.commit_status, world, context)
        before = context.notices.desk(resource.key)
        desk = context.notices.open(resource, resource.status)
        held = await self._way(resource, world, desk, context)
        fresh = desk is not before
        changed = resource.status.get("observedGeneration") not in (resource.generation, -1)
        if changed and desk.outbox.idle:
            # What was before isn't told by a spec that came after it, nor what happened while it was suspended.
            desk.until, desk.handled = timestamp(context.now()), ()
        elif fresh:
            everywhere = resource.namespace == context.system_namespace
            events, _ = await context.cluster.client.list(
                types.EVENT, None if everywhere else resource.namespace, fields=f"reportingComponent={COMPONENT}"
            )
            context.notices.late(desk, events)
        context.notices.go_on(desk)
        await self._test(resource, desk, context)
        return dataclasses.replace(world, desk=desk, held=held)

    async def _way(
        self, resource: Notification, world: NotificationWorld, desk: Desk, context: Context
    ) -> Outcome | None:
        """Read its Secrets, if one of them is another than before; what is missing."""
        environments = list(context.store.valid("Environment", resource.namespace))
        asked = set(ways.named(resource.spec))
        kept = observe.private(resource.namespace, environments, context.cluster, asked, context.store)
        if kept:
            # Who may write a Notification (a repository, too) may not read these, and says where they are sent.
            desk.way, desk.inputs = None, None
            name, why = min(kept.items())
            return Stalled(Reason.ACCESS_DENIED, f"Secret {name} isn't sent anywhere: {why}; make one for this alone")
        inputs = (resource.generation, world.versions)
        if desk.way is not None and desk.inputs == inputs:
            return None
        get = context.cluster.client.get
        secrets = {name: await get(types.SECRET, resource.namespace, name) for name, _ in world.versions}
        try:
            desk.way = ways.way(resource.spec, resource.namespace, secrets)
        except ways.SecretMissing as error:
            desk.way = None
            return Wait(Reason.DEPENDENCY_NOT_READY, str(error))
        desk.inputs = inputs
        return None

    async def _mark(
        self, resource: Notification, wanted: CommitStatus, world: NotificationWorld, context: Context
    ) -> NotificationWorld:
        """Mark the commit that its GitSource applies, if it isn't marked so."""
        known, name = resource.status.get("commitStatus"), wanted.source_ref.name
        try:
            source = context.store.resource(OwnerKey("GitSource", resource.namespace, name))
            if source is None:
                raise Lacking(Wait(Reason.DEPENDENCY_NOT_READY, f"GitSource {name} doesn't exist beside it; create it"))
            place = await forgeplaces.place(source, resource.key, context)
        except InvalidSpec as error:
            held: Outcome = Wait(Reason.DEPENDENCY_NOT_READY, f"GitSource {name} can't be used: {error}")
            return dataclasses.replace(world, held=held, marked=known)
        except Lacking as error:
            return dataclasses.replace(world, held=error.outcome, marked=known)
        found = messages.commit_state(context.store.status(source.key))
        if found is None:
            held = Wait(Reason.DEPENDENCY_NOT_READY, f"GitSource {name} has read no commit yet")
            return dataclasses.replace(world, held=held, marked=known)
        mark = Mark(*found, wanted.context or f"homeport/{resource.namespace}/{name}")
        sent, problem = context.notices.marks.look(resource.key, place, mark, known)
        return dataclasses.replace(world, held=problem, marked=sent)

    async def _test(self, resource: Notification, desk: Desk, context: Context) -> None:
        token = resource.annotations.get(labels.NOTIFY_TEST)
        if not token or desk.way is None or token in (desk.test_token, (desk.tested or {}).get("token")):
            return
        message = "this message was asked for, to see whether it arrives"
        about = OwnerKey("Notification", resource.namespace, resource.name)
        now = timestamp(context.now())
        happening = Happening(f"test/{token}", now, "Info", *about, resource.uid, "Test", message)
        context.notices.test(desk, token, happening)

    def desired(self, resource: Notification, world: NotificationWorld, context: Context) -> Desired:
        """Nothing is made of it."""
        return Desired()

    def status(
        self, resource: Notification, world: NotificationWorld, desired: Desired, report: Report
    ) -> tuple[dict[str, Any], Outcome]:
        """What was told, and how the newest try went."""
        if resource.spec.commit_status is not None:
            told = f"marks the commits of GitSource {resource.spec.commit_status.source_ref.name}"
            return {"commitStatus": world.marked} if world.marked else {}, world.held or Ok(told)
        desk = world.desk
        assert desk is not None
        fields: dict[str, Any] = {
            "lastSent": desk.last,
            "handledUntil": desk.until,
            "handled": list(desk.handled),
            "sent": desk.sent,
            "failures": desk.outbox.failures,
            "dropped": desk.dropped,
            "lastTest": desk.tested,
        }
        fields = {name: value for name, value in fields.items() if value not in (None, [], 0)}
        outcome = world.held or desk.problem or Ok(_told(resource.spec))
        return fields, outcome


def _told(spec: NotificationSpec) -> str:
    if spec.email is not None:
        return f"tells {', '.join(spec.email.to)} by mail"
    if spec.slack is not None:
        return f"tells {spec.slack.channel}" if spec.slack.channel else "tells a channel"
    assert spec.webhook is not None
    return f"tells {spec.webhook.url.partition('?')[0]}"
