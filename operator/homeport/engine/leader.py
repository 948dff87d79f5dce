"""Leader election by a Lease, by client-go's algorithm: of several replicas one works, the others wait.

Who may take the Lease is decided by each candidate's own clock: the holder counts as alive for ``lease`` seconds
after the candidate *saw* the record change, whatever time stands in it, so that clocks need not agree. The holder
stops by itself once it hasn't renewed for ``renew`` seconds, which is shorter: ``on_stopped`` has returned before
anybody else may start. Every write carries the resourceVersion that it is based on, so that of two only one wins.

Timeline of the worst case, kill -9 at 0 s: seen alive for the last time at 0 s, free at ``lease`` (10 s), and taken
within the same second: a candidate sleeps until the record runs out, not for a fixed time.
"""

from __future__ import annotations

import asyncio
import datetime
import inspect
import logging
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from homeport.drivers.kubernetes import errors, types
from homeport.drivers.kubernetes.protocol import Api
from homeport.drivers.kubernetes.types import Manifest

log = logging.getLogger(__name__)

Callback = Callable[[], Awaitable[None] | None]


class _Observed(NamedTuple):
    """The Lease as last seen: its spec, its resourceVersion, and when (our clock) the spec last changed."""

    spec: Manifest
    version: str
    at: float


