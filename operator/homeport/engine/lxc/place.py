"""Where a container is, or is to be made, with what its environment and host bring; whether all of it is granted."""

from __future__ import annotations

from typing import Any

from homeport.api.conditions import Reason
from homeport.api.lxccontainer import LXCContainerSpec
from homeport.api.lxcstatus import LXCContainerStatus
from homeport.api.resource import Resource
from homeport.engine.context import Context
from homeport.engine.lxc import ground as grounds
from homeport.engine.lxc.ground import FULL_AGAIN, Ground
from homeport.outcome import Outcome, Stalled, Wait
from homeport.plan.lxc.wanted import Place
from homeport.plan.proxmox import grants, templates
from homeport.plan.proxmox.grants import Attachment, Request

Container = Resource[LXCContainerSpec]


def place(
    container: Container, status: LXCContainerStatus, on: Ground, context: Context, template: str | None
) -> Place | Outcome:
    """The place, if VMID and node are known; whether all of it is granted."""
    assert status.vmid is not None
    spec, network = container.spec, on.proxmox.network if on.proxmox is not None else None
    out = Place(
        host=on.host,
        node=status.node or spec.node or "",
        owner=grounds.owner_of(container, status.vmid, context),
        storage=on.storage,
        pool=grants.pool_of(on.use, spec.pool or on.pool),
        template=template,
        bridge=network.bridge if network is not None else None,
        vlan=network.vlan if network is not None else None,
        gateway=network.gateway if network is not None else None,
        cidr=network.cidr if network is not None else None,
        addresses={state.name: state.address for state in status.networks if state.address},
        macs={} if status.created else {state.name: state.hwaddr for state in status.networks if state.hwaddr},
    )
    problem = _refused(container, on, out)
    return out if problem is None else problem


def _refused(container: Container, on: Ground, found: Place) -> Outcome | None:
    spec = container.spec
    if spec.management_policy == "Observe":
        # Nothing is plugged in or stored; but what is looked at has to be the project's to look at.
        problems = grants.check(on.use, _request(container, on, found.vmid, node=found.node or None))
        return Stalled(Reason.ACCESS_DENIED, "; ".join(problems)) if problems else None
    named = spec.software is None and spec.adopt is not None
    asked = storages(spec, found.storage)
    if None in asked and not named:
        return Stalled(Reason.INVALID_SPEC, "write rootfs.storage, and storage in mounts: there is no environment's")
    networks = attachments(spec, found)
    unplugged = [name for name, bridge in networks if bridge is None]
    if unplugged:
        return Stalled(Reason.INVALID_SPEC, f"write the bridge of network {unplugged[0]}: there is no environment's")
    request = _request(
        container,
        on,
        found.vmid,
        node=found.node or None,
        storages=[storage for storage in asked if storage],
        networks=attached(spec, found),
        pool=found.pool,
    )
    problems = grants.check(on.use, request)
    return Stalled(Reason.ACCESS_DENIED, "; ".join(problems)) if problems else None


def may_adopt(container: Container, on: Ground, vmid: int) -> str:
    """Why a container that exists may not be taken over or looked at; empty when it may."""
    return "; ".join(grants.check(on.use, _request(container, on, vmid, adopts=True)))


def _request(container: Container, on: Ground, vmid: int, **more: Any) -> Request:
    pinned = container.spec.vmid == vmid
    return Request(on.project, on.host, vmid=vmid, pinned=pinned, others=on.others, **more)


def storages(spec: LXCContainerSpec, default: str | None) -> list[str | None]:
    """The storage of each disk; None for one without."""
    root = spec.rootfs.storage if spec.rootfs is not None else None
    out = [mount.storage or default for mount in spec.mounts or ()]
    return [root or default, *out]


def attachments(spec: LXCContainerSpec, found: Place) -> list[tuple[str, str | None]]:
    """(interface, bridge) of each network."""
    if spec.networks is None:
        return [("eth0", found.bridge)] if found.bridge is not None else []
    return [(network.name, network.bridge or found.bridge) for network in spec.networks]


def attached(spec: LXCContainerSpec, found: Place) -> list[Attachment]:
    """What each network with a bridge is plugged into."""
    tags = {network.name: network.vlan for network in spec.networks or ()}
    own = {network.name for network in spec.networks or () if network.bridge not in (None, found.bridge)}
    return [
        Attachment(name, bridge, tags.get(name) or (None if name in own else found.vlan))
        for name, bridge in attachments(spec, found)
        if bridge is not None
    ]


def resolve_template(container: Container, status: LXCContainerStatus, on: Ground) -> str | Outcome | None:
    """The volume that it is made of; the one that it was made of, as long as that is what the spec names."""
    spec = container.spec
    name = spec.template or (on.proxmox.template if on.proxmox is not None else None)
    if name is None or (spec.software is not None and spec.software.image is not None):
        return None
    made_of = status.template if status.created else None
    if made_of is not None and (name == made_of or templates.newest(name, [templates.file_of(made_of)]) is not None):
        return made_of
    storage = on.proxmox.template_storage if on.proxmox is not None and ":" not in name else None
    nodes = on.use.nodes if on.use is not None else None
    found = templates.find(name, on.reading, node=status.node or spec.node, nodes=nodes, storage=storage)
    if isinstance(found, str):
        return found
    if ":" in name and status.node is not None:
        return name  # templates are read every few minutes; if it isn't there, PVE says so
    if made_of is not None:
        return made_of
    return Wait(Reason.DEPENDENCY_NOT_READY, f"{on.host}: {found.text}", FULL_AGAIN)


def last_place(container: Container, status: LXCContainerStatus, on: Ground, context: Context) -> Place:
    """Where it is."""
    assert status.vmid is not None
    return Place(on.host, status.node or "", grounds.owner_of(container, status.vmid, context))
