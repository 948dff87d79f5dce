"""On which node a container is made: one that has what it needs; fewest siblings first, then most free memory. Pure.

Memory is what guests were given, not what they use at this moment: running guests, containers of ours that are stopped
(they may be started any time), and those that are being made. A node that is asked for by name is taken however full
it is, as PVE itself would.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from homeport.plan.host import TAG
from homeport.plan.proxmox import sizes
from homeport.plan.proxmox.bridges import why_not
from homeport.plan.proxmox.grants import Attachment
from homeport.plan.proxmox.readings import Node, Resources
from homeport.plan.world import HostReading


@dataclass(frozen=True)
class Ask:
    """What a container needs of its node."""

    memory: int
    """In bytes."""
    node: str | None = None
    """The node that the spec names."""
    nodes: Sequence[str] | None = None
    """The nodes that the project may use; None for all."""
    storages: Sequence[str] = ()
    """Of its disks."""
    networks: Sequence[Attachment] = ()
    template: str | None = None
    """The volume that must be there; None when that is seen to otherwise."""


@dataclass(frozen=True)
class Load:
    """What is known of containers that LXCContainers ask for, beside what the reading shows."""

    reserved: Mapping[str, int] = field(default_factory=dict)
    """By node: bytes of memory of those that are being made, and that the reading doesn't have yet."""
    replicas: Mapping[str, int] = field(default_factory=dict)
    """By node: other containers of the same component."""
    siblings: Mapping[str, int] = field(default_factory=dict)
    """By node: other containers of the same Application."""


class NoNode(NamedTuple):
    """No node fits; ``text`` says why, node by node."""

    text: str


def choose(ask: Ask, reading: HostReading, load: Load | None = None) -> str | NoNode:
    """The node. The same world gives the same node."""
    load = load or Load()
    names = [node.name for node in reading.resources.nodes]
    if ask.node is not None and ask.node not in names:
        return NoNode(f"there is no node {ask.node}; write one of {', '.join(names)}, or leave node out")
    refused: list[str] = []
    fit: list[tuple[int, int, int, str]] = []
    for node in reading.resources.nodes:
        if ask.node is not None and node.name != ask.node:
            continue
        why = unfit(ask, node, reading)
        left = free(node, reading.resources, load)
        if why is None and ask.node is None and ask.memory > left:
            asked = sizes.quantity(ask.memory)
            why = f"{_shown(left)} of its {_shown(node.memory or 0)} memory are free, and {asked} are asked for"
        if why is not None:
            refused.append(f"{node.name}: {why}")
            continue
        fit.append((load.replicas.get(node.name, 0), load.siblings.get(node.name, 0), -left, node.name))
    if fit:
        return min(fit)[-1]
    text = "; ".join(refused) or "it has no nodes"
    if ask.node is not None:
        return NoNode(f"the container can't be made on node {text}")
    return NoNode(f"no node can take the container: {text}")


def unfit(ask: Ask, node: Node, reading: HostReading) -> str | None:
    """Why a node can't take a container, memory aside."""
    if not node.online:
        return "it is offline"
    if ask.nodes is not None and node.name not in ask.nodes:
        return "the project may not use it"
    for storage in dict.fromkeys(ask.storages):
        if (why := _no_storage(storage, node.name, reading.resources)) is not None:
            return why
    for network in ask.networks:
        if (why := why_not(network, reading.bridges.get(node.name))) is not None:
            return why
    if ask.template is not None and not any(one.id == ask.template for one in reading.templates.get(node.name, ())):
        return f"it doesn't have the template {ask.template}"
    return None


def _no_storage(name: str, node: str, found: Resources) -> str | None:
    storage = next((one for one in found.storages if one.name == name and one.node == node), None)
    if storage is None:
        return f"it has no storage {name}"
    if "rootdir" not in storage.content:
        return f"its storage {name} isn't for containers (content: {', '.join(sorted(storage.content)) or 'none'})"
    return None if storage.available else f"its storage {name} isn't available"


def free(node: Node, found: Resources, load: Load) -> int:
    """Bytes of memory that nobody was given; negative when more was given than there is."""
    given = sum(
        guest.memory or 0
        for guest in found.guests
        if guest.node == node.name and (guest.status == "running" or (guest.type == "lxc" and TAG in guest.tags))
    )
    return (node.memory or 0) - given - load.reserved.get(node.name, 0)


def _shown(memory: int) -> str:
    return sizes.quantity(max(memory, 0) // sizes.MIB * sizes.MIB)
