"""What each operation does, out of what restic and the methods can."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import IO, Any

from homeport.runner import drill, keeping, methods, repository, runs
from homeport.runner.job import Operation, Select
from homeport.runner.methods.base import Context, Part, Saved
from homeport.runner.restic import Line
from homeport.runner.result import Failure, Outcome, Reason, Result

_INDEX_FILE = "/index.json"


def perform(context: Context, result: Result) -> None:
    """Do the job. What was done is in the result also when Failure is raised."""
    _OPERATIONS[context.job.operation](context, result)


def _init(context: Context, result: Result) -> None:
    made = repository.init(context.restic, context.secrets)
    result.details |= {"created": made, "repositoryID": context.restic.identity()}
    result.message = "the repository was made" if made else "the repository is there"


def _backup(context: Context, result: Result) -> None:
    """Each part a snapshot, and at last the index, which makes the run complete."""
    job, restic = context.job, context.restic
    # Before the source is touched: this opens the repository, and says so if it doesn't.
    restic.unlock()
    before = {one.part: one.bytes for one in _snapshots(context)}
    method = methods.of(context)
    saved: list[Saved] = []
    parts: list[dict[str, Any]] = []
    result.details |= {"method": method_name(context), "run": job.run, "parts": parts}
    added = 0
    try:
        for part in method.parts():
            context.progress.begin(part.name, before.get(part.name, 0))
            try:
                summary = _save(context, part)
            except Failure as failure:
                _note_incomplete(failure, part, parts)
                raise method.explain(failure) from None
            one = Saved(part.name, part.file, str(summary["snapshot_id"]), int(summary["total_bytes_processed"]),
                        json.dumps(dict(part.extra)))  # fmt: skip
            added += int(summary.get("data_added_packed", 0))
            saved.append(one)
            parts.append(one.document())
            context.progress.end(one.bytes)
    finally:
        method.close()
        result.details |= {"bytes": sum(one["bytes"] for one in parts), "bytesAdded": added, "tools": context.facts}
        result.details["tools"]["restic"] = restic.version()
    result.details["snapshot"] = _write_index(context, saved)
    result.details |= _kept(context)
    result.message = f"{len(saved)} {'part' if len(saved) == 1 else 'parts'} saved"


def _kept(context: Context) -> dict[str, Any]:
    """What there is of this backup now, older runs dropped as its retention says. The run is good whatever comes."""
    try:
        there = _snapshots(context)
        return keeping.listing(there, context.job.installation, keeping.drop(context, there))
    except Failure as failure:
        if failure.reason is Reason.INTERRUPTED:
            raise
        context.notes.append(f"what else the repository has can't be told: {failure.message}")
        return {}


def _note_incomplete(failure: Failure, part: Part, parts: list[dict[str, Any]]) -> None:
    """A snapshot that restic made although it couldn't read everything."""
    summary = next((line for line in failure.lines if line.get("message_type") == "summary"), None)
    if failure.outcome is Outcome.INCOMPLETE and summary and summary.get("snapshot_id"):
        size = int(summary["total_bytes_processed"])
        parts.append(Saved(part.name, part.file, str(summary["snapshot_id"]), size).document() | {"incomplete": True})


def _save(context: Context, part: Part) -> Line:
    """One snapshot; restic's summary of it."""
    job = context.job

    def each(line: Line) -> None:
        if line.get("message_type") == "status":
            context.progress.advance(int(line.get("bytes_done", 0)))

    tags = f"backup={job.backup},run={job.run},part={part.name}"
    tags += f",installation={job.installation}" if job.installation else ""
    tags += f",{runs.PROTECTED}" if job.protected else ""
    with _input(part) as stdin:
        lines = context.restic.run(
            "backup", f"--host={job.host}", f"--tag={tags}", *part.arguments(), stdin=stdin,
            environment=part.environment, each=each,
        )  # fmt: skip
    summary = next((line for line in lines if line.get("message_type") == "summary"), {})
    if not summary.get("snapshot_id"):
        raise Failure(Reason.REPOSITORY_FAILED, f"restic ended well and named no snapshot of {part.name}")
    return summary


@contextlib.contextmanager
def _input(part: Part) -> Iterator[IO[bytes] | None]:
    if part.input is None:
        yield None
        return
    with part.input.open("rb") as file:
        yield file


