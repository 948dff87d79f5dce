"""From a source's objects to the cluster, as the source's account: plan, apply, prune, health, removal.

Planning asks the server about everything that changes before anything is written: ``looking`` has what is done for one
object, ``writing`` how a plan is carried out, ``tracking`` what is known without asking.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from homeport.api.conditions import Health
from homeport.api.labels import OwnerKey
from homeport.drivers.kubernetes.discovery import Mapper
from homeport.drivers.kubernetes.protocol import Api
from homeport.drivers.kubernetes.types import GVK, Manifest
from homeport.engine.gitops import looking, tracking
from homeport.engine.gitops.fights import Fights
from homeport.engine.gitops.looking import Found, InStep, Looker
from homeport.engine.gitops.tracking import Tracker
from homeport.engine.gitops.writing import Note, Writer
from homeport.outcome import Outcome
from homeport.plan.gitops import changes, drift, health, objects, order
from homeport.plan.gitops.guard import guard
from homeport.plan.gitops.types import (
    Applied,
    Built,
    Entry,
    Options,
    SourceChange,
    SourcePlan,
    Standing,
    Wanted,
)
from homeport.plan.health import Verdict
from homeport.plan.types import ObjectId, Verb

AT_ONCE = 24
"""Requests that are under way at once for all sources together; the client has some more connections for the rest."""
MOST_TOLD = 10
"""Refusals that are told of one revision."""


@dataclass
class Removed:
    """How far the removal of everything that a source applied has come."""

    entries: tuple[Entry, ...] = ()
    """What is still there, or on its way out; empty when all has gone."""
    kept: tuple[SourceChange, ...] = ()
    """What stays by its own policy."""
    problems: list[Outcome] = field(default_factory=list)


@dataclass
class _Prepared:
    """What was made of the objects of one build."""

    key: tuple[Any, ...]
    wanted: tuple[Wanted, ...]
    problems: tuple[Outcome, ...]
    coming: dict[tuple[str, str], objects.Definition]


class Applier:
    """Applies sources' objects to one cluster.

    ``exists`` tells whether a source is there: what one that has gone left behind may be adopted. It may raise
    ``errors.ApiError``.
    """

    def __init__(self, client: Api, tracker: Tracker, exists: Callable[[OwnerKey], Awaitable[bool]]) -> None:
        self._client = client
        self.tracker = tracker
        self._exists = exists
        self._mapper = Mapper(client)
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._fights = Fights()
        self._in_step: dict[OwnerKey, InStep] = {}
        self._prepared: dict[OwnerKey, _Prepared] = {}

    async def plan(
        self, source: OwnerKey, objects: Sequence[Built], account: str, inventory: Sequence[Entry], options: Options
    ) -> SourcePlan:
        """What would change, asked of the server as ``account`` ("system:serviceaccount:<namespace>:<name>").

        Writes nothing. Raises ``errors.ApiError`` only where no answer can be had at all.
        """
        made = await self._prepare(source, objects, options)
        kinds = await self._kinds(made.wanted)
        left = changes.left(inventory, made.wanted)
        old = {entry.id: await self._mapper.find(entry.api_version, entry.id.kind) for entry in left}
        used = {*filter(None, kinds.values()), *filter(None, old.values())}
        await self.tracker.use(source, used, also=options.aside)
        plan = SourcePlan(made.wanted, inventory=tuple(inventory), owner=source, account=account, options=options)
        if made.problems:
            return dataclasses.replace(plan, refused=made.problems)
        looker = self._looker(source, account, options, inventory)
        found = await self._look(looker, made, kinds)
        pruned = await self._left(looker, left, old) if options.prune else ()
        removed = sum(change.verb is Verb.DELETE for change in pruned)
        return dataclasses.replace(
            plan,
            changes=tuple(each.change for each in found if each.change is not None),
            refused=_told(each.refused for each in found),
            conflicts=_told(each.conflict for each in found),
            drift=tuple(d for each in found for d in each.drift)[: drift.MOST_TOLD],
            pruned=pruned,
            guard="" if options.allow_prune else guard(_before(inventory, options), removed, len(made.wanted)),
        )

    async def apply(self, plan: SourcePlan, note: Note) -> Applied:
        """Carry a plan out: stage by stage, then what leaves. ``note`` is awaited with the union of old and new
        before the first object is made that the inventory doesn't have; what it raises ends the whole."""
        looker = self._looker(plan.owner, plan.account, plan.options, plan.inventory)
        applied = await Writer(looker, self._mapper, self._slots).carry_out(plan, note)
        if any(change.unseen for change in plan.changes):
            # Kinds that weren't there when it was planned are watched from now on, or nobody would tell how they are.
            kinds = await self._kinds(plan.wanted)
            await self.tracker.use(plan.owner, set(filter(None, kinds.values())), also=True)
        return applied

    def health(self, entries: Sequence[Entry]) -> Standing:
        """How everything in an inventory is, from the caches."""
        unready = []
        for entry in entries:
            found = self._health(entry)
            if not health.is_ready(found):
                unready.append((entry.id, found))
        unready.sort(key=lambda each: (-health.badness(each[1]), each[0]))
        return Standing(len(entries) - len(unready), len(entries), tuple(unready))

    async def remove(self, source: OwnerKey, account: str, inventory: Sequence[Entry]) -> Removed:
        """Take a step in removing everything that a source applied; to be repeated until nothing is left."""
        kinds = {entry.id: await self._mapper.find(entry.api_version, entry.id.kind) for entry in inventory}
        await self.tracker.use(source, set(filter(None, kinds.values())))
        looker = self._looker(source, account, Options(source.namespace), inventory)
        writer = Writer(looker, self._mapper, self._slots)
        left = await self._left(looker, inventory, kinds)
        entries = {entry.id: entry for entry in inventory}
        staying = await writer.delete([change for change in left if change.verb is not Verb.KEEP], entries)
        kept = tuple(change for change in left if change.verb is Verb.KEEP)
        return Removed(tuple(entries[id] for id in staying), kept, writer.applied.problems)

    def forget(self, source: OwnerKey) -> None:
        """Let go of all that is remembered of a source that is gone."""
        self._in_step.pop(source, None)
        self._prepared.pop(source, None)
        self._fights.forget(source)
        self.tracker.forget(source)

    # -- underneath -----------------------------------------------------------------------------------------------

    def _looker(self, source: OwnerKey, account: str, options: Options, inventory: Sequence[Entry]) -> Looker:
        return Looker(
            client=self._client,
            acting=self._client.impersonate(account),
            tracker=self.tracker,
            in_step={} if options.aside else self._in_step.setdefault(source, {}),
            source=source,
            account=account,
            options=options,
            exists=self._exists,
            fights=self._fights,
            known=frozenset(entry.id for entry in inventory),
        )

    async def _prepare(self, source: OwnerKey, built: Sequence[Built], options: Options) -> _Prepared:
        """The objects as they will be applied; made once for each build, as long as the same kinds are known."""
        key = (options.digest, options.namespace, options.spec)
        known = self._prepared.get(source) if not options.aside else None
        if known is not None and options.digest and known.key == key and not known.problems:
            return known
        coming = objects.definitions(built)
        scopes: dict[tuple[str, str], bool | None] = {}
        for pair in {(str(b.manifest.get("apiVersion")), str(b.manifest.get("kind"))) for b in objects.flat(built)}:
            gvk = await self._mapper.find(*pair) if all(pair) else None
            scopes[pair] = gvk.namespaced if gvk is not None else None
            if gvk is None and pair in coming:
                scopes[pair] = coming[pair].namespaced
        found = objects.prepared(
            built, source, options.namespace, lambda version, kind: scopes.get((version, kind)), options.spec
        )
        made = _Prepared(key, order.ordered(found.wanted), found.problems, coming)
        if options.aside:
            return made
        self._prepared[source] = made
        ids = {each.id for each in made.wanted}
        in_step = self._in_step.setdefault(source, {})
        for gone in [k for k in in_step if ObjectId(k[1], k[2], k[0].group, k[0].kind) not in ids]:
            del in_step[gone]
        return made

    async def _kinds(self, wanted: Iterable[Wanted]) -> dict[tuple[str, str], GVK | None]:
        pairs = {(str(each.manifest["apiVersion"]), each.id.kind) for each in wanted}
        return {pair: await self._mapper.find(*pair) for pair in pairs}

    async def _look(
        self, looker: Looker, made: _Prepared, kinds: dict[tuple[str, str], GVK | None]
    ) -> tuple[Found, ...]:
        """Look at everything: definitions and namespaces first, for others wait for those that will change."""
        first = [each for each in made.wanted if order.stage_of(each.id) <= order.NAMESPACES]
        rest = made.wanted[len(first) :]
        found = await self._each(looker, [(each, _kind(each, kinds)) for each in first])
        changing = {each.change.id for each in found if each.change is not None}
        new = {each.change.id.name for each in found if each.change is not None and each.change.verb is Verb.CREATE}
        groups = {f"{coming.plural}.{coming.group}" for coming in made.coming.values()}
        renewed = {name for name in groups if any(id.name == name for id in changing)}
        asked: list[tuple[Wanted, GVK | None]] = []
        later: list[Found] = []
        changed: set[ObjectId] = set()
        for each in rest:
            coming = made.coming.get((str(each.manifest["apiVersion"]), each.id.kind))
            gvk = _kind(each, kinds)
            if gvk is None:
                later.append(Found(looking.unseen(each, "its kind is only about to be made")))
            elif each.id.namespace in new:
                later.append(Found(looking.unseen(each, "its namespace is only about to be made")))
            else:
                asked.append((each, gvk))
                if coming is not None and f"{coming.plural}.{coming.group}" in renewed:
                    changed.add(each.id)
        answers = await self._each(looker, asked)
        for at, (each, _) in enumerate(asked):
            if each.id in changed and answers[at].refused is not None:
                # By the definition as it is, which this very revision changes.
                answers[at] = Found(looking.unseen(each, "its kind is only about to change"))
        return (*found, *answers, *later)

    async def _each(self, looker: Looker, wanted: Sequence[tuple[Wanted, GVK | None]]) -> list[Found]:
        """What was found of each, in their order. What needs no request isn't given a task of its own."""

        async def one(each: Wanted, gvk: GVK) -> Found:
            async with self._slots:
                return await looker.look(each, gvk)

        found: list[Found | asyncio.Task[Found]] = []
        async with asyncio.TaskGroup() as group:
            for each, gvk in wanted:
                if gvk is None or looker.is_in_step(each, gvk):
                    found.append(Found())
                else:
                    found.append(group.create_task(one(each, gvk)))
        return [each if isinstance(each, Found) else each.result() for each in found]

    async def _left(
        self, looker: Looker, left: Sequence[Entry], kinds: dict[ObjectId, GVK | None]
    ) -> tuple[SourceChange, ...]:
        """What becomes of objects that aren't wanted any more; what has gone, or isn't ours now, isn't spoken of."""
        found = []
        for entry in left:
            gvk = kinds.get(entry.id)
            kept = await looker.kept(entry.id, gvk) if gvk is not None else None
            if kept is None or not changes.mine(kept, looker.source):
                continue
            uid = str(kept["metadata"].get("uid", ""))
            if kept["metadata"].get("deletionTimestamp"):
                found.append(SourceChange(Verb.NOTHING, entry.id, "being removed", uid=uid))
            else:
                found.append(changes.removal(entry.id, self._body(kept), looker.source))
        return tuple(
            change for stage in order.reverse_stages([(change.id, change) for change in found]) for change in stage
        )

    def _body(self, kept: Manifest) -> Manifest:
        body = tracking.body_of(kept)
        body["metadata"]["uid"] = kept["metadata"].get("uid", "")
        return body

    def _health(self, entry: Entry) -> Verdict:
        gvk = self._mapper.known(entry.api_version, entry.id.kind)
        if gvk is None:
            return Verdict(Health.UNKNOWN, f"the cluster doesn't serve {entry.id.kind} in {entry.api_version}")
        kept = self.tracker.last(gvk, entry.id.namespace or None, entry.id.name)
        if kept is None:
            if not self.tracker.knows(gvk):
                return Verdict(Health.UNKNOWN, "it hasn't been read yet")
            fresh = self.tracker.is_stale(gvk, entry.id.namespace or None, entry.id.name)
            return Verdict(Health.PROGRESSING, "it was made just now" if fresh else "it isn't there")
        if self.tracker.is_stale(gvk, entry.id.namespace or None, entry.id.name):
            return Verdict(Health.PROGRESSING, "it was written just now")
        return tracking.health_of(kept)


def _kind(wanted: Wanted, kinds: dict[tuple[str, str], GVK | None]) -> GVK | None:
    return kinds.get((str(wanted.manifest["apiVersion"]), wanted.id.kind))


def _told(outcomes: Iterable[Outcome | None]) -> tuple[Outcome, ...]:
    return tuple(outcome for outcome in outcomes if outcome is not None)[:MOST_TOLD]


def account_name(namespace: str, name: str) -> str:
    """A service account as the API server calls it."""
    return f"system:serviceaccount:{namespace}:{name}"


def _before(inventory: Sequence[Entry], options: Options) -> int:
    """How many objects there were before this revision, whatever of it was made before it failed."""
    return min(len(inventory), options.applied) if options.applied else len(inventory)
