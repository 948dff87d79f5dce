"""One look at a source, in order: what its reference means, what that builds, what would change; then, that done.

Nothing here waits for Git or for a build: what isn't known yet is waited for by coming back when it is.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from homeport.api import labels
from homeport.api.base import interval_seconds
from homeport.api.conditions import ConditionType, Reason
from homeport.api.gitsource import GitSourceSpec
from homeport.api.resource import Resource
from homeport.drivers.git import Ref
from homeport.engine import observe, report
from homeport.engine.context import Context
from homeport.engine.gitops import accounts
from homeport.engine.gitops.inputs import Lacking
from homeport.engine.gitops.mirrors import Found, Want
from homeport.engine.history import Noted
from homeport.engine.status import build as build_status
from homeport.outcome import Ok, Outcome, Wait
from homeport.plan.gitops import source as plan
from homeport.plan.gitops.build import Built
from homeport.plan.gitops.checkout import Checkout, normal
from homeport.plan.gitops.source import Seen
from homeport.plan.gitops.types import Entry, inventory_of
from homeport.plan.types import ObjectId
from homeport.plan.world import ChildKey, Live

log = logging.getLogger(__name__)

Source = Resource[GitSourceSpec]


@dataclass
class Look:
    """What is known of a source, as it becomes known."""

    seen: Seen
    live: dict[ChildKey, Live] = field(default_factory=dict)
    built: Built | None = None
    checkout: Checkout | None = None
    """Of what its reference means now, pinned or not."""
    fields: dict[str, Any] | None = None
    """What the status says of pull requests and the webhook; None when nobody looked."""
    conditions: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    """What says more than Ready."""
    asked: bool = False
    """Whether somebody asked for a sync, and the repository hasn't answered since."""


async def look(source: Source, context: Context) -> Look:
    """All that can be known without writing anything. Raises ApiError."""
    found = Look(Seen(context.now(), entries=inventory(source)))
    if _archived(source, context):
        context.gitops.rest(source.key)
        found.seen = replace(found.seen, archived=True)
        return found
    try:
        await _fetched(source, context, found)
        if found.built is not None:
            await _planned(source, context, found)
    except Lacking as error:
        found.seen = replace(found.seen, problem=error.outcome)
    return found


def inventory(source: Source) -> tuple[Entry, ...]:
    """What it has applied, itself left out: a repository may hold the source that reads it, and not remove it."""
    return tuple(entry for entry in inventory_of(source.status) if entry.id != _own(source))


def _own(source: Source) -> ObjectId:
    return ObjectId(namespace=source.namespace, name=source.name, group=labels.GROUP, kind=source.kind)


def _archived(source: Source, context: Context) -> bool:
    """Archiving a project stops its sources, save the one that the Project itself is from: it has to undo that."""
    project = observe.project_of(context.store, source.namespace)
    if project is None or not project.spec.archived:
        return False
    return not any(entry.id.kind == "Project" and entry.id.name == project.name for entry in inventory(source))


# --- what it means and what it builds ---------------------------------------------------------------------------------


async def _fetched(source: Source, context: Context, found: Look) -> None:
    """The commit, and what it builds."""
    hub, spec = context.gitops, source.spec
    memory, pin = hub.memory(source.key), plan.pin_of(source)
    want = Want(
        url=spec.url,
        ref=Ref(**{name: value for name, value in spec.ref.model_dump().items() if value}),
        credentials=await hub.inputs.credentials(source),
        interval=interval_seconds(spec.interval),
        timeout=interval_seconds(spec.timeout),
        submodules=spec.submodules,
        lfs=spec.lfs,
        verify_keys=await hub.inputs.keys(source),
        path=normal(spec.path),
        keep=_kept(source, pin),
    )
    meant = hub.mirrors.want(source.key, want)
    if memory.rested:
        memory.rested = False
        hub.mirrors.poke(source.key)
    token = source.reconcile_token
    if _asked_to_sync(source) and memory.token != token:
        memory.token, memory.asked_at = token, found.seen.now.timestamp()
        hub.mirrors.poke(source.key)
    if _asked_to_sync(source) and meant.problem is None and (meant.fetched_at or 0.0) < memory.asked_at:
        found.asked = found.seen.now.timestamp() < memory.asked_at + want.timeout
    found.checkout = meant.checkout
    checkout, revision, problem = _pinned(source, context, pin) if pin else _followed(meant)
    if checkout is not None:
        built = hub.builder.built(source.key, checkout, await hub.inputs.build(source, await hub.serves()))
        if isinstance(built, Built):
            found.built = built
            notes = (*([meant.note] if meant.note else ()), *_notes(built))
            found.seen = replace(found.seen, revision=revision, digest=built.digest, problem=problem, notes=notes)
            return
        waits = Wait(Reason.PROGRESSING, f"building {plan.short(revision)}")
        problem = waits if built is None else built
    found.seen = replace(found.seen, revision=revision, problem=problem)
    _fall_back(source, context, found)


