"""Project: people, environments and applications that belong together; one per namespace."""

from __future__ import annotations

from datetime import date
from typing import Annotated, ClassVar, Literal

from pydantic import Field, StrictBool, StrictInt

from homeport.api.base import ATOMIC, SET, Label, ListMap, LongText, Model, Rule, ShortText, Text
from homeport.api.environment import Quota
from homeport.api.status import Inventory, Status

ROLES = ("lead", "developer", "designer", "qa", "manager", "stakeholder")


def _is_date(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


Date = Annotated[
    str,
    Field(max_length=10),
    Rule(
        # timestamp() fails on a day that its month doesn't have.
        "self.matches('^[0-9]{4}-[0-9]{2}-[0-9]{2}$') && "
        "timestamp(self + 'T00:00:00Z') >= timestamp('0001-01-01T00:00:00Z')",
        "write a day such as 2027-01-31",
        _is_date,
    ),
]


class Member(Model):
    """Somebody who works on the project, and as what."""

    kind: Literal["User", "Group"]
    """Whether name is a user or a group."""
    name: Annotated[
        str,
        Field(min_length=1, max_length=253),
        Rule(
            "!self.startsWith('system:')",
            "names that start with system: belong to Kubernetes; write a user or group of yours",
            lambda name: not name.startswith("system:"),
        ),
    ]
    """The name, as the cluster's authentication knows it."""
    role: Literal["lead", "developer", "designer", "qa", "manager", "stakeholder"]
    """What the member may do; docs/kinds/project.md has the table."""
    capacity: Annotated[StrictInt, Field(ge=0, le=100)] | None = None
    """How much of the member's time the project has, in percent."""


class Requirement(Model):
    """A version of an application that must run in an environment."""

    application: Label
    """The application."""
    environment: Label
    """The environment."""
    version: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    """A range such as ">=1.0.0 <2.0.0"; absent means any version, Ready."""


class Milestone(Model):
    """A step on the way; its progress is derived from what runs, or ticked by hand."""

    name: Label
    """The milestone's name."""
    title: Annotated[str, Field(max_length=256)] | None = None
    """A name for people."""
    due_date: Date | None = None
    """The day it is due, as 2027-01-31."""
    weight: Annotated[StrictInt, Field(ge=1, le=1000)] = 1
    """How much it counts in the project's progress."""
    requires: Annotated[tuple[Requirement, ...], Field(max_length=32), ATOMIC] | None = None
    """What must run for it to be complete."""
    complete: StrictBool | None = None
    """Ticked by hand, instead of requires."""
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!(has(self.requires) && has(self.complete))",
            "write requires (progress is derived) or complete (ticked by hand), not both",
            lambda s: s.requires is None or s.complete is None,
        ),
    )


class ProjectSpec(Model):
    """What the project is."""

    title: Annotated[str, Field(max_length=256)] | None = None
    """A name for people."""
    description: LongText | None = None
    """What it is for."""
    owner: ShortText | None = None
    """Whom to ask."""
    phase: Literal["Planning", "Active", "OnHold", "Completed"] = "Active"
    """Where it stands; says nothing about what runs."""
    tags: (
        Annotated[tuple[Annotated[str, Field(min_length=1, max_length=63)], ...], Field(max_length=32), SET] | None
    ) = None
    """Words to find it by."""
    members: Annotated[tuple[Member, ...], Field(max_length=128), ListMap("kind", "name")] | None = None
    """Who works on it; becomes RBAC in the project's namespaces."""
    milestones: Annotated[tuple[Milestone, ...], Field(max_length=64), ListMap("name")] | None = None
    """Steps on the way."""
    quota: Quota | None = None
    """Bounds the sum of the environments' quotas; each environment must then declare one."""
    archived: StrictBool = False
    """True is a soft delete: scaled to zero, schedules suspended, data kept; false restores."""
    final_backup: StrictBool = False
    """True: before it is archived or deleted, every Backup takes a last run, which every retention keeps. One that
    fails holds the rest back."""
    suspend: StrictBool = False
    """True stops reconciliation of this object."""


class MilestoneStatus(Model):
    """How far a milestone is."""

    name: Label
    """The milestone."""
    progress: Annotated[StrictInt, Field(ge=0, le=100)]
    """In percent."""
    overdue: StrictBool = False
    """Whether its day has passed and it isn't complete."""


class Count(Model):
    """Ready of all."""

    ready: StrictInt = 0
    """How many are ready."""
    total: StrictInt = 0
    """How many there are."""


class NamedReady(Model):
    """Whether something is ready."""

    name: Label
    """Its name."""
    ready: StrictBool
    """Whether it is ready."""


class Activity(Model):
    """One change to something in the project."""

    time: Annotated[str, Field(json_schema_extra={"format": "date-time"})]
    """When."""
    actor: ShortText
    """Who: the field manager of the change."""
    verb: ShortText
    """created, changed, deleted, or the transition's reason."""
    object: Annotated[str, Field(max_length=600)]
    """What, as Kind/name."""
    message: Text = ""
    """More about it."""


class FinalBackup(Model):
    """How far the last backups before archiving or deletion are."""

    since: Annotated[str, Field(json_schema_extra={"format": "date-time"})]
    """When they were begun; the runs' names have it."""
    taken: Annotated[tuple[Label, ...], Field(max_length=256), SET] = ()
    """Backups whose last run is good."""
    done: StrictBool = False
    """Whether all are."""


class ProjectStatus(Status):
    """How the project is."""

    health: ShortText | None = None
    """The worst of what it holds: Healthy, Progressing, Degraded, Suspended or Unknown."""
    progress: Annotated[StrictInt, Field(ge=0, le=100)] | None = None
    """In percent, from the milestones' weights."""
    milestones: Annotated[tuple[MilestoneStatus, ...], Field(max_length=64), ListMap("name")] = ()
    """By milestone."""
    applications: Count | None = None
    """Applications that are ready."""
    environments: Annotated[tuple[NamedReady, ...], Field(max_length=64), ListMap("name")] = ()
    """By environment."""
    activity: Annotated[tuple[Activity, ...], Field(max_length=50), ATOMIC] = ()
    """The newest 50 changes, newest first."""
    final_backup: FinalBackup | None = None
    """The last backups, while archiving, archived or being deleted with finalBackup."""
    inventory: Inventory | None = None
    """Every object that was made."""
