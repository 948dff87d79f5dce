"""The parts of an LXC container: disks, mounts, interfaces, features. Names are Proxmox VE's, sizes Kubernetes's.

Sources: pve-container ``LXC/Config.pm`` (``$confdesc``, ``$netconf_desc``, ``$mp_desc``, ``$features_desc``) and
``LXC.pm`` (``check_ct_modify_config_perm``: what root@pam alone may set).
"""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, ClassVar, Literal

from pydantic import Field, StrictBool, StrictInt

from homeport.api.base import (
    ATOMIC,
    SET,
    Duration,
    HostName,
    Label,
    ListMap,
    Model,
    Quantity,
    Rule,
    ShortText,
    matches,
)
from homeport.api.component import CronSchedule
from homeport.api.pod import AbsolutePath, Port
from homeport.api.proxmoxhost import BridgeName

Vmid = Annotated[StrictInt, Field(ge=100, le=999999999)]

ROOT_ONLY = "Proxmox VE lets root@pam alone set it, which an API token never is"

VolumeStorage = Annotated[
    str,
    Field(min_length=1, max_length=253),
    Rule(
        "!self.startsWith('/')",
        f"a bind mount or device: {ROOT_ONLY}; write a storage's name such as local-lvm, or have an administrator run "
        "pct set",
        lambda storage: not storage.startswith("/"),
    ),
    matches(
        r"^(/.*|[A-Za-z][-A-Za-z0-9._]*[A-Za-z0-9])$",
        "write a storage's name: letters, digits, '-', '.' and '_', starting with a letter",
    ),
]

_PART = r"([^/.,=;\x00-\x20\x7f]|[.][^/,=;\x00-\x20\x7f])[^/,=;\x00-\x20\x7f]*"
MOUNT_PATH = matches(
    rf"^([^/].*|/|(/{_PART})+)$",
    "write a path as Proxmox VE keeps it: without ',', '=', ';' or spaces, '//' or '/./', and without a '/' at its end",
)
"""Where a volume is mounted: one value of a property string, and what PVE makes no other text of."""


def is_mount_path(path: str) -> bool:
    """Whether a volume can be mounted there."""
    return MOUNT_PATH.check is None or MOUNT_PATH.check(path)


_NETWORKS_OWN = "([.]0/(2[4-9]|30)|[.]0[.]0/16|[.]0[.]0[.]0/8)$"
"""Addresses of networks, as far as a pattern can tell: computing them costs more than the API server lets a rule."""
_V4 = r"[0-9]{1,3}([.][0-9]{1,3}){3}"


def _network(address: str) -> ipaddress.IPv4Interface | ipaddress.IPv6Interface | None:
    try:
        return ipaddress.ip_interface(address) if "/" in address else None
    except ValueError:
        return None


def _is_static(address: str) -> bool:
    return address in _WORDS or isinstance(_network(address), ipaddress.IPv4Interface)


def _is_static6(address: str) -> bool:
    return address in ("dhcp", "slaac") or isinstance(_network(address), ipaddress.IPv6Interface)


def _inside(address: str | None, gateway: str | None) -> bool:
    if gateway is None:
        return True
    found = _network(address or "")
    try:
        return found is None or ipaddress.ip_address(gateway) in found.network
    except ValueError:
        return True


_WORDS = ("dhcp", "auto", "manual")


class RootDisk(Model):
    """The root disk."""

    storage: VolumeStorage | None = None
    """The storage; absent means the environment's."""
    size: Quantity = "8Gi"
    """Its size. It can grow and never shrinks."""
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "quantity(string(self.size)).compareTo(quantity(string(oldSelf.size))) >= 0",
            "a disk can't shrink: Proxmox VE has no way to make a file system smaller; write at least the present size",
            None,
            ".size",
        ),
    )


class ContainerMount(Model):
    """A volume of the container's own, and where it is mounted."""

    name: Label
    """Its name; a volume is known by it."""
    path: Annotated[AbsolutePath, MOUNT_PATH]
    """Where it is mounted."""
    storage: VolumeStorage | None = None
    """The storage; absent means the environment's."""
    size: Quantity
    """Its size. It can grow and never shrinks."""
    backup: StrictBool | None = None
    """Whether vzdump takes it along; absent means no, as in Proxmox VE."""
    read_only: StrictBool | None = None
    """Mount it read-only."""
    replicate: StrictBool | None = None
    """Whether storage replication takes it along; absent means yes."""
    acl: StrictBool | None = None
    """Whether POSIX ACLs work in it; absent means the file system's default."""
    deletion_policy: Literal["Delete", "Retain"] | None = None
    """What happens to its data when it leaves the spec: Retain detaches it and keeps it as an unused volume of the
    container. Absent means Retain."""
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "quantity(string(self.size)).compareTo(quantity(string(oldSelf.size))) >= 0",
            "a volume can't shrink: Proxmox VE has no way to make a file system smaller; write at least the present "
            "size, or make a smaller volume under another name",
            None,
            ".size",
        ),
        Rule("self.path != '/'", "the root disk is rootfs; write another path", lambda s: s.path != "/", ".path"),
    )


