"""What a container should run, as the operator tells it."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

DEFAULT_GRACE = 30
"""Seconds that a process gets to stop, as a Pod's."""


class Wire(BaseModel):
    """A part of a frame, with camelCase names."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True, use_attribute_docstrings=True
    )


class Variable(Wire):
    """One environment variable, resolved."""

    name: str
    value: str = Field(repr=False)


class File(Wire):
    """A file that init writes."""

    path: str
    """Absolute."""
    content: str = Field(repr=False)
    """Base64."""
    mode: int = 0o644
    """Permission bits."""
    secret: bool = False
    """True keeps it in memory (a tmpfs), with a symbolic link at ``path``: it gets onto no disk and into no backup."""

    @classmethod
    def of(cls, path: str, content: bytes, *, mode: int | None = None, secret: bool = False) -> File:
        """A file with this content: root's and readable by all, or the process's and readable by it alone if secret."""
        mode = mode if mode is not None else 0o400 if secret else 0o644
        return cls(path=path, content=base64.b64encode(content).decode(), mode=mode, secret=secret)


class HostEntry(Wire):
    """One line of /etc/hosts."""

    address: str
    names: tuple[str, ...]


class User(Wire):
    """Who runs the process; what is absent is the image's."""

    uid: int | None = None
    gid: int | None = None
    fs_group: int | None = None
    """A further group of the process, to which the payload's ``volumes`` are given, as a Pod's fsGroup."""
    supplemental_groups: tuple[int, ...] = ()


class HttpCheck(Wire):
    """A GET that must answer 200 to 399."""

    port: int
    path: str = "/"
    scheme: Literal["HTTP", "HTTPS"] = "HTTP"
    """Certificates aren't looked at, as the kubelet doesn't."""
    headers: tuple[Variable, ...] = ()


class Probe(Wire):
    """A check that init makes inside; exactly one of exec, tcp and http. Numbers mean what they mean in a Pod."""

    exec: tuple[str, ...] | None = None
    tcp: int | None = None
    """A port on the container's own address, as on a Pod's."""
    http: HttpCheck | None = None
    initial_delay_seconds: int = 0
    period_seconds: int = 10
    timeout_seconds: int = 1
    success_threshold: int = 1
    failure_threshold: int = 3
    termination_grace_period_seconds: int | None = None


class ProbeSet(Wire):
    """The three probes of a Pod."""

    liveness: Probe | None = None
    readiness: Probe | None = None
    startup: Probe | None = None


class Program(Wire):
    """What a process is started as. What is absent is the image's own.

    It is restarted when ``env``, ``files``, ``command``, ``args``, ``working_dir``, ``user`` or ``restart`` differ from
    what it was started with; all else takes effect while it runs.
    """

    env: tuple[Variable, ...] = ()
    """Over the image's own."""
    files: tuple[File, ...] = ()
    """Files that were in the last payload and aren't any more are removed."""
    command: tuple[str, ...] | None = None
    """Instead of the image's entrypoint and command, as a Pod's ``command``."""
    args: tuple[str, ...] | None = None
    """Instead of the image's command, as a Pod's ``args``."""
    working_dir: str | None = None
    user: User = User()
    probes: ProbeSet = ProbeSet()
    schedule: str | None = None
    """Five fields of cron: the command runs then, once at a time."""
    time_zone: str | None = None
    """For the schedule; absent means UTC."""
    suspend: bool = False
    """For the schedule: nothing is started."""
    termination_grace_period_seconds: int = DEFAULT_GRACE
    restart: str = ""
    """A token: another one restarts the process."""


class Process(Program):
    """One of several."""

    name: str
    depends_on: tuple[str, ...] = ()
    """It is started when these are ready, and stopped before them."""


class Interface(Wire):
    """What init gives one of the container's interfaces, where Proxmox VE leaves that to the container."""

    name: str
    addresses: tuple[str, ...] = ()
    """Each with its prefix."""
    gateways: tuple[str, ...] = ()
    """One of each family, at most."""


class Payload(Program):
    """All that a container should run and have."""

    hosts: tuple[HostEntry, ...] = ()
    """A block of its own in /etc/hosts; other lines are left alone."""
    hostname: str = ""
    """The name for itself in /etc/hosts and HOSTNAME; empty leaves both."""
    nameservers: tuple[str, ...] = ()
    """With any of these or ``search``, /etc/resolv.conf is written; without, it is left alone."""
    search: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    """Paths that are given to ``user.fs_group``."""
    restart_policy: Literal["Always", "Never"] = "Always"
    """Never: a job, which is run once for each ``run``, whatever restarts; its exit code is told until ``Finish``."""
    run: str = ""
    """The name of a job's run: another one runs it again."""
    backoff_limit: int = 0
    """How many times a job that failed is tried again, after 10 s, doubled up to 6 min."""
    active_deadline_seconds: int | None = None
    """How long a job's tries may take together, counted from the first."""
    interfaces: tuple[Interface, ...] | None = None
    """Where Proxmox VE sets up no network: what init does instead, and keeps for its next start. None: nothing."""
    processes: tuple[Process, ...] = ()
    """Several processes instead of the one; an init that can do it says so in ``Hello.features``."""


def variables(pairs: Iterable[tuple[str, str]]) -> tuple[Variable, ...]:
    """Environment variables by name; the last of a name counts."""
    return tuple(Variable(name=name, value=value) for name, value in dict(pairs).items())
