"""VMIDs and addresses for containers: the lowest that nobody has. Pure; who has which is for the caller to know."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from homeport.api.environment import VmidRange
from homeport.plan.proxmox import grants

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

VMIDS = VmidRange(min=100, max=999_999_999)
"""What PVE takes as a VMID (pve-common ``JSONSchema.pm``, ``pve-vmid``); those below 100 are reserved."""


class Unavailable(NamedTuple):
    """There is none to be had; ``text`` says why: of how many, who has them."""

    text: str


def vmid(
    allowed: VmidRange, *, guests: Collection[int], claimed: Collection[int], lost: Collection[int] = ()
) -> int | Unavailable:
    """The lowest VMID that is free.

    ``guests``: those that exist, whoever made them, those that are Retained among them. ``claimed``: those that
    LXCContainers were given and that needn't exist yet. ``lost``: those that turned out to be taken although nothing
    is seen there.
    """
    for candidate in range(allowed.min, allowed.max + 1):
        if candidate not in guests and candidate not in claimed and candidate not in lost:
            return candidate
    there = sum(grants.within(one, allowed) for one in guests)
    ours = sum(grants.within(one, allowed) for one in claimed if one not in guests)
    rest = sum(grants.within(one, allowed) for one in lost if one not in guests and one not in claimed)
    counts = [f"{there} are in use on the host"]
    counts += [f"{ours} are kept for LXCContainers that are being made"] * bool(ours)
    counts += [f"{rest} are taken by what the token can't see"] * bool(rest)
    return Unavailable(
        f"no VMID is left in {grants.shown(allowed)}: of {allowed.max - allowed.min + 1}, {_and(counts)}; widen the "
        "range, or remove a container"
    )


def address(
    cidr: str,
    *,
    gateway: str | None = None,
    claimed: Collection[Address] = (),
    configured: Collection[Address] = (),
) -> str | Unavailable:
    """The lowest address in ``cidr`` that is free, with its prefix.

    Left out are the network's own and its broadcast address, the gateway, what LXCContainers were given or ask for
    (``claimed``), and what is in the configurations of other guests (``configured``).
    Raises ValueError when ``cidr`` isn't a network.
    """
    network = ipaddress.ip_network(cidr, strict=False)
    router = _parsed(gateway)
    taken = {*claimed, *configured}
    for candidate in network.hosts():
        if candidate != router and candidate not in taken:
            return f"{candidate}/{network.prefixlen}"
    inside = {one for one in taken if one in network and one != router}
    ours = sum(one in claimed for one in inside)
    counts = ["1 is the gateway's"] * (router is not None and router in network)
    counts += [f"{ours} are LXCContainers'", f"{len(inside) - ours} are other guests'"]
    return Unavailable(
        f"no address is left in {network}: of {_size(network)}, {_and(counts)}; widen the environment's network.cidr, "
        "or remove a container"
    )


def _size(network: Network) -> int:
    """How many addresses hosts may have: all but the network's own (IPv6's any-router address) and the broadcast."""
    if network.prefixlen >= network.max_prefixlen - 1:
        return network.num_addresses
    return network.num_addresses - (2 if network.version == 4 else 1)


def _parsed(text: str | None) -> Address | None:
    try:
        return ipaddress.ip_interface(text).ip if text else None
    except ValueError:
        return None


def static(values: Iterable[str | None]) -> frozenset[Address]:
    """The addresses among an interface's values: with or without prefix; ``dhcp``, ``auto``, ``manual`` are none."""
    return frozenset(found for found in map(_parsed, values) if found is not None)


def configured(options: Mapping[str, Any]) -> frozenset[Address]:
    """The addresses in a guest's configuration: a container's ``netN``, a virtual machine's ``ipconfigN``."""
    found: list[str] = []
    for name, value in options.items():
        if name.rstrip("0123456789") in ("net", "ipconfig"):
            parts = (part.partition("=") for part in str(value).split(","))
            found += [text for key, _, text in parts if key in ("ip", "ip6")]
    return static(found)


def _and(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
