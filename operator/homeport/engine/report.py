"""Turns what a reconciliation found into the resource's status, an Event and the next look. The one status writer."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from homeport.api import conditions, labels
from homeport.api.conditions import ConditionType, Reason
from homeport.api.labels import OwnerKey
from homeport.api.resource import InvalidSpec, Resource
from homeport.drivers.kubernetes import types
from homeport.engine import status
from homeport.engine.context import Context, Progress
from homeport.engine.queue import RESYNC
from homeport.outcome import Ok, Outcome, Stalled, Transient, Wait
from homeport.plan.types import ObjectId, Verb, object_id
from homeport.plan.world import ChildKey, Live, Missing, Report

log = logging.getLogger(__name__)

STALLED_AGAIN = 30.0
"""Seconds after which is looked again at what nobody tells us of: strangers' objects, rights, a quota."""
_UNTOLD = frozenset({Reason.NAME_TAKEN, Reason.ACCESS_DENIED, Reason.APPLY_FAILED, Reason.MISSING, Reason.LOCKED,
                     Reason.CONFLICT, Reason.DRY_RUN_FAILED})  # fmt: skip
DROPPED_FOR = 120.0
"""Seconds until it is tried again whether a definition knows the fields that it dropped."""
LOOK_AGAIN = 10.0
"""Seconds after which what is under way is looked at even if no event comes: an unschedulable Pod is silent."""


def inventory(owner: OwnerKey, report: Report, spared: Iterable[Live]) -> list[dict[str, str]]:
    """Every object that is there or on its way out, sorted by id; ``spared``: those that no change speaks of."""
    entries: dict[str, dict[str, str]] = {}
    for change in report.changes:
        key: ChildKey = (change.cluster, change.id)
        if (change.holder == owner or key in report.applied) and change.verb is not Verb.KEEP:
            _enter(entries, change.child.manifest if change.child else (change.live or {}), change.id)
    for found in spared:
        _enter(entries, found, object_id(found))
    return [entries[key] for key in sorted(entries)]


def with_unseen(
    entries: Sequence[Mapping[str, str]], resource: Resource[Any], missing: Iterable[Missing]
) -> list[Mapping[str, str]]:
    """The inventory with what was in environments that can't be seen for now: it is there all the same."""
    unseen = {entry.name for entry in missing if not entry.known}
    known = {entry["id"] for entry in entries}
    before = (resource.status.get("inventory") or {}).get("entries") or ()
    kept = [entry for entry in before if entry.get("environment") in unseen and entry["id"] not in known]
    return sorted([*entries, *kept], key=lambda entry: entry["id"])


def _enter(entries: dict[str, dict[str, str]], manifest: Mapping[str, Any], name: ObjectId) -> None:
    entry = {"id": str(name), "v": str(manifest["apiVersion"]).rpartition("/")[2]}
    environment = (manifest["metadata"].get("labels") or {}).get(labels.ENVIRONMENT)
    if environment:
        entry["environment"] = environment
    entries[entry["id"]] = entry


async def write(
    resource: Resource[Any],
    fields: Mapping[str, Any],
    outcome: Outcome | None,
    context: Context,
    *,
    inventory: Sequence[Mapping[str, str]] = (),
    extra: status.Extra | None = None,
) -> None:
    """Write the status if it says anything new, tell of a transition, and ask for the next look."""
    if isinstance(outcome, Ok) and outcome.reason == Reason.ARCHIVED and resource.kind == "Project":
        extra = {**(extra or {}), ConditionType.ARCHIVED: (Reason.ARCHIVED, outcome.message)}
    _look_for_dropped(resource, context)
    if unknown := context.unknown_fields(resource.kind):
        fields = {name: value for name, value in fields.items() if name not in unknown}
        outcome = _outdated(resource.kind, unknown) if outcome is not None else None
    fresh = status.build(resource, fields, outcome, context.now(), inventory=inventory, extra=extra)
    if outcome is not None:
        _next_look(resource.key, outcome, context)
    if status.is_same(fresh, resource.status):
        if not isinstance(outcome, Wait):
            context.progress.pop(resource.key, None)
        return
    if outcome is not None and _too_early(resource, fresh, outcome, context):
        return
    await send(resource, fresh, context)
    _tell(resource, fresh, outcome, context)


async def send(resource: Resource[Any], fresh: Mapping[str, Any], context: Context) -> None:
    """Write a whole status, whatever it says."""
    gvk = types.by_kind(labels.API_VERSION, resource.kind)
    body = {
        "apiVersion": labels.API_VERSION,
        "kind": resource.kind,
        # The UID makes sure that a resource of the same name made meanwhile doesn't get its predecessor's status.
        "metadata": {**resource.key.metadata(), "uid": resource.uid},
        "status": fresh,
    }
    found = await context.cluster.client.apply(gvk, resource.namespace, resource.name, body, subresource="status")
    version = found["metadata"]["resourceVersion"]
    context.written[resource.key] = version
    context.store.told(resource.key, version, fresh)
    context.sent[resource.key] = version, frozenset(name for name, value in fresh.items() if value)


