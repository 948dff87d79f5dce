"""Builds tools with Go: a queue of modules, each tool locked, built to a temporary name, renamed into the cache."""

from __future__ import annotations

import os
import queue
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterable
from pathlib import Path

from localplane.locks import file_lock
from localplane.progress import Progress
from localplane.toolchain import find_go
from localplane.tools import BUILD_FLAGS, Tool, built_path, cache_directory

NETWORK_TRIES = 3


class BuildError(RuntimeError):
    """A tool did not build; the message ends with what the compiler said."""


class Builder:
    """Builds tools, as many modules side by side as the cores carry."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._running: set[subprocess.Popen[str]] = set()
        self._stopped = threading.Event()
        self._failures: list[Exception] = []

    def build(self, tools: Iterable[Tool]) -> None:
        """Build every tool into the cache, or raise BuildError for the first that failed.

        Tools of one module run one after the other (they share nearly everything), modules side by side; one Go
        build at a time per two cores, at least two, so that linking one never leaves a core idle.
        """
        modules: dict[str, list[Tool]] = {}
        for tool in tools:
            modules.setdefault(tool.module, []).append(tool)
            self._progress.waiting(tool.name)
        pending: queue.SimpleQueue[list[Tool]] = queue.SimpleQueue()
        for group in sorted(modules.values(), key=len, reverse=True):
            pending.put(group)
        workers = min(len(modules), max(2, (os.cpu_count() or 2) // 2))
        threads = [threading.Thread(target=self._work, args=(pending,), daemon=True) for _ in range(workers)]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                while thread.is_alive():
                    thread.join(0.2)
        finally:
            self.stop()
        if self._failures:
            raise self._failures[0]

    def _work(self, pending: queue.SimpleQueue[list[Tool]]) -> None:
        while not self._stopped.is_set():
            try:
                group = pending.get_nowait()
            except queue.Empty:
                return
            for tool in group:
                if self._stopped.is_set():
                    return
                try:
                    self._build_one(tool)
                except Exception as error:
                    self._progress.failed(tool.name)
                    self._failures.append(error)
                    self.stop()
                    return

    def _build_one(self, tool: Tool) -> None:
        target = built_path(tool)
        lock = cache_directory() / "locks" / f"{tool.name}-{target.parent.name}.lock"
        with file_lock(lock, waiting=lambda: self._progress.note(tool.name, "waiting: another process builds it")):
            if target.exists():
                self._progress.done(tool.name, "built meanwhile by another process")
                return
            go = find_go(tool.go, lambda text: self._progress.note(tool.name, text))
            environment = {**os.environ, **tool.environment}
            environment.pop("GOROOT", None)  # another toolchain's, when Go came from the wheel
            self._download(tool, go, environment)
            self._compile(tool, go, environment, target)

    def _download(self, tool: Tool, go: str, environment: dict[str, str]) -> None:
        self._progress.note(tool.name, "getting sources")
        for attempt in range(1, NETWORK_TRIES + 1):
            code, output = self._run(tool, [go, "list", "-deps", "-f", "", tool.package], environment)
            if code == 0 or self._stopped.is_set():
                return
            time.sleep(attempt)
        raise BuildError(f"the sources of {tool.name} {tool.version} could not be had:\n{output}")

    def _compile(self, tool: Tool, go: str, environment: dict[str, str], target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        for leftover in target.parent.glob(f".{tool.name}.*"):  # of a build that was killed; its lock is ours now
            leftover.unlink(missing_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{tool.name}.", dir=target.parent)
        os.close(descriptor)
        temporary = Path(name)
        self._progress.building(tool.name)
        started = time.monotonic()
        try:
            command = [go, "build", "-v", *BUILD_FLAGS, *(("-tags", " ".join(tool.tags)) if tool.tags else ())]
            command += ["-ldflags", tool.ldflags, "-o", str(temporary), tool.package]
            code, output = self._run(tool, command, environment)
            if code or self._stopped.is_set():
                raise BuildError(f"building {tool.name} {tool.version} failed:\n{output}")
            self._keep_folders(tool, go, environment, target.parent)
            temporary.chmod(0o755)
            temporary.rename(target)
        finally:
            temporary.unlink(missing_ok=True)
        self._progress.done(tool.name, f"built in {time.monotonic() - started:.0f} s")

    def _keep_folders(self, tool: Tool, go: str, environment: dict[str, str], beside: Path) -> None:
        """What it reads as it runs, out of its module: Go's cache of modules may be emptied at any time."""
        if not tool.folders:
            return
        command = [go, "list", "-f", "{{.Module.Dir}}", tool.package]
        done = subprocess.run(command, cwd=tool.directory, env=environment, text=True, capture_output=True, check=False)
        if done.returncode:
            raise BuildError(f"the folders of {tool.name} {tool.version} can't be found:\n{done.stderr}")
        for name in tool.folders:
            source = Path(done.stdout.strip()) / name
            if source.is_dir():
                shutil.copytree(source, beside / name, dirs_exist_ok=True, copy_function=shutil.copyfile)
                for folder, _, _ in os.walk(beside / name):
                    Path(folder).chmod(0o755)  # Go's cache is read-only

    def _run(self, tool: Tool, command: list[str], environment: dict[str, str]) -> tuple[int, str]:
        """Run one go command; its package lines count as progress, everything else is kept for an error."""
        process = subprocess.Popen(
            command, cwd=tool.directory, env=environment, text=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        self._running.add(process)
        kept: list[str] = []
        packages = 0
        assert process.stderr
        for line in process.stderr:
            if re.fullmatch(r"[\w.~/+-]+\n", line):
                packages += 1
                self._progress.packages(tool.name, packages)
            elif not line.startswith("go: downloading"):
                kept = [*kept[-30:], line]
        code = process.wait()
        self._running.discard(process)
        return code, "".join(kept).strip()

    def stop(self) -> None:
        """End the builds that run; what they leave is cleared away by the next."""
        self._stopped.set()
        for process in list(self._running):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
