"""One Kubernetes cluster as the engine sees it: caches of all we made, and of what we need to know about the rest."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from functools import partial

from homeport.api import labels
from homeport.api.labels import OwnerKey
from homeport.drivers.kubernetes import discovery, errors, types
from homeport.drivers.kubernetes.informer import EXPECTATION_LIFE, Informer
from homeport.drivers.kubernetes.protocol import Api
from homeport.drivers.kubernetes.types import GVK, Manifest
from homeport.drivers.kubernetes.watches import WatchSpec, default_watches, strangers

log = logging.getLogger(__name__)

STRANGERS_LIFE = 1.5
"""Seconds for which a list of strangers is good: within it, a rollout of many objects costs one list."""

LOOKS = (0.3, 1.0, 3.0, 10.0)
"""Seconds before each look at what the cluster serves, after a definition has changed."""
SYNC_PATIENCE = 20.0
"""Seconds that the cache of a kind which has just appeared may take to be filled before it is looked at again."""
SERVED = "SERVED"
"""The kind of event, without an object, that tells of CustomResourceDefinitions: other kinds are served now."""

OnClusterEvent = Callable[[GVK, str, Manifest | None, Manifest | None], None]
"""Told of each change: kind, ADDED, MODIFIED, DELETED or SERVED, the object before and after. Must not block."""


class Cluster:
    """The caches of one cluster, and what we just wrote that they haven't seen. ``on_event`` hears of every change."""

    def __init__(
        self,
        client: Api,
        watches: Sequence[WatchSpec] | None = None,
        on_event: OnClusterEvent | None = None,
        *,
        plane: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.client = client
        self.plane = plane
        """What the control plane is called here (``labels.plane_of``): empty in its own cluster."""
        self._specs = tuple(watches) if watches is not None else tuple(default_watches(plane))
        self._on_event = on_event
        self._clock = clock
        self._children: dict[GVK, Informer] = {}
        self._versions: dict[GVK, Informer] = {}
        self._pods: Informer | None = None
        self._classes: dict[GVK, Informer] = {}
        self._definitions: Informer | None = None
        self._all: dict[str, Informer] = {}
        self._optional = frozenset(spec.gvk for spec in self._specs if spec.optional)
        self._discovered: frozenset[GVK] = frozenset()
        self._later = discovery.LaterFields(client, self._definition_version)
        self._fields: frozenset[str] = frozenset()
        self._told: frozenset[str] = frozenset()
        self._looking: asyncio.Task[None] | None = None
        self._look_again = False
        self._going: dict[str, float] = {}
        self._strangers: dict[tuple[GVK, str], tuple[float, asyncio.Task[frozenset[str]]]] = {}
        self._started = False

    # -- what is there --------------------------------------------------------------------------------------------

    def has(self, gvk: GVK) -> bool:
        """Whether this kind's children are watched; an optional kind is only where the cluster serves it."""
        return gvk in self._children

    def get(self, gvk: GVK, ns: str | None, name: str) -> Manifest | None:
        """A child of ours as last seen; not to be changed. KeyError for a kind that isn't watched."""
        try:
            informer = self._children[gvk]
        except KeyError:
            raise KeyError(f"{gvk} is not watched in this cluster; ask the client") from None
        return informer.get(ns, name)

    def children(self, owner: OwnerKey) -> list[Manifest]:
        """All children of one resource of ours, of all kinds (Pods aside); not to be changed."""
        return [child for informer in self._children.values() for child in informer.list(owner)]

    def children_of(self, gvk: GVK, owner: OwnerKey | None = None) -> list[Manifest]:
        """The children of one kind: of one owner, or all that are watched."""
        return list(self._children[gvk].list(owner)) if gvk in self._children else []

    def pods(self, project: str, application: str, environment: str | None = None) -> list[Manifest]:
        """The Pods of an application (in one of its environments), trimmed as ``trim_pod`` does."""
        if self._pods is None:
            return []
        found = list(self._pods.list((project, application)))
        if environment is None:
            return found
        return [pod for pod in found if pod["metadata"]["labels"].get(labels.ENVIRONMENT) == environment]

    def metadata(self, gvk: GVK, ns: str, name: str) -> Manifest | None:
        """A Secret or ConfigMap, ours or a user's, of which only the metadata is sure to be there."""
        for informers in (self._versions, self._children):
            informer = informers.get(gvk)
            found = informer.get(ns, name) if informer is not None else None
            if found is not None:
                return found
        return None

    def user_metadata(self, gvk: GVK, ns: str) -> list[Manifest]:
        """The Secrets or ConfigMaps that users made in a namespace, trimmed as ``trim_version`` does."""
        return list(self._versions[gvk].list(ns)) if gvk in self._versions else []

    def secret_version(self, ns: str, name: str) -> str | None:
        """The resourceVersion of a Secret, ours or a user's; None when it isn't there."""
        return _version(self.metadata(types.SECRET, ns, name))

    def config_map_version(self, ns: str, name: str) -> str | None:
        """The resourceVersion of a ConfigMap, ours or a user's; None when it isn't there."""
        return _version(self.metadata(types.CONFIG_MAP, ns, name))

    def classes(self, gvk: GVK) -> list[Manifest]:
        """The classes of one kind (Ingress, Gateway, Storage, VolumeSnapshot), whoever made them; not to be changed."""
        return list(self._classes[gvk].list()) if gvk in self._classes else []

    def served(self) -> frozenset[str]:
        """The optional kinds of others that the cluster serves and that may be read, as ``group/version/Kind``, and
        their later fields."""
        others = (gvk for gvk in self._discovered if gvk.group != labels.GROUP)
        there = {gvk for gvk in others if (found := self._informer(gvk)) is not None and found.usable}
        fields = (name for name in self._fields if discovery.LATER_FIELDS[name][0] in there)
        return frozenset([*(f"{gvk.api_version}/{gvk.kind}" for gvk in there), *fields])

    async def strangers(self, gvk: GVK, ns: str | None) -> frozenset[str]:
        """The names of that kind in that namespace that Homeport didn't make; at most 1.5 s old. Raises ApiError."""
        key = (gvk, ns or "")
        now = self._clock()
        known = self._strangers.get(key)
        if known is None or now >= known[0]:
            if len(self._strangers) > 256:
                self._strangers = {key: entry for key, entry in self._strangers.items() if now < entry[0]}
            task = asyncio.create_task(self._list_strangers(gvk, ns))
            task.add_done_callback(partial(self._strangers_listed, key))
            known = self._strangers[key] = (now + STRANGERS_LIFE, task)
        # Shielded: whoever asked first may be cancelled, the others still wait for the answer.
        return await asyncio.shield(known[1])

    async def _list_strangers(self, gvk: GVK, ns: str | None) -> frozenset[str]:
        found = await asyncio.gather(
            *(self.client.list(gvk, ns, labels=selector, metadata_only=True) for selector in strangers(self.plane))
        )
        return frozenset(item["metadata"]["name"] for items, _ in found for item in items)

    def _strangers_listed(self, key: tuple[GVK, str], task: asyncio.Task[frozenset[str]]) -> None:
        if task.cancelled() or task.exception() is not None:
            known = self._strangers.get(key)
            if known is not None and known[1] is task:
                del self._strangers[key]

    # -- what we wrote --------------------------------------------------------------------------------------------

    def expects(self, gvk: GVK, ns: str | None, name: str, version: str) -> None:
        """Remember the resourceVersion that a write of ours was answered with: until seen, the cache is behind."""
        informer = self._children.get(gvk)
        if informer is not None:
            informer.expects(ns, name, version)

    def expects_gone(self, uid: str) -> None:
        """Remember a delete of ours: until it is seen, the object with that uid is as good as gone."""
        now = self._clock()
        if len(self._going) > 1024:
            self._going = {uid: until for uid, until in self._going.items() if now < until}
        self._going[uid] = now + EXPECTATION_LIFE

    def is_going(self, uid: str) -> bool:
        """Whether we deleted the object with that uid and the watch hasn't shown it yet."""
        until = self._going.get(uid)
        return until is not None and self._clock() < until

    def is_stale(self, gvk: GVK, ns: str | None, name: str) -> bool:
        """Whether ``get`` is behind our own last write to that object, or our delete of it."""
        informer = self._children.get(gvk)
        if informer is None:
            return False
        if informer.is_stale(ns, name):
            return True
        known = informer.get(ns, name) if self._going else None
        return known is not None and self.is_going(known["metadata"].get("uid", ""))

    def pretend(self, manifest: Manifest) -> None:
        """Let a Secret, ConfigMap or Namespace that isn't there count as there, for a plan that is never applied."""
        gvk = types.by_kind(manifest["apiVersion"], manifest["kind"]) if is_known(manifest) else None
        informer = self._versions.get(gvk) if gvk is not None else None
        if gvk is None or informer is None:
            return
        namespace, name = manifest["metadata"].get("namespace", ""), manifest["metadata"]["name"]
        if self.metadata(gvk, namespace, name) is None:
            informer.pretend({**manifest, "metadata": {"resourceVersion": "0", "uid": "", **manifest["metadata"]}})

    # -- its life -------------------------------------------------------------------------------------------------

    async def start(self, timeout: float = 60.0) -> None:  # noqa: ASYNC109 - the caller's patience, named in the error
        """Discover, list and watch. Raises TimeoutError that says which kinds are not there after ``timeout`` seconds.

        The watches go on then; ``synced`` tells when the rest has arrived.
        """
        self._started = True
        try:
            async with asyncio.timeout(timeout):
                await self.refresh()
                for informer in list(self._all.values()):
                    await informer.synced.wait()
            self._told = self.served()
        except TimeoutError:
            raise TimeoutError(f"not synced after {timeout:g} s: {', '.join(self.unsynced())}") from None

    async def refresh(self) -> None:
        """Begin to watch what isn't yet, and the optional kinds that have appeared since; let go of those that have
        gone. Raises ApiError."""
        found = await discovery.served(self.client, self._optional)
        # The API server's own restart can hide a kind for a moment: its definition tells.
        found |= {gvk for gvk in self._discovered - found if self._definition_version(discovery.definition_of(gvk))}
        self._fields = await self._later.of(found)
        for spec in self._specs:
            if spec.optional and spec.gvk not in found:
                await self._unwatch(spec)
            elif spec.name not in self._all:
                self._watch(spec)
        self._discovered = found

    def look_again(self) -> None:
        """Find out soon, in the background, what the cluster serves now; ``on_event`` hears if that has changed."""
        self._look_again = True
        if self._started and (self._looking is None or self._looking.done()):
            self._looking = asyncio.create_task(self._look(), name="discover")

    async def _look(self) -> None:
        """A definition is served a moment after it is made, and its own watch a moment later: look a few times."""
        while self._look_again:
            self._look_again = False
            for pause in LOOKS:
                await asyncio.sleep(pause)
                try:
                    await self.refresh()
                    async with asyncio.timeout(SYNC_PATIENCE):
                        for informer in list(self._all.values()):
                            await informer.synced.wait()
                except (errors.ApiError, TimeoutError) as error:
                    log.info("what the cluster serves can't be told: %s", error)
                self._tell_served()

    def _tell_served(self) -> None:
        now = self.served()
        if now != self._told:
            log.info("the cluster serves now: %s", ", ".join(sorted(now)) or "no optional kind")
            self._told = now
            if self._on_event is not None:
                self._on_event(types.CUSTOM_RESOURCE_DEFINITION, SERVED, None, None)

    def _definition_version(self, name: str) -> str | None:
        return _version(self._definitions.get(None, name)) if self._definitions is not None else None

    def _informer(self, gvk: GVK) -> Informer | None:
        return self._children.get(gvk, self._classes.get(gvk))

    async def _unwatch(self, spec: WatchSpec) -> None:
        informer = self._all.pop(spec.name, None)
        self._children.pop(spec.gvk, None)
        self._classes.pop(spec.gvk, None)
        if informer is not None:
            await informer.stop()

    def _watch(self, spec: WatchSpec) -> None:
        informer = Informer(
            self.client,
            spec.gvk,
            labels=spec.labels,
            metadata_only=spec.metadata_only,
            trim=spec.trim,
            index=spec.index,
            on_event=partial(self._event, spec.gvk) if spec.role != "definition" else self._definition_event,
            soft=spec.soft or spec.optional,
            clock=self._clock,
        )
        self._all[spec.name] = informer
        if spec.role == "child":
            self._children[spec.gvk] = informer
        elif spec.role == "pod":
            self._pods = informer
        elif spec.role == "class":
            self._classes[spec.gvk] = informer
        elif spec.role == "definition":
            self._definitions = informer
        else:
            self._versions[spec.gvk] = informer
        informer.start()

    def _event(self, gvk: GVK, kind: str, old: Manifest | None, new: Manifest | None) -> None:
        if self._going:
            seen = old if new is None else new
            if seen is not None and (new is None or "deletionTimestamp" in seen["metadata"]):
                self._going.pop(seen["metadata"].get("uid", ""), None)
        if self._on_event is not None:
            self._on_event(gvk, kind, old, new)

    def _definition_event(self, kind: str, old: Manifest | None, new: Manifest | None) -> None:
        body = new or old
        names = {discovery.definition_of(gvk) for gvk in self._optional}
        if body is not None and body["metadata"]["name"] in names:
            self.look_again()
        if self._on_event is not None:
            # Charts ask for kinds that are nothing to us.
            self._on_event(types.CUSTOM_RESOURCE_DEFINITION, kind, old, new)

    def synced(self) -> bool:
        """Whether every cache has been filled once."""
        return self._started and bool(self._all) and all(informer.synced.is_set() for informer in self._all.values())

    def unsynced(self) -> list[str]:
        """The kinds whose cache isn't filled, each with what the API server said last."""
        waiting = [(name, informer) for name, informer in self._all.items() if not informer.synced.is_set()]
        return [f"{name} ({informer.error})" if informer.error else name for name, informer in waiting]

    def ages(self) -> dict[str, float]:
        """Seconds since each watch last gave a sign of life, by ``WatchSpec.name``."""
        return {name: informer.age() for name, informer in self._all.items()}

    async def stop(self) -> None:
        """End all watches; the caches stay."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        await asyncio.gather(*(informer.stop() for informer in self._all.values()))
        for _, task in self._strangers.values():
            task.cancel()
        self._strangers.clear()


def is_known(manifest: Manifest) -> bool:
    """Whether it is of a kind that Homeport writes or watches."""
    return any(
        gvk.kind == manifest.get("kind") and gvk.api_version == manifest.get("apiVersion") for gvk in types.KINDS
    )


def _version(manifest: Manifest | None) -> str | None:
    return manifest["metadata"]["resourceVersion"] if manifest is not None else None