def _fall_back(source: Source, context: Context, found: Look) -> None:
    """While something newer can't be had or built, what was applied last is still kept as it is."""
    good = context.gitops.memory(source.key).good
    if good is not None and plan.settled(source, good.digest):
        found.built = good


def _kept(source: Source, pin: str) -> tuple[str, ...]:
    commits = [str(entry["revision"]).rpartition(":")[2] for entry in source.status.get("history") or ()]
    return tuple(dict.fromkeys([*([pin] if pin else []), *commits]))


def _pinned(source: Source, context: Context, pin: str) -> tuple[Checkout | None, str, Outcome | None]:
    """The commit that it is held at, from the mirror if the server is down."""
    got = context.gitops.mirrors.at(source.key, pin)
    if isinstance(got, Outcome):
        return None, f"sha1:{pin}", got
    known = [str(entry["revision"]) for entry in source.status.get("history") or ()]
    revision = next((each for each in known if each.rpartition(":")[2] == got.commit), "")
    return got, revision or f"{'sha256' if len(got.commit) == 64 else 'sha1'}:{got.commit}", None


def _followed(meant: Found) -> tuple[Checkout | None, str, Outcome | None]:
    if meant.checkout is None:
        return None, "", meant.problem or Wait(Reason.PROGRESSING, "fetching")
    return meant.checkout, meant.revision, meant.problem


def _notes(built: Built) -> tuple[str, ...]:
    left = (f"left out: {', '.join(built.left_out[:3])}",) if built.left_out else ()
    return (*built.warnings[:3], *left)


# --- what would change ------------------------------------------------------------------------------------------------


async def _planned(source: Source, context: Context, found: Look) -> None:
    """What applying would change, asked as the source's account."""
    hub, built = context.gitops, found.built
    assert built is not None
    fallen_back = found.seen.digest == ""
    if not fallen_back and not plan.settled(source, built.digest):
        waits = await hub.dependencies.waits(source)
        if waits is not None:
            # What is applied isn't this.
            found.seen = replace(found.seen, problem=waits, digest="")
            found.built = None
            _fall_back(source, context, found)
            if found.built is None:
                return
            built = found.built
    # For a dry run, too: it is asked as the account.
    refused = await hub.accounts.ensure(source)
    if refused is not None:
        found.seen = replace(found.seen, problem=refused)
        return
    wanted = plan.options(source, built.digest, _asked_to_sync(source))
    made = await hub.applier.plan(source.key, built.objects, accounts.user_of(source), inventory(source), wanted)
    if any(problem.reason == Reason.ACCESS_DENIED for problem in made.problems if not isinstance(problem, Ok)):
        hub.accounts.doubt(source.namespace)
    found.seen = replace(found.seen, plan=made)


def _asked_to_sync(source: Source) -> bool:
    token = source.reconcile_token
    return bool(token) and token != source.status.get("lastHandledReconcileAt")


# --- carrying it out --------------------------------------------------------------------------------------------------


