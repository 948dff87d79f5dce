"""Backup: what is backed up, when, where to, how long it is kept, and how that is proven."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StrictBool, StrictInt

from homeport.api.backupparts import (
    BackupMethod,
    Command,
    KeptRun,
    LastRun,
    TimeZone,
    Verified,
)
from homeport.api.base import (
    ATOMIC,
    SET,
    Duration,
    Label,
    ListMap,
    Model,
    NameRef,
    ObjectName,
    Quantity,
    Rule,
    SecretKeyRef,
    ShortText,
    Text,
    matches,
)
from homeport.api.component import CronSchedule
from homeport.api.environment import CIDR, VmidRange
from homeport.api.proxmoxhost import BridgeName, StorageName
from homeport.api.status import Inventory, Status

DatabaseName = Annotated[str, Field(min_length=1, max_length=128)]
_KEEP = ("keepLast", "keepHourly", "keepDaily", "keepWeekly", "keepMonthly", "keepYearly")
Keep = Annotated[StrictInt, Field(ge=0, le=10000)]


class BackupCredentials(Model):
    """How a server is logged in to, where the component's own environment doesn't tell."""

    user: ShortText | None = None
    """The user."""
    user_secret_ref: SecretKeyRef | None = None
    """The user, from a Secret of the environment's namespace."""
    password_secret_ref: SecretKeyRef | None = None
    """The password, from a Secret of the environment's namespace."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!(has(self.user) && has(self.userSecretRef))",
            "write user or userSecretRef, not both",
            lambda s: s.user is None or s.user_secret_ref is None,
        ),
    )


class BackupSource(Model):
    """What is backed up: a component of an application, a container, or the project's manifests."""

    application: Label | None = None
    """The Application; component and environment belong to it."""
    component: Label | None = None
    """Its component that holds the data."""
    environment: Label | None = None
    """The environment that it runs in."""
    container: Label | None = None
    """An LXCContainer instead."""
    project: StrictBool | None = None
    """True: every manifest of the project instead, its Secrets too."""
    volume: Label | None = None
    """For Files and SQLite: the component's volume; absent means its only one."""
    paths: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=1024)], ...], Field(max_length=64), SET] = ()
    """For SQLite: the databases; for Files: only these folders and files. As the component sees them, or from the
    volume's root."""
    exclude: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=256)], ...], Field(max_length=64), SET] = ()
    """For Files: patterns of what is left out, such as *.tmp."""
    databases: Annotated[tuple[DatabaseName, ...], Field(max_length=64), SET] = ()
    """For Postgres and MySQL: only these; absent means all that the user may read."""
    port: Annotated[StrictInt, Field(ge=1, le=65535)] | None = None
    """Where the server listens; absent means the component's port, else the usual one."""
    credentials: BackupCredentials | None = None
    """How the server is logged in to; absent means as the component's environment or catalog item tells."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "[has(self.application), has(self.container), has(self.project) && self.project].filter(x, x).size() == 1",
            "write exactly one of application (with component and environment), container and project: true",
            lambda s: (s.application is not None) + (s.container is not None) + bool(s.project) == 1,
        ),
        Rule(
            "has(self.application) == has(self.component) && has(self.application) == has(self.environment)",
            "application, component and environment belong together; write all three",
            lambda s: len({s.application is None, s.component is None, s.environment is None}) == 1,
        ),
        Rule(
            "has(self.application) || !(has(self.volume) || (has(self.paths) && self.paths.size() > 0) || "
            "(has(self.exclude) && self.exclude.size() > 0) || (has(self.databases) && self.databases.size() > 0) || "
            "has(self.port) || has(self.credentials))",
            "volume, paths, exclude, databases, port and credentials are for application; leave them out",
            lambda s: (
                s.application is not None
                or not (s.volume or s.paths or s.exclude or s.databases or s.port or s.credentials is not None)
            ),
        ),
        Rule(
            "(has(self.application) ? self.application + '/' + self.component + '/' + self.environment : '') == "
            "(has(oldSelf.application) ? oldSelf.application + '/' + oldSelf.component + '/' + oldSelf.environment : "
            "'') && (has(self.container) ? self.container : '') == (has(oldSelf.container) ? oldSelf.container : '')",
            "what is backed up can't be changed: its snapshots are kept under this Backup's name; make a new Backup",
        ),
    )


class ContainerBackup(Model):
    """How an LXC container is backed up by vzdump."""

    mode: Literal["snapshot", "suspend", "stop"] = "snapshot"
    """snapshot: it goes on; suspend: it is paused for a while; stop: it is stopped and started."""
    require_mode: StrictBool = False
    """True: a backup that Proxmox VE took in another mode, because the storage can't, counts as failed."""
    storage: StorageName | None = None
    """The storage; absent means the repository's."""
    compress: Literal["zstd", "gzip", "lzo", "none"] = "zstd"
    """How the archive is compressed; a Proxmox Backup Server does that by itself."""


