"""A cluster in memory with everything that acts in it, and a clock that only we turn: reconciliation without chance.

The engine runs without workers: keys are taken from its queue one by one, and when none is due, the clock goes on.
"""

from __future__ import annotations

import asyncio
import copy
import itertools
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar, cast

import yaml

from homeport.api.labels import API_VERSION, OwnerKey
from homeport.drivers.kubernetes import types
from homeport.drivers.kubernetes.cluster import Cluster
from homeport.drivers.kubernetes.informer import Informer
from homeport.drivers.kubernetes.types import GVK
from homeport.drivers.memory import MemoryClient
from homeport.engine.engine import Engine

Manifest = dict[str, Any]
EPOCH = datetime(2026, 1, 15, 12, tzinfo=UTC)
OURS = (types.PROJECT, types.ENVIRONMENT, types.APPLICATION)
STEP = 0.5
QUIET = 12.0
"""Seconds of the clock without a write after which the world counts as settled."""


class Killed(BaseException):
    """The process is gone: nothing may catch this."""


class Clock:
    """Turned by hand."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=self.seconds)


class Gate:
    """The operator's way to the API server: counts its writes, and kills it before or after one of them."""

    def __init__(self, client: MemoryClient) -> None:
        self.client = client
        self.writes: list[str] = []
        self.kill_at: tuple[int, bool] | None = None
        """(number of the write, whether it is still carried out)."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.client, name)

    def impersonate(self, user: str, groups: Sequence[str] = ()) -> Gate:
        """The same gate, for writes as somebody else."""
        other = Gate(cast("MemoryClient", self.client.impersonate(user, groups)))
        other.writes, other.kill_at = self.writes, self.kill_at
        return other

    async def _write(self, verb: str, gvk: GVK, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("dry_run"):
            return await getattr(self.client, verb)(gvk, *args, **kwargs)
        number = len(self.writes)
        if self.kill_at is not None and number > self.kill_at[0]:
            raise Killed  # what was under way beside it is dead, too
        name = args[1] if isinstance(args[1], str) else args[1]["metadata"]["name"]
        part = f"/{kwargs['subresource']}" if kwargs.get("subresource") else ""
        self.writes.append(f"{verb} {gvk.kind}{part} {args[0] or ''}/{name}")
        if self.kill_at == (number, False):
            raise Killed
        answer = await getattr(self.client, verb)(gvk, *args, **kwargs)
        if self.kill_at == (number, True):
            raise Killed
        return answer

    async def apply(self, gvk: GVK, *args: Any, **kwargs: Any) -> Any:
        return await self._write("apply", gvk, *args, **kwargs)

    async def create(self, gvk: GVK, *args: Any, **kwargs: Any) -> Any:
        return await self._write("create", gvk, *args, **kwargs)

    async def patch(self, gvk: GVK, *args: Any, **kwargs: Any) -> Any:
        return await self._write("patch", gvk, *args, **kwargs)

    async def delete(self, gvk: GVK, *args: Any, **kwargs: Any) -> Any:
        return await self._write("delete", gvk, *args, **kwargs)


class Running:
    """One operator on a world; ``stop`` leaves nothing of it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.gate = Gate(world.client)
        self.events: list[tuple[OwnerKey, str, str]] = []
        self.outcomes: list[tuple[str, str]] = []
        self.cluster = Cluster(self.gate, on_event=self._cluster_event, clock=world.clock)
        self.engine = Engine(
            self.cluster,
            clock=world.clock,
            now=world.clock.now,
            notify=lambda resource, reason, message, warning: self.events.append((resource.key, str(reason), message)),
            on_outcome=lambda kind, outcome, seconds: self.outcomes.append((kind, outcome)),
        )
        self._doors = [
            Informer(self.gate, gvk, trim=lambda m: m, on_event=self._seen, clock=world.clock) for gvk in world.ours
        ]

    def _cluster_event(self, gvk: GVK, kind: str, before: Manifest | None, after: Manifest | None) -> None:
        self.engine.cluster_event(gvk, kind, before, after)

    def _seen(self, kind: str, before: Manifest | None, after: Manifest | None) -> None:
        self.engine.seen(after or before or {}, gone=after is None)

    async def start(self) -> None:
        await self.cluster.start()
        for door in self._doors:
            door.start()
        for door in self._doors:
            await door.synced.wait()
        self.engine.lead()

    async def stop(self) -> None:
        for door in self._doors:
            await door.stop()
        await self.engine.context.clusters.stop()
        await self.cluster.stop()

    async def step(self) -> bool:
        """One reconciliation, if one is due. Raises Killed."""
        key = self.engine.queue.get_nowait()
        if key is None:
            return False
        if types.by_kind(API_VERSION, key.kind) in self.world.played:
            self.engine.queue.done(key)
            return True
        try:
            await self.engine.process(key)
        finally:
            self.engine.queue.done(key)
        return True

    async def until(self, seconds: float, limit: int = 20000) -> None:
        """Work until the clock shows ``seconds``, which goes on when nothing is due before. Raises Killed."""
        clock, queue = self.world.clock, self.engine.queue
        for _ in range(limit):
            await drain()
            if await self.world.controllers() or await self.step():
                continue
            coming = [item.due for _, _, item in queue._waiting if queue._items.get(item.key) is item]
            later = min((due for due in coming if due > clock.seconds), default=seconds)
            if later > seconds or (clock.seconds >= seconds and not coming):
                clock.seconds = max(clock.seconds, seconds)
                return
            clock.seconds = later
        raise AssertionError(f"it never rests: {self.gate.writes[-10:]}")

    async def settle(self, quiet: float = QUIET, limit: float = 600.0) -> None:
        """Work until nothing has been written for ``quiet`` seconds of the clock. Raises Killed."""
        clock = self.world.clock
        end, last = clock.seconds + limit, clock.seconds
        seen = -1
        while clock.seconds - last < quiet:
            assert clock.seconds < end, f"it never stops writing: {self.gate.writes[-10:]}"
            await drain()
            if await self.world.controllers():
                continue
            worked = await self.step()
            if self.world.client._version != seen:
                seen, last = self.world.client._version, clock.seconds
            if not worked:
                clock.seconds += STEP


