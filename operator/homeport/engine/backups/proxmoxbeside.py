"""Restores of containers beside the original: under which name, and what becomes of them.

What was restored becomes an LXCContainer of its own, stopped and unplugged: with the original's address it would be in
its way. Whoever wants it looks into it, plugs it in, or deletes it.
"""

from __future__ import annotations

from typing import Any

from homeport.api import labels
from homeport.api.backupparts import RunPart
from homeport.api.conditions import Reason
from homeport.api.labels import API_VERSION, OwnerKey
from homeport.drivers.kubernetes import errors as api_errors
from homeport.drivers.kubernetes import types
from homeport.engine.backups.proxmoxplace import Container, Ground, named
from homeport.engine.backups.proxmoxrestoring import Restoring
from homeport.outcome import Outcome, Stalled, Wait
from homeport.plan.backup import proxmoxrestore
from homeport.plan.lxc import owner as owners
from homeport.plan.lxc.owner import Owner

NAME = 63


def name_of(restoring: Restoring, part: RunPart) -> str:
    """The name of the LXCContainer that is made, and its host name."""
    target = restoring.resource.spec.target
    new = target.new if target is not None else None
    if restoring.kind == "new" and new is not None and new.container:
        return new.container
    return f"{part.container}-{restoring.resource.name}"


def original(restoring: Restoring, part: RunPart) -> Container | None:
    """The LXCContainer that the archive is of, if it is still there."""
    return named(str(part.container), restoring.spec, restoring.resource.namespace, restoring.context)


def namespace_of(restoring: Restoring, part: RunPart) -> str:
    """Where the LXCContainer is, or is made."""
    found = original(restoring, part)
    return found.namespace if found is not None else str(restoring.resource.namespace)


def objection(restoring: Restoring, parts: list[str]) -> Outcome | None:
    """What is in the way of new ones."""
    target = restoring.resource.spec.target
    new = target.new if target is not None else None
    if new is not None and (new.container or new.vmid) and len(parts) > 1:
        text = f"the run has {len(parts)} containers ({', '.join(parts)}); leave target.new.container and vmid out"
        return Stalled(Reason.INVALID_SPEC, text)
    for part in parts:
        name = name_of(restoring, RunPart(part=part, container=part))
        if len(name) > NAME:
            text = f"{name} is longer than {NAME} characters; write target.new.container, or give this a shorter name"
            return Stalled(Reason.INVALID_SPEC, text)
        where = namespace_of(restoring, RunPart(part=part, container=part))
        if restoring.context.store.body(OwnerKey("LXCContainer", where, name)) is not None:
            text = f"there is an LXCContainer {name}; write another name as target.new.container"
            return Stalled(Reason.NAME_TAKEN, text)
    return None


async def mark(restoring: Restoring, on: Ground) -> Outcome:
    """The mark first, then the object: an LXCContainer without a container of its own would make one."""
    part, vmid, node = restoring.part, restoring.status.vmid, restoring.status.node
    assert part is not None and vmid is not None and node is not None
    name, source = name_of(restoring, part), original(restoring, part)
    there = await restoring.look(on, vmid, node)
    if there is None:
        return restoring.failed("Missing", f"what was restored as {vmid} was removed by somebody", clean=False)
    namespace = namespace_of(restoring, part)
    mine = Owner(on.installation, namespace, name, vmid)
    description = owners.described(f"restored from {part.snapshot}", mine, retained=source is None)
    if there[1].description != description:
        scratch = proxmoxrestore.Scratch(on.installation, restoring.resource.namespace, restoring.resource.name, vmid)
        if not scratch.owns(there[1].description):
            return restoring.failed("Missing", f"container {vmid} isn't this restore's any more", clean=False)
        tag = owners.TAG if source is not None else owners.RETAINED_TAG
        options = {"description": description, "tags": tag}
        await on.driver.configure(node, vmid, options, digest=there[1].digest)
    if source is None:
        restoring.note(
            f"LXCContainer {part.container} is gone, so that there is no spec for {vmid}: to go on with it, write an "
            f"LXCContainer {name} with vmid: {vmid} and adopt: {{expectHostname: {name}}}"
        )
        return _done(restoring, part, name)
    listed = next((guest for guest in on.reading.resources.guests if guest.vmid == vmid), None)
    if listed is None or owners.TAG not in listed.tags:
        return Wait(Reason.PROGRESSING, f"{vmid} becomes LXCContainer {name}, once the host's reading shows it", 2.0)
    restoring.context.allocations.forget(restoring.key)  # from here on it is the LXCContainer's
    manifest = manifest_of(restoring, source, name, vmid, node)
    try:
        await restoring.context.cluster.client.apply(
            types.LXC_CONTAINER, namespace, name, manifest, manager=labels.MANAGER
        )
    except (api_errors.Invalid, api_errors.Forbidden) as error:
        return restoring.failed("ApplyFailed", f"LXCContainer {name} can't be made: {error}", clean=False)
    return _done(restoring, part, name)


def _done(restoring: Restoring, part: RunPart, name: str) -> Outcome:
    told = restoring.status.restored_to
    if told is not None:
        restoring.remember(restored_to=told.model_copy(update={"container": name}))
    vmid = restoring.status.vmid
    outcome = restoring.part_done()
    if restoring.part is None:
        restoring.remember(
            vmid=vmid,
            message=f"run {restoring.status.run} is restored as {name} ({vmid}), stopped and unplugged; "
            f"write state: Running and linkDown: false with an address of its own to use it",
        )
    return outcome


def manifest_of(restoring: Restoring, source: Container, name: str, vmid: int, node: str) -> dict[str, Any]:
    """The new one's: the original's spec, stopped, unplugged, and without what is the original's alone."""
    left = ("vmid", "adopt", "restartAt", "hostname", "state", "onBoot", "networks", "protection", "node", "service",
            "description", "managementPolicy")  # fmt: skip
    spec: dict[str, Any] = {key: value for key, value in dict(source.raw_spec).items() if key not in left}
    spec |= {
        "state": "Stopped",
        "onBoot": False,
        "node": node,
        "description": f"restored from run {restoring.status.run}",
    }
    nets = []
    for network in source.raw_spec.get("networks") or ():
        apart = {
            key: value for key, value in network.items() if key not in ("hwaddr", "gateway", "gateway6", "address6")
        }
        nets.append({**apart, "address": "manual", "linkDown": True})
    spec["networks"] = nets or [{"name": "eth0", "address": "manual", "linkDown": True}]
    if source.spec.adopt is not None:
        # What its spec leaves out is left alone, as with the original.
        spec |= {"adopt": {"expectHostname": name}, "vmid": vmid}
    target = restoring.resource.spec.target
    if target is not None and target.new is not None and target.new.vmid is not None:
        spec["vmid"] = vmid
    return {
        "apiVersion": API_VERSION,
        "kind": "LXCContainer",
        "metadata": {"name": name, "namespace": source.namespace},
        "spec": spec,
    }
