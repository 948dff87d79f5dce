"""Which kinds a cluster serves: the optional ones that we know, their fields that came later, and any other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from homeport.drivers.kubernetes import errors, types
from homeport.drivers.kubernetes.protocol import Api
from homeport.drivers.kubernetes.types import GVK

LATER_FIELDS: dict[str, tuple[GVK, tuple[str, ...]]] = {
    "gateway.networking.k8s.io/v1/HTTPRoute/cors": (types.HTTP_ROUTE, ("spec", "rules", "filters", "cors")),
}
"""Fields that only newer definitions have, by what they are called: the kind, and where the field is."""


def definition_of(gvk: GVK) -> str:
    """The name of a kind's CustomResourceDefinition."""
    return f"{gvk.plural}.{gvk.group}"


async def served(client: Api, gvks: Iterable[GVK]) -> frozenset[GVK]:
    """Those of ``gvks`` that the API server serves. Raises ApiError."""
    wanted = tuple(gvks)
    versions = sorted({gvk.api_version for gvk in wanted})
    found = dict(zip(versions, await asyncio.gather(*map(client.discover, versions)), strict=True))
    return frozenset(gvk for gvk in wanted if gvk.plural in found[gvk.api_version])


class LaterFields:
    """Which of ``LATER_FIELDS`` the definitions have; a definition is read again only when it has changed."""

    def __init__(self, client: Api, version_of: Callable[[str], str | None]) -> None:
        """``version_of`` gives the resourceVersion of a definition by its name, None when that can't be known."""
        self._client = client
        self._version_of = version_of
        self._read: dict[GVK, tuple[str | None, frozenset[str]]] = {}

    async def of(self, there: frozenset[GVK]) -> frozenset[str]:
        """The fields that kinds which are ``there`` have; none where definitions may not be read. Raises ApiError."""
        kinds = {gvk for gvk, _ in LATER_FIELDS.values()} & there
        return frozenset().union(*[await self._fields(gvk) for gvk in kinds])

    async def _fields(self, gvk: GVK) -> frozenset[str]:
        version = self._version_of(definition_of(gvk))
        known = self._read.get(gvk)
        if known is not None and version is not None and known[0] == version:
            return known[1]
        try:
            found = await self._client.get(types.CUSTOM_RESOURCE_DEFINITION, None, definition_of(gvk))
        except errors.Forbidden:
            found = None
        versions = ((found or {}).get("spec") or {}).get("versions") or ()
        schema = next((entry.get("schema") or {} for entry in versions if entry.get("name") == gvk.version), {})
        fields = frozenset(name for name, (of, path) in LATER_FIELDS.items() if of == gvk and _in_schema(schema, path))
        self._read[gvk] = version, fields
        return fields


def _in_schema(schema: Mapping[str, Any], path: tuple[str, ...]) -> bool:
    node: Any = schema.get("openAPIV3Schema") or {}
    for name in path:
        node = (node.get("items") or node).get("properties", {}).get(name)
        if node is None:
            return False
    return True


MAPPING_LIFE, ABSENCE_LIFE = 600.0, 2.0
"""Seconds for which is remembered what an API version serves, and that it doesn't serve a kind."""


class Mapper:
    """Finds the plural and the scope of any kind by its apiVersion and kind. ``clock`` is monotonic, in seconds."""

    def __init__(self, client: Api, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._clock = clock
        self._served: dict[str, tuple[float, dict[str, GVK]]] = {}
        self._asking: dict[str, asyncio.Task[dict[str, GVK]]] = {}

    def known(self, api_version: str, kind: str) -> GVK | None:
        """As last heard; None when that isn't known."""
        found = self._served.get(api_version)
        return found[1].get(kind) if found is not None else None

    async def find(self, api_version: str, kind: str) -> GVK | None:
        """The kind, or None when the cluster doesn't serve it. Raises ApiError."""
        known = self._served.get(api_version)
        if known is not None:
            age = self._clock() - known[0]
            if age < (MAPPING_LIFE if kind in known[1] else ABSENCE_LIFE):
                return known[1].get(kind)
        task = self._asking.get(api_version)
        if task is None:
            task = self._asking[api_version] = asyncio.create_task(self._ask(api_version))
            task.add_done_callback(lambda done: self._asked(api_version, done))
        # Shielded: whoever asked first may be cancelled, the others still wait for the answer.
        return (await asyncio.shield(task)).get(kind)

    def forget(self, api_version: str) -> None:
        """Ask anew the next time: a definition has just been applied, or its kind isn't there any more."""
        self._served.pop(api_version, None)

    async def _ask(self, api_version: str) -> dict[str, GVK]:
        found = {gvk.kind: types.canonical(gvk) for gvk in await self._client.kinds(api_version)}
        self._served[api_version] = (self._clock(), found)
        return found

    def _asked(self, api_version: str, task: asyncio.Task[dict[str, GVK]]) -> None:
        self._asking.pop(api_version, None)
        if not task.cancelled():
            task.exception()
