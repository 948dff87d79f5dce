"""Keeps each accepted spec of an Application, so that ``homeport rollback`` can bring it back.

One list and one write for a spec that changed (for the first one the write alone), nothing for one that didn't: the
status names the revision of the present spec. The name comes from the content, so a run that died after the write finds
it and makes no twin.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from homeport.api.application import ApplicationSpec
from homeport.api.conditions import Reason
from homeport.api.resource import Resource
from homeport.drivers.kubernetes import errors, types
from homeport.engine.context import Context
from homeport.engine.status import timestamp
from homeport.outcome import Outcome, Stalled
from homeport.plan import history


@dataclass(frozen=True)
class Noted:
    """What was written down before anything is applied: the status fields that tell of it, what was in the way."""

    fields: dict[str, Any] = field(default_factory=dict)
    problems: tuple[Outcome, ...] = ()
    inventory: Sequence[Mapping[str, str]] | None = None
    """What there is of it, where that isn't told by its children."""
    seen: Resource[Any] | None = None
    """The resource, when something was written into its status meanwhile."""


async def record(app: Resource[ApplicationSpec], context: Context) -> Noted:
    """Keep the present spec under the highest number, and let go of the oldest. Raises ApiError where it may pass."""
    kept = history.content(app.raw_spec)
    name = history.name_of(app, kept)
    if app.status.get("updateRevision") == name and app.status.get("observedGeneration") == app.generation:
        return Noted(known(app))
    mark = (app.uid, app.generation, name)
    told = context.recorded.get(app.key)
    try:
        # Until the status is written, which may be a moment later, this process knows what it has done.
        number = told[1] if told is not None and told[0] == mark else await _record(app, name, kept, context)
    except (errors.TooManyRequests, errors.ServerUnavailable, errors.NotFound):
        raise
    except errors.ApiError as error:
        # What can't be kept is no reason not to run.
        reason = Reason.ACCESS_DENIED if isinstance(error, errors.Forbidden) else Reason.APPLY_FAILED
        return Noted(known(app), (Stalled(reason, f"its history can't be kept: ControllerRevision {name}: {error}"),))
    context.recorded[app.key] = (mark, number)
    return Noted({"revision": number, "updateRevision": name})


def known(app: Resource[ApplicationSpec]) -> dict[str, Any]:
    """The status fields about the revision as they are."""
    return {key: app.status[key] for key in ("revision", "updateRevision") if app.status.get(key)}


async def _record(app: Resource[ApplicationSpec], name: str, kept: history.Spec, context: Context) -> int:
    client, gvk = context.cluster.client, types.CONTROLLER_REVISION
    there: list[history.Revision] = []
    if app.generation > 1:
        # A spec that was never changed has no other revision: nothing is asked for what was just made.
        chosen = ",".join(f"{key}={value}" for key, value in history.selector(app.name).items())
        found, _ = await client.list(gvk, app.namespace, labels=chosen)
        there = history.revisions(found, app.uid)
    if there and there[0].name == name:
        number = there[0].number
    else:
        number = max([int(app.status.get("revision") or 0), *(revision.number for revision in there)]) + 1
        await client.apply(gvk, app.namespace, name, history.manifest(app, kept, number, timestamp(context.now())))
    for old in history.surplus(there, name, app.spec.revision_history_limit):
        await client.delete(gvk, app.namespace, old.name, uid=old.uid)
    return number
