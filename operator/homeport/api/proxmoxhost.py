"""ProxmoxHost: a Proxmox VE cluster, or a node on its own, how to reach it, and who may use what of it."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StrictBool, StrictInt

from homeport.api.base import (
    ATOMIC,
    SET,
    Label,
    ListMap,
    Model,
    ObjectName,
    Quantity,
    Rule,
    ShortText,
    interval_between,
    matches,
)
from homeport.api.environment import VmidRange
from homeport.api.status import Status

_ENDPOINT = r"^https://([a-z0-9]([-a-z0-9.]*[a-z0-9])?|\[[0-9a-f:.]+\])(:[0-9]{1,5})?$"
_FINGERPRINT = r"^([0-9A-Fa-f]{2}:?){31}[0-9A-Fa-f]{2}$"

Endpoint = Annotated[
    str,
    Field(min_length=9, max_length=128),
    matches(_ENDPOINT, "write an endpoint such as https://pve1.lab:8006: https, a name or address, and no path"),
]
Fingerprint = Annotated[
    str,
    Field(min_length=64, max_length=95),
    matches(
        _FINGERPRINT,
        "write the certificate's SHA-256 fingerprint, 64 hexadecimal digits with or without colons; Proxmox VE shows "
        "it under the node's System, Certificates",
    ),
]
NodeName = Annotated[
    str,
    Field(min_length=1, max_length=63),
    matches(r"^[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?$", "write a node's name: letters, digits and '-'"),
]
StorageName = Annotated[
    str,
    Field(min_length=2, max_length=63),
    matches(
        r"^[A-Za-z][-A-Za-z0-9._]*[A-Za-z0-9]$",
        "write a storage's name: letters, digits, '-', '.' and '_', starting with a letter",
    ),
]
BridgeName = Annotated[
    str,
    Field(min_length=1, max_length=15),
    matches(r"^[-_.A-Za-z0-9]+$", "write a bridge's name such as vmbr0: letters, digits, '-', '.' and '_'"),
]
PoolName = Annotated[
    str,
    Field(min_length=1, max_length=63),
    matches(r"^[A-Za-z0-9][-A-Za-z0-9._/]*$", "write a pool's name: letters, digits, '-', '.', '_' and '/'"),
]

Interval = Annotated[str, Field(min_length=2, max_length=16), interval_between("5s", "1h", "30s or 5m")]


class SecretRef(Model):
    """Names a Secret in any namespace."""

    namespace: Label
    """The Secret's namespace."""
    name: ObjectName
    """The Secret's name."""


class CaSecretRef(SecretRef):
    """Names a Secret with certificates of authorities."""

    key: Annotated[str, Field(min_length=1, max_length=253)] = "ca.crt"
    """The key in the Secret's data: certificates in PEM."""


class HostTls(Model):
    """How the endpoints' certificates are checked; exactly one way."""

    ca_secret_ref: CaSecretRef | None = None
    """The authority that signed them; of a Proxmox VE cluster as installed: its /etc/pve/pve-root-ca.pem."""
    fingerprints: Annotated[dict[str, Fingerprint], Field(min_length=1, max_length=8)] | None = None
    """By the endpoint's host, as it is written there: the SHA-256 of its certificate."""
    insecure: StrictBool | None = None
    """True checks nothing: whoever answers gets the token. For a laboratory."""
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "[has(self.caSecretRef), has(self.fingerprints), has(self.insecure) && self.insecure]"
            ".exists_one(chosen, chosen)",
            "write exactly one of caSecretRef, fingerprints and insecure: true",
            lambda s: (s.ca_secret_ref is not None) + (s.fingerprints is not None) + bool(s.insecure) == 1,
        ),
    )


