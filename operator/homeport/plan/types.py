"""The words that planning is written in: places, children, gates, changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, NamedTuple

from homeport.api import labels
from homeport.api.environment import EnvironmentSpec
from homeport.api.labels import OwnerKey
from homeport.plan.capabilities import NONE, Capabilities, Way

Manifest = dict[str, Any]
"""A Kubernetes object as JSON has it."""


class ObjectId(NamedTuple):
    """Which object, whatever its version: inventories are keyed by it."""

    namespace: str
    name: str
    group: str
    kind: str

    def __str__(self) -> str:
        return f"{self.namespace}_{self.name}_{self.group}_{self.kind}"

    @property
    def shown(self) -> str:
        """How a person writes it: ``Deployment dashboard-production/backend``."""
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"

    @classmethod
    def parse(cls, text: str) -> ObjectId:
        """The reverse of ``str``: namespace, group and kind hold no underscore. Raises ValueError."""
        namespace, rest = text.split("_", 1)
        name, group, kind = rest.rsplit("_", 2)
        return cls(namespace, name, group, kind)


def object_id(manifest: Mapping[str, Any]) -> ObjectId:
    """The identity of ``manifest``."""
    metadata = manifest["metadata"]
    group, slash, _ = str(manifest["apiVersion"]).partition("/")
    return ObjectId(metadata.get("namespace") or "", metadata["name"], group if slash else "", manifest["kind"])


@dataclass(frozen=True)
class Place:
    """An environment as rendering needs it. ``cluster`` names another cluster's kubeconfig Secret, or is empty."""

    project: str
    name: str
    namespace: str
    spec: EnvironmentSpec
    archived: bool = False
    cluster: str = ""
    capabilities: Capabilities = NONE
    way: Way | None = None
    """What the environment's class was found to be, once."""
    """What the cluster offers beyond Kubernetes's own kinds."""

    @property
    def on_proxmox(self) -> bool:
        """Whether applications run as LXC containers here."""
        return self.spec.runtime == "Proxmox"

    @property
    def retains(self) -> bool:
        """Whether volumes outlive what uses them, unless they say otherwise."""
        if self.spec.deletion_policy is not None:
            return self.spec.deletion_policy == "Retain"
        return self.spec.tier != "Preview"


class Phase(StrEnum):
    """In which step of a component's rollout an object is applied."""

    PREPARE = "prepare"
    """ConfigMaps, Secrets, claims, Services, NetworkPolicies: nothing runs from it, and a migration needs it."""
    MIGRATE = "migrate"
    """The Job that must succeed before the workload."""
    RUN = "run"
    """The workload itself."""
    EXPOSE = "expose"
    """Autoscalers, disruption budgets, Ingresses."""


PHASES = (Phase.PREPARE, Phase.MIGRATE, Phase.RUN, Phase.EXPOSE)


@dataclass(frozen=True)
class Child:
    """One object that is wanted.

    ``scale_to``: the workload's replicas belong to an autoscaler; this many are written once, at the handover.
    ``job_hash``: set on Jobs that run once; recorded in status when they have succeeded.
    ``generate``: for a Secret made once: key -> length; its data is made when it isn't there and never changed.
    ``template``: its further keys, in which ``$(key)`` stands for what was generated.
    ``copy_of``: for a Secret copied from (namespace, name); its data comes from there when it is applied.
    """

    manifest: Manifest
    environment: str = ""
    component: str = ""
    phase: Phase = Phase.PREPARE
    deletion: Literal["Delete", "Retain"] = "Delete"
    cluster: str = ""
    scale_to: int | None = None
    job_hash: str | None = None
    generate: Mapping[str, int] | None = None
    template: Mapping[str, str] = field(default_factory=dict)
    copy_of: tuple[str, str] | None = None
    copy_version: str = ""
    """For a copied Secret: the version of its source that was seen."""
    gathered: Mapping[str, tuple[str, str, str]] = field(default_factory=dict)
    """For a Secret put together of others' keys: key -> (namespace, name, key); read when it is applied."""
    given: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """For such a Secret: what is in it beside that."""
    paused: bool = False
    """Whether its component's rollout is held."""
    turn: Literal["", "Rolling", "Ordered"] = ""
    """For one of a component's containers: Rolling waits for the others to be well before it is changed, Ordered also
    for those before it before it is made."""
    members: tuple[str, ...] = ()
    """For a workload of several components: their names; ``component`` is the first of them then."""
    reads: tuple[tuple[str, str], ...] = ()
    """For a workload: the (kind, name) of Secrets and ConfigMaps of the namespace that its Pods can't start without."""

    @property
    def id(self) -> ObjectId:
        """The object's identity."""
        return object_id(self.manifest)

    @property
    def components(self) -> tuple[str, ...]:
        """The components that it is of."""
        return self.members or (self.component,)


class Verb(StrEnum):
    """What is to be done with one object."""

    CREATE = "create"
    UPDATE = "update"
    REPLACE = "replace"
    DELETE = "delete"
    KEEP = "keep"
    """It leaves the desired set, and a policy keeps it."""
    NOTHING = "nothing"


@dataclass(frozen=True)
class Change:
    """One step from what is there to what is wanted, and why."""

    verb: Verb
    id: ObjectId
    reason: str = ""
    child: Child | None = None
    live: Mapping[str, Any] | None = None
    fields: tuple[str, ...] = ()
    """For an update: the paths that differ."""
    loses_data: bool = False
    cluster: str = ""
    drift: bool = False
    """The object was as wanted when it was last applied: somebody else changed it since."""

    @property
    def holder(self) -> OwnerKey | None:
        """Whose the object is that is there; None when it isn't this control plane's, or nothing is there."""
        if self.live is None:
            return None
        # What is there and no longer wanted was found among our own.
        plane = labels.plane_of(self.child.manifest if self.child is not None else self.live)
        return labels.owner_of(self.live, plane)

    @property
    def environment(self) -> str:
        """The environment that the object is in; empty for what is in none."""
        if self.child is not None:
            return self.child.environment
        found = (self.live or {}).get("metadata", {}).get("labels") or {}
        return str(found.get(labels.ENVIRONMENT, ""))


@dataclass(frozen=True)
class Versions:
    """What rendering must know of objects that aren't the application's: their versions, by (kind, name), so that
    Pods roll when one changes. Missing ones are absent."""

    objects: Mapping[tuple[str, str], str] = field(default_factory=dict)
