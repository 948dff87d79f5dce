"""BackupRuns that a Job with the backup runner carries out, in the phases of ``runphases``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from homeport.api.backup import BackupSpec
from homeport.api.backuprun import BackupRunSpec
from homeport.api.conditions import Reason
from homeport.api.labels import OwnerKey
from homeport.api.resource import Resource
from homeport.drivers.kubernetes import types
from homeport.engine import observe
from homeport.engine.backups import hooks, manifests, results, runphases, sources, turns
from homeport.engine.backups.runphases import AFTER, BEFORE, LOOK_AGAIN, RUNNING, SNAPSHOTTING, BackupHooks, RunWorld
from homeport.engine.context import Context
from homeport.engine.plainkind import Plain
from homeport.engine.report import kept_fields
from homeport.outcome import Ok, Outcome, Stalled, Wait
from homeport.plan.agent import AgentId
from homeport.plan.backup import access, runnerjob, snapshots, steps
from homeport.plan.backup import run as plan
from homeport.plan.backup.resolving import resolve
from homeport.plan.backup.runnerjob import RunnerJob
from homeport.plan.backup.snapshots import Reading, Snapshot
from homeport.plan.backup.source import Source, SourceWorld
from homeport.plan.names import seconds
from homeport.plan.world import ChildKey, Desired, Live, Report

Run = Resource[BackupRunSpec]


class KubernetesRun(Plain):
    """Runs by Jobs."""

    def observe(self, resource: Run, context: Context) -> RunWorld:
        """Its Job and what is beside that."""
        return RunWorld(context.now(), observe.children(context.clusters, resource.key))

    async def prepare(self, resource: Run, world: RunWorld, context: Context) -> RunWorld:
        """What the phase needs to know: what is to be done, what came of hooks, or how the Job is."""
        phase = resource.status.get("phase")
        if phase in plan.OVER:
            return world
        backup = sources.backup(resource.namespace, resource.spec.backup_ref.name, context)
        if phase == RUNNING and (there := _job(world.live)) is not None:
            cluster, found = there
            state = await results.look(found, context.clusters[cluster], world.now)
            return replace(world, state=state, hooks=_hooks(backup))
        if not isinstance(backup, Resource):
            # What was to be done after it went with the Backup.
            return replace(world, problem=None if phase == AFTER else backup, hooks=BackupHooks(states=()))
        seen = await sources.look(resource.namespace, backup.spec.source, resource.key, context)
        source = resolve(resource.namespace, backup.spec.source, backup.spec.method, seen, _reading(resource, backup))
        known = replace(world, hooks=_hooks(backup), timeout=seconds(backup.spec.timeout))
        if phase in (BEFORE, AFTER):
            return replace(known, hooks=_run_hooks(resource, backup.spec, str(phase), source, context))
        if not isinstance(source, Source):
            return replace(known, problem=source)
        if (snapshot := Snapshot.of(resource.status)) is not None:
            known, source = _held(known, seen, backup, source, snapshot, context)
        begun = phase in (SNAPSHOTTING, RUNNING)
        restoring = turns.restoring(resource.namespace, backup.spec.source, context) if not begun else None
        job = restoring or await _begin(resource, backup, source, context)
        return replace(known, job=job) if isinstance(job, RunnerJob) else replace(known, problem=job)

    def desired(self, resource: Run, world: RunWorld, context: Context) -> Desired:
        """The Job while it runs, and the snapshot that it reads; nothing once its result is written down."""
        phase = resource.status.get("phase")
        if phase not in (SNAPSHOTTING, RUNNING) or world.elsewhere:
            return Desired()
        if world.job is None:
            # It is at work, or can't be told; what is there stays.
            return Desired(complete=False)
        snapshot, source = Snapshot.of(resource.status), world.job.source
        held = (
            snapshots.children(snapshot, resource.key, source, world.original, served=world.snapshots)
            if snapshot is not None and source is not None
            else ()
        )
        return Desired(children=(*held, *(runnerjob.children(world.job) if phase == RUNNING else ())))

    def status(
        self, resource: Run, world: RunWorld, desired: Desired, report: Report
    ) -> tuple[dict[str, Any], Outcome]:
        """The next phase, or how far this one is."""
        return runphases.status(resource, kept_fields(resource)[0], world, report)

    async def after(self, resource: Run, world: RunWorld, desired: Desired, outcome: Outcome, context: Context) -> None:
        """What is known of hooks is let go of when they are done."""
        if world.hooks is not None and world.hooks.states is not None:
            context.hooks.forget(resource.key)


async def leave(resource: Run, context: Context) -> Outcome:
    """A run that goes while it is under way: what is to be done after it is done. Ok when nothing is left to do.

    Raises ApiError when its source can't be read.
    """
    if resource.spec is None or resource.status.get("phase") not in (BEFORE, SNAPSHOTTING, RUNNING, AFTER):
        return Ok()
    backup = sources.backup(resource.namespace, resource.spec.backup_ref.name, context)
    if not isinstance(backup, Resource) or not _hooks(backup).after:
        return Ok()
    seen = await sources.look(resource.namespace, backup.spec.source, resource.key, context)
    source = resolve(resource.namespace, backup.spec.source, backup.spec.method, seen)
    states = _run_hooks(resource, backup.spec, AFTER, source, context).states
    if states is None:
        return Wait(Reason.TERMINATING, "hooks run after it", LOOK_AGAIN)
    return Ok(hooks.failure(states))


def _job(live: Mapping[ChildKey, Live]) -> tuple[str, Live] | None:
    found = [(cluster, body) for (cluster, name), body in live.items() if name.kind == "Job"]
    return found[0] if found else None


def _reading(resource: Run, backup: Resource[BackupSpec]) -> Reading:
    """How its volume is read: decided when it begins, and written down."""
    if resource.status.get("phase") in (None, "Pending"):
        return snapshots.reading(backup.spec.files)
    snapshot = Snapshot.of(resource.status)
    return Reading(taken=snapshot.class_name) if snapshot is not None else snapshots.LIVE


def _held(
    world: RunWorld, seen: SourceWorld, backup: Resource[BackupSpec], source: Source, snapshot: Snapshot,
    context: Context,
) -> tuple[RunWorld, Source]:  # fmt: skip
    """With a snapshot: what is known of it, and the source as it is read from there."""
    served = context.clusters[source.cluster].has(types.VOLUME_SNAPSHOT)
    only = backup.spec.files is not None and backup.spec.files.snapshot == "Always"
    known = replace(world, original=seen.claims.get(snapshot.claim), snapshots=served, only_snapshots=only)
    return known, snapshots.instead(source, snapshot)


def _hooks(backup: Resource[BackupSpec] | Outcome) -> BackupHooks:
    given = backup.spec.hooks if isinstance(backup, Resource) else None
    return BackupHooks(len(given.before), len(given.after)) if given is not None else BackupHooks()


def _run_hooks(
    resource: Run, backup: BackupSpec, phase: str, source: Source | Outcome, context: Context
) -> BackupHooks:
    """The hooks of a phase: begun, at work, or over."""
    given = backup.hooks
    assert given is not None or phase in (BEFORE, AFTER)
    wanted = () if given is None else given.before if phase == BEFORE else given.after
    counts = BackupHooks(len(given.before), len(given.after)) if given is not None else BackupHooks()
    if not wanted:
        return replace(counts, states=())

    async def execute(command: Sequence[str], limit: float) -> int:
        if not isinstance(source, Source):
            raise hooks.HookError(source.message)
        return await execute_in(source, command, limit, context)

    return replace(counts, states=context.hooks.look(resource.key, phase.lower(), wanted, execute))


async def execute_in(source: Source, command: Sequence[str], limit: float, context: Context) -> int:
    """Run a command beside what is backed up: its exit code. Raises ApiError, TimeoutError and HookError."""
    if source.containers:
        name = source.containers[0]
        vmid = context.store.status(OwnerKey("LXCContainer", source.namespace, name)).get("vmid")
        if not vmid:
            raise hooks.HookError(f"the container {name} isn't there")
        said = await context.agents.exec(AgentId(source.namespace, name, int(vmid)), command, limit)
        if said.timed_out:
            raise TimeoutError
        if said.exit_code < 0:
            raise hooks.HookError(said.error)
        return said.exit_code
    if not source.pod:
        raise hooks.HookError(f"no Pod of component {source.component} runs")
    client = context.clusters[source.cluster].client
    return (await client.exec(source.namespace, source.pod, source.container, command, limit)).exit_code


async def _begin(resource: Run, backup: Resource[BackupSpec], source: Source, context: Context) -> RunnerJob | Outcome:
    """The Job that is to be made, or why there can be none."""
    spec = backup.spec
    found = sources.repository(resource.namespace, spec.repository_ref.name, source.environment, context)
    if not isinstance(found, Resource):
        return found
    if (problem := steps.mismatch(backup, source, found)) is not None and source.runtime != "Proxmox":
        return problem
    if source.runtime == "Proxmox":
        return Stalled(
            Reason.INVALID_SPEC,
            f"BackupRepository {found.name} holds no containers; name one that is a storage of Proxmox VE, or write "
            "spec.method for a dump of the server that runs in the container: Postgres, MySQL or Redis",
        )
    if not context.runner_image:
        text = "the operator knows no image of the backup runner; start it with --runner-image"
        return Stalled(Reason.INVALID_SPEC, text)
    where = access.access(found.name, resource.namespace, found.spec)
    verified = str((backup.status.get("verified") or {}).get("run") or "")
    restoring = any(
        one.spec.backup_ref is not None and one.spec.backup_ref.name == backup.name and not plan.over(one.status)
        for one in context.store.valid("Restore", resource.namespace)
    )
    dropped = plan.rules(resource, spec, verified, restoring)
    inputs: Mapping[str, bytes] = {}
    paths: Mapping[str, Any] = {}
    if source.method == "Manifests":
        home = sources.home(resource.namespace, found, resource.key, context)
        if not isinstance(home, Source):
            return home
        source = home
        stream = await manifests.read(resource.namespace, context)
        if not isinstance(stream, bytes):
            return stream
        inputs, paths = {manifests.FILE: stream}, {"paths": [f"{runnerjob.INPUT}/{manifests.FILE}"]}
    return RunnerJob(
        name=runnerjob.named("run", resource.name),
        owner=resource.key,
        image=context.runner_image,
        namespace=source.namespace,
        job=plan.document(resource, source, context.clusters.installation, paths, dropped),
        access=where,
        timeout=seconds(spec.timeout),
        environment=source.environment,
        cluster=source.cluster,
        source=source,
        input=inputs,
    )
