"""The verbs of the Kubernetes API as an interface: the HTTP client and the memory driver both fulfil it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Literal, Protocol

from homeport.drivers.kubernetes.remote import Done
from homeport.drivers.kubernetes.types import GVK, Manifest, Manifests

Propagation = Literal["Background", "Foreground", "Orphan"]
PatchKind = Literal["merge", "json"]


class Api(Protocol):
    """One API server. Every method raises ``errors.ApiError`` or one of its children, and nothing else
    but what it says.

    Objects that are returned carry apiVersion and kind, also out of lists, also when only their metadata was asked for.
    """

    async def get(self, gvk: GVK, ns: str | None, name: str, *, metadata_only: bool = False) -> Manifest | None:
        """The object, or None when it isn't there."""
        ...

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
        """All objects of a kind (in all namespaces without ``ns``) and the resourceVersion to watch from."""
        ...

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
        """Server-side apply; answers the object's metadata, or all of it without ``metadata_only``."""
        ...

    async def create(
        self, gvk: GVK, ns: str | None, body: Manifest, *, dry_run: bool = False, manager: str = "homeport"
    ) -> Manifest:
        """Create; AlreadyExists when the name is taken."""
        ...

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
        ...

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
        ...

    def watch(
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
        """Changes since ``resource_version``: (ADDED, MODIFIED, DELETED or BOOKMARK, object); ends by itself.

        ``on_open`` is told when the server has accepted the watch.
        """
        ...

    async def log(self, ns: str, pod: str, container: str, *, lines: int, limit: int = ...) -> str:
        """The last ``lines`` of a container's log, at most ``limit`` bytes."""
        ...

    async def exec(self, ns: str, pod: str, container: str, command: Sequence[str], seconds: float) -> Done:
        """Run a command in a container and wait for its end; TimeoutError after ``seconds``."""
        ...

    async def discover(self, api_version: str) -> set[str]:
        """The plurals that an API version serves; empty when it isn't there."""
        ...

    async def kinds(self, api_version: str) -> tuple[GVK, ...]:
        """The kinds that an API version serves; none when it isn't there."""
        ...

    async def apis(self) -> tuple[str, ...]:
        """All that is served, sorted: API versions ("apps/v1"), and kinds in them ("apps/v1/Deployment")."""
        ...

    def impersonate(self, user: str, groups: Sequence[str] = ()) -> Api:
        """The same server, as somebody else: what ``user`` may do. Isn't to be closed."""
        ...

    async def version(self) -> Manifest:
        """The server's own /version."""
        ...

    async def close(self) -> None:
        """Let go of all connections."""
        ...
