"""Which run a Restore means, out of what its Backup's status lists. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from homeport.api.conditions import Reason
from homeport.api.restore import RestoreSpec
from homeport.outcome import Outcome, Stalled
from homeport.plan.types import Manifest

LISTED = 100
"""How many runs a Backup's status lists at most: of one that has fewer, what isn't listed isn't there."""
_NEAREST = 5
LATEST = "latest"


class Chosen(NamedTuple):
    """A run; without a name, the runner finds it by what is asked for."""

    run: str = ""
    snapshot: str = ""
    time: str = ""
    before: str = ""
    """Of a run without a name: the newest before this moment."""

    def select(self, paths: Sequence[str] = ()) -> Manifest:
        """As the runner's job has it."""
        chosen = {"run": self.run} if self.run else {"snapshot": self.snapshot} if self.snapshot else {}
        if not chosen and self.before:
            chosen = {"before": self.before}
        return {**chosen, **({"paths": list(paths)} if paths else {})}

    def known(self) -> dict[str, str]:
        """What a Restore's status has of it."""
        fields = {"run": self.run, "snapshot": self.snapshot, "time": self.time}
        return {name: value for name, value in fields.items() if value}


def choose(spec: RestoreSpec, known: Mapping[str, Any], parts: Mapping[str, str], now: str) -> Chosen | Outcome:
    """The run that ``spec`` means among the runs that a Backup's status lists, newest first (``known``: that status, or
    nothing); ``parts`` names the runs of further ids.

    Where the list doesn't tell, the runner will: it sees the repository itself, and refuses in the same words. What is
    saved after ``now`` never counts: a restore in place saves what is there first, and that isn't what it brings back.
    """
    runs: Sequence[Mapping[str, Any]] = known.get("runs") or ()
    complete = [run for run in runs if run.get("complete") is not False]
    old = _is_old(known, runs)
    whole = 0 < len(runs) < LISTED and known.get("snapshots") in (None, len(runs)) and not old
    if spec.snapshot and spec.snapshot != LATEST:
        return _by_id(spec.snapshot, runs, complete, parts, whole)
    if spec.before:
        moment = datetime.fromisoformat(spec.before)
        found = next((run for run in complete if _time(run) < moment), None) if not old else None
        if found is not None or not whole:
            return _chosen(found) if found is not None else Chosen(before=spec.before)
        ordered = sorted(complete, key=lambda run: abs(_time(run) - moment))
        return _missing(f"there is no complete run from before {spec.before}", ordered)
    if complete and not old:
        return _chosen(complete[0])
    return _missing("there is no complete run", complete) if whole else Chosen(before=now)


def _is_old(known: Mapping[str, Any], runs: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a good run is known that is newer than all that are listed: its list was lost, or never told."""
    last = known.get("lastSuccess") or {}
    if not last.get("run") or not last.get("time") or any(run["run"] == last["run"] for run in runs):
        return False
    return not runs or _time(last) > _time(runs[0])


def _by_id(
    wanted: str,
    runs: Sequence[Mapping[str, Any]],
    complete: Sequence[Mapping[str, Any]],
    parts: Mapping[str, str],
    whole: bool,
) -> Chosen | Outcome:
    ids = {**parts, **{str(run["snapshot"]): str(run["run"]) for run in runs if run.get("snapshot")}}
    meant = {name for snapshot, name in ids.items() if snapshot.startswith(wanted)}
    if len(meant) > 1:
        return Stalled(Reason.SNAPSHOT_MISSING, f"several runs have a snapshot {wanted}…; write more of the id")
    found = next((run for run in runs if run["run"] in meant), None)
    if found is not None and found.get("complete") is False:
        return _missing(f"the run {found['run']} was cut off, and isn't whole", complete)
    if found is not None:
        return _chosen(found)
    return _missing(f"no run has a snapshot {wanted}", complete) if whole and not meant else Chosen(snapshot=wanted)


def _chosen(run: Mapping[str, Any]) -> Chosen:
    return Chosen(str(run["run"]), str(run.get("snapshot") or ""), str(run.get("time") or ""))


def _missing(text: str, nearest: Iterable[Mapping[str, Any]]) -> Stalled:
    named = [f"{str(run.get('snapshot') or run['run'])[:12]} ({run['run']}, {run['time']})" for run in nearest]
    if not named:
        return Stalled(Reason.SNAPSHOT_MISSING, f"{text}; there are no complete ones")
    return Stalled(Reason.SNAPSHOT_MISSING, f"{text}; write one of these, the nearest: {', '.join(named[:_NEAREST])}")


def _time(run: Mapping[str, Any]) -> datetime:
    return datetime.fromisoformat(str(run["time"]))
