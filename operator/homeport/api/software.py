"""What runs in an LXC container, and how it gets in: an image, its command, environment, files and probes.

The fields have Kubernetes's names and units, as a component of an Application has.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StrictBool, StrictInt
from pydantic.alias_generators import to_snake

from homeport.api.base import ATOMIC, SET, Label, ListMap, Model, NameRef, Rule, ShortText, Token
from homeport.api.component import CronSchedule, FileMap, Image
from homeport.api.pod import Command, EnvFrom, EnvVar, Port, Probes, SecretFile


class SoftwareUser(Model):
    """Whom the processes run as."""

    run_as_user: Annotated[StrictInt, Field(ge=0)] | None = None
    """The user id; absent means the image's."""
    run_as_group: Annotated[StrictInt, Field(ge=0)] | None = None
    """The group id; absent means the user's."""
    fs_group: Annotated[StrictInt, Field(ge=0)] | None = None
    """The group that mounts belong to."""


class HostsEntry(Model):
    """A name under which other containers are found."""

    name: Label
    """The name."""
    containers: Annotated[tuple[Label, ...], Field(min_length=1, max_length=32), ATOMIC]
    """LXCContainers of the same namespace: their addresses, kept in step."""


def _plain(software: Software) -> bool:
    if software.delivery != "Plain":
        return True
    probes = software.probes
    checks = (probes.liveness, probes.readiness, probes.startup) if probes is not None else ()
    inside = (software.files, software.secret_files, software.hosts, software.schedule, software.user)
    return (
        all(value is None for value in inside)
        and software.restart_policy != "Never"
        and all(check is None or check.exec is None for check in checks)
    )


class Program(Model):
    """What a process is started as."""

    command: Command | None = None
    """Replaces the image's entrypoint."""
    args: Command | None = None
    """Replaces the image's command."""
    working_dir: Annotated[str, Field(max_length=1024)] | None = None
    """The working directory; absent means the image's."""
    env: Annotated[tuple[EnvVar, ...], Field(max_length=128), ListMap("name")] | None = None
    """Environment variables."""
    env_from: Annotated[tuple[EnvFrom, ...], Field(max_length=16), ATOMIC] | None = None
    """Variables from whole ConfigMaps and Secrets of the namespace."""
    files: FileMap | None = None
    """Files by absolute path."""
    secret_files: Annotated[tuple[SecretFile, ...], Field(max_length=32), ListMap("path")] | None = None
    """Files whose content is a key of a Secret; kept in memory only."""
    user: SoftwareUser | None = None
    """Whom it runs as; absent means the image's user."""
    probes: Probes | None = None
    """Health checks."""
    schedule: CronSchedule | None = None
    """Runs the command by this schedule, instead of all the time."""
    time_zone: ShortText | None = None
    """The time zone of schedule, such as Europe/Rome; absent means UTC."""
    termination_grace_period_seconds: Annotated[StrictInt, Field(ge=0, le=86400)] | None = None
    """How long it gets to stop; absent means 30."""
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.timeZone) || has(self.schedule)",
            "timeZone is the schedule's; write a schedule, or leave it out",
            lambda s: s.time_zone is None or s.schedule is not None,
            ".timeZone",
        ),
    )


class Process(Program):
    """One of several processes in a container."""

    name: Label
    """Its name, which is also before each of its lines in the log."""
    depends_on: Annotated[tuple[Label, ...], Field(max_length=32), SET] | None = None
    """Processes that have to be ready before it is started, and that are stopped after it."""
    restart_at: Token | None = None
    """A token: a new value restarts it once."""


_ALONE = (
    "command", "args", "workingDir", "env", "envFrom", "files", "secretFiles", "user", "probes", "schedule", "timeZone",
    "terminationGracePeriodSeconds", "restartPolicy",
)  # fmt: skip
"""What each of several processes has of its own."""


def _each_its_own(software: Software) -> bool:
    return software.processes is None or all(getattr(software, to_snake(name)) is None for name in _ALONE)


def _known(software: Software) -> bool:
    names = {process.name for process in software.processes or ()}
    return all(names.issuperset(process.depends_on or ()) for process in software.processes or ())


def _one_group(software: Software) -> bool:
    users = [process.user for process in software.processes or () if process.user is not None]
    return len({user.fs_group for user in users if user.fs_group is not None}) <= 1


