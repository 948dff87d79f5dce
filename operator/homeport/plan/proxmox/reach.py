"""How a container is reached from Kubernetes: a Service without selector, and EndpointSlices with its addresses. Pure.

PVE publishes no ports: the cluster's nodes have to have a way to the container's network.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from homeport.api.pod import Port
from homeport.plan import endpoints
from homeport.plan.endpoints import Endpoint
from homeport.plan.types import Manifest


def objects(
    metadata: Mapping[str, str | Mapping[str, str]],
    ports: Sequence[Port],
    addresses: Iterable[str],
    *,
    ready: bool,
    dual: bool = False,
) -> list[Manifest]:
    """The Service, and an EndpointSlice for each family that the container has an address of.

    ``metadata``: the Service's name, namespace and labels. ``addresses``: with or without prefix, the first of a family
    counts: the others are the same container's. ``dual``: whether it is to have an IPv6 address, so that the Service
    gets one, too, where the cluster has both. One that isn't ``ready`` gets no requests.
    """
    service: Manifest = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": dict(metadata),
        "spec": {
            "type": "ClusterIP",
            "ipFamilyPolicy": "PreferDualStack" if dual else "SingleStack",
            "ports": [
                {
                    "name": port.name,
                    "port": port.service_port or port.port,
                    "targetPort": port.port,
                    "protocol": port.protocol or "TCP",
                }
                for port in ports
            ],
        },
    }
    numbers = [(port.name, port.port, port.protocol or "TCP") for port in ports]
    return [service, *endpoints.slices(metadata, numbers, [Endpoint(tuple(addresses), ready)])]
