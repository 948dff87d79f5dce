"""How a Backup goes: its runs first, then its snapshots, if that was asked for twice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from homeport.api import labels
from homeport.api.backup import BackupSpec
from homeport.api.backuprepository import BackupRepositorySpec
from homeport.api.conditions import Reason
from homeport.api.resource import Resource
from homeport.drivers.kubernetes import types
from homeport.drivers.proxmox import errors
from homeport.engine import apply, diffing, observe
from homeport.engine.backups import backupkind, proxmoxplace, proxmoxremoving, repositorykind, results, sources
from homeport.engine.context import Context
from homeport.engine.queue import RESYNC
from homeport.engine.report import kept_fields
from homeport.outcome import Ok, Outcome, Stalled, Wait, worst
from homeport.plan import planes, policy
from homeport.plan.backup import access, maintenance, proxmoxmarks, runnerjob, times
from homeport.plan.backup import backup as plan
from homeport.plan.backup.runnerjob import RunnerJob
from homeport.plan.world import Desired, Live

Backup = Resource[BackupSpec]
LOOK_AGAIN = 3.0
"""Seconds between looks at what is being removed."""
TIMEOUT = 3600


class Left(NamedTuple):
    """How far it is, and what of that is written down. Ok: nothing is left to do but to remove its objects."""

    outcome: Outcome
    fields: Mapping[str, Any]


async def backup(resource: Backup, context: Context) -> Left:
    """One step. Raises ApiError."""
    fields = kept_fields(resource)[0]
    forgets = resource.spec is not None and resource.spec.deletion_policy == "Delete" and resource.status.get("lastRun")
    if forgets and resource.annotations.get(labels.CONFIRM_DELETE) != resource.name:
        return Left(_unconfirmed(resource), fields)
    waits = _restoring(resource, context) or await _without_runs(resource, context)
    if waits is not None:
        return Left(waits, fields)
    if not forgets:
        number = resource.status.get("snapshots")
        return Left(Ok(f"its {number} snapshots are kept" if number else ""), fields)
    if resource.status.get("forgotten"):
        return Left(Ok("its snapshots were forgotten"), fields)
    outcome = await _forget(resource, context)
    if isinstance(outcome, Ok):
        return Left(Wait(Reason.TERMINATING, outcome.message, 0.1), {**fields, "forgotten": True})
    return Left(outcome, fields)


def _unconfirmed(resource: Backup) -> Outcome:
    number = resource.status.get("snapshots")
    what = f"its {number} snapshots" if number is not None else "its snapshots"
    return Stalled(
        Reason.CONFIRMATION_REQUIRED,
        f"deleting {resource.name} would forget {what} in BackupRepository {resource.spec.repository_ref.name}; to go "
        f"on, set the annotation {labels.CONFIRM_DELETE}: {resource.name}, or keep them by deletionPolicy: Retain",
    )


def _restoring(resource: Backup, context: Context) -> Outcome | None:
    """A restore that is under way needs what the Backup says. One that can't begin isn't: that may be for good."""
    found = context.store.valid("Restore", resource.namespace)
    names = [
        one.name
        for one in found
        if backupkind.names(one) == resource.name
        and not plan.is_over(one)
        and not plan.is_held(one)
        and not (one.spec.target and one.spec.target.drill)
    ]
    if not names:
        return None
    return Wait(Reason.TERMINATING, f"waits for Restore {', '.join(sorted(names)[:5])} to be over", LOOK_AGAIN)


async def _without_runs(resource: Backup, context: Context) -> Outcome | None:
    """Delete the runs and drills that it made, and those that aren't over, whose Jobs go with them. What people made
    and is over tells of its snapshot still."""
    found = [*backupkind.runs_of(resource, context), *backupkind.drills_of(resource, context)]
    there = [one for one in found if not plan.is_over(one) or _is_made_by(resource, one, context)]
    for one in there:
        if one.deleted_at is None:
            gvk = types.by_kind(labels.API_VERSION, one.kind)
            await context.cluster.client.delete(gvk, one.namespace, one.name, uid=one.uid)
    if not there:
        return None
    names = ", ".join(f"{one.kind} {one.name}" for one in there[:3])
    more = f" and {len(there) - 3} more" if len(there) > 3 else ""
    return Wait(Reason.TERMINATING, f"removing {names}{more}", LOOK_AGAIN)


def _is_made_by(resource: Backup, one: Resource[Any], context: Context) -> bool:
    owners = (context.store.body(one.key) or {}).get("metadata", {}).get("ownerReferences") or ()
    return any(owner.get("uid") == resource.uid for owner in owners)


async def _forget(resource: Backup, context: Context) -> Outcome:
    """Have its snapshots forgotten; Ok when they are."""
    name = resource.spec.repository_ref.name
    found = sources.repository(resource.namespace, name, "", context)
    if isinstance(found, Outcome):
        kept = "or keep its snapshots by deletionPolicy: Retain"
        return Stalled(Reason.REPOSITORY_FAILED, f"its snapshots can't be forgotten: {found.message}; {kept}")
    if found.spec.proxmox is not None:
        return await _forget_archives(resource, context)
    return await _forget_by_job(resource, found, context)


async def _forget_by_job(resource: Backup, repository: Resource[BackupRepositorySpec], context: Context) -> Outcome:
    live = observe.children(context.clusters, resource.key)
    for (cluster, name), found in live.items():
        if name.kind == "Job" and name.name == runnerjob.named("forget", resource.name):
            return await _judged(resource, cluster, found, context)
    place = repositorykind.placed(repository, resource.key, context)
    if isinstance(place, Outcome):
        return place
    job = RunnerJob(
        name=runnerjob.named("forget", resource.name),
        owner=resource.key,
        image=context.runner_image,
        namespace=place.namespace,
        job={
            "operation": "forget",
            "everything": True,
            "tags": access.tags(resource.namespace, resource.name, context.clusters.installation),
        },
        access=access.access(repository.name, repository.namespace, repository.spec),
        timeout=TIMEOUT,
        environment=place.environment,
        cluster=place.cluster,
    )
    desired = planes.marked(Desired(runnerjob.children(job)), context.clusters.plane_in)
    changes, _ = await diffing.changes(resource.key, desired, live, context)
    applied = await apply.apply(resource.key, policy.decide(resource.key, desired, changes).steps, context.clusters)
    return worst([Wait(Reason.TERMINATING, "forgetting its snapshots", LOOK_AGAIN), *applied.problems])


async def _judged(resource: Backup, cluster: str, job: Live, context: Context) -> Outcome:
    state = await results.look(job, context.clusters[cluster], context.now())
    if state.result is None:
        said = f": {state.trouble}" if state.trouble else ""
        return Wait(Reason.TERMINATING, f"forgetting its snapshots{said}", LOOK_AGAIN)
    message = str(state.result.get("message") or "")
    if state.result.get("outcome") == "Succeeded":
        return Ok(message)
    ended = times.moment(str(job["status"]["conditions"][-1].get("lastTransitionTime") or ""))
    pause = maintenance.AGAIN
    if ended is not None and ended + pause <= context.now():
        metadata = job["metadata"]
        await context.clusters[cluster].client.delete(
            types.JOB, metadata["namespace"], metadata["name"], uid=metadata["uid"]
        )
    context.enqueue(resource.key, RESYNC, pause.total_seconds())
    text = f"its snapshots couldn't be forgotten: {state.result.get('reason', '')}: {message}"
    return Stalled(Reason.REPOSITORY_FAILED, f"{text}; it is tried again, or keep them by deletionPolicy: Retain")


async def _forget_archives(resource: Backup, context: Context) -> Outcome:
    """Of containers: one archive after the other, each looked at just before; those that are protected stay."""
    name = resource.spec.repository_ref.name
    on = proxmoxplace.ground(resource.namespace, resource.name, name, resource.spec, resource.key, context)
    if isinstance(on, Outcome):
        return on
    key = resource.key
    try:
        if volume := await proxmoxremoving.under_way(on, key, context):
            return Wait(Reason.TERMINATING, f"removing {volume}", LOOK_AGAIN)
        found, missed = await proxmoxplace.listed(on)
        if missed:
            return Wait(Reason.TERMINATING, f"what is on {', '.join(missed)} can't be seen now", 10 * LOOK_AGAIN)
        mine = [archive for run in proxmoxmarks.runs(found, on.owner) for archive in run.archives]
        going = [archive for archive in mine if not archive.protected]
        if volume := await proxmoxremoving.begin(on, key, going, found, context):
            return Wait(Reason.TERMINATING, f"removing {volume}; {len(going)} are left", LOOK_AGAIN)
    except (errors.Busy, errors.OutcomeUnknown) as error:
        return Wait(Reason.TERMINATING, str(error), LOOK_AGAIN)
    except errors.ProxmoxError as error:
        return context.hosts.problem(on.host, error) or Stalled(Reason.REPOSITORY_FAILED, str(error))
    if stays := proxmoxremoving.refused(key, going, context):
        return _refused(resource, stays, context)
    kept = f"; {len(mine)} are protected, and kept" if mine else ""
    return Ok(f"its archives were removed{kept}")


def _refused(resource: Backup, why: str, context: Context) -> Outcome:
    """What couldn't be removed is tried again, though not at once."""
    now = context.now()
    known = context.host_work.removals[resource.key]
    known.until = known.until or now + maintenance.AGAIN
    if known.until <= now:
        proxmoxremoving.forget(resource.key, context)
        return Wait(Reason.TERMINATING, f"{why}; tries again", 0.0)
    context.enqueue(resource.key, RESYNC, (known.until - now).total_seconds())
    return Stalled(Reason.REPOSITORY_FAILED, f"{why}; it is tried again, or keep them by deletionPolicy: Retain")
