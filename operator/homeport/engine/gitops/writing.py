"""Carries a plan out, as the source's account. Every write may be the last before a crash: each can be repeated.

* What the inventory doesn't have yet is written down before it is made.
* Stage by stage: definitions until they are served, namespaces, what could only be asked about then, the rest.
* A stage in which something failed is the last one, and then nothing is removed.
* Removal is of the very object that was looked at (its UID).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from homeport.api import labels
from homeport.api.conditions import Health, Reason
from homeport.drivers.kubernetes import errors, types
from homeport.drivers.kubernetes.discovery import Mapper
from homeport.drivers.kubernetes.protocol import Propagation
from homeport.drivers.kubernetes.types import GVK, Manifest
from homeport.engine.gitops import refusals
from homeport.engine.gitops.looking import Found, Looker, version_mark
from homeport.outcome import Outcome, Stalled, Transient, Wait
from homeport.plan.gitops import health, order
from homeport.plan.gitops.types import Applied, Entry, SourceChange, SourcePlan, Wanted, merged
from homeport.plan.types import ObjectId, Verb

Note = Callable[[tuple[Entry, ...]], Awaitable[None]]
"""Writes an inventory into the source's status; told before anything new is made."""

TRIES = 3
LOOK = 0.1
"""Seconds between looks at a definition that isn't served yet, and at an object that is being replaced; they grow."""
SERVED_WITHIN, GONE_WITHIN = 30.0, 20.0
"""Seconds that a definition may take to be served, and a replaced object to go."""

T = TypeVar("T", SourceChange, Wanted)


