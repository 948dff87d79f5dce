"""What a container stands on: its project, environment, host and grant."""

from __future__ import annotations

from dataclasses import dataclass

from homeport.api import labels
from homeport.api.conditions import Reason
from homeport.api.environment import EnvironmentSpec, ProxmoxPlace, VmidRange
from homeport.api.labels import OwnerKey
from homeport.api.lxccontainer import LXCContainerSpec
from homeport.api.proxmoxhost import ProjectUse
from homeport.api.resource import Resource
from homeport.drivers.kubernetes import types
from homeport.drivers.proxmox.protocol import ProxmoxHost
from homeport.engine.context import Context
from homeport.outcome import Outcome, Stalled, Wait
from homeport.plan import environment_place
from homeport.plan.backup import final
from homeport.plan.lxc.owner import Owner
from homeport.plan.proxmox import grants
from homeport.plan.world import HostReading

Container = Resource[LXCContainerSpec]
FULL_AGAIN = 60.0
"""Seconds after which is looked again for room that nobody tells of."""


@dataclass(frozen=True)
class Ground:
    """What a container stands on."""

    host: str
    project: str
    driver: ProxmoxHost
    reading: HostReading
    use: ProjectUse | None
    proxmox: ProxmoxPlace | None = None
    environment: Resource[EnvironmentSpec] | None = None
    others: tuple[ProjectUse, ...] = ()
    """What the host gives to other projects."""

    @property
    def storage(self) -> str | None:
        """The environment's."""
        return self.proxmox.storage if self.proxmox is not None else None

    @property
    def pool(self) -> str | None:
        """The environment's."""
        return self.proxmox.pool if self.proxmox is not None else None

    @property
    def vmids(self) -> VmidRange | None:
        """Where VMIDs come from."""
        if self.proxmox is not None and self.proxmox.vmid_range is not None:
            return self.proxmox.vmid_range
        return self.use.vmid_range if self.use is not None else None


def project_of(namespace: str, context: Context) -> str:
    """The project that a namespace is of: an environment's says so in a label that Homeport has set."""
    found = context.cluster.get(types.NAMESPACE, None, namespace)
    named = ((found or {}).get("metadata", {}).get("labels") or {}).get(labels.PROJECT)
    return str(named or namespace)


def is_archived(project: str, context: Context) -> bool:
    """Whether a project is archived: what runs in it is stopped, and kept."""
    found, _ = context.store.look(OwnerKey("Project", project, project))
    return found is not None and found.spec is not None and final.lets_go(found)


def host_of(container: Container, context: Context) -> str | Outcome:
    """The name of its ProxmoxHost."""
    if container.spec.host_ref is not None:
        return container.spec.host_ref.name
    found = environment_of(container, context)
    if not isinstance(found, Resource):
        return found
    assert found.spec.proxmox is not None, "the runtime is Proxmox"
    return str(found.spec.proxmox.host_ref.name)


def environment_of(container: Container, context: Context) -> Resource[EnvironmentSpec] | Outcome:
    """The environment that it names."""
    reference = container.spec.environment_ref
    assert reference is not None
    project = project_of(container.namespace, context)
    found, error = context.store.look(OwnerKey("Environment", project, reference.name))
    where = f"Environment {reference.name} of project {project}"
    if found is None:
        return Wait(Reason.DEPENDENCY_NOT_READY, f"{where} doesn't exist", FULL_AGAIN)
    if error is not None:
        return Wait(Reason.DEPENDENCY_NOT_READY, f"{where} can't be used as it is written", FULL_AGAIN)
    if found.spec.runtime != "Proxmox":
        text = f"{where} has the runtime {found.spec.runtime}; name one with runtime: Proxmox"
        return Stalled(Reason.INVALID_SPEC, text)
    if container.namespace not in (project, f"{project}-{found.name}", environment_place.namespace_of(found)):
        return Stalled(Reason.ACCESS_DENIED, f"namespace {container.namespace} isn't {where}'s")
    return found


def ground(container: Container, context: Context) -> Ground | Outcome:
    """What it stands on, or what is missing of that."""
    environment = None
    if container.spec.environment_ref is not None:
        found = environment_of(container, context)
        if not isinstance(found, Resource):
            return found
        environment = found
    proxmox = environment.spec.proxmox if environment is not None else None
    name = host_of(container, context)
    if not isinstance(name, str):
        return name
    driver = context.hosts.ensure(name, container.key)
    if isinstance(driver, Outcome):
        return driver
    reading = context.hosts.reading(name)
    host, _ = context.store.look(OwnerKey("ProxmoxHost", "", name))
    if reading is None or host is None or host.spec is None:
        return Wait(Reason.DEPENDENCY_NOT_READY, f"ProxmoxHost {name} hasn't been read yet")
    project = project_of(container.namespace, context)
    others = tuple(use for use in host.spec.projects or () if use.name != project)
    return Ground(name, project, driver, reading, grants.use_of(host.spec, project), proxmox, environment, others)


def owner_of(container: Container, vmid: int, context: Context) -> Owner:
    """The mark of its container."""
    return Owner(context.clusters.installation, container.namespace, container.name, vmid)


def last_ground(container: Container, host: str, context: Context) -> Ground | Outcome:
    """What a container that is to go stands on: its host alone, whatever became of its environment and its grant."""
    driver = context.hosts.ensure(host, container.key)
    if isinstance(driver, Outcome):
        return driver
    reading = context.hosts.reading(host)
    if reading is None:
        return Wait(Reason.DEPENDENCY_NOT_READY, f"ProxmoxHost {host} hasn't been read yet")
    return Ground(host, container.namespace, driver, reading, None)
