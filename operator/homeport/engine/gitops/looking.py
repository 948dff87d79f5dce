"""What one object of a source needs: compared with the cache, and only where that seems to differ asked of the server.

=============================  ====================================================================================
what is there                  what is done
=============================  ====================================================================================
as wanted, by the cache        nothing, and that is remembered
seems to differ                a dry run tells what would really change; nothing, an update, drift, or a replacement
isn't there                    a dry run tells whether it may be made
is there and isn't ours        a conflict that says whose it is, or adoption
can't be told yet              its kind or its namespace is only about to be made: asked when that is there
=============================  ====================================================================================
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from homeport.api import labels
from homeport.api.labels import OwnerKey
from homeport.drivers.kubernetes import errors
from homeport.drivers.kubernetes.protocol import Api
from homeport.drivers.kubernetes.types import GVK, Manifest
from homeport.engine.gitops import refusals, tracking
from homeport.engine.gitops.fights import Fights
from homeport.engine.gitops.tracking import Tracker
from homeport.outcome import Outcome
from homeport.plan.gitops import changes, drift
from homeport.plan.gitops.objects import owned_by, source_of
from homeport.plan.gitops.types import Drifted, Options, SourceChange, Wanted
from homeport.plan.types import ObjectId, Verb

InStep = dict[tuple[GVK, str, str], tuple[str, str]]
"""Objects that were found as wanted: (digest of what is wanted, mark of what is there)."""


@dataclass
class Found:
    """What was found of one object: a change, a refusal, a conflict, drift that is left, or nothing of it all."""

    change: SourceChange | None = None
    refused: Outcome | None = None
    conflict: Outcome | None = None
    drift: tuple[Drifted, ...] = ()


@dataclass
class Looker:
    """Looks at the objects of one source, as its account."""

    client: Api
    """The operator's own."""
    acting: Api
    """The account's."""
    tracker: Tracker
    in_step: InStep
    source: OwnerKey
    account: str
    options: Options
    exists: Callable[[OwnerKey], Awaitable[bool]]
    fights: Fights = field(default_factory=Fights)
    known: frozenset[ObjectId] = field(default_factory=frozenset)
    """What the inventory has."""

    def is_in_step(self, wanted: Wanted, gvk: GVK) -> bool:
        """Whether it is as wanted for all that is known: nothing has to be asked."""
        mark = self.in_step.get(_key(gvk, wanted))
        if mark is None or mark[0] != wanted.digest:
            return False
        kept = self.tracker.get(gvk, wanted.id.namespace or None, wanted.id.name)
        if kept is None:
            return self.tracker.is_stale(gvk, wanted.id.namespace or None, wanted.id.name)
        if not changes.mine(kept, self.source) or kept["metadata"].get("deletionTimestamp"):
            return False
        return mark[1] in _marks(kept) or self.tracker.is_stale(gvk, wanted.id.namespace or None, wanted.id.name)

    async def look(self, wanted: Wanted, gvk: GVK) -> Found:
        """Whether anything is to be done about an object that isn't known to be in step."""
        try:
            return await self._look(wanted, gvk)
        except errors.ApiError as error:
            return Found(refused=refusals.explain(error, wanted, self.account))

    async def kept(self, id: ObjectId, gvk: GVK) -> Manifest | None:
        """An object as the tracker keeps it; read from the server where the caches can't tell. Raises ApiError."""
        namespace, name = id.namespace or None, id.name
        if self.tracker.knows(gvk) and not self.tracker.is_stale(gvk, namespace, name):
            return self.tracker.get(gvk, namespace, name)
        live = await self.read(id, gvk)
        return self.tracker.read(gvk, live) if live is not None else None

    async def _look(self, wanted: Wanted, gvk: GVK) -> Found:
        namespace, name = wanted.id.namespace or None, wanted.id.name
        kept = self.tracker.get(gvk, namespace, name)
        if kept is not None and changes.mine(kept, self.source):
            if self.tracker.is_stale(gvk, namespace, name):
                return await self._there(wanted, gvk)
            if kept["metadata"].get("deletionTimestamp"):
                return Found(SourceChange(Verb.NOTHING, wanted.id, "it is being deleted", wanted.where, wanted=wanted))
            return await self._ours(wanted, gvk, tracking.body_of(kept), kept)
        if kept is None and not self.tracker.knows(gvk):
            return await self._there(wanted, gvk)
        return await self._absent(wanted, gvk)

    async def _there(self, wanted: Wanted, gvk: GVK) -> Found:
        """Read from the server: what the caches can't tell."""
        live = await self.read(wanted.id, gvk)
        return await (self._absent(wanted, gvk) if live is None else self._present(wanted, gvk, live))

    async def _present(self, wanted: Wanted, gvk: GVK, live: Manifest) -> Found:
        """An object that is there, whosever it is."""
        if live["metadata"].get("deletionTimestamp"):
            return Found(SourceChange(Verb.NOTHING, wanted.id, "it is being deleted", wanted.where, wanted=wanted))
        if changes.mine(live, self.source) or self._unmarked(wanted, live):
            kept = self.tracker.read(gvk, live)
            return await self._ours(wanted, gvk, tracking.body_of(kept), kept)
        other = source_of(live)
        makers = tuple(dict.fromkeys(o.manager for o in drift.owners(live) if o.subresource != "status" and o.manager))
        exists = other is not None and not owned_by(live, self.source)
        exists = exists and other is not None and await self.exists(OwnerKey("GitSource", *other))
        held = changes.held_by(wanted, live, makers, exists)
        if held is not None:
            return Found(conflict=held)
        try:
            await self._dry_run(wanted, gvk, wanted.manifest, force=True)
        except errors.ApiError as error:
            return self._refused(wanted, gvk, error, live)
        whose = f" from {', '.join(makers[:3])}" if makers else ""
        reason, uid = f"adopted{whose}", live["metadata"]["uid"]
        return Found(SourceChange(Verb.UPDATE, wanted.id, reason, wanted.where, wanted=wanted, uid=uid))

    def _unmarked(self, wanted: Wanted, live: Mapping[str, Any]) -> bool:
        """Whether it is what this source applied, and somebody took the labels off that say so."""
        applied = any(o.manager == labels.SOURCE_MANAGER and o.operation == "Apply" for o in drift.owners(live))
        owned = source_of(live) is not None or labels.owner_of(live, labels.plane_of(live)) is not None
        return applied and not owned and wanted.id in self.known

    async def _absent(self, wanted: Wanted, gvk: GVK) -> Found:
        """Nothing of that name is known to be a source's."""
        if self.options.settled and wanted.id in self.known and changes.still(True, self.options):
            gone = (Drifted(wanted.id, ""),) if self.options.drift == "Warn" else ()
            if await self.read(wanted.id, gvk) is None:
                return Found(drift=gone)
        try:
            answer = await self._dry_run(wanted, gvk, wanted.manifest, force=False)
        except errors.ApiError as error:
            there = isinstance(error, errors.Conflict) or refusals.immutable(error) is not None
            live = await self.read(wanted.id, gvk) if there else None
            if live is None:
                return Found(refused=refusals.explain(error, wanted, self.account))
            return await self._present(wanted, gvk, live)
        if answer is not None and answer["metadata"].get("resourceVersion"):
            live = await self.read(wanted.id, gvk)
            if live is not None:
                return await self._present(wanted, gvk, live)
        lost = (Drifted(wanted.id, "", mended=True),) if self.options.settled and wanted.id in self.known else ()
        reason = "somebody deleted it" if lost else "it isn't there"
        return Found(SourceChange(Verb.CREATE, wanted.id, reason, wanted.where, wanted=wanted, drift=lost), drift=lost)

    async def read(self, id: ObjectId, gvk: GVK) -> Manifest | None:
        """An object as it is now; as the account where the operator may not read it."""
        try:
            return await self.client.get(gvk, id.namespace or None, id.name)
        except errors.Forbidden:
            try:
                return await self.acting.get(gvk, id.namespace or None, id.name)
            except errors.Forbidden:
                return None  # then the dry run tells, if it may be made at all

    async def _ours(self, wanted: Wanted, gvk: GVK, body: Manifest, kept: Manifest) -> Found:
        """An object that this source applied."""
        manifest = await self._sparing(wanted, gvk, body)
        seemingly = changes.fields(self.tracker.veiled(manifest), body)
        drifted = changes.is_drift(wanted, body, self.options.settled)
        if not seemingly:
            return self._in_step(wanted, gvk, kept)
        if drifted and self.options.drift == "Disabled" and not self.options.mend:
            return Found()
        try:
            would = await self._dry_run(wanted, gvk, manifest, force=True, whole=True)
        except errors.ApiError as error:
            return self._refused(wanted, gvk, error, body)
        told = seemingly
        if would is not None:
            if would["metadata"].get("resourceVersion") != kept["metadata"].get("resourceVersion"):
                live = await self.read(wanted.id, gvk)
                if live is None:
                    return await self._absent(wanted, gvk)
                kept = self.tracker.trimmed(live)
            if tracking.same_body(kept, would, self.tracker):
                return self._in_step(wanted, gvk, kept)
            told = changes.fields(self.tracker.bare(would), tracking.body_of(kept)) or seemingly
        return await self._changed(wanted, gvk, kept, changes.shown(told), drifted)

    async def _changed(self, wanted: Wanted, gvk: GVK, kept: Manifest, fields: tuple[str, ...], drifted: bool) -> Found:
        self.in_step.pop(_key(gvk, wanted), None)
        who: tuple[Drifted, ...] = ()
        fought = drifted and not self.options.mend and not self.fights.may_mend(self.source, wanted.id)
        left = fought or changes.still(drifted, self.options)
        if drifted:
            live = await self.read(wanted.id, gvk)
            owners = drift.owners(live) if live is not None else ()
            named = fields[: changes.MOST_FIELDS] or ("metadata",)
            who = tuple(Drifted(wanted.id, f, drift.manager_of(f, owners), not left) for f in named)
        if left:
            return Found(drift=who)
        by = next((each.manager for each in who if each.manager), "")
        reason = "declared differently" if not drifted else f"changed by {by}" if by else "changed by somebody else"
        uid = str(kept["metadata"].get("uid", ""))
        change = SourceChange(Verb.UPDATE, wanted.id, reason, wanted.where, fields, wanted=wanted, uid=uid, drift=who)
        return Found(change, drift=who)

    async def _sparing(self, wanted: Wanted, gvk: GVK, body: Manifest) -> Manifest:
        """What is applied to an object that is there: what others may change is left as it is."""
        pointers = drift.pointers(self.options.ignore, wanted.id)
        managers = drift.managers(self.options.ignore, wanted.id)
        if not pointers and not managers:
            return wanted.manifest
        live: Mapping[str, Any] | None = body
        if managers or wanted.id.kind == "Secret":
            live = await self.read(wanted.id, gvk)  # managedFields and values aren't in the caches
        if live is None:
            return wanted.manifest
        theirs = [owner for owner in drift.owners(live) if owner.manager in managers]
        return drift.left_to(drift.left_alone(wanted.manifest, live, pointers), live, theirs)

    async def spared(self, wanted: Wanted, gvk: GVK) -> Manifest:
        """What is to be sent to change an object that is there."""
        if not drift.pointers(self.options.ignore, wanted.id) and not drift.managers(self.options.ignore, wanted.id):
            return wanted.manifest
        live = await self.read(wanted.id, gvk)
        return wanted.manifest if live is None else await self._sparing(wanted, gvk, self.tracker.bare(live))

    def _in_step(self, wanted: Wanted, gvk: GVK, kept: Manifest) -> Found:
        self.in_step[_key(gvk, wanted)] = (wanted.digest, tracking.print_of(kept))
        return Found()

    def _refused(self, wanted: Wanted, gvk: GVK, error: errors.ApiError, live: Mapping[str, Any]) -> Found:
        fields = refusals.immutable(error)
        if fields is None:
            return Found(refused=refusals.explain(error, wanted, self.account))
        if not changes.replaceable(wanted.id) or not changes.asks_replacement(wanted, live):
            return Found(refused=refusals.replacement(wanted, fields))
        uid, reason = str(live["metadata"].get("uid", "")), f"{', '.join(fields[:4])} can't be changed on it"
        change = SourceChange(
            Verb.REPLACE, wanted.id, reason, wanted.where, fields, changes.loses_data(wanted.id, live), wanted, uid
        )
        return Found(change)

    async def _dry_run(
        self, wanted: Wanted, gvk: GVK, manifest: Manifest, *, force: bool, whole: bool = False
    ) -> Manifest | None:
        """What the server would make of it; None when it can't be asked without consequences."""
        try:
            return await self.acting.apply(
                gvk,
                wanted.id.namespace or None,
                wanted.id.name,
                manifest,
                manager=labels.SOURCE_MANAGER,
                force=force,
                dry_run=True,
                metadata_only=not whole,
            )
        except errors.ApiError as error:
            if refusals.cannot_dry_run(error):
                return None
            raise


def _key(gvk: GVK, wanted: Wanted) -> tuple[GVK, str, str]:
    return gvk, wanted.id.namespace, wanted.id.name


def _marks(kept: Manifest) -> tuple[str, str]:
    return tracking.print_of(kept), version_mark(kept["metadata"]["resourceVersion"])


def version_mark(version: str) -> str:
    """How what a write was answered with is remembered before it is seen."""
    return f"rv:{version}"


def unseen(wanted: Wanted, why: str) -> SourceChange:
    """An object that the server can't be asked about yet."""
    return SourceChange(Verb.CREATE, wanted.id, why, wanted.where, wanted=wanted, unseen=True)
