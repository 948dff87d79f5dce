"""The connection to a cluster, and how Homeport's resources are found there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from homeport import __version__
from homeport.cli.errors import CRDS_HINT, Failure
from homeport.cli.kinds import KindName
from homeport.cli.options import Options
from homeport.drivers.kubernetes import config, errors
from homeport.drivers.kubernetes.client import Client
from homeport.drivers.kubernetes.protocol import Api
from homeport.drivers.kubernetes.types import Manifest

T = TypeVar("T")


@dataclass(frozen=True)
class Connection:
    """A client, and the namespace that the kubeconfig's context names."""

    client: Api
    namespace: str
    server: str


@asynccontextmanager
async def connected(options: Options, *, timeout: float = 20.0) -> AsyncIterator[Connection]:  # noqa: ASYNC109
    """A connection as ``options`` say; ``timeout`` is in seconds, per request. Raises KubeconfigError."""
    found = config.load(options.kubeconfig, context=options.context)
    client = Client(found, user_agent=f"homeport/{__version__}", timeout=timeout)
    try:
        yield Connection(client, found.namespace, found.server)
    finally:
        await client.close()


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run ``work`` to its end."""
    return asyncio.run(work)


async def listed(client: Api, kind: KindName, namespace: str | None) -> tuple[list[Manifest], str]:
    """All resources of one kind, sorted, and the version to watch from. Raises Failure when there is no such kind."""
    try:
        items, version = await client.list(kind.gvk, namespace if kind.gvk.namespaced else None)
    except errors.NotFound:
        raise missing(kind) from None
    items.sort(key=lambda item: (item["metadata"].get("namespace") or "", item["metadata"]["name"]))
    return items, version


async def seen(client: Api, kind: KindName, namespace: str | None) -> tuple[list[Manifest], str] | None:
    """As ``listed``; None for a cluster-scoped kind that the user may not see: it is an administrator's."""
    try:
        return await listed(client, kind, namespace)
    except errors.Forbidden:
        if kind.gvk.namespaced:
            raise
        return None


async def everything(client: Api, kinds: Sequence[KindName], namespace: str | None) -> list[Manifest]:
    """All resources of several kinds, sorted by kind, namespace and name; what the user may not see is left out."""
    if len(kinds) == 1:
        return (await listed(client, kinds[0], namespace))[0]
    found = await asyncio.gather(*(seen(client, kind, namespace) for kind in kinds))
    return [item for listing in found if listing is not None for item in listing[0]]


async def one(client: Api, kind: KindName, namespace: str, name: str) -> Manifest:
    """A resource by its name. Raises Failure that says where it is instead, if somewhere."""
    found = await client.get(kind.gvk, namespace, name)
    if found is not None:
        return found
    raise await _absent(client, kind, namespace, name)


async def _absent(client: Api, kind: KindName, namespace: str, name: str) -> Failure:
    """Why an object isn't there: another namespace, another name, or no such kind at all."""
    try:
        items, _ = await client.list(kind.gvk, metadata_only=True)
    except errors.NotFound:
        return missing(kind)
    except errors.ApiError:
        items = []
    message = f"there is no {kind.kind} {name}" + (f" in namespace {namespace}" if kind.gvk.namespaced else "")
    elsewhere = sorted(i["metadata"]["namespace"] for i in items if i["metadata"]["name"] == name)
    if elsewhere:
        return Failure(message, f"there is one in {', '.join(elsewhere[:5])}: add -n {elsewhere[0]}")
    here = sorted(i["metadata"]["name"] for i in items if i["metadata"].get("namespace") in (namespace, None))
    return Failure(message, f"there are: {', '.join(here[:10])}" if here else "")


def missing(kind: KindName) -> Failure:
    """The kind isn't served."""
    plural = f"{kind.gvk.plural}.{kind.gvk.group}"
    return Failure(f"this cluster doesn't know {plural}: Homeport's kinds aren't installed", CRDS_HINT)
