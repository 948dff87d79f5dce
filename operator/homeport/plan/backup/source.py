"""A Backup's source: what is there of it, and what it comes to for who backs it up or restores to it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from homeport.outcome import Outcome
from homeport.plan.backup.connection import Login
from homeport.plan.backup.snapshots import Offered
from homeport.plan.backup.volumes import Mounted
from homeport.plan.types import Manifest, Place
from homeport.plan.world import Live


@dataclass(frozen=True)
class SourceWorld:
    """What is there of a source."""

    place: Place | None = None
    missing: Outcome | None = None
    """Why its environment can't be used, if so."""
    application: bool = False
    """Whether there is such an Application."""
    objects: Sequence[Live] = ()
    """The component's objects in the environment."""
    components: Sequence[str] = ()
    """All components that have objects there, for whoever has mistyped one."""
    pods: Sequence[Live] = ()
    """The component's Pods."""
    claims: Mapping[str, Live] = field(default_factory=dict)
    """PersistentVolumeClaims of the environment's namespace that its Pods mount."""
    container: bool = False
    """For ``source.container``: whether there is such an LXCContainer."""
    snapshots: Offered = field(default_factory=Offered)
    """What the cluster has for snapshots of volumes."""


@dataclass(frozen=True)
class Server:
    """A server that answers in the cluster."""

    host: str
    port: int
    login: Login
    databases: tuple[str, ...] = ()
    target_port: int = 0
    """The port in its Pods, for who is to let the runner in."""

    def document(self) -> Manifest:
        """As the runner's job has it."""
        out: Manifest = {"host": self.host, "port": self.port}
        out |= {key: value for key, value in (("user", self.login.user), ("password", self.login.password)) if value}
        if self.databases:
            out["databases"] = list(self.databases)
        return out


@dataclass(frozen=True)
class Source:
    """A source that can be backed up, or restored to."""

    runtime: Literal["Kubernetes", "Proxmox"]
    """Who takes the backup: a Job with the runner, or vzdump."""
    method: str
    environment: str = ""
    application: str = ""
    component: str = ""
    cluster: str = ""
    """The identity of the cluster."""
    namespace: str = ""
    """Where the Job runs."""
    isolated: bool = False
    """Whether network policies deny what isn't allowed there."""
    containers: tuple[str, ...] = ()
    """For Proxmox: the names of the LXCContainers, and ``namespace`` is theirs."""
    image: str = ""
    server: Server | None = None
    volume: Mounted | None = None
    paths: tuple[str, ...] = ()
    """As the runner sees them."""
    exclude: tuple[str, ...] = ()
    selector: Mapping[str, str] = field(default_factory=dict)
    """The labels that its Pods are found by; empty for LXC containers."""
    pod: str = ""
    """The Pod that hooks run in; empty when none runs."""
    container: str = ""
    """The container of it that is the component's own."""
    snapshot: str = ""
    """The VolumeSnapshotClass by which the volume is held still; empty: it is read as it is."""
    unheld: str = ""
    """Why there is no snapshot, although one would be taken."""
    node: str = ""
    """Where the runner has to be; empty for anywhere."""
    near: str = ""
    """Where it had better be."""
    security: Mapping[str, Any] = field(default_factory=dict)
    """The Pod's security context: whose files those in its volumes are."""
    workload: tuple[str, str] = ("", "")
    """The kind and name of what runs it."""
    template: Manifest = field(default_factory=dict)
    """Its Pod template."""

    @property
    def host(self) -> str:
        """restic's host: names that outlive Pods."""
        return "-".join(filter(None, (self.application or self.component, self.environment))) or "project"

    def document(self) -> Manifest:
        """The job's ``source``."""
        if self.server is not None:
            return self.server.document()
        out: Manifest = {"paths": list(self.paths)}
        if self.method == "Files" and self.volume is not None:
            out["root"] = self.volume.at
        if self.exclude:
            out["exclude"] = list(self.exclude)
        return out
