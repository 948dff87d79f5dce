"""How a component's containers are reached from the cluster: a Service without selector, and an EndpointSlice."""

from __future__ import annotations

from collections.abc import Iterable

from homeport.plan import network
from homeport.plan.endpoints import Endpoint, Port, slices
from homeport.plan.proxmox_app import containers
from homeport.plan.proxmox_app.guests import Guests
from homeport.plan.scope import Scope
from homeport.plan.types import Child, Phase


def children(of: Scope, guests: Guests) -> Iterable[Child]:
    """The Service of a component, and where its containers are. Those that aren't ready get no requests."""
    ports: list[Port] = [(port.name, port.port, port.protocol or "TCP") for port in of.component.ports or ()]
    yield from led_to(of, network.service(of), ports, guests)


def led_to(of: Scope, service: Child, ports: list[Port], guests: Guests) -> Iterable[Child]:
    """``service``, without its selector, and the EndpointSlices instead of that; ``ports`` are the containers'."""
    spec = service.manifest["spec"]
    spec.pop("selector")
    numbers = {name: number for name, number, _ in ports}
    for port in spec.get("ports") or ():
        port["targetPort"] = numbers[port["name"]]
    yield service
    everyone = bool(spec.get("publishNotReadyAddresses"))
    there = [
        Endpoint(guests[name].addresses, guests[name].serves(of.component.name), name, everyone)
        for name in containers.names_of(of)
        if name in guests
    ]
    for found in slices(of.metadata(service.id.name), ports, there, empty=True):
        yield of.child(found, Phase.PREPARE)