class FileBackup(Model):
    """How method Files reads a volume that is in use."""

    snapshot: Literal["Auto", "Always", "Never"] = "Auto"
    """Auto: a CSI snapshot of the volume is read where there can be one, and else the volume itself, read-only, while
    it is in use; a note of the run says so. Always: nothing but a snapshot. Never: the volume itself."""
    snapshot_class: ObjectName | None = None
    """The VolumeSnapshotClass; absent means the default one of the volume's driver, or its only one."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.snapshot != 'Never' || !has(self.snapshotClass)",
            "with snapshot: Never no class is used; leave snapshotClass out, or write snapshot: Auto or Always",
            lambda s: s.snapshot != "Never" or s.snapshot_class is None,
            ".snapshotClass",
        ),
    )


class Retention(Model):
    """How many runs are kept: the newest of each of the newest N hours, days, weeks, months or years that have one."""

    keep_last: Keep | None = None
    """The newest N."""
    keep_hourly: Keep | None = None
    """One for each of N hours."""
    keep_daily: Keep | None = None
    """One for each of N days."""
    keep_weekly: Keep | None = None
    """One for each of N weeks, which begin on Monday."""
    keep_monthly: Keep | None = None
    """One for each of N months."""
    keep_yearly: Keep | None = None
    """One for each of N years."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            " || ".join(f"(has(self.{name}) && self.{name} > 0)" for name in _KEEP),
            "retention keeps nothing; write at least one of keepLast, keepHourly, keepDaily, keepWeekly, keepMonthly "
            "and keepYearly above 0, or leave retention out to keep everything",
            lambda s: any(value > 0 for value in s.model_dump().values() if value is not None),
        ),
    )


class BackupHook(Model):
    """A command in the source, before or after a run."""

    exec: Command
    """The command and its arguments; no shell, unless it names one."""
    timeout: Duration = "60s"
    """How long it may take."""


class BackupHooks(Model):
    """Commands in the component's Pod, or in the container. Each may run more than once for one run."""

    before: Annotated[tuple[BackupHook, ...], Field(max_length=8), ATOMIC] = ()
    """Before the run; one that fails makes the run fail."""
    after: Annotated[tuple[BackupHook, ...], Field(max_length=8), ATOMIC] = ()
    """After the run, also when it failed."""


class VerifyCheck(Model):
    """What proves that what was restored is good."""

    exec: Command
    """The command; it succeeds by exit code 0. For databases PGHOST, MYSQL_HOST, … point to what was restored."""
    expect: (
        Annotated[
            str,
            Field(min_length=2, max_length=256),
            matches(
                r"^((>|<|>=|<=|==|!=) ?-?[0-9]+([.][0-9]+)?|=[^=].*|~.+)$",
                "write what the output must be: >0, >=10, <100, ==3, !=0, =text or ~regular expression",
            ),
        ]
        | None
    ) = None
    """What its output must be: >0, >=10, ==3, =text, ~regular expression. Absent: the exit code alone counts, and
    that may prove an empty table."""
    timeout: Duration = "5m"
    """How long it may take."""