@dataclass
class Writer:
    """Writes the objects of one source."""

    looker: Looker
    mapper: Mapper
    slots: asyncio.Semaphore
    """Bounds what is under way at once."""
    applied: Applied = field(default_factory=Applied)
    _down: bool = False

    async def carry_out(self, plan: SourcePlan, note: Note) -> Applied:
        """Apply what is to be applied, then remove what is to be removed."""
        applied = self.applied
        applied.entries = plan.inventory
        if plan.problems:
            applied.problems.extend(plan.problems)
            return applied
        known = {entry.id for entry in plan.inventory}
        applied.entries = plan.union()
        if any(change.verb is Verb.CREATE and change.id not in known for change in plan.changes):
            await note(applied.entries)
        try:
            async with asyncio.timeout(plan.options.timeout):
                await self._stages(plan.changes)
                if not applied.problems:
                    await self._prune(plan)
        except TimeoutError:
            done, whole = applied.written, len(plan.changes)
            text = f"not all was applied within {plan.options.timeout:g} s: {done} of {whole} objects are written"
            applied.problems.append(Transient(Reason.PROGRESSING_WITH_RETRY, text))
        applied.complete = not applied.problems
        return applied

    # -- making and changing --------------------------------------------------------------------------------------

    async def _stages(self, changes: Sequence[SourceChange]) -> None:
        pending = list(changes)
        for number in (order.DEFINITIONS, order.NAMESPACES):
            stage = [change for change in pending if order.stage_of(change.id) == number]
            if not stage:
                continue
            await self._stage(stage)
            if not self.applied.problems and number == order.DEFINITIONS:
                await self._each(self._served, [c.wanted for c in stage if c.wanted is not None])
            if self.applied.problems:
                return
            pending = [change for change in pending if change not in stage]
        pending = await self._asked_now(pending)
        for stage in order.stages([(change.id, change) for change in pending]):
            if self.applied.problems:
                return
            await self._stage(stage)

    async def _asked_now(self, pending: list[SourceChange]) -> list[SourceChange]:
        """What the server couldn't be asked about before: asked now, all of it, before anything more is written."""
        unseen = [change.wanted for change in pending if change.unseen and change.wanted is not None]
        if not unseen:
            return pending
        found: dict[ObjectId, Found] = {}

        async def ask(wanted: Wanted) -> None:
            found[wanted.id] = await self.looker.look(wanted, await self._gvk(wanted))

        await self._each(ask, unseen)
        for each in found.values():
            self.applied.problems.extend(p for p in (each.refused, each.conflict) if p is not None)
        changes = (found[change.id].change if change.id in found else change for change in pending)
        return [change for change in changes if change is not None]

    async def _stage(self, stage: Sequence[SourceChange]) -> None:
        await self._each(self._write, stage)

    async def _each(self, step: Callable[[T], Awaitable[None]], items: Iterable[T]) -> None:
        """Take a step for each, at once but bounded. What fails is a problem; once the server is gone, so is all."""

        async def one(item: T) -> None:
            async with self.slots:
                if self._down:
                    return
                wanted = item if isinstance(item, Wanted) else item.wanted
                try:
                    await step(item)
                except errors.ApiError as error:
                    self._down = isinstance(error, errors.ServerUnavailable) and error.status == 0
                    self._failed(item.id, wanted, error)
                except TimeoutError:
                    text = f"{item.id.shown}: what is replaced hasn't gone yet"
                    self.applied.problems.append(Wait(Reason.PROGRESSING, text, 5.0))

        async with asyncio.TaskGroup() as group:
            for item in items:
                group.create_task(one(item))

    def _failed(self, id: ObjectId, wanted: Wanted | None, error: errors.ApiError) -> None:
        if wanted is None:
            self.applied.problems.append(_not_removed(id, error, self.looker.account))
            return
        fields = refusals.immutable(error)
        outcome = refusals.explain(error, wanted, self.looker.account)
        if fields is not None:
            outcome = refusals.replacement(wanted, fields)
        if isinstance(outcome, Stalled) and outcome.reason == Reason.DRY_RUN_FAILED:
            outcome = Stalled(Reason.APPLY_FAILED, outcome.message)
        self.applied.problems.append(outcome)

    async def _write(self, change: SourceChange) -> None:
        wanted = change.wanted
        assert wanted is not None
        gvk = await self._gvk(wanted)
        if change.verb is Verb.NOTHING:
            self.applied.problems.append(Wait(Reason.PROGRESSING, f"{change.id.shown}: {change.reason}", 2.0))
            return
        body = wanted.manifest
        if change.verb is Verb.REPLACE:
            await self._take_away(change, gvk)
        elif change.verb is Verb.UPDATE:
            body = await self.looker.spared(wanted, gvk)
            # With it an object that was made anew meanwhile isn't written to, nor one that is gone made by this.
            body = {**body, "metadata": {**body["metadata"], "uid": change.uid}}
        await self._send(wanted, gvk, body, force=change.verb is Verb.UPDATE)
        if change.drift:
            self.looker.fights.mended(self.looker.source, change.id)

    async def _send(self, wanted: Wanted, gvk: GVK, body: Manifest, *, force: bool) -> None:
        namespace, name = wanted.id.namespace or None, wanted.id.name
        for attempt in range(1, TRIES + 1):
            try:
                answer = await self.looker.acting.apply(
                    gvk, namespace, name, body, manager=labels.SOURCE_MANAGER, force=force
                )
                break
            except errors.Conflict as error:
                if error.managers or attempt == TRIES or "uid" in body["metadata"]:
                    raise
        version = str(answer["metadata"]["resourceVersion"])
        self.looker.in_step[gvk, wanted.id.namespace, name] = (wanted.digest, version_mark(version))
        self.looker.tracker.wrote(gvk, namespace, name, version)
        self.applied.written += 1

    async def _take_away(self, change: SourceChange, gvk: GVK) -> None:
        """Delete what can't be changed, and wait until it has gone: made anew by this round, or by the next."""
        namespace, name = change.id.namespace or None, change.id.name
        propagation: Propagation = "Orphan" if gvk.kind == "StatefulSet" else "Background"
        await self.looker.acting.delete(gvk, namespace, name, uid=change.uid, propagation=propagation)
        async with asyncio.timeout(GONE_WITHIN):
            pause = LOOK
            while await self._uid(gvk, change.id) == change.uid:
                await asyncio.sleep(pause)
                pause = min(2 * pause, 2.0)

    async def _uid(self, gvk: GVK, id: ObjectId) -> str | None:
        found = await self.looker.read(id, gvk)
        return str(found["metadata"]["uid"]) if found is not None else None

    async def _served(self, definition: Wanted) -> None:
        """Wait until the kinds that a definition brings are served."""
        spec, pause = definition.manifest.get("spec") or {}, LOOK
        versions = [v["name"] for v in spec.get("versions") or () if v.get("served", True)]
        kind = str((spec.get("names") or {}).get("kind"))
        try:
            async with asyncio.timeout(SERVED_WITHIN):
                while True:
                    found = await self.looker.client.get(types.CUSTOM_RESOURCE_DEFINITION, None, definition.id.name)
                    said = health.verdict(found) if found is not None else None
                    if said is not None and said.health is Health.DEGRADED:
                        self.applied.problems.append(
                            Stalled(Reason.APPLY_FAILED, f"{definition.id.shown}: {said.message}")
                        )
                        return
                    if said is not None and health.is_ready(said):
                        for version in versions:
                            self.mapper.forget(f"{spec['group']}/{version}")
                        served = [await self.mapper.find(f"{spec['group']}/{v}", kind) for v in versions]
                        if all(each is not None for each in served):
                            return
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, 1.0)
        except TimeoutError:
            text = f"{definition.id.shown} isn't served yet after {SERVED_WITHIN:g} s"
            self.applied.problems.append(Transient(Reason.PROGRESSING_WITH_RETRY, text))

    async def _gvk(self, wanted: Wanted) -> GVK:
        found = await self.mapper.find(str(wanted.manifest["apiVersion"]), wanted.id.kind)
        if found is None:
            raise errors.NotFound(404, "NotFound", "the server doesn't serve this kind")
        return found

    # -- removing -------------------------------------------------------------------------------------------------

    async def _prune(self, plan: SourcePlan) -> None:
        if plan.guard:
            return
        wanted = [each.entry for each in plan.wanted]
        versions = {entry.id: entry for entry in plan.inventory}
        kept = [versions[change.id] for change in plan.pruned if change.verb is Verb.KEEP]
        doomed = [change for change in plan.pruned if change.verb in (Verb.DELETE, Verb.NOTHING)]
        self.applied.removing = await self.delete(doomed, versions)
        self.applied.entries = merged(kept, [versions[id] for id in self.applied.removing], wanted)

    async def delete(self, doomed: Sequence[SourceChange], entries: Mapping[ObjectId, Entry]) -> tuple[ObjectId, ...]:
        """Remove objects stage by stage; those that are still there are answered."""
        staying = {change.id for change in doomed}

        async def one(change: SourceChange) -> None:
            gvk = await self._of(entries[change.id])
            if gvk is None:
                staying.discard(change.id)
                return
            namespace, name = change.id.namespace or None, change.id.name
            if change.verb is Verb.DELETE:
                await self.looker.acting.delete(gvk, namespace, name, uid=change.uid or None)
                self.applied.written += 1
            self.looker.in_step.pop((gvk, change.id.namespace, name), None)
            if await self._uid(gvk, change.id) != change.uid:
                staying.discard(change.id)

        for stage in order.reverse_stages([(change.id, change) for change in doomed]):
            if not self.applied.problems:
                await self._each(one, stage)
        return tuple(sorted(staying))

    async def _of(self, entry: Entry) -> GVK | None:
        return await self.mapper.find(entry.api_version, entry.id.kind)


def _not_removed(id: ObjectId, error: errors.ApiError, account: str) -> Outcome:
    begin = f"{id.shown} can't be removed: "
    match error:
        case errors.TooManyRequests() | errors.ServerUnavailable():
            return Transient(Reason.PROGRESSING_WITH_RETRY, f"{begin}{error}")
        case errors.Conflict():
            return Wait(Reason.PROGRESSING, f"{begin}it has just changed; looking again", 0.3)
        case errors.Forbidden() | errors.Unauthorized():
            return refusals.denied(error, begin, account)
        case _:
            return Stalled(Reason.PRUNE_FAILED, f"{begin}{error}")