class ProjectUse(Model):
    """A project that may use the host, and what of it; what is left out isn't limited."""

    name: Label
    """The project."""
    vmid_range: VmidRange | None = None
    """Where its containers' VMIDs are allocated from; with allowAdopt it may name others that are in nobody's range."""
    pool: PoolName | None = None
    """The resource pool that its containers are put into."""
    nodes: Annotated[tuple[NodeName, ...], Field(max_length=32), SET] | None = None
    """The nodes that it may use."""
    storages: Annotated[tuple[StorageName, ...], Field(max_length=32), SET] | None = None
    """The storages that it may use."""
    bridges: Annotated[tuple[BridgeName, ...], Field(max_length=32), SET] | None = None
    """The bridges that it may use."""
    vlans: Annotated[tuple[Annotated[StrictInt, Field(ge=1, le=4094)], ...], Field(max_length=64), SET] | None = None
    """The VLAN tags that it may use."""
    allow_adopt: StrictBool = False
    """Whether it may take over containers that exist, and name VMIDs that aren't in vmidRange."""


class HostTemplate(Model):
    """A container template that is to be there."""

    name: Annotated[
        str,
        Field(min_length=1, max_length=255),
        matches(
            r"^[A-Za-z0-9][-A-Za-z0-9._+~]*$",
            "write a template's name such as debian-12, or its file as pveam available lists it",
        ),
    ]
    """A package such as debian-12, of which any version that is there will do and else the newest is fetched; or a
    file such as debian-12-standard_12.7-1_amd64.tar.zst."""
    storage: StorageName
    """The storage that it is to be on."""
    nodes: Annotated[tuple[NodeName, ...], Field(min_length=1, max_length=32), SET] | None = None
    """The nodes that are to have it; absent means all that have the storage."""


class HostLimits(Model):
    """How much is asked of the host at a time."""

    concurrent_tasks: Annotated[StrictInt, Field(ge=1, le=32)] = 4
    """Worker tasks (create, start, back up, …) of ours that may run at the same time."""


def _covered(spec: ProxmoxHostSpec) -> bool:
    if spec.tls.fingerprints is None:
        return True
    return all(fingerprint_of(endpoint, spec.tls.fingerprints) is not None for endpoint in spec.endpoints)


def fingerprint_of(endpoint: str, fingerprints: dict[str, str]) -> str | None:
    """The fingerprint for an endpoint; None when there is none for its host."""
    for host, fingerprint in fingerprints.items():
        if endpoint == f"https://{host}" or endpoint.startswith(f"https://{host}:"):
            return fingerprint
    return None


class ProxmoxHostSpec(Model):
    """How to reach the host, and who may use what of it."""

    endpoints: Annotated[tuple[Endpoint, ...], Field(min_length=1, max_length=8), SET]
    """The nodes' API addresses, tried in this order; the last that answered is asked first."""
    credentials_secret_ref: SecretRef
    """An API token: the keys tokenId (user@realm!name) and tokenSecret."""
    tls: HostTls
    """How the endpoints' certificates are checked."""
    interval: Interval = "30s"
    """How often nodes, storages and containers are looked at; one request each time."""
    projects: Annotated[tuple[ProjectUse, ...], Field(max_length=64), ListMap("name")] | None = None
    """The projects that may use it; absent means none."""
    limits: HostLimits | None = None
    """How much is asked of it at a time."""
    templates: Annotated[tuple[HostTemplate, ...], Field(max_length=16), ATOMIC] | None = None
    """Container templates that are fetched from Proxmox's servers where they aren't there, as pveam download does."""
    suspend: StrictBool = False
    """True stops reconciliation of this object."""
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.tls.fingerprints) || self.endpoints.all(endpoint, self.tls.fingerprints.exists(host, "
            "endpoint == 'https://' + host || endpoint.startsWith('https://' + host + ':')))",
            "write a fingerprint for the host of every endpoint, spelled as in the endpoint",
            _covered,
            ".tls.fingerprints",
        ),
    )


