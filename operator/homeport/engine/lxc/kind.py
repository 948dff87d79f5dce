"""LXCContainers as the reconciler sees them: a step on the host, and the Service that Kubernetes reaches one by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from homeport.api import conditions, labels
from homeport.api.lxccontainer import LXCContainerSpec
from homeport.api.resource import Resource
from homeport.engine import observe
from homeport.engine.context import Context
from homeport.engine.history import Noted
from homeport.engine.lxc import ground as grounds
from homeport.engine.lxc import seek
from homeport.engine.queue import RESYNC
from homeport.outcome import Ok, Outcome, worst
from homeport.plan.proxmox import reach
from homeport.plan.types import Child
from homeport.plan.world import ChildKey, Desired, Live, Report

Container = Resource[LXCContainerSpec]


@dataclass(frozen=True)
class ContainerWorld:
    """What planning knows of an LXCContainer: its objects in Kubernetes. The host is asked in ``before``."""

    live: Mapping[ChildKey, Live] = field(default_factory=dict)


class LXCContainerKind:
    """LXC containers."""

    def observe(self, resource: Container, context: Context) -> ContainerWorld:
        """Its Service and EndpointSlices."""
        return ContainerWorld(observe.children(context.clusters, resource.key))

    async def prepare(self, resource: Container, world: ContainerWorld, context: Context) -> ContainerWorld:
        """Nothing: a host is asked when something may be done about what it says."""
        return world

    def desired(self, resource: Container, world: ContainerWorld, context: Context) -> Desired:
        """How Kubernetes reaches it, as far as its addresses are known."""
        service = resource.spec.service
        if service is None:
            return Desired()
        found = reach.objects(
            _metadata(resource, context),
            service.ports,
            resource.status.get("addresses") or (),
            ready=_ready(resource),
            dual=any(network.address6 for network in resource.spec.networks or ()),
        )
        return Desired(children=tuple(Child(manifest) for manifest in found))

    async def before(self, resource: Container, world: Any, desired: Desired, context: Context) -> Noted:
        """One step on the host."""
        sought = await seek.seek(resource, context)
        return Noted(dict(sought.fields), (sought.outcome,))

    def status(
        self, resource: Container, world: ContainerWorld, desired: Desired, report: Report
    ) -> tuple[dict[str, Any], Outcome]:
        """How it is; the fields come from ``before``."""
        told = [problem for problem in report.problems if not isinstance(problem, Ok)]
        return {}, worst(told) if told else next(iter(report.problems), Ok())

    async def after(
        self, resource: Container, world: ContainerWorld, desired: Desired, outcome: Outcome, context: Context
    ) -> None:
        """Its Service follows what was found just now."""
        if resource.spec.service is not None and isinstance(outcome, Ok) != _ready(resource):
            context.enqueue(resource.key, RESYNC, 0.0)


def _metadata(resource: Container, context: Context) -> dict[str, str | Mapping[str, str]]:
    project = grounds.project_of(resource.namespace, context)
    return {
        "name": resource.name,
        "namespace": resource.namespace,
        "labels": {
            labels.MANAGED_BY: labels.MANAGER,
            labels.APP_NAME: resource.name,
            labels.PROJECT: resource.namespace,
            labels.OWNER_KIND: resource.kind,
            labels.OWNER_NAME: resource.name,
        }
        | ({labels.APP_PART_OF: project} if project else {}),
    }


def _ready(resource: Container) -> bool:
    told = conditions.ready(resource.status)
    return told is not None and told[0] == "True"
