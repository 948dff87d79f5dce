"""What a container's configuration should be: its spec, and the place that was found for it. Pure.

A field that is absent has Proxmox VE's default, so that a container is what its spec says; those of a container that
was taken over are left as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from homeport.api.lxccontainer import LXCContainerSpec
from homeport.api.lxcparts import ContainerMount, ContainerNetwork, StartupOrder
from homeport.plan import quantities
from homeport.plan.agent import Interface
from homeport.plan.lxc import owner as owners
from homeport.plan.lxc.owner import Owner
from homeport.plan.proxmox import sizes
from homeport.plan.proxmox.properties import Network

DEFAULT_ROOT = "8Gi"


@dataclass(frozen=True)
class Unmanaged:
    """A container of an image whose network Proxmox VE doesn't set up (before 9.1): init does."""

    interfaces: tuple[Interface, ...]
    """What it is told."""
    hostname: str | None = None
    """The claim that is its name until its agent has said hello."""


@dataclass(frozen=True)
class Place:
    """Where a container is, or is to be made, and what its environment and host bring."""

    host: str
    node: str
    owner: Owner
    storage: str | None = None
    """Of disks that name none."""
    pool: str | None = None
    template: str | None = None
    """The volume that it is made of."""
    bridge: str | None = None
    vlan: int | None = None
    gateway: str | None = None
    addresses: Mapping[str, str] = field(default_factory=dict)
    """By interface: what was allocated for ``auto``, with its prefix."""
    macs: Mapping[str, str] = field(default_factory=dict)
    """By interface: the MAC that a new container has from the one whose place it takes."""
    cidr: str | None = None
    """Where addresses are allocated from."""
    init: str | None = None
    """The entrypoint that Homeport sets, for software."""
    init_env: Mapping[str, str] | None = None
    """Its environment."""
    unmanaged: Unmanaged | None = None
    """What a host before 9.1 leaves to init."""
    public_keys: str | None = None
    """Lines of root's authorized_keys, for a container that is made."""

    @property
    def vmid(self) -> int:
        """The VMID."""
        return self.owner.vmid


@dataclass(frozen=True)
class WantedMount:
    """A volume, and where it is mounted."""

    name: str
    path: str
    storage: str | None
    size: int
    """In bytes."""
    backup: bool = False
    read_only: bool = False
    replicate: bool | None = None
    acl: bool | None = None
    deletion: str = "Retain"


@dataclass(frozen=True)
class Wanted:
    """What should be. ``options`` has what is a text in PVE; None is absent."""

    options: Mapping[str, str | None]
    networks: Mapping[str, Network]
    """By the interface's name."""
    mounts: tuple[WantedMount, ...]
    tags: frozenset[str] | None
    """None: as they are, and ours."""
    text: str | None
    """The user's part of the description; None: as it is."""
    owner: Owner
    nesting: bool | None
    """None: as it is."""
    root_storage: str | None = None
    root_size: int | None = None
    unprivileged: bool | None = None
    template: str | None = None
    pool: str | None = None
    public_keys: str | None = None
    """At creation only."""
    partial: bool = False
    """Whether what it doesn't speak of is left alone: an adopted container."""


def wanted(name: str, spec: LXCContainerSpec, place: Place, *, adopted: bool = False) -> Wanted:
    """What the container should be."""
    root = spec.rootfs
    nesting = spec.features.nesting if spec.features is not None else None
    return Wanted(
        options=_given(spec, place) if adopted else {**_defaults(name), **_given(spec, place)},
        networks=_networks(spec, place, adopted),
        mounts=tuple(_mount(mount, place) for mount in spec.mounts or ()),
        tags=None if adopted and spec.tags is None else frozenset({*(spec.tags or ()), owners.TAG}),
        text=None if adopted and spec.description is None else owners.text(spec.description or ""),
        owner=place.owner,
        nesting=nesting if adopted else bool(nesting),
        root_storage=(root.storage if root is not None else None) or (None if adopted else place.storage),
        root_size=_root_size(spec, adopted),
        unprivileged=spec.unprivileged if adopted or spec.unprivileged is not None else True,
        template=None if adopted else place.template,
        pool=place.pool,
        public_keys=place.public_keys,
        partial=adopted,
    )


