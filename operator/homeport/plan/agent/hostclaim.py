"""A claim as a hostname: how it comes in before Proxmox VE 9.1, whose containers have no environment. Pure.

Nothing else that differs by container reaches the root filesystem of an image there, and nobody sets up its network:
so the 63 characters of the name have the claim, and as much of the network as init needs to reach the operator. What
reads it is ``operator/init/hostclaim.go``. Decision 018 says why.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface

PREFIX = "hp"
LENGTH = 63
"""A label of a domain name has no more; the kernel takes 64."""
TOKEN_DIGITS = 32
"""Hexadecimal digits of a claim's token that fit: 128 bits."""
_NAME_DIGITS = 16
_FORM = re.compile(rf"{PREFIX}[a-z2-7]{{{LENGTH - len(PREFIX)}}}")
_NONE = IPv4Address(0)


@dataclass(frozen=True)
class Bootstrap:
    """The network that init sets up before it can ask."""

    interface: str
    address: IPv4Interface
    gateway: IPv4Address | None = None
    nameserver: IPv4Address | None = None

    @property
    def mark(self) -> int:
        """What of the interface's name fits into the claim."""
        return mark(self.interface)


def mark(interface: str) -> int:
    """One byte that tells a container's interfaces apart, unless two happen to have the same."""
    return hashlib.sha256(interface.encode()).digest()[0]


def hostname(claim: str, token: str, network: Bootstrap) -> str:
    """The hostname of a container that hasn't said hello yet. ``claim`` and ``token`` are hexadecimal.

    Raises ValueError for a claim's name that isn't 16 digits, or a token with less than 32.
    """
    raw = bytes.fromhex(claim) + bytes.fromhex(token[:TOKEN_DIGITS])
    if len(claim) != _NAME_DIGITS or len(raw) != (_NAME_DIGITS + TOKEN_DIGITS) // 2:
        raise ValueError("a claim's name has 16 digits, and its token 32 at least")
    raw += network.address.ip.packed + bytes([network.address.network.prefixlen])
    raw += (network.gateway or _NONE).packed + (network.nameserver or _NONE).packed + bytes([network.mark])
    return PREFIX + base64.b32encode(raw).decode().rstrip("=").lower()


def is_claim(name: str | None) -> bool:
    """Whether a hostname is such a claim, which is nobody's to read."""
    return name is not None and _FORM.fullmatch(name) is not None


def shown(name: str | None) -> str:
    """A hostname as people may see it."""
    return name if name and not is_claim(name) else "…"
