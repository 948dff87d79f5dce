"""What a component asks and can't be had on Proxmox VE, each with what to write instead.

One manifest may be for both runtimes, so every sentence names the way out: an override of this environment.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set

from homeport.api import lxcparts
from homeport.api.application import ApplicationSpec
from homeport.api.component import Component
from homeport.api.pod import Volume
from homeport.api.resource import Resource
from homeport.plan import containers as pod_containers
from homeport.plan.proxmox_app import sizing, software, together
from homeport.plan.types import Place

_HOSTNAME = 63
_ORDINAL = len("-999")
_HERE = ("cpu", "memory", "ephemeral-storage")


def problems(
    app: Resource[ApplicationSpec],
    components: Sequence[Component],
    place: Place,
    runtimes: Mapping[str, Sequence[str]],
) -> list[str]:
    """What is wrong with ``components`` in ``place``, an environment on Proxmox VE. ``runtimes`` are those of catalog
    items, by their names."""
    spec = app.spec
    prefix = spec.name_prefix or ""
    out = [
        f"spec.components[{component.name}]{problem}"
        for component in components
        for problem in _of_component(component, prefix, place.name)
    ]
    out += _items(spec, {component.name for component in components}, place.name, runtimes)
    return out + together.problems(spec, app.name, components, place.name)


def _items(
    spec: ApplicationSpec, there: Set[str], environment: str, runtimes: Mapping[str, Sequence[str]]
) -> Iterable[str]:
    """Catalog items that weren't made for Proxmox VE."""
    for component in spec.components:
        item = component.catalog.name if component.catalog is not None else ""
        known = runtimes.get(item)
        if component.name in there and known is not None and "Proxmox" not in known:
            yield (
                f"spec.components[{component.name}].catalog: item {item} runs on {', '.join(known)} and not on "
                f"Proxmox; write enabled: false in the overrides of environment {environment}, or a component of "
                "your own"
            )


def _of_component(component: Component, prefix: str, environment: str) -> Iterable[str]:
    without = f"overrides of environment {environment}"
    for field, given in (("initContainers", component.init_containers), ("sidecars", component.sidecars)):
        if given:
            yield (
                f".{field}: a container on Proxmox VE runs the component alone; make it a component of its own, or "
                f"write without: [{field}] in the {without}"
            )
    if len(prefix) + len(component.name) + _ORDINAL > _HOSTNAME:
        yield f".name: containers are called {prefix}{component.name}-0 and so on, and a hostname has 63 characters"
    for volume in component.volumes or ():
        yield from (f".volumes[{volume.name}]{problem}" for problem in _volume(volume, environment))
    for volume in sizing.kept(component):
        if not lxcparts.is_mount_path(volume.path):
            yield f".volumes[{volume.name}].path: {lxcparts.MOUNT_PATH.message}"
    yield from _sharing(component, without)
    for variable in component.env or ():
        source = variable.value_from
        field_path = source.field_ref.field_path if source is not None and source.field_ref is not None else None
        if field_path is not None and field_path not in software.FIELDS:
            yield (
                f".env[{variable.name}]: {field_path} isn't known of a container; write "
                f"{' or '.join(software.FIELDS)}, or give it a value in the {without}"
            )
        if source is not None and source.resource_field_ref is not None:
            yield f".env[{variable.name}]: resourceFieldRef is of Pods; give it a value in the {without}"
    security = component.security_context
    if security is not None and security.privileged:
        yield (
            ".securityContext.privileged: containers here are unprivileged; write securityContext: "
            f"{{privileged: false}} in the {without}"
        )
    found = pod_containers.resources(component.resources)
    for name in sorted({*found["limits"], *found["requests"]} - set(_HERE)):
        yield f".resources: Proxmox VE gives no {name} to a container; write cpu, memory and ephemeral-storage alone"


def _volume(volume: Volume, environment: str) -> Iterable[str]:
    if volume.existing_claim is not None:
        yield (
            f".existingClaim: there are no claims on Proxmox VE; in environment {environment} write a volume of "
            "another name with a size"
        )
    if volume.sub_path is not None:
        yield ".subPath: a container mounts whole volumes; write a volume for each folder"


def _sharing(component: Component, without: str) -> Iterable[str]:
    """A container's volume is its own: nobody else can mount it."""
    if not sizing.kept(component):
        return
    wanted = component.autoscaling.min if component.autoscaling is not None else component.replicas
    if component.type in ("service", "worker") and (wanted or 1) > 1:
        yield (
            f".volumes: {wanted} replicas can't share a volume, which is one container's own; write replicas: 1 in the "
            f"{without}, or type: stateful to give each a volume of its own"
        )
    if component.type == "job":
        yield ".volumes: a job's container goes when it is done; write ephemeral: true in place of a size"
    if component.migrate is not None:
        yield (
            ".migrate: it runs in a container of its own, which can't see the component's volumes; migrate when the "
            f"component starts, or write without: [migrate] in the {without}"
        )
