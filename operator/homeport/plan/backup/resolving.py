"""What a Backup's source is right now: where it runs, by which method it is read, how it is reached. Pure.

It is read off the objects that are there, not off the Application: they have what catalog items, overrides and patches
made of it, and they are what holds the data.
"""

from __future__ import annotations

from dataclasses import replace

from homeport.api.backup import BackupSource
from homeport.api.conditions import Reason
from homeport.outcome import Outcome, Stalled, Wait
from homeport.plan.backup import connection, pods, volumes
from homeport.plan.backup.program import Program, main_container, of_container, of_pod
from homeport.plan.backup.servers import with_server
from homeport.plan.backup.snapshots import LIVE, Reading
from homeport.plan.backup.source import Source, SourceWorld
from homeport.plan.types import Place

WORKLOADS = ("Deployment", "StatefulSet", "CronJob")
CONTAINER = "LXCContainer"
SERVERS = frozenset(connection.PORTS)
ON_VOLUMES = frozenset({"SQLite", "Files"})
LOOK_AGAIN = 15.0
"""Seconds after which is looked again at what nobody tells of: a Pod that is to be there."""


def resolve(
    namespace: str, source: BackupSource, method: str | None, world: SourceWorld, reading: Reading = LIVE
) -> Source | Outcome:
    """What ``source`` of a Backup in ``namespace`` is. An outcome says what is missing, or what to write instead.
    ``reading``: how a run reads a volume of files; whoever restores mounts the volume itself."""
    if source.project:
        return Source("Kubernetes", "Manifests", namespace=namespace)
    if source.container is not None:
        if not world.container:
            return Wait(
                Reason.DEPENDENCY_NOT_READY,
                f"LXCContainer {source.container} doesn't exist in namespace {namespace}; create it, and this goes on "
                "by itself",
            )
        return Source("Proxmox", "Container", namespace=namespace, containers=(source.container,))
    return world.missing or _component(source, method, world, reading)


def _component(source: BackupSource, method: str | None, world: SourceWorld, reading: Reading) -> Source | Outcome:
    if not world.application:
        text = f"Application {source.application} doesn't exist; create it, and this goes on by itself"
        return Wait(Reason.DEPENDENCY_NOT_READY, text)
    place = world.place
    assert place is not None
    if place.on_proxmox:
        return _on_proxmox(source, method, world, place)
    workload = next((found for found in world.objects if found["kind"] in WORKLOADS), None)
    if workload is None:
        return _nothing(source, world)
    template = pods.pod_template(workload)
    program = of_pod(template, str(source.component))
    if method == "Container":
        return _stalled(
            "spec.method: Container is for LXC containers, and the environment runs Pods; write Postgres, MySQL, "
            "SQLite, Redis or Files, or leave it out"
        )
    found = _method(method, program)
    if isinstance(found, Outcome):
        return found
    metadata = workload["metadata"]
    common = Source(
        "Kubernetes",
        found,
        place.name,
        str(source.application),
        str(source.component),
        place.cluster,
        place.namespace,
        place.spec.isolation == "Strict",
        image=program.image,
        selector=pods.selector(workload),
        pod=pods.first_running(world.pods, ""),
        container=main_container(template, str(source.component))["name"],
        workload=(workload["kind"], metadata["name"]),
        security=pods.security(template, world.pods, str(source.component)),
        template=template,
    )
    if found in SERVERS:
        return with_server(common, source, program, world)
    return volumes.with_volume(common, source, workload, world, reading)


def _on_proxmox(source: BackupSource, method: str | None, world: SourceWorld, place: Place) -> Source | Outcome:
    guests = [found for found in world.objects if found["kind"] == CONTAINER]
    if not guests:
        return _nothing(source, world)
    common = Source(
        "Proxmox",
        "Container",
        place.name,
        str(source.application),
        str(source.component),
        place.cluster,
        place.namespace,
        containers=tuple(sorted(found["metadata"]["name"] for found in guests)),
    )
    if method in (None, "Container"):
        return common
    if method in ON_VOLUMES:
        return _stalled(
            f"spec.method: {method} reads a volume, and that of an LXC container is out of the cluster's reach; leave "
            "method out to back up the whole container"
        )
    program = of_container(guests[0])
    found = _method(method, program)
    if isinstance(found, Outcome):
        return found
    server = replace(common, runtime="Kubernetes", method=found, image=program.image)
    return with_server(server, source, program, world)


def _nothing(source: BackupSource, world: SourceWorld) -> Outcome:
    what = f"component {source.component} of Application {source.application} in environment {source.environment}"
    if world.components and source.component not in world.components:
        return Stalled(Reason.INVALID_SPEC, f"there is no {what}; there are {', '.join(sorted(world.components))}")
    return Wait(Reason.DEPENDENCY_NOT_READY, f"nothing runs of {what} yet", LOOK_AGAIN)


def _stalled(text: str) -> Stalled:
    return Stalled(Reason.INVALID_SPEC, text)


def _method(wanted: str | None, program: Program) -> str | Outcome:
    """The method for an image. Never Files by default: a copy of files that somebody writes may be no backup at all."""
    told = connection.method_of(program.image)
    if wanted is None:
        return told or _stalled(
            f"the image {program.image} doesn't tell how its data is backed up; write spec.method: Postgres, MySQL or "
            "Redis for such a server, SQLite (with source.paths) for files of SQLite, or Files for a volume "
            "whose files may be copied while they are in use"
        )
    if told is None or told == wanted:
        return wanted
    if wanted in ON_VOLUMES:
        return _stalled(
            f"spec.method: {wanted} copies files, and those of the server in {program.image} change while they are "
            f"copied; write {told}, or leave it out"
        )
    return _stalled(
        f"spec.method: {wanted} doesn't fit the image {program.image}; write {told}, or leave it out to have that told "
        "by the image"
    )
