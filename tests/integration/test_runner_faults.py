"""What breaks, broken on purpose: each is detected and told, and never a success.

The table is in ``docs/backup-runner.md``.
"""

from __future__ import annotations

import ctypes
import os
import random
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backup_servers import MariaDB, Redis, S3Server, running
from cable import Cut
from runner_jobs import Ended, Runner, backup, filesystem, s3

pytestmark = [pytest.mark.integration, pytest.mark.faults]

MEBIBYTE = 1024 * 1024


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    root = tmp_path / "volume"
    root.mkdir()
    (root / "data").write_bytes(random.Random(1).randbytes(4 * MEBIBYTE))
    return root


def files(volume: Path, run: str = "run-1") -> dict[str, Any]:
    return backup("Files", {"paths": [str(volume)]}, run)


def restored(runner: Runner, target: Path, **how: str) -> Ended:
    return runner.run("restore", method="Files", tags={"backup": "nightly"}, target={"paths": [str(target)], **how})


# What is stored


@pytest.fixture
def packs(runner: Runner, volume: Path) -> list[Path]:
    """The packs of a repository with one run, largest first."""
    runner.good("backup", **files(volume))
    found = (path for path in (runner.folder / "repository" / "data").rglob("*") if path.is_file())
    ordered = sorted(found, key=lambda path: -path.stat().st_size)
    for path in ordered:
        path.chmod(0o600)
    return ordered


