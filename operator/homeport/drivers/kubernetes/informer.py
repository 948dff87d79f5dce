"""One kind, listed once and watched from there on into a cache.

The loop knows no way out but ``stop``: a closed watch is resumed where it ended, 410 Gone lists again, everything
else is tried again after a jittered pause. Listing again tells of real differences only, so that a lost connection
costs no reconciliation. Nothing is kept besides the objects, an index over them, and our own writes of the last
seconds that the watch hasn't shown yet.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Hashable, Iterable
from typing import cast

from homeport.drivers.kubernetes import errors
from homeport.drivers.kubernetes.protocol import Api
from homeport.drivers.kubernetes.types import GVK, Manifest, version_reached

log = logging.getLogger(__name__)

Trim = Callable[[Manifest], Manifest]
Index = Callable[[Manifest], Hashable | None]
OnEvent = Callable[[str, Manifest | None, Manifest | None], None]
"""Told of each change: ADDED, MODIFIED or DELETED, the object before, the object after. Must not block."""

Key = tuple[str, str]
"""Namespace ("" for cluster-scoped kinds) and name."""

SHORTEST_PAUSE, LONGEST_PAUSE = 0.25, 5.0
"""Seconds between tries while the API server fails; the longest is what catching up after an outage may cost."""
ABSENT_PAUSE = 30.0
"""Seconds between looks for a kind that the API server doesn't serve."""
EXPECTATION_LIFE = 30.0
"""Seconds after which a write of ours that the watch never showed (it left the selector) is no longer waited for."""


def drop_managed_fields(manifest: Manifest) -> Manifest:
    """The default trim: managedFields is half of many an object, and nobody here reads it."""
    manifest["metadata"].pop("managedFields", None)
    return manifest


