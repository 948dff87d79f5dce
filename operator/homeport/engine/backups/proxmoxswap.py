"""Restores of containers in place: saved first, restored beside, started once, and put in the original's place.

========= ============================================================================================
step      what is done
========= ============================================================================================
Before    a protected BackupRun saves what is there
Place …   it is restored beside, with its links down, and started once to see that it does
Halt      what was restored is stopped again; from here on (phase Swapping) the LXCContainer waits
Stop      the original is stopped
Release   the original gets the mark of what is kept, and doesn't start with the host any more
Move      volumes that backups leave out come over as they are: they aren't in the archive
Take      what was restored gets the original's mark, name, networks, addresses and MACs
Hand      the LXCContainer goes on with the other VMID, and starts it
Return    (called off: proxmoxcalloff.py) the original gets its mark back
Keep      the original is kept, stopped, until ``keepUntil``; then it is destroyed
========= ============================================================================================

Nothing is overwritten: up to ``Release`` the original is as it was, and after it both are there.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from homeport.api import conditions
from homeport.api.conditions import Reason
from homeport.api.labels import OwnerKey
from homeport.drivers.kubernetes import types
from homeport.engine.backups import proxmoxcalloff, proxmoxkept, proxmoxplace, refusals
from homeport.engine.backups.hosttasks import MOVE, POLL, SHUTDOWN, STOP
from homeport.engine.backups.proxmoxplace import Container, Ground
from homeport.engine.backups.proxmoxrestoring import Restoring
from homeport.engine.queue import RESYNC
from homeport.outcome import Ok, Outcome, Stalled, Wait
from homeport.plan.backup import proxmoxrestore, safetyrun, times
from homeport.plan.backup.proxmoxrestore import Scratch
from homeport.plan.lxc import owner as owners
from homeport.plan.lxc.owner import Owner
from homeport.plan.names import seconds
from homeport.plan.proxmox import properties
from homeport.plan.proxmox.config import ContainerConfig
from homeport.plan.proxmox.readings import Guest

READY = timedelta(minutes=15)
"""How long what was restored gets to become ready in its place."""
GRACE = 60
"""Seconds that a container gets to shut down."""
BEFORE = "homeport-restores"
"""The field manager of BackupRuns that are made here: the runs' own reconciler applies to them as ``homeport``."""


def objection(restoring: Restoring, on: Ground, parts: list[str]) -> Outcome | None:
    """What is in the way, before anything is done."""
    target = restoring.resource.spec.target
    assert target is not None and target.in_place is not None
    if len(parts) > 1:
        text = (
            f"the run has {len(parts)} containers ({', '.join(parts)}); name one archive as snapshot, one Restore each"
        )
        return Stalled(Reason.INVALID_SPEC, text)
    container = proxmoxplace.named(parts[0], on.spec, restoring.resource.namespace, restoring.context)
    if container is None:
        text = f"LXCContainer {parts[0]} isn't there to be restored in place; leave inPlace out"
        return Stalled(Reason.INVALID_SPEC, text)
    if target.in_place.confirm != container.uid:
        text = (
            f"inPlace.confirm isn't the UID of LXCContainer {parts[0]}, which would be replaced; kubectl get hplxc "
            f"{parts[0]} -o jsonpath='{{.metadata.uid}}' prints it"
        )
        return Stalled(Reason.CONFIRMATION_REQUIRED, text)
    if container.spec.vmid is not None and container.spec.adopt is None:
        text = (
            f"LXCContainer {parts[0]} pins vmid: {container.spec.vmid}, and what is restored has another; take vmid "
            "out of its spec, or restore beside it"
        )
        return Stalled(Reason.CONFIRMATION_REQUIRED, text)
    if container.spec.management_policy == "Observe" or container.spec.adopt is not None:
        text = f"LXCContainer {parts[0]} is taken over or only observed by its VMID; restore beside it"
        return Stalled(Reason.INVALID_SPEC, text)
    if not container.status.get("created") or container.status.get("replacing") is not None:
        return Wait(Reason.DEPENDENCY_NOT_READY, f"LXCContainer {parts[0]} is being made or replaced; waits", 15.0)
    return None


async def save(restoring: Restoring, on: Ground) -> Outcome:
    """A backup of what is there, which every retention keeps."""
    resource, context = restoring.resource, restoring.context
    name = f"{resource.name}-before"
    key = OwnerKey("BackupRun", resource.namespace, name)
    status = context.store.status(key)
    restoring.remember(before=name)
    there = context.store.body(key)
    if there is not None and not safetyrun.saved_by(there, resource):
        return safetyrun.taken(name)
    if there is None:
        backup, _ = context.store.look(OwnerKey("Backup", resource.namespace, on.backup))
        if backup is None:
            return Stalled(Reason.INVALID_SPEC, "a Restore in place needs its Backup, to save what is there first")
        body = safetyrun.safety_run(resource, backup, name)
        await context.cluster.client.apply(types.BACKUP_RUN, resource.namespace, name, body, manager=BEFORE)
        return Wait(Reason.PROGRESSING, f"BackupRun {name} saves what is there", 2.0)
    if status.get("phase") == "Succeeded":
        restoring.remember(step="Place", phase="Running")
        return Wait(Reason.PROGRESSING, f"what is there is saved by BackupRun {name}", 0.0)
    if status.get("phase") in ("Failed", "Incomplete"):
        text = f"what is there couldn't be saved, so nothing was changed: BackupRun {name}: {status.get('message')}"
        return restoring.failed(Reason.BACKUP_FAILED, text)
    return Wait(Reason.PROGRESSING, f"BackupRun {name} saves what is there", POLL)