async def carry_out(source: Source, context: Context, found: Look) -> Noted:
    """Apply what is planned, unless something speaks against it; what there is then is written down with the status."""
    seen, hub = found.seen, context.gitops
    told = source
    if seen.plan is not None and not source.spec.dry_run and not seen.plan.stops and not seen.plan.empty:

        async def note(entries: tuple[Entry, ...]) -> None:
            nonlocal told
            told = await _write_inventory(told, entries, found, context)

        applied = await hub.applier.apply(seen.plan, note)
        seen = replace(seen, applied=applied, entries=applied.entries)
        _told_of_drift(source, context, found)
    elif seen.plan is not None and not source.spec.dry_run and not seen.plan.stops:
        seen = replace(seen, entries=_there(seen))
    found.seen = _with_health(source, context, seen)
    if found.asked:
        # The token is said to be handled when what it asked for is done.
        told = replace(told, annotations={k: v for k, v in told.annotations.items() if k != labels.RECONCILE_AT})
    return Noted(inventory=[entry.as_status() for entry in found.seen.entries], seen=told)


def _there(seen: Seen) -> tuple[Entry, ...]:
    """Everything is as wanted: the inventory is what is wanted, and what stays although it left."""
    assert seen.plan is not None
    kept = {step.id for step in seen.plan.pruned}
    wanted = {wanted.id: wanted.entry for wanted in seen.plan.wanted}
    known = {entry.id: entry for entry in seen.entries if entry.id in wanted or entry.id in kept}
    both = {**known, **wanted}
    return tuple(both[key] for key in sorted(both))


def _with_health(source: Source, context: Context, seen: Seen) -> Seen:
    memory = context.gitops.memory(source.key)
    # Itself aside: it is as well as all the others are.
    standing = context.gitops.applier.health([entry for entry in seen.entries if entry.id != _own(source)])
    if not standing.unready or (seen.applied is not None and seen.applied.written):
        memory.unready_since = None
    if standing.unready and memory.unready_since is None:
        memory.unready_since = seen.now
    return replace(seen, standing=standing, unready_since=memory.unready_since)


async def _write_inventory(source: Source, entries: Sequence[Entry], found: Look, context: Context) -> Source:
    """What is about to be there is told before it is: whatever happens next, nothing is ever orphaned."""
    listed: list[dict[str, Any]] = [entry.as_status() for entry in entries]
    fields, known = report.kept_fields(source)
    fields = {**fields, "lastAttemptedRevision": found.seen.revision, "lastAttemptedDigest": found.seen.digest}
    if source.status.get("conditions"):
        # Ready says what it said: it isn't known yet whether anything changes. What stalled was another commit.
        other = source.status.get("lastAttemptedRevision") != found.seen.revision
        said = [one for one in source.status["conditions"] if not (other and one["type"] == ConditionType.STALLED)]
        fresh = {**source.status, **fields, "inventory": {"entries": listed}, "conditions": said}
    else:
        outcome = Wait(Reason.PROGRESSING, f"applying {plan.short(found.seen.revision)}")
        fresh = build_status(source, fields, outcome, found.seen.now, inventory=listed)
    if listed == known and source.status.get("conditions"):
        return source
    await report.send(source, fresh, context)
    report.told_of_progress(source.key, context)
    return replace(source, status=fresh)


def _told_of_drift(source: Source, context: Context, found: Look) -> None:
    """An Event for drift that wasn't told before, and a count of what was mended."""
    seen, memory = found.seen, context.gitops.memory(source.key)
    drift = seen.plan.drift if seen.plan is not None else ()
    context.drift_mended(source.kind, sum(entry.mended for entry in drift))
    said = frozenset(plan.drifted(entry) for entry in drift)
    if said - memory.drift:
        mended = all(entry.mended for entry in drift)
        names = ", ".join(sorted(said - memory.drift)[:3])
        word = "mended" if mended else "not as in Git"
        context.notify(source, Reason.DRIFT_DETECTED, f"{word}: {names}", not mended)
    memory.drift = frozenset() if all(entry.mended for entry in drift) else said


def remember(source: Source, context: Context, found: Look) -> None:
    """Keep what was applied whole, for when something newer can't be."""
    if found.built is not None and plan.is_whole(source, found.seen):
        context.gitops.memory(source.key).good = found.built
