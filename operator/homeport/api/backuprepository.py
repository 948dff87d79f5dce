"""BackupRepository: where backups are kept, who may carry its keys, and when it is looked after."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StrictBool, StrictInt

from homeport.api.backupparts import TimeZone
from homeport.api.base import SET, Label, Model, NameRef, ObjectName, Rule, SecretKeyRef, ShortText, Text, matches
from homeport.api.component import CronSchedule
from homeport.api.proxmoxhost import StorageName
from homeport.api.status import Inventory, Status


class S3CaRef(Model):
    """Names certificates of authorities in a Secret."""

    name: ObjectName
    """The Secret's name."""
    key: Annotated[str, Field(min_length=1, max_length=253)] = "ca.crt"
    """The key in the Secret's data: certificates in PEM."""


class S3Repository(Model):
    """A bucket of any S3 server."""

    endpoint: Annotated[
        str,
        Field(min_length=8, max_length=253),
        matches(
            r"^https?://[A-Za-z0-9.\[\]:-]+$",
            "write the server's address such as https://s3.example.com, without bucket, path or credentials",
        ),
    ]
    """The server's address."""
    bucket: Annotated[
        str,
        Field(min_length=3, max_length=63),
        matches(r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", "write a bucket's name: lower-case letters, digits, '-' and '.'"),
    ]
    """The bucket; it must be there."""
    prefix: Annotated[
        str,
        Field(max_length=512),
        matches(
            r"^([A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*)?$",
            "write a folder such as backups/shop, without a '/' at its beginning or end",
        ),
    ] = ""
    """The folder in the bucket."""
    region: Annotated[str, Field(max_length=64)] | None = None
    """The region, where the server asks for one."""
    credentials_secret_ref: NameRef
    """A Secret beside it with accessKeyId and secretAccessKey."""
    ca_secret_ref: S3CaRef | None = None
    """The authority that signed the server's certificate, if that isn't a public one."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.bucket == oldSelf.bucket && self.prefix == oldSelf.prefix",
            "the bucket and the prefix can't be changed: what is there stays there; make a new BackupRepository",
        ),
    )


class FilesystemRepository(Model):
    """A folder on a volume."""

    persistent_volume_claim: ObjectName
    """A claim in the environment's namespace."""
    path: Annotated[
        str,
        Field(max_length=512),
        matches(
            r"^([A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*)?$",
            "write a folder such as backups/shop, without a '/' at its beginning or end",
        ),
        Rule(
            "!self.split('/').exists(p, p == '..')",
            "write a folder of the volume, without '..'",
            lambda path: ".." not in path.split("/"),
        ),
    ] = ""
    """The folder in the volume; absent means its root."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self == oldSelf",
            "the claim and the folder can't be changed: what is there stays there; make a new BackupRepository",
        ),
    )


class ProxmoxRepository(Model):
    """A storage of a Proxmox VE host; a Proxmox Backup Server too."""

    host_ref: NameRef
    """The ProxmoxHost; it must list this project."""
    storage: StorageName
    """The storage; it must take content of type backup."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self == oldSelf",
            "the host and the storage can't be changed: what is there stays there; make a new BackupRepository",
        ),
    )


class Encryption(Model):
    """The password without which nobody reads what is in the repository."""

    password_secret_ref: SecretKeyRef | None = None
    """A Secret beside it."""
    generate: StrictBool | None = None
    """True: it is made once, in the Secret <name>-repository-password. Not Ready (KeyNotEscrowed) until somebody says
    that it is kept elsewhere, too: a key that is only in the cluster it protects is lost with it."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.passwordSecretRef) != (has(self.generate) && self.generate)",
            "write either passwordSecretRef or generate: true",
            lambda s: (s.password_secret_ref is not None) != bool(s.generate),
        ),
    )


class Maintenance(Model):
    """When it is looked after. What is absent isn't done."""

    prune: CronSchedule | None = None
    """When data that no snapshot needs is removed; nobody backs up meanwhile."""
    check: CronSchedule | None = None
    """When its integrity is checked."""
    read_data_subset: (
        Annotated[
            str,
            Field(min_length=2, max_length=16),
            matches(
                r"^((100|[1-9]?[0-9])([.][0-9]+)?%|[1-9][0-9]*/[1-9][0-9]*)$",
                "write how much is read again: a share such as 5% or 100%, or a part such as 1/7",
            ),
        ]
        | None
    ) = None
    """How much of the data a check reads again; absent means that only what leads to it is checked."""
    time_zone: TimeZone | None = None
    """The schedules' time zone; absent means UTC."""


