"""The network of a container whose system is an image, where Proxmox VE leaves that to the container. Pure.

Before 9.1 an image is a template with ``ostype=unmanaged``, whose interfaces nobody sets up: init does. What it takes
to reach the operator comes in the hostname (``plan.agent.hostclaim``), the rest from the operator itself.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

from homeport.api.lxccontainer import LXCContainerSpec
from homeport.plan.agent import Interface
from homeport.plan.agent.hostclaim import Bootstrap, mark
from homeport.plan.lxc.wanted import Place, wanted
from homeport.plan.proxmox.properties import Network

MADE_OF = ".tar.gz"
"""How the names of templates end that are a root filesystem; those of OCI archives end in ``.tar``."""


def interfaces(name: str, spec: LXCContainerSpec, place: Place) -> tuple[Interface, ...]:
    """What init gives the interfaces."""
    return tuple(
        Interface(
            name=one.name,
            addresses=tuple(text for text in (one.ip, one.ip6) if _is_static(text)),
            gateways=tuple(text for text in (one.gw, one.gw6) if text),
        )
        for one in wanted(name, spec, place).networks.values()
    )


def bootstrap(name: str, spec: LXCContainerSpec, place: Place, url: str) -> Bootstrap | str:
    """What init sets up before it asks the operator at ``url``; why it can't, and what to write instead."""
    networks = tuple(wanted(name, spec, place).networks.values())
    if (why := _unserved(networks)) is not None:
        return why
    target = _address(urlsplit(url).hostname or "")
    chosen = _chosen(networks, target)
    if chosen is None:
        return (
            f"{_BEFORE} init reaches the operator by an IPv4 address that it is given, and no network has one; write "
            "networks with an address, or give the environment a network.cidr"
        )
    servers = spec.dns.servers if spec.dns is not None else None
    nameserver = next((one for one in map(_address, servers or ()) if one is not None), None)
    if target is None and nameserver is None:
        return (
            f"{_BEFORE} a container doesn't get its node's name servers, and the operator is at {url}; write "
            "dns.servers with an IPv4 address, or start the operator with an address in --agent-url"
        )
    gateway = _address(chosen.gw) if chosen.gw else None
    return Bootstrap(chosen.name, ipaddress.IPv4Interface(chosen.ip or ""), gateway, nameserver)


_BEFORE = "before Proxmox VE 9.1"


def _unserved(networks: Iterable[Network]) -> str | None:
    """What an image has nobody for."""
    marks: dict[int, str] = {}
    for one in networks:
        if "dhcp" in (one.ip, one.ip6):
            field = "address" if one.ip == "dhcp" else "address6"
            instead = "or give the environment a network.cidr" if field == "address" else "or slaac"
            return (
                f"network {one.name} is to have its {field} by DHCP, and {_BEFORE} an image has nobody to ask for it; "
                f"write an address, {instead}"
            )
        other = marks.setdefault(mark(one.name), one.name)
        if other != one.name:
            return f"init can't tell networks {other} and {one.name} apart; name one of them otherwise"
    return None


def _chosen(networks: Iterable[Network], target: ipaddress.IPv4Address | None) -> Network | None:
    """The interface by which the operator is reached: the one beside it, else one with a gateway, else the first."""
    static = [one for one in networks if _is_static(one.ip)]
    beside = [one for one in static if target is not None and target in ipaddress.IPv4Interface(one.ip or "").network]
    return next(iter([*beside, *(one for one in static if one.gw), *static]), None)


def _is_static(text: str | None) -> bool:
    return text is not None and "/" in text


def _address(text: str) -> ipaddress.IPv4Address | None:
    try:
        return ipaddress.IPv4Address(text)
    except ValueError:
        return None
