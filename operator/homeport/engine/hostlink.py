"""What a ProxmoxHost's spec and Secrets become, what is asked of a host, and what its faults mean."""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from homeport.api.conditions import Reason
from homeport.api.proxmoxhost import HostTls, ProxmoxHostSpec, fingerprint_of
from homeport.drivers.kubernetes import errors as kubernetes_errors
from homeport.drivers.kubernetes import types
from homeport.drivers.kubernetes.protocol import Api
from homeport.drivers.proxmox import errors
from homeport.drivers.proxmox.config import Endpoint, HostConfig, Token, Trust
from homeport.drivers.proxmox.protocol import ProxmoxHost
from homeport.engine.hostaddresses import GuestAddresses
from homeport.outcome import Outcome, Stalled, Transient
from homeport.plan.proxmox.bridges import Bridge
from homeport.plan.proxmox.privileges import Need
from homeport.plan.proxmox.readings import Resources, Volume
from homeport.plan.world import HostReading

log = logging.getLogger(__name__)


@dataclass
class Link:
    """One host as it was made of a spec and Secrets of certain versions, and what was read of it."""

    made_of: tuple[Any, ...]
    driver: ProxmoxHost | None = None
    reading: HostReading | None = None
    fresh: bool = False
    """Whether ``driver`` has read it: until then ``reading`` is what its predecessor had read."""
    problem: Outcome | None = None
    well_at: float | None = None
    """When a reading last ended well (monotonic seconds); until then, when it began to be tried."""
    trouble: Outcome | None = None
    """Why the host can't be used although it was read, if so."""
    told: bool = False
    """Whether its users know that it can't be used."""
    token: str | None = None
    """The annotation that asked for the last reading of everything."""
    read_at: float | None = None
    """When the last reading ended, well or badly (monotonic seconds)."""
    asked: bool = False
    """Whether a person asked for the reading that is under way."""
    details_at: float = 0.0
    stale: bool = False
    """Whether everything is to be read again, as soon as may be."""
    addresses: GuestAddresses | None = None
    task: asyncio.Task[None] | None = None


async def config(spec: ProxmoxHostSpec, client: Api) -> HostConfig:
    """How the host is reached, with what its Secrets hold. Raises ValueError for what can't be used."""
    reference = spec.credentials_secret_ref
    secret = await _secret(client, reference.namespace, reference.name, "tokenId", "tokenSecret")
    ca = None
    if (named := spec.tls.ca_secret_ref) is not None:
        ca = (await _secret(client, named.namespace, named.name, named.key))[named.key]
    try:
        token = Token(secret["tokenId"].strip(), secret["tokenSecret"].strip())
    except ValueError as error:
        raise ValueError(f"Secret {reference.namespace}/{reference.name}: {error}") from None
    endpoints = tuple(Endpoint(url, _trust(spec.tls, url, ca)) for url in spec.endpoints)
    tasks = spec.limits.concurrent_tasks if spec.limits is not None else 4
    return HostConfig(endpoints, token, tasks)


