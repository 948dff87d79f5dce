"""BackupRepositories as the reconciler sees them: made once, looked after by schedule, and told when they can't be."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace
from typing import Any, NamedTuple

from homeport.api.backuprepository import BackupRepositorySpec
from homeport.api.conditions import Reason
from homeport.api.labels import OwnerKey
from homeport.api.resource import Resource
from homeport.drivers.kubernetes import types
from homeport.engine import observe
from homeport.engine.backups import results, sources, storages
from homeport.engine.context import Context
from homeport.engine.plainkind import Plain
from homeport.engine.queue import RESYNC
from homeport.outcome import Outcome, Stalled, worst
from homeport.plan.backup import access as accesses
from homeport.plan.backup import maintenance, repositorystatus
from homeport.plan.backup import repository as plan
from homeport.plan.backup.backup import FINISHED
from homeport.plan.backup.repository import RepositoryWorld
from homeport.plan.types import ObjectId, Place
from homeport.plan.world import Desired, Report

Repository = Resource[BackupRepositorySpec]

FINGERPRINT = 16
"""Hexadecimal digits; of a password that nobody could guess, they tell nothing."""


def backups_of(repository: Repository, context: Context) -> list[str]:
    """The Backups that name it."""
    found = context.store.keys("Backup", repository.namespace)
    specs = {key.name: (context.store.body(key) or {}).get("spec") or {} for key in found}
    return sorted(
        name for name, spec in specs.items() if (spec.get("repositoryRef") or {}).get("name") == repository.name
    )


def _is_read(repository: Repository, context: Context) -> bool:
    """Whether a Restore or a drill that has begun reads it."""
    named = backups_of(repository, context)
    for one in context.store.valid("Restore", repository.namespace):
        if one.status.get("phase") in (None, "Pending", *FINISHED):
            continue
        source = one.spec.source
        if (source is not None and source.repository_ref.name == repository.name) or (
            one.spec.backup_ref is not None and one.spec.backup_ref.name in named
        ):
            return True
    return False


class Placed(NamedTuple):
    """Where Jobs run that are about a repository alone."""

    namespace: str
    cluster: str = ""
    environment: str = ""


def placed(repository: Repository, waiting: OwnerKey, context: Context) -> Placed | Outcome:
    """Beside it, or where its volume is; who waits is woken when that can be used."""
    if repository.spec.filesystem is None:
        return Placed(repository.namespace)
    place = sources.place(repository.namespace, repository.spec.environments[0], waiting, context)
    return Placed(place.namespace, place.cluster, place.name) if isinstance(place, Place) else place


class RepositoryKind(Plain):
    """BackupRepositories."""

    def observe(self, resource: Repository, context: Context) -> RepositoryWorld:
        """Its Secrets and objects, and where its Jobs run."""
        project = observe.project_of(context.store, resource.namespace)
        world = RepositoryWorld(
            now=context.now(),
            backups=backups_of(resource, context),
            restoring=_is_read(resource, context),
            archived=project is not None and project.spec.archived,
            live=observe.children(context.clusters, resource.key),
        )
        if resource.spec.proxmox is not None:
            return world
        seen = observe.SeenVersions(context.cluster, resource.namespace, resource.key, context.readers)
        versions = {name: found for name in plan.secrets(resource) if (found := seen.get(("Secret", name))) is not None}
        made = plan.password_secret(resource)
        key = made is not None and seen.get(("Secret", made)) is not None
        world = replace(world, versions=versions, key=key, image=context.runner_image)
        return self._placed(resource, world, context)

    def _placed(self, resource: Repository, world: RepositoryWorld, context: Context) -> RepositoryWorld:
        """Where its Jobs run, and what they lack."""
        place = placed(resource, resource.key, context)
        if isinstance(place, Outcome):
            return replace(world, held=place)
        world = replace(world, namespace=place.namespace, cluster=place.cluster, environment=place.environment)
        held = plan.missing(resource, world)
        if held is None and not world.image:
            text = "the operator knows no image of the backup runner; start it with --runner-image"
            held = Stalled(Reason.INVALID_SPEC, text)
        return replace(world, held=held)

    async def prepare(self, resource: Repository, world: RepositoryWorld, context: Context) -> RepositoryWorld:
        """A new key's fingerprint, how the task's Job is, and what a storage of Proxmox VE says."""
        if resource.spec.proxmox is not None:
            held, conflict = await storages.look(resource, context)
            return replace(world, held=held, conflict=conflict)
        made = plan.password_secret(resource)
        if made is not None and world.key and not resource.status.get("keyFingerprint"):
            world = replace(world, fingerprint=await self._fingerprint(resource.namespace, made, context))
        task = resource.status.get("task")
        if not task:
            return world
        found = world.live.get((world.cluster, ObjectId(world.namespace, str(task["job"]), "batch", "Job")))
        if found is None:
            return world
        state = await results.look(found, context.clusters[world.cluster], context.now())
        return replace(world, begun=True, result=state.result, trouble=state.trouble)

    async def _fingerprint(self, namespace: str, name: str, context: Context) -> str:
        found = await context.cluster.client.get(types.SECRET, namespace, name)
        password = ((found or {}).get("data") or {}).get(accesses.PASSWORD)
        return hashlib.sha256(base64.b64decode(password)).hexdigest()[:FINGERPRINT] if password else ""

    def desired(self, resource: Repository, world: RepositoryWorld, context: Context) -> Desired:
        """The Secret of a generated password, and the Job of what is being done."""
        if resource.spec.proxmox is not None:
            return Desired()
        unplaced = resource.spec.filesystem is not None and not world.namespace
        return Desired(plan.children(resource, world), complete=not unplaced and not world.begun)

    def status(
        self, resource: Repository, world: RepositoryWorld, desired: Desired, report: Report
    ) -> tuple[dict[str, Any], Outcome]:
        """Whether it can be used, and when it was looked after."""
        table = maintenance.timetable(resource.spec)
        invalid = table if isinstance(table, Stalled) else None
        schedules = {} if isinstance(table, Stalled) else table
        found = repositorystatus.fields(resource, world, schedules, world.held is None and invalid is None)
        outcome = invalid or repositorystatus.outcome(resource, world, found)
        return found, worst([*report.problems, outcome]) if report.problems else outcome

    async def after(
        self, resource: Repository, world: RepositoryWorld, desired: Desired, outcome: Outcome, context: Context
    ) -> None:
        """Look again when something is due; at once, when what was written just now is to be acted on."""
        table = maintenance.timetable(resource.spec)
        schedules = {} if isinstance(table, Stalled) else table
        found = repositorystatus.fields(
            resource, world, schedules, world.held is None and not isinstance(table, Stalled)
        )
        if found.get("task") != resource.status.get("task"):
            context.look_again_at_once(resource.key, RESYNC)
            return
        seconds = maintenance.next_look(resource, world, found)
        if seconds is not None:
            context.enqueue(resource.key, RESYNC, seconds)