class World:
    """What outlives the operator: the API server's objects, the controllers of Kubernetes, the clock."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.client = MemoryClient(namespaces=True, now=self.clock.now)
        self.played = dict(_CONTROLLERS)
        """Whose controllers are played, and how."""
        self.ours: tuple[GVK, ...] = OURS
        """The kinds that an operator sees; it reconciles those that aren't played."""
        self.failing: set[str] = set()
        """Names of Deployments whose Pods never become ready, and of Jobs (without their digest) that fail."""

    def clone(self) -> World:
        """Another world that is as this one is now; no operator runs in it."""
        other = World()
        other.ours, other.played = self.ours, dict(self.played)
        self._copy_to(other)
        return other

    def _copy_to(self, other: World) -> None:
        mine, theirs = self.client, other.client
        theirs._objects, theirs._applied = copy.deepcopy(mine._objects), copy.deepcopy(mine._applied)
        theirs._version, theirs._history = mine._version, list(mine._history)
        theirs._uids = itertools.count(mine._version)
        other.clock.seconds, other.failing = self.clock.seconds, set(self.failing)

    async def apply(self, documents: Iterable[Manifest], manager: str = "kubectl") -> None:
        """As a user."""
        for body in documents:
            metadata = body["metadata"]
            await self.client.apply(
                types.gvk_of(body), metadata.get("namespace"), metadata["name"], copy.deepcopy(body), manager=manager
            )

    async def delete(self, gvk: GVK, namespace: str | None, name: str) -> None:
        await self.client.delete(gvk, namespace, name)

    async def operator(self) -> Running:
        """A new process."""
        running = Running(self)
        await running.start()
        return running

    def get(self, gvk: GVK, namespace: str, name: str) -> Manifest:
        found = self.client._objects.get((gvk, namespace if gvk.namespaced else "", name))
        assert found is not None, f"{gvk.kind} {namespace}/{name} isn't there"
        return found

    def condition(self, gvk: GVK, namespace: str, name: str, kind: str = "Ready") -> Manifest:
        """A condition of a resource of ours."""
        conditions = self.get(gvk, namespace, name).get("status", {}).get("conditions", [])
        found = [entry for entry in conditions if entry["type"] == kind]
        assert found, f"{gvk.kind} {namespace}/{name} has no condition {kind}: {conditions}"
        return found[0]

    def births(self, kind: str) -> int:
        """How many objects of a kind have ever been created."""
        return sum(
            told == "ADDED" and gvk.kind == kind for _, told, gvk, _, before in self.client._history if before is None
        )

    async def controllers(self) -> bool:
        """What Kubernetes' own controllers do; whether there was anything to do."""
        worked = False
        for (gvk, namespace, name), found in list(self.client._objects.items()):
            behave = self.played.get(gvk)
            status = behave(found, self.failing) if behave is not None else None
            if status is not None and found.get("status") != status:
                await self.client.patch(gvk, namespace, name, {"status": None}, subresource="status")
                await self.client.patch(gvk, namespace, name, {"status": status}, subresource="status")
                worked = True
            if gvk == types.STATEFUL_SET:
                worked |= await self._claims(found)
        return worked

    async def _claims(self, found: Manifest) -> bool:
        """A StatefulSet's controller makes claims, which nobody but a person ever deletes."""
        worked = False
        metadata = found["metadata"]
        for template in found["spec"].get("volumeClaimTemplates") or ():
            name = f"{template['metadata']['name']}-{metadata['name']}-0"
            if (types.PERSISTENT_VOLUME_CLAIM, metadata["namespace"], name) not in self.client._objects:
                labels = {
                    **(template["metadata"].get("labels") or {}),
                    **(found["spec"]["selector"].get("matchLabels") or {}),
                }
                claim = {"metadata": {"name": name, "labels": labels}, "spec": template["spec"]}
                await self.client.create(types.PERSISTENT_VOLUME_CLAIM, metadata["namespace"], claim)
                worked = True
        return worked

    def state(self, secrets: bool = False) -> dict[str, Manifest]:
        """All objects, without what no two runs have in common. ``secrets``: with generated values, too."""
        out = {}
        for (gvk, namespace, name), found in self.client._objects.items():
            out[f"{gvk.kind} {namespace}/{name}"] = comparable(found, secrets)
        return dict(sorted(out.items()))


