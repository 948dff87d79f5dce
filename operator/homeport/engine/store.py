"""The resources of ours as last seen, parsed once per change of their spec."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from homeport.api.labels import OwnerKey
from homeport.api.resource import InvalidSpec, Resource, parse
from homeport.drivers.kubernetes.types import version_reached

Body = Mapping[str, Any]


@dataclass(slots=True)
class _Entry:
    body: Body
    parsed: Resource[Any] | None = None
    error: InvalidSpec | None = None
    told: tuple[str, Mapping[str, Any]] | None = None
    """(resourceVersion, status) of our own last write, until the watch has shown it."""


class Store:
    """Bodies by key, and typed resources made from them when they are asked for."""

    def __init__(self) -> None:
        self._entries: dict[OwnerKey, _Entry] = {}
        self._by_namespace: dict[tuple[str, str], dict[str, OwnerKey]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, body: Body) -> Body | None:
        """Remember ``body``; returns what was there before. An older resourceVersion than what is there is ignored."""
        key = key_of(body)
        entry = self._entries.get(key)
        if entry is None:
            self._entries[key] = _Entry(body)
            self._by_namespace.setdefault((key.kind, key.namespace), {})[key.name] = key
            return None
        before = entry.body
        if _is_older(body, before):
            return before
        fresh = _Entry(body)
        if entry.parsed is not None and _same_spec(before, body):
            fresh.parsed = _refreshed(entry.parsed, body)
        self._entries[key] = fresh
        if entry.told is not None and before["metadata"].get("uid") == body["metadata"].get("uid"):
            self.told(key, *entry.told)
        return before

    def told(self, key: OwnerKey, version: str, status: Mapping[str, Any]) -> None:
        """We wrote this status: who reads the resource must not see an older one while the watch is behind."""
        entry = self._entries.get(key)
        if entry is None or version_reached(str(entry.body["metadata"].get("resourceVersion", "")), version):
            return
        entry.told = (version, status)
        if entry.parsed is not None:
            entry.parsed = replace(entry.parsed, status=status)

    def remove(self, key: OwnerKey) -> Body | None:
        """Forget ``key``; returns what was there."""
        entry = self._entries.pop(key, None)
        if entry is None:
            return None
        names = self._by_namespace[key.kind, key.namespace]
        names.pop(key.name, None)
        return entry.body

    def body(self, key: OwnerKey) -> Body | None:
        """The body of ``key`` as last seen."""
        entry = self._entries.get(key)
        return entry.body if entry else None

    def status(self, key: OwnerKey) -> Mapping[str, Any]:
        """The status of ``key``: as we wrote it, when the watch hasn't shown that yet. Empty when there is none."""
        entry = self._entries.get(key)
        if entry is None:
            return {}
        return entry.told[1] if entry.told is not None else entry.body.get("status") or {}

    def resource(self, key: OwnerKey) -> Resource[Any] | None:
        """The typed resource, None when it isn't there. Raises InvalidSpec when its spec can't be used."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry.error is not None:
            raise entry.error
        if entry.parsed is None:
            try:
                entry.parsed = parse(entry.body)
                if entry.told is not None:
                    entry.parsed = replace(entry.parsed, status=entry.told[1])
            except InvalidSpec as error:
                entry.error = error
                raise
        return entry.parsed

    def look(self, key: OwnerKey) -> tuple[Resource[Any] | None, InvalidSpec | None]:
        """The resource, and why its spec can't be used; then its ``spec`` is None and the rest is as it is."""
        try:
            return self.resource(key), None
        except InvalidSpec as error:
            entry = self._entries[key]
            bare = _bare(key, entry.body)
            return bare if entry.told is None else replace(bare, status=entry.told[1]), error

    def keys(self, kind: str | None = None, namespace: str | None = None) -> list[OwnerKey]:
        """The keys of a kind, of a namespace, or all."""
        if kind is not None and namespace is not None:
            return list(self._by_namespace.get((kind, namespace), {}).values())
        return [
            key
            for key in self._entries
            if (kind is None or key.kind == kind) and (namespace is None or key.namespace == namespace)
        ]

    def valid(self, kind: str, namespace: str) -> Iterator[Resource[Any]]:
        """The resources of a kind in a namespace whose spec can be used."""
        for key in self.keys(kind, namespace):
            try:
                resource = self.resource(key)
            except InvalidSpec:
                continue
            if resource is not None:
                yield resource

    def invalid(self, kind: str, namespace: str) -> list[str]:
        """The names of resources whose spec can't be used."""
        valid = {resource.name for resource in self.valid(kind, namespace)}
        return [key.name for key in self.keys(kind, namespace) if key.name not in valid]


def _bare(key: OwnerKey, body: Body) -> Resource[Any]:
    metadata = body["metadata"]
    return Resource(
        kind=key.kind,
        namespace=key.namespace,
        name=key.name,
        uid=metadata.get("uid", ""),
        generation=int(metadata.get("generation", 0)),
        resource_version=metadata.get("resourceVersion", ""),
        created=metadata.get("creationTimestamp", ""),
        spec=None,
        raw_spec=body.get("spec") or {},
        status=body.get("status") or {},
        labels=metadata.get("labels") or {},
        annotations=metadata.get("annotations") or {},
        finalizers=tuple(metadata.get("finalizers") or ()),
        deleted_at=metadata.get("deletionTimestamp"),
    )


def key_of(body: Body) -> OwnerKey:
    """The key of a body."""
    metadata = body["metadata"]
    return OwnerKey(str(body["kind"]), metadata.get("namespace") or "", metadata["name"])


def _is_older(body: Body, known: Body) -> bool:
    try:
        same_object = body["metadata"].get("uid") == known["metadata"].get("uid")
        return same_object and int(body["metadata"]["resourceVersion"]) < int(known["metadata"]["resourceVersion"])
    except (KeyError, ValueError):
        return False


def _same_spec(before: Body, body: Body) -> bool:
    old, new = before["metadata"], body["metadata"]
    return old.get("uid") == new.get("uid") and old.get("generation") == new.get("generation") and "generation" in new


def _refreshed(parsed: Resource[Any], body: Body) -> Resource[Any]:
    """The same spec with new metadata and status."""
    metadata = body["metadata"]
    return replace(
        parsed,
        resource_version=metadata.get("resourceVersion") or "",
        status=body.get("status") or {},
        labels=metadata.get("labels") or {},
        annotations=metadata.get("annotations") or {},
        finalizers=tuple(metadata.get("finalizers") or ()),
        deleted_at=metadata.get("deletionTimestamp"),
        raw_spec=body.get("spec") or {},
    )
