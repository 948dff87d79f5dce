"""What PVE's API says of a host, typed: its version, cluster, nodes, storages, guests, templates, interfaces.

Source: pve-manager ``API2/Cluster.pm`` (``resources``, ``get_status``) and the API viewer. ``/cluster/resources``
leaves out, without a word, the guests and storages that the token may not audit.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from homeport.plan.proxmox import properties

Raw = Mapping[str, Any]


class Version(NamedTuple):
    """Proxmox VE's version, as ``/version`` has it."""

    major: int
    minor: int
    patch: int
    text: str

    @classmethod
    def parse(cls, text: str) -> Version:
        """``9.1.3``, ``8.4-1``, ``9.1~1``. Raises ValueError."""
        match = re.match(r"(\d+)\.(\d+)(?:[.~-](\d+))?", text)
        if match is None:
            raise ValueError(f"{text!r} isn't a version of Proxmox VE")
        return cls(int(match[1]), int(match[2]), int(match[3] or 0), text)

    def at_least(self, major: int, minor: int = 0) -> bool:
        """Whether it is that one or a later one."""
        return (self.major, self.minor) >= (major, minor)


SUPPORTED_MAJORS = (8, 9)
SUPPORTED = "8.x and 9.x"
"""What works, in words."""


def is_supported(version: Version) -> bool:
    """Whether this is a version whose behaviour is known. A newer major one isn't."""
    return version.major in SUPPORTED_MAJORS


class Identity(NamedTuple):
    """Which cluster it is: its name, and the nodes that it has had. Nodes come and go, but never all at once."""

    name: str
    nodes: frozenset[str]

    def is_same(self, other: Identity) -> bool:
        """Whether both can be the same cluster."""
        return self.name == other.name and bool(self.nodes & other.nodes)

    def __str__(self) -> str:
        return f"{self.name} ({', '.join(sorted(self.nodes))})"


class ClusterStatus(NamedTuple):
    """``/cluster/status``: which cluster this is, and whether it can be trusted with writes."""

    name: str
    """The cluster's name; of a host on its own, the node's."""
    quorate: bool
    nodes: Mapping[str, bool]
    """By name: online."""
    local: str
    """The node that answered."""

    @property
    def identity(self) -> Identity:
        """Which cluster it is."""
        return Identity(self.name, frozenset(self.nodes))

    @property
    def complete(self) -> bool:
        """Whether what isn't listed isn't there: all nodes are online, and they agree."""
        return self.quorate and all(self.nodes.values())


def cluster_status(raw: Iterable[Raw]) -> ClusterStatus:
    """The answer of ``/cluster/status``. A host on its own lists its node and no cluster, and is its own quorum."""
    entries = list(raw)
    cluster = next((entry for entry in entries if entry.get("type") == "cluster"), None)
    nodes = {str(e["name"]): bool(e.get("online")) for e in entries if e.get("type") == "node"}
    local = next((str(e["name"]) for e in entries if e.get("type") == "node" and e.get("local")), "")
    if cluster is None:
        return ClusterStatus(local or next(iter(nodes), ""), True, nodes, local)
    return ClusterStatus(str(cluster["name"]), bool(cluster.get("quorate")), nodes, local)


class Node(NamedTuple):
    """A node. What it has is None when it is offline, or when the token may not audit it."""

    name: str
    online: bool
    cpus: int | None = None
    memory: int | None = None
    """In bytes."""
    cpu_used: float | None = None
    """A fraction of all its CPUs."""
    memory_used: int | None = None


class Storage(NamedTuple):
    """A storage as one node sees it."""

    node: str
    name: str
    type: str
    content: frozenset[str]
    """What may be on it: rootdir, vztmpl, backup, images, iso, snippets."""
    shared: bool
    available: bool
    size: int | None = None
    """In bytes."""
    used: int | None = None


class Guest(NamedTuple):
    """A container (``lxc``) or virtual machine (``qemu``)."""

    vmid: int
    type: str
    node: str
    name: str
    status: str
    """running, stopped, or unknown when its node is offline."""
    tags: frozenset[str] = frozenset()
    pool: str | None = None
    lock: str | None = None
    template: bool = False
    ha_state: str | None = None
    cpus: float | None = None
    cpu_used: float | None = None
    """A fraction of its CPUs."""
    memory: int | None = None
    """In bytes."""
    memory_used: int | None = None
    disk: int | None = None
    disk_used: int | None = None
    uptime: int | None = None
    """In seconds."""


class Resources(NamedTuple):
    """``/cluster/resources``: everything that the token may see, in one answer."""

    nodes: tuple[Node, ...] = ()
    storages: tuple[Storage, ...] = ()
    guests: tuple[Guest, ...] = ()

    @property
    def containers(self) -> tuple[Guest, ...]:
        """The guests that are containers, templates aside."""
        return tuple(guest for guest in self.guests if guest.type == "lxc" and not guest.template)

    def offline(self) -> tuple[str, ...]:
        """The nodes that can't be reached."""
        return tuple(node.name for node in self.nodes if not node.online)


