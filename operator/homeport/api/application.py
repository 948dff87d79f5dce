"""Application: what runs, in which environments, and how it differs there."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, StrictBool, StrictInt

from homeport.api.base import (
    SET,
    Extra,
    Label,
    ListMap,
    Model,
    Rule,
    SemVer,
    ShortText,
    Text,
    Token,
    matches,
)
from homeport.api.component import Component, ComponentName
from homeport.api.override import Override
from homeport.api.status import Inventory, Status


class PatchTarget(Model):
    """Which rendered objects a patch is for."""

    group: ShortText | None = None
    """The API group; absent means any."""
    version: ShortText | None = None
    """The API version; absent means any."""
    kind: ShortText
    """The kind, such as Deployment."""
    name: ShortText | None = None
    """The object's name; absent means every object of the kind."""


class Patch(Model):
    """A change to rendered objects: the way out when there is no field."""

    target: PatchTarget
    """Which objects."""
    patch: Annotated[str, Field(min_length=1, max_length=16384)]
    """YAML text: a list of RFC 6902 operations, or a partial object that is merged strategically."""


class ApplicationEnvironment(Model):
    """How the application is in one environment."""

    name: Label
    """The environment's name."""
    version: SemVer | None = None
    """Absent means spec.version."""
    overrides: Annotated[dict[str, Annotated[dict[str, Any], Override()]], Field(max_length=32)] | None = None
    """What differs, by component."""
    patches: Annotated[tuple[Patch, ...], Field(max_length=16), Extra({"x-kubernetes-list-type": "atomic"})] = ()
    """Patches on rendered objects, in this order."""


def _depends_on_known(spec: ApplicationSpec) -> bool:
    names = {component.name for component in spec.components}
    return all(name in names for component in spec.components for name in component.depends_on or ())


def _overrides_known(spec: ApplicationSpec) -> bool:
    names = {component.name for component in spec.components}
    return all(name in names for environment in spec.environments or () for name in environment.overrides or ())


class ApplicationSpec(Model):
    """What the application is."""

    version: SemVer
    """The version; an image without a tag takes it as its tag."""
    title: Annotated[str, Field(max_length=256)] | None = None
    """A name for people."""
    description: Text | None = None
    """What it is for."""
    components: Annotated[tuple[Component, ...], Field(min_length=1, max_length=32), ListMap("name")]
    """Its parts."""
    environments: Annotated[tuple[ApplicationEnvironment, ...], Field(max_length=16), ListMap("name")] | None = None
    """Where it runs; absent means every environment of the project."""
    name_prefix: (
        Annotated[
            str,
            Field(max_length=20),
            matches(r"^([a-z][-a-z0-9]*)?$", "write lower-case letters, digits and '-', starting with a letter"),
        ]
        | None
    ) = None
    """Put before every object's name, so that two applications of one environment don't clash; immutable."""
    placement: Literal["Separate", "Together"] | None = None
    """On Proxmox: one container per component (Separate, the default), or one for all."""
    deletion_policy: Literal["Delete", "Retain"] = "Delete"
    """What happens to the objects when the application is deleted; volumes have a policy of their own."""
    revision_history_limit: Annotated[StrictInt, Field(ge=0, le=50)] | None = None
    """How many old revisions are kept beside the present one, of the application and of its workloads; absent means
    5."""
    suspend: StrictBool = False
    """True stops reconciliation of this object."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.components.all(c, !has(c.dependsOn) || c.dependsOn.all(d, self.components.exists(o, o.name == d)))",
            "dependsOn names a component that isn't there; write the name of one of spec.components",
            _depends_on_known,
            ".components",
        ),
        Rule(
            "!has(self.environments) || self.environments.all(e, !has(e.overrides) || "
            "e.overrides.all(name, self.components.exists(c, c.name == name)))",
            "overrides names a component that isn't there; write the name of one of spec.components",
            _overrides_known,
            ".environments",
        ),
        Rule(
            "has(self.namePrefix) == has(oldSelf.namePrefix) && "
            "(!has(self.namePrefix) || self.namePrefix == oldSelf.namePrefix)",
            "namePrefix can't be changed: it is in the name of every object and volume; make a new Application instead",
            None,
            ".namePrefix",
        ),
    )


class ComponentStatus(Model):
    """How one component is."""

    name: ComponentName
    """The component."""
    ready: StrictInt = 0
    """Replicas that are ready; for a job, 1 when it is done."""
    desired: StrictInt = 0
    """Replicas that are wanted."""
    health: ShortText | None = None
    """Healthy, Progressing, Degraded, Suspended or Unknown."""
    message: Annotated[str, Field(max_length=1024)] | None = None
    """Why it isn't healthy."""


class EnvironmentState(Model):
    """How the application is in one environment."""

    name: Label
    """The environment."""
    version: ShortText | None = None
    """The version that runs there."""
    ready: StrictBool = False
    """Whether everything is ready."""
    health: ShortText | None = None
    """The worst of its components."""
    url: Annotated[str, Field(max_length=1024)] | None = None
    """The address of its first route."""
    message: Annotated[str, Field(max_length=2048)] | None = None
    """Why it isn't ready."""
    components: Annotated[tuple[ComponentStatus, ...], Field(max_length=32), ListMap("name")] = ()
    """Its components."""


class DoneJob(Model):
    """A Job that has succeeded and doesn't run again."""

    id: ShortText
    """``<environment>/<component>/<migrate or job>``."""
    hash: ShortText
    """The digest of what ran last."""
    earlier: Annotated[tuple[ShortText, ...], Field(max_length=16), SET] = ()
    """Digests of what ran before, newest first: a rollback doesn't run it again."""


class CatalogUse(Model):
    """Where a catalog item came from when it was last used."""

    name: ShortText
    """The item."""
    source: Literal["Project", "Shared", "BuiltIn"]
    """A CatalogItem of the project, one of the operator's namespace, or the operator's folders."""


class ApplicationStatus(Status):
    """How the application is."""

    environments: Annotated[tuple[EnvironmentState, ...], Field(max_length=64), ListMap("name")] = ()
    """By environment."""
    done_jobs: Annotated[tuple[DoneJob, ...], Field(max_length=512), ListMap("id")] = ()
    """Migrations and jobs that have succeeded, so that none runs twice for one version."""
    catalog: Annotated[tuple[CatalogUse, ...], Field(max_length=2048), ListMap("name")] = ()
    """Where its catalog items come from; from elsewhere they are used only when that is accepted."""
    revision: StrictInt | None = None
    """The number of the present spec in the application's history; it rises with every change."""
    update_revision: ShortText | None = None
    """The ControllerRevision that holds the present spec, as StatefulSets call it."""
    inventory: Inventory | None = None
    """Every object that was made."""
    url: Annotated[str, Field(max_length=1024)] | None = None
    """The address in the first environment that has one."""
    ready_replicas: ShortText | None = None
    """Ready of wanted replicas over all environments, such as 5/6."""
    last_replace_at: Token | None = None
    """The last value of the annotation homeport.dev/replace-at that was acted on."""
