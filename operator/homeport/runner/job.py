"""The job: one JSON document that says what to do. Read strictly: what isn't known is refused, with the place."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from homeport.runner.fields import Fields
from homeport.runner.result import Failure, Reason
from homeport.runner.secrets import Reference


class Operation(StrEnum):
    """What a job does."""

    INIT = "init"
    """Make the repository, unless it is there."""
    BACKUP = "backup"
    RESTORE = "restore"
    CHECK = "check"
    """The repository's integrity; with ``select``, that a run's dumps can be read from end to end."""
    DRILL = "drill"
    """Restore, and then the same as ``drill-check``, with the time that both took."""
    DRILL_CHECK = "drill-check"
    """Run a command against what was restored, and hold its output against what is expected."""
    FORGET = "forget"
    """Drop snapshots by their ids; their data goes with the next ``prune``."""
    RETAIN = "retain"
    """Drop the runs of one backup that its retention doesn't keep, as after a good run of it."""
    PRUNE = "prune"
    SNAPSHOTS = "snapshots"
    UNLOCK = "unlock"
    """Remove locks that are stale, and no others."""


class Method(StrEnum):
    """How data is read and written."""

    POSTGRES = "Postgres"
    MYSQL = "MySQL"
    SQLITE = "SQLite"
    REDIS = "Redis"
    FILES = "Files"
    MANIFESTS = "Manifests"


class Existing(StrEnum):
    """What to do when there is something at the target."""

    REFUSE = "Refuse"
    REPLACE = "Replace"


_LONGEST = 63  # bytes; https://www.postgresql.org/docs/current/sql-syntax-lexical.html. MySQL's are 64 characters


@dataclass(frozen=True)
class S3:
    """A bucket of an S3 server."""

    endpoint: str
    bucket: str
    prefix: str = ""
    region: str = ""
    access_key: Reference | None = None
    secret_key: Reference | None = None
    ca_file: str = ""


@dataclass(frozen=True)
class Repository:
    """Where snapshots are kept: a bucket or a folder."""

    password: Reference
    s3: S3 | None = None
    path: str = ""
    lock_wait: int = 300
    """Seconds to wait for somebody else's lock."""
    give_up: int = 300
    """Seconds after which a store that doesn't answer is given up on; restic itself would go on for 15 minutes."""


@dataclass(frozen=True)
class Place:
    """What is backed up, or where it is restored to: a server, or paths."""

    host: str = ""
    port: int = 0
    user: Reference | None = None
    password: Reference | None = None
    databases: tuple[str, ...] = ()
    """Absent: all that the role may connect to."""
    rename: dict[str, str] = field(default_factory=dict)
    """Restoring: database to its new name."""
    suffix: str = ""
    """Restoring: what is added to the name of every other database."""
    ca_file: str = ""
    """The server's certificate is verified against it; without, nothing is."""
    paths: tuple[str, ...] = ()
    root: str = ""
    """Files: the folder that several paths are below; a restore's target stands for it."""
    exclude: tuple[str, ...] = ()
    append_only: bool = False
    """Redis: the server that will read the target has ``appendonly yes``."""
    existing: Existing = Existing.REFUSE
    mark: str = ""
    """Whose restore it is: what an earlier try of the same has made may be replaced. PostgreSQL only."""

    def renamed(self, name: str) -> str:
        """What a database is called where it is restored; no longer than PostgreSQL's names, 63 bytes."""
        if name in self.rename or not self.suffix:
            return self.rename.get(name, name)
        return name.encode()[: _LONGEST - len(self.suffix.encode())].decode(errors="ignore") + self.suffix


@dataclass(frozen=True)
class Select:
    """Which run: by its name, by one of its snapshots, the newest before a moment; else the newest complete one."""

    run: str = ""
    snapshot: str = ""
    before: datetime | None = None
    paths: tuple[str, ...] = ()
    """Of Files: only these."""
    parts: tuple[str, ...] = ()
    """Only these parts."""


@dataclass(frozen=True)
class Check:
    """A command whose exit code, and output, prove what was restored."""

    exec: tuple[str, ...] = ()
    expect: str = ""
    timeout: int = 300