class ContainerNetwork(Model):
    """One interface."""

    name: Annotated[
        str,
        Field(min_length=1, max_length=15),
        matches(r"^[a-z][-_.a-z0-9]*$", "write an interface's name such as eth0"),
        Rule("self != 'lo'", "lo is always there; write an interface's name such as eth0", lambda name: name != "lo"),
    ]
    """Its name in the container."""
    bridge: BridgeName | None = None
    """The bridge on the node; absent means the environment's."""
    address: (
        Annotated[
            str,
            Field(max_length=18),
            Rule(
                rf"self in ['dhcp', 'auto', 'manual'] || (self.matches('^{_V4}/[0-9]{{1,2}}$') && isCIDR(self))",
                "write an address with its prefix such as 10.20.0.10/24, dhcp, auto (allocated from the environment's "
                "cidr), or manual (the container sees to it)",
                _is_static,
            ),
        ]
        | None
    ) = None
    """IPv4: an address with its prefix, dhcp, auto or manual; absent means auto where the environment has a cidr, else
    dhcp."""
    gateway: (
        Annotated[
            str,
            Field(max_length=15),
            matches(rf"^{_V4}$", "write an IPv4 address such as 10.20.0.1"),
        ]
        | None
    ) = None
    """The IPv4 gateway; with auto, absent means the environment's."""
    address6: (
        Annotated[
            str,
            Field(max_length=43),
            Rule(
                "self in ['dhcp', 'slaac'] || (self.contains(':') && isCIDR(self))",
                "write an IPv6 address with its prefix such as fd00:20::10/64, dhcp or slaac",
                _is_static6,
            ),
        ]
        | None
    ) = None
    """IPv6: an address with its prefix, dhcp, or slaac; absent means none."""
    gateway6: (
        Annotated[
            str,
            Field(max_length=39),
            matches(r"^[0-9A-Fa-f]*:[0-9A-Fa-f:.]*$", "write an IPv6 address such as fd00:20::1"),
        ]
        | None
    ) = None
    """The IPv6 gateway."""
    vlan: Annotated[StrictInt, Field(ge=1, le=4094)] | None = None
    """The VLAN tag; absent means the environment's."""
    firewall: StrictBool | None = None
    """Whether Proxmox VE's firewall sees to it; absent means no."""
    hwaddr: (
        Annotated[
            str,
            Field(max_length=17),
            matches(
                r"^[0-9A-Fa-f][02468ACEace](:[0-9A-Fa-f]{2}){5}$",
                "write a MAC address of one host such as BC:24:11:00:00:2A: six pairs of hexadecimal digits, the first "
                "pair even",
            ),
        ]
        | None
    ) = None
    """The MAC address; absent means the one that Proxmox VE made up, which stays."""
    mtu: Annotated[StrictInt, Field(ge=576, le=65535)] | None = None
    """The MTU; absent means the bridge's."""
    link_down: StrictBool | None = None
    """True unplugs it."""
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.gateway) || !has(self.address) || !isCIDR(self.address) || !isIP(self.gateway) || "
            "cidr(self.address).containsIP(self.gateway)",
            "the gateway isn't in the address's network; write one that is, or a shorter prefix",
            lambda s: _inside(s.address, s.gateway),
            ".gateway",
        ),
        Rule(
            "!has(self.gateway) || isIP(self.gateway)",
            "write an IPv4 address such as 10.20.0.1",
            lambda s: s.gateway is None or _is_ip(s.gateway),
            ".gateway",
        ),
        Rule(
            "!has(self.gateway) || !has(self.address) || !(self.address in ['dhcp', 'manual'])",
            "a gateway is for static addresses and auto; leave it out",
            lambda s: s.gateway is None or s.address not in ("dhcp", "manual"),
            ".gateway",
        ),
        Rule(
            f"!has(self.address) || !self.address.matches('{_NETWORKS_OWN}')",
            "that is the network's own address; write a host's, such as 10.20.0.10/24",
            lambda s: re.search(_NETWORKS_OWN, s.address or "") is None,
            ".address",
        ),
        Rule(
            "!has(self.gateway6) || (has(self.address6) && isCIDR(self.address6) && isIP(self.gateway6))",
            "a gateway6 is an IPv6 address, and for a static address6; write both, or leave it out",
            lambda s: s.gateway6 is None or (_network(s.address6 or "") is not None and _is_ip(s.gateway6)),
            ".gateway6",
        ),
    )