async def _secret(client: Api, namespace: str, name: str, *keys: str) -> dict[str, str]:
    found = await client.get(types.SECRET, namespace, name)
    data = (found or {}).get("data") or {}
    out = {}
    for key in keys:
        if key not in data:
            raise ValueError(f"Secret {namespace}/{name} has no key {key}; it needs {' and '.join(keys)}")
        try:
            out[key] = base64.b64decode(data[key], validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise ValueError(f"Secret {namespace}/{name}: what is under {key} isn't text") from None
    return out


def _trust(tls: HostTls, endpoint: str, ca: str | None) -> Trust:
    if ca is not None:
        return Trust(ca=ca)
    if tls.fingerprints is not None:
        return Trust(fingerprint=fingerprint_of(endpoint, tls.fingerprints))
    return Trust(insecure=True)


def keys(reference: Any) -> str:
    """What a Secret that is named by ``reference`` must hold, in words."""
    key = getattr(reference, "key", None)
    return f"certificates in PEM under the key {key}" if key else "an API token under the keys tokenId and tokenSecret"


async def details(driver: ProxmoxHost, resources: Resources) -> HostReading:
    """A reading with all that seldom changes."""
    version, cluster, permissions = await asyncio.gather(driver.version(), driver.cluster(), driver.permissions())
    templates, bridges = await asyncio.gather(_templates(driver, resources), _bridges(driver, resources))
    return HostReading(version, cluster, permissions, templates, resources, bridges)


async def _bridges(driver: ProxmoxHost, resources: Resources) -> dict[str, tuple[Bridge, ...]]:
    """The bridges by node; a node that doesn't answer is left out."""
    names = [node.name for node in resources.nodes if node.online]
    found = await asyncio.gather(*(_of_node(driver, name) for name in names))
    return {name: bridges for name, bridges in zip(names, found, strict=True) if bridges is not None}


async def _of_node(driver: ProxmoxHost, node: str) -> tuple[Bridge, ...] | None:
    try:
        return await driver.bridges(node)
    except (errors.NodeUnreachable, errors.Forbidden) as error:
        log.info("bridges of %s: %s", node, error)
        return None


async def _templates(driver: ProxmoxHost, resources: Resources) -> dict[str, tuple[Volume, ...]]:
    """The templates by node. A shared storage is asked through one node, and counts for all that have it."""
    out: dict[str, list[Volume]] = {node.name: [] for node in resources.nodes if node.online}
    shared: dict[str, tuple[Volume, ...]] = {}
    for storage in resources.storages:
        if "vztmpl" not in storage.content or not storage.available or storage.node not in out:
            continue
        found = shared.get(storage.name)
        if found is None:
            try:
                found = await driver.templates(storage.node, storage.name)
            except (errors.NodeUnreachable, errors.Forbidden) as error:
                log.info("templates on %s/%s: %s", storage.node, storage.name, error)
                continue
            if storage.shared:
                shared[storage.name] = found
        out[storage.node].extend(found)
    return {node: tuple(volumes) for node, volumes in out.items()}


def outline(found: Resources) -> tuple[Any, ...]:
    """What makes the seldom read worth a look when it changes: who is there, and not how it is."""
    return (
        tuple((node.name, node.online) for node in found.nodes),
        tuple((storage.node, storage.name, storage.available, storage.content) for storage in found.storages),
        tuple(guest.vmid for guest in found.guests),
    )


def problem(error: Exception, lacking: Iterable[Need] = ()) -> Outcome | None:
    """What a fault means for the resource; None for one of our own. ``lacking``: what the token is known to lack."""
    match error:
        case errors.Unauthorized():
            text = "Proxmox VE doesn't accept the token; make a new one, and put it into the Secret"
            return Stalled(Reason.ACCESS_DENIED, text)
        case errors.Forbidden():
            return Stalled(Reason.ACCESS_DENIED, _denied(error, list(lacking)))
        case errors.UnsupportedVersion():
            return Stalled(Reason.UNSUPPORTED_VERSION, str(error))
        case errors.OtherCluster():
            text = f"{error}; a ProxmoxHost stays with its cluster: take that endpoint out, or make another ProxmoxHost"
            return Stalled(Reason.INVALID_SPEC, text)
        case errors.Untrusted():
            return Stalled(Reason.ACCESS_DENIED, f"{error}; if that is as it should be, write it into spec.tls")
        case errors.ProxmoxError() | kubernetes_errors.ApiError():
            return Transient(Reason.PROGRESSING_WITH_RETRY, str(error))
        case ValueError():
            return Stalled(Reason.INVALID_SPEC, str(error))
    return None


def _denied(error: errors.Forbidden, lacking: list[Need]) -> str:
    if error.privilege:
        return (
            f"the token lacks {error.privilege} on {error.path}; grant it in Proxmox VE under Datacenter, Permissions"
        )
    # pve-container refuses some without saying what for (``raise_perm_exc``).
    named = ", ".join(f"{need.privilege} on {need.path}" for need in lacking[:5]) or "a privilege that it doesn't name"
    return f"{error}: the token lacks {named}; grant it in Proxmox VE under Datacenter, Permissions"
