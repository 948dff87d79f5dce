"""Runs a program over files of a repository: bounded, without network, in a folder and an environment of its own."""

from __future__ import annotations

import contextlib
import functools
import os
import selectors
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from homeport.plan.gitops.build import OUTPUT

VARIABLE = "HOMEPORT_{}"
"""Where a program is, if it isn't on PATH: HOMEPORT_KUSTOMIZE, HOMEPORT_HELM, HOMEPORT_SOPS."""
SAID = 64 * 1024
"""Bytes of a program's errors that are read."""
MEMORY_FOLDER = Path("/dev/shm")  # noqa: S108 - each gets a folder of its own, that nobody else may enter  # nosec B108
# CPU seconds; memory in KiB; files in 512 bytes (POSIX).
_BOUNDED = 'ulimit -t "$1"; ulimit -v "$2"; ulimit -f "$3"; ulimit -c 0; shift 3; exec "$@"'


class ProgramFailed(Exception):  # noqa: N818 - what a program said
    """A program didn't do what it was asked for. ``passes``: whether another try may help. ``ours``: whether the words
    are our own, and quote nothing that the program read."""

    def __init__(self, message: str, passes: bool = False, ours: bool = True) -> None:
        super().__init__(message)
        self.passes = passes
        self.ours = ours


@dataclass(frozen=True)
class Limits:
    """What one run may take."""

    seconds: float = 60.0
    """By the clock."""
    cpu: int = 30
    """Seconds of CPU."""
    memory: int = 3 * 1024**3
    """Bytes of address space; Go reserves far more than it uses."""
    output: int = OUTPUT
    """Bytes, printed or written."""


@dataclass
class Scratch:
    """A folder for one run, which nobody else may enter; gone when it ends.

    ``private`` asks for one in memory, for what was decrypted. ``in_memory`` tells whether it is: where the system has
    no such folder, it is on the disk.
    """

    private: bool = False
    path: Path = field(init=False)
    in_memory: bool = field(init=False, default=False)

    def __enter__(self) -> Scratch:
        self.in_memory = self.private and os.access(MEMORY_FOLDER, os.W_OK)
        where = MEMORY_FOLDER if self.in_memory else None
        self.path = Path(tempfile.mkdtemp(prefix="homeport-build-", dir=where))
        return self

    def __exit__(self, *error: object) -> None:
        shutil.rmtree(self.path, ignore_errors=True)

    def write(self, files: Mapping[str, bytes], below: str = "") -> None:
        """Write files by their paths; folders are made."""
        made: set[Path] = set()
        for name, content in files.items():
            path = self.path / below / name
            if path.parent not in made:
                path.parent.mkdir(parents=True, exist_ok=True)
                made.add(path.parent)
            path.write_bytes(content)