class Software(Program):
    """What runs in the container."""

    delivery: Literal["Agent", "Plain", "SSH"] | None = None
    """How it gets in. Agent: Homeport's init brings environment, files, secrets, probes and exec; before Proxmox VE 9.1
    the container needs an IPv4 address that isn't DHCP's. Plain: the image as it is (9.1 and later). SSH: a template of
    its own system, reached over SSH. Absent means the environment's, else Agent."""
    image: Image | None = None
    """The image, by tag or digest. Which digest a tag means is found out once, and kept until the reference changes."""
    image_pull_secrets: Annotated[tuple[NameRef, ...], Field(max_length=8), ListMap("name")] | None = None
    """Secrets with registry credentials."""
    ports: Annotated[tuple[Port, ...], Field(max_length=64), ListMap("name")] | None = None
    """The ports that it listens on."""
    hosts: Annotated[tuple[HostsEntry, ...], Field(max_length=64), ListMap("name")] | None = None
    """Entries of /etc/hosts."""
    processes: Annotated[tuple[Process, ...], Field(min_length=1, max_length=32), ListMap("name")] | None = None
    """Several processes of the one image, instead of one. Each has its own command, environment, files, user and
    probes, and is started again by itself."""
    restart_policy: Literal["Always", "Never"] | None = None
    """Always starts the command again when it ends. Never runs it once: its exit code is in status, and the container
    stops. Absent means Always."""
    backoff_limit: Annotated[StrictInt, Field(ge=0, le=100)] | None = None
    """With restartPolicy Never: how many times a command that failed is tried again, after 10 s and longer; absent
    means never."""
    active_deadline_seconds: Annotated[StrictInt, Field(ge=1)] | None = None
    """With restartPolicy Never: how long all tries may take together; then it has failed, with exit code 124."""
    inputs: Token | None = None
    """A token: Secrets and ConfigMaps that it refers to are read again when its value is a new one. Absent means as
    soon as one of them changes. Applications write it into their containers: these take a change one by one."""

    @property
    def programs(self) -> tuple[Program, ...]:
        """All that run in it."""
        return self.processes or (self,)

    rules: ClassVar[tuple[Rule, ...]] = (
        *Program.rules,
        Rule(
            "has(self.image) != (has(self.delivery) && self.delivery == 'SSH')",
            "write the image; only with delivery: SSH there is none, since that runs in a template",
            lambda s: (s.image is not None) != (s.delivery == "SSH"),
        ),
        Rule(
            "!has(self.delivery) || self.delivery != 'Plain' || !(has(self.files) || has(self.secretFiles) || "
            "has(self.hosts) || has(self.schedule) || has(self.user) || "
            "(has(self.restartPolicy) && self.restartPolicy == 'Never') || (has(self.probes) && ("
            "(has(self.probes.liveness) && has(self.probes.liveness.exec)) || "
            "(has(self.probes.readiness) && has(self.probes.readiness.exec)) || "
            "(has(self.probes.startup) && has(self.probes.startup.exec)))))",
            "with delivery: Plain nothing of Homeport's is in the container, so that files, secretFiles, hosts, user, "
            "schedule, restartPolicy: Never and exec probes can't be; write delivery: Agent",
            _plain,
        ),
        Rule(
            "!has(self.schedule) || !has(self.restartPolicy)",
            "a schedule says when the command runs; leave restartPolicy out",
            lambda s: s.schedule is None or s.restart_policy is None,
            ".restartPolicy",
        ),
        Rule(
            "!(has(self.backoffLimit) || has(self.activeDeadlineSeconds)) || "
            "(has(self.restartPolicy) && self.restartPolicy == 'Never')",
            "backoffLimit and activeDeadlineSeconds are of what runs once; write restartPolicy: Never, or leave them "
            "out",
            lambda s: (s.backoff_limit is None and s.active_deadline_seconds is None) or s.restart_policy == "Never",
            ".restartPolicy",
        ),
        Rule(
            "!has(self.processes) || !(" + " || ".join(f"has(self.{name})" for name in _ALONE) + ")",
            "each of processes has its own command, args, workingDir, env, envFrom, files, secretFiles, user, probes, "
            "schedule, timeZone and terminationGracePeriodSeconds, and none ends by restartPolicy; write them there",
            _each_its_own,
            ".processes",
        ),
        Rule(
            "!has(self.processes) || !has(self.delivery) || self.delivery == 'Agent'",
            "several processes are kept by Homeport's init; write delivery: Agent",
            lambda s: s.processes is None or s.delivery in (None, "Agent"),
            ".delivery",
        ),
        Rule(
            "!has(self.processes) || self.processes.all(p, !has(p.dependsOn) || "
            "p.dependsOn.all(d, self.processes.exists(o, o.name == d)))",
            "dependsOn names a process that isn't there; write the name of one of processes",
            _known,
            ".processes",
        ),
        Rule(
            "!has(self.processes) || self.processes.all(p, !has(p.user) || !has(p.user.fsGroup) || "
            "self.processes.all(o, !has(o.user) || !has(o.user.fsGroup) || o.user.fsGroup == p.user.fsGroup))",
            "the mounts of a container belong to one group; write the same fsGroup in all processes",
            _one_group,
            ".processes",
        ),
    )


class ProcessStatus(Model):
    """How one of several processes is."""

    name: Label
    """The process."""
    ready: StrictBool = False
    """Whether it runs and its probes say that it is well, or waits for its schedule."""
    started_at: ShortText | None = None
    """When it was started."""
    exit_code: StrictInt | None = None
    """How the last run of its schedule has ended."""
    message: Annotated[str, Field(max_length=512)] | None = None
    """What is wrong with it."""


class SoftwareStatus(Model):
    """What runs, and how."""

    image: Annotated[str, Field(max_length=512)] | None = None
    """The image as the spec named it when the digest was found out."""
    digest: Annotated[str, Field(max_length=128)] | None = None
    """The digest of the image that runs."""
    ready: StrictBool | None = None
    """Whether its probes say that it is well."""
    started_at: ShortText | None = None
    """When its process was started."""
    exit_code: StrictInt | None = None
    """How the command of restartPolicy Never, or the last run of a schedule, has ended."""
    agent: Literal["Connected", "Disconnected"] | None = None
    """Whether Homeport's init in the container is connected; with delivery: SSH, whether it can be reached."""
    message: Annotated[str, Field(max_length=1024)] | None = None
    """What is wrong with it."""
    run: ShortText | None = None
    """The run of a job that exitCode is of."""
    claim: ShortText | None = None
    """The name of the claim that the container was given to reach the operator with; nothing secret."""
    credential: ShortText | None = None
    """The fingerprint of the credential that used the claim."""
    host_key: ShortText | None = None
    """The fingerprint of the SSH host key that was learned at the first connection; no other is taken."""
    processes: Annotated[tuple[ProcessStatus, ...], Field(max_length=32), ListMap("name")] | None = None
    """How each of several processes is."""
