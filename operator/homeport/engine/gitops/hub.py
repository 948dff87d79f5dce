"""Everything that GitSources share: mirrors, builds, the applier, and what is remembered of each between two looks."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING

from homeport.api.conditions import Reason
from homeport.api.labels import OwnerKey
from homeport.drivers.kubernetes import types
from homeport.drivers.kubernetes.types import Manifest
from homeport.engine.gitops.accounts import Accounts
from homeport.engine.gitops.applying import Applier
from homeport.engine.gitops.building import Builder
from homeport.engine.gitops.dependencies import Dependencies
from homeport.engine.gitops.hooks import Receiver
from homeport.engine.gitops.inputs import Inputs
from homeport.engine.gitops.mirrors import Mirrors
from homeport.engine.gitops.offers import SETTLE, Offers
from homeport.engine.gitops.pulling import Pulling
from homeport.engine.gitops.registries import Registries
from homeport.engine.gitops.tracking import Tracker
from homeport.engine.gitops.updates import Updates
from homeport.engine.queue import CHILD, RESYNC
from homeport.plan.gitops.build import Built, Serves

if TYPE_CHECKING:
    from homeport.engine.context import Context

CHILD_DELAY = 0.05
"""Seconds in which changes of a source's objects are gathered into one look."""


@dataclass
class Memory:
    """What is remembered of one source. Lost at a restart, which costs some looks and nothing else."""

    rested: bool = False
    """Whether it was suspended, so that what is known of its repository may be old."""
    token: str | None = None
    """The last value of ``homeport.dev/reconcile-at`` for which its repository was asked anew."""
    asked_at: float = 0.0
    """When that was; seconds since the epoch."""
    good: Built | None = None
    """What was last applied whole: kept as it is while something newer is broken."""
    unready_since: datetime | None = None
    drift: frozenset[str] = frozenset()
    """What was told of drift."""


class Hub:
    """What all GitSources of an operator share. Made with the context, at work from the first source on."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.mirrors = Mirrors(self._woken)
        self.registries = Registries(self._woken, context.clock, random.random)
        self.updates = Updates(self.mirrors, self._woken, context.clock)
        self.builder = Builder(self._woken)
        self.accounts = Accounts(context)
        self.inputs = Inputs(context)
        self.dependencies = Dependencies(context)
        self.pulling = Pulling(context)
        self._memories: dict[OwnerKey, Memory] = {}
        self._offers = Offers(lambda: context.cluster.client, context.clock)

    @cached_property
    def tracker(self) -> Tracker:
        """The caches of what sources applied; nothing is watched before one has."""
        return Tracker(self._context.cluster.client, self._child)

    @cached_property
    def applier(self) -> Applier:
        """Applies to the cluster that the operator runs in."""
        return Applier(self._context.cluster.client, self.tracker, self._exists)

    @cached_property
    def hooks(self) -> Receiver:
        """The webhooks of sources; ``main`` has it listen."""
        context = self._context

        async def read(namespace: str, name: str) -> Manifest | None:
            return await context.cluster.client.get(types.SECRET, namespace, name)

        return Receiver(
            read,
            context.cluster.secret_version,
            pushed=self._pushed,
            pulled=self.pulling.pulls.poke,
            refused=self._refused,
        )

    def _pushed(self, key: OwnerKey) -> None:
        self.mirrors.poke(key)
        # A push may be one to a pull request, too.
        self.pulling.pulls.poke(key)

    def _refused(self, key: OwnerKey, why: str) -> None:
        resource, _ = self._context.store.look(key)
        if resource is not None:
            self._context.notify(resource, Reason.ACCESS_DENIED, why, True)

    def _woken(self, key: OwnerKey) -> None:
        self._context.enqueue(key, CHILD)

    def _child(self, key: OwnerKey) -> None:
        self._context.enqueue(key, CHILD, CHILD_DELAY)

    async def _exists(self, key: OwnerKey) -> bool:
        """Raises ApiError."""
        context = self._context
        if context.store.body(key) is not None:
            return True
        # Our own memory may have only some of them (--shard), and lag behind.
        found = await context.cluster.client.get(types.GIT_SOURCE, key.namespace, key.name, metadata_only=True)
        return found is not None

    def memory(self, key: OwnerKey) -> Memory:
        """What is remembered of a source."""
        return self._memories.setdefault(key, Memory())

    async def serves(self) -> Serves:
        """What charts are told of the cluster."""
        return await self._offers.serves()

    def offers_changed(self) -> None:
        """Another kind is served, or one isn't any more: charts may ask for it."""
        if self._offers.changed():
            for key in self._context.store.keys("GitSource"):
                self._context.enqueue(key, RESYNC, SETTLE)

    def forget(self, key: OwnerKey) -> None:
        """Let go of a source that is gone."""
        self.mirrors.forget(key)
        if key.kind != "GitSource":
            return
        self._memories.pop(key, None)
        self.builder.forget(key)
        self.applier.forget(key)
        self.inputs.forget(key)
        self.pulling.forget(key)
        self.hooks.forget(key)

    def rest(self, key: OwnerKey) -> None:
        """Stop to poll for what is gone or suspended, and to push for it."""
        if key.kind == "GitSource":
            self.memory(key).rested = True
        self.mirrors.rest(key)
        self.updates.forget(key)
        self.registries.forget(key)

    async def stop(self) -> None:
        """Break off what is under way."""
        await self.updates.stop()
        await self.registries.stop()
        await self.mirrors.stop()
        await self.builder.stop()
        await self.pulling.stop()
        if "tracker" in self.__dict__:
            await self.tracker.stop()
