"""Making the last backups of a project, before it is archived or deleted."""

from __future__ import annotations

from typing import Any

from homeport.api.resource import Resource
from homeport.drivers.kubernetes import errors, types
from homeport.engine import observe
from homeport.engine.context import Context
from homeport.plan.backup import final
from homeport.plan.project import last_backups


async def begin(step: final.Step, context: Context) -> None:
    """Make the BackupRuns that aren't there. Their names are known, so none is made twice."""
    for run in step.runs:
        try:
            await context.cluster.client.create(types.BACKUP_RUN, run["metadata"]["namespace"], run)
        except errors.AlreadyExists:
            continue


async def before_removal(project: Resource[Any], context: Context) -> final.Step:
    """How far the last backups are of a project that is being deleted; those that aren't there are begun."""
    if project.spec is None:
        return final.Step()
    world = observe.project(project, context.store, context.clusters, [], context.now())
    step = last_backups(project, world)
    await begin(step, context)
    return step
