"""What a Restore in place has at rest: whether all of it has ended, and whether it runs again."""

from __future__ import annotations

from collections.abc import Container, Iterable
from datetime import timedelta

from homeport.api import labels
from homeport.api.conditions import Health
from homeport.api.labels import OwnerKey
from homeport.api.resource import Resource
from homeport.api.restore import RestoreSpec
from homeport.drivers.kubernetes import types
from homeport.engine import observe
from homeport.engine.context import Context
from homeport.plan import render
from homeport.plan.backup import restorejob, runnerjob, times, volumes
from homeport.plan.backup.restore import RestoreWorld
from homeport.plan.backup.restorejob import Order
from homeport.plan.health import verdict
from homeport.plan.world import Live

Restore = Resource[RestoreSpec]
PATIENCE = timedelta(minutes=10)
"""How long what was at rest is waited for; the restore is done either way."""
_SCALED = ("Deployment", "StatefulSet")
_USERS = (types.DEPLOYMENT, types.STATEFUL_SET, types.CRON_JOB)
_ENDED = ("Succeeded", "Failed")


def _workloads(
    entries: Iterable[str], resource: Restore, context: Context, kinds: Container[str] = _SCALED
) -> list[tuple[str, str, str, Live]]:
    """(application, environment, component, its workload) of what is to be at rest."""
    out = []
    for entry in entries:
        application, environment, component = entry.split("/")
        key = OwnerKey("Application", resource.namespace, application)
        for _, body in observe.children(context.clusters, key).items():
            marks = body["metadata"].get("labels") or {}
            named = (marks.get(labels.ENVIRONMENT), marks.get(labels.COMPONENT))
            if body["kind"] in kinds and named == (environment, component):
                out.append((application, environment, component, body))
    return out


def users(order: Order, context: Context) -> tuple[str, ...]:
    """Components that have the volume which is to be overwritten, whichever application they are of."""
    if order.volume is None or order.target.method not in restorejob.ON_VOLUMES:
        return ()
    cluster = context.clusters[order.target.cluster]
    out = set()
    for body in (found for gvk in _USERS for found in cluster.children_of(gvk)):
        owner, metadata = labels.owner_of(body, cluster.plane), body["metadata"]
        if owner is None or (owner.kind, owner.namespace) != ("Application", order.owner.namespace):
            continue
        if metadata["namespace"] == order.target.namespace and order.volume.claim in volumes.claims(body).values():
            marks = metadata["labels"]
            out.add(f"{owner.name}/{marks[labels.ENVIRONMENT]}/{marks[labels.COMPONENT]}")
    return tuple(sorted(out))


async def mounting(order: Order, context: Context) -> tuple[str, ...]:
    """Pods that have the volume which is to be overwritten and haven't ended, whosever they are. Raises ApiError."""
    if order.volume is None or order.target.method not in restorejob.ON_VOLUMES:
        return ()
    pods, _ = await context.clusters[order.target.cluster].client.list(types.POD, order.target.namespace)
    there = (pod for pod in pods if order.volume.claim in volumes.claims_of(pod).values() and not _ended(pod))
    return tuple(sorted(f"Pod {pod['metadata']['name']}" for pod in there))


def _begins_more(workload: Live) -> bool:
    spec = workload.get("spec") or {}
    return spec.get("suspend") is not True if workload["kind"] == "CronJob" else spec.get("replicas") != 0


def left(resource: Restore, context: Context) -> tuple[str, ...]:
    """What still runs, or is about to, of what is to be at rest."""
    entries = resource.status.get("quiesced") or ()
    out = [
        f"{body['kind']} {body['metadata']['name']}"
        for _, _, _, body in _workloads(entries, resource, context, (*_SCALED, "CronJob"))
        if _begins_more(body)
    ]
    for application, environment, component in (entry.split("/") for entry in entries):
        for _, cluster in context.clusters.connected(resource.namespace):
            for pod in cluster.pods(resource.namespace, application, environment):
                if (pod["metadata"].get("labels") or {}).get(labels.COMPONENT) == component and not _ended(pod):
                    out.append(f"Pod {pod['metadata']['name']}")
    return tuple(out)


async def writing(resource: Restore, context: Context) -> tuple[str, ...]:
    """Pods of its runner that haven't ended, wherever they are; those of no other Restore. Raises ApiError."""
    chosen = {
        labels.RUNNER: runnerjob.named("restore", resource.name),
        labels.PROJECT: resource.namespace,
        labels.OWNER_KIND: "Restore",
    }
    selector = ",".join(f"{name}={value}" for name, value in chosen.items())
    out = []
    for _, cluster in context.clusters.connected(resource.namespace):
        pods, _ = await cluster.client.list(types.POD, labels=selector)
        out += [pod["metadata"]["name"] for pod in pods if not _ended(pod)]
    return tuple(sorted(out))


def _ended(pod: Live) -> bool:
    return (pod.get("status") or {}).get("phase") in _ENDED


def waiting(resource: Restore, world: RestoreWorld, context: Context) -> str:
    """What was at rest and should run by now, and doesn't; nothing when that takes too long."""
    finished = times.moment(resource.status.get("finishedAt"))
    if finished is None or world.now - finished > PATIENCE:
        return ""
    for application, environment, component, body in _workloads(world.quiesces, resource, context):
        wanted = _wanted(OwnerKey("Application", resource.namespace, application), environment, component, context)
        resting = wanted and (body.get("spec") or {}).get("replicas") == 0
        if resting or verdict(body).health not in (Health.HEALTHY, Health.SUSPENDED):
            return f"{environment}/{component} to run again"
    return ""


def _wanted(key: OwnerKey, environment: str, component: str, context: Context) -> bool:
    """Whether a component is meant to run at all."""
    app, error = context.store.look(key)
    project = observe.project_of(context.store, key.namespace)
    if app is None or error is not None or (project is not None and project.spec.archived):
        return False
    found = [part for part in render.components_of(app.spec, environment) if part.name == component]
    return any(part.replicas != 0 for part in found)
