"""What the Job of a Restore is to do: which run, into which volume, and what has to be at rest meanwhile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from homeport.api.backup import Verify
from homeport.api.conditions import Reason
from homeport.engine.backups import atrest
from homeport.engine.backups.restoretargets import Found
from homeport.engine.context import Context
from homeport.outcome import Outcome, Stalled
from homeport.plan.backup import access, choosing, drilljob, restorejob, times, volumes
from homeport.plan.backup import restore as plan
from homeport.plan.backup.choosing import Chosen
from homeport.plan.backup.drilljob import Drill
from homeport.plan.backup.resolving import WORKLOADS
from homeport.plan.backup.restore import Restore, RestoreWorld
from homeport.plan.backup.restorejob import Order
from homeport.plan.backup.volumes import Mounted
from homeport.plan.names import seconds
from homeport.plan.types import Child


def ordered(resource: Restore, found: Found, world: RestoreWorld, context: Context) -> RestoreWorld:
    """The world with what is to be done, or why that can't be."""
    chosen = _chosen(resource, found, context)
    if isinstance(chosen, Outcome):
        return replace(world, problem=chosen)
    mounted = _mounted(found)
    volume = _volume(found, mounted)
    if isinstance(volume, Outcome):
        return replace(world, problem=volume)
    timeout = seconds(found.backup.spec.timeout) if found.backup is not None else plan.TIMEOUT
    user = resource.status.get("runAsUser", found.target.security.get("runAsUser"))
    order = Order(
        owner=resource.key,
        uid=resource.uid,
        spec=resource.spec,
        chosen=chosen,
        tags=access.tags(resource.namespace, found.name, context.clusters.installation)
        if found.name
        else access.tags_of_project(resource.namespace, context.clusters.installation),
        target=found.target,
        access=access.access(found.repository.name, resource.namespace, found.repository.spec),
        image=context.runner_image,
        timeout=timeout,
        volume=volume,
        claim=found.seen.claims.get(volume.claim) if volume is not None else None,
        user=user,
    )
    verify = (found.backup.spec.verify if found.backup is not None else None) or Verify()
    drill = Drill(order, verify, mounted, found.seen.claims) if plan.is_drill(resource) else None
    world = replace(world, order=order, chosen=chosen, quiesces=_quiesces(resource, found, order, context))
    wanted = drilljob.children(drill) if drill is not None else _children(order, found)
    if isinstance(wanted, Outcome):
        return replace(world, problem=wanted)
    return replace(world, wanted=wanted, proves=drill is not None and not verify.restore)


def _children(order: Order, found: Found) -> tuple[Child, ...] | Outcome:
    return restorejob.taken(order, found.seen.claims) or restorejob.children(order)


def _chosen(resource: Restore, found: Found, context: Context) -> Chosen | Outcome:
    """The run: chosen once, and then as the status has it."""
    status, spec = resource.status, resource.spec
    began = status.get("startedAt")
    if status.get("run"):
        return Chosen(str(status["run"]), str(status.get("snapshot") or ""), str(status.get("time") or ""))
    known: Mapping[str, Any] = {} if began or found.backup is None else found.backup.status
    return choosing.choose(spec, known, _parts(resource, context), began or times.text(context.now()))


def _parts(resource: Restore, context: Context) -> dict[str, str]:
    """The ids of further snapshots, as far as BackupRuns are there to tell, and their runs."""
    if resource.spec.backup_ref is None:
        return {}
    out: dict[str, str] = {}
    for run in context.store.valid("BackupRun", resource.namespace):
        if run.spec.backup_ref.name == resource.spec.backup_ref.name:
            parts = run.status.get("parts") or ()
            out |= {str(part["snapshot"]): run.name for part in parts if part.get("snapshot")}
    return out


def _mounted(found: Found) -> list[Mounted]:
    workload = next((one for one in found.seen.objects if one["kind"] in WORKLOADS), None)
    return volumes.of(workload, found.target.component) if workload is not None else []


def _volume(found: Found, mounted: Sequence[Mounted]) -> Mounted | Outcome | None:
    """The volume that holds the target's data. A Redis is read over the network, and restored into its volume."""
    if found.target.volume is not None:
        return found.target.volume
    if found.target.method != "Redis":
        return None
    wanted = found.source.volume
    there = [one for one in mounted if wanted is None or one.name == wanted]
    if len(there) == 1:
        return there[0]
    names = ", ".join(one.name for one in mounted) or "none"
    return Stalled(
        Reason.INVALID_SPEC,
        f"component {found.target.component} has the volumes {names}; a Redis is restored into the one that it starts "
        "from: name it in the Backup's spec.source.volume",
    )


def _quiesces(resource: Restore, found: Found, order: Order, context: Context) -> tuple[str, ...]:
    target = resource.spec.target
    if target is None or target.in_place is None or not target.in_place.quiesce or found.application is None:
        return ()
    named = plan.quiesced(found.application, found.target.environment, found.target.component, found.target.method)
    return tuple(dict.fromkeys((*named, *atrest.users(order, context))))
