"""What planning is told of the world: read beforehand by the engine, from its caches, and never changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from homeport.api.application import ApplicationSpec
from homeport.api.environment import EnvironmentSpec
from homeport.api.project import ProjectSpec
from homeport.api.resource import Resource
from homeport.outcome import Outcome
from homeport.plan.catalog import Expansion
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
    catalog: Expansion | None = None
    """What the catalog makes of its components; None when none comes from there."""


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
    unreachable: Outcome | None = None
    """Why the cluster that it is in can't be used, if so."""


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
