"""The verbs of the Kubernetes API over HTTP, with as little Python as possible between us and the socket."""

from __future__ import annotations

import asyncio
import contextlib
import copy
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from urllib.parse import urlencode

import orjson

from homeport.drivers.kubernetes import errors
from homeport.drivers.kubernetes.config import ClientConfig
from homeport.drivers.kubernetes.protocol import PatchKind, Propagation
from homeport.drivers.kubernetes.remote import Done
from homeport.drivers.kubernetes.transport import JSON, Call, Identity, OnCall, Transport
from homeport.drivers.kubernetes.types import GVK, POD, Manifest, Manifests

SILENCE = 90.0
"""Seconds without a byte after which a watch is opened anew. Bookmarks come every 60 to 75 s, but not for a kind of
which the API server has seen no change since it started: such a watch is silent although all is well."""

LOG_LIMIT = 1 << 20
"""Bytes of a log that are read at most."""

_PARTIAL = f"{JSON};as=PartialObjectMetadata;g=meta.k8s.io;v=v1,{JSON}"
_PARTIAL_LIST = f"{JSON};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,{JSON}"
_ALL = f"{JSON};as=APIGroupDiscoveryList;g=apidiscovery.k8s.io;v=v2"
_APPLY = "application/apply-patch+yaml"
_PATCH = {"merge": "application/merge-patch+json", "json": "application/json-patch+json"}