class BackupRepositorySpec(Model):
    """Where backups are kept: exactly one of s3, filesystem and proxmox."""

    s3: S3Repository | None = None
    """A bucket of any S3 server."""
    filesystem: FilesystemRepository | None = None
    """A folder on a volume."""
    proxmox: ProxmoxRepository | None = None
    """A storage of a Proxmox VE host."""
    encryption: Encryption | None = None
    """The password; a storage of Proxmox VE has its own encryption, or none."""
    environments: Annotated[tuple[Label, ...], Field(max_length=16), SET] = ()
    """Where runners may carry its keys."""
    maintenance: Maintenance | None = None
    """When it is looked after; a storage of Proxmox VE has its own."""
    suspend: StrictBool = False
    """True stops reconciliation of this object: it isn't looked after."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "[has(self.s3), has(self.filesystem), has(self.proxmox)].filter(x, x).size() == 1",
            "write exactly one of s3, filesystem and proxmox",
            lambda s: (s.s3 is not None) + (s.filesystem is not None) + (s.proxmox is not None) == 1,
        ),
        Rule(
            "has(self.s3) == has(oldSelf.s3) && has(self.filesystem) == has(oldSelf.filesystem)",
            "what kind of repository it is can't be changed; make a new BackupRepository",
        ),
        Rule(
            "has(self.proxmox) || has(self.encryption)",
            "write encryption: passwordSecretRef, or generate: true",
            lambda s: s.proxmox is not None or s.encryption is not None,
        ),
        Rule(
            "!has(self.proxmox) || (!has(self.encryption) && !has(self.maintenance))",
            "encryption and maintenance of a storage are set on Proxmox VE itself; leave them out",
            lambda s: s.proxmox is None or (s.encryption is None and s.maintenance is None),
        ),
        Rule(
            "!has(self.filesystem) || (has(self.environments) && self.environments.size() == 1)",
            "a volume is in one environment's namespace; write that one in environments",
            lambda s: s.filesystem is None or len(s.environments) == 1,
            ".environments",
        ),
    )


class MaintenanceRun(Model):
    """How making, pruning or checking it ended."""

    time: ShortText
    """When it ended."""
    scheduled: ShortText | None = None
    """The time that the schedule asked for."""
    inputs: ShortText | None = None
    """Of making it: a digest of what it was tried with."""
    outcome: Literal["Succeeded", "Incomplete", "Failed"]
    """How."""
    reason: ShortText | None = None
    """Why it failed."""
    message: Text = ""
    """What a person needs to know."""


class MaintenanceTask(Model):
    """What is being done to the repository."""

    operation: Literal["init", "prune", "check"]
    """What."""
    job: ShortText
    """The Job that does it."""
    scheduled: ShortText
    """The time that it was due."""
    inputs: ShortText | None = None
    """Of making it: a digest of what it is tried with."""


class BackupRepositoryStatus(Status):
    """Whether it is there, whether its key is kept elsewhere, and when it was last looked after."""

    initialized: StrictBool | None = None
    """Whether it has been made; it is made once, and missed when it isn't there."""
    repository_id: ShortText | None = Field(default=None, alias="repositoryID")
    """restic's id of it; another one at the same place isn't taken for it."""
    location: Text | None = None
    """Where it is, for people."""
    key_fingerprint: ShortText | None = None
    """What the annotation homeport.dev/key-escrowed has to say once the key is kept elsewhere."""
    size: Annotated[StrictInt, Field(ge=0)] | None = None
    """How many bytes it holds, as the last maintenance saw it."""
    snapshots: Annotated[StrictInt, Field(ge=0)] | None = None
    """How many snapshots of restic it holds, whosever they are, as the last maintenance saw it; a run is several."""
    last_init: MaintenanceRun | None = None
    """The last time that it was to be made."""
    last_prune: MaintenanceRun | None = None
    """The last prune."""
    last_check: MaintenanceRun | None = None
    """The last check."""
    next_prune: ShortText | None = None
    """When the next prune is due."""
    next_check: ShortText | None = None
    """When the next check is due."""
    task: MaintenanceTask | None = None
    """What is being done to it."""
    backups: Annotated[StrictInt, Field(ge=0)] | None = None
    """How many Backups name it."""
    inventory: Inventory | None = None
    """The objects that were made for it in Kubernetes."""
