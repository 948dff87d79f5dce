"""Restores as the reconciler sees them: carried out by a Job, or by a host; and gone when their time is over."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from homeport.api.resource import Resource
from homeport.api.restore import RestoreSpec
from homeport.engine.backups import proxmoxrestore
from homeport.engine.backups.kubernetesrestore import KubernetesRestore
from homeport.engine.backups.runkind import expire, leave, told
from homeport.engine.context import Context
from homeport.engine.history import Noted
from homeport.outcome import Outcome
from homeport.plan.backup import restore as plan
from homeport.plan.backup.restore import RestoreWorld
from homeport.plan.world import Desired, Report

Restore = Resource[RestoreSpec]


class RestoreKind(KubernetesRestore):
    """Restores: those of containers by their host, the others by a Job."""

    async def prepare(self, resource: Restore, world: RestoreWorld, context: Context) -> RestoreWorld:
        """What a Job needs; a host is asked when something may be done about what it says."""
        if proxmoxrestore.concerns(resource, context):
            return replace(world, elsewhere=True)
        return await super().prepare(resource, world, context)

    def desired(self, resource: Restore, world: RestoreWorld, context: Context) -> Desired:
        """The Job while it runs; of containers nothing."""
        return Desired() if world.elsewhere else super().desired(resource, world, context)

    async def before(self, resource: Restore, world: Any, desired: Desired, context: Context) -> Noted:
        """Of containers: one step on the host."""
        if not proxmoxrestore.concerns(resource, context):
            return await super().before(resource, world, desired, context)
        sought = await proxmoxrestore.seek(resource, context)
        return Noted(dict(sought.fields), (sought.outcome,))

    def status(
        self, resource: Restore, world: RestoreWorld, desired: Desired, report: Report
    ) -> tuple[dict[str, Any], Outcome]:
        """Of containers: what the step said; else by the Job."""
        if world.elsewhere:
            return {}, told(report)
        return super().status(resource, world, desired, report)

    async def after(
        self, resource: Restore, world: RestoreWorld, desired: Desired, outcome: Outcome, context: Context
    ) -> None:
        """The object goes when it has been over for so long; what it restored stays."""
        await expire(resource, context)
        made = {key: body for key, body in world.live.items() if key[1].kind != plan.CLAIM}
        if world.result is not None or plan.over(resource):
            leave(resource, made, world.result is not None, context)
