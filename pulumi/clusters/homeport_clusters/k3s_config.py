"""The block ``k3s`` of a cluster: a Kubernetes of k3s on LXC containers of Proxmox VE.

What can be told to be wrong from the file alone is said here, before anything is asked of anybody.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from homeport.drivers.proxmox.config import ConfigError, Endpoint, HostConfig, Token, Trust
from homeport.plan.proxmox import sizes
from homeport_clusters.model import Model, refused

Label = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9._-]{0,62}$")]
Address = ipaddress.IPv4Address
SERVERS_AT_MOST, AGENTS_AT_MOST = 7, 100
LEAST_SERVER, LEAST_AGENT = 1 << 30, 512 << 20
"""Bytes of memory without which k3s doesn't run: a server with embedded etcd needs more than an agent."""


def _address(text: str, where: str) -> Address:
    try:
        return ipaddress.IPv4Address(text)
    except ValueError:
        raise refused(
            f"{where}: {text!r} isn't an IPv4 address; write one such as 10.20.5.11, without prefix"
        ) from None


def _usable(found: Address, subnet: ipaddress.IPv4Network, on: NodeNetwork, where: str) -> None:
    if found not in subnet:
        raise refused(f"{where}: {found} is outside network.cidr {subnet}")
    if subnet.prefixlen < subnet.max_prefixlen - 1 and found in (subnet.network_address, subnet.broadcast_address):
        raise refused(f"{where}: {found} is the network's own or its broadcast address; write another one")
    if on.gateway is not None and found == ipaddress.IPv4Address(on.gateway):
        raise refused(f"{where}: {found} is the gateway's; write another one")


def _memory(text: str, least: int, group: str) -> None:
    if sizes.of_quantity(text) < least:
        raise refused(f"{group}.memory {text} is too little for k3s; write at least {sizes.quantity(least)}")


class SecretText(Model):
    """Where a secret is: never in the file itself. Exactly one of ``env`` and ``file``."""

    env: str | None = None
    """The environment variable that has it."""
    file: str | None = None
    """The file that has it and nothing else; from the folder of cluster.yaml if it is relative."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.env is None) == (self.file is None):
            raise refused("write exactly one of env and file")
        return self

    def read(self, folder: Path) -> str:
        """The secret. Raises ValueError, which says what to do and nothing of the secret."""
        if self.env is not None:
            if not (found := os.environ.get(self.env, "")):
                raise ValueError(f"the environment variable {self.env} is empty or not set; export it")
            return found
        path = folder / Path(str(self.file)).expanduser()
        try:
            return path.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ValueError(f"{path} can't be read: {error.strerror}") from None


class ProxmoxEndpoint(Model):
    """One way in: any node of the Proxmox VE cluster."""

    url: str
    """Such as ``https://pve1.lab:8006``."""
    fingerprint: str | None = None
    """SHA-256 of its certificate, as Proxmox VE shows it (node, System, Certificates)."""
    ca: str | None = None
    """A file with the CA's certificate (PEM), such as a copy of ``/etc/pve/pve-root-ca.pem``."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.fingerprint is None) == (self.ca is None):
            raise refused(f"say how {self.url} is known: write exactly one of fingerprint and ca")
        try:
            Endpoint(self.url, Trust(fingerprint=self.fingerprint) if self.fingerprint else Trust(ca="-"))
        except ConfigError as error:
            raise refused(str(error)) from None
        return self


class Proxmox(Model):
    """The Proxmox VE on which the containers are, and the token by which they are made."""

    endpoints: Annotated[tuple[ProxmoxEndpoint, ...], Field(min_length=1, max_length=8)]
    """In the order in which they are tried."""
    token_id: str
    """An API token's id, such as `homeport@pve!clusters`; docs/k3s-on-proxmox.md says what it has to be allowed."""
    token_secret: SecretText
    """Where the token's secret is."""
    concurrent_tasks: Annotated[int, Field(ge=1, le=16)] = 4
    """How many tasks of ours run there at the same time."""

    @field_validator("token_id")
    @classmethod
    def _token(cls, value: str) -> str:
        try:
            Token(value, "-")
        except ConfigError as error:
            raise refused(str(error)) from None
        return value

    def host(self, folder: Path) -> Mapping[str, object]:
        """What a provider is told, without the secret. Raises ValueError when a CA can't be read."""
        told = []
        for one in self.endpoints:
            ca = None
            if one.ca is not None:
                path = folder / Path(one.ca).expanduser()
                try:
                    ca = path.read_text(encoding="ascii")
                except (OSError, ValueError) as error:
                    raise ValueError(f"proxmox.endpoints: the CA {path} can't be read: {error}") from None
            told.append({"url": one.url, "fingerprint": one.fingerprint, "ca": ca})
        return {"endpoints": told, "tokenId": self.token_id, "concurrentTasks": self.concurrent_tasks}


