"""What a container is given before it is made: VMID, node and addresses.

It goes into the status before anything is asked of the host.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from homeport.api.conditions import Reason
from homeport.api.lxcstatus import LXCContainerStatus, NetworkState
from homeport.engine.backups import proxmoxplace
from homeport.engine.context import Context
from homeport.engine.lxc import ground as grounds
from homeport.engine.lxc import place as places
from homeport.engine.lxc.ground import FULL_AGAIN, Container, Ground
from homeport.engine.queue import RESYNC
from homeport.outcome import Outcome, Stalled, Wait
from homeport.plan.agent import hostclaim
from homeport.plan.lxc import owner as owners
from homeport.plan.lxc.wanted import Place, address_mode
from homeport.plan.proxmox import sizes
from homeport.plan.proxmox.addresses import Unavailable
from homeport.plan.proxmox.placement import Ask, NoNode
from homeport.plan.proxmox.readings import Guest

MARKS = 4096
"""Containers whose marks are remembered, at most."""


async def allocate(
    container: Container, status: LXCContainerStatus, on: Ground, context: Context, template: str | None
) -> Mapping[str, Any] | Outcome:
    """What is to be remembered before the container is made; empty when all of it is.

    Raises ``drivers.proxmox.errors.ProxmoxError`` when the host can't be asked.
    """
    remember = _elsewhere(status, on)
    if isinstance(remember, Stalled):
        return remember
    status = status.model_copy(update=remember)
    vmid = status.vmid
    if vmid is None:
        there = await _from_before(container, status, on, context)
        if isinstance(there, Outcome):
            return there
        if there is not None:
            return {**there, "host": on.host}
        await proxmoxplace.learn(on.host, on.driver, on.reading, context)
        found = _vmid(container, on, context)
        if not isinstance(found, int):
            return found
        vmid = remember["vmid"] = found
    if status.host != on.host:
        remember["host"] = on.host
    draft = places.place(container, status.model_copy(update={"vmid": vmid}), on, context, template)
    if not isinstance(draft, Place):
        return draft
    exists = container.spec.adopt is not None or container.spec.management_policy == "Observe"
    if status.node is None:
        node = await _guests_node(vmid, on) if exists else _node(container, on, draft, context)
        if not isinstance(node, str):
            return node
        remember["node"] = node
    if container.spec.management_policy == "Observe":
        return remember
    networks = await _addresses(container, status, on, draft, context)
    if isinstance(networks, Outcome):
        return networks
    if networks is not None:
        remember["networks"] = networks
    return remember


def is_made(status: LXCContainerStatus) -> bool:
    """Whether there is a container of it, or may be: what was never asked for was never made."""
    return bool(status.created or status.task or status.replacing)


def _elsewhere(status: LXCContainerStatus, on: Ground) -> dict[str, Any] | Stalled:
    """What isn't remembered, because it was given on another host; whether that can be, now that it may be made."""
    if not status.host or status.host == on.host:
        return {}
    if not is_made(status):
        return {"node": None, "vmid": None, "networks": ()}
    # A VMID of one host says nothing on another: what has it there is somebody else's.
    return Stalled(
        Reason.INVALID_SPEC,
        f"its container {status.vmid} is on ProxmoxHost {status.host}, and {on.host} is named now; containers don't "
        f"move between hosts. Name {status.host} again, or delete this LXCContainer (it is looked for on "
        f"{status.host}) and make a new one",
    )


async def _guests_node(vmid: int, on: Ground) -> str | Outcome:
    guest = next((guest for guest in on.reading.resources.guests if guest.vmid == vmid), None)
    if guest is None:
        fresh = await on.driver.resources()
        guest = next((guest for guest in fresh.guests if guest.vmid == vmid), None)
    if guest is None:
        return Stalled(Reason.MISSING, f"there is no container {vmid} on {on.host} that the token may see")
    return guest.node


def _vmid(container: Container, on: Ground, context: Context) -> int | Wait | Stalled:
    if container.spec.vmid is not None:
        holder = context.allocations.holder(on.host, container.spec.vmid, container.key)
        if holder is not None:
            text = f"VMID {container.spec.vmid} on {on.host} is {holder}'s; write another, or leave vmid out"
            return Stalled(Reason.NAME_TAKEN, text)
        return container.spec.vmid
    found = context.allocations.vmid(container.key, on.host, on.vmids, on.reading)
    if isinstance(found, Unavailable):
        return Wait(Reason.DEPENDENCY_NOT_READY, found.text, FULL_AGAIN)
    return found


