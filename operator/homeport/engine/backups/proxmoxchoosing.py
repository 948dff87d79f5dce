"""Restores of containers: which run, and where to."""

from __future__ import annotations

from homeport.api.backupparts import RunPart
from homeport.api.conditions import Reason
from homeport.api.environment import VmidRange
from homeport.api.restore import RestoredTo
from homeport.engine.backups import proxmoxbeside, proxmoxdrill, proxmoxplace, proxmoxswap
from homeport.engine.backups.proxmoxmaking import wish
from homeport.engine.backups.proxmoxplace import Ground
from homeport.engine.backups.proxmoxrestoring import Restoring
from homeport.engine.lxc.ground import environment_of
from homeport.outcome import Outcome, Stalled, Wait
from homeport.plan.backup import proxmoxmarks, proxmoxrestore, times
from homeport.plan.backup.proxmoxrestore import NoSuchRun
from homeport.plan.proxmox import grants
from homeport.plan.proxmox.addresses import Unavailable
from homeport.plan.proxmox.config import ContainerConfig
from homeport.plan.proxmox.grants import Attachment, Request
from homeport.plan.proxmox.properties import PropertyError


async def choose(restoring: Restoring, on: Ground) -> Outcome:
    """Which run; what would be in the way is said before anything is done."""
    found, missed = await proxmoxplace.listed(on)
    spec = restoring.resource.spec
    owner = on.owner
    if not owner.backup:  # the Backup is gone, and nobody has said its name: the archive that is named does
        told = [proxmoxmarks.mark(one.notes) for one in found if one.volume == spec.snapshot]
        owner = next((one.owner for one in told if one is not None and one.owner[:2] == owner[:2]), owner)
    chosen = proxmoxrestore.choose(proxmoxmarks.runs(found, owner), spec.snapshot, spec.before)
    if isinstance(chosen, NoSuchRun):
        restoring.remember(phase="Pending")
        if missed:
            return Wait(Reason.DEPENDENCY_NOT_READY, f"{chosen.text}; {', '.join(missed)} can't be asked now", 30.0)
        return Stalled(Reason.SNAPSHOT_MISSING, chosen.text)
    if not chosen.parts:
        return Stalled(Reason.SNAPSHOT_MISSING, f"run {chosen.run} has no archive that can be restored")
    wanted = {
        part: one for part, one in chosen.parts.items() if spec.snapshot in (None, "latest", chosen.run, one.volume)
    }
    parts = tuple(
        RunPart(part=part, snapshot=one.volume, bytes=one.size, container=part, vmid=one.vmid)
        for part, one in sorted((wanted or chosen.parts).items())
    )
    if (problem := _objection(restoring, on, parts)) is not None:
        restoring.remember(phase="Pending")
        return problem
    saves = restoring.kind == "inPlace"
    restoring.remember(
        phase="Before" if saves else "Running", step="Before" if saves else "Place",
        run=chosen.run, snapshot=parts[0].snapshot, time=times.text(chosen.time), parts=parts,
        method="Container", attempts=1, started_at=times.text(restoring.context.now()),
    )  # fmt: skip
    return Wait(Reason.PROGRESSING, f"restores run {chosen.run}", 0.0)


def _objection(restoring: Restoring, on: Ground, found: tuple[RunPart, ...]) -> Outcome | None:
    if restoring.resource.spec.paths:
        text = "a container is restored whole; leave paths out, and copy what you need out of the restored one"
        return Stalled(Reason.INVALID_SPEC, text)
    parts = [one.part for one in found]
    if restoring.kind == "inPlace":
        return proxmoxswap.objection(restoring, on, parts)
    if restoring.kind == "new":
        return proxmoxbeside.objection(restoring, parts)
    return proxmoxdrill.objection(restoring, on, found)


