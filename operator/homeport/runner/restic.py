"""restic as a program: started with the repository's settings, followed line by line, its ends diagnosed."""

from __future__ import annotations

import collections
import contextlib
import json
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from homeport.runner import diagnose
from homeport.runner.job import Repository
from homeport.runner.progress import Progress
from homeport.runner.result import Failure, Reason
from homeport.runner.secrets import Secrets

LOWEST = (0, 17, 1)  # the first with --stdin-from-command whose failing command is never a snapshot
_KEPT = 40  # lines of standard error
_PATIENCE = 10.0  # seconds that restic gets to give its lock back when it is stopped
_RETRYING = "returned error, retrying after"
_RECOVERED = "operation successful after"
# restic would try these for 15 minutes too.
_HOPELESS = (Reason.REPOSITORY_DENIED, Reason.REPOSITORY_MISSING)
# What a dumping program has no business with.
SECRET_VARIABLES = ("RESTIC_PASSWORD", "RESTIC_PASSWORD_FILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")

Line = dict[str, Any]


class Restic:
    """One repository. ``scratch`` is a folder of the runner's own; restic's cache is in it."""

    def __init__(self, repository: Repository, secrets: Secrets, progress: Progress, scratch: Path) -> None:
        self.repository = repository
        self.scratch = scratch
        self._secrets = secrets
        self._progress = progress
        self._environment = _environment(repository, secrets, scratch)
        self._program = shutil.which("restic") or ""
        self._version = ""

    def version(self) -> str:
        """restic's version. Raises Failure when it is missing or too old."""
        if not self._version:
            if not self._program:
                raise Failure(Reason.TOOL_MISSING, "restic isn't installed here")
            said = subprocess.run(
                [self._program, "version"], check=False, capture_output=True, text=True
            ).stdout.split()
            version = said[1] if len(said) > 1 else "0"
            numbers = tuple(int(part) for part in version.split("-")[0].split(".") if part.isdecimal())
            if numbers < LOWEST:
                wanted = ".".join(map(str, LOWEST))
                raise Failure(Reason.TOOL_MISSING, f"restic {version} is too old; {wanted} or newer is needed")
            self._version = version
        return self._version

    def run(
        self,
        *arguments: str,
        stdin: IO[bytes] | None = None,
        environment: Mapping[str, str] | None = None,
        each: Callable[[Line], None] | None = None,
    ) -> list[Line]:
        """Run a command to its end and answer the objects that it printed, but for those of progress.

        Raises Failure for every exit code that isn't 0.
        """
        kept: list[Line] = []
        try:
            with self.started(*arguments, stdin=stdin, environment=environment) as process:
                assert process.stdout
                for line in process.stdout:
                    for document in _documents(line):
                        if each is not None:
                            each(document)
                        if document.get("message_type") not in ("status", "verbose_status"):
                            kept.append(document)
        except Failure as failure:
            failure.lines = kept
            raise
        return kept

    @contextlib.contextmanager
    def started(
        self, *arguments: str, stdin: IO[bytes] | None = None, environment: Mapping[str, str] | None = None
    ) -> Iterator[subprocess.Popen[bytes]]:
        """A restic that runs, with its output in a pipe. Leaving waits for its end, and raises Failure for a bad one;
        leaving by an exception stops it."""
        self.version()
        command = [
            self._program,
            "--json",
            f"--retry-lock={self.repository.lock_wait}s",
            *self._certificate(),
            *arguments,
        ]
        process = subprocess.Popen(
            command, stdin=stdin or subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**self._environment, **(environment or {})}, start_new_session=False,
        )  # fmt: skip
        listener = _Listener(process, self.repository.give_up, self._progress, self._secrets)
        try:
            yield process
            code = process.wait()
        except BaseException:
            stop(process)
            raise
        finally:
            if process.stdout:
                process.stdout.close()
            listener.end()
        if code or listener.gave_up:
            raise listener.failure(code, str(self.scratch))

    def _certificate(self) -> list[str]:
        s3 = self.repository.s3
        return [f"--cacert={s3.ca_file}"] if s3 and s3.ca_file else []

    # What jobs are made of

    def snapshots(self, *tags: str) -> list[Line]:
        """All snapshots that carry all of the tags, oldest first."""
        chosen = [f"--tag={','.join(tags)}"] if tags else []
        found = self.run("snapshots", "--no-lock", *chosen)
        return sorted(found, key=lambda snapshot: str(snapshot["time"]))

    def unlock(self) -> None:
        """Remove locks that restic takes for stale: 30 minutes old, or of a dead process of this very host."""
        self.run("unlock")

    def identity(self) -> str:
        """The repository's own id, which tells it from another at the same place."""
        with self.started("cat", "config") as process:
            assert process.stdout
            return str(json.loads(process.stdout.read()).get("id", ""))

    def exists(self) -> bool:
        """Whether there is a repository that opens with the password."""
        try:
            self.run("cat", "config")
        except Failure as failure:
            if failure.reason is Reason.REPOSITORY_MISSING and "bucket" not in failure.message:
                return False
            raise
        return True


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a program: asked first, so that it can give back what it holds."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _environment(repository: Repository, secrets: Secrets, scratch: Path) -> dict[str, str]:
    """restic's settings; the job's own variables keep out of its way."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RESTIC_", "AWS_"))}
    environment = {
        **kept,
        "RESTIC_PASSWORD": secrets.read(repository.password),
        "RESTIC_CACHE_DIR": str(scratch / "cache"),
        "RESTIC_PROGRESS_FPS": "2",
        "TMPDIR": str(scratch),
    }
    if repository.s3:
        s3 = repository.s3
        environment |= {
            "RESTIC_REPOSITORY": "s3:" + "/".join(filter(None, (s3.endpoint.rstrip("/"), s3.bucket, s3.prefix))),
            "AWS_ACCESS_KEY_ID": secrets.read(s3.access_key),
            "AWS_SECRET_ACCESS_KEY": secrets.read(s3.secret_key),
            **({"AWS_DEFAULT_REGION": s3.region} if s3.region else {}),
        }
    else:
        environment["RESTIC_REPOSITORY"] = repository.path
    return environment


def _documents(line: bytes) -> list[Line]:
    """The objects of a line: one, a list of them, or none when it isn't JSON."""
    try:
        document = json.loads(line)
    except ValueError:
        return []
    return [part for part in (document if isinstance(document, list) else [document]) if isinstance(part, dict)]


