"""Where messages may be sent to: what a user writes must not reach what only this machine can.

Refused are this machine itself, the link (where clouds answer with an instance's credentials, on 169.254.169.254 and
fd00:ec2::254), and what is nobody's address; and the two addresses of clouds' metadata that lie elsewhere. Networks of
one's own (10.0.0.0/8 and so on) are allowed: that is where most mail servers and chats are. An address is judged after
its name was resolved, and it is what is connected to: a name that means another address the next moment gains nothing.

Source: https://www.iana.org/assignments/iana-ipv4-special-registry, …/iana-ipv6-special-registry
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

Address = IPv4Address | IPv6Address
_METADATA = frozenset({ip_address("100.100.100.200"), ip_address("fd00:ec2::254"), ip_address("168.63.129.16")})
_NAT64 = ip_network("64:ff9b::/96")


class NotAllowed(OSError):  # noqa: N818 - it is an OSError so that aiohttp passes it on
    """An address that isn't sent to."""


class Guard:
    """``allowed``: networks that are sent to all the same, as an administrator says."""

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        self._allowed: tuple[IPv4Network | IPv6Network, ...] = tuple(ip_network(one) for one in allowed)

    def named(self, address: str) -> bool:
        """Whether an administrator allowed just this address."""
        found = _plain(ip_address(address))
        return any(found in network for network in self._allowed)

    def check(self, host: str, address: str) -> None:
        """Raises NotAllowed."""
        found = _plain(ip_address(address.partition("%")[0]))
        if any(found in network for network in self._allowed) or not _special(found):
            return
        raise NotAllowed(
            f"{host} is {found}, which isn't sent to: it is this machine, the link, or a cloud's metadata; the "
            "operator's flag --notify-allow opens a network"
        )

    async def addresses(self, host: str, port: int, family: socket.AddressFamily = socket.AF_UNSPEC) -> list[str]:
        """The addresses of a host, all of which may be sent to. Raises OSError, NotAllowed among them."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM, family=family)
        out = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        for address in out:
            self.check(host, address)
        return out


class Resolver(AbstractResolver):
    """The guard as aiohttp's resolver. Addresses that are written as such aren't resolved: check those before."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Its addresses."""
        found = await self._guard.addresses(host, port, socket.AddressFamily(family))
        return [_result(host, port, address) for address in found]

    async def close(self) -> None:
        """Nothing is held."""


def _result(host: str, port: int, address: str) -> ResolveResult:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    flags: Any = socket.AI_NUMERICHOST
    return {"hostname": host, "host": address, "port": port, "family": family, "proto": 0, "flags": flags}


def _plain(address: Address) -> Address:
    """An IPv4 address in whatever IPv6 clothes."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address.sixtofour is not None:
            return address.sixtofour
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _special(address: Address) -> bool:
    return (
        address.is_loopback
        or address.is_link_local
        or address.is_unspecified
        or address.is_multicast
        or address.is_reserved
        or address in _METADATA
        or (isinstance(address, IPv4Address) and address in ip_network("0.0.0.0/8"))
        or (isinstance(address, IPv6Address) and address.is_site_local)
    )