class Programs:
    """The programs, by name. Threads may share it."""

    def __init__(self, limits: Limits | None = None, paths: Mapping[str, str] | None = None) -> None:
        self.limits = limits or Limits()
        self._paths = dict(paths or {})
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._stopped = False

    def path(self, name: str) -> str:
        """Where a program is. Raises ProgramFailed."""
        named = self._paths.get(name) or os.environ.get(VARIABLE.format(name.upper()))
        found = named or shutil.which(name)
        if not found or not os.access(found, os.X_OK):
            raise ProgramFailed(
                f"{name} isn't there{f': {named}' if named else ''}; the operator needs it on PATH, or its path in "
                f"{VARIABLE.format(name.upper())}"
            )
        return str(Path(found).absolute())

    def run(
        self,
        name: str,
        arguments: Sequence[str],
        scratch: Scratch,
        *,
        given: bytes = b"",
        environment: Mapping[str, str] | None = None,
        seconds: float | None = None,
        network: bool = False,
        passed: Collection[int] = (),
    ) -> bytes:
        """What a program prints. ``passed``: file descriptors that it gets. Raises ProgramFailed with what it said."""
        limits = self.limits
        until = time.monotonic() + min(limits.seconds, seconds if seconds is not None else limits.seconds)
        bounds = [str(limits.cpu), str(limits.memory // 1024), str(limits.output // 512)]
        process = subprocess.Popen(
            [*([] if network else cut_off()), "/bin/sh", "-c", _BOUNDED, name, *bounds, self.path(name), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=scratch.path,
            env={
                "HOME": str(scratch.path),
                "TMPDIR": str(scratch.path),
                "LC_ALL": "C",
                "PATH": os.environ.get("PATH", "") if network else "/nonexistent",
                **(environment or {}),
            },
            start_new_session=True,
            pass_fds=tuple(passed),
        )
        with self._known(process):
            out, said = _spoken(process, given, until, limits.output)
        if process.returncode:
            raise _ended(process.returncode, said, limits)
        return out

    @contextlib.contextmanager
    def _known(self, process: subprocess.Popen[bytes]) -> Iterator[None]:
        with self._lock:
            self._running.add(process)
            stopped = self._stopped
        try:
            if stopped:
                raise ProgramFailed("the operator ends", passes=True)
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    with contextlib.suppress(OSError):
                        stream.close()
            with self._lock:
                self._running.discard(process)

    def stop(self) -> None:
        """End everything that runs."""
        with self._lock:
            self._stopped = True
            for process in self._running:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)


def _spoken(process: subprocess.Popen[bytes], given: bytes, until: float, limit: int) -> tuple[bytes, bytes]:
    """(standard output, standard error) of a process that gets ``given``. Raises ProgramFailed."""
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    out, said, left = bytearray(), bytearray(), memoryview(given)
    with selectors.DefaultSelector() as waiting:
        for stream, event in ((process.stdout, selectors.EVENT_READ), (process.stderr, selectors.EVENT_READ),
                              (process.stdin, selectors.EVENT_WRITE)):  # fmt: skip
            os.set_blocking(stream.fileno(), False)
            waiting.register(stream, event)
        while waiting.get_map():
            rest = until - time.monotonic()
            ready = waiting.select(rest) if rest > 0 else []
            if not ready and time.monotonic() >= until:
                raise ProgramFailed("it takes too long and was ended; is something in it without an end?")
            for key, _ in ready:
                if key.fileobj is process.stdin:
                    left = _given(process, left)
                    if not left:
                        waiting.unregister(process.stdin)
                        process.stdin.close()
                    continue
                piece = os.read(key.fd, 1024 * 1024)
                if not piece:
                    waiting.unregister(key.fileobj)
                elif key.fileobj is process.stdout:
                    out += piece
                    if len(out) > limit:
                        raise ProgramFailed(f"it makes more than {limit // 1024**2} MiB")
                else:
                    said += piece[: SAID - len(said)]
    try:
        process.wait(max(0.1, until - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise ProgramFailed("it takes too long and was ended") from None
    return bytes(out), bytes(said)


def _given(process: subprocess.Popen[bytes], left: memoryview) -> memoryview:
    assert process.stdin is not None
    if not left:
        return left
    try:
        return left[os.write(process.stdin.fileno(), left[: 64 * 1024]) :]
    except BlockingIOError:
        return left
    except BrokenPipeError:
        return left[:0]


def _ended(code: int, said: bytes, limits: Limits) -> ProgramFailed:
    text = said.decode(errors="replace").strip()
    if code in (-signal.SIGXCPU, -signal.SIGKILL, 128 + signal.SIGXCPU, 128 + signal.SIGKILL):
        told = f"it takes more than {limits.cpu} s of CPU, or too much memory; is something in it without an end?"
        return ProgramFailed(told)
    if "out of memory" in text or "cannot allocate memory" in text:
        return ProgramFailed(f"it needs more than {limits.memory // 1024**3} GiB of memory")
    return ProgramFailed(text or f"it ended with code {code} and said nothing", ours=not text)


@functools.cache
def cut_off() -> tuple[str, ...]:
    """What a command begins with that has no network; empty where the system doesn't allow that."""
    unshare = shutil.which("unshare")
    ways = (("--net",), ("--user", "--map-current-user", "--net"))
    for way in ways if unshare else ():
        command = (str(unshare), *way, "--")
        try:
            done = subprocess.run([*command, "/bin/sh", "-c", "exit 0"], capture_output=True, timeout=10, check=False)
        except (OSError, subprocess.TimeoutExpired):
            continue
        if done.returncode == 0:
            return command
    return ()
