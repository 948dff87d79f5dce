"""What can be told to be wrong of a Proxmox VE before anything is made there; only by reading.

What the kernel and LXC give to a container is seen in the container alone: that is ``k3s_checks.SCRIPT``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from homeport.drivers.proxmox import errors
from homeport.drivers.proxmox.host import Host
from homeport.plan.lxc import owner as owners
from homeport.plan.proxmox import addresses, placement, privileges, templates
from homeport.plan.world import HostReading
from homeport_clusters.lxc_containers import Ask, placement_ask, reading

FIXED_LXC = "6.0.5-2"
"""The package lxc-pve since which a runc of November 2025 and later starts containers in a container with nesting
(https://github.com/opencontainers/runc/issues/4968)."""


class Findings(NamedTuple):
    """What was found. ``problems`` keep it from being made; ``remarks`` are worth reading."""

    problems: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


async def look(host: Host, asks: Sequence[Ask]) -> Findings:
    """What of ``asks``, the containers of one cluster, can't be made on ``host``. Raises ProxmoxError."""
    if not asks:
        return Findings()
    named = {ask.node for ask in asks}
    seen = await reading(host, () if None in named else [str(node) for node in named])
    if not seen.cluster.quorate:
        return Findings(("the cluster of Proxmox VE has no quorum: it takes no changes; look at `pvecm status`",))
    if lacking := _rights(host, asks, seen):
        return Findings((lacking,))
    problems = list(dict.fromkeys(text for ask in asks for text in _place(ask, seen)))
    problems += await _addresses(host, asks, seen)
    used = {str(node) for node in named if node} or {node.name for node in seen.resources.nodes if node.online}
    return Findings(tuple(problems), tuple(await _packages(host, sorted(used))))


def _rights(host: Host, asks: Sequence[Ask], seen: HostReading) -> str:
    use = privileges.Use(asks[0].pool, sorted({ask.storage for ask in asks}), sorted({ask.bridge for ask in asks}))
    wanted = privileges.needs([use])
    lacking = privileges.missing(seen.permissions, wanted)
    if not lacking:
        return ""
    listed = ", ".join(f"{need.privilege} on {need.path}" for need in lacking)
    user, _, token = host.token_id.partition("!")
    commands = "\n  ".join(privileges.commands(wanted, user, token))
    return f"the token {host.token_id} lacks {listed}. On a node of Proxmox VE, as root:\n  {commands}"


def _place(ask: Ask, seen: HostReading) -> Iterable[str]:
    """Why no node takes it. Memory is left aside: containers that are there already have theirs."""
    nodes = {node.name: node for node in seen.resources.nodes}
    if ask.node is not None and ask.node not in nodes:
        yield f"there is no node {ask.node} of Proxmox VE; write some of {', '.join(sorted(nodes))} in nodes"
        return
    template = templates.find(ask.template, seen, node=ask.node)
    if not isinstance(template, str):
        file = ask.template.rpartition("/")[2]
        where = ask.node or "each node that is to be used"
        yield (
            f"{template.text.partition('; write')[0]}; write one that is there, or fetch it on {where}: pveam update; "
            f"pveam available --section system | grep {file}; pveam download local FILE"
        )
        return
    asked = placement_ask(ask, template)
    candidates = [nodes[ask.node]] if ask.node is not None else list(nodes.values())
    why = {node.name: placement.unfit(asked, node, seen) for node in candidates}
    if all(why.values()):
        yield "no node of Proxmox VE can take the containers: " + "; ".join(f"{k}: {v}" for k, v in why.items())


async def _addresses(host: Host, asks: Sequence[Ask], seen: HostReading) -> list[str]:
    """Static addresses that other guests are configured with."""
    wished = {next(iter(addresses.static([ask.address])), None): ask for ask in asks if ask.address != "dhcp"}
    out = []
    for guest in seen.resources.guests if wished else ():
        try:
            options = await host.guest_options(guest.node, guest.type, guest.vmid)
        except errors.ProxmoxError:
            continue  # its node is away, or it went
        for address in addresses.configured(options) & wished.keys():
            ask = wished[address]
            if not owners.is_ours(options.get("description", ""), ask.owner(guest.vmid)):
                out.append(f"{address}, which {ask.name} is to have, is that of guest {guest.vmid} ({guest.name}) "
                           f"on {guest.node}; write another address")  # fmt: skip
    return out


async def _packages(host: Host, nodes: Iterable[str]) -> list[str]:
    out = []
    for node in nodes:
        try:
            found = (await host.packages(node)).get("lxc-pve", "")
        except errors.ProxmoxError:
            continue  # nothing depends on being allowed to look
        if found and templates.order(found) < templates.order(FIXED_LXC):
            out.append(
                f"node {node} has lxc-pve {found}: before {FIXED_LXC} no Pod starts there with a k3s of November 2025 "
                f"or later (runc: reopen fd: permission denied). On {node}: apt update && apt install lxc-pve; then "
                "restart its containers"
            )
    return out
