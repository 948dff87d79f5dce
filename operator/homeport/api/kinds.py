"""The kinds that Homeport serves: names, models and printer columns."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

from homeport.api.application import ApplicationSpec, ApplicationStatus
from homeport.api.backup import BackupSpec, BackupStatus
from homeport.api.backuprepository import BackupRepositorySpec, BackupRepositoryStatus
from homeport.api.backuprun import BackupRunSpec, BackupRunStatus
from homeport.api.base import Model, Rule
from homeport.api.catalog import CatalogItemSpec, CatalogItemStatus
from homeport.api.environment import EnvironmentSpec, EnvironmentStatus
from homeport.api.gitsource import GitSourceSpec, GitSourceStatus
from homeport.api.imageupdate import ImageUpdateSpec, ImageUpdateStatus
from homeport.api.lxccontainer import LXCContainerSpec
from homeport.api.lxcstatus import LXCContainerStatus
from homeport.api.notification import NotificationSpec, NotificationStatus
from homeport.api.project import ProjectSpec, ProjectStatus
from homeport.api.proxmoxhost import ProxmoxHostSpec, ProxmoxHostStatus
from homeport.api.restore import RestoreSpec, RestoreStatus
from homeport.api.status import Status


@dataclass(frozen=True)
class Column:
    """A column of ``kubectl get``. ``priority`` 1 shows only with ``-o wide``."""

    name: str
    path: str
    type: Literal["string", "integer", "date", "boolean"] = "string"
    priority: int = 0
    description: str = ""


READY = Column("Ready", '.status.conditions[?(@.type=="Ready")].status', description="Whether it is as declared.")
STATUS = Column("Status", '.status.conditions[?(@.type=="Ready")].message', description="What a person needs to know.")
AGE = Column("Age", ".metadata.creationTimestamp", "date", description="Since when it exists.")


@dataclass(frozen=True)
class Kind:
    """One custom resource."""

    name: str
    plural: str
    short_name: str
    spec: type[Model]
    status: type[Status]
    summary: str
    columns: tuple[Column, ...] = ()
    namespaced: bool = True
    name_limit: int | None = None
    categories: tuple[str, ...] = field(default=("homeport",))

    @property
    def name_rule(self) -> Rule | None:
        """What ``metadata.name`` must look like, where that is less than Kubernetes allows."""
        if self.name_limit is None:
            return None
        limit, pattern = self.name_limit, re.compile(r"^[a-z]([-a-z0-9]*[a-z0-9])?\Z")
        return Rule(
            f"self.metadata.name.size() <= {limit} && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
            f"the name may have at most {limit} lower-case letters, digits and '-', starting with a letter",
            lambda name: len(name) <= limit and pattern.search(name) is not None,
        )


PROJECT = Kind(
    name="Project",
    plural="projects",
    short_name="hpproj",
    spec=ProjectSpec,
    status=ProjectStatus,
    summary="People, environments and applications that belong together; one per namespace, named as it.",
    columns=(
        Column("Health", ".status.health", description="The worst of what it holds."),
        Column("Progress", ".status.progress", "integer", description="In percent, from the milestones."),
        Column("Phase", ".spec.phase", priority=1, description="Where the project stands."),
        Column("Owner", ".spec.owner", priority=1, description="Whom to ask."),
    ),
    name_limit=61,
)
ENVIRONMENT = Kind(
    name="Environment",
    plural="environments",
    short_name="hpenv",
    spec=EnvironmentSpec,
    status=EnvironmentStatus,
    summary="A place where the project's applications run, on Kubernetes or on Proxmox.",
    columns=(
        Column("Tier", ".spec.tier", description="What it is for."),
        Column("Runtime", ".spec.runtime", description="Kubernetes or Proxmox."),
        Column("Namespace", ".status.namespace", description="Where its applications run."),
    ),
    name_limit=61,
)
APPLICATION = Kind(
    name="Application",
    plural="applications",
    short_name="hpapp",
    spec=ApplicationSpec,
    status=ApplicationStatus,
    summary="What runs: components, how they are reached, and how they differ by environment.",
    columns=(
        Column("Version", ".spec.version", description="The version that is asked for."),
        Column("Replicas", ".status.readyReplicas", description="Ready of wanted replicas."),
        Column("URL", ".status.url", description="The address of its first route."),
        Column("Revision", ".status.revision", "integer", 1, "The number of the present spec in its history."),
    ),
    name_limit=63,
)

PROXMOX_HOST = Kind(
    name="ProxmoxHost",
    plural="proxmoxhosts",
    short_name="hppve",
    spec=ProxmoxHostSpec,
    status=ProxmoxHostStatus,
    summary="A Proxmox VE cluster, or a node on its own: how to reach it, and who may use what of it.",
    columns=(
        Column("Version", ".status.version", description="The version of Proxmox VE."),
        Column("Cluster", ".status.clusterName", description="The cluster, or the node on its own."),
        Column("Managed", ".status.containers.managed", "integer", description="Containers with the tag homeport."),
        Column("Unmanaged", ".status.containers.unmanaged", "integer", 1, "All other containers."),
    ),
    namespaced=False,
    name_limit=63,
)

LXC_CONTAINER = Kind(
    name="LXCContainer",
    plural="lxccontainers",
    short_name="hplxc",
    spec=LXCContainerSpec,
    status=LXCContainerStatus,
    summary="A container on a Proxmox VE host.",
    columns=(
        Column("VMID", ".status.vmid", "integer", description="Its number on the host."),
        Column("Node", ".status.node", description="The node that it is on."),
        Column("State", ".status.state", description="Whether it runs."),
        Column("Address", ".status.address", description="Its first address."),
        Column("Host", ".status.host", priority=1, description="The ProxmoxHost."),
    ),
    name_limit=63,
)

CATALOG_ITEM = Kind(
    name="CatalogItem",
    plural="catalogitems",
    short_name="hpcat",
    spec=CatalogItemSpec,
    status=CatalogItemStatus,
    summary="Software that applications name in catalog: one project's, or in the operator's namespace everybody's.",
    columns=(
        Column("Versions", ".status.versions", description="The versions that can be asked for."),
        Column("Category", ".status.category", description="What kind of software it is."),
        Column("Revision", ".status.lastFetchedRevision", priority=1, description="The commit in use."),
        Column("Title", ".status.title", priority=1, description="Its name for people."),
    ),
    name_limit=63,
)

BACKUP_REPOSITORY = Kind(
    name="BackupRepository",
    plural="backuprepositories",
    short_name="hprepo",
    spec=BackupRepositorySpec,
    status=BackupRepositoryStatus,
    summary="Where backups are kept: a bucket, a volume, or a storage of a Proxmox VE host.",
    columns=(
        Column("Location", ".status.location", description="Where it is."),
        Column("Backups", ".status.backups", "integer", description="How many Backups name it."),
        Column("Checked", ".status.lastCheck.time", "date", description="When its integrity was last checked."),
        Column("Pruned", ".status.lastPrune.time", "date", 1, "When data that nothing needs was last removed."),
        Column("Key", ".status.keyFingerprint", priority=1, description="The fingerprint of its key."),
    ),
    name_limit=40,
)

BACKUP = Kind(
    name="Backup",
    plural="backups",
    short_name="hpbk",
    spec=BackupSpec,
    status=BackupStatus,
    summary="What is backed up, when, where to, how long it is kept, and how that is proven.",
    columns=(
        Column("Last", ".status.lastSuccess.time", "date", description="How old the newest good one is."),
        Column("Verified", ".status.lastVerified", "date", description="When one was last proven."),
        Column("RTO", ".status.measuredRTO", description="How long the last drill's restore took."),
        Column("Next", ".status.next", description="When the next run is due."),
        Column("Snapshots", ".status.snapshots", "integer", description="How many runs the repository has."),
        Column("Method", ".status.method", priority=1, description="How it is backed up."),
        Column("Schedule", ".spec.schedule", priority=1, description="When."),
    ),
    # With -drill- and the minute it makes the name of a drill, with that and -before the name of a run.
    name_limit=37,
)

BACKUP_RUN = Kind(
    name="BackupRun",
    plural="backupruns",
    short_name="hprun",
    spec=BackupRunSpec,
    status=BackupRunStatus,
    summary="One backup, now: made by a Backup's schedule, or by hand.",
    columns=(
        Column("Backup", ".spec.backupRef.name", description="The Backup that it is of."),
        Column("Phase", ".status.phase", description="How far it is, or how it ended."),
        Column("Started", ".status.startedAt", "date", description="When it began."),
        Column("Duration", ".status.duration", description="How long it took."),
        Column("Bytes", ".status.bytes", "integer", description="How much was read."),
        Column("Snapshot", ".status.snapshot", priority=1, description="The snapshot's id."),
        Column("Trigger", ".spec.trigger", priority=1, description="Who asked for it."),
    ),
    name_limit=63,
)

RESTORE = Kind(
    name="Restore",
    plural="restores",
    short_name="hprs",
    spec=RestoreSpec,
    status=RestoreStatus,
    summary="Brings a run back: to a new place, over the original, or into a scratch place that proves it.",
    columns=(
        Column("Backup", ".spec.backupRef.name", description="The Backup that it is of."),
        Column("Phase", ".status.phase", description="How far it is, or how it ended."),
        Column("Run", ".status.run", description="The run that is restored."),
        Column("Duration", ".status.duration", description="How long it took to bring the data back."),
        Column("Snapshot", ".status.snapshot", priority=1, description="The snapshot's id."),
    ),
    # With -before it makes the name of a run.
    name_limit=56,
)

GIT_SOURCE = Kind(
    name="GitSource",
    plural="gitsources",
    short_name="hpgit",
    spec=GitSourceSpec,
    status=GitSourceStatus,
    summary="A folder of a Git repository that is the truth: built, applied, pruned, kept and previewed.",
    columns=(
        Column("Revision", ".status.lastAppliedRevision", description="The commit that is applied."),
        Column("Objects", ".status.resources.total", "integer", description="How many objects it has."),
        Column("Pinned", ".status.pinned", priority=1, description="The commit that it is held at."),
        Column("URL", ".spec.url", priority=1, description="The repository."),
        Column("Path", ".spec.path", priority=1, description="The folder."),
    ),
    name_limit=63,
)

IMAGE_UPDATE = Kind(
    name="ImageUpdate",
    plural="imageupdates",
    short_name="hpimg",
    spec=ImageUpdateSpec,
    status=ImageUpdateStatus,
    summary="Watches images in registries and writes newer ones into a GitSource's repository.",
    columns=(
        Column("Source", ".spec.sourceRef.name", description="The GitSource whose repository is edited."),
        Column("Pushed", ".status.lastPushed.time", "date", description="When the newest commit was made."),
        Column("Commit", ".status.lastPushed.commit", priority=1, description="The newest commit."),
        Column("Pull Request", ".status.pullRequest.url", priority=1, description="The pull request that is open."),
    ),
    name_limit=63,
)

NOTIFICATION = Kind(
    name="Notification",
    plural="notifications",
    short_name="hpnotify",
    spec=NotificationSpec,
    status=NotificationStatus,
    summary="Tells somebody of what happens: by webhook, in Slack and the like, by mail, or as a commit's status.",
    columns=(
        Column("Sent", ".status.lastSent.time", "date", description="When somebody was last told."),
        Column("Failures", ".status.failures", "integer", description="How many tries have failed since."),
        Column("Dropped", ".status.dropped", "integer", 1, "How many events were never told."),
    ),
    name_limit=63,
)

KINDS = (
    PROJECT,
    ENVIRONMENT,
    APPLICATION,
    CATALOG_ITEM,
    PROXMOX_HOST,
    LXC_CONTAINER,
    BACKUP_REPOSITORY,
    BACKUP,
    BACKUP_RUN,
    RESTORE,
    GIT_SOURCE,
    IMAGE_UPDATE,
    NOTIFICATION,
)
BY_NAME = {kind.name: kind for kind in KINDS}