@dataclass(frozen=True)
class Retention:
    """Which runs stay after a good backup."""

    policy: dict[str, int]
    """How many of each kind, as ``homeport.plan.backup.retention.Policy`` has them."""
    zone: str = "UTC"
    """The time zone in which a day begins."""
    verified: tuple[str, ...] = ()
    """Runs that a drill or a check has proven."""
    unfinished: int = 86400
    """Seconds for which a run that isn't complete may be one that is at work."""


@dataclass(frozen=True)
class Job:
    """One job."""

    operation: Operation
    repository: Repository | None
    method: Method | None = None
    backup: str = ""
    project: str = ""
    """Without a backup: only what is kept under this project's Backups is seen."""
    run: str = ""
    installation: str = ""
    """Who runs this: nothing of another installation's is ever forgotten."""
    protected: bool = False
    """Whether the run that is made is kept by every retention."""
    retention: Retention | None = None
    host: str = ""
    """restic's ``--host``: where the source lives, by a name that outlives Pods."""
    source: Place = Place()
    target: Place = Place()
    select: Select | None = None
    check: Check = Check()
    restored: str = ""
    """Of ``drill-check``: the result file of the restore before it."""
    snapshots: tuple[str, ...] = ()
    everything: bool = False
    """Of ``forget``: all that there is of the backup and isn't protected."""
    read_data: str = ""
    """Of ``check``: how much of the data is read again, such as ``5%``, ``100%`` or ``1/7``; empty: none of it."""


def parse(text: str | bytes) -> Job:
    """A job out of JSON. Raises Failure that names the field and says what to write."""
    try:
        document = json.loads(text)
    except ValueError as error:
        raise Failure(Reason.INVALID_JOB, f"the job isn't JSON: {error}") from None
    fields = Fields(document, "job")
    if (version := fields.take("version", int, 0)) != 1:
        raise Failure(Reason.INVALID_JOB, f"job.version is {version}; this runner reads version 1")
    operation = fields.choose("operation", Operation)
    assert operation is not None
    tags = fields.within("tags")
    job = Job(
        operation=operation,
        repository=_repository(fields.within("repository")) if "repository" in document else None,
        method=fields.choose("method", Method, optional=True),
        backup=tags.take("backup", str, ""),
        project=tags.take("project", str, ""),
        run=tags.take("run", str, ""),
        installation=tags.take("installation", str, ""),
        protected=fields.take("protected", bool, False),
        retention=_retention(fields.within("retention")) if "retention" in document else None,
        host=fields.take("host", str, ""),
        source=_place(fields.within("source")),
        target=_place(fields.within("target")),
        select=_select(fields.within("select")) if "select" in document else None,
        check=_check(fields.within("check")),
        restored=fields.take("restored", str, ""),
        snapshots=fields.texts("snapshots"),
        everything=fields.take("everything", bool, False),
        read_data=fields.take("readData", str, ""),
    )
    tags.finish()
    fields.finish()
    _whole(job)
    return job


def _repository(fields: Fields) -> Repository:
    s3 = fields.within("s3") if fields.has("s3") else None
    filesystem = fields.within("filesystem")
    password = fields.reference("password")
    if password is None:
        raise Failure(Reason.INVALID_JOB, "job.repository.password is needed: {env: NAME} or {file: PATH}")
    repository = Repository(
        password=password,
        s3=None
        if s3 is None
        else S3(
            endpoint=s3.need("endpoint"),
            bucket=s3.need("bucket"),
            prefix=s3.take("prefix", str, "").strip("/"),
            region=s3.take("region", str, ""),
            access_key=s3.reference("accessKeyId"),
            secret_key=s3.reference("secretAccessKey"),
            ca_file=s3.take("caFile", str, ""),
        ),
        path=filesystem.take("path", str, ""),
        lock_wait=fields.take("lockWaitSeconds", int, 300),
        give_up=fields.take("giveUpAfterSeconds", int, 300),
    )
    for part in (s3, filesystem, fields):
        if part is not None:
            part.finish()
    if bool(repository.s3) == bool(repository.path):
        raise Failure(Reason.INVALID_JOB, "job.repository needs exactly one of s3 and filesystem.path")
    if repository.s3 and not repository.s3.endpoint.startswith(("http://", "https://")):
        raise Failure(Reason.INVALID_JOB, "job.repository.s3.endpoint: write a URL with http:// or https://")
    return repository


