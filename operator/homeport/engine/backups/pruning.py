"""Retention now, and not after the next run: asked for by a new value of the annotation ``homeport.dev/prune-at``.

The wish is written down first (``status.pruning``), then carried out by a Job, or on a host one archive at a time, and
at last ``status.lastPrune`` says what came of it. All of it can be done twice: what isn't kept is worked out anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from homeport.api import labels
from homeport.api.backup import BackupSpec
from homeport.api.conditions import Reason
from homeport.api.resource import Resource
from homeport.drivers.proxmox import errors
from homeport.engine import observe
from homeport.engine.backups import (
    hosttasks,
    proxmoxkeeping,
    proxmoxplace,
    proxmoxremoving,
    repositorykind,
    results,
    sources,
)
from homeport.engine.context import Context
from homeport.outcome import Ok, Outcome, Stalled, Wait
from homeport.plan.backup import access, proxmoxmarks, runnerjob, times
from homeport.plan.backup import repository as repository_plan
from homeport.plan.backup import run as run_plan
from homeport.plan.backup.backup import BackupWorld, active
from homeport.plan.backup.runnerjob import RunnerJob
from homeport.plan.names import seconds

Backup = Resource[BackupSpec]
LOOK_AGAIN = 5.0
"""Seconds between looks at what is being removed: no event tells of it."""
TIMEOUT = 3600
TOKEN = 128
"""Characters of the annotation that count."""


@dataclass(frozen=True)
class Look:
    """How the Job stands."""

    job: RunnerJob | Outcome | None = None
    """What is to be made, or why it can't be; None when it is there, or none is needed."""
    state: results.State | None = None
    """How it is, once it is there."""


@dataclass(frozen=True)
class Step:
    """One step."""

    fields: Mapping[str, Any] = field(default_factory=dict)
    """For the status."""
    note: str = ""
    """What a person should know."""
    again: float | None = None
    """Seconds after which is to be looked again."""


async def look(resource: Backup, context: Context) -> Look:
    """The Job, while there is to be one. Raises ApiError."""
    if not resource.status.get("pruning"):
        return Look()
    repository = sources.repository(resource.namespace, resource.spec.repository_ref.name, "", context)
    if not isinstance(repository, Resource):
        return Look(repository)
    if repository.spec.proxmox is not None:
        return Look()
    for (cluster, name), found in observe.children(context.clusters, resource.key).items():
        if name.kind == "Job" and name.name == runnerjob.named("retain", resource.name):
            return Look(state=await results.look(found, context.clusters[cluster], context.now()))
    place = repositorykind.placed(repository, resource.key, context)
    if isinstance(place, Outcome):
        return Look(place)
    rules = _rules(resource)
    if rules is None:
        return Look(Stalled(Reason.INVALID_SPEC, "it has no retention any more: every run is kept"))
    keys = access.access(repository.name, repository.namespace, repository.spec)
    return Look(
        RunnerJob(
            name=runnerjob.named("retain", resource.name),
            owner=resource.key,
            image=context.runner_image,
            namespace=place.namespace,
            job={
                "operation": "retain",
                "tags": access.tags(resource.namespace, resource.name, context.clusters.installation),
                "retention": rules,
            },
            access=replace(keys, document={**keys.document, "lockWaitSeconds": repository_plan.LOCK_WAIT}),
            timeout=TIMEOUT,
            environment=place.environment,
            cluster=place.cluster,
        )
    )


def _rules(resource: Backup) -> Mapping[str, Any] | None:
    spec = resource.spec
    if spec.retention is None:
        return None
    verified = str((resource.status.get("verified") or {}).get("run") or "")
    return run_plan.retention(spec.retention, spec.time_zone or "UTC", verified, seconds(spec.timeout))


async def step(resource: Backup, world: BackupWorld, context: Context) -> Step:
    """Begin, go on, or say what came of it. Raises ApiError."""
    kept = {name: resource.status[name] for name in ("pruning", "lastPrune") if resource.status.get(name)}
    if "pruning" in kept:
        return await _go_on(resource, kept, context)
    last = kept.get("lastPrune") or {}
    asked = resource.annotations.get(labels.PRUNE_AT, "")[:TOKEN]
    if not asked or asked == last.get("asked"):
        failed = last.get("outcome") == "Failed"
        return Step(kept, f"pruning of {last['time']} failed: {last.get('message', '')}" if failed else "")
    if resource.spec.retention is None:
        return _over(kept, asked, Ok("it has no retention: every run is kept"), context)
    if why := _waits(resource, world, context):
        return Step(kept, f"pruning waits: {why}")
    return Step({**kept, "pruning": {"asked": asked, "since": times.text(context.now())}}, "pruning begins", 0.0)