def _look_for_dropped(resource: Resource[Any], context: Context) -> None:
    """Whether what came back of our last write lacks a field: then the cluster's definition doesn't know it."""
    version, names = context.sent.get(resource.key, ("", frozenset[str]()))
    lost = names - resource.status.keys()
    if lost and version == resource.resource_version and not context.unknown_fields(resource.kind):
        log.error("the definition of %s doesn't know status.%s", resource.kind, ", ".join(sorted(lost)))
        context.dropped[resource.kind] = lost, context.clock() + DROPPED_FOR
        context.sent.pop(resource.key)


def _outdated(kind: str, unknown: frozenset[str]) -> Outcome:
    """What a person has to do about definitions that are older than the operator."""
    return Stalled(
        Reason.APPLY_FAILED,
        f"the cluster's CustomResourceDefinition of {kind} is older than this operator: it drops "
        f"{', '.join(f'status.{name}' for name in sorted(unknown))}, and nothing can be remembered. Apply the "
        "definitions of the operator's version (crds/)",
    )


def _too_early(resource: Resource[Any], fresh: Mapping[str, Any], outcome: Outcome, context: Context) -> bool:
    """Whether this only tells of progress that has just begun, or was told a moment ago. Then it is told later."""
    key, now = resource.key, context.clock()
    if not status.only_progress(resource.status, fresh, outcome) or _token_waits(resource):
        if isinstance(outcome, Wait):
            told_of_progress(key, context)
        else:
            context.progress.pop(key, None)
        return False
    progress = context.progress.setdefault(key, Progress(now))
    due = progress.since + status.PROGRESS_FIRST
    if progress.written is not None:
        # What is waited for is worth saying sooner than how far something is.
        waits = outcome.reason == Reason.DEPENDENCY_NOT_READY
        due = progress.written + (status.PROGRESS_FIRST if waits else status.PROGRESS_NEXT)
    if now < due:
        # The least urgent of all: what becomes ready before its turn never needs the write.
        context.enqueue(key, RESYNC, due - now)
        return True
    progress.written = now
    return False


def told_of_progress(key: OwnerKey, context: Context) -> None:
    """A status that was just written says that something is under way: how far is told a while later."""
    now = context.clock()
    context.progress.setdefault(key, Progress(now)).written = now


def _token_waits(resource: Resource[Any]) -> bool:
    token = resource.reconcile_token
    return token is not None and token != resource.status.get("lastHandledReconcileAt")


def _next_look(key: OwnerKey, outcome: Outcome, context: Context) -> None:
    if isinstance(outcome, Ok | Wait) and outcome.after is not None:
        context.enqueue(key, RESYNC, outcome.after)
    elif isinstance(outcome, Wait):
        context.enqueue(key, RESYNC, LOOK_AGAIN)
    elif isinstance(outcome, Stalled) and outcome.reason in _UNTOLD:
        context.enqueue(key, RESYNC, STALLED_AGAIN)


def _tell(resource: Resource[Any], fresh: Mapping[str, Any], outcome: Outcome | None, context: Context) -> None:
    """An Event for each transition of Ready, and only then."""
    before, after = conditions.ready(resource.status), conditions.ready(fresh)
    if after is None or (before is not None and before[:2] == after[:2]):
        return
    warning = isinstance(outcome, Stalled | Transient) or after[1] == Reason.HEALTH_CHECK_FAILED
    context.notify(resource, after[1], after[2], warning)


# --- the three short ways through a reconciliation --------------------------------------------------------------------


def kept_fields(resource: Resource[Any]) -> tuple[dict[str, Any], list[Mapping[str, str]]]:
    """The kind's own status fields and inventory as they are, for when nothing new is known."""
    common = {"observedGeneration", "conditions", "inventory", "lastHandledReconcileAt"}
    fields = {key: value for key, value in resource.status.items() if key not in common}
    return fields, list((resource.status.get("inventory") or {}).get("entries") or ())


async def suspended(resource: Resource[Any], context: Context) -> Outcome:
    """``spec.suspend``: Ready keeps its value, the generation is noted, a Suspended condition shows."""
    context.rest(resource.key)
    fields, entries = kept_fields(resource)
    note = (Reason.SUSPENDED, "spec.suspend is true: nothing is reconciled until it is false again")
    await write(resource, fields, None, context, inventory=entries, extra={ConditionType.SUSPENDED: note})
    return Ok()


async def invalid(resource: Resource[Any], error: InvalidSpec, context: Context) -> Outcome:
    """A spec that got past the schema and can't be used all the same: said in status, and nothing is touched."""
    outcome = Stalled(Reason.INVALID_SPEC, str(error))
    fields, entries = kept_fields(resource)
    await write(resource, fields, outcome, context, inventory=entries)
    return outcome