def _place(fields: Fields) -> Place:
    place = Place(
        host=fields.take("host", str, ""),
        port=fields.take("port", int, 0),
        user=fields.reference("user"),
        password=fields.reference("password"),
        databases=fields.texts("databases"),
        rename=fields.take("rename", dict, {}),
        suffix=fields.take("suffix", str, ""),
        ca_file=fields.take("caFile", str, ""),
        paths=fields.texts("paths"),
        root=fields.take("root", str, ""),
        exclude=fields.texts("exclude"),
        append_only=fields.take("appendOnly", bool, False),
        existing=fields.choose("existing", Existing, optional=True) or Existing.REFUSE,
        mark=fields.take("mark", str, ""),
    )
    fields.finish()
    return place


_RULES = ("last", "hourly", "daily", "weekly", "monthly", "yearly")


def _retention(fields: Fields) -> Retention:
    policy = {name: fields.take(name, int, 0) for name in _RULES}
    zone, unfinished = fields.take("timeZone", str, "UTC"), fields.take("unfinishedSeconds", int, 86400)
    found = Retention(policy, zone, fields.texts("verified"), unfinished)
    fields.finish()
    if not any(number > 0 for number in policy.values()):
        raise Failure(Reason.INVALID_JOB, f"job.retention keeps nothing; write one of {', '.join(_RULES)} above 0")
    try:
        ZoneInfo(zone)
    except (ValueError, OSError, ZoneInfoNotFoundError):
        raise Failure(Reason.INVALID_JOB, f"job.retention.timeZone: {zone!r} isn't a time zone known here") from None
    return found


def _select(fields: Fields) -> Select:
    before = fields.take("before", str, "")
    try:
        moment = datetime.fromisoformat(before) if before else None
    except ValueError:
        moment = None
    if before and (moment is None or moment.tzinfo is None):
        raise Failure(Reason.INVALID_JOB, f"job.select.before: {before!r} isn't a moment such as 2026-11-20T18:00:00Z")
    run, snapshot = fields.take("run", str, ""), fields.take("snapshot", str, "")
    select = Select(run, snapshot, moment, fields.texts("paths"), fields.texts("parts"))
    fields.finish()
    if sum((bool(select.run), bool(select.snapshot), moment is not None)) > 1:
        raise Failure(Reason.INVALID_JOB, "job.select: write only one of run, snapshot and before")
    return select


def _check(fields: Fields) -> Check:
    check = Check(fields.texts("exec"), fields.take("expect", str, ""), fields.take("timeoutSeconds", int, 300))
    fields.finish()
    return check


_WITH_METHOD = (Operation.BACKUP, Operation.RESTORE, Operation.DRILL)


def _whole(job: Job) -> None:
    """Hold the parts against each other."""
    if job.repository is None and job.operation is not Operation.DRILL_CHECK:
        raise Failure(Reason.INVALID_JOB, f"job.repository is needed for {job.operation}")
    needs_method = job.operation in _WITH_METHOD or (job.operation is Operation.CHECK and job.select is not None)
    if needs_method and job.method is None:
        raise Failure(Reason.INVALID_JOB, f"job.method is needed: one of {', '.join(Method)}")
    if needs_method and not job.backup and not (job.select and job.select.snapshot):
        raise Failure(Reason.INVALID_JOB, "job.tags.backup is needed: the name under which runs are kept")
    if job.operation is Operation.BACKUP and not (job.run and job.host):
        raise Failure(Reason.INVALID_JOB, "job.tags.run and job.host are needed for a backup")
    if job.operation is Operation.FORGET and job.everything == bool(job.snapshots):
        raise Failure(
            Reason.INVALID_JOB, "job.snapshots is needed: the ids to forget; or everything: true, for all of one backup"
        )
    if job.operation is Operation.RETAIN and not (job.backup and job.retention):
        raise Failure(
            Reason.INVALID_JOB, "job.tags.backup and job.retention are needed for retain: whose runs, and the rules"
        )
    if job.everything and not job.backup:
        raise Failure(Reason.INVALID_JOB, "job.tags.backup is needed with everything: which backup's snapshots go")
    if job.operation is Operation.DRILL_CHECK and not job.check.exec:
        raise Failure(Reason.INVALID_JOB, "job.check.exec is needed for drill-check")
    for name in (job.backup, job.run, job.installation):
        if "," in name or "=" in name:
            raise Failure(
                Reason.INVALID_JOB, f"job.tags: {name!r} has a comma or an equals sign, which tags can't have"
            )