async def step(restoring: Restoring, on: Ground) -> Outcome:
    """One step of the swap."""
    if restoring.status.step == "Keep":
        return await proxmoxkept.keep(restoring, on)
    container, vmid, node = proxmoxkept.container_of(restoring), restoring.status.vmid, restoring.status.node
    if container is None or vmid is None or node is None:
        return restoring.failed("Missing", "the LXCContainer was deleted meanwhile")
    new = await restoring.look(on, vmid, node)
    if new is None:
        return restoring.failed("Missing", f"what was restored as {vmid} was removed by somebody", clean=False)
    if restoring.status.step == "Halt":
        if proxmoxcalloff.asked(restoring):
            return proxmoxcalloff.over(restoring, container, f"called off before {container.name} was touched")
        return await _halt(restoring, on, container, vmid, node, new[0])
    if restoring.status.step == "Hand":
        return _hand(restoring, container, vmid)
    previous = restoring.status.previous_vmid
    assert previous is not None
    old = await restoring.look(on, previous, node)
    if old is None:
        return restoring.failed("Missing", f"the original {previous} was removed by somebody")
    restoring.context.enqueue(container.key, RESYNC, 0.0)
    if (turned := await proxmoxcalloff.turned(restoring, on, container, node, old[1], new[1])) is not None:
        return turned
    match restoring.status.step:
        case "Stop":
            return await _stop(restoring, on, previous, node, *old)
        case "Release":
            return await _release(restoring, on, container, previous, node, old[1])
        case "Move":
            return await _move(restoring, on, previous, vmid, node, old[1], new[1])
    return await _take(restoring, on, container, vmid, node, old[1], new[1])


async def _halt(
    restoring: Restoring, on: Ground, container: Container, vmid: int, node: str, guest: Guest
) -> Outcome:  # fmt: skip
    if guest.status == "running":
        if (why := restoring.ended_badly(STOP)) is not None:
            return restoring.failed("StopFailed", f"{vmid} can't be stopped: {why}")
        return await restoring.do(on, STOP, node, vmid, "POST", "lxc", vmid, "status", "stop")
    place = proxmoxplace.placed(container, on)
    if isinstance(place, Outcome):
        return place
    if place[1] != node:
        text = (
            f"{container.name} is on {place[1]}, and its archive was restored on {node}: volumes don't move between "
            "nodes; restore beside it instead"
        )
        return _given_up(restoring, "OtherNode", text)
    restoring.remember(step="Stop", phase="Swapping", previous_vmid=place[0])
    restoring.context.enqueue(container.key, RESYNC, 0.0)
    return Wait(Reason.PROGRESSING, f"{vmid} takes the place of {place[0]}", 0.0)


def _given_up(restoring: Restoring, reason: str, text: str) -> Outcome:
    restoring.remember(step="Start")  # what was made is destroyed as after a start that failed
    return restoring.failed(reason, text)


async def _stop(
    restoring: Restoring, on: Ground, vmid: int, node: str, guest: Guest, config: ContainerConfig
) -> Outcome:  # fmt: skip
    if guest.lock or config.lock:
        return Wait(Reason.LOCKED, f"container {vmid} is locked ({guest.lock or config.lock}); waits", 10.0)
    if guest.status != "running":
        restoring.remember(step="Release", task=None)
        return Wait(Reason.PROGRESSING, f"{vmid} is stopped", 0.0)
    if (why := restoring.ended_badly(SHUTDOWN)) is not None:
        return refusals.told(restoring.status, on.host, why)
    path = ("lxc", vmid, "status", "shutdown")
    return await restoring.do(on, SHUTDOWN, node, vmid, "POST", *path, timeout=GRACE, forceStop=True)


async def _release(
    restoring: Restoring, on: Ground, container: Container, vmid: int, node: str, config: ContainerConfig
) -> Outcome:  # fmt: skip
    mine = Owner(on.installation, container.namespace, container.name, vmid)
    if owners.is_left(config.description, mine) and not config.on_boot:
        restoring.remember(step="Move")
        return Wait(Reason.PROGRESSING, f"{vmid} is kept, stopped", 0.0)
    if not (owners.is_ours(config.description, mine) or owners.is_left(config.description, mine)):
        return restoring.failed("NotOurs", f"container {vmid} isn't LXCContainer {container.name}'s any more")
    tags = properties.tags_text((config.tags - {owners.TAG}) | {owners.RETAINED_TAG})
    kept = f"{owners.text(config.description)}\n\nreplaced by Restore {restoring.resource.name}".strip()
    options: dict[str, Any] = {
        "description": owners.described(kept, mine, retained=True),
        "tags": tags,
        "onboot": False,
    }
    await on.driver.configure(node, vmid, options, digest=config.digest)
    return Wait(Reason.PROGRESSING, f"{vmid} is kept, stopped", 0.0)


