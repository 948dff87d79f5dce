"""EndpointSlices of what isn't a Pod: a Service without selector leads to the addresses in them. Pure.

Source: https://kubernetes.io/docs/concepts/services-networking/service/#services-without-selectors
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from homeport.api import labels
from homeport.plan.types import Manifest

SERVICE_NAME = "kubernetes.io/service-name"
MANAGED_BY = labels.SLICE_MAKER
CONTROLLER = labels.SLICES_OURS
"""Who keeps the slices: Kubernetes's own controllers leave those of others alone."""
Port = tuple[str, int, str]
"""The name, number and protocol of a port, as it is where the Service leads."""
_LIMIT = 100
"""Endpoints of one slice, as the control plane itself keeps them to; the first count."""


class Endpoint(NamedTuple):
    """Something that a Service leads to."""

    addresses: Sequence[str]
    """With or without prefix. The first of a family counts: the others are the same machine's."""
    ready: bool
    """Whether it takes requests."""
    hostname: str | None = None
    published: bool = False
    """Whether it is found although it isn't ready."""


def slices(
    metadata: Mapping[str, Any], ports: Iterable[Port], endpoints: Sequence[Endpoint], *, empty: bool = False
) -> list[Manifest]:
    """An EndpointSlice for each family that there are addresses of; with ``empty`` one of IPv4 in any case.

    ``metadata``: the Service's name, namespace and labels.
    """
    described = [{"name": name, "port": number, "protocol": protocol} for name, number, protocol in ports]
    out = []
    for version in (4, 6):
        found = [entry for endpoint in endpoints if (entry := _entry(endpoint, version)) is not None]
        if found or (empty and version == 4):
            out.append(_slice(metadata, version, described, found[:_LIMIT]))
    return out


def _slice(metadata: Mapping[str, Any], version: int, ports: list[Manifest], endpoints: list[Manifest]) -> Manifest:
    name = metadata["name"]
    out: Manifest = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            **metadata,
            "name": name if version == 4 else f"{name}-ipv6",
            "labels": {**(metadata.get("labels") or {}), SERVICE_NAME: name, MANAGED_BY: CONTROLLER},
        },
        "addressType": f"IPv{version}",
    }
    if endpoints:
        out["endpoints"] = endpoints
    if ports:
        out["ports"] = ports
    return out


def _entry(endpoint: Endpoint, version: int) -> Manifest | None:
    address = next((found for found in map(_reachable, endpoint.addresses) if found and found.version == version), None)
    if address is None:
        return None
    conditions = {"ready": endpoint.ready or endpoint.published, "serving": endpoint.ready, "terminating": False}
    out: Manifest = {"addresses": [str(address)], "conditions": conditions}
    return out if endpoint.hostname is None else {**out, "hostname": endpoint.hostname}


def _reachable(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """What may be in an EndpointSlice: the API server refuses addresses that mean something on one machine only."""
    try:
        found = ipaddress.ip_interface(text).ip
    except ValueError:
        return None
    return None if found.is_loopback or found.is_link_local or found.is_multicast or found.is_unspecified else found
