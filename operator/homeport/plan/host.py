"""A ProxmoxHost's plan: nothing is made for it; what was read becomes its status. Nothing that changes by itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from homeport.api.conditions import Reason
from homeport.api.proxmoxhost import ProxmoxHostSpec
from homeport.api.resource import Resource
from homeport.outcome import Ok, Outcome, Stalled, Wait
from homeport.plan.proxmox import privileges, sizes
from homeport.plan.proxmox.privileges import Feature, Need, Use
from homeport.plan.proxmox.readings import Guest, Identity, Node, Storage
from homeport.plan.world import HostReading, HostWorld

Host = Resource[ProxmoxHostSpec]

TAG = "homeport"
"""The tag of containers that are ours: an index, and no proof; that is in the description."""
MISSING_LIMIT, STORAGE_LIMIT, TEMPLATE_LIMIT, NODE_LIMIT = 128, 128, 256, 64
"""As the schema bounds them."""


def identity(host: Host) -> Identity | None:
    """The cluster that the host was when it was last seen."""
    name = host.status.get("clusterName")
    if not name:
        return None
    return Identity(str(name), frozenset(str(node["name"]) for node in host.status.get("nodes") or ()))


def uses(spec: ProxmoxHostSpec) -> tuple[Use, ...]:
    """What projects are allowed to use, as far as the token's privileges go."""
    return tuple(Use(use.pool, use.storages or (), use.bridges or ()) for use in spec.projects or ())


def needs(spec: ProxmoxHostSpec, backups: Iterable[str] = ()) -> tuple[Need, ...]:
    """What a token needs for all that the spec asks for; ``backups``: the storages that BackupRepositories name."""
    templates = [template.storage for template in spec.templates or ()]
    return privileges.needs(uses(spec), templates, backups)


def missing(spec: ProxmoxHostSpec, reading: HostReading, backups: Iterable[str] = ()) -> tuple[Need, ...]:
    """What the token lacks. A virtual network of SDN is in a zone of its own, and is listed only to who may use it."""
    lacking = privileges.missing(reading.permissions, needs(spec, backups))
    listed = {bridge.name for found in reading.bridges.values() for bridge in found if bridge.kind == "vnet"}
    vnets = {f"{privileges.BRIDGES}/{name}" for name in listed}
    return tuple(need for need in lacking if need.path not in vnets)


def status(host: Host, world: HostWorld, kept: Mapping[str, Any]) -> tuple[dict[str, Any], Outcome]:
    """The kind's own status fields, and how the host is. ``kept``: the fields as they are, for what can't be read."""
    reading = world.reading
    if reading is None:
        return dict(kept), world.problem or Wait(Reason.PROGRESSING, "reading the host for the first time")
    lacking = missing(host.spec, reading, world.backups)
    fields = {
        "version": reading.version.text,
        "clusterName": reading.cluster.name,
        "installationID": world.installation,
        "permissions": {"missing": [_missing(need) for need in lacking[:MISSING_LIMIT]]},
        "firewall": reading.firewall,
        "nodes": [_node(node) for node in reading.resources.nodes[:NODE_LIMIT]],
        "storages": _storages(reading.resources.storages)[:STORAGE_LIMIT],
        "templates": _templates(reading)[:TEMPLATE_LIMIT],
        "containers": counts(reading.resources.containers),
    }
    return fields, world.problem or trouble(host.spec, reading) or _well(reading, lacking)


def trouble(spec: ProxmoxHostSpec, reading: HostReading) -> Outcome | None:
    """Why a host that can be read can't be used, if so."""
    lacking = missing(spec, reading)
    blind = [need for need in lacking if need.feature is Feature.INVENTORY]
    if blind:
        what = ", ".join(f"{need.privilege} on {need.path}" for need in blind[:5])
        return Stalled(
            Reason.ACCESS_DENIED,
            f"the token lacks {what}: what it can't see would look as if it weren't there; grant it in Proxmox VE "
            "under Datacenter, Permissions",
        )
    if not reading.cluster.quorate:
        return Wait(
            Reason.NO_QUORUM,
            f"cluster {reading.cluster.name} has no quorum: nothing can be changed until most of its nodes are online",
        )
    return None


def _well(reading: HostReading, lacking: tuple[Need, ...]) -> Outcome:
    nodes = reading.resources.nodes
    text = f"Proxmox VE {reading.version.text}, {sum(node.online for node in nodes)} of {len(nodes)} nodes online"
    if lacking:
        features = ", ".join(dict.fromkeys(str(need.feature) for need in lacking))
        text += f"; the token lacks {len(lacking)} privileges for {features}: see status.permissions.missing"
    return Ok(text)


def counts(containers: Iterable[Guest]) -> dict[str, int]:
    """How many are ours, and how many aren't."""
    tagged = [TAG in guest.tags for guest in containers]
    return {"managed": sum(tagged), "unmanaged": len(tagged) - sum(tagged)}


def _missing(need: Need) -> dict[str, str]:
    return {"feature": str(need.feature), "path": need.path, "privilege": need.privilege}


def _node(node: Node) -> dict[str, Any]:
    out: dict[str, Any] = {"name": node.name, "status": "online" if node.online else "offline"}
    if node.online and node.cpus:
        out["cpus"] = node.cpus
    if node.online and node.memory:
        out["memory"] = sizes.quantity(node.memory // sizes.MIB * sizes.MIB)
    return out


def _storages(found: Iterable[Storage]) -> list[dict[str, Any]]:
    """One entry for each name: a storage that several nodes have is one storage, shared or not."""
    out: dict[str, dict[str, Any]] = {}
    for storage in found:
        entry = out.setdefault(
            storage.name,
            {
                "name": storage.name,
                "type": storage.type,
                "content": sorted(storage.content),
                "shared": storage.shared,
                "nodes": [],
            },
        )
        if storage.available:
            entry["nodes"].append(storage.node)
    return [out[name] for name in sorted(out)]


def _templates(reading: HostReading) -> list[dict[str, Any]]:
    out: dict[str, dict[str, Any]] = {}
    for node in sorted(reading.templates):
        for volume in reading.templates[node]:
            entry = out.setdefault(volume.id, {"name": volume.id, "size": sizes.quantity(volume.size), "nodes": []})
            entry["nodes"].append(node)
    return [out[name] for name in sorted(out)]
