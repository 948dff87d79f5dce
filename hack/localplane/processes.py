"""Background processes that outlive their starter and can be found again: never by a pid alone.

A record holds the pid together with the moment the process started, so that a recycled pid is never taken for ours.
Every process carries a mark in its environment too: a starter that was killed between fork and record leaves no
stray behind on Linux, where the mark can be read.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

MARK = "HOMEPORT_LOCALPLANE"
UNKILLABLE = 10.0  # seconds after which even SIGKILL is given up on
LOG_LIMIT = 20 * 1024 * 1024
PROC = Path("/proc")


@dataclass(frozen=True)
class Record:
    """A started process, as its file under pids/ keeps it."""

    name: str
    pid: int
    born: str
    digest: str
    started: float
    port: int = 0

    @property
    def alive(self) -> bool:
        """Whether this very process still runs."""
        return bool(self.born) and birth(self.pid) == self.born

    def signal(self, number: signal.Signals) -> bool:
        """Send a signal to it, never to another that got its pid since."""
        if not self.alive:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)
            return True
        return False


def birth(pid: int) -> str:
    """When a process started, in its system's own words; empty when it's gone or only a zombie."""
    if PROC.joinpath("self/stat").exists():
        try:
            fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            return ""
        return "" if fields[0] in "ZX" else fields[19]
    done = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], check=False, capture_output=True, text=True)
    state, _, started = done.stdout.strip().partition(" ")
    return "" if state.startswith("Z") else started.strip()


def command_digest(command: Sequence[str], environment: Mapping[str, str] | None = None) -> str:
    """Tells whether a running process is the one that would be started now."""
    return hashlib.sha256(json.dumps([list(command), sorted((environment or {}).items())]).encode()).hexdigest()[:16]


class Processes:
    """The processes whose records are in one folder."""

    def __init__(self, pids: Path, logs: Path) -> None:
        self._pids = pids
        self._logs = logs
        self._children: dict[int, subprocess.Popen[bytes]] = {}

    @property
    def mark(self) -> str:
        """What our processes carry in their environment."""
        return str(self._pids)

    def log(self, name: str) -> Path:
        """Where a process writes."""
        return self._logs / f"{name}.log"

    def record(self, name: str) -> Record | None:
        """What is known about a process, alive or not."""
        try:
            return Record(**json.loads((self._pids / f"{name}.json").read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def records(self) -> list[Record]:
        """All the processes that were started and not stopped."""
        found = (self.record(path.stem) for path in sorted(self._pids.glob("*.json")))
        return [record for record in found if record]

    def alive(self, name: str) -> Record | None:
        """The process by this name if it runs."""
        self.reap()
        record = self.record(name)
        return record if record and record.alive else None

    def start(
        self, name: str, command: Sequence[str], *, port: int = 0, environment: Mapping[str, str] | None = None,
    ) -> Record:  # fmt: skip
        """Start a process in a session of its own, its output appended to its log."""
        for folder in (self._pids, self._logs):
            folder.mkdir(parents=True, exist_ok=True)
        log = self.log(name)
        if log.exists() and log.stat().st_size > LOG_LIMIT:
            log.replace(log.with_suffix(".log.1"))
        with log.open("ab") as output:
            child = subprocess.Popen(
                list(command), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                start_new_session=True, env={**os.environ, **(environment or {}), MARK: self.mark}, cwd=self._logs,
            )  # fmt: skip
        self._children[child.pid] = child
        digest = command_digest(command, environment)
        record = Record(name, child.pid, birth(child.pid), digest, time.time(), port)
        write_atomically(self._pids / f"{name}.json", json.dumps(asdict(record)))
        return record

    def reap(self) -> None:
        """Take leave of children that ended."""
        for pid, child in list(self._children.items()):
            if child.poll() is not None:
                del self._children[pid]

    def stop(self, names: Iterable[str], grace: float) -> None:
        """Ask processes to end, together; end those that don't within `grace` seconds."""
        records = [record for name in names if (record := self.record(name))]
        for record in records:
            record.signal(signal.SIGTERM)
            record.signal(signal.SIGCONT)  # a paused process only sees the first once it goes on
        deadline = time.monotonic() + grace
        while any(record.alive for record in records):
            self.reap()
            if time.monotonic() > deadline:
                for record in records:
                    record.signal(signal.SIGKILL)
            if time.monotonic() > deadline + UNKILLABLE:
                break
            time.sleep(0.02)
        self.reap()
        for record in records:
            (self._pids / f"{record.name}.json").unlink(missing_ok=True)

    def kill_all(self) -> None:
        """End everything at once: what is recorded, and strays that carry our mark."""
        records = self.records()
        everything = [*((record.pid, record.born) for record in records), *((pid, birth(pid)) for pid in self.strays())]
        for pid, born in everything:
            if born and birth(pid) == born:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + UNKILLABLE
        while any(born and birth(pid) == born for pid, born in everything) and time.monotonic() < deadline:
            self.reap()
            time.sleep(0.01)
        self.reap()
        for record in records:
            (self._pids / f"{record.name}.json").unlink(missing_ok=True)

    def strays(self) -> list[int]:
        """Processes that carry our mark and have no record."""
        if sys.platform != "linux":
            return []
        known = {os.getpid(), *(record.pid for record in self.records())}
        wanted = f"{MARK}={self.mark}".encode()
        found = []
        for environment in PROC.glob("[0-9]*/environ"):
            pid = int(environment.parent.name)
            with contextlib.suppress(OSError):
                if pid not in known and wanted in environment.read_bytes().split(b"\0") and birth(pid):
                    found.append(pid)
        return found

    def tail(self, name: str, lines: int = 15) -> str:
        """The last lines of a process's log."""
        try:
            return "\n".join(self.log(name).read_text(errors="replace").splitlines()[-lines:])
        except OSError:
            return ""


def write_atomically(path: Path, text: str, mode: int = 0o600) -> None:
    """Write a whole file or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text)
    temporary.chmod(mode)
    temporary.replace(path)
