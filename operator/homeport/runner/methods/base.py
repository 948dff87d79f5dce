"""What all methods share: parts that become snapshots, programs that are looked for, errors that are explained."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from homeport.runner import stream
from homeport.runner.job import Job, Place
from homeport.runner.progress import Progress
from homeport.runner.restic import SECRET_VARIABLES, Restic
from homeport.runner.result import Failure, Reason
from homeport.runner.secrets import Secrets

PROBE = 60.0  # seconds that a question to a server may take


@dataclass
class Context:
    """What a method works with."""

    job: Job
    restic: Restic
    secrets: Secrets
    progress: Progress
    scratch: Path
    notes: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    """What a restore couldn't bring back; the rest is there, and the whole counts as incomplete."""
    facts: dict[str, str] = field(default_factory=dict)
    """Versions of servers and clients, for the result and the index."""


class Part(NamedTuple):
    """One snapshot to be: the output of a command, a file of the runner's own, or paths."""

    name: str
    file: str
    """Its path in the snapshot; for paths the first of them."""
    command: tuple[str, ...] = ()
    environment: Mapping[str, str] = {}
    input: Path | None = None
    paths: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    extra: Mapping[str, Any] = {}
    """What a restore has to know beside the data; kept in the run's index."""

    def arguments(self) -> list[str]:
        """restic's, after ``backup``."""
        if self.paths:
            return [*(f"--exclude={pattern}" for pattern in self.exclude), "--", *self.paths]
        if self.command:
            # The dumping program gets its own secrets, and none of the repository's.
            without = [word for name in SECRET_VARIABLES for word in ("-u", name)]
            return [f"--stdin-filename={self.file}", "--stdin-from-command", "--", "env", *without, *self.command]
        return [f"--stdin-filename={self.file}", "--stdin"]


class Saved(NamedTuple):
    """A part as the run's index has it."""

    name: str
    file: str
    snapshot: str
    bytes: int
    extra: str = ""
    """JSON."""

    def document(self) -> dict[str, Any]:
        """As a result lists it."""
        return {"part": self.name, "file": self.file, "snapshot": self.snapshot, "bytes": self.bytes}


class Signs(NamedTuple):
    """What a program's words mean: reasons when it reads, and when it writes."""

    pattern: str
    reading: Reason
    writing: Reason
    sentence: str


UNREACHABLE = (Reason.SOURCE_UNREACHABLE, Reason.TARGET_UNREACHABLE)
DENIED = (Reason.SOURCE_DENIED, Reason.TARGET_DENIED)


class Source(ABC):
    """A method with one job."""

    signs: tuple[Signs, ...] = ()

    def __init__(self, context: Context) -> None:
        self.context = context
        self.job = context.job

    @abstractmethod
    def parts(self) -> Iterator[Part]:
        """Look at the source and answer its parts, one after the other. Raises Failure."""

    @abstractmethod
    def restore(self, parts: Sequence[Saved]) -> list[dict[str, Any]]:
        """Bring the parts to the target, which is looked at before anything is written: what was restored.

        Raises Failure.
        """

    @abstractmethod
    def prove(self, part: Saved) -> None:
        """Read a part from end to end without a server. Raises Failure (CheckFailed or the repository's)."""

    def fetch(self, part: Saved, path: Path) -> None:
        """Write a part into a file, whole or not at all. Raises Failure."""
        try:
            with path.open("wb") as file:
                stream.to_file(self.context.restic, part.snapshot, part.file, file, self.context.progress, part.bytes)
                os.fsync(file.fileno())
        except OSError as error:
            path.unlink(missing_ok=True)
            reason = Reason.TARGET_TOO_SMALL if error.errno == 28 else Reason.TARGET_DENIED
            raise Failure(reason, f"{path.parent} can't be written to: {error.strerror}") from None
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    def client(self, restored: Sequence[str] = ()) -> dict[str, str]:
        """Variables with which client programs reach the target without being told: the first of the databases that
        the job names, else of those that were restored."""
        return {}

    def ready(self) -> None:  # noqa: B027 - most are when they listen
        """Wait until the target can be asked. Raises Failure."""

    def folder(self) -> Path | None:
        """The target, where that is a folder."""
        return None

    def close(self) -> None:  # noqa: B027 - most have nothing
        """Remove what is on the scratch disk."""

    def explain(self, failure: Failure) -> Failure:
        """The same failure with the reason that the dumping program's words give."""
        if failure.reason is not Reason.DUMP_FAILED:
            return failure
        for sign in self.signs:
            if re.search(sign.pattern, failure.message, re.IGNORECASE):
                return Failure(sign.reading, f"{sign.sentence}: {failure.message}")
        return failure

    def refusal(self, words: str, *, writing: bool) -> Failure:
        """A server's refusal, by its words."""
        for sign in self.signs:
            if re.search(sign.pattern, words, re.IGNORECASE):
                return Failure(sign.writing if writing else sign.reading, f"{sign.sentence} ({words})")
        return Failure(Reason.RESTORE_FAILED if writing else Reason.DUMP_FAILED, words)

    def ask(
        self, command: Sequence[str], environment: Mapping[str, str], *, writing: bool = False, text: str = ""
    ) -> str:
        """Run a short command to its end and answer its output. Raises Failure, explained."""
        try:
            done = subprocess.run(
                list(command),
                check=False,
                capture_output=True,
                text=True,
                input=text,
                timeout=PROBE,
                env=dict(environment),
            )
        except subprocess.TimeoutExpired:
            words = f"{Path(command[0]).name} had no answer for {PROBE:.0f} s"
            reasons = UNREACHABLE
            raise Failure(reasons[writing], words) from None
        if done.returncode:
            words = self.context.secrets.scrub((done.stderr or done.stdout).strip())[-500:]
            raise self.refusal(words or f"{Path(command[0]).name} ended with {done.returncode}", writing=writing)
        return done.stdout


def program(*names: str) -> str:
    """The path of the first of these programs that is installed. Raises Failure."""
    for name in names:
        if found := shutil.which(name):
            return found
    raise Failure(
        Reason.TOOL_MISSING, f"{' or '.join(names)} isn't installed here; use an image of the runner that has it"
    )


def environment(**own: str) -> dict[str, str]:
    """The runner's variables with a method's own; empty ones are left out."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RESTIC_", "AWS_"))}
    return {**kept, **{name: value for name, value in own.items() if value}}


def fits(folder: Path, needed: int, reason: Reason, what: str) -> None:
    """Raise Failure unless a folder's disk has room for ``needed`` bytes."""
    there = folder
    while not there.exists():
        there = there.parent
    state = os.statvfs(there)
    free = state.f_bavail * state.f_frsize
    if free < needed:
        raise Failure(reason, f"{folder} has {size(free)} free and {size(needed)} are needed for {what}")


def size(count: float) -> str:
    """Bytes for people."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def one_path(place: Place, field_name: str) -> Path:
    """The only path of a place. Raises Failure."""
    if len(place.paths) != 1:
        raise Failure(Reason.INVALID_JOB, f"job.{field_name}.paths: this method takes exactly one path")
    return Path(place.paths[0])