def test_a_flipped_bit_in_a_pack(runner: Runner, packs: list[Path], tmp_path: Path) -> None:
    content = bytearray(packs[0].read_bytes())
    content[len(content) // 2] ^= 1
    packs[0].write_bytes(content)
    ended = runner.run("check", readData="100%")
    assert (ended.code, ended.reason) == (2, "RepositoryDamaged")
    assert packs[0].name[:8] in ended.message
    ended = restored(runner, tmp_path / "restored")
    assert (ended.result["outcome"], ended.reason) == ("Failed", "RepositoryDamaged")


def test_a_truncated_pack(runner: Runner, packs: list[Path], tmp_path: Path) -> None:
    with packs[0].open("r+b") as file:
        file.truncate(1000)
    ended = runner.run("check")  # its size is seen without reading it
    assert (ended.code, ended.reason) == (2, "RepositoryDamaged")
    assert "unexpected file size" in ended.message
    ended = restored(runner, tmp_path / "restored")
    assert (ended.result["outcome"], ended.reason) == ("Failed", "RepositoryDamaged")


def test_a_pack_that_is_gone(runner: Runner, packs: list[Path], tmp_path: Path) -> None:
    packs[0].unlink()
    ended = runner.run("check")
    assert (ended.code, ended.reason) == (2, "RepositoryDamaged")
    ended = restored(runner, tmp_path / "restored")
    assert ended.result["outcome"] == "Failed"


def test_a_flipped_bit_under_a_dump(runner: Runner, tmp_path: Path) -> None:
    """A program that takes the stream is killed before its input ends, so half a dump isn't taken for the whole."""
    text = "kind: ConfigMap\n" + "".join(f"# {random.Random(n).random()}\n" for n in range(150_000))
    runner.good("backup", **backup("Manifests", {"paths": ["/dev/stdin"]}), stdin=text)
    found = (path for path in (runner.folder / "repository" / "data").rglob("*") if path.is_file())
    pack = max(found, key=lambda path: path.stat().st_size)
    pack.chmod(0o600)
    content = bytearray(pack.read_bytes())
    content[-(len(content) // 10)] ^= 1
    pack.write_bytes(content)
    target = tmp_path / "restored.yaml"
    common: dict[str, Any] = {"method": "Manifests", "tags": {"backup": "nightly"}}
    ended = runner.run("restore", target={"paths": [str(target)]}, **common)
    assert (ended.code, ended.reason) == (2, "RepositoryDamaged")
    assert not target.exists()
    ended = runner.run("check", select={}, readData="", **common)
    assert (ended.code, ended.reason) == (2, "RepositoryDamaged")


# A full disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("a small file system of its own needs root")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"tmpfs", str(folder).encode(), b"tmpfs", 0, b"size=8m") != 0:
        pytest.skip(f"a small file system can't be mounted here: {os.strerror(ctypes.get_errno())}")
    yield folder
    libc.umount2(str(folder).encode(), 2)


def test_the_repositorys_disk_is_full(client_programs: Path, small_disk: Path, volume: Path, tmp_path: Path) -> None:
    runner = Runner(tmp_path / "jobs", client_programs, filesystem(small_disk / "repository"))
    runner.good("init")
    runner.good("backup", **files(volume))
    (volume / "more").write_bytes(random.Random(2).randbytes(6 * MEBIBYTE))
    ended = runner.run("backup", **files(volume, "run-2"))
    assert (ended.code, ended.reason) == (1, "RepositoryFull")
    assert "no space left" in ended.message
    # What was there is whole, and the half of the new one is nothing.
    runner.good("check", readData="100%")
    assert [run["run"] for run in runner.good("snapshots")["runs"]] == ["run-1"]


def test_a_target_that_is_too_small(runner: Runner, small_disk: Path, volume: Path) -> None:
    (volume / "more").write_bytes(random.Random(2).randbytes(6 * MEBIBYTE))
    runner.good("backup", **files(volume))
    ended = restored(runner, small_disk)
    assert (ended.code, ended.reason) == (2, "TargetTooSmall")
    assert "8.0 MiB free and 10.0 MiB are needed" in ended.message
    assert not list(small_disk.iterdir())


def test_a_target_in_use_that_is_too_small_is_not_half_replaced(runner: Runner, small_disk: Path, volume: Path) -> None:
    """What is there counts, and what is linked: the files may fit although all of them together wouldn't."""
    whole = random.Random(2).randbytes(3 * MEBIBYTE)
    (volume / "more").write_bytes(whole)
    (volume / "z-linked").hardlink_to(volume / "more")
    runner.good("backup", **files(volume))
    (small_disk / "more").write_bytes(b"ab" * MEBIBYTE)
    (small_disk / "theirs").write_bytes(bytes(2 * MEBIBYTE))
    before = {path.name: path.read_bytes() for path in small_disk.iterdir()}
    ended = restored(runner, small_disk, existing="Replace")
    assert (ended.code, ended.reason) == (2, "TargetTooSmall")
    assert "4.0 MiB free and 5.0 MiB are needed" in ended.message
    assert {path.name: path.read_bytes() for path in small_disk.iterdir()} == before
    (small_disk / "theirs").unlink()
    ended = restored(runner, small_disk, existing="Replace")
    assert ended.code == 0, ended.message
    assert (small_disk / "more").read_bytes() == whole


# S3 that goes away


@pytest.fixture
def cable(s3_server: S3Server) -> Iterator[Cut]:
    proxy = Cut(s3_server.port)
    yield proxy
    proxy.close()


def test_s3_goes_away_in_the_middle(
    cable: Cut, s3_server: S3Server, client_programs: Path, volume: Path, tmp_path: Path
) -> None:
    place = s3(s3_server, tmp_path.name, url=f"http://127.0.0.1:{cable.port}", giveUpAfterSeconds=4)
    runner = Runner(tmp_path / "jobs", client_programs, place)
    runner.good("init")
    cable.after = cable.carried + MEBIBYTE
    ended = runner.run("backup", **files(volume))
    assert (ended.code, ended.reason) == (1, "RepositoryUnreachable")
    assert "didn't answer for 4 s" in ended.message
    assert [event for event in ended.events if event["event"] == "retrying"]
    cable.mend()
    assert runner.good("snapshots")["runs"] == []
    runner.good("backup", **files(volume))
    runner.good("check", readData="100%")


def test_s3_comes_back_and_nobody_notices(
    cable: Cut, s3_server: S3Server, client_programs: Path, volume: Path, tmp_path: Path
) -> None:
    place = s3(s3_server, tmp_path.name, url=f"http://127.0.0.1:{cable.port}", giveUpAfterSeconds=60)
    runner = Runner(tmp_path / "jobs", client_programs, place)
    runner.good("init")
    cable.after = cable.carried + MEBIBYTE
    job = runner.start(runner.job("backup", **files(volume)))
    job.until(lambda event: event["event"] == "retrying")
    cable.mend()
    assert job.wait().code == 0
    runner.good("check", readData="100%")


# A server that goes away


def test_redis_goes_away_in_the_middle_of_its_rdb(runner: Runner, client_programs: Path) -> None:
    with running(Redis("leaving")) as server:
        server.up().cli("eval", "for n = 1, 20000 do redis.call('set', 'k' .. n, redis.sha1hex(n)) end", "0")
        ended = _cut_off(runner, "Redis", server.port, after=300_000)
    assert ended.reason == "SourceUnreachable"


def test_mariadb_goes_away_in_the_middle_of_a_table(runner: Runner, mariadb: MariaDB) -> None:
    mariadb.sql("create database cutoff")
    mariadb.sql("create table t as select seq, sha2(seq, 512) from seq_1_to_50000", "cutoff")
    try:
        more = {"user": {"value": "admin"}, "databases": ["cutoff"]}
        ended = _cut_off(runner, "MySQL", mariadb.port, after=3_000_000, **more)
    finally:
        mariadb.sql("drop database cutoff")
    assert ended.reason == "SourceUnreachable"


def _cut_off(runner: Runner, method: str, port: int, after: int, **more: Any) -> Ended:
    """A backup whose server stops answering after so many bytes; nothing of the cut part is a snapshot."""
    cable = Cut(port, answers=True)
    cable.after = after
    try:
        source = {"host": "127.0.0.1", "port": cable.port, "password": {"env": "DATABASE_PASSWORD"}, **more}
        ended = runner.run("backup", **backup(method, source))
    finally:
        cable.close()
    assert cable.carried > after
    assert ended.code == 1
    parts = [part["part"] for part in ended.result["parts"]]
    assert parts in ([], ["users"])
    assert not [
        run for run in runner.good("snapshots")["runs"] if run["complete"] or len(run["snapshots"]) > len(parts)
    ]
    return ended


# A runner that is killed


def _locks(runner: Runner) -> list[Path]:
    return [path for path in (runner.folder / "repository" / "locks").iterdir() if "-tmp-" not in path.name]


def _stuck(runner: Runner, tmp_path: Path) -> Any:
    """A backup that holds its lock, and goes on for ever: redis-cli is played by what prints without an end."""
    folder = tmp_path / "stuck"
    folder.mkdir()
    for path in runner.path.iterdir():
        (folder / path.name).symlink_to(path)
    (folder / "redis-cli").unlink()
    script = '#!/bin/sh\ncase "$*" in *info*) echo redis_version:7.0.15;; *) echo REDIS; exec sleep 10000;; esac\n'
    (folder / "redis-cli").write_text(script)
    (folder / "redis-cli").chmod(0o755)
    usual, runner.path = runner.path, folder
    job = runner.start(runner.job("backup", **backup("Redis", {"host": "db"}, "killed")))
    runner.path = usual
    job.until(lambda event: event["event"] == "begin")
    while not _locks(runner):
        assert job.process.poll() is None
        os.sched_yield()
    return job


def test_kill_9_in_the_middle_and_again(runner: Runner, volume: Path, tmp_path: Path) -> None:
    job = _stuck(runner, tmp_path)
    job.kill()
    assert len(_locks(runner)) == 1  # nobody could give it back
    # Its process was of this very host, and is gone: a plain unlock knows that it is stale.
    runner.good("backup", **files(volume, "again"))
    assert _locks(runner) == []
    runs = runner.good("snapshots")["runs"]
    assert [(run["run"], run["complete"]) for run in runs] == [("again", True)]
    runner.good("prune")
    runner.good("check", readData="100%")


def test_a_lock_that_somebody_holds_is_told_and_left(runner: Runner, tmp_path: Path) -> None:
    job = _stuck(runner, tmp_path)
    runner.good("unlock")
    assert len(_locks(runner)) == 1
    ended = runner.run("prune")
    assert (ended.code, ended.reason) == (1, "RepositoryLocked")
    assert f"{socket.gethostname()} (PID " in ended.message
    assert "is stale after 30 minutes" in ended.message
    # Told to stop, it gives its lock back.
    job.process.terminate()
    ended = job.wait()
    assert (ended.code, ended.reason) == (1, "Interrupted")
    assert _locks(runner) == []
    runner.good("prune")


def test_the_runner_alone_is_killed(runner: Runner, volume: Path, tmp_path: Path) -> None:
    """Without a container around it that ends all: what it started ends by itself, or is in nobody's way."""
    job = _stuck(runner, tmp_path)
    job.process.kill()
    try:
        runner.good("backup", **files(volume, "again"))
        assert [run["run"] for run in runner.good("snapshots")["runs"] if run["complete"]] == ["again"]
    finally:
        job.kill()


def test_nothing_of_the_rest_of_homeport_is_needed(tmp_path: Path) -> None:
    """The package, the rules of retention, and the standard library are the program."""
    source = Path(__file__).resolve().parents[2] / "operator" / "homeport"
    backup_plan = tmp_path / "homeport" / "plan" / "backup"
    backup_plan.mkdir(parents=True)
    for folder in ("", "plan", "plan/backup"):
        (tmp_path / "homeport" / folder / "__init__.py").write_text("")
    (tmp_path / "homeport" / "runner").symlink_to(source / "runner")
    (backup_plan / "retention.py").symlink_to(source / "plan" / "backup" / "retention.py")
    script = "import sys; sys.path.insert(0, sys.argv[1]); import homeport.runner.__main__"
    command = [sys.executable, "-I", "-S", "-c", script, str(tmp_path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
