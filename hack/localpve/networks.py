"""Networks of the nodes: listed to who may use each bridge (pve-manager's API2/Network.pm)."""

from __future__ import annotations

from typing import Any

from fakepve.routing import StatefulRoutes

Values = dict[str, Any]


def bridge(name: str, *, vlan_aware: bool = True, ports: str = "", address: str = "") -> Values:
    """A Linux bridge as a node lists it."""
    out: Values = {
        "iface": name, "type": "bridge", "method": "static" if address else "manual", "method6": "manual",
        "families": ["inet"], "active": 1, "exists": 1, "autostart": 1, "bridge_ports": ports, "bridge_stp": "off",
        "bridge_fd": "0", "priority": 3,
    }  # fmt: skip
    if vlan_aware:
        out |= {"bridge_vlan_aware": 1, "bridge_vids": "2-4094"}
    if address:
        out |= {"cidr": address, "address": address.split("/", maxsplit=1)[0], "netmask": address.split("/")[1]}
    return out


class Networks(StatefulRoutes):
    """A mixin of the stand-in. ``bridges`` holds them by node and name."""

    bridges: dict[str, dict[str, Values]]

    def _routes_networks(self) -> list[tuple[str, str, Any]]:
        return [("GET", "/nodes/{node}/network", self._networks)]

    async def _networks(self, v: Values, user: str) -> list[Values]:
        wanted = v.get("type")
        out: list[Values] = []
        if wanted in (None, "eth", "include_sdn"):
            out.append({"iface": "eno1", "type": "eth", "method": "manual", "method6": "manual", "families": ["inet"],
                        "active": 1, "exists": 1, "priority": 2})  # fmt: skip
        if wanted in (None, "bridge", "any_bridge", "any_local_bridge", "include_sdn"):
            for name, entry in sorted(self.bridges[v["node"]].items()):
                path = f"/sdn/zones/localnetwork/{name}"
                if user == "root@pam" or any(self.allowed(user, path, p) for p in ("SDN.Audit", "SDN.Use")):
                    out.append(dict(entry))
        return out
