"""Which run a restore brings back, as far as the Backup's status tells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC
from typing import Any

from homeport.cli import output
from homeport.cli.backups.common import day, size
from homeport.cli.backups.listing import kept
from homeport.cli.errors import Failure
from homeport.drivers.kubernetes.types import Manifest

NEAREST = 5


@dataclass(frozen=True)
class Choice:
    """A run, how a Restore says it, and how a person does."""

    fields: Mapping[str, Any] = field(default_factory=dict)
    shown: str = ""


def chosen(body: Manifest, snapshot: str | None, before: str | None) -> Choice:
    """The run that is asked for. Raises Failure that lists the nearest when it can't be among those that there are.

    The status lists the newest 100 runs, so an older snapshot is taken at its word.
    """
    if snapshot is not None and before is not None:
        raise Failure("write --snapshot or --before, not both")
    good = [run for run in kept(body) if run.get("complete") is not False]
    if snapshot is not None and snapshot != "latest":
        return _by_id(body, good, snapshot)
    if before is not None:
        return _before(body, good, before)
    if not good:
        raise Failure(f"{body['metadata']['name']} has no good run yet", "`homeport backup run` takes one")
    return Choice({}, _shown(good[0]))


def _by_id(body: Manifest, good: Sequence[Mapping[str, Any]], wanted: str) -> Choice:
    found = [run for run in good if run["run"] == wanted or _starts(run, wanted)]
    if len(found) > 1:
        raise Failure(f"{wanted} is the beginning of {len(found)} snapshots", _nearest(found))
    if found and not found[0].get("snapshot"):
        raise Failure(f"the snapshot of run {wanted} isn't known")
    if found:
        return Choice({"snapshot": found[0]["snapshot"]}, _shown(found[0]))
    if _all_known(body, good):
        raise Failure(f"{body['metadata']['name']} has no good run or snapshot {wanted}", _nearest(good))
    return Choice({"snapshot": wanted}, f"snapshot {wanted}")


def _starts(run: Mapping[str, Any], wanted: str) -> bool:
    return len(wanted) >= 4 and str(run.get("snapshot") or "").startswith(wanted)


def _before(body: Manifest, good: Sequence[Mapping[str, Any]], text: str) -> Choice:
    moment = output.parse_time(text)
    if moment is None or moment.tzinfo is None:
        raise Failure(f"--before {text}: write a moment with its zone, such as 2026-11-20T18:00:00Z")
    found = next((run for run in good if (then := output.parse_time(run["time"])) and then < moment), None)
    if found is None and _all_known(body, good):
        hint = f"the oldest is of {day(good[-1]['time'])}" if good else "`homeport backup run` takes one"
        raise Failure(f"{body['metadata']['name']} has no good run before {text}", hint)
    shown = _shown(found) if found is not None else f"the newest run before {text}"
    return Choice({"before": moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}, shown)


def _all_known(body: Manifest, good: Sequence[Mapping[str, Any]]) -> bool:
    return int((body.get("status") or {}).get("snapshots") or 0) <= len(kept(body))


def _shown(run: Mapping[str, Any]) -> str:
    facts = ", ".join(fact for fact in (size(run.get("bytes")), "verified" if run.get("verified") else "") if fact)
    ago = output.age(run["time"])
    return f"run {run['run']} of {day(run['time'])} UTC, {ago} ago{f' ({facts})' if facts else ''}"


def _nearest(runs: Sequence[Mapping[str, Any]]) -> str:
    named = [f"{str(run.get('snapshot') or '')[:8]} ({run['run']}, {day(run['time'])})" for run in runs[:NEAREST]]
    return f"there are: {'; '.join(named)}" if named else "there is none; `homeport backup run` takes one"
