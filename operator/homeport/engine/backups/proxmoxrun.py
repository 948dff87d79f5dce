"""BackupRuns of containers: vzdump by their host, one step a reconciliation.

======== ================================================================ =======================
phase    what is done                                                     where
======== ================================================================ =======================
Pending  the containers are chosen and written down, one part each        here
Before   the hooks before it run                                          here
Running  for each part: the task is written down, asked for, followed;    ``proxmoxdump``
         its log is read, and the archive is looked for by the mark in
         its notes; then the hooks after it run
After    what retention lets go is removed, one archive at a time; the    ``proxmoxafter``
         archives are listed
======== ================================================================ =======================

A container whose task isn't known (a crash) is told by the task's log, which has our mark in its first line.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from homeport.api.backup import BackupSpec
from homeport.api.backupparts import HookState, RunPart
from homeport.api.conditions import Reason
from homeport.api.labels import OwnerKey
from homeport.drivers.proxmox import errors
from homeport.engine.backups import hooks, hosttasks, proxmoxafter, proxmoxdump, proxmoxlate, proxmoxplace
from homeport.engine.backups.hosttasks import OVER, POLL, Sought
from homeport.engine.backups.kubernetesrun import execute_in
from homeport.engine.backups.proxmoxplace import Container, Ground
from homeport.engine.backups.proxmoxrunning import Run, Running, verdict
from homeport.engine.context import Context
from homeport.engine.lxc import doing
from homeport.engine.lxc.ground import owner_of
from homeport.outcome import Outcome, Stalled, Wait
from homeport.plan.backup import times, vzdump
from homeport.plan.backup.source import Source
from homeport.plan.lxc import owner as owners
from homeport.plan.names import seconds


def concerns(resource: Run, context: Context) -> bool:
    """Whether vzdump takes it: its Backup's repository is a storage of Proxmox VE."""
    if resource.status.get("method") == "Container":
        return True
    backup, _ = context.store.look(OwnerKey("Backup", resource.namespace, resource.spec.backup_ref.name))
    if backup is None or backup.spec is None:
        return False
    if backup.spec.source.container is not None:
        return True
    repository = proxmoxplace.repository_of(resource.namespace, backup.spec.repository_ref.name, context)
    return repository is not None and repository.spec.proxmox is not None


async def seek(resource: Run, context: Context) -> Sought:
    """One reconciliation: look, do at most one thing."""
    running = Running(resource, context)
    try:
        outcome = await _go(running)
    except errors.ProxmoxError as error:
        outcome = doing.told(error, running.host, context)
        if isinstance(outcome, Stalled):
            outcome = running.refused(str(error))
    return Sought(hosttasks.fields(running.status), outcome)


async def _go(running: Running) -> Outcome:
    if running.status.phase in OVER:
        return verdict(running.status)
    on = _ground(running)
    if not isinstance(on, Ground):
        return on
    running.host = on.host
    if not running.status.parts:
        return await _begin(running, on)
    if _is_late(running, on.spec) and not all(part.done for part in running.status.parts):
        return await proxmoxlate.late(running, on, f"it took longer than {_timeout(on.spec)}")
    if running.status.phase == "Before":
        return _hooked(running, on, "before", "Running")
    number = next((number for number, part in enumerate(running.status.parts) if not part.done), None)
    if number is not None:
        return await proxmoxdump.part(running, on, number)
    if running.status.phase != "After":
        return _hooked(running, on, "after", "After")
    return await proxmoxafter.after(running, on)


def _ground(running: Running) -> Ground | Outcome:
    name = running.resource.spec.backup_ref.name
    backup, error = running.context.store.look(OwnerKey("Backup", running.resource.namespace, name))
    if backup is None or error is not None:
        return Wait(Reason.DEPENDENCY_NOT_READY, f"Backup {name} doesn't exist, or not as written", 30.0)
    spec = backup.spec
    return proxmoxplace.ground(
        running.resource.namespace, name, spec.repository_ref.name, spec, running.key, running.context
    )  # fmt: skip


