"""What software in a container is told to run: put together from its spec, Secrets, ConfigMaps, and its siblings."""

from __future__ import annotations

import base64
from collections.abc import Mapping

from homeport.api.labels import OwnerKey
from homeport.api.lxccontainer import LXCContainerSpec
from homeport.api.resource import Resource
from homeport.api.software import Software
from homeport.drivers.kubernetes import types
from homeport.engine.context import Context
from homeport.plan import agent as wire
from homeport.plan import payload as payloads
from homeport.plan.lxc.wanted import Place
from homeport.plan.payload import Around, Values

Container = Resource[LXCContainerSpec]


def run_of(container: Container) -> str:
    """The name of a job's run: another token of restartAt runs it once more."""
    return f"{container.uid}/{container.spec.restart_at or ''}"[:253]


async def payload_of(container: Container, software: Software, place: Place, context: Context) -> wire.Payload:
    """What it should run; put together anew when something that it rests on has changed."""
    wanted = payloads.references(software)
    versions = []
    for kind, name in sorted(wanted):
        context.readers.setdefault((kind, container.namespace, name), set()).add(container.key)
        found = context.cluster.get(types.SECRET if kind == "Secret" else types.CONFIG_MAP, container.namespace, name)
        versions.append((kind, name, found["metadata"]["resourceVersion"] if found is not None else ""))
    addresses = _siblings(container, software, context)
    # With a token of its own it goes on with what was read, until its turn to read again comes.
    read = tuple(versions) if software.inputs is None else software.inputs
    interfaces = place.unmanaged.interfaces if place.unmanaged is not None else None
    rests_on = (container.uid, container.generation, read, tuple(sorted(addresses.items())), interfaces)
    kept = context.containers.payloads.get(container.key)
    if kept is not None and kept[0] == rests_on:
        return kept[1]
    around = Around(
        name=container.name,
        hostname=container.spec.hostname or container.name,
        volumes=tuple(mount.path for mount in container.spec.mounts or ()),
        addresses=addresses,
        run=run_of(container) if software.restart_policy == "Never" else "",
        namespace=container.namespace,
        interfaces=interfaces,
        dns=container.spec.dns if interfaces is not None else None,
    )
    payload = payloads.payload(software, around, await _values(container, wanted, context))
    context.containers.payloads[container.key] = (rests_on, payload)
    return payload


def _siblings(container: Container, software: Software, context: Context) -> dict[str, tuple[str, ...]]:
    """The addresses of the containers that ``hosts`` names; this one is looked at when one of them changes."""
    out: dict[str, tuple[str, ...]] = {}
    for entry in software.hosts or ():
        for name in entry.containers:
            context.readers.setdefault(("LXCContainer", container.namespace, name), set()).add(container.key)
            status = context.store.status(OwnerKey("LXCContainer", container.namespace, name))
            if status.get("addresses"):
                out[name] = tuple(status["addresses"])
    return out


async def _values(container: Container, wanted: Mapping[tuple[str, str], bool], context: Context) -> Values:
    """What the Secrets and ConfigMaps hold; read when something of them has changed, and kept nowhere."""
    out: dict[tuple[str, str], dict[str, bytes]] = {}
    for kind, name in wanted:
        gvk = types.SECRET if kind == "Secret" else types.CONFIG_MAP
        found = await context.cluster.client.get(gvk, container.namespace, name)
        if found is None:
            continue
        data = found.get("data") or {}
        if kind == "Secret":
            out[kind, name] = {key: base64.b64decode(value) for key, value in data.items()}
        else:
            binary = {key: base64.b64decode(value) for key, value in (found.get("binaryData") or {}).items()}
            out[kind, name] = {**{key: str(value).encode() for key, value in data.items()}, **binary}
    return out
