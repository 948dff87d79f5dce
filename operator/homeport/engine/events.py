"""Kubernetes Events: written on transitions only, by one task in the background, never waited for.

``record`` puts an Event into a bounded line and returns at once; what doesn't fit, comes too often or says again
what was just said, is counted and dropped. An Event is a help to a reader, never something the engine relies on.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
import re
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Literal

from homeport.drivers.kubernetes import errors, types
from homeport.drivers.kubernetes.protocol import Api
from homeport.drivers.kubernetes.types import Manifest
from homeport.engine.bucket import Bucket

log = logging.getLogger(__name__)

MESSAGE_LENGTH = 1024
"""The API server's own bound, in characters."""
_NOTED = 4096
"""How many objects are remembered for deduplication and rate limits."""
_CREDENTIALS = re.compile(r"(?i)(?<=://)[^/@\s]+(?=@)|(?<=bearer )\S+")


class EventRecorder:
    """Writes Events of one component. ``dropped`` counts what wasn't written, by why.

    An object may have ``object_burst`` Events at once and one in ``object_seconds`` afterwards; all together
    ``rate`` a second after ``burst``. The same reason and message of an object is said once in ``repeat`` seconds.
    """

    def __init__(
        self,
        client: Api,
        *,
        component: str = "homeport",
        instance: str = "homeport",
        size: int = 1000,
        rate: float = 20.0,
        burst: float = 400.0,
        object_seconds: float = 30.0,
        object_burst: float = 15.0,
        repeat: float = 300.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.dropped: Counter[str] = Counter()
        self.on_event: Callable[[Manifest], None] = lambda event: None
        """Told of each Event that is taken, before it is written."""
        self._client = client
        self._source = {"component": component}
        self._instance = instance
        self._clock = clock
        self._queue: asyncio.Queue[tuple[str, Manifest]] = asyncio.Queue(size)
        self._all = Bucket(burst=burst, rate=rate, now=clock())
        self._object_rate, self._object_burst = 1.0 / object_seconds, object_burst
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()
        self._said: OrderedDict[tuple[str, str, str], float] = OrderedDict()
        self._repeat = repeat
        self._serial = time.time_ns()
        self._task: asyncio.Task[None] | None = None

    def record(
        self, about: Mapping[str, Any], reason: str, message: str, *, type: Literal["Normal", "Warning"] = "Normal"
    ) -> bool:
        """Say about the object ``about`` that ``reason`` (of the closed list) has come to be; whether it was taken.

        ``about`` needs apiVersion, kind and metadata (name, uid; namespace). Credentials in addresses are blotted out.
        """
        metadata = about["metadata"]
        uid = str(metadata.get("uid") or metadata["name"])
        message = _CREDENTIALS.sub("***", message)[:MESSAGE_LENGTH]
        now = self._clock()
        refused = self._refuse(uid, reason, message, now)
        if refused is None and self._queue.full():
            refused = "full"
        if refused is not None:
            self.dropped[refused] += 1
            return False
        _remember(self._said, (uid, reason, message), now)
        namespace, event = self._event(about, reason, message, type)
        self._queue.put_nowait((namespace, event))
        self.on_event(event)
        return True

    def _refuse(self, uid: str, reason: str, message: str, now: float) -> str | None:
        said = self._said.get((uid, reason, message))
        if said is not None and now - said < self._repeat:
            return "repeated"
        bucket = self._buckets.get(uid) or Bucket(burst=self._object_burst, rate=self._object_rate, now=now)
        _remember(self._buckets, uid, bucket)
        return None if bucket.take(now) and self._all.take(now) else "rate"

    def _event(self, about: Mapping[str, Any], reason: str, message: str, type_: str) -> tuple[str, Manifest]:
        metadata = about["metadata"]
        namespace = metadata.get("namespace") or "default"
        now = datetime.datetime.now(datetime.UTC)
        seconds = now.strftime("%Y-%m-%dT%H:%M:%SZ")
        self._serial += 1
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{metadata['name'][:200]}.{self._serial:x}", "namespace": namespace},
            "involvedObject": {
                "apiVersion": about["apiVersion"],
                "kind": about["kind"],
                "name": metadata["name"],
                **{field: metadata[field] for field in ("namespace", "uid") if metadata.get(field)},
            },
            "reason": reason,
            "message": message,
            "type": type_,
            "source": self._source,
            "reportingComponent": self._source["component"],
            "reportingInstance": self._instance,
            "firstTimestamp": seconds,
            "lastTimestamp": seconds,
            "count": 1,
        }
        return namespace, event

    def start(self) -> None:
        """Begin to write, in a task of its own."""
        if self._task is None:
            self._task = asyncio.create_task(self._write(), name="events")

    async def stop(self, patience: float = 2.0) -> None:
        """Write what is in line for at most ``patience`` seconds, and end."""
        task, self._task = self._task, None
        if task is None:
            return
        try:
            async with asyncio.timeout(patience):
                await self._queue.join()
        except TimeoutError:
            self.dropped["stopped"] += self._queue.qsize()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def _write(self) -> None:
        while True:
            namespace, event = await self._queue.get()
            try:
                await self._client.create(types.EVENT, namespace, event)
            except errors.ApiError as error:
                # A namespace that is being deleted takes no Events: nothing to tell anybody.
                self.dropped["failed"] += 1
                log.debug("event %s of %s: %s", event["reason"], event["involvedObject"]["name"], error)
            finally:
                self._queue.task_done()


def _remember(store: OrderedDict[Any, Any], key: Any, value: Any) -> None:
    store[key] = value
    store.move_to_end(key)
    if len(store) > _NOTED:
        store.popitem(last=False)
