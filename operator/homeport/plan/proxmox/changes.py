"""What differs between two readings of a host, as far as it is worth a look at a container. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from homeport.plan.proxmox.readings import Guest, Resources, Volume


def guests(before: Resources, after: Resources) -> frozenset[int]:
    """The VMIDs that came, went, or are otherwise than they were; usage aside, which always is."""
    old, new = ({guest.vmid: guest for guest in found.guests} for found in (before, after))
    return frozenset(vmid for vmid in old.keys() | new.keys() if _differ(old.get(vmid), new.get(vmid)))


def gone(before: Resources, after: Resources) -> bool:
    """Whether a guest isn't there any more."""
    return not {guest.vmid for guest in before.guests} <= {guest.vmid for guest in after.guests}


def nodes(before: Resources, after: Resources) -> bool:
    """Whether a node came, went, or can be reached now and couldn't before, or the reverse."""
    return {node.name: node.online for node in before.nodes} != {node.name: node.online for node in after.nodes}


def templates(before: Mapping[str, Sequence[Volume]], after: Mapping[str, Sequence[Volume]]) -> bool:
    """Whether a node has a template that it didn't have."""
    return any(
        not {one.id for one in found} <= {one.id for one in before.get(node, ())} for node, found in after.items()
    )


def _differ(before: Guest | None, after: Guest | None) -> bool:
    if before is None or after is None:
        return before is not after
    return state(before) != state(after) or _restarted(before, after)


def state(guest: Guest) -> tuple[Any, ...]:
    """What somebody has to do to change it."""
    return (guest.node, guest.name, guest.status, guest.tags, guest.lock, *aside(guest))


def aside(guest: Guest) -> tuple[Any, ...]:
    """What of it a container's own status doesn't tell; CPUs and memory are those of the configuration here."""
    return (guest.type, guest.pool, guest.template, guest.ha_state, guest.cpus, guest.memory)


def _restarted(before: Guest, after: Guest) -> bool:
    """Whether it was started anew between two looks that both saw it run."""
    return before.uptime is not None and after.uptime is not None and after.uptime < before.uptime
