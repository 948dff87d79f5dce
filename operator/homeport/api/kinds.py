"""The kinds that Homeport serves: names, models and printer columns."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

from homeport.api.application import ApplicationSpec, ApplicationStatus
from homeport.api.base import Model, Rule
from homeport.api.environment import EnvironmentSpec, EnvironmentStatus
from homeport.api.project import ProjectSpec, ProjectStatus
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
    ),
    name_limit=63,
)

KINDS = (PROJECT, ENVIRONMENT, APPLICATION)
BY_NAME = {kind.name: kind for kind in KINDS}
