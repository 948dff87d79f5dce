"""How what a source applied is, as its conditions tell it. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta

from homeport.api.conditions import ConditionType, Health, Reason
from homeport.outcome import Wait
from homeport.plan.gitops.types import Standing

NAMED = 3
"""Objects that a message names."""


def unready(standing: Standing, since: datetime | None, now: datetime, timeout: float) -> Wait | None:
    """Objects that aren't ready: for ``timeout`` seconds that is how it goes, then it is a failure."""
    if not standing.unready:
        return None
    named = [f"{each.shown}: {verdict.message or verdict.health}" for each, verdict in standing.unready[:NAMED]]
    more = f" and {len(standing.unready) - NAMED} more" if len(standing.unready) > NAMED else ""
    text = f"{standing.ready} of {standing.total} objects ready; {'; '.join(named)}{more}"
    left = (since + timedelta(seconds=timeout) - now).total_seconds() if since else timeout
    if left <= 0 or any(verdict.health is Health.DEGRADED for _, verdict in standing.unready):
        return Wait(Reason.HEALTH_CHECK_FAILED, text)
    return Wait(Reason.PROGRESSING, text, left)


def healthy(standing: Standing, waits: Wait | None) -> dict[str, tuple[str, str, str]]:
    """The condition Healthy, as (reason, message, status); none while nothing is applied.

    It is of what is applied, whatever becomes of newer commits. ``waits`` is what ``unready`` says. Unknown while
    something hasn't been read, as after a restart without Git.
    """
    if not standing.total:
        return {}
    if waits is None:
        number = f"{standing.total} object{'s' if standing.total != 1 else ''}"
        return {ConditionType.HEALTHY: (Reason.RECONCILIATION_SUCCEEDED, f"{number} ready", "True")}
    failed = waits.reason == Reason.HEALTH_CHECK_FAILED
    unread = any(verdict.health is Health.UNKNOWN for _, verdict in standing.unready)
    return {ConditionType.HEALTHY: (waits.reason, waits.message, "Unknown" if unread and not failed else "False")}
