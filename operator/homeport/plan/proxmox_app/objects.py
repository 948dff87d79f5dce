"""All objects of one component on Proxmox VE."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from homeport.plan import monitoring, routing, storage
from homeport.plan.jobs import Done
from homeport.plan.proxmox_app import containers, reach, together
from homeport.plan.proxmox_app.guests import Guests
from homeport.plan.scope import Scope
from homeport.plan.types import Child, Manifest


def of(scope: Scope, hosts: Sequence[Manifest], guests: Guests, done: Done) -> Iterable[Child]:
    """Secrets, Service, monitors, containers and routes. ``hosts`` are the names of all components; ``guests`` the
    containers that are there; ``done`` the digests of what has run and never runs again."""
    component = scope.component
    yield from storage.secret_children(scope)
    if monitoring.has_service(component):
        yield from reach.children(scope, guests)
    yield from _monitoring(scope, guests)
    if together.is_inside(scope):
        if component.migrate is not None and not scope.place.archived:
            yield from _present(containers.migration(scope, hosts, done))
        if component.type != "cron":
            yield from routing.routes(scope)
    elif component.type == "cron":
        yield containers.cron(scope, hosts)
    elif component.type == "job":
        if not scope.place.archived:
            yield from _present(containers.job(scope, hosts, done))
    else:
        if component.migrate is not None and not scope.place.archived:
            yield from _present(containers.migration(scope, hosts, done))
        yield from containers.running(scope, hosts, guests)
        yield from routing.routes(scope)


def shared(scopes: Sequence[Scope], hosts: Sequence[Manifest]) -> Iterable[Child]:
    """The one container of the components that are placed together."""
    return _present(containers.shared(scopes, hosts))


def _present(child: Child | None) -> Iterable[Child]:
    return () if child is None else (child,)


def _monitoring(of: Scope, guests: Guests) -> Iterable[Child]:
    for child in monitoring.children(of):
        kind = child.manifest["kind"]
        if kind == "Service":
            ports = [(port["name"], port["targetPort"], port["protocol"]) for port in child.manifest["spec"]["ports"]]
            yield from reach.led_to(of, child, ports, guests)
        elif kind != "PodMonitor":
            yield child