def _root_size(spec: LXCContainerSpec, adopted: bool) -> int | None:
    if spec.rootfs is None:
        return None if adopted else sizes.of_quantity(DEFAULT_ROOT)
    return sizes.of_quantity(spec.rootfs.size)


def _defaults(name: str) -> dict[str, str | None]:
    absent = ("cores", "cpulimit", "cpuunits", "onboot", "startup", "nameserver", "searchdomain", "timezone",
              "protection")  # fmt: skip
    return {
        "hostname": name,
        "memory": str(sizes.mebibytes(sizes.DEFAULT_MEMORY)),
        "swap": str(sizes.mebibytes(sizes.DEFAULT_MEMORY)),
        **dict.fromkeys(absent),
    }


def _given(spec: LXCContainerSpec, place: Place) -> dict[str, str | None]:
    """What the spec says, by PVE's names."""
    dns = spec.dns
    env = place.init_env if place.init_env is not None else spec.env
    found: dict[str, str | None] = {
        "hostname": (place.unmanaged.hostname if place.unmanaged is not None else None) or spec.hostname,
        "cores": str(spec.cores) if spec.cores is not None else None,
        "cpulimit": _cpus(spec.cpu_limit) if spec.cpu_limit is not None else None,
        "cpuunits": str(spec.cpu_units) if spec.cpu_units is not None else None,
        "memory": str(sizes.mebibytes(spec.memory)) if spec.memory is not None else None,
        "swap": str(sizes.mebibytes(spec.swap)) if spec.swap is not None else None,
        "onboot": _flag(spec.on_boot),
        "protection": _flag(spec.protection),
        "startup": _startup(spec.startup) if spec.startup is not None else None,
        "nameserver": " ".join(dns.servers) if dns is not None and dns.servers else None,
        "searchdomain": dns.domain if dns is not None and dns.domain else None,
        "timezone": spec.timezone,
        "ostype": spec.ostype if place.unmanaged is None else "unmanaged",
        "entrypoint": place.init or spec.entrypoint,
        "env": environment(env) if env is not None else None,
    }
    return {key: value for key, value in found.items() if value is not None}


def _flag(value: bool | None) -> str | None:
    return None if value is None else str(int(value))


def _cpus(quantity: str) -> str:
    value = quantities.nanos(quantity) / 10**9
    return str(int(value)) if value == int(value) else f"{value:g}"


def _startup(order: StartupOrder) -> str:
    parts = (("order", order.order), ("up", order.up), ("down", order.down))
    return ",".join(f"{key}={value}" for key, value in parts if value is not None)


def environment(env: Mapping[str, str]) -> str:
    """``env`` as PVE keeps it: NUL between variables (pve-container ``LXC/Config.pm``, 9.1)."""
    return "\0".join(f"{name}={env[name]}" for name in sorted(env))


def _networks(spec: LXCContainerSpec, place: Place, adopted: bool) -> dict[str, Network]:
    given = spec.networks
    if given is None:
        if adopted or place.bridge is None:
            return {}
        given = (ContainerNetwork(name="eth0"),)
    return {network.name: _network(network, place) for network in given}


def address_mode(network: ContainerNetwork, place: Place) -> str:
    """``auto``, ``dhcp``, ``manual``, or the address."""
    return network.address or ("auto" if place.cidr is not None else "dhcp")


def _network(network: ContainerNetwork, place: Place) -> Network:
    mode = address_mode(network, place)
    automatic = mode == "auto"
    return Network(
        name=network.name,
        bridge=network.bridge or place.bridge,
        hwaddr=network.hwaddr.upper() if network.hwaddr else place.macs.get(network.name),
        ip=place.addresses.get(network.name) if automatic else mode,
        gw=network.gateway or (place.gateway if automatic else None),
        ip6="auto" if network.address6 == "slaac" else network.address6,
        gw6=network.gateway6,
        tag=network.vlan or (place.vlan if network.bridge in (None, place.bridge) else None),
        mtu=network.mtu,
        firewall=network.firewall,
        link_down=network.link_down,
    )


def _mount(mount: ContainerMount, place: Place) -> WantedMount:
    return WantedMount(
        mount.name,
        mount.path,
        mount.storage or place.storage,
        sizes.of_quantity(mount.size),
        bool(mount.backup),
        bool(mount.read_only),
        mount.replicate,
        mount.acl,
        mount.deletion_policy or "Retain",
    )