class Leader:
    """One candidate. ``run`` until cancelled or ``stop``; ``on_started`` and ``on_stopped`` tell of each change.

    ``lease``, ``renew`` and ``retry`` are in seconds. After losing the Lease it stands again. Nothing is
    renewed while a callback runs: ``on_started`` should return at once, ``on_stopped`` within ``lease - renew``.
    """

    def __init__(
        self,
        client: Api,
        namespace: str,
        name: str = "homeport-operator",
        *,
        identity: str,
        lease: float = 10.0,
        renew: float = 6.5,
        retry: float = 2.0,
        on_started: Callback,
        on_stopped: Callback,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not retry < renew < lease:
            raise ValueError(f"retry ({retry}) < renew ({renew}) < lease ({lease}) must hold")
        self.identity = identity
        self._client = client
        self._namespace = namespace
        self._name = name
        self._lease = lease
        self._renew = renew
        self._retry = retry
        self._on_started = on_started
        self._on_stopped = on_stopped
        self._clock = clock
        self._observed: _Observed | None = None
        self._leading = False
        self._renewed = -lease
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def is_leader(self) -> bool:
        """Whether we may write now: not once the Lease has run out, even if nobody had the time to notice."""
        return self._leading and self._clock() - self._renewed < self._lease

    @property
    def holder(self) -> str:
        """Who holds the Lease, as last seen; "" for nobody."""
        return str(self._observed.spec.get("holderIdentity") or "") if self._observed is not None else ""

    @property
    def transitions(self) -> int:
        """How often the Lease has changed hands, as last seen; giving it back and taking it again counts as one."""
        return int(self._observed.spec.get("leaseTransitions") or 0) if self._observed is not None else 0

    def start(self) -> None:
        """Run in a task of its own."""
        self._task = asyncio.create_task(self.run(), name="leader election")

    @property
    def task(self) -> asyncio.Task[None] | None:
        """What ``start`` made; if it ends before ``stop``, something broke that only a new process mends."""
        return self._task

    async def stop(self) -> None:
        """Step down: ``on_stopped``, then the Lease is given back, so that the next takes over at once."""
        self._stopping.set()
        if self._task is not None:
            await self._task

    async def run(self) -> None:
        """Stand as a candidate, lead, step down, and again, until ``stop``."""
        try:
            while not self._stopping.is_set():
                if await self._try(self._renew):
                    await self._lead()
                else:
                    await self._pause(self._patience())
        finally:
            await self._step_down()

    async def _lead(self) -> None:
        self._leading = True
        log.info("leading as %s", self.identity)
        await _call(self._on_started)
        while not self._stopping.is_set():
            await self._pause(min(self._retry, self._left()))
            if self._stopping.is_set():
                return
            renewed = await self._try(self._left())
            if not renewed and (self.holder != self.identity or self._clock() - self._renewed >= self._renew):
                log.warning("the lease %s is lost to %s", self._name, self.holder or "silence")
                await self._step_down()
                return

    def _left(self) -> float:
        """Seconds until the renewal must have succeeded."""
        return max(0.0, self._renewed + self._renew - self._clock())

    async def _step_down(self) -> None:
        if not self._leading:
            return
        await _call(self._on_stopped)
        self._leading = False
        try:
            async with asyncio.timeout(self._retry):
                await self._release()
        except (errors.ApiError, TimeoutError) as error:
            log.info("the lease %s was not given back: %s", self._name, error or "no answer in time")

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(max(0.05, seconds)):
                await self._stopping.wait()
        except TimeoutError:
            pass

    def _patience(self) -> float:
        """Seconds until a candidate looks again: as a rule ``retry``; less when the record runs out before."""
        usual = self._retry * random.uniform(1.0, 1.2)  # noqa: S311 - spreads candidates, guards nothing
        if self._observed is None or not self.holder:
            return usual
        return min(usual, max(0.0, self._observed.at + self._lease - self._clock()) + random.uniform(0.01, 0.2))  # noqa: S311

    async def _try(self, seconds: float) -> bool:
        """Acquire or renew once, within ``seconds``; whether that is done. Troubles of the API server: not done."""
        try:
            async with asyncio.timeout(seconds):
                return await self._acquire_or_renew()
        except TimeoutError:
            log.warning("the lease %s: the API server did not answer in time", self._name)
            return False
        except errors.Conflict:
            return False  # somebody else was faster; the next look shows who
        except errors.ApiError as error:
            log.warning("the lease %s: %s", self._name, error)
            return False

    async def _acquire_or_renew(self) -> bool:
        started = self._clock()
        if self._leading and self._observed is not None:
            try:
                return await self._write(started, self._observed)
            except errors.Conflict:
                pass  # an administrator's edit, maybe: look at it
        lease = await self._client.get(types.LEASE, self._namespace, self._name)
        if lease is None:
            return await self._create(started)
        observed = self._see(lease)
        holder = observed.spec.get("holderIdentity")
        if holder and holder != self.identity and self._clock() < observed.at + self._lease_of(observed.spec):
            return False
        return await self._write(started, observed)

    def _lease_of(self, spec: Manifest) -> float:
        """The holder's own lease time may be longer than ours, while one version is rolled out over another."""
        return max(self._lease, float(spec.get("leaseDurationSeconds") or 0))

    def _see(self, lease: Manifest) -> _Observed:
        spec, version = lease.get("spec") or {}, lease["metadata"]["resourceVersion"]
        if self._observed is None or spec != self._observed.spec:
            self._observed = _Observed(spec, version, self._clock())
        elif version != self._observed.version:
            self._observed = self._observed._replace(version=version)
        return self._observed

    async def _write(self, started: float, observed: _Observed) -> bool:
        spec = self._spec(observed.spec)
        lease = await self._client.patch(types.LEASE, self._namespace, self._name, _onto(observed.version, spec))
        self._see(lease)
        # From before the request: the others count from when they see it, which is never earlier.
        self._renewed = started
        return True

    async def _create(self, started: float) -> bool:
        body = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self._name, "namespace": self._namespace},
            "spec": self._spec({}),
        }
        try:
            lease = await self._client.create(types.LEASE, self._namespace, body)
        except errors.NotFound:
            namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self._namespace}}
            await self._client.create(types.NAMESPACE, None, namespace)
            lease = await self._client.create(types.LEASE, self._namespace, body)
        except errors.AlreadyExists:
            return False
        self._see(lease)
        self._renewed = started
        return True

    def _spec(self, old: Manifest) -> dict[str, Any]:
        now = _now()
        taken = old.get("holderIdentity") != self.identity
        return {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": max(1, round(self._lease)),
            "renewTime": now,
            "acquireTime": now if taken else old.get("acquireTime", now),
            "leaseTransitions": int(old.get("leaseTransitions") or 0) + (1 if taken and old else 0),
        }

    async def _release(self) -> None:
        if self._observed is None or self.holder != self.identity:
            return
        spec = {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": _now()}
        patch = _onto(self._observed.version, spec)
        self._see(await self._client.patch(types.LEASE, self._namespace, self._name, patch))


def _onto(version: str, spec: Manifest) -> Manifest:
    """A patch that is refused when the Lease isn't the one we saw any more."""
    return {"metadata": {"resourceVersion": version}, "spec": spec}


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


async def _call(callback: Callback) -> None:
    answer = callback()
    if inspect.isawaitable(answer):
        await answer