def _write_index(context: Context, saved: list[Saved]) -> str:
    """The last snapshot of a run, which lists the others: its id."""
    document = {
        "version": 1, "backup": context.job.backup, "run": context.job.run, "method": method_name(context),
        "tools": context.facts, "notes": context.notes,
        "parts": [{**one.document(), "extra": json.loads(one.extra or "{}")} for one in saved],
    }  # fmt: skip
    path = context.scratch / "index.json"
    path.write_text(json.dumps(document, ensure_ascii=False, indent=1))
    return str(_save(context, Part(runs.INDEX, _INDEX_FILE, input=path))["snapshot_id"])


def _restore(context: Context, result: Result) -> None:
    run, saved = _chosen(context)
    result.details |= {"method": method_name(context), "run": run.name, "snapshot": run.whole.id if run.whole else "",
                       "takenAt": run.time.isoformat(), "parts": []}  # fmt: skip
    result.details["parts"] = methods.of(context).restore(saved)
    result.details["bytes"] = sum(int(part["bytes"]) for part in result.details["parts"])
    if context.missing:
        words = "; ".join(context.missing)
        raise Failure(Reason.RESTORE_FAILED, f"not everything of {run.name} is restored: {words}", Outcome.INCOMPLETE)
    result.message = f"the run {run.name} of {run.time:%Y-%m-%d %H:%M} UTC was restored"


def _chosen(context: Context) -> tuple[runs.Run, list[Saved]]:
    """The run that the job means, and its parts as its index lists them. Raises Failure."""
    select = context.job.select or Select()
    found = runs.runs(_snapshots(context))
    if not select.snapshot:
        named = [run for run in found if run.name == select.run] if select.run else found
        found = runs.first_ours(named or found, context.job.installation)
    run = runs.choose(found, select)
    assert run.whole is not None
    path = context.scratch / "index.json"
    with context.restic.started("dump", "--no-lock", run.whole.id, _INDEX_FILE) as process:
        assert process.stdout
        path.write_bytes(process.stdout.read())
    index = json.loads(path.read_text())
    if index["method"] != method_name(context):
        raise Failure(Reason.INVALID_JOB, f"the run {run.name} was made by the method {index['method']}; write that")
    there = [one["part"] for one in index["parts"]]
    if missing := [name for name in select.parts if name not in there]:
        raise Failure(
            Reason.SNAPSHOT_MISSING, f"the run {run.name} has no part {', '.join(missing)}; it has {', '.join(there)}"
        )
    return run, [
        Saved(one["part"], one["file"], run.here(one["snapshot"]), one["bytes"], json.dumps(one["extra"]))
        for one in index["parts"]
        if not select.parts or one["part"] in select.parts
    ]


def _check(context: Context, result: Result) -> None:
    """The structure, as much of the data as asked for, and whether a run's dumps are whole."""
    context.restic.unlock()
    share = context.job.read_data
    options = [] if not share else ["--read-data"] if share == "100%" else [f"--read-data-subset={share}"]
    result.details["repositoryID"] = context.restic.identity()
    context.restic.run("check", *options)
    result.message = "the repository is sound"
    if context.job.select is None:
        result.details |= _held(context)
        return
    run, saved = _chosen(context)
    method = methods.of(context)
    try:
        for part in saved:
            context.progress.begin(part.name, part.bytes)
            method.prove(part)
            context.progress.end(part.bytes)
    finally:
        method.close()
    result.details |= {"run": run.name, "parts": [part.document() for part in saved]}
    result.message += f", and the run {run.name} can be read from end to end"


def _drill(context: Context, result: Result) -> None:
    """Restore, and ask what was restored."""
    began = datetime.now(UTC)
    _restore(context, result)
    result.details["restoreSeconds"] = round((datetime.now(UTC) - began).total_seconds(), 1)
    method = methods.of(context)
    databases = [str(part["database"]) for part in result.details["parts"] if part.get("database")]
    drill.check(context, result, method.client(databases), method.folder())
    drill.recovered(result, began)
    result.message = _drilled(context, result)


def _drill_check(context: Context, result: Result) -> None:
    """Ask what another job has restored."""
    began = drill.continued(context, result) if context.job.restored else None
    method = methods.of(context) if context.job.method else None
    own, folder = (method.client(), method.folder()) if method else ({}, None)
    if method is not None:
        method.ready()
    drill.check(context, result, own, folder)
    if began is not None:
        drill.recovered(result, began)
    result.message = _drilled(context, result)


