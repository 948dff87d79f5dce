"""GitSource: a folder in Git is built, applied, pruned and watched."""

from __future__ import annotations

from typing import Any

from homeport.api.gitsource import GitSourceSpec
from homeport.api.resource import Resource
from homeport.engine.context import Context
from homeport.engine.gitops import flow, pulling
from homeport.engine.gitops.flow import Look
from homeport.engine.history import Noted
from homeport.engine.plainkind import Plain
from homeport.outcome import Outcome
from homeport.plan.gitops import source as plan
from homeport.plan.gitops.source import Seen
from homeport.plan.gitops.standing import healthy
from homeport.plan.world import Desired, Report

Source = Resource[GitSourceSpec]


class GitSourceKind(Plain):
    """GitSources. They have no children as other kinds have: what they apply may be of any kind, and is other owners'
    spec, so that it is told apart by labels of its own."""

    def observe(self, resource: Source, context: Context) -> Look:
        """What was there when it was last looked at."""
        return Look(Seen(context.now(), entries=flow.inventory(resource)))

    async def prepare(self, resource: Source, world: Look, context: Context) -> Look:
        """Which commit is meant, what it builds, what would change; reads only."""
        return await flow.look(resource, context)

    def desired(self, resource: Source, world: Look, context: Context) -> Desired:
        """No children."""
        return Desired()

    async def before(self, resource: Source, world: Look, desired: Desired, context: Context) -> Noted:
        """Apply what is planned; what came of it is in ``world`` then."""
        noted = await flow.carry_out(resource, context, world)
        if not world.seen.archived:
            told, world.conditions = await pulling.step(resource, world.checkout, world.seen.entries, context)
            fields, unheard = pulling.webhook(resource, context)
            world.fields = {"previews": told.entries, **fields}
            standing = healthy(world.seen.standing, plan.unready(resource, world.seen))
            world.conditions = {**world.conditions, **unheard, **standing}
        return noted

    def status(self, resource: Source, world: Look, desired: Desired, report: Report) -> tuple[dict[str, Any], Outcome]:
        """What is applied, of which commit, and how that goes."""
        fields, outcome = plan.status(resource, world.seen)
        if world.fields is not None:
            fields = {key: value for key, value in fields.items() if key not in ("previews", "webhookPath")}
            fields |= {key: value for key, value in world.fields.items() if value}
        return fields, outcome

    async def after(self, resource: Source, world: Look, desired: Desired, outcome: Outcome, context: Context) -> None:
        """What was applied whole is remembered."""
        flow.remember(resource, context, world)
