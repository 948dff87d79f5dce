"""The bridges of nodes, and whether a container's interface can be plugged in. Pure.

``/nodes/{node}/network?type=any_bridge`` lists bridges, those of Open vSwitch, and the virtual networks of SDN, as far
as the token may use or audit them (pve-manager ``API2/Network.pm``; pve-network ``SDN.pm``, ``get_local_vnets``). A tag
works on a bridge that is aware of VLANs, within its ``bridge_vids``; on one that isn't, PVE makes another bridge beside
it, for which it needs a port (pve-common ``Network.pm``, ``activate_bridge_vlan``); on a virtual network only if that
is aware of VLANs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from homeport.plan.proxmox.grants import Attachment

TAGS = (2, 4094)
"""What a bridge that is aware of VLANs passes unless it says otherwise; 1 is untagged there."""


class Bridge(NamedTuple):
    """Where a container's interface can be plugged in, on one node."""

    name: str
    kind: str
    """bridge, OVSBridge or vnet."""
    active: bool = True
    vlan_aware: bool = False
    ports: bool = False
    """Whether anything is on it that leads out of the node."""
    vlans: tuple[tuple[int, int], ...] = (TAGS,)
    """The tags that pass, from and to; of a bridge that is aware of VLANs."""


def bridges(raw: Iterable[Mapping[str, Any]]) -> tuple[Bridge, ...]:
    """The answer of ``/nodes/{node}/network``, sorted by name; other interfaces are left out."""
    out = [_bridge(entry) for entry in raw if entry.get("type") in ("bridge", "OVSBridge", "vnet")]
    return tuple(sorted(out))


def _bridge(entry: Mapping[str, Any]) -> Bridge:
    kind = str(entry["type"])
    aware = kind == "OVSBridge" or _is(entry, "vlanaware" if kind == "vnet" else "bridge_vlan_aware")
    ports = str(entry.get("ovs_ports" if kind == "OVSBridge" else "bridge_ports") or "").split()
    return Bridge(
        name=str(entry["iface"]),
        kind=kind,
        active=_is(entry, "active"),
        vlan_aware=aware,
        ports=kind == "vnet" or any(port != "none" for port in ports),
        vlans=_vlans(str(entry.get("bridge_vids") or "")),
    )


def _is(entry: Mapping[str, Any], key: str) -> bool:
    return str(entry.get(key) or "0") not in ("0", "")


def _vlans(text: str) -> tuple[tuple[int, int], ...]:
    """``2-4094`` or ``10 20 30-39``, as ``bridge_vids`` has it."""
    out: list[tuple[int, int]] = []
    for part in text.replace(",", " ").split():
        first, _, last = part.partition("-")
        if first.isdecimal() and (last or first).isdecimal():
            out.append((int(first), int(last or first)))
    return tuple(out) or (TAGS,)


def why_not(network: Attachment, found: Sequence[Bridge] | None) -> str | None:
    """Why an interface can't be plugged in on a node; None when it can, and when the node's bridges aren't known."""
    if found is None:
        return None
    bridge = next((one for one in found if one.name == network.bridge), None)
    if bridge is None:
        names = ", ".join(one.name for one in found) or "none"
        return f"it has no bridge {network.bridge} that the token may use (those are: {names})"
    if not bridge.active:
        return f"its bridge {bridge.name} isn't active"
    return _no_tag(network.vlan, bridge) if network.vlan is not None else None


def _no_tag(vlan: int, bridge: Bridge) -> str | None:
    if bridge.vlan_aware:
        if bridge.kind == "bridge" and not any(first <= vlan <= last for first, last in bridge.vlans):
            passed = " ".join(f"{first}-{last}" if first != last else str(first) for first, last in bridge.vlans)
            return f"its bridge {bridge.name} passes the VLANs {passed}, and {vlan} isn't among them"
        return None
    if bridge.kind == "vnet":
        return f"its virtual network {bridge.name} isn't aware of VLANs: leave vlan out, or set that in its SDN"
    if not bridge.ports:
        return f"its bridge {bridge.name} isn't aware of VLANs and has no port: set that on it, or leave vlan out"
    return None
