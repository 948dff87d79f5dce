"""Snapshots as runs: which belong together, which run is complete, which one a job means. Pure.

A run is all snapshots with the same tags ``backup=`` and ``run=``; each has a ``part=``. The part ``index`` is written
last and lists the others by their ids: a run without it was cut off, and counts as incomplete.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

from homeport.runner.job import Select
from homeport.runner.result import Failure, Reason

INDEX = "index"
PROTECTED = "protected"
"""The tag of runs that every retention keeps."""
_NEAREST = 5


class Snapshot(NamedTuple):
    """One snapshot of ours."""

    id: str
    time: datetime
    backup: str
    run: str
    part: str
    bytes: int
    """What was read, as restic's summary in the snapshot has it; 0 when it has none."""
    paths: tuple[str, ...]
    protected: bool = False
    """Whether every retention keeps its run."""
    installation: str = ""
    """Whose it is; a repository may be shared, or be what is left of another cluster."""
    original: str = ""
    """What its id was where ``restic copy`` took it from; empty for one that wasn't copied."""

    def is_called(self, start: str) -> bool:
        """Whether its id, here or where it was copied from, begins so."""
        return self.id.startswith(start) or self.original.startswith(start)

    def document(self) -> dict[str, Any]:
        """As a result lists it."""
        return {
            "id": self.id, "time": self.time.isoformat(), "backup": self.backup, "run": self.run, "part": self.part,
            "bytes": self.bytes,
        }  # fmt: skip


class Run(NamedTuple):
    """The snapshots of one run, oldest first; of a part that was taken twice both are here."""

    backup: str
    name: str
    installation: str
    snapshots: tuple[Snapshot, ...]

    @property
    def whole(self) -> Snapshot | None:
        """The part that says which snapshots make this run whole."""
        return next((snapshot for snapshot in reversed(self.snapshots) if snapshot.part == INDEX), None)

    def here(self, snapshot: str) -> str:
        """The id in this repository of a part that the index names: it is another one after ``restic copy``."""
        return next((one.id for one in self.snapshots if snapshot in (one.id, one.original)), snapshot)

    @property
    def protected(self) -> bool:
        """Whether every retention keeps it."""
        return any(one.protected for one in self.snapshots)

    @property
    def time(self) -> datetime:
        """When it began, or began anew: a name may be used again, and what was saved under it before is older.

        That is the first of the snapshots since the last index but one.
        """
        ends = [number for number, one in enumerate(self.snapshots) if one.part == INDEX]
        began = ends[-2] + 1 if len(ends) > 1 else 0
        newest = {one.part: one.time for one in self.snapshots[began:]}
        return min(newest.values())


def snapshot(document: dict[str, Any]) -> Snapshot | None:
    """One of ours out of restic's JSON; None for what somebody else made."""
    tags = dict(tag.split("=", 1) for tag in document.get("tags") or () if "=" in tag)
    if not {"backup", "run", "part"} <= tags.keys():
        return None
    summary = document.get("summary") or {}
    # restic writes nanoseconds, of which Python takes microseconds.
    time = datetime.fromisoformat(str(document["time"]))
    return Snapshot(
        str(document["id"]), time, tags["backup"], tags["run"], tags["part"],
        int(summary.get("total_bytes_processed", 0)), tuple(document.get("paths") or ()),
        PROTECTED in document["tags"], tags.get("installation", ""), str(document.get("original") or ""),
    )  # fmt: skip


def runs(snapshots: Iterable[Snapshot]) -> list[Run]:
    """All runs, oldest first."""
    groups: dict[tuple[str, str, str], list[Snapshot]] = {}
    for one in sorted(snapshots, key=lambda one: (one.time, one.id)):
        groups.setdefault((one.backup, one.run, one.installation), []).append(one)
    return sorted((Run(*key, tuple(group)) for key, group in groups.items()), key=lambda run: run.time)


def first_ours(found: Iterable[Run], installation: str) -> list[Run]:
    """This installation's runs; those of others only where there are none: what is left of a cluster that is gone."""
    every = list(found)
    return [run for run in every if run.installation == installation] or every


def choose(found: Iterable[Run], select: Select) -> Run:
    """The run that is meant. Raises Failure that lists the nearest when there is none, or it isn't complete."""
    ordered = list(found)
    complete = [run for run in ordered if run.whole is not None]
    if select.run:
        wanted = [run for run in ordered if run.name == select.run]
        missing = f"no run is named {select.run}"
    elif select.snapshot:
        wanted = [run for run in ordered if any(one.is_called(select.snapshot) for one in run.snapshots)]
        missing = f"no snapshot's id begins with {select.snapshot}"
    elif select.before:
        wanted = [run for run in complete if run.time < select.before][-1:]
        missing = f"no complete run is older than {select.before.isoformat()}"
    else:
        wanted, missing = complete[-1:], "there is no complete run"
    if len(wanted) > 1:
        raise Failure(Reason.SNAPSHOT_MISSING, f"several runs fit {select.snapshot!r}; write more of the id")
    if not wanted:
        raise Failure(Reason.SNAPSHOT_MISSING, f"{missing}; {_nearest(complete, select)}")
    if wanted[0].whole is None:
        raise Failure(
            Reason.SNAPSHOT_MISSING,
            f"the run {wanted[0].name} was cut off and isn't complete; {_nearest(complete, select)}",
        )
    return wanted[0]


def _nearest(complete: list[Run], select: Select) -> str:
    if not complete:
        return "there are no complete ones"
    moment = select.before
    ordered = sorted(complete, key=lambda run: abs(run.time - moment)) if moment else complete[::-1]
    named = (f"{run.name} ({run.time:%Y-%m-%d %H:%M} UTC, {_short(run)})" for run in ordered[:_NEAREST])
    return f"the nearest are {', '.join(named)}"


def _short(run: Run) -> str:
    return run.whole.id[:8] if run.whole else ""
