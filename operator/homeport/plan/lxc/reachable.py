"""Which addresses a container has. Root in it can put any address on its interfaces, so that what it tells is believed
only where nothing was given: of DHCP, SLAAC, and what it sees to by itself. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping

from homeport.plan.proxmox.properties import Network

Networks = Mapping[str, Network]
"""As they are configured on the host, which nobody in the container can change."""


def given(networks: Networks) -> tuple[str, ...]:
    """The addresses that its interfaces are configured with, without prefixes."""
    values = [address for network in networks.values() for address in (network.ip, network.ip6)]
    return tuple(address.partition("/")[0] for address in values if address is not None and "/" in address)


def asks(networks: Networks) -> bool:
    """Whether it may have addresses that it wasn't given."""
    return any("/" not in (address or "/") for one in networks.values() for address in (one.ip, one.ip6))


def of(networks: Networks, told: Iterable[str]) -> tuple[str, ...]:
    """Its addresses: what it was given, and then what it tells, if it has any of its own."""
    known = given(networks)
    more = (address for address in told if address not in known and _is_hosts(address)) if asks(networks) else ()
    return (*known, *more)


def checkable(networks: Networks, addresses: Iterable[str], cidr: str | None) -> tuple[str, ...]:
    """Those that may be connected to from here: it was given them, or they are in its environment's network. Any other
    may be a machine that it has nothing to do with."""
    known, network = given(networks), ipaddress.ip_network(cidr, strict=False) if cidr is not None else None
    return tuple(
        address
        for address in addresses
        if address in known or (network is not None and ipaddress.ip_address(address) in network)
    )


def _is_hosts(address: str) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    return not (found.is_loopback or found.is_link_local or found.is_multicast or found.is_unspecified)
