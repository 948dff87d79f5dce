"""Where a Proxmox VE host is, who we are to it, and how we know that it is the one."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

TIMEOUT = 30.0
"""Seconds for an answer: PVE itself waits 10 s for a container's lock, and passes requests on to other nodes."""
CONNECT_TIMEOUT = 5.0
"""Seconds for a connection, after which the next endpoint is tried."""
PORT = 8006

_TOKEN_ID = re.compile(r"(?P<user>[^\s!@:/]+@[A-Za-z][A-Za-z0-9._-]+)!(?P<name>[A-Za-z][A-Za-z0-9._-]+)")
_FINGERPRINT = re.compile(r"[0-9A-F]{64}")


class ConfigError(ValueError):
    """What can't be used, with what to write instead."""


@dataclass(frozen=True)
class Token:
    """An API token: ``user@realm!name`` and its secret, which is never shown."""

    id: str
    secret: str = field(repr=False)

    def __post_init__(self) -> None:
        if _TOKEN_ID.fullmatch(self.id) is None:
            raise ConfigError("tokenId isn't a token's id; write one such as homeport@pve!operator")
        if not self.secret or re.search(r"\s", self.secret):
            raise ConfigError(
                "tokenSecret is empty or has white space in it; write the token's secret and nothing else"
            )

    @property
    def user(self) -> str:
        """``user@realm``."""
        return self.id.partition("!")[0]

    @property
    def name(self) -> str:
        """The token's own name."""
        return self.id.partition("!")[2]


@dataclass(frozen=True)
class Trust:
    """How an endpoint's certificate is checked: by CAs (PEM), by its SHA-256 fingerprint, or not at all."""

    ca: str | None = None
    fingerprint: str | None = None
    insecure: bool = False

    def __post_init__(self) -> None:
        if (self.ca is not None) + (self.fingerprint is not None) + self.insecure != 1:
            raise ConfigError("say exactly one of a CA, a fingerprint and insecure")
        if self.fingerprint is not None and _FINGERPRINT.fullmatch(self.digest) is None:
            raise ConfigError("a fingerprint is the SHA-256 of the certificate: 64 hexadecimal digits, colons allowed")

    @property
    def digest(self) -> str:
        """The fingerprint without colons."""
        return (self.fingerprint or "").replace(":", "").upper()


@dataclass(frozen=True)
class Endpoint:
    """One way in: any node of the cluster."""

    url: str
    trust: Trust

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme != "https" or not parts.hostname or parts.path.strip("/") or parts.query or parts.username:
            raise ConfigError(f"{self.url!r} isn't an endpoint; write one such as https://pve1.lab:8006")

    @property
    def host(self) -> str:
        """The name or address, without port and brackets."""
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        """8006 unless it says otherwise."""
        return urlsplit(self.url).port or PORT


@dataclass(frozen=True)
class HostConfig:
    """A cluster, or a node on its own: its endpoints in the order in which they are tried."""

    endpoints: tuple[Endpoint, ...]
    token: Token
    concurrent_tasks: int = 4
    """How many of our worker tasks may run there at the same time."""
    timeout: float = TIMEOUT

    def __post_init__(self) -> None:
        if not self.endpoints:
            raise ConfigError("there is no endpoint")
