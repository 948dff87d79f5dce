"""Drills: what was restored is asked a question, and how long it took until it had answered is measured."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from homeport.runner import expect
from homeport.runner.job import Job
from homeport.runner.methods.base import Context
from homeport.runner.result import Failure, Reason, Result
from homeport.runner.secrets import Reference

_OUTPUT = 2000  # characters of a check's output in a result
_OF_A_RESTORE = ("method", "run", "takenAt", "snapshot", "parts", "bytes")


def check(context: Context, result: Result, own: Mapping[str, str], folder: Path | None = None) -> None:
    """Run the job's check with ``own`` variables, in ``folder``; its output counts as much as its exit code.

    Raises Failure. What it printed is in the result either way.
    """
    asked = context.job.check
    if not asked.exec:
        context.notes.append("no check was asked for: that it could be restored is all that is proven")
        return
    said = result.details["check"] = {"passed": False, "output": ""}
    try:
        done = subprocess.run(
            list(asked.exec), check=False, capture_output=True, text=True, errors="replace", timeout=asked.timeout,
            env={**_environment(context.job), **own}, cwd=folder, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise Failure(Reason.CHECK_FAILED, f"the check had no answer for {asked.timeout} s") from None
    except OSError as error:
        raise Failure(Reason.TOOL_MISSING, f"{asked.exec[0]} can't be run: {error.strerror}") from None
    output = context.secrets.scrub(done.stdout)
    said["output"] = output[:_OUTPUT]
    if done.returncode:
        words = context.secrets.scrub(done.stderr.strip())[-300:]
        raise Failure(Reason.CHECK_FAILED, f"the check ended with {done.returncode}: {words or output[-300:]}")
    if problem := expect.problem(asked.expect, output):
        raise Failure(Reason.CHECK_FAILED, problem)
    if not asked.expect:
        context.notes.append("nothing was expected of the check's output: it would pass on an empty table too")
    said["passed"] = True


def continued(context: Context, result: Result) -> datetime:
    """Take over what the restore before this check has said of itself; when it began. Raises Failure."""
    path = Path(context.job.restored)
    try:
        before: dict[str, Any] = json.loads(path.read_text())
        began = datetime.fromisoformat(before["startedAt"])
    except (OSError, ValueError, KeyError) as error:
        raise Failure(Reason.INVALID_JOB, f"job.restored: {path} isn't the result of a restore: {error}") from None
    result.details |= {name: before[name] for name in _OF_A_RESTORE if name in before}
    result.details["restoreSeconds"] = before.get("durationSeconds", 0)
    context.notes += before.get("notes") or ()
    return began


def recovered(result: Result, began: datetime) -> None:
    """Note how long it took from the restore's beginning until the check had passed: the recovery time, measured."""
    result.details["recoverySeconds"] = round((datetime.now(UTC) - began).total_seconds(), 1)


def _environment(job: Job) -> dict[str, str]:
    """The runner's variables without the repository's keys: a check has no business with them."""
    repository = job.repository
    keys: list[Reference | None] = []
    if repository is not None:
        keys = [repository.password]
        keys += [repository.s3.access_key, repository.s3.secret_key] if repository.s3 else []
    hidden = {key.env for key in keys if key is not None}
    return {
        name: value
        for name, value in os.environ.items()
        if name not in hidden and not name.startswith(("RESTIC_", "AWS_", "HOMEPORT_JOB"))
    }
