"""Which way a component's routes go out of its environment."""

from __future__ import annotations

from collections.abc import Iterable

from homeport.plan import edge, edge_gateway, edge_ingress
from homeport.plan.scope import Scope
from homeport.plan.types import Child


def routes(of: Scope) -> Iterable[Child]:
    """What leads to the component from outside: HTTPRoutes or Ingresses."""
    if edge.uses_gateway(of.place.spec, of.place.capabilities, of.place.way):
        return edge_gateway.http_routes(of)
    return edge_ingress.ingresses(of)
