"""What planning is told of the world: read beforehand by the engine, from its caches, and never changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from homeport.api.application import ApplicationSpec
from homeport.api.backup import BackupSpec
from homeport.api.conditions import ConditionType, Reason
from homeport.api.environment import EnvironmentSpec
from homeport.api.lxccontainer import LXCContainerSpec
from homeport.api.project import ProjectSpec
from homeport.api.proxmoxhost import ProxmoxHostSpec
from homeport.api.resource import Resource
from homeport.outcome import Outcome
from homeport.plan.backup.coverage import Coverage
from homeport.plan.capabilities import NONE, Capabilities
from homeport.plan.catalog import Expansion
from homeport.plan.proxmox.bridges import Bridge
from homeport.plan.proxmox.privileges import Permissions
from homeport.plan.proxmox.readings import ClusterStatus, Resources, Version, Volume
from homeport.plan.proxmox_app.guests import Used
from homeport.plan.types import Change, Child, ObjectId, Place, Versions

Live = Mapping[str, Any]
"""An object as the API server has it, without managedFields."""
ChildKey = tuple[str, ObjectId]
"""An object and the cluster that it is in ("" is this one)."""


@dataclass(frozen=True)
class Missing:
    """An environment that can't be used yet, and why."""

    name: str
    outcome: Outcome
    known: bool = False
    """Whether it is certain that nothing is wanted there; only then may what is there be pruned."""
    absent: bool = False
    """Whether there is no such environment, and so nothing that runs in it."""


@dataclass(frozen=True)
class ApplicationWorld:
    """What an Application's plan depends on."""

    now: datetime
    places: Sequence[Place]
    missing: Sequence[Missing]
    live: Mapping[ChildKey, Live]
    versions: Mapping[str, Versions]
    """By environment: the Secrets and ConfigMaps that are there."""
    pods: Mapping[tuple[str, str], Sequence[Live]] = field(default_factory=dict)
    """By environment and component."""
    hosts_taken: Mapping[tuple[str, str, str], str] = field(default_factory=dict)
    """(cluster, host, path) -> who has it; only what others have."""
    archived: bool = False
    """Whether the project is, wherever the application runs."""
    neighbours: Mapping[str, Used] = field(default_factory=dict)
    """By environment on Proxmox VE: what other applications' containers take there."""
    catalog: Expansion | None = None
    """What the catalog makes of its components; None when none comes from there."""
    quiesced: frozenset[tuple[str, str]] = frozenset()
    """Environments and components of it that a restore has scaled to zero meanwhile."""


@dataclass(frozen=True)
class EnvironmentWorld:
    """What an Environment's plan depends on."""

    now: datetime
    project: Resource[ProjectSpec] | None
    siblings: Sequence[Resource[EnvironmentSpec]]
    """All environments of the project, this one included."""
    applications: Sequence[Resource[ApplicationSpec]]
    live: Mapping[ChildKey, Live]
    namespace: Live | None
    """The namespace that its applications are to run in, whoever made it."""
    project_namespace: Live | None
    secrets: Mapping[str, str]
    """Secrets of the project's namespace: name -> version; copies must follow it."""
    private: Mapping[str, str] = field(default_factory=dict)
    """Secrets that are never copied: name -> why."""
    tenants: Sequence[str] = ()
    """Applications that still have objects here."""
    cluster: str = ""
    """The identity of the cluster that it is in."""
    plane: str = ""
    """What this control plane is called there (``labels.plane_of``)."""
    capabilities: Capabilities = NONE
    """What that cluster offers beyond Kubernetes's own kinds."""
    unreachable: Outcome | None = None
    """Why the cluster that it is in can't be used, if so."""
    host: Resource[ProxmoxHostSpec] | None = None
    """For runtime Proxmox: the ProxmoxHost that it names, if it is there and can be read."""


