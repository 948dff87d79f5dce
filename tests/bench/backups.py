"""The backup runner against plain restic and pg_dump, on the same server in the same run; and its memory as data grows.

Not part of every ``make bench``: ``make bench BENCH_FLAGS="--backups 1024"`` runs this and nothing else. It needs what
the runner's tests need: root, apt, a restic.
"""

from __future__ import annotations

import contextlib
import os
import random
import resource
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import backup_servers
from backup_servers import PASSWORD, Postgres, running
from runner_jobs import REPOSITORY_PASSWORD, Runner, backup, filesystem

MEBIBYTE = 1024 * 1024
_ROW = 64 * 32  # bytes: md5 sums as text, which compress to about a half
_TRIES = 2  # of which the faster counts, for each side alike

Add = Callable[[str, float, str, str], None]


def measure(add: Add, mebibytes: int) -> None:
    """Note the ratios for ``mebibytes`` of data, and the memory between a twentieth of that and all of it, twice."""
    backup_servers.require()
    with tempfile.TemporaryDirectory(prefix="homeport-bench-", dir="/tmp") as scratch:
        folder = Path(scratch)
        clients = backup_servers.clients(folder / "bin")
        with running(Postgres("bench")) as server:
            fill(server, mebibytes)
            speed(add, server, clients, folder, mebibytes)
        memory(add, clients, folder, mebibytes)


def fill(server: Postgres, mebibytes: int) -> None:
    """A database ``load`` with about so much in one table."""
    rows = mebibytes * MEBIBYTE // _ROW
    server.sql("create database load")
    server.sql(
        "create table load as select n, (select string_agg(md5((n * 64 + m)::text), '') from generate_series(1, 64) m) "
        f"from generate_series(1, {rows}) n",
        "load",
    )


def speed(add: Add, server: Postgres, clients: Path, folder: Path, mebibytes: int) -> None:
    """Backup and restore, plain and by the runner, in turns."""
    names = ("plain backup", "backup", "plain restore", "restore")
    times: dict[str, list[float]] = {name: [] for name in names}
    cpu: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(_TRIES):
        plain, runner = Plain(server, clients, folder / f"plain-{turn}"), _runner(clients, folder / f"runner-{turn}")
        for name, step in (
            ("plain backup", plain.backup),
            ("backup", lambda: runner.backup("Postgres", _server(server, databases=["load"]))),  # noqa: B023
            ("plain restore", plain.restore),
            ("restore", lambda: runner.restore(  # noqa: B023
                "Postgres", _server(server, rename={"load": "load_runner"}), select={"parts": ["database/load"]})),
        ):  # fmt: skip
            began, used = time.perf_counter(), _cpu()
            step()
            times[name].append(time.perf_counter() - began)
            cpu[name].append(_cpu() - used)
        server.sql("drop database load_plain")
        server.sql("drop database load_runner")
    best = {name: min(seconds) for name, seconds in times.items()}
    for name in ("backup", "restore"):
        add(f"{name}-seconds-of-plain-restic", best[f"plain {name}"], "s", f"{mebibytes} MiB")
        add(f"{name}-seconds-of-the-runner", best[name], "s", f"{mebibytes} MiB")
        add(f"{name}-to-plain-restic", best[name] / best[f"plain {name}"], "x", "target: at most 1.1")
        # What a machine that is busy with something else doesn't change.
        share = min(cpu[name]) / min(cpu[f"plain {name}"])
        add(f"{name}-cpu-to-plain-restic", share, "x", f"CPU of the clients; plain: {min(cpu[f'plain {name}']):.1f} s")


def _cpu() -> float:
    """CPU seconds of all processes that this one has waited for, and of those that they have; no server among them."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class Plain:
    """What one would type: restic and PostgreSQL's own programs."""

    def __init__(self, server: Postgres, clients: Path, folder: Path) -> None:
        self._server = server
        self._environment = {
            **os.environ, "PATH": f"{clients}:{os.environ['PATH']}", "RESTIC_REPOSITORY": str(folder / "repository"),
            "RESTIC_PASSWORD": REPOSITORY_PASSWORD, "RESTIC_CACHE_DIR": str(folder / "cache"), "PGHOST": "127.0.0.1",
            "PGPORT": str(server.port), "PGUSER": "admin", "PGPASSWORD": PASSWORD,
        }  # fmt: skip
        self._run("restic init")

    def _run(self, script: str) -> None:
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", script], check=False, capture_output=True, text=True, env=self._environment
        )
        assert done.returncode == 0, done.stderr

    def backup(self) -> None:
        self._run("restic backup --stdin-filename load.dump --stdin-from-command -- pg_dump -Fc -Z0 load")

    def restore(self) -> None:
        self._server.sql("create database load_plain")
        self._run("restic dump latest load.dump | pg_restore --single-transaction --exit-on-error -d load_plain")


def memory(add: Add, clients: Path, folder: Path, mebibytes: int) -> None:
    """The runner's own peak, and restic's, while files of a growing size are saved and restored."""
    peaks = {}
    for size in (max(mebibytes // 10, 1), mebibytes * 2):
        volume = folder / f"volume-{size}"
        volume.mkdir()
        with (volume / "data").open("wb") as file:
            for seed in range(size):
                file.write(random.Random(seed).randbytes(MEBIBYTE))
        runner = _runner(clients, folder / f"memory-{size}")
        peaks[size] = [
            _peak(runner, "backup", **backup("Files", {"paths": [str(volume)]})),
            _peak(runner, "restore", method="Files", tags={"backup": "nightly"},
                  target={"paths": [str(volume / "restored")]}),
        ]  # fmt: skip
        subprocess.run(["rm", "-rf", str(volume), str(runner.folder)], check=True)
    (small, few), (large, many) = sorted(peaks.items())
    for position, name in enumerate(("backup", "restore")):
        for who in ("runner", "restic"):
            add(
                f"{name}-memory-of-{who}",
                many[position][who],
                "MiB",
                f"{large} MiB; {few[position][who]:.0f} at {small} MiB",
            )


def _peak(runner: Runner, operation: str, **fields: object) -> dict[str, float]:
    """The highest resident memory of the runner and of any restic below it, in MiB."""
    job = runner.start(runner.job(operation, **fields))
    found = {"runner": 0.0, "restic": 0.0}
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.05):
            with contextlib.suppress(OSError, ValueError):
                found["runner"] = max(found["runner"], _resident(job.process.pid))
            for pid in _children(job.process.pid):
                with contextlib.suppress(OSError, ValueError):
                    found["restic"] = max(found["restic"], _resident(pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        ended = job.wait()
    finally:
        over.set()
        watcher.join()
    assert ended.code == 0, ended.result
    return found


def _resident(pid: int) -> float:
    """VmHWM: the kernel keeps the peak itself."""
    text = Path(f"/proc/{pid}/status").read_text()
    # One that has ended and wasn't waited for has none.
    return next((int(line.split()[1]) / 1024 for line in text.splitlines() if line.startswith("VmHWM")), 0.0)


def _children(pid: int) -> Iterator[int]:
    with contextlib.suppress(OSError):
        yield from map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())


def _server(server: Postgres, **more: object) -> dict[str, object]:
    return {
        "host": "127.0.0.1",
        "port": server.port,
        "user": {"value": "admin"},
        "password": {"env": "DATABASE_PASSWORD"},
        **more,
    }


def _runner(clients: Path, folder: Path) -> Runner:
    runner = Runner(folder, clients, filesystem(folder / "repository"))
    runner.good("init")
    return runner