def _why(line: str) -> str:
    """The error in a line that tells of a retry."""
    return line.partition(_RETRYING)[2].partition(": ")[2] or line


class _Listener:
    """Follows restic's standard error: keeps the last lines, tells of retries, ends a restic that retries in vain."""

    def __init__(self, process: subprocess.Popen[bytes], give_up: int, progress: Progress, secrets: Secrets) -> None:
        self.gave_up = False
        self._process = process
        self._seconds = give_up
        self._progress = progress
        self._secrets = secrets
        self._lines: collections.deque[str] = collections.deque(maxlen=_KEPT)
        self._timer: threading.Timer | None = None
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        assert self._process.stderr
        for raw in self._process.stderr:
            line = self._secrets.scrub(raw.decode(errors="replace").rstrip())
            self._lines.append(line)
            if _RETRYING in line:
                self._progress.say("retrying", message=line[:300])
                if diagnose.failure(1, [_why(line)]).reason in _HOPELESS:
                    self._end_it()
                elif self._timer is None:
                    self._timer = threading.Timer(self._seconds, self._end_it)
                    self._timer.daemon = True
                    self._timer.start()
            elif _RECOVERED in line:
                self._calm()

    def _end_it(self) -> None:
        self.gave_up = True
        # Not SIGINT: giving the lock back would be tried as patiently.
        self._process.kill()

    def _calm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def end(self) -> None:
        """restic has ended."""
        self._calm()
        self._thread.join(_PATIENCE)
        if self._process.stderr:
            self._process.stderr.close()

    def failure(self, code: int, scratch: str) -> Failure:
        """Why it ended so."""
        lines = list(self._lines)
        if self.gave_up:
            last = next((line for line in reversed(lines) if _RETRYING in line), "")
            why = _why(last)
            found = diagnose.failure(1, [why], scratch=scratch)
            if found.reason not in (Reason.REPOSITORY_FAILED, Reason.REPOSITORY_UNREACHABLE):
                return found
            return Failure(
                Reason.REPOSITORY_UNREACHABLE, f"the store didn't answer for {self._seconds} s ({why[:300]})"
            )
        return diagnose.failure(code, lines, scratch=scratch)