@dataclass(frozen=True)
class ProjectWorld:
    """What a Project's plan depends on."""

    now: datetime
    environments: Sequence[Resource[EnvironmentSpec]]
    applications: Sequence[Resource[ApplicationSpec]]
    live: Mapping[ChildKey, Live]
    namespace: Live | None
    activity: Sequence[Mapping[str, Any]] = ()
    """New entries for the activity log, newest first."""
    invalid: Sequence[str] = ()
    """Resources of the project whose spec can't be parsed."""
    containers: Sequence[Resource[LXCContainerSpec]] = ()
    """The project's own."""
    backups: Sequence[Resource[BackupSpec]] = ()
    runs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Statuses of the project's BackupRuns, by name."""
    coverage: Coverage = field(default_factory=Coverage)
    """What its Backups take."""

    @property
    def conditions(self) -> Mapping[str, tuple[str, str, str]]:
        """Conditions beside Ready: whether all that holds data is in a backup."""
        said = self.coverage.condition
        return {ConditionType.BACKUP_COVERAGE: said} if said is not None else {}


@dataclass(frozen=True)
class HostReading:
    """What was last seen of a Proxmox VE host."""

    version: Version
    cluster: ClusterStatus
    permissions: Permissions
    templates: Mapping[str, Sequence[Volume]]
    """By node."""
    resources: Resources
    bridges: Mapping[str, Sequence[Bridge]] = field(default_factory=dict)
    """By node: where an interface can be plugged in; a node whose bridges can't be read isn't in it."""
    firewall: bool = False
    """Whether the datacenter's firewall is on."""


@dataclass(frozen=True)
class HostWorld:
    """What a ProxmoxHost's plan depends on."""

    now: datetime
    installation: str
    """What marks containers as ours."""
    reading: HostReading | None = None
    """None before it was first read."""
    problem: Outcome | None = None
    """Why it can't be read now, if so."""
    live: Mapping[ChildKey, Live] = field(default_factory=dict)
    backups: tuple[str, ...] = ()
    """The storages of it that BackupRepositories name."""

    @property
    def conditions(self) -> Mapping[str, tuple[str, str]]:
        """Conditions beside Ready: Degraded, with the nodes that are offline."""
        offline = self.reading.resources.offline() if self.reading is not None else ()
        if not offline:
            return {}
        said = f"node {offline[0]} is" if len(offline) == 1 else f"nodes {', '.join(offline)} are"
        return {ConditionType.DEGRADED: (Reason.NODE_OFFLINE, f"{said} offline")}


@dataclass(frozen=True)
class Desired:
    """What is wanted, and what planning found on the way."""

    children: tuple[Child, ...] = ()
    problems: tuple[Outcome, ...] = ()
    needs: Mapping[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    """(environment, component) -> components of the environment that must be ready first."""
    complete: bool = True
    """Whether ``children`` is all that is wanted; only then may what isn't in it be pruned."""
    spared: frozenset[ObjectId] = frozenset()
    """What isn't to be pruned although it isn't in ``children``: whether it is wanted can't be told for now."""
    unplanned: frozenset[str] = frozenset()
    """Environments whose objects can't be told because the spec can't be carried out there: they stay as they are."""
    places: tuple[Place, ...] = ()
    claims: tuple[tuple[str, str, str], ...] = ()
    """Every (cluster, host, path) that is asked for, those that others have included."""


@dataclass(frozen=True)
class Decision:
    """What policy lets through: the steps to take now, and what is held back or refused, and why."""

    steps: tuple[Change, ...] = ()
    held: Mapping[ChildKey, str] = field(default_factory=dict)
    problems: tuple[Outcome, ...] = ()


@dataclass(frozen=True)
class Report:
    """What came of the steps."""

    changes: tuple[Change, ...] = ()
    held: Mapping[ChildKey, str] = field(default_factory=dict)
    problems: tuple[Outcome, ...] = ()
    applied: frozenset[ChildKey] = frozenset()
    """Objects that were written just now: their status isn't known yet."""
    pruning: tuple[ObjectId, ...] = ()
    """Objects that are being removed and are still there."""