def resources(raw: Iterable[Raw]) -> Resources:
    """The answer of ``/cluster/resources``, sorted; kinds that aren't of interest (pools, SDN) are left out."""
    nodes, storages, guests = [], [], []
    for entry in raw:
        match entry.get("type"):
            case "node":
                nodes.append(_node(entry))
            case "storage":
                storages.append(_storage(entry))
            case "lxc" | "qemu":
                guests.append(guest(entry))
    return Resources(tuple(sorted(nodes)), tuple(sorted(storages, key=lambda s: s[:2])), tuple(sorted(guests)))


def _node(entry: Raw) -> Node:
    return Node(
        str(entry["node"]),
        entry.get("status") == "online",
        _whole(entry, "maxcpu"),
        _whole(entry, "maxmem"),
        _number(entry, "cpu"),
        _whole(entry, "mem"),
    )


def _storage(entry: Raw) -> Storage:
    return Storage(
        node=str(entry["node"]),
        name=str(entry["storage"]),
        type=str(entry.get("plugintype") or ""),
        content=frozenset(part for part in str(entry.get("content") or "").split(",") if part and part != "none"),
        shared=bool(entry.get("shared")),
        available=entry.get("status") == "available",
        size=_whole(entry, "maxdisk"),
        used=_whole(entry, "disk"),
    )


def guest(entry: Raw) -> Guest:
    """One of them; ``/status/current`` has the same words, but for what the HA manager makes of it."""
    return Guest(
        vmid=int(entry["vmid"]),
        type=str(entry["type"]),
        node=str(entry["node"]),
        name=str(entry.get("name") or ""),
        status=str(entry.get("status") or "unknown"),
        tags=properties.tags(str(entry.get("tags") or "")),
        pool=_text(entry, "pool"),
        lock=_text(entry, "lock"),
        template=bool(entry.get("template")),
        ha_state=_text(entry, "hastate") or _text(entry.get("ha") or {}, "state"),
        cpus=_number(entry, "maxcpu"),
        cpu_used=_number(entry, "cpu"),
        memory=_whole(entry, "maxmem"),
        memory_used=_whole(entry, "mem"),
        disk=_whole(entry, "maxdisk"),
        disk_used=_whole(entry, "disk"),
        uptime=_whole(entry, "uptime"),
    )


class Volume(NamedTuple):
    """Something on a storage; a template's ``id`` is what ``ostemplate`` takes."""

    id: str
    content: str
    size: int
    """In bytes."""
    format: str = ""
    vmid: int | None = None
    notes: str = ""


def volumes(raw: Iterable[Raw]) -> tuple[Volume, ...]:
    """The answer of ``/nodes/{node}/storage/{storage}/content``, sorted by id."""
    out = [
        Volume(
            str(entry["volid"]),
            str(entry.get("content") or ""),
            _whole(entry, "size") or 0,
            str(entry.get("format") or ""),
            _whole(entry, "vmid"),
            str(entry.get("notes") or ""),
        )
        for entry in raw
    ]
    return tuple(sorted(out, key=lambda volume: volume.id))


class Interface(NamedTuple):
    """A network interface of a running container, with the addresses that it really has."""

    name: str
    mac: str
    addresses: tuple[str, ...]
    """Each with its prefix; link-local ones are left out."""


def interfaces(raw: Iterable[Raw] | None) -> tuple[Interface, ...]:
    """The answer of ``/nodes/{node}/lxc/{vmid}/interfaces``; null (nothing) for a container that doesn't run."""
    return tuple(
        Interface(str(entry["name"]), str(entry.get("hwaddr") or "").upper(), _addresses(entry))
        for entry in raw or ()
        if entry.get("name") != "lo"
    )


def _addresses(entry: Raw) -> tuple[str, ...]:
    listed = entry.get("ip-addresses")
    if listed:
        found = [f"{item['ip-address']}/{item['prefix']}" for item in listed if item.get("ip-address")]
    else:  # before 9.0
        found = [str(entry[key]) for key in ("inet", "inet6") if entry.get(key)]
    return tuple(address for address in found if not address.lower().startswith("fe80:"))


def _text(entry: Raw, key: str) -> str | None:
    value = entry.get(key)
    return str(value) if value not in (None, "") else None


def _whole(entry: Raw, key: str) -> int | None:
    value = _number(entry, key)
    return int(value) if value is not None else None


def _number(entry: Raw, key: str) -> float | None:
    # Perl's numbers arrive as text now and then.
    try:
        return float(entry[key])
    except (KeyError, TypeError, ValueError):
        return None