async def _move(
    restoring: Restoring, on: Ground, old: int, new: int, node: str, before: ContainerConfig, after: ContainerConfig
) -> Outcome:
    """What the archive has nothing of comes over as it is."""
    part = restoring.part
    assert part is not None
    archived = await restoring.archived(on, part)
    # What the original has now counts too: it may have got volumes since the archive was made.
    for key in dict.fromkeys((*proxmoxrestore.left_out(archived), *proxmoxrestore.left_out(before))):
        if key not in before.mounts:
            continue
        if key in after.mounts:
            if before.mounts[key].backup is not True:
                restoring.note(f"{before.mounts[key].path} ({key}) stays with {old}: {new} has a {key} of its own")
            continue
        if (why := restoring.ended_badly(MOVE)) is not None:
            restoring.note(f"{before.mounts[key].path} ({key}) stays with {old}: it can't be moved: {why}")
            break
        params = {"volume": key, "target_vmid": new, "target_volume": key}
        return await restoring.do(on, MOVE, node, old, "POST", "lxc", old, "move_volume", **params)
    restoring.remember(step="Take", task=None)
    return Wait(Reason.PROGRESSING, f"{new} takes over names and addresses", 0.0)


async def _take(
    restoring: Restoring, on: Ground, container: Container, vmid: int, node: str, old: ContainerConfig,
    new: ContainerConfig,
) -> Outcome:  # fmt: skip
    mine = Owner(on.installation, container.namespace, container.name, vmid)
    networks = {key: network.render() for key, network in old.networks.items()}
    gone = ",".join(key for key in new.networks if key not in networks)
    marked = owners.is_ours(new.description, mine)
    if marked and all(key in new.networks and old.networks[key].same_as(new.networks[key]) for key in networks):
        restoring.context.allocations.forget(restoring.key)
        restoring.remember(step="Hand", task=None)
        restoring.context.enqueue(container.key, RESYNC, 0.0)
        return Wait(Reason.PROGRESSING, f"{vmid} is {container.name}'s", 0.0)
    scratch = Scratch(on.installation, restoring.resource.namespace, restoring.resource.name, vmid)
    if not marked and not scratch.owns(new.description):
        return restoring.failed("NotOurs", f"container {vmid} isn't this restore's any more", clean=False)
    text = owners.text(old.description).partition(proxmoxcalloff.REPLACED)[0]
    tags = properties.tags_text((old.tags - {owners.RETAINED_TAG}) | {owners.TAG})
    options: dict[str, Any] = {
        "description": owners.described(text, mine), "tags": tags, "hostname": old.hostname, **networks,
    }  # fmt: skip
    if gone:
        options["delete"] = gone
    await on.driver.configure(node, vmid, options, digest=new.digest)
    return Wait(Reason.PROGRESSING, f"{vmid} takes over names and addresses", 0.0)


def _hand(restoring: Restoring, container: Container, vmid: int) -> Outcome:
    """Wait until it is well in its place."""
    resource, context = restoring.resource, restoring.context
    told = conditions.ready(container.status)
    well, said = told is not None and told[0] == "True", told[2] if told is not None else ""
    if container.status.get("vmid") != vmid:
        context.enqueue(container.key, RESYNC, 0.0)
        return Wait(Reason.PROGRESSING, f"LXCContainer {container.name} goes on with {vmid}", 1.0)
    target = resource.spec.target
    assert target is not None and target.in_place is not None
    since = context.host_work.doubts.setdefault(restoring.key, context.now())
    if not well:
        if context.now() - since <= READY:
            return Wait(Reason.PROGRESSING, f"waits until {container.name} is ready: {said}", POLL)
        restoring.note(f"{container.name} hasn't become ready: {said}; the original is kept for good")
    keep = context.now() + timedelta(seconds=seconds(target.in_place.keep))
    previous = restoring.status.previous_vmid
    message = (
        f"{container.name} is {vmid} now, from run {restoring.status.run}; the original is kept, stopped: {previous}"
    )
    part = restoring.part
    assert part is not None
    parts = tuple(one.model_copy(update={"done": True, "vmid": vmid}) for one in restoring.status.parts)
    restoring.remember(message=message, parts=parts)
    if well:
        restoring.remember(keep_until=times.text(keep))
    outcome = restoring.over()
    # Nobody may want to lose the original while what took its place isn't well.
    restoring.remember(step="Keep" if restoring.status.keep_until else None)
    return outcome if not isinstance(outcome, Ok) else Ok(outcome.message, 60.0)
