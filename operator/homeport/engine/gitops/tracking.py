"""Watches what sources applied: whatever kind it is, found by the labels that say whose it is.

One watch for each kind that any source applied, started when it is first asked for and ended when no source has the
kind any more. Kept of each object: whose it is, how it is, and its body as bytes, without what the server and
controllers write into it (``status``, ``managedFields``, versions); of Secrets not the values but a keyed digest of
each, whose key is this process's own. A change that leaves the body and the health as they are wakes nobody.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import secrets
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any

import orjson

from homeport.api import labels
from homeport.api.labels import OwnerKey
from homeport.drivers.kubernetes import errors, types
from homeport.drivers.kubernetes.informer import Informer
from homeport.drivers.kubernetes.protocol import Api
from homeport.drivers.kubernetes.types import GVK, Manifest
from homeport.plan import names
from homeport.plan.gitops import health
from homeport.plan.gitops.objects import source_of
from homeport.plan.health import Verdict

log = logging.getLogger(__name__)

Wake = Callable[[OwnerKey], None]
"""Asks for a look at a source. Must not block."""

SELECTOR = labels.SOURCE_NAME
SYNC_PATIENCE = 10.0
"""Seconds that the cache of a kind may take to be filled; until then its objects are read one by one."""

_BODY, _PRINT, _HEALTH = "body", "print", "health"
_VOLATILE = frozenset(
    {"uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "selfLink", "deletionTimestamp"}
) | {"deletionGracePeriodSeconds"}


class Tracker:
    """The caches of everything that sources applied in one cluster."""

    def __init__(self, client: Api, wake: Wake) -> None:
        self._client = client
        self._wake = wake
        self._key = secrets.token_bytes(16)
        self._informers: dict[GVK, Informer] = {}
        self._users: dict[GVK, set[OwnerKey]] = {}
        self._sources: dict[Hashable, OwnerKey] = {}
        self._stopping: set[asyncio.Task[None]] = set()
        self._read: dict[GVK, dict[tuple[str, str], Manifest]] = {}
        """What was read one by one, of kinds that can't be watched."""

    # -- who needs what -------------------------------------------------------------------------------------------

    async def use(self, source: OwnerKey, gvks: Iterable[GVK], *, also: bool = False) -> None:
        """From now on this source has objects of these kinds, and of no other unless ``also``; waits a while until
        they are known."""
        wanted = set(gvks)
        self._sources[source.namespace, names.label_value(source.name)] = source
        for gvk in wanted:
            self._users.setdefault(gvk, set()).add(source)
            informer = self._informers.get(gvk)
            if informer is not None and isinstance(informer.error, errors.NotFound):
                self._end(gvk)  # it is served by now: don't wait for the next look of a watch that found nothing
                informer = None
            if informer is None:
                self._begin(gvk)
        for gvk in [gvk for gvk, users in self._users.items() if source in users and gvk not in wanted and not also]:
            self._leave(gvk, source)
        waiting = [self._informers[gvk].synced.wait() for gvk in wanted if not self._informers[gvk].synced.is_set()]
        if waiting:
            try:
                async with asyncio.timeout(SYNC_PATIENCE):
                    await asyncio.gather(*waiting)
            except TimeoutError:
                log.info("GitSource %s/%s: not all kinds that it has are known yet", source.namespace, source.name)

    def forget(self, source: OwnerKey) -> None:
        """A source is gone: what only it had isn't watched any more."""
        self._sources.pop((source.namespace, names.label_value(source.name)), None)
        for gvk in [gvk for gvk, users in self._users.items() if source in users]:
            self._leave(gvk, source)

    def _begin(self, gvk: GVK) -> None:
        informer = Informer(
            self._client,
            gvk,
            labels=SELECTOR,
            trim=self.trimmed,
            index=source_of,
            on_event=lambda kind, old, new: self._event(gvk, old, new),
            soft=True,
        )
        self._informers[gvk] = informer
        informer.start()

    def _leave(self, gvk: GVK, source: OwnerKey) -> None:
        users = self._users[gvk]
        users.discard(source)
        if not users:
            del self._users[gvk]
            self._end(gvk)

    def _end(self, gvk: GVK) -> None:
        self._read.pop(gvk, None)
        informer = self._informers.pop(gvk, None)
        if informer is not None:
            task = asyncio.get_running_loop().create_task(informer.stop())
            self._stopping.add(task)
            task.add_done_callback(self._stopping.discard)

    async def stop(self) -> None:
        """End all watches."""
        await asyncio.gather(*(informer.stop() for informer in self._informers.values()), *self._stopping)
        self._informers.clear()
        self._users.clear()

    # -- what is there --------------------------------------------------------------------------------------------

    def knows(self, gvk: GVK) -> bool:
        """Whether what sources applied of a kind is all here: what isn't here, isn't there or isn't a source's."""
        informer = self._informers.get(gvk)
        return informer is not None and informer.usable

    def get(self, gvk: GVK, ns: str | None, name: str) -> Manifest | None:
        """An object that some source applied, as last seen: ``body``, ``print`` and ``health`` read it."""
        informer = self._informers.get(gvk)
        return informer.get(ns if gvk.namespaced else "", name) if informer is not None else None

    def last(self, gvk: GVK, ns: str | None, name: str) -> Manifest | None:
        """As ``get``; of a kind that can't be watched, as it was last read."""
        if self.knows(gvk):
            return self.get(gvk, ns, name)
        return self._read.get(gvk, {}).get(((ns or "") if gvk.namespaced else "", name))

    def read(self, gvk: GVK, live: Manifest) -> Manifest:
        """What is kept of an object that was read because the caches can't tell of it."""
        kept = self.trimmed(live)
        if not self.knows(gvk):
            self._read.setdefault(gvk, {})[kept["metadata"].get("namespace", ""), kept["metadata"]["name"]] = kept
        return kept

    def is_stale(self, gvk: GVK, ns: str | None, name: str) -> bool:
        """Whether ``get`` is behind our own last write to an object."""
        informer = self._informers.get(gvk)
        return informer is not None and informer.is_stale(ns if gvk.namespaced else "", name)

    def wrote(self, gvk: GVK, ns: str | None, name: str, version: str) -> None:
        """A write of ours was answered with this resourceVersion: until that is seen, the cache is behind."""
        informer = self._informers.get(gvk)
        if informer is not None and informer.usable:
            informer.expects(ns if gvk.namespaced else "", name, version)

    def trimmed(self, live: Manifest) -> Manifest:
        """What is kept of an object."""
        metadata = live["metadata"]
        body = orjson.dumps(self.bare(live), option=orjson.OPT_SORT_KEYS)
        kept = {key: metadata[key] for key in ("namespace", "name", "uid", "resourceVersion") if key in metadata}
        found = metadata.get("labels") or {}
        kept["labels"] = {key: found[key] for key in (labels.SOURCE_NAMESPACE, labels.SOURCE_NAME) if key in found}
        if metadata.get("deletionTimestamp"):
            kept["deletionTimestamp"] = metadata["deletionTimestamp"]
        return {
            "apiVersion": live["apiVersion"],
            "kind": live["kind"],
            "metadata": kept,
            _BODY: body,
            _PRINT: hashlib.blake2b(body, digest_size=12).hexdigest(),
            _HEALTH: health.verdict(live),
        }

    def bare(self, live: Mapping[str, Any]) -> Manifest:
        """An object without what nobody declares; a Secret without its values."""
        metadata = {key: value for key, value in live["metadata"].items() if key not in _VOLATILE}
        return {**{key: value for key, value in self.veiled(live).items() if key != "status"}, "metadata": metadata}

    def veiled(self, manifest: Mapping[str, Any]) -> Manifest:
        """A Secret with a keyed digest in the place of each value; anything else as it is."""
        if manifest.get("kind") != "Secret" or manifest.get("apiVersion") != types.SECRET.api_version:
            return dict(manifest)
        data = manifest.get("data") or {}
        return {**manifest, "data": {key: self._veil(value) for key, value in data.items()}}

    def _veil(self, value: Any) -> str:
        return hmac.new(self._key, str(value).encode(), hashlib.sha256).hexdigest()

    # -- what happens ---------------------------------------------------------------------------------------------

    def _event(self, gvk: GVK, old: Manifest | None, new: Manifest | None) -> None:
        informer = self._informers.get(gvk)
        if informer is None or not informer.synced.is_set():
            return  # the first list tells nothing that whoever asked for it doesn't see
        seen = new if new is not None else old
        assert seen is not None
        source = self._sources.get(source_of(seen))
        if source is not None and _is_news(old, new):
            self._wake(source)


def _is_news(old: Manifest | None, new: Manifest | None) -> bool:
    """Whether somebody has to look: not at a status that says nothing else than before. Our own writes are news, too:
    how an object is can't be told before it is seen."""
    if old is None or new is None or new["metadata"].get("deletionTimestamp"):
        return True
    return health_of(old) != health_of(new) or print_of(old) != print_of(new)


def body_of(kept: Manifest) -> Manifest:
    """The object of which ``kept`` was kept, as ``Tracker.bare`` leaves it."""
    body: Manifest = orjson.loads(kept[_BODY])
    return body


def print_of(kept: Manifest) -> str:
    """A digest of its body."""
    return str(kept[_PRINT])


def health_of(kept: Manifest) -> Verdict:
    """How it is."""
    found: Verdict = kept[_HEALTH]
    return found


def same_body(kept: Manifest, other: Mapping[str, Any], tracker: Tracker) -> bool:
    """Whether another state of the object has the very same body."""
    return bool(orjson.dumps(tracker.bare(other), option=orjson.OPT_SORT_KEYS) == kept[_BODY])