class DrillNetwork(Model):
    """The network of containers in drills, which should lead nowhere."""

    bridge: BridgeName
    """The bridge."""
    cidr: Annotated[str, Field(max_length=18), CIDR]
    """Addresses are taken from it."""


class Verify(Model):
    """How and when backups are proven."""

    schedule: CronSchedule | None = None
    """When the newest good run is proven, in the Backup's time zone; absent: only when asked for."""
    restore: StrictBool = True
    """True: it is restored into a scratch place. False: it is only read from end to end."""
    check: VerifyCheck | None = None
    """What is run against what was restored."""
    network: DrillNetwork | None = None
    """For containers: the network; absent means that its links are down."""
    vmid_range: VmidRange | None = None
    """For containers: where scratch VMIDs are taken from."""
    storage: StorageName | None = None
    """For containers: where scratch volumes are made; absent means where the original's are."""
    max_size: Quantity | None = None
    """For the volume of a drill on Kubernetes: how large it may become; absent means as large as the original."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.restore || !has(self.check)",
            "check needs something to look at; leave it out, or write restore: true",
            lambda s: s.restore or s.check is None,
            ".check",
        ),
    )


def _is_container(spec: BackupSpec) -> bool:
    return spec.source.container is not None


class BackupSpec(Model):
    """What is backed up, when, and for how long."""

    source: BackupSource
    """What is backed up."""
    method: BackupMethod | None = None
    """How; absent means what the image's name tells, a catalog item's too. What that doesn't tell has to be written."""
    repository_ref: NameRef
    """The BackupRepository."""
    container: ContainerBackup | None = None
    """For containers: how vzdump does it."""
    files: FileBackup | None = None
    """For method Files: whether a CSI snapshot of the volume is read instead of the volume."""
    schedule: CronSchedule | None = None
    """When, in five fields; absent: only by a BackupRun that somebody makes."""
    time_zone: TimeZone | None = None
    """The schedule's time zone, such as Europe/Rome; absent means UTC. On days when clocks change a run neither falls
    out nor comes twice."""
    jitter: Duration | None = None
    """A run begins up to this much later than its time; the same for one run after a restart."""
    retention: Retention | None = None
    """How many runs are kept; absent means all. The newest good one, the newest verified one and those that are
    protected are kept whatever it says."""
    hooks: BackupHooks | None = None
    """Commands before and after a run."""
    verify: Verify | None = None
    """How backups are proven."""
    max_age: Duration | None = None
    """Ready turns False (BackupStale) when the newest good one is older."""
    timeout: Duration = "24h"
    """How long a run may take."""
    concurrency_policy: Literal["Allow", "Forbid", "Replace"] = "Forbid"
    """When a run is due and another one isn't over: run both; wait until it is over; or, in place of a scheduled one
    that hasn't begun with anything, run this one, and wait for any other."""
    starting_deadline: Duration | None = None
    """How late a run may begin; absent means any time before the next one. One missed run is caught up, never more."""
    history_limit: Annotated[StrictInt, Field(ge=1, le=100)] = 10
    """How many finished BackupRuns, and how many drills, are kept as objects."""
    deletion_policy: Literal["Delete", "Retain"] = "Retain"
    """When this object is deleted: keep its snapshots, or forget those that aren't protected; the latter wants the
    annotation homeport.dev/confirm-delete."""
    suspend: StrictBool = False
    """True stops reconciliation of this object: nothing is scheduled."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.source.project) || !self.source.project || !has(self.method) || self.method == 'Manifests'",
            "source.project is backed up by method Manifests; write that, or leave method out",
            lambda s: not s.source.project or s.method in (None, "Manifests"),
            ".method",
        ),
        Rule(
            "!has(self.method) || self.method != 'Manifests' || (has(self.source.project) && self.source.project)",
            "method Manifests is for source.project: true; write another method, or leave it out",
            lambda s: s.method != "Manifests" or bool(s.source.project),
            ".method",
        ),
        Rule(
            "!has(self.source.container) || !has(self.method) || self.method == 'Container'",
            "source.container is backed up by method Container; write that, or leave method out. For a dump, name the "
            "application, component and environment that the container is of",
            lambda s: not _is_container(s) or s.method in (None, "Container"),
            ".method",
        ),
        Rule(
            "!has(self.container) || (!(has(self.source.project) && self.source.project) && "
            "(!has(self.method) || self.method == 'Container'))",
            "container says how vzdump works; leave it out, or back up a container",
            lambda s: s.container is None or (not s.source.project and s.method in (None, "Container")),
            ".container",
        ),
        Rule(
            "!has(self.files) || (has(self.method) && self.method == 'Files')",
            "files says how method Files reads a volume; write method: Files, or leave files out",
            lambda s: s.files is None or s.method == "Files",
            ".files",
        ),
        Rule(
            "!has(self.hooks) || !(has(self.source.project) && self.source.project)",
            "hooks run in a Pod or container, and manifests have none; leave them out",
            lambda s: s.hooks is None or not s.source.project,
            ".hooks",
        ),
        Rule(
            "self.repositoryRef == oldSelf.repositoryRef",
            "the repository can't be changed: the snapshots are there; make a new Backup",
            None,
            ".repositoryRef",
        ),
    )


class LastSuccess(Model):
    """The newest good run."""

    snapshot: Annotated[str, Field(max_length=512)] | None = None
    """Its snapshot's id; of Proxmox VE the archive's volume."""
    run: ShortText
    """The BackupRun's name."""
    time: ShortText
    """When it was begun: what came later isn't in it."""
    bytes: Annotated[StrictInt, Field(ge=0)] | None = None
    """How much was read."""
    duration: ShortText | None = None
    """How long it took."""