def _drilled(context: Context, result: Result) -> str:
    passed = "the check passed" if context.job.check.exec else "nothing was checked"
    return f"the run {result.details['run']} was restored, and {passed}" if "run" in result.details else passed


def _forget(context: Context, result: Result) -> None:
    """Drop exactly the snapshots that are named, or all of one backup that aren't protected; what is gone is fine."""
    ours = {one.id: one for one in _snapshots(context)}
    chosen: list[str] = []
    if context.job.everything:
        mine = [run for run in runs.runs(ours.values()) if run.installation == context.job.installation]
        ours = {one.id: one for run in mine for one in run.snapshots}
        chosen = [one.id for run in mine if not run.protected for one in run.snapshots]
    gone: list[str] = []
    for wanted in context.job.snapshots:
        found = [one for one in ours if len(wanted) >= 8 and one.startswith(wanted)]
        if len(found) > 1:
            raise Failure(Reason.INVALID_JOB, f"job.snapshots: several ids begin with {wanted}; write more of it")
        (chosen if found else gone).append(*(found or [wanted]))
    if chosen:
        context.restic.unlock()
        context.restic.run("forget", *chosen)
    result.details |= {"forgotten": chosen, "notThere": gone}
    result.message = f"{len(chosen)} snapshots forgotten" + (f"; {len(gone)} weren't there" if gone else "")
    if context.job.everything and len(ours) > len(chosen):
        result.message += f"; {len(ours) - len(chosen)} are protected, and kept"


def _retain(context: Context, result: Result) -> None:
    """What a good run does at its end, without one: here a repository that is in use is a failure."""
    context.restic.unlock()
    there = _snapshots(context)
    gone = keeping.unwanted(context, there)
    if gone:
        context.restic.run("forget", *(one.id for run in gone for one in run.snapshots))
    names = frozenset(run.name for run in gone)
    result.details |= {"forgotten": sorted(names), **keeping.listing(there, context.job.installation, names)}
    result.message = f"{len(gone)} runs were removed; {result.details['snapshots']} are kept"


def _prune(context: Context, result: Result) -> None:
    """Remove the data that no snapshot needs; nobody else may use the repository meanwhile."""
    context.restic.unlock()
    result.details["repositoryID"] = context.restic.identity()
    context.restic.run("prune")
    result.details |= _held(context)
    result.message = "the repository was pruned"


def _held(context: Context) -> dict[str, Any]:
    """How much there is in the repository, whosever it is."""
    stats = context.restic.run("stats", "--no-lock", "--mode=raw-data")
    size = int(stats[0]["total_size"]) if stats else 0
    return {"repositoryBytes": size, "repositorySnapshots": len(context.restic.snapshots())}


def _list(context: Context, result: Result) -> None:
    found = runs.runs(_snapshots(context))
    result.details["runs"] = [
        {
            "backup": run.backup, "run": run.name, "time": run.time.isoformat(), "complete": run.whole is not None,
            "bytes": sum(one.bytes for one in run.snapshots if one.part != runs.INDEX),
            "snapshots": [one.id for one in run.snapshots],
        }
        for run in reversed(found)
    ]  # fmt: skip
    result.message = f"{len(found)} runs"


def _unlock(context: Context, result: Result) -> None:
    context.restic.unlock()
    result.message = "stale locks were removed; one that is held stays"


def _snapshots(context: Context) -> list[runs.Snapshot]:
    """Our snapshots, of one backup when the job names one, or of one project's backups, oldest first."""
    job = context.job
    tags = [f"backup={job.backup}"] if job.backup else []
    found = (one for one in map(runs.snapshot, context.restic.snapshots(*tags)) if one is not None)
    return [one for one in found if not job.project or one.backup.startswith(f"{job.project}/")]


def method_name(context: Context) -> str:
    """The job's method, as results and indexes have it."""
    assert context.job.method is not None
    return context.job.method.value


_OPERATIONS: dict[Operation, Callable[[Context, Result], None]] = {
    Operation.INIT: _init,
    Operation.BACKUP: _backup,
    Operation.RESTORE: _restore,
    Operation.CHECK: _check,
    Operation.DRILL: _drill,
    Operation.DRILL_CHECK: _drill_check,
    Operation.FORGET: _forget,
    Operation.RETAIN: _retain,
    Operation.PRUNE: _prune,
    Operation.SNAPSHOTS: _list,
    Operation.UNLOCK: _unlock,
}