class MissingPrivilege(Model):
    """A privilege that the token lacks."""

    feature: ShortText
    """What it is needed for: Inventory, Containers, Templates."""
    path: ShortText
    """On which path."""
    privilege: ShortText
    """Which."""


class HostPermissions(Model):
    """What the token may do."""

    missing: Annotated[tuple[MissingPrivilege, ...], Field(max_length=128), ATOMIC] = ()
    """What it lacks for what the spec asks for; an administrator of Proxmox VE can grant it."""


class NodeStatus(Model):
    """A node."""

    name: ShortText
    """Its name."""
    status: Literal["online", "offline"]
    """Whether the cluster reaches it."""
    cpus: Annotated[StrictInt, Field(ge=0)] | None = None
    """Its CPUs; unknown while it is offline."""
    memory: Quantity | None = None
    """Its memory; unknown while it is offline."""


class StorageStatus(Model):
    """A storage."""

    name: ShortText
    """Its name."""
    type: ShortText = ""
    """dir, lvmthin, zfspool, nfs, pbs, …"""
    content: Annotated[tuple[ShortText, ...], Field(max_length=16), ATOMIC] = ()
    """What may be on it: rootdir for containers, vztmpl for templates, backup, …"""
    shared: StrictBool = False
    """Whether all its nodes see the same."""
    nodes: Annotated[tuple[ShortText, ...], Field(max_length=64), ATOMIC] = ()
    """The nodes on which it is available."""


class TemplateStatus(Model):
    """A container template."""

    name: Annotated[str, Field(max_length=512)]
    """Its volume, as LXCContainers name it: ``storage:vztmpl/file``."""
    size: Quantity | None = None
    """Its size."""
    nodes: Annotated[tuple[ShortText, ...], Field(max_length=64), ATOMIC] = ()
    """The nodes that have it."""


class Download(Model):
    """A template that is being fetched. It is written here before it is asked for."""

    name: ShortText
    """As spec.templates has it."""
    storage: ShortText
    """Where to."""
    node: ShortText
    """The node that fetches it."""
    template: Annotated[str, Field(max_length=255)] | None = None
    """The file that the name stands for."""
    task: Annotated[str, Field(max_length=512)] | None = None
    """The task's id in Proxmox VE; absent until it has answered."""
    progress: Annotated[StrictInt, Field(ge=0, le=100)] = 0
    """How much of it is there, in percent."""
    message: ShortText | None = None
    """Why it isn't there, if that failed; it is tried again after ten minutes."""


class ContainerCounts(Model):
    """How many containers there are."""

    managed: StrictInt = 0
    """Those with the tag homeport."""
    unmanaged: StrictInt = 0
    """All others; nothing touches them."""


class ProxmoxHostStatus(Status):
    """What was last seen of the host. Usage isn't in here: it is in the metrics."""

    version: ShortText | None = None
    """The version of Proxmox VE."""
    cluster_name: ShortText | None = None
    """The cluster; of a node on its own, the node. An endpoint of another cluster is refused."""
    installation_id: ShortText | None = Field(default=None, alias="installationID")
    """What marks containers as this Homeport's: the operator's --control-plane, or the UID of namespace kube-system."""
    permissions: HostPermissions | None = None
    """What the token may do."""
    firewall: StrictBool | None = None
    """Whether the datacenter's firewall is on, which isolation: Strict of an Environment needs."""
    nodes: Annotated[tuple[NodeStatus, ...], Field(max_length=64), ListMap("name")] = ()
    """The nodes."""
    storages: Annotated[tuple[StorageStatus, ...], Field(max_length=128), ListMap("name")] = ()
    """The storages that the token may see."""
    templates: Annotated[tuple[TemplateStatus, ...], Field(max_length=256), ListMap("name")] = ()
    """The container templates on them."""
    downloads: Annotated[tuple[Download, ...], Field(max_length=64), ATOMIC] = ()
    """Templates that are being fetched."""
    containers: ContainerCounts | None = None
    """How many containers the token may see."""
