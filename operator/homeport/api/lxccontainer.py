"""LXCContainer: a container on a Proxmox VE host."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal

from pydantic import Field, StrictBool, StrictInt

from homeport.api.base import (
    SET,
    Duration,
    ListMap,
    LongText,
    Model,
    NameRef,
    Quantity,
    Rule,
    SecretKeyRef,
    ShortText,
    Token,
    matches,
)
from homeport.api.lxcparts import (
    ROOT_ONLY,
    Adopt,
    ContainerDns,
    ContainerFeatures,
    ContainerMount,
    ContainerNetwork,
    ContainerService,
    HealthCheck,
    RebootWindow,
    RootDisk,
    StartupOrder,
    Vmid,
)
from homeport.api.proxmoxhost import NodeName, PoolName
from homeport.api.software import Software

TemplateName = Annotated[
    str,
    Field(min_length=1, max_length=512),
    matches(
        r"^([A-Za-z][-A-Za-z0-9._]*[A-Za-z0-9]:vztmpl/)?[A-Za-z0-9][-A-Za-z0-9._+~]*$",
        "write a template's volume such as local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst (kubectl get hppve -o "
        "yaml lists them), or a name such as debian-12",
    ),
]
Tag = Annotated[
    str,
    Field(min_length=1, max_length=64),
    matches(
        r"^[a-z0-9_][-a-z0-9_+.]*$",
        "write a tag: lower-case letters, digits, '_', '-', '+' and '.'; Proxmox VE lower-cases them",
    ),
    Rule(
        "self != 'homeport' && self != 'homeport-retained'",
        "the tags homeport and homeport-retained are Homeport's own; leave them out",
        lambda tag: tag not in ("homeport", "homeport-retained"),
    ),
]
LxcEnvName = Annotated[str, Field(min_length=1, max_length=128)]
LxcEnvValue = Annotated[
    str,
    Field(max_length=4096),
    Rule(
        "!self.contains('\\n')",
        "Proxmox VE takes no line breaks in env; use software.env with delivery: Agent",
        lambda value: "\n" not in value,
    ),
]


def _names_ok(env: dict[str, str]) -> bool:
    return all(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) for name in env)


def _paths_differ(spec: LXCContainerSpec) -> bool:
    paths = [mount.path for mount in spec.mounts or ()]
    return len(set(paths)) == len(paths)


def _knows_what(spec: LXCContainerSpec) -> bool:
    image = spec.software is not None and spec.software.image is not None
    elsewhere = spec.environment_ref is not None or spec.adopt is not None or spec.management_policy == "Observe"
    return spec.template is not None or image or elsewhere


class LXCContainerSpec(Model):
    """What the container is. Fields that are absent have Proxmox VE's defaults; those of an adopted container are left
    as they are."""

    host_ref: NameRef | None = None
    """The ProxmoxHost; it must list this project."""
    environment_ref: NameRef | None = None
    """An Environment with runtime Proxmox instead, which brings host, node, network, storage, range and pool."""
    node: NodeName | None = None
    """The node that it is made on; absent means the environment's, else one with enough free memory."""
    vmid: Vmid | None = None
    """Its VMID; absent means one from the range, which is in status before it is used."""
    template: TemplateName | None = None
    """What it is made of: a template's volume, or a name that is looked for among the host's; absent means the
    environment's. Only a new container can have another."""
    software: Software | None = None
    """What runs in it, instead of template: an image, delivered as software.delivery says."""
    hostname: (
        Annotated[
            str,
            Field(min_length=1, max_length=253),
            matches(
                r"^[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?([.][A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?)*$",
                "write a hostname: letters, digits, '-' and '.'",
            ),
        ]
        | None
    ) = None
    """Its hostname; absent means this object's name."""
    cores: Annotated[StrictInt, Field(ge=1, le=8192)] | None = None
    """How many CPU cores it sees; absent means all of the node's."""
    cpu_limit: Quantity | None = None
    """How much CPU it may use, such as 1500m; absent or 0 means no limit."""
    cpu_units: Annotated[StrictInt, Field(ge=8, le=500000)] | None = None
    """Its share of CPU among the node's guests; absent means the node's default."""
    memory: Quantity | None = None
    """Its memory; absent means 512Mi."""
    swap: Quantity | None = None
    """Its swap; absent means 512Mi."""
    rootfs: RootDisk | None = None
    """The root disk; absent means 8Gi on the environment's storage."""
    mounts: Annotated[tuple[ContainerMount, ...], Field(max_length=32), ListMap("name")] | None = None
    """Volumes of its own."""
    networks: Annotated[tuple[ContainerNetwork, ...], Field(max_length=8), ListMap("name")] | None = None
    """Its interfaces; absent means eth0 in the environment's network."""
    dns: ContainerDns | None = None
    """How names are resolved; absent means as on the node."""
    features: ContainerFeatures | None = None
    """What it may do beyond the usual."""
    unprivileged: StrictBool | None = None
    """Whether its root is nobody on the node; absent means true. Only a new container can have the other."""
    on_boot: StrictBool | None = None
    """Whether the node starts it when it boots; absent means no."""
    startup: StartupOrder | None = None
    """When the node starts and stops it, among its other guests."""
    ostype: (
        Literal[
            "debian",
            "devuan",
            "ubuntu",
            "centos",
            "fedora",
            "opensuse",
            "archlinux",
            "alpine",
            "gentoo",
            "nixos",
            "unmanaged",
        ]
        | None
    ) = None
    """Which system Proxmox VE sets up in it; absent means what the template is."""
    timezone: ShortText | None = None
    """Its time zone, such as Europe/Rome, or host for the node's; absent means the template's."""
    entrypoint: Annotated[str, Field(min_length=1, max_length=1024)] | None = None
    """What it runs as its init; for templates that are OCI images."""
    env: (
        Annotated[
            dict[LxcEnvName, LxcEnvValue],
            Field(max_length=64),
            Rule(
                "self.all(name, name.matches('^[A-Za-z_][A-Za-z0-9_]*$'))",
                "write variables' names with letters, digits and '_': Proxmox VE takes no others",
                _names_ok,
            ),
        ]
        | None
    ) = None
    """Its init's environment; for templates that are OCI images. Everybody who may see the container may read it."""
    pool: PoolName | None = None
    """The resource pool; absent means the environment's, else the one that the host has for the project."""
    tags: Annotated[tuple[Tag, ...], Field(max_length=16), SET] | None = None
    """Tags; homeport is among them always."""
    description: LongText | None = None
    """Notes, above the mark that says whose the container is."""
    ssh_keys_secret_ref: SecretKeyRef | None = None
    """root's authorized_keys; at creation only."""
    state: Literal["Running", "Stopped"] | None = None
    """Whether it runs; absent means Running, and as it is for one that is adopted."""
    shutdown_timeout: Duration | None = None
    """How long it gets to shut down before it is stopped by force; absent means 60s."""
    restart_at: Token | None = None
    """A token: a new value restarts it once. What waits for a reboot takes effect then."""
    reboot_policy: Literal["Never", "WhenPending", "Window"] = "Never"
    """What to do with changes that need a reboot: leave them waiting, reboot at once, or in rebootWindow."""
    reboot_window: RebootWindow | None = None
    """When it may be rebooted."""
    health_check: HealthCheck | None = None
    """How it is known to be well, beyond running. Of a change that makes it fail, the configuration is taken back."""
    rollback: Literal["Configuration", "Snapshot"] = "Configuration"
    """What is taken back: the configuration alone, or all of the container, by a snapshot that is taken before the
    change and removed after it. Snapshot loses what was written meanwhile; it needs a health check, and no mounts."""
    service: ContainerService | None = None
    """Makes it reachable from Kubernetes under its name."""
    management_policy: Literal["Reconcile", "Observe"] = "Reconcile"
    """Observe reports what differs, and touches nothing."""
    adopt: Adopt | None = None
    """Takes over the container that has this vmid. It is observed first; absent fields are left as they are."""
    on_missing: Literal["Stall", "Recreate"] = "Stall"
    """When somebody has deleted it: ask, or make it anew (without the data that was in it)."""
    deletion_policy: Literal["Delete", "Retain"] = "Retain"
    """When this object is deleted: keep the container, marked homeport-retained, or destroy it and its volumes."""
    protection: StrictBool | None = None
    """Proxmox VE's own protection: neither it nor its disks can be removed, by anybody; absent means no."""
    devices: Annotated[tuple[ShortText, ...], Field(max_length=8), SET] | None = None
    """Refused: root@pam's alone."""
    hookscript: ShortText | None = None
    """Refused: root@pam's alone."""
    suspend: StrictBool = False
    """True stops reconciliation of this object."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.hostRef) != has(self.environmentRef)",
            "write exactly one of hostRef and environmentRef",
            lambda s: (s.host_ref is None) != (s.environment_ref is None),
        ),
        Rule(
            "(has(self.hostRef) ? self.hostRef.name : '') == (has(oldSelf.hostRef) ? oldSelf.hostRef.name : '') && "
            "(has(self.environmentRef) ? self.environmentRef.name : '') == "
            "(has(oldSelf.environmentRef) ? oldSelf.environmentRef.name : '')",
            "the host and the environment can't be changed; make a new LXCContainer, and restore a backup into it",
        ),
        Rule(
            "!has(oldSelf.vmid) || !has(self.vmid) || self.vmid == oldSelf.vmid",
            "vmid can't be changed: Proxmox VE can't rename a container. Leave it out, and the annotation "
            "homeport.dev/replace-at makes a new container with another",
            None,
            ".vmid",
        ),
        Rule(
            "!(has(self.template) && has(self.software) && has(self.software.image))",
            "write template or software.image, not both",
            lambda s: s.template is None or s.software is None or s.software.image is None,
        ),
        Rule(
            "has(self.template) || (has(self.software) && has(self.software.image)) || has(self.environmentRef) || "
            "has(self.adopt) || self.managementPolicy == 'Observe'",
            "write what it is made of: template, or software.image",
            _knows_what,
        ),
        Rule(
            "!has(self.mounts) || self.mounts.all(m, self.mounts.exists_one(n, n.path == m.path))",
            "two mounts have one path; write another for one of them",
            _paths_differ,
            ".mounts",
        ),
        Rule(
            "!has(self.adopt) || has(self.vmid)",
            "say which container is adopted: write its vmid",
            lambda s: s.adopt is None or s.vmid is not None,
            ".adopt",
        ),
        Rule(
            "(self.rebootPolicy == 'Window') == has(self.rebootWindow)",
            "write a rebootWindow for rebootPolicy: Window, and only there",
            lambda s: (s.reboot_policy == "Window") == (s.reboot_window is not None),
        ),
        Rule(
            "!has(self.software) || !has(self.software.image) || (!has(self.entrypoint) && !has(self.env))",
            "software has its own command and env; leave entrypoint and env out",
            lambda s: s.software is None or s.software.image is None or (s.entrypoint is None and s.env is None),
        ),
        Rule(
            "!has(self.memory) || quantity(string(self.memory)).compareTo(quantity('16Mi')) >= 0",
            "write at least 16Mi",
            lambda s: s.memory is None or _mebibytes(s.memory) >= 16,
            ".memory",
        ),
        Rule(
            "self.rollback != 'Snapshot' || !has(self.mounts) || size(self.mounts) == 0",
            "rollback: Snapshot would lose what is written to mounts meanwhile; leave rollback out, or mounts",
            lambda s: s.rollback != "Snapshot" or not s.mounts,
            ".rollback",
        ),
        Rule(
            "self.rollback != 'Snapshot' || has(self.healthCheck) || has(self.software)",
            "nothing says whether a change was good; write a healthCheck for rollback: Snapshot",
            lambda s: s.rollback != "Snapshot" or s.health_check is not None or s.software is not None,
            ".rollback",
        ),
        Rule(
            "!has(self.devices)",
            f"devices: {ROOT_ONLY}; leave them out and have an administrator run pct set, they are kept",
            lambda s: s.devices is None,
            ".devices",
        ),
        Rule(
            "!has(self.hookscript)",
            f"hookscript: {ROOT_ONLY}; leave it out and have an administrator run pct set, it is kept",
            lambda s: s.hookscript is None,
            ".hookscript",
        ),
    )


_UNITS: dict[str, float] = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15, "E": 10**18} | {
    f"{unit}i": 1024**power for power, unit in enumerate("KMGTPE", 1)
}


def _mebibytes(quantity: str) -> float:
    match = re.fullmatch(r"([0-9.]+)([A-Za-z]*)", quantity)
    assert match is not None, "the schema's pattern has let it through"
    return float(match[1]) * _UNITS.get(match[2], 0.001) / 2**20