async def place(restoring: Restoring, on: Ground) -> Outcome:
    """The next part: whether its archive can be restored, and as which VMID on which node."""
    part = restoring.part
    if part is None:
        return restoring.over()
    assert part.snapshot is not None
    try:
        archived = await restoring.archived(on, part)
    except (PropertyError, ValueError) as error:
        return restoring.failed("Unreadable", f"{part.snapshot}: {error}")
    if why := proxmoxrestore.refusal(archived):
        return restoring.failed(Reason.NOT_RESTORABLE_BY_TOKEN, f"{part.part}: an API token can't restore it: {why}")
    found = await _where(restoring, on, part, archived)
    if isinstance(found, Outcome):
        return found
    vmid, node = found
    address = await proxmoxdrill.address(restoring, on) if restoring.kind == "drill" else None
    if isinstance(address, Outcome):
        return address
    to = RestoredTo(container=part.container, vmid=vmid, namespace=proxmoxbeside.namespace_of(restoring, part))
    restoring.remember(vmid=vmid, node=node, address=address, step="Create", phase="Running", restored_to=to)
    return Wait(Reason.PROGRESSING, f"{part.part}: is restored as {vmid} on {node}", 0.0)


async def _where(
    restoring: Restoring, on: Ground, part: RunPart, archived: ContainerConfig
) -> tuple[int, str] | Outcome:  # fmt: skip
    """A VMID and a node. Raises ``ProxmoxError``."""
    target, drill = restoring.resource.spec.target, restoring.kind == "drill"
    new = target.new if target is not None else None
    node = await _node(restoring, on, part, new.node if new is not None else None)
    if isinstance(node, Outcome):
        return node
    if new is not None and new.vmid is not None:
        vmid: int | Unavailable = new.vmid
        if not await on.driver.is_free(new.vmid):
            return Stalled(Reason.NAME_TAKEN, f"VMID {new.vmid} is taken; write another, or leave target.new.vmid out")
    else:
        await proxmoxplace.learn(on.host, on.driver, on.reading, restoring.context)
        allowed = _range(restoring, on, part, drill)
        vmid = restoring.context.allocations.vmid(restoring.key, on.host, allowed, on.reading)
    if isinstance(vmid, Unavailable):
        return Wait(Reason.DEPENDENCY_NOT_READY, vmid.text, 60.0)
    wished = wish(restoring, on, part, vmid)
    try:
        networks = proxmoxrestore.networks(archived, wished)
        storages = proxmoxrestore.storages(archived, wished)
    except ValueError as error:
        return restoring.failed("Unreadable", f"{part.snapshot}: {error}")
    plugs = [Attachment(one.name, one.bridge, one.tag) for one in networks.values() if one.bridge and not one.link_down]
    asked = Request(restoring.resource.namespace, on.host, vmid=vmid, node=node, storages=storages, networks=plugs)
    if problems := grants.check(on.use, asked):
        return Stalled(Reason.ACCESS_DENIED, "; ".join(problems))
    having = {storage.name for storage in on.reading.resources.storages if storage.node == node and storage.available}
    if missing := [name for name in storages if name not in having]:
        text = f"node {node} has no storage {missing[0]}; write target.new.storage"
        return Stalled(Reason.INVALID_SPEC, text)
    return vmid, node


def _range(restoring: Restoring, on: Ground, part: RunPart, drill: bool) -> VmidRange | None:
    verify = on.spec.verify if on.spec is not None else None
    if drill and verify is not None and verify.vmid_range is not None:
        return verify.vmid_range
    container = proxmoxbeside.original(restoring, part)
    if container is not None and container.spec.environment_ref is not None:
        environment = environment_of(container, restoring.context)
        if not isinstance(environment, Outcome) and environment.spec.proxmox is not None:
            found: VmidRange | None = environment.spec.proxmox.vmid_range
            if found is not None:
                return found
    return on.use.vmid_range if on.use is not None else None


async def _node(restoring: Restoring, on: Ground, part: RunPart, wanted: str | None) -> str | Outcome:
    shared = any(one.shared for one in on.reading.resources.storages if one.name == on.storage)
    archive = await restoring.archive_node(on, part)
    if wanted is not None:
        having = [one.node for one in on.reading.resources.storages if one.name == on.storage and one.available]
        if wanted == archive or (shared and wanted in having):
            return wanted
        text = f"the archive is on {archive}, and node {wanted} doesn't see it; leave target.new.node out"
        return Stalled(Reason.INVALID_SPEC, text)
    container = proxmoxbeside.original(restoring, part)
    now = str(container.status.get("node") or "") if container is not None else ""
    online = {node.name for node in on.reading.resources.nodes if node.online}
    return now if shared and now in online else archive