def _is_ip(address: str) -> bool:
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return True


class ContainerDns(Model):
    """How names are resolved; absent parts mean the node's."""

    servers: (
        Annotated[
            tuple[
                Annotated[
                    str,
                    Field(max_length=39),
                    Rule("isIP(self)", "write an address such as 10.20.0.1 or fd00:20::1", _is_ip),
                ],
                ...,
            ],
            Field(min_length=1, max_length=3),
            ATOMIC,
        ]
        | None
    ) = None
    """Name servers, in this order."""
    domain: HostName | None = None
    """The search domain."""


class ContainerFeatures(Model):
    """What it may do beyond the usual. Only nesting can be set by a token; what root has set stays as it is."""

    nesting: StrictBool | None = None
    """Whether containers may run in it, and systemd may shut its services off from each other."""
    keyctl: StrictBool | None = None
    """Refused: root@pam's alone."""
    fuse: StrictBool | None = None
    """Refused: root@pam's alone."""
    mknod: StrictBool | None = None
    """Refused: root@pam's alone."""
    mount: Annotated[tuple[ShortText, ...], Field(max_length=8), SET] | None = None
    """Refused: root@pam's alone."""
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.keyctl) && !has(self.fuse) && !has(self.mknod) && !has(self.mount)",
            f"nesting is the only feature that can be set here: of the others, {ROOT_ONLY}; leave them out and have an "
            "administrator run pct set, they are kept",
            lambda s: all(value is None for value in (s.keyctl, s.fuse, s.mknod, s.mount)),
        ),
    )


class StartupOrder(Model):
    """When the node starts and stops it, among its other guests."""

    order: Annotated[StrictInt, Field(ge=0, le=999999)] | None = None
    """Lower numbers start first and stop last."""
    up: Annotated[StrictInt, Field(ge=0, le=86400)] | None = None
    """Seconds until the next one is started."""
    down: Annotated[StrictInt, Field(ge=0, le=86400)] | None = None
    """Seconds until the next one is stopped."""


class RebootWindow(Model):
    """When it may be rebooted for changes that wait."""

    schedule: CronSchedule
    """When the window opens."""
    duration: Duration = "1h"
    """For how long it is open."""
    time_zone: ShortText | None = None
    """The time zone of schedule, such as Europe/Rome; absent means UTC."""


class Adopt(Model):
    """What must be so before a container that exists is taken over."""

    expect_hostname: Annotated[str, Field(min_length=1, max_length=253)]
    """The hostname that it must have."""


class ContainerService(Model):
    """How Kubernetes reaches it: a Service without selector, and an EndpointSlice with its address, under its name."""

    ports: Annotated[tuple[Port, ...], Field(min_length=1, max_length=16), ListMap("name")]
    """Its ports."""


PortNumber = Annotated[StrictInt, Field(ge=1, le=65535)]
Seconds = Annotated[StrictInt, Field(ge=1, le=3600)]


class HealthCheck(Model):
    """A check from the operator, of the container's first address."""

    path: Annotated[str, Field(min_length=1, max_length=1024)] | None = None
    """An HTTP GET of this path must answer 200 to 399."""
    scheme: Literal["HTTP", "HTTPS"] | None = None
    """For path; absent means HTTP. Certificates aren't checked, as in a Pod's probes."""
    port: PortNumber | None = None
    """For path; absent means 80, and 443 with HTTPS."""
    tcp: PortNumber | None = None
    """This port must accept a connection."""
    period_seconds: Seconds = 30
    """Seconds between checks."""
    timeout_seconds: Annotated[StrictInt, Field(ge=1, le=30)] = 5
    """Seconds after which a check counts as failed."""
    failure_threshold: Annotated[StrictInt, Field(ge=1, le=100)] = 3
    """Failures in a row that make it unhealthy."""
    start_seconds: Seconds = 120
    """How long it may take to become well after a start or a change."""
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.path) != has(self.tcp)",
            "write exactly one of path and tcp; commands can't be run from here, software.probes may have exec",
            lambda s: (s.path is None) != (s.tcp is None),
        ),
        Rule(
            "!has(self.path) || self.path.startsWith('/')",
            "path must start with '/'",
            lambda s: s.path is None or s.path.startswith("/"),
        ),
    )