class Pruning(Model):
    """Retention that is being carried out because somebody asked for it."""

    asked: ShortText
    """The value of the annotation homeport.dev/prune-at that asked for it."""
    since: ShortText
    """When it began."""


class Pruned(Model):
    """How retention ended that somebody asked for."""

    asked: ShortText
    """The value of the annotation homeport.dev/prune-at that asked for it."""
    time: ShortText
    """When it ended."""
    outcome: Literal["Succeeded", "Failed"]
    """How."""
    message: Text = ""
    """What a person needs to know."""


class BackupStatus(Status):
    """How old the newest good backup is, whether it was proven, and how long getting it back takes."""

    last_success: LastSuccess | None = None
    """The newest good run."""
    last_run: LastRun | None = None
    """The newest run, however it ended."""
    last_drill: LastRun | None = None
    """The newest drill, however it ended."""
    last_verified: ShortText | None = None
    """When a drill or check last proved a run."""
    verified: Verified | None = None
    """The run that it proved."""
    measured_rto: ShortText | None = Field(default=None, alias="measuredRTO")
    """How long the last drill's restore took."""
    next: ShortText | None = None
    """When the next run is due."""
    next_verify: ShortText | None = None
    """When the next drill is due."""
    snapshots: Annotated[StrictInt, Field(ge=0)] | None = None
    """How many runs the repository has."""
    runs: Annotated[tuple[KeptRun, ...], Field(max_length=100), ListMap("run")] = ()
    """The newest runs in the repository, newest first."""
    method: ShortText | None = None
    """The method that is used."""
    active: Annotated[tuple[ShortText, ...], Field(max_length=100), ATOMIC] = ()
    """BackupRuns and drills that aren't over."""
    failures: Annotated[StrictInt, Field(ge=0)] | None = None
    """How many runs have failed since the last good one."""
    last_scheduled: ShortText | None = None
    """The time of the last run that the schedule asked for."""
    last_verify_scheduled: ShortText | None = None
    """The time of the last drill that the schedule asked for."""
    pruning: Pruning | None = None
    """That its retention is being carried out without a run."""
    last_prune: Pruned | None = None
    """How that ended the last time."""
    not_covered: Annotated[tuple[Text, ...], Field(max_length=64), ATOMIC] = ()
    """What of the source isn't in its backups, such as mounts that are left out."""
    forgotten: StrictBool | None = None
    """While it is being deleted: whether its snapshots have been forgotten."""
    inventory: Inventory | None = None
    """The objects that were made for it in Kubernetes."""
