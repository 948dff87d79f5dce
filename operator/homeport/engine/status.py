"""The only writer of status: conditions after kstatus, written once, only when something changed.

======================  =======  =============  =========
outcome                 Ready    Reconciling    Stalled
======================  =======  =============  =========
Ok                      True     absent         absent
Wait, Transient         False    True           absent
Stalled                 False    absent         True
suspended               as was   absent         absent
======================  =======  =============  =========
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from homeport.api.conditions import ConditionType, Reason, ready
from homeport.api.resource import Resource
from homeport.outcome import Ok, Outcome, Stalled, Transient, Wait

PROGRESS_FIRST = 2.0
"""Seconds that progress must last before it is worth a write."""
PROGRESS_NEXT = 10.0
"""Seconds between two writes that tell of nothing but progress."""
MESSAGE_LIMIT = 2048

Condition = dict[str, Any]
Extra = Mapping[str, tuple[str, str] | tuple[str, str, str]]
"""Conditions beside those that tell the outcome: type -> (reason, message), which is True, or with its status."""


def timestamp(moment: datetime) -> str:
    """A time as metav1.Time has it: RFC 3339, whole seconds, UTC."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def conditions(
    known: Sequence[Mapping[str, Any]],
    outcome: Outcome | None,
    generation: int,
    now: datetime,
    extra: Extra | None = None,
) -> list[Condition]:
    """The conditions that tell ``outcome``; None keeps Ready as it is (suspended).

    ``extra``: more conditions. ``lastTransitionTime`` moves only on a flip.
    """
    before = {str(entry["type"]): entry for entry in known}
    wanted: dict[str, tuple[str, str, str]] = {}
    if outcome is None:
        ready = before.get(ConditionType.READY)
        if ready is not None:
            wanted[ConditionType.READY] = (ready["status"], ready["reason"], ready.get("message", ""))
        else:
            wanted[ConditionType.READY] = ("Unknown", Reason.SUSPENDED, "suspended before it was first reconciled")
    else:
        reason, message = _reason(outcome), _message(outcome)
        wanted[ConditionType.READY] = ("True" if isinstance(outcome, Ok) else "False", reason, message)
        if isinstance(outcome, Wait | Transient):
            progressing = Reason.PROGRESSING_WITH_RETRY if isinstance(outcome, Transient) else Reason.PROGRESSING
            wanted[ConditionType.RECONCILING] = ("True", progressing, message)
        if isinstance(outcome, Stalled):
            wanted[ConditionType.STALLED] = ("True", reason, message)
    for kind, (reason, message, *state) in (extra or {}).items():
        wanted[kind] = (state[0] if state else "True", reason, message)
    return [_condition(kind, state, before.get(kind), generation, now) for kind, state in sorted(wanted.items())]


def _condition(
    kind: str, state: tuple[str, str, str], before: Mapping[str, Any] | None, generation: int, now: datetime
) -> Condition:
    status, reason, message = state
    flipped = before is None or before.get("status") != status or not before.get("lastTransitionTime")
    since = timestamp(now) if flipped or before is None else str(before["lastTransitionTime"])
    return {
        "type": str(kind),
        "status": status,
        "observedGeneration": generation,
        "lastTransitionTime": since,
        "reason": str(reason),
        "message": message,
    }


def _reason(outcome: Outcome) -> str:
    return str(outcome.reason)


def _message(outcome: Outcome) -> str:
    text = outcome.message
    return text if len(text) <= MESSAGE_LIMIT else text[: MESSAGE_LIMIT - 1] + "…"


def build(
    resource: Resource[Any],
    fields: Mapping[str, Any],
    outcome: Outcome | None,
    now: datetime,
    *,
    inventory: Sequence[Mapping[str, str]] = (),
    extra: Extra | None = None,
) -> dict[str, Any]:
    """The whole status of ``resource``."""
    status: dict[str, Any] = dict(fields)
    status["observedGeneration"] = resource.generation
    status["conditions"] = conditions(resource.status.get("conditions") or (), outcome, resource.generation, now, extra)
    if inventory:
        status["inventory"] = {"entries": list(inventory)}
    if resource.reconcile_token:
        status["lastHandledReconcileAt"] = resource.reconcile_token
    return status


_KEYS = ("type", "name", "id", "run", "part", "hook")


def is_same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two statuses say the same: writing one over the other would be in vain.

    What the API server defaults in (empty lists, false, zero) counts as absent. It merges lists that have a key, so
    that their order is an accident of who came first.
    """
    return bool(_normal(one) == _normal(other))


def _normal(value: Any) -> Any:
    if isinstance(value, Mapping):
        out = {key: _normal(item) for key, item in value.items()}
        return {key: item for key, item in out.items() if item not in (None, {}, [], "", False, 0)}
    if isinstance(value, list | tuple):
        items = [_normal(item) for item in value]
        key = next((key for key in _KEYS if all(isinstance(item, dict) and key in item for item in items)), None)
        return items if key is None else sorted(items, key=lambda item: str(item[key]))
    return value


_FIRST = (
    "catalog", "host", "vmid", "node", "networks", "mounts", "task", "created", "adopted", "replacing", "trial",
    "refused", "kept", "reverted", "software", "rebootedFor", "lastRestartAt", "lastReplaceAt",
    "lastScheduled", "lastVerifyScheduled", "lastSuccess", "lastRun", "lastDrill", "phase", "hooks", "run", "snapshot",
    "initialized", "repositoryID", "finalBackup", "pruning", "lastPrune",
    "lastHandledAllowPruneAt", "lastAttemptedDigest",
    "step", "parts", "previousVmid", "before", "attempts", "volumeSnapshot",
    "pushing", "lastPushed",
)  # fmt: skip
"""Fields whose change is written at once, however little else there is to tell."""


def only_progress(before: Mapping[str, Any], after: Mapping[str, Any], outcome: Outcome) -> bool:
    """Whether ``after`` tells of nothing but things being under way, which isn't worth a write at once."""
    if not isinstance(outcome, Wait) or outcome.reason not in (Reason.PROGRESSING, Reason.DEPENDENCY_NOT_READY):
        return False
    if any((before.get(field) or None) != (after.get(field) or None) for field in _FIRST):
        # What is used is known before anything else can take its place; what is asked of a host, before it is.
        return False
    was = ready(before)
    if was is None or was[0] == "True":
        return outcome.reason == Reason.PROGRESSING
    return was[:2] == ("False", str(outcome.reason))
