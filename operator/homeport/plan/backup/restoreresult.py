"""What came of a Restore's Job, as its status has it, and what one that is over tells of itself. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from homeport.api.conditions import Reason
from homeport.outcome import Ok, Outcome, Stalled
from homeport.plan.backup import run, times
from homeport.plan.backup.restore import CLAIM, Fields, RestoreWorld

TEXT = 1024
"""Characters that are kept of what others say."""
_NOT_A_FAULT = frozenset({Reason.INVALID_SPEC, Reason.SNAPSHOT_MISSING})


def outcome_of(result: Mapping[str, Any], world: RestoreWorld, *, drill: bool) -> Fields:
    """A runner's result as the status has it."""
    out = run.fields({**result, "snapshots": None} if "snapshots" not in result else result)
    out = {name: value for name, value in out.items() if name not in ("bytesAdded", "listing", "snapshot")}
    out["outcome"] = str(result.get("outcome") or "Failed")
    for field_name, theirs in (("run", "run"), ("snapshot", "snapshot"), ("time", "takenAt")):
        if result.get(theirs):
            out[field_name] = result[theirs]
    if found := result.get("check"):
        out["check"] = {"output": str(found.get("output", ""))[:TEXT], "passed": bool(found.get("passed"))}
    if not drill and (where := restored_to(result, world)):
        out["restoredTo"] = where
    if out["outcome"] == "Succeeded" and not world.proves and (length := _length(result, world)):
        out["duration"] = length
    return out


def restored_to(result: Mapping[str, Any], world: RestoreWorld) -> Fields:
    """What was made, or overwritten."""
    order = world.order
    parts = result.get("parts") or ()
    databases = [str(part["database"]) for part in parts if part.get("database")]
    out: Fields = {"databases": databases[:64]} if databases else {}
    made = sorted(name.name for _, name in world.live if name.kind == CLAIM)
    if made or (order is not None and order.volume is not None and order.in_place):
        out["claims"] = made or [order.volume.claim] if order is not None and order.volume is not None else made
    namespaces = {name.namespace for _, name in world.live} or {order.target.namespace if order is not None else ""}
    return {**out, "namespace": min(namespaces)} if out else {}


def _length(result: Mapping[str, Any], world: RestoreWorld) -> str:
    """From when its Job was made until all was there: with the start of Pods, as after an outage."""
    made = [body for (_, name), body in world.live.items() if name.kind == "Job"]
    began = times.moment(made[0]["metadata"].get("creationTimestamp")) if made else None
    ended = times.moment(str(result.get("finishedAt") or ""))
    if began is None or ended is None:
        return times.shown(float(result.get("durationSeconds") or 0))
    return times.shown(max((ended - began).total_seconds(), float(result.get("durationSeconds") or 0)))


def verdict(fields: Mapping[str, Any]) -> Outcome:
    """What a restore that is over tells of itself."""
    message = str(fields.get("message") or "")
    notes = "".join(f"; {note}" for note in fields.get("notes") or ())
    if fields.get("phase") == "Succeeded":
        where = fields.get("restoredTo") or {}
        names = [*(where.get("databases") or ()), *(f"claim {name}" for name in where.get("claims") or ())]
        to = f" to {', '.join(names)} in namespace {where.get('namespace')}" if names else ""
        took = f" in {fields['duration']}" if fields.get("duration") else ""
        return Ok(f"{message}{to}{took}{notes}")
    reason = str(fields.get("reason") or "")
    if reason in _NOT_A_FAULT:
        return Stalled(Reason(reason), f"{message}{notes}")
    failed = Reason.VERIFICATION_FAILED if reason == "CheckFailed" else Reason.RESTORE_FAILED
    return Stalled(failed, f"{reason}: {message}{notes}" if reason else f"{message}{notes}")