class Client:
    """One API server (``protocol.Api``). ``connections`` bounds what is in flight; watches have their own.

    ``timeout`` and ``silence`` are in seconds, as ``Transport`` has them. ``on_call`` is for metrics.
    """

    def __init__(
        self,
        config: ClientConfig,
        *,
        connections: int = 32,
        user_agent: str = "homeport",
        on_call: OnCall | None = None,
        timeout: float = 20.0,
        silence: float = SILENCE,
    ) -> None:
        self.config = config
        self._transport = Transport(
            config, connections=connections, user_agent=user_agent, on_call=on_call, timeout=timeout, silence=silence
        )
        self._identity: Identity | None = None

    def impersonate(self, user: str, groups: Sequence[str] = ()) -> Client:
        """This client as somebody else: the same connections, what ``user`` may do. ``close`` isn't its to call.

        A service account ("system:serviceaccount:<namespace>:<name>") needs no groups: the server knows them.
        Source: https://kubernetes.io/docs/reference/access-authn-authz/user-impersonation/
        """
        view = copy.copy(self)
        view._identity = Identity(user, tuple(groups))
        return view

    async def _call(self, call: Call) -> Manifest:
        return await self._transport.call(self._as(call))

    def _as(self, call: Call) -> Call:
        return call if self._identity is None else call._replace(identity=self._identity)

    async def get(self, gvk: GVK, ns: str | None, name: str, *, metadata_only: bool = False) -> Manifest | None:
        """The object, or None when it isn't there."""
        accept = _PARTIAL if metadata_only else JSON
        try:
            found = await self._call(Call("get", gvk, "GET", gvk.path(ns, name), accept, again=True))
        except errors.NotFound:
            return None
        return _named(gvk, found)

    async def list(
        self,
        gvk: GVK,
        ns: str | None = None,
        *,
        labels: str | None = None,
        fields: str | None = None,
        metadata_only: bool = False,
        limit: int = 500,
        resource_version: str | None = None,
    ) -> tuple[Manifests, str]:
        """All objects of a kind and the resourceVersion to watch from; ``limit`` is the size of a page.

        Gone when a page has expired meanwhile: the caller starts anew.
        """
        accept = _PARTIAL_LIST if metadata_only else JSON
        query = {"labelSelector": labels, "fieldSelector": fields, "limit": str(limit) if limit else None}
        path = gvk.path(ns)
        items: Manifests = []
        token = None
        while True:
            query["continue"] = token
            # A page belongs to the snapshot of the first one; asking for a version again is refused.
            query["resourceVersion"] = resource_version if token is None else None
            page = await self._call(Call("list", gvk, "GET", path + _query(query), accept, again=True))
            items.extend(page.get("items") or ())
            token = page["metadata"].get("continue")
            if not token:
                break
        for item in items:
            _named(gvk, item)
        return items, page["metadata"].get("resourceVersion", "")

    async def apply(
        self,
        gvk: GVK,
        ns: str | None,
        name: str,
        body: Manifest | bytes,
        *,
        manager: str = "homeport",
        force: bool = True,
        subresource: str | None = None,
        dry_run: bool = False,
        metadata_only: bool = True,
    ) -> Manifest:
        """Server-side apply of ``body`` (a manifest, or its JSON bytes); answers the object's metadata, or all of it.

        Conflict without ``force`` when other managers own a field, or when body's metadata.resourceVersion is stale.
        """
        query = f"?fieldManager={manager}&force={'true' if force else 'false'}"
        path = gvk.path(ns, name, subresource) + (query + "&dryRun=All" if dry_run else query)
        data = body if isinstance(body, bytes) else orjson.dumps(body)
        accept = _PARTIAL if metadata_only else JSON
        return _named(gvk, await self._call(Call("apply", gvk, "PATCH", path, accept, data, _APPLY, again=True)))

    async def create(
        self, gvk: GVK, ns: str | None, body: Manifest, *, dry_run: bool = False, manager: str = "homeport"
    ) -> Manifest:
        """Create; AlreadyExists when the name is taken. Never repeated: after outcome_unknown, look first."""
        path = gvk.path(ns) + _query({"fieldManager": manager, "dryRun": "All" if dry_run else None})
        return _named(gvk, await self._call(Call("create", gvk, "POST", path, JSON, orjson.dumps(body), JSON)))

    async def patch(
        self,
        gvk: GVK,
        ns: str | None,
        name: str,
        body: Manifest | Manifests,
        *,
        kind: PatchKind = "merge",
        subresource: str | None = None,
        manager: str = "homeport",
    ) -> Manifest:
        """A JSON merge patch (with metadata.resourceVersion in it: only onto that version) or a JSON patch."""
        path = gvk.path(ns, name, subresource) + f"?fieldManager={manager}"
        return _named(gvk, await self._call(Call("patch", gvk, "PATCH", path, JSON, orjson.dumps(body), _PATCH[kind])))

    async def delete(
        self,
        gvk: GVK,
        ns: str | None,
        name: str,
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        propagation: Propagation = "Background",
    ) -> bool:
        """Delete; False when it was gone already; Conflict when uid or resourceVersion are another's."""
        options: Manifest = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation}
        only = {"uid": uid, "resourceVersion": resource_version}
        if uid or resource_version:
            options["preconditions"] = {key: value for key, value in only.items() if value}
        body = orjson.dumps(options)
        call = Call("delete", gvk, "DELETE", gvk.path(ns, name), JSON, body, JSON, again=uid is not None)
        try:
            await self._call(call)
        except errors.NotFound:
            return False
        return True

    async def watch(
        self,
        gvk: GVK,
        ns: str | None = None,
        *,
        labels: str | None = None,
        fields: str | None = None,
        resource_version: str | None = None,
        metadata_only: bool = False,
        timeout_seconds: int = 290,
        bookmarks: bool = True,
        on_open: Callable[[], None] | None = None,
    ) -> AsyncGenerator[tuple[str, Manifest], None]:
        """Changes since ``resource_version``: (ADDED | MODIFIED | DELETED | BOOKMARK, object).

        Ends when the server ends it. Gone when the version is too old, ServerUnavailable when the connection breaks
        or stays silent (reason ``errors.SILENT``). A trouble in the middle of the stream is raised as the error it
        would have been as an answer. ``on_open`` is told when the server has accepted the watch.
        """
        query = {
            "watch": "true",
            "labelSelector": labels,
            "fieldSelector": fields,
            "resourceVersion": resource_version,
            "allowWatchBookmarks": "true" if bookmarks else None,
            "timeoutSeconds": str(timeout_seconds),
        }
        call = Call("watch", gvk, "GET", gvk.path(ns) + _query(query), _PARTIAL if metadata_only else JSON)
        async with contextlib.aclosing(self._transport.lines(self._as(call), timeout_seconds, on_open)) as lines:
            async for line in lines:
                yield _event(gvk, line)

    async def discover(self, api_version: str) -> set[str]:
        """The plurals that an API version ("apps/v1") serves; empty when it isn't there."""
        return {gvk.plural for gvk in await self.kinds(api_version)}

    async def kinds(self, api_version: str) -> tuple[GVK, ...]:
        """The kinds that an API version ("apps/v1") serves; none when it isn't there."""
        path = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
        try:
            found = await self._call(Call("discover", None, "GET", path, again=True))
        except errors.NotFound:
            return ()
        group, _, version = api_version.rpartition("/")
        return tuple(
            GVK(group, version, str(item.get("kind", "")), item["name"], bool(item.get("namespaced")))
            for item in found.get("resources") or ()
            if "/" not in item["name"]
        )

    async def apis(self) -> tuple[str, ...]:
        """All that is served, sorted: API versions ("apps/v1"), and kinds in them ("apps/v1/Deployment").

        Two requests, by aggregated discovery: https://kubernetes.io/docs/concepts/overview/kubernetes-api/.
        """
        calls = (Call("discover", None, "GET", path, _ALL, again=True) for path in ("/api", "/apis"))
        core, groups = await asyncio.gather(*map(self._call, calls))
        out = set()
        for group in (*(core.get("items") or ()), *(groups.get("items") or ())):
            for version in group.get("versions") or ():
                name = "/".join(filter(None, (group["metadata"].get("name"), version["version"])))
                kinds = (each.get("responseKind") or {} for each in version.get("resources") or ())
                out |= {name, *(f"{name}/{kind['kind']}" for kind in kinds if kind.get("kind"))}
        return tuple(sorted(out))

    async def version(self) -> Manifest:
        """The server's own /version."""
        return await self._call(Call("version", None, "GET", "/version", again=True))

    async def log(self, ns: str, pod: str, container: str, *, lines: int, limit: int = LOG_LIMIT) -> str:
        """A container's last lines, at most so many bytes. Raises ApiError, also when no kubelet answers."""
        query = _query({"container": container, "tailLines": str(lines), "limitBytes": str(limit)})
        return await self._transport.text(self._as(Call("log", POD, "GET", POD.path(ns, pod, "log") + query, "*/*")))

    async def exec(self, ns: str, pod: str, container: str, command: Sequence[str], seconds: float) -> Done:
        """Run a command in a container and wait for its end, for so long at most. Raises ApiError and TimeoutError."""
        words = [("container", container), ("stdout", "true"), ("stderr", "true"), *(("command", w) for w in command)]
        path = f"{POD.path(ns, pod, 'exec')}?{urlencode(words)}"
        return await self._transport.exec(path, seconds)

    async def close(self) -> None:
        """Let go of all connections, watches included."""
        await self._transport.close()


def _query(parameters: Mapping[str, str | None]) -> str:
    given = {key: value for key, value in parameters.items() if value is not None}
    return f"?{urlencode(given)}" if given else ""


def _named(gvk: GVK, manifest: Manifest) -> Manifest:
    """List items come without apiVersion and kind, bare metadata under another: all leave here under their own."""
    manifest["apiVersion"] = gvk.api_version
    manifest["kind"] = gvk.kind
    return manifest


def _event(gvk: GVK, line: bytes) -> tuple[str, Manifest]:
    try:
        event = orjson.loads(line)
        kind, manifest = event["type"], event["object"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise errors.ServerUnavailable(0, "BrokenWatch", "the watch sent what is not an event") from None
    if kind == "ERROR":
        raise errors.from_status(int(manifest.get("code") or 500), manifest)
    return kind, _named(gvk, manifest)