W = TypeVar("W", bound=World)


async def play(world: W, step: Callable[[W], Awaitable[None]], kill_at: tuple[int, bool] | None = None) -> Running:
    """One step to its end; after the crash, if there is one, with a new operator."""
    running = await world.operator()
    running.gate.kill_at = kill_at
    await step(world)
    try:
        await running.settle()
    except Killed:
        await running.stop()
        running = await world.operator()
        await running.settle()
    await running.stop()
    return running


def _workload(found: Manifest, failing: set[str]) -> Manifest:
    replicas = int(found["spec"].get("replicas", 1))
    ready = 0 if found["metadata"]["name"] in failing else replicas
    status: Manifest = {
        "observedGeneration": found["metadata"]["generation"],
        "replicas": replicas,
        "updatedReplicas": replicas,
        "readyReplicas": ready,
        "availableReplicas": ready,
    }
    if ready < replicas:
        message = f'ReplicaSet "{found["metadata"]["name"]}" has timed out progressing.'
        status["conditions"] = [
            {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": message}
        ]
    return status


def _job(found: Manifest, failing: set[str]) -> Manifest:
    if found["metadata"]["name"].rsplit("-", 1)[0] in failing:
        return {
            "failed": 1,
            "conditions": [
                {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "Job has failed"}
            ],
        }
    return {"succeeded": 1, "conditions": [{"type": "Complete", "status": "True"}]}


def _container(found: Manifest, failing: set[str]) -> Manifest:
    """What a container on a Proxmox VE host looks like to others, without any host."""
    name, spec = found["metadata"]["name"], found["spec"]
    once, stopped = spec["software"].get("restartPolicy") == "Never", spec["state"] == "Stopped"
    ill = name in failing or name.rpartition("-")[0] in failing
    message = "readiness: connection refused" if ill and not stopped else "it runs"
    ready = {"type": "Ready", "status": "False" if ill and not once else "True", "message": message}
    ready["reason"] = "HealthCheckFailed" if ill and not once else "ReconciliationSucceeded"
    status: Manifest = {"observedGeneration": found["metadata"]["generation"], "conditions": [ready]}
    if once:
        status["software"] = {"exitCode": 1 if ill else 0}
    elif not stopped:
        status["addresses"] = [f"10.20.0.{10 + sum(name.encode()) % 200}"]
    return status


_CONTROLLERS: dict[GVK, Callable[[Manifest, set[str]], Manifest]] = {
    types.DEPLOYMENT: _workload,
    types.STATEFUL_SET: _workload,
    types.JOB: _job,
    types.LXC_CONTAINER: _container,
    types.NAMESPACE: lambda found, failing: {"phase": "Active"},
    types.PERSISTENT_VOLUME_CLAIM: lambda found, failing: {"phase": "Bound"},
}


async def drain() -> None:
    """Let the watches tell what has happened."""
    for _ in range(8):
        await asyncio.sleep(0)


_PASSING = ("uid", "resourceVersion", "creationTimestamp", "generation", "managedFields", "deletionTimestamp")
_STAMPS = ("lastTransitionTime", "time", "observedGeneration")


def comparable(found: Manifest, secrets: bool = False) -> Manifest:
    """An object without versions, times and chance."""
    out = copy.deepcopy(found)
    for field in _PASSING:
        out["metadata"].pop(field, None)
    annotations = out["metadata"].get("annotations") or {}
    for name in list(annotations):
        if name.endswith("/copied-from"):
            annotations[name] = annotations[name].partition("@")[0]
    annotations.pop("homeport.dev/applied-hash", None)
    annotations.pop("homeport.dev/revision-time", None)
    if out["kind"] == "LXCContainer":
        out["spec"].get("software", {}).pop("inputs", None)  # a digest of resourceVersions
    if not secrets and out["kind"] == "Secret":
        out["data"] = sorted(out.get("data") or {})
    for template in (out.get("spec") or {}).get("template"), ((out.get("spec") or {}).get("jobTemplate") or {}):
        # A digest of resourceVersions.
        if isinstance(template, dict):
            (template.get("metadata") or {}).get("annotations", {}).pop("homeport.dev/inputs-hash", None)
    status = out.get("status") or {}
    if "activity" in status:
        status["activity"].sort(key=lambda entry: (entry["verb"], entry["object"]))
    _without_stamps(status)
    return out


def _without_stamps(value: Any) -> None:
    if isinstance(value, dict):
        for field in _STAMPS:
            value.pop(field, None)
        for part in value.values():
            _without_stamps(part)
    elif isinstance(value, list):
        for part in value:
            _without_stamps(part)


def load(text: str | Path) -> list[Manifest]:
    """YAML documents."""
    content = text.read_text() if isinstance(text, Path) else text
    return [document for document in yaml.safe_load_all(content) if document]