def host_config(told: Mapping[str, object], secret: str) -> HostConfig:
    """The driver's configuration of what ``Proxmox.host`` told. Raises ConfigError."""
    endpoints = tuple(
        Endpoint(one["url"], Trust(ca=one.get("ca") or None, fingerprint=one.get("fingerprint") or None))
        for one in told["endpoints"]  # type: ignore[attr-defined]
    )
    token = Token(str(told["tokenId"]), secret)
    # Numbers come back from Pulumi's state as floats.
    return HostConfig(endpoints, token, concurrent_tasks=int(str(told["concurrentTasks"]).partition(".")[0]))


class VmidRange(Model):
    """VMIDs from which the containers get theirs: the lowest that is free."""

    min: Annotated[int, Field(ge=100, le=999_999_999)] = 100
    """The first."""
    max: Annotated[int, Field(ge=100, le=999_999_999)] = 999_999_999
    """The last."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min > self.max:
            raise refused(f"vmids: min {self.min} is above max {self.max}")
        return self


class NodeNetwork(Model):
    """The network of the containers."""

    bridge: Label
    """The bridge, such as ``vmbr0``; it has to be on every node of Proxmox VE that is used."""
    vlan: Annotated[int, Field(ge=1, le=4094)] | None = None
    """The VLAN's tag."""
    mtu: Annotated[int, Field(ge=576, le=65535)] | None = None
    """The MTU; absent: the bridge's."""
    cidr: str | None = None
    """The subnet of the addresses below; absent: addresses come by DHCP."""
    gateway: str | None = None
    """The router, inside ``cidr``. Absent: the containers reach their own subnet only, which is enough for k3s
    without images from elsewhere; flannel still wants a default route."""
    nameservers: Annotated[tuple[str, ...], Field(max_length=3)] = ()
    """Addresses of name servers; none: those of the Proxmox VE node."""

    @field_validator("nameservers")
    @classmethod
    def _nameservers(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for one in value:
            _address(one, "network.nameservers")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        subnet = self.subnet
        if self.gateway is not None:
            if subnet is None:
                raise refused("network.gateway goes with network.cidr; with DHCP the router comes by DHCP")
            if _address(self.gateway, "network.gateway") not in subnet:
                raise refused(f"network.gateway {self.gateway} is outside network.cidr {self.cidr}")
        return self

    @property
    def subnet(self) -> ipaddress.IPv4Network | None:
        """``cidr``, parsed. Raises ValueError."""
        if self.cidr is None:
            return None
        try:
            return ipaddress.IPv4Network(self.cidr)
        except ValueError:
            raise refused(f"network.cidr: {self.cidr!r} isn't an IPv4 subnet; write one such as 10.20.5.0/24") from None


class Machines(Model):
    """What each container of a group has."""

    count: int
    """How many there are."""
    cores: Annotated[int, Field(ge=1, le=8192)] = 2
    """CPU cores of each."""
    memory: str = "2Gi"
    """Memory of each. There is no swap: the kubelet's view of memory would be wrong."""
    disk: str = "16Gi"
    """Root disk of each: k3s, its images, and what Pods write."""
    nodes: Annotated[tuple[Label, ...], Field(max_length=64)] = ()
    """Nodes of Proxmox VE, taken in turn; none: the one with the most free memory."""
    addresses: Annotated[tuple[str, ...], Field(max_length=AGENTS_AT_MOST)] = ()
    """A static address for each, without prefix; none: DHCP."""

    @field_validator("memory", "disk")
    @classmethod
    def _size(cls, value: str) -> str:
        try:
            sizes.of_quantity(value)
        except ValueError:
            raise refused(f"{value!r} isn't a size; write one such as 4Gi") from None
        return value


class Servers(Machines):
    """The containers with the control plane; with more than one, etcd is embedded and spread over them."""

    count: Annotated[int, Field(ge=1, le=SERVERS_AT_MOST)] = 1
    """An odd number, so that a majority is left when one fails."""

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if self.count % 2 == 0:
            raise refused(
                f"servers.count is {self.count}: of an even number of servers no more may fail than of one less, and "
                f"etcd stops without a majority; write {self.count - 1} or {self.count + 1}"
            )
        _memory(self.memory, LEAST_SERVER, "servers")
        return self


class Agents(Machines):
    """The containers that only run Pods. With none, Pods run on the servers."""

    count: Annotated[int, Field(ge=0, le=AGENTS_AT_MOST)] = 0
    """How many there are."""

    @model_validator(mode="after")
    def _sound(self) -> Self:
        _memory(self.memory, LEAST_AGENT, "agents")
        return self


class Artifact(Model):
    """A file that is brought into the containers."""

    source: str
    """``https://…``, ``http://…`` (a mirror), or a path from the folder of cluster.yaml."""
    sha256: str
    """Its SHA-256: what differs isn't used. Of k3s' own releases it is in ``sha256sum-amd64.txt``."""

    @field_validator("sha256")
    @classmethod
    def _digest(cls, value: str) -> str:
        if re.fullmatch(r"[0-9a-fA-F]{64}", value) is None:
            raise refused("sha256 is 64 hexadecimal digits; `sha256sum FILE` prints them")
        return value.lower()

    @property
    def is_url(self) -> bool:
        """Whether it is fetched."""
        return self.source.startswith(("https://", "http://"))

    @field_validator("source")
    @classmethod
    def _known(cls, value: str) -> str:
        if "://" in value and not value.startswith(("https://", "http://")):
            raise refused(f"{value!r}: write an https:// or http:// URL, or a path")
        return value


class Release(Model):
    """The k3s that is installed. It is fetched by this machine, never by the containers: they need no way out."""

    version: Annotated[str, StringConstraints(pattern=r"^v1\.\d+\.\d+\+k3s\d+$")]
    """Such as ``v1.33.5+k3s1``."""
    binary: Artifact
    """The program ``k3s``."""
    images: Artifact | None = None
    """`k3s-airgap-images-amd64.tar.zst` of the same release. Absent: containerd pulls the images, which needs a way
    out, or `registries`."""


class K3s(Model):
    """k3s on LXC containers of Proxmox VE."""

    proxmox: Proxmox
    """Where the containers are."""
    template: str
    """A template with systemd and an sshd: a volume (``local:vztmpl/FILE``), or a name such as ``debian-12``."""
    storage: Label
    """The storage of the root disks."""
    pool: Label | None = None
    """The resource pool of Proxmox VE."""
    vmids: VmidRange = VmidRange()
    """Where VMIDs are taken from."""
    network: NodeNetwork
    """The containers' network."""
    servers: Servers = Servers()
    """The containers with the control plane."""
    agents: Agents = Agents()
    """The containers that only run Pods."""
    release: Release
    """Which k3s."""
    unprivileged: bool = True
    """Whether root in the containers is nobody on the host. False takes root@pam, see ``docs/k3s-on-proxmox.md``."""
    snapshotter: Literal["overlayfs", "native", "fuse-overlayfs"] = "overlayfs"
    """How containerd stacks image layers. ``native`` works everywhere and copies; ``fuse-overlayfs`` needs the feature
    ``fuse``, which root@pam alone may set."""
    api_address: str | None = None
    """A name or address in front of the servers (a load balancer); absent: the first server's."""
    tls_sans: Annotated[tuple[str, ...], Field(max_length=32)] = ()
    """More names of the API server in its certificate."""
    server_args: Annotated[tuple[str, ...], Field(max_length=64)] = ()
    """More flags of ``k3s server``, such as ``--flannel-backend=host-gw``."""
    agent_args: Annotated[tuple[str, ...], Field(max_length=64)] = ()
    """More flags of ``k3s agent``."""
    registries: str | None = None
    """A ``registries.yaml`` of k3s (a path): mirrors of registries."""
    disable: tuple[Literal["traefik", "servicelb", "metrics-server", "local-storage"], ...] = ()
    """Which of the things that k3s brings are left out. What `addons` brings instead is left out by itself."""

    @field_validator("server_args", "agent_args")
    @classmethod
    def _flags(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for one in value:
            if re.fullmatch(r"--[a-z][a-z0-9-]*(=.*)?", one) is None:
                raise refused(f"{one!r} isn't a flag; write it as --name=value")
            if (name := one[2:].partition("=")[0]) in _OURS:
                raise refused(f"--{name} is set by Homeport; take it out")
        return value

    @model_validator(mode="after")
    def _addresses(self) -> Self:
        taken: dict[Address, str] = {}
        subnet = self.network.subnet
        for group, machines in (("servers", self.servers), ("agents", self.agents)):
            given = machines.addresses
            if given and subnet is None:
                raise refused(f"{group}.addresses needs network.cidr, the subnet that they are in")
            if subnet is not None and len(given) != machines.count:
                raise refused(
                    f"{group}.addresses has {len(given)} addresses and {group}.count is {machines.count}; write one "
                    "for each, or take network.cidr out, and addresses come by DHCP"
                )
            for text in given:
                found = _address(text, f"{group}.addresses")
                if subnet is not None:
                    _usable(found, subnet, self.network, f"{group}.addresses")
                if found in taken:
                    raise refused(
                        f"{group}.addresses: {found} is among {taken[found]}.addresses already; write another one"
                    )
                taken[found] = group
        if self.servers.count > 1 and subnet is None and self.api_address is None:
            raise refused(
                "several servers with addresses by DHCP: write network.cidr and servers.addresses, or apiAddress with "
                "a name that stays"
            )
        return self


_OURS = frozenset({
    "token", "token-file", "server", "cluster-init", "node-name", "node-ip", "tls-san", "snapshotter",
    "write-kubeconfig", "write-kubeconfig-mode", "data-dir", "config", "disable", "private-registry",
})  # fmt: skip


def machines(spec: K3s, cluster: str) -> Iterator[tuple[str, str, Machines, int]]:
    """Each container: its name, ``server`` or ``agent``, its group, and its number in it from 0."""
    for role, group in (("server", spec.servers), ("agent", spec.agents)):
        for number in range(group.count):
            yield f"{cluster}-{role}-{number + 1}", role, group, number