async def _from_before(
    container: Container, status: LXCContainerStatus, on: Ground, context: Context
) -> Mapping[str, Any] | Stalled | None:
    """A container that carries this one's mark although no status knows it: the resource was restored without its
    status, or it was deleted and its container was kept. The first goes on; of the second it is asked."""
    if status.replacing is not None:
        return None
    holders = context.allocations.holders(on.host, container.key)
    for guest in on.reading.resources.containers:
        if not guest.tags & {owners.TAG, owners.RETAINED_TAG}:
            continue
        if container.spec.vmid not in (None, guest.vmid):
            continue
        if guest.vmid in holders:
            continue
        description, networks = await _marked(guest, on, context)
        mine = grounds.owner_of(container, guest.vmid, context)
        if owners.is_ours(description, mine):
            return {"vmid": guest.vmid, "node": guest.node, "networks": networks}
        if owners.is_left(description, mine) and container.spec.adopt is None:
            context.enqueue(container.key, RESYNC, FULL_AGAIN)  # nobody tells of a tag on another's container
            return Stalled(
                Reason.CONFIRMATION_REQUIRED,
                f"container {guest.vmid} on {on.host} was kept when a {container.name} was deleted before; to go on "
                f"with it, write vmid: {guest.vmid} and adopt: {{expectHostname: {hostclaim.shown(guest.name)}}}; to "
                f"have a new one, take its tag {owners.RETAINED_TAG} away",
            )
    return None


async def _marked(guest: Guest, on: Ground, context: Context) -> tuple[str, tuple[NetworkState, ...]]:
    """The description of a container that no status knows, and its networks; read once for each of its tags."""
    known, key = context.containers.marks, (on.host, guest.vmid, guest.name, guest.tags)
    if key not in known:
        found = await on.driver.config(guest.node, guest.vmid)
        networks = tuple(
            NetworkState(name=one.name, id=number, hwaddr=one.hwaddr, address=one.ip if "/" in (one.ip or "") else None)
            for number, one in found.networks.items()
        )
        if len(known) >= MARKS:
            known.clear()
        known[key] = (found.description, networks)
    return known[key]


def _node(container: Container, on: Ground, draft: Place, context: Context) -> str | Outcome:
    spec = container.spec
    memory = sizes.of_quantity(spec.memory) if spec.memory is not None else sizes.of_quantity(sizes.DEFAULT_MEMORY)
    ask = Ask(
        memory,
        spec.node or (on.proxmox.node if on.proxmox is not None else None),
        on.use.nodes if on.use is not None else None,
        [storage for storage in places.storages(spec, draft.storage) if storage],
        places.attached(spec, draft),
        template=draft.template,
    )
    found = context.allocations.place(container.key, on.host, ask, on.reading)
    return Wait(Reason.DEPENDENCY_NOT_READY, found.text, FULL_AGAIN) if isinstance(found, NoNode) else found


async def _addresses(
    container: Container, status: LXCContainerStatus, on: Ground, draft: Place, context: Context
) -> tuple[NetworkState, ...] | Outcome | None:
    """The networks with an address for each ``auto``; None when they have theirs."""
    spec = container.spec
    if (taken := context.allocations.address_holder(on.host, container.key)) is not None:
        context.enqueue(container.key, RESYNC, FULL_AGAIN)  # nobody tells of another's spec
        return Stalled(Reason.NAME_TAKEN, f"{taken[0]} is {taken[1]}'s; write another address, or auto")
    known = {state.name: state for state in status.networks}
    modes = {network.name: address_mode(network, draft) for network in spec.networks or ()}
    if spec.networks is None and draft.bridge is not None and draft.cidr is not None and spec.adopt is None:
        modes = {"eth0": "auto"}
    missing = [name for name, mode in modes.items() if mode == "auto" and not (name in known and known[name].address)]
    if not missing:
        return None
    if draft.cidr is None:
        text = f"network {missing[0]}: auto takes an address from the environment's network.cidr, and there is none"
        return Stalled(Reason.INVALID_SPEC, f"{text}; write an address, or dhcp")
    for name in missing:
        found = await context.allocations.address(container.key, on.host, name, draft.cidr, draft.gateway)
        if isinstance(found, Unavailable):
            return Wait(Reason.DEPENDENCY_NOT_READY, found.text, FULL_AGAIN)
        state = known.get(name) or NetworkState(name=name, id=_free_id(known))
        known[name] = state.model_copy(update={"address": found})
    return tuple(known.values())


def _free_id(known: Mapping[str, NetworkState]) -> str:
    taken = {state.id for state in known.values()}
    return next(f"net{n}" for n in range(32) if f"net{n}" not in taken)
