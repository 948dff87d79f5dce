"""How large a container is: Kubernetes's quantities in Proxmox VE's units."""

from __future__ import annotations

from homeport.api.component import Component
from homeport.api.pod import Volume
from homeport.plan import containers, quantities, storage
from homeport.plan.scope import Scope
from homeport.plan.types import Manifest

ROOT_DISK = "4Gi"
"""The root disk of a container, unless ``resources`` has ephemeral-storage: it holds the image and what isn't kept."""
_NANO = 10**9
_MEBI = 1024**2
_LEAST_MEMORY = 16
"""MiB. Source: pve-container, ``LXC/Config.pm`` (memory: minimum 16)."""
_WEIGHT = 100
"""PVE's own default of cpuunits with cgroup v2, which stands for a request of one core here; 8 is the least."""


def of(*components: Component) -> Manifest:
    """Cores and memory from the ``resources`` of the components that are in a container: limits bound, requests weigh.

    A limit that isn't a whole number of cores becomes ``cpuLimit`` beside the next whole number.
    """
    found = [containers.resources(component.resources) for component in components]
    limit = sum(quantities.nanos(one["limits"]["cpu"]) for one in found)
    request = sum(quantities.nanos(one["requests"]["cpu"]) for one in found)
    out: Manifest = {"cores": max(1, -(-limit // _NANO))}
    if limit % _NANO:
        out["cpuLimit"] = quantities.canonical(f"{-(-limit // 10**6)}m")
    out["cpuUnits"] = min(10000, max(8, request * _WEIGHT // _NANO))
    out["memory"] = f"{memory(*components)}Mi"
    out["swap"] = "0"
    return out


def memory(*components: Component) -> int:
    """The memory limit in MiB, rounded up."""
    found = [containers.resources(component.resources) for component in components]
    size = sum(quantities.nanos(one["limits"]["memory"]) for one in found)
    return max(_LEAST_MEMORY, -(-size // (_NANO * _MEBI)))


def root_disk(*scopes: Scope) -> Manifest:
    """The root disk of a container with these components."""
    found = [containers.resources(scope.component.resources) for scope in scopes]
    sizes = [one["limits"].get("ephemeral-storage") or one["requests"].get("ephemeral-storage") for one in found]
    asked = sum(quantities.nanos(size) for size in sizes if size)
    out: Manifest = {"size": _whole_gibibytes(str(-(-asked // _NANO)) if asked else ROOT_DISK)}
    if (store := _storage(scopes[0])) is not None:
        out["storage"] = store
    return out


def kept(component: Component) -> tuple[Volume, ...]:
    """The volumes that hold data, as mounts of the container's own."""
    return tuple(volume for volume in component.volumes or () if storage.claims(volume))


def retains(scope: Scope) -> bool:
    """Whether a container holds what outlives the application. There is one policy for all of it: the careful wins."""
    return any(storage.deletion(scope, volume) == "Retain" for volume in kept(scope.component))


def mounts(scope: Scope) -> list[Manifest]:
    """The container's mounts."""
    out = []
    for volume in kept(scope.component):
        mount: Manifest = {"name": volume.name, "path": volume.path}
        mount["size"] = _whole_gibibytes(quantities.canonical(volume.size or "1Gi"))
        mount["backup"] = volume.backup is not False
        if volume.read_only:
            mount["readOnly"] = True
        if (store := _storage(scope)) is not None:
            mount["storage"] = store
        mount["deletionPolicy"] = storage.deletion(scope, volume)
        out.append(mount)
    return out


def _storage(scope: Scope) -> str | None:
    place = scope.place.spec.proxmox
    return place.storage if place is not None else None


def _whole_gibibytes(size: str) -> str:
    """``size`` rounded up: new volumes are made in whole GiB.

    Source: pve-container, ``LXC.pm`` (create_disks: STORAGE:SIZE_IN_GiB)
    """
    return f"{max(1, -(-quantities.nanos(size) // (_NANO * 1024**3)))}Gi"