def _waits(resource: Backup, world: BackupWorld, context: Context) -> str:
    """What has to be over first: a run prunes by itself, and a restore may be of any run."""
    if under_way := active(world.runs):
        return f"BackupRun {under_way[0].name} is under way"
    for one in context.store.valid("Restore", resource.namespace):
        mine = one.spec.backup_ref is not None and one.spec.backup_ref.name == resource.name
        if mine and not run_plan.over(one.status):
            return f"Restore {one.name} is under way"
    return world.busy or (world.held.message if world.held is not None and not world.method else "")


async def _go_on(resource: Backup, kept: Mapping[str, Any], context: Context) -> Step:
    asked = str(kept["pruning"].get("asked") or "")
    seen = await look(resource, context)
    if seen.state is not None and seen.state.result is not None:
        return _judged(kept, asked, seen.state.result, context)
    if isinstance(seen.job, Stalled):
        return _over(kept, asked, seen.job, context)
    if isinstance(seen.job, Outcome):
        return Step(kept, f"pruning waits: {seen.job.message}", 10 * LOOK_AGAIN)
    if seen.job is not None or seen.state is not None:
        trouble = seen.state.trouble if seen.state is not None else ""
        return Step(kept, f"pruning is under way{f': {trouble}' if trouble else ''}", LOOK_AGAIN)
    outcome, listing = await _archives(resource, context)
    if isinstance(outcome, Wait):
        return Step(kept, f"pruning: {outcome.message}", LOOK_AGAIN)
    return _over({**kept, **listing}, asked, outcome, context)


def _judged(kept: Mapping[str, Any], asked: str, result: Mapping[str, Any], context: Context) -> Step:
    message = run_plan.short(result.get("message") or "")
    if result.get("outcome") != "Succeeded":
        failed = Stalled(Reason.REPOSITORY_FAILED, f"{result.get('reason', '')}: {message}")
        return _over(kept, asked, failed, context)
    listed = run_plan.fields(result).get("listing") or {}
    return _over({**kept, **listed}, asked, Ok(message), context)


def _over(kept: Mapping[str, Any], asked: str, outcome: Outcome, context: Context) -> Step:
    """It is written down, and looked at once more: what was made for it goes then."""
    told = "Succeeded" if isinstance(outcome, Ok) else "Failed"
    last = {"asked": asked, "time": times.text(context.now()), "outcome": told, "message": outcome.message}
    fields = {name: value for name, value in kept.items() if name != "pruning"}
    return Step({**fields, "lastPrune": last}, again=0.0)


async def _archives(resource: Backup, context: Context) -> tuple[Outcome, Mapping[str, Any]]:
    """On a host: the next archive that retention doesn't keep goes; when there is none, what is there."""
    name = resource.spec.repository_ref.name
    on = proxmoxplace.ground(resource.namespace, resource.name, name, resource.spec, resource.key, context)
    if isinstance(on, Outcome):
        return on if isinstance(on, Stalled) else Wait(Reason.PROGRESSING, on.message), {}
    key = resource.key
    try:
        if volume := await proxmoxremoving.under_way(on, key, context):
            return Wait(Reason.PROGRESSING, f"{volume} is removed"), {}
        found, missed = await proxmoxplace.listed(on)
        if missed:
            return Wait(Reason.PROGRESSING, f"what is on {', '.join(missed)} can't be seen now"), {}
        runs = proxmoxmarks.runs(found, on.owner)
        going = [archive for run in proxmoxkeeping.let_go(on, runs, context) for archive in run.archives]
        if volume := await proxmoxremoving.begin(on, key, going, found, context):
            return Wait(Reason.PROGRESSING, f"{volume} is removed"), {}
    except (errors.Busy, errors.OutcomeUnknown) as error:
        return Wait(Reason.PROGRESSING, str(error)), {}
    except errors.ProxmoxError as error:
        told = context.hosts.problem(on.host, error)
        refused = Stalled(Reason.REPOSITORY_FAILED, str(error))
        return (Wait(Reason.PROGRESSING, told.message) if isinstance(told, Wait) else refused), {}
    listing = hosttasks.fields(proxmoxkeeping.listing(runs))
    stays = proxmoxremoving.refused(key, going, context)
    proxmoxremoving.forget(key, context)
    return (Stalled(Reason.REPOSITORY_FAILED, stays) if stays else Ok(f"{len(runs)} runs are kept")), listing
