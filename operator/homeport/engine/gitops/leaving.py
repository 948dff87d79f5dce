"""How a GitSource goes: with ``prune`` what it applied goes first, by the policies of each; else it stays as it is."""

from __future__ import annotations

from homeport.api.conditions import Reason
from homeport.api.gitsource import GitSourceSpec
from homeport.api.resource import Resource
from homeport.engine import report
from homeport.engine.context import Context
from homeport.engine.gitops import accounts, flow, previews
from homeport.outcome import Ok, Outcome, Wait, worst

LOOK_AGAIN = 2.0
"""Seconds between looks at what is being removed; events of the objects usually come first."""
NAMED = 3


async def leave(source: Resource[GitSourceSpec], context: Context) -> Outcome:
    """Take a step in letting go of a source that is being deleted. Raises ApiError."""
    outcome = await _without_previews(source, context)
    if isinstance(outcome, Ok):
        outcome = await _removed(source, context)
    if not isinstance(outcome, Ok):
        return outcome
    if outcome.message:
        context.notify(source, Reason.TERMINATING, outcome.message, False)
    if not (source.spec is not None and source.spec.service_account_name):
        await context.gitops.accounts.release(source.namespace, source.key)
    await context.apply_self(source, {})
    return Ok()


async def _without_previews(source: Resource[GitSourceSpec], context: Context) -> Outcome:
    """Previews go with their source, whatever prune says: nobody would remove them afterwards."""
    left, problem = await previews.leave(source.key, context)
    if not left:
        return Ok()
    names = ", ".join(left[:NAMED])
    more = f" and {len(left) - NAMED} more" if len(left) > NAMED else ""
    outcome = problem or Wait(Reason.TERMINATING, f"removing previews: {names}{more}", LOOK_AGAIN)
    return await _said(source, outcome, [entry.as_status() for entry in flow.inventory(source)], context)


async def _removed(source: Resource[GitSourceSpec], context: Context) -> Outcome:
    entries = flow.inventory(source)
    if not entries:
        return Ok()
    if not _prunes(source):
        return Ok(f"kept, as prune: false says: {len(entries)} objects")
    hub = context.gitops
    removed = await hub.applier.remove(source.key, _user(source), entries)
    if source.spec is not None and any(_denied(problem) for problem in removed.problems):
        # Somebody has removed the account, or it was never made. It isn't made anew for what has gone already.
        hub.accounts.doubt(source.namespace)
        refused = await hub.accounts.ensure(source)
        if refused is not None:
            return await _said(source, refused, [entry.as_status() for entry in entries], context)
        removed = await hub.applier.remove(source.key, _user(source), entries)
    left = [entry.as_status() for entry in removed.entries]
    if removed.problems:
        return await _said(source, worst(removed.problems), left, context)
    if removed.entries:
        names = ", ".join(entry.id.shown for entry in removed.entries[:NAMED])
        more = f" and {len(removed.entries) - NAMED} more" if len(removed.entries) > NAMED else ""
        return await _said(source, Wait(Reason.TERMINATING, f"removing {names}{more}", LOOK_AGAIN), left, context)
    kept = ", ".join(step.id.shown for step in removed.kept[:NAMED])
    return Ok(f"kept: {kept}" if kept else "")


def _denied(problem: Outcome) -> bool:
    return not isinstance(problem, Ok) and problem.reason == Reason.ACCESS_DENIED


def _prunes(source: Resource[GitSourceSpec]) -> bool:
    """Also of a spec that can't be read."""
    return bool((source.raw_spec or {}).get("prune", True))


def _user(source: Resource[GitSourceSpec]) -> str:
    name = (source.raw_spec or {}).get("serviceAccountName") or accounts.NAME
    return f"system:serviceaccount:{source.namespace}:{name}"


async def _said(
    source: Resource[GitSourceSpec], outcome: Outcome, entries: list[dict[str, str]], context: Context
) -> Outcome:
    fields, _ = report.kept_fields(source)
    await report.write(source, fields, outcome, context, inventory=entries)
    return outcome
