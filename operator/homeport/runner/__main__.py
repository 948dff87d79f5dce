"""``python -m homeport.runner JOB``: does one job, and says how it went."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
import traceback
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from homeport.runner import job as jobs
from homeport.runner.methods.base import Context
from homeport.runner.operations import perform
from homeport.runner.progress import Progress
from homeport.runner.restic import Restic
from homeport.runner.result import Failure, Outcome, Reason, Result
from homeport.runner.secrets import Reference, Secrets


def main(arguments: list[str] | None = None) -> int:
    """Run one job; the exit code says how it went, see ``Result.exit_code``."""
    parser = argparse.ArgumentParser(prog="python -m homeport.runner", description=__doc__)
    parser.add_argument("job", type=Path, nargs="?", help="the job, a JSON file; - reads standard input")
    parser.add_argument("--job-env", metavar="NAME", help="the variable that has the job, instead of a file")
    parser.add_argument("--result", type=Path, help="where the whole result is written, as JSON")
    parser.add_argument("--termination-log", type=Path, help="where at most 4096 bytes of it are written")
    parser.add_argument("--scratch", type=Path, help="a folder for restic's cache and for copies of SQLite databases")
    options = parser.parse_args(arguments)
    if (options.job is None) == (options.job_env is None):
        parser.error("write either JOB or --job-env NAME")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _interrupt)
    progress, began = Progress(), time.monotonic()
    result = Result("", started=_now())
    secrets = Secrets()
    try:
        job = jobs.parse(_text(options))
        result.operation = job.operation.value
        with tempfile.TemporaryDirectory(prefix="homeport-runner-", dir=options.scratch) as scratch:
            _perform(job, secrets, progress, Path(scratch), result)
    except Failure as failure:
        result.outcome, result.reason, result.message = failure.outcome, failure.reason, failure.message
    except OSError as error:
        reason = Reason.SCRATCH_FULL if error.errno == 28 else Reason.FAULT
        result.outcome, result.reason, result.message = Outcome.FAILED, reason, str(error)
    except Exception as error:
        traceback.print_exc()
        result.outcome, result.reason, result.message = (
            Outcome.FAILED,
            Reason.FAULT,
            f"a fault of the runner: {error!r}",
        )
    # What is left is to say so; another signal mustn't cut that off.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    result.message = secrets.scrub(result.message)
    result.notes = [secrets.scrub(note) for note in result.notes]
    result.finished, result.duration_seconds = _now(), time.monotonic() - began
    _write(options.result, json.dumps(result.document(), ensure_ascii=False, indent=1).encode())
    _write(options.termination_log, result.termination())
    progress.say("result", **result.document())
    return result.exit_code


def _text(options: argparse.Namespace) -> str:
    """The job as it is written. Raises Failure and OSError."""
    if options.job_env is not None:
        text = os.environ.pop(options.job_env, None)
        if text is None:
            raise Failure(Reason.INVALID_JOB, f"the variable {options.job_env}, which is to have the job, isn't set")
        return text
    return sys.stdin.read() if str(options.job) == "-" else str(options.job.read_text())


def _perform(job: jobs.Job, secrets: Secrets, progress: Progress, scratch: Path, result: Result) -> None:
    repository = job.repository or jobs.Repository(Reference(""), path=os.devnull)
    context = Context(
        job, Restic(repository, secrets, progress, scratch), secrets, progress, scratch, notes=result.notes
    )
    perform(context, result)


def _write(path: Path | None, content: bytes) -> None:
    """Whole or not at all, but for what can't be renamed over, such as a mounted file."""
    if path is None:
        return
    if path.exists():
        path.write_bytes(content)
        return
    beside = path.with_name(f".{path.name}.new")
    beside.write_bytes(content)
    beside.replace(path)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise Failure(Reason.INTERRUPTED, f"the runner was told to stop ({signal.Signals(number).name})")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


if __name__ == "__main__":
    sys.exit(main())