class Informer:
    """The cache of one kind, in one namespace or all, filtered by a label selector.

    ``trim`` sees each object before it is kept and may change it; ``index`` gives the key that ``list`` finds it
    under (None: not indexed). A ``soft`` one counts as synced when it may not be read. ``age`` is in seconds.
    ``clock`` is monotonic, in seconds.
    """

    def __init__(
        self,
        client: Api,
        gvk: GVK,
        *,
        labels: str | None = None,
        namespace: str | None = None,
        metadata_only: bool = False,
        trim: Trim | None = None,
        index: Index | None = None,
        on_event: OnEvent | None = None,
        soft: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.gvk = gvk
        self.synced = asyncio.Event()
        self.error: errors.ApiError | None = None
        self._client = client
        self._labels = labels
        self._namespace = namespace
        self._metadata_only = metadata_only
        self._trim = trim or drop_managed_fields
        self._index = index
        self._on_event = on_event
        self._soft = soft
        self._clock = clock
        self._seen = clock()
        self._version: str | None = None
        self._listed = False
        self._objects: dict[Key, Manifest] = {}
        self._indexed: dict[Hashable, dict[Key, Manifest]] = {}
        self._expected: dict[Key, tuple[str, float]] = {}
        self._task: asyncio.Task[None] | None = None

    # -- what it knows --------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._objects)

    def get(self, ns: str | None, name: str) -> Manifest | None:
        """The object as last seen; not to be changed."""
        return self._objects.get((ns or "", name))

    def list(self, key: Hashable = None) -> Iterable[Manifest]:
        """The objects under an index key; all of them for None. Not to be changed; copy it before awaiting."""
        if key is None:
            return self._objects.values()
        found = self._indexed.get(key)
        return found.values() if found is not None else ()

    @property
    def usable(self) -> bool:
        """Whether the kind is there: it has been listed, and is still served.

        Rights that are missing for a while, as when a role is replaced, don't make it go: what was there still is.
        """
        return self._listed and not isinstance(self.error, errors.NotFound)

    def age(self) -> float:
        """Seconds since the API server last gave a sign of life here: accepted a watch, sent an event or a bookmark."""
        return self._clock() - self._seen

    def expects(self, ns: str | None, name: str, version: str) -> None:
        """Remember a write of ours: until the watch has shown ``version`` or a newer one, the cache is behind."""
        key = (ns or "", name)
        known = self._objects.get(key)
        if known is not None and version_reached(known["metadata"]["resourceVersion"], version):
            return
        self._expected[key] = (version, self._clock() + EXPECTATION_LIFE)

    def is_stale(self, ns: str | None, name: str) -> bool:
        """Whether a write of ours to that object hasn't come back through the watch yet."""
        key = (ns or "", name)
        expected = self._expected.get(key)
        if expected is None:
            return False
        if self._clock() < expected[1]:
            return True
        del self._expected[key]
        return False

    # -- its life -------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to list and watch, in a task of its own."""
        if self._task is None:
            self._task = asyncio.create_task(self.run(), name=f"informer {self.gvk}")

    async def stop(self) -> None:
        """End the task; the cache stays as it is."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def run(self) -> None:
        """List and watch until cancelled."""
        failures = 0
        while True:
            started = self._clock()
            listed = self._version is None
            try:
                if listed:
                    await self._relist()
                await self._follow()
                self.error = None
                # A proxy that ends every watch at once must not make us spin.
                failures = 0 if self._clock() - started > 1.0 else failures + 1
            except errors.Gone as error:
                log.info("watch %s: %s; listing again", self.gvk, error)
                self._version = None
                failures = failures + 1 if listed else 0
            except errors.NotFound as error:
                self._absent(error)
                await asyncio.sleep(ABSENT_PAUSE * random.uniform(0.8, 1.2))  # noqa: S311 - spreads load, no secret
                continue
            except errors.ApiError as error:
                if self._soft and isinstance(error, errors.Forbidden):
                    self._denied(error)
                    await asyncio.sleep(ABSENT_PAUSE * random.uniform(0.8, 1.2))  # noqa: S311
                    continue
                lasted = self._clock() - started
                failures = failures + 1 if lasted < LONGEST_PAUSE else 1
                if error.reason == errors.SILENT and lasted >= LONGEST_PAUSE:
                    failures = 0  # opened anew at once: that tells whether anybody is there
                else:
                    self._failed(error, failures)
            except Exception:
                # An answer that breaks every promise of the API: say so, forget where we were, and go on.
                log.exception("watch %s: the answer makes no sense; listing again", self.gvk)
                self._version = None
                failures += 1
            if failures:
                pause = min(LONGEST_PAUSE, SHORTEST_PAUSE * 2.0 ** min(failures - 1, 10))
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311

    def _failed(self, error: errors.ApiError, failures: int) -> None:
        log.log(logging.DEBUG if self.error is not None else logging.WARNING, "watch %s: %s", self.gvk, error)
        self.error = error
        if failures >= 4 and error.status != 0:
            # After a restore of etcd our resourceVersion can lie in its future, and no watch from there ever works.
            self._version = None

    def _absent(self, error: errors.NotFound) -> None:
        """The kind isn't served (any more): its definition was removed, and its objects with it."""
        self.error = error
        self._version = None
        self._seen = self._clock()
        for key in list(self._objects):
            self._remove(key, None)
        self.synced.set()

    def _denied(self, error: errors.Forbidden) -> None:
        """It may not be read: who waits for it goes on without; what was seen while it might be is kept."""
        self._failed(error, 0)
        self._seen = self._clock()
        self.synced.set()

    async def _relist(self) -> None:
        items, version = await self._client.list(
            self.gvk, self._namespace, labels=self._labels, metadata_only=self._metadata_only
        )
        self._seen = self._clock()
        gone = set(self._objects)
        for item in items:
            gone.discard(self._put(item))
        for key in gone:
            self._remove(key, None)
        self._reached(version)
        self._version = version
        self._listed = True
        self.error = None
        self.synced.set()

    def _opened(self) -> None:
        self._seen = self._clock()
        self.error = None

    async def _follow(self) -> None:
        stream = self._client.watch(
            self.gvk,
            self._namespace,
            labels=self._labels,
            resource_version=self._version,
            metadata_only=self._metadata_only,
            on_open=self._opened,
        )
        try:
            async for kind, manifest in stream:
                self._seen = self._clock()
                metadata = manifest["metadata"]
                self._version = metadata["resourceVersion"]
                if kind == "DELETED":
                    self._remove((metadata.get("namespace", ""), metadata["name"]), manifest)
                elif kind == "BOOKMARK":
                    self._reached(self._version)
                else:
                    self._put(manifest)
        finally:
            await stream.aclose()

    def pretend(self, manifest: Manifest) -> None:
        """Let an object count as there that isn't; the next list forgets it."""
        self._put(manifest)

    # -- the cache ------------------------------------------------------------------------------------------------

    def _put(self, manifest: Manifest) -> Key:
        metadata = manifest["metadata"]
        key: Key = (metadata.get("namespace", ""), metadata["name"])
        old = self._objects.get(key)
        version = metadata["resourceVersion"]
        if self._expected:
            self._arrived(key, version)
        if old is not None and old["metadata"]["resourceVersion"] == version:
            return key
        new = self._trim(manifest)
        if old is not None and old["metadata"].get("uid") != metadata.get("uid"):
            # Deleted and made again between two looks: whoever waits for the old one must hear of its end.
            self._unindex(key, old)
            self._tell("DELETED", old, None)
            old = None
        self._objects[key] = new
        if self._index is not None:
            if old is not None:
                self._unindex(key, old)
            under = self._index(new)
            if under is not None:
                self._indexed.setdefault(under, {})[key] = new
        self._tell("ADDED" if old is None else "MODIFIED", old, new)
        return key

    def _remove(self, key: Key, last: Manifest | None) -> None:
        """Forget an object; ``last`` is its last state, when the watch told it."""
        if self._expected and last is not None:
            self._arrived(key, last["metadata"]["resourceVersion"])
        old = self._objects.pop(key, None)
        if old is not None:
            self._unindex(key, old)
            self._tell("DELETED", old, None)

    def _unindex(self, key: Key, old: Manifest) -> None:
        if self._index is None:
            return
        under = self._index(old)
        found = self._indexed.get(under)
        if found is not None:
            found.pop(key, None)
            if not found:
                del self._indexed[under]

    def _arrived(self, key: Key, version: str) -> None:
        expected = self._expected.get(key)
        if expected is None:
            return
        # Versions that aren't numbers cannot be ordered: then any later event is taken for ours.
        comparable = version.isdecimal() and expected[0].isdecimal()
        if not comparable or version_reached(version, expected[0]):
            del self._expected[key]

    def _reached(self, version: str) -> None:
        """All changes up to ``version`` have been seen."""
        if self._expected:
            done = [key for key, (expected, _) in self._expected.items() if version_reached(version, expected)]
            for key in done:
                del self._expected[key]

    def _tell(self, kind: str, old: Manifest | None, new: Manifest | None) -> None:
        if self._on_event is None:
            return
        try:
            self._on_event(kind, old, new)
        except Exception:
            # One listener's mistake over one object must not blind us to all others.
            named = cast("Manifest", new if new is not None else old)["metadata"]
            log.exception("%s %s/%s: the event was not handled", self.gvk, named.get("namespace"), named["name"])