async def _begin(running: Running, on: Ground) -> Outcome:
    """Choose the containers, and say what can be said before anything is done."""
    assert on.spec is not None
    found = proxmoxplace.containers(on.spec, running.resource.namespace, running.context)
    if isinstance(found, Outcome):
        return found
    parts, notes, uncovered = [], list(await _conflicts(running, on)), list[str]()
    obstacles = {}
    for container in found:
        place = proxmoxplace.placed(container, on)
        if isinstance(place, Outcome):
            return place
        vmid, node = place
        config = await on.driver.config(node, vmid)
        if not _may(container, config.description, vmid, running.context):
            return running.failed("NotOurs", f"container {vmid} isn't LXCContainer {container.name}'s any more")
        obstacles[container.name] = vzdump.not_restorable(config)
        uncovered += [f"{container.name}: {entry}" for entry in vzdump.left_out(config)]
        parts.append(RunPart(part=container.name, container=container.name, vmid=vmid))
    if why := vzdump.obstacles(obstacles):
        notes.append(f"{Reason.NOT_RESTORABLE_BY_TOKEN}: {why}")
    now = times.text(running.context.now())
    hooked = on.spec.hooks is not None and bool(on.spec.hooks.before)
    running.remember(
        phase="Before" if hooked else "Running", started_at=now, run=running.resource.name, method="Container",
        parts=tuple(parts), attempts=1, notes=tuple(notes[:64]), not_covered=tuple(uncovered[:64]),
    )  # fmt: skip
    return Wait(Reason.PROGRESSING, f"backs up {', '.join(part.part for part in parts)}", 0.0)


async def _conflicts(running: Running, on: Ground) -> list[str]:
    """What else removes backups there."""
    nodes, _ = on.nodes()
    try:
        found = await on.driver.storage_retention(nodes[0], on.storage)
    except errors.ProxmoxError:
        return []
    out = []
    if found.keeps:
        out.append(
            f"storage {on.storage} has a retention of its own ({found.keeps}), which goes by VMID: backups fail "
            "once it is full; set its prune-backups to keep-all=1"
        )
    if found.jobs:
        out.append(
            f"backup job {', '.join(found.jobs)} of Proxmox VE prunes storage {on.storage} by VMID, Homeport's "
            "backups too; set its retention to keep-all=1"
        )
    return out


def _hooked(running: Running, on: Ground, when: str, following: Any) -> Outcome:
    """Run the hooks in the first container, by its agent; those after a run whatever came of it."""
    assert on.spec is not None
    wanted = getattr(on.spec.hooks, when) if on.spec.hooks is not None else ()
    states: list[hooks.State] | None = []
    if wanted:
        states = running.context.hooks.look(running.key, when, wanted, _execute(running, on))
    if states is None:
        return Wait(Reason.PROGRESSING, f"hooks {when} it run", POLL)
    told = tuple(HookState.model_validate(state) for state in states)
    running.remember(phase=following, hooks=(*running.status.hooks, *told))
    if (why := hooks.failure(states)) and when == "before":
        failed = tuple(part.model_copy(update={"done": True, "reason": "HookFailed"}) for part in running.status.parts)
        running.remember(parts=failed, reason="HookFailed", message=why)
    elif why:
        running.note(why)  # what is saved is good
    if when == "after":
        running.context.hooks.forget(running.key)
    return Wait(Reason.PROGRESSING, f"hooks {when} it are done", 0.0)


def _execute(running: Running, on: Ground) -> hooks.Execute:
    part, spec = running.status.parts[0], on.spec
    container = proxmoxplace.named(str(part.container), spec, running.resource.namespace, running.context)
    namespace = container.namespace if container is not None else running.resource.namespace
    source = Source("Proxmox", "Container", namespace=namespace, containers=(str(part.container),))

    async def execute(command: Sequence[str], limit: float) -> int:
        return await execute_in(source, command, limit, running.context)

    return execute


def _is_late(running: Running, spec: BackupSpec | None) -> bool:
    if running.status.started_at is None:
        return False
    begun = datetime.fromisoformat(running.status.started_at)
    return running.context.now() - begun > timedelta(seconds=seconds(_timeout(spec)))


def _timeout(spec: BackupSpec | None) -> str:
    return spec.timeout if spec is not None else "24h"


def _may(container: Container, description: str, vmid: int, context: Context) -> bool:
    """Whether it is the container's; one that is only observed carries no mark."""
    if container.spec is not None and container.spec.management_policy == "Observe":
        return True
    return owners.is_ours(description, owner_of(container, vmid, context))
