"""What a project may use of a host: its entry in the ProxmoxHost's ``spec.projects``. Pure.

No entry means no use. What an entry leaves out isn't limited; what it lists is all there is. Templates may be read from
any storage: only what a container is made on counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from homeport.api.environment import VmidRange
from homeport.api.proxmoxhost import ProjectUse, ProxmoxHostSpec


@dataclass(frozen=True)
class Attachment:
    """One network interface: where it is plugged in."""

    name: str
    bridge: str
    vlan: int | None = None


@dataclass(frozen=True)
class Request:
    """What a container of ``project`` wants of ``host``, as far as that is known; None is not known, or not asked."""

    project: str
    host: str
    vmid: int | None = None
    pinned: bool = False
    """Whether a person wrote the VMID, and it wasn't allocated."""
    others: Sequence[ProjectUse] = ()
    """The entries of the host's other projects."""
    node: str | None = None
    storages: Sequence[str] = ()
    networks: Sequence[Attachment] = ()
    pool: str | None = None
    adopts: bool = False
    """Whether it takes over a container that exists."""


def use_of(spec: ProxmoxHostSpec, project: str) -> ProjectUse | None:
    """The project's entry; None when it may use nothing."""
    return next((use for use in spec.projects or () if use.name == project), None)


def check(use: ProjectUse | None, request: Request) -> tuple[str, ...]:
    """What of ``request`` isn't granted; each a sentence that says what to write, or whom to ask."""
    given = f"ProxmoxHost {request.host} gives project {request.project}"
    if use is None:
        return (
            f"ProxmoxHost {request.host} doesn't list project {request.project}: an administrator has to add "
            f"{{name: {request.project}}} to its spec.projects",
        )
    out: list[str] = []
    out += _vmid(use, request, given)
    if request.node is not None and use.nodes is not None and request.node not in use.nodes:
        out.append(f"node {request.node} isn't among those that {given} ({_listed(use.nodes)}); write one of these")
    if use.storages is not None:
        for storage in dict.fromkeys(request.storages):
            if storage not in use.storages:
                among = f"isn't among those that {given} ({_listed(use.storages)})"
                out.append(f"storage {storage} {among}; write one of these")
    for network in request.networks:
        out += _network(use, network, given)
    if request.pool is not None and use.pool is not None and request.pool != use.pool:
        out.append(f"pool {request.pool} isn't the one that {given} ({use.pool}); write that, or leave pool out")
    if request.adopts and not use.allow_adopt:
        out.append(
            f"project {request.project} may not take over containers of ProxmoxHost {request.host}: an administrator "
            f"has to set allowAdopt: true in its entry of spec.projects"
        )
    return tuple(out)


def _vmid(use: ProjectUse, request: Request, given: str) -> list[str]:
    """VMIDs are allocated from the range. A person whose project may take over containers may name others, which can't
    be in the range: those were there before it. What is in another project's range is that project's."""
    vmid, mine = request.vmid, use.vmid_range
    if vmid is None or mine is None or within(vmid, mine):
        return []
    outside = f"VMID {vmid} isn't in the range {shown(mine)} that {given}"
    if not (request.pinned and use.allow_adopt):
        more = "" if use.allow_adopt else "; an administrator may let it name others, with allowAdopt: true"
        return [f"{outside}; write one of these, or leave vmid out{more}"]
    theirs = next((one for one in request.others if one.vmid_range is not None and within(vmid, one.vmid_range)), None)
    if theirs is None or theirs.vmid_range is None:
        return []
    whose = f"{shown(theirs.vmid_range)}, the range of project {theirs.name}"
    return [f"{outside}, and is in {whose}; write one that is in nobody's range, or leave vmid out"]


def _network(use: ProjectUse, network: Attachment, given: str) -> list[str]:
    out: list[str] = []
    if use.bridges is not None and network.bridge not in use.bridges:
        among = f"isn't among those that {given} ({_listed(use.bridges)})"
        out.append(f"network {network.name}: bridge {network.bridge} {among}; write one of these")
    if use.vlans is None:
        return out
    if network.vlan is None:
        # Without a tag an interface on a bridge that is aware of VLANs gets the frames of all of them.
        out.append(f"network {network.name} has no vlan; write one of those that {given}: {_listed(use.vlans)}")
    elif network.vlan not in use.vlans:
        among = f"isn't among those that {given} ({_listed(use.vlans)})"
        out.append(f"network {network.name}: VLAN {network.vlan} {among}; write one of these")
    return out


def check_range(use: ProjectUse | None, wanted: VmidRange | None, request: Request) -> tuple[str, ...]:
    """What of an environment's range isn't granted."""
    if use is None or use.vmid_range is None or wanted is None:
        return ()
    if within(wanted.min, use.vmid_range) and within(wanted.max, use.vmid_range):
        return ()
    return (
        f"the range {shown(wanted)} isn't within {shown(use.vmid_range)}, which ProxmoxHost {request.host} gives "
        f"project {request.project}; write a vmidRange within that, or leave it out",
    )


def pool_of(use: ProjectUse | None, wanted: str | None) -> str | None:
    """The pool that a container is put into: the one that it asks for, else the project's."""
    return wanted if wanted is not None else use.pool if use is not None else None


def within(vmid: int, allowed: VmidRange) -> bool:
    """Whether a VMID is in a range; both ends are."""
    return allowed.min <= vmid <= allowed.max


def shown(allowed: VmidRange) -> str:
    """A range as a person writes it."""
    return f"{allowed.min}-{allowed.max}"


def _listed(names: Iterable[str | int]) -> str:
    return ", ".join(str(name) for name in names) or "none"
