"""SQLite, Redis, files and manifests: saved, restored elsewhere, compared."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from backup_servers import NOBODY, PASSWORD, Redis, running
from runner_jobs import Runner, backup

pytestmark = pytest.mark.integration


# SQLite


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[tuple[Path, sqlite3.Connection]]:
    """A database in WAL mode that somebody has open, with writes that are in the log only."""
    path = tmp_path / "volume" / "shop.db"
    path.parent.mkdir()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("pragma journal_mode = wal")
        connection.execute("pragma wal_autocheckpoint = 0")
        connection.execute("create table entry (id integer primary key autoincrement, amount real, body blob)")
        connection.executemany(
            "insert into entry (amount, body) values (?, ?)", ((n * 0.37, os.urandom(50)) for n in range(5000))
        )
        yield path, connection


def content(path: Path) -> tuple[str, int, int]:
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("select id, amount, body from entry order by id").fetchall()
        sequence = connection.execute("select seq from sqlite_sequence").fetchone()[0]
        assert connection.execute("pragma integrity_check").fetchone() == ("ok",)
    return hashlib.sha256(repr(rows).encode()).hexdigest(), len(rows), sequence


def test_sqlite_with_writes_in_its_log(shop: tuple[Path, sqlite3.Connection], runner: Runner, tmp_path: Path) -> None:
    path, connection = shop
    assert (path.parent / "shop.db-wal").stat().st_size > path.stat().st_size  # a copy of the file alone has no rows
    connection.execute("begin")
    connection.execute("delete from entry")  # not committed: it isn't in the backup, and holds nothing up
    runner.backup("SQLite", {"paths": [str(path)]})
    connection.execute("rollback")
    before = content(path)
    assert before[1:] == (5000, 5000)
    connection.execute("delete from entry where id > 10")
    target = tmp_path / "restored"
    done = runner.restore("SQLite", {"paths": [str(target)]})
    assert done["parts"][0]["path"] == str(target / "shop.db")
    assert content(target / "shop.db") == before
    assert [file.name for file in target.iterdir()] == ["shop.db"]


def test_sqlite_in_place(shop: tuple[Path, sqlite3.Connection], runner: Runner) -> None:
    path, connection = shop
    runner.backup("SQLite", {"paths": [str(path)]})
    before = content(path)
    connection.execute("delete from entry")
    connection.close()
    (path.parent / "shop.db-wal").write_bytes(b"of the database that was here")
    common: dict[str, Any] = {"method": "SQLite", "tags": {"backup": "nightly"}}
    ended = runner.run("restore", target={"paths": [str(path.parent)]}, **common)
    assert (ended.code, ended.reason) == (2, "TargetNotEmpty")
    runner.good("restore", target={"paths": [str(path.parent)], "existing": "Replace"}, **common)
    assert content(path) == before


def test_a_damaged_sqlite_is_no_snapshot(shop: tuple[Path, sqlite3.Connection], runner: Runner) -> None:
    path, connection = shop
    connection.execute("pragma wal_checkpoint(truncate)")
    connection.close()
    with path.open("r+b") as file:
        for offset in range(8192, path.stat().st_size, 4096):
            file.seek(offset)
            file.write(b"\xff" * 40)
    ended = runner.run("backup", **backup("SQLite", {"paths": [str(path)]}))
    assert (ended.code, ended.reason) == (2, "SourceDamaged")
    assert runner.good("snapshots")["runs"] == []


def test_what_isnt_a_sqlite_database(runner: Runner, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but long enough to be one")
    ended = runner.run("backup", **backup("SQLite", {"paths": [str(path)]}))
    assert ended.reason == "InvalidJob"
    assert "isn't a SQLite database; use the method Files" in ended.message
    ended = runner.run("backup", **backup("SQLite", {"paths": [str(tmp_path / "gone.db")]}))
    assert ended.reason == "SourceUnreachable"


# Redis


def fill(server: Redis) -> str:
    server.cli("eval", "for n = 1, 5000 do redis.call('set', 'k' .. n, string.rep('v' .. n, 10)) end", "0")
    server.cli("hset", "h", "a", "1", "b", "2")
    server.cli("set", "soon", "gone", "EX", "100000")
    server.cli("zadd", "z", "1.5", "one", "2", "two")
    return server.cli("debug", "digest")


def redis_source(server: Redis) -> dict[str, Any]:
    return {"host": "127.0.0.1", "port": server.port, "password": {"env": "DATABASE_PASSWORD"}}


@pytest.fixture
def cache(client_programs: Path) -> Iterator[Redis]:
    with running(Redis("redis", "--enable-debug-command", "yes")) as server:
        yield server.up()


@pytest.mark.parametrize("append_only", [False, True])
def test_redis_into_a_fresh_server(cache: Redis, runner: Runner, append_only: bool) -> None:
    digest = fill(cache)
    result = runner.backup("Redis", redis_source(cache))
    assert result["tools"]["server"].startswith("Redis 7.")
    cache.cli("flushall")
    options = ("--enable-debug-command", "yes", "--appendonly", "yes" if append_only else "no")
    with running(Redis("fresh", *options)) as fresh:
        runner.restore("Redis", {"paths": [str(fresh.data)], "appendOnly": append_only})
        assert {path.stat().st_uid for path in fresh.data.rglob("*")} == {NOBODY}
        fresh.up()
        assert fresh.cli("debug", "digest") == digest
        assert fresh.cli("dbsize") == "5003"
        assert int(fresh.cli("ttl", "soon")) > 90000
        fresh.cli("set", "later", "1")
        fresh.kill()
        fresh.up()
        assert fresh.cli("dbsize") == ("5004" if append_only else "5003")


def test_redis_that_would_ignore_the_rdb_is_refused(cache: Redis, runner: Runner, tmp_path: Path) -> None:
    fill(cache)
    runner.backup("Redis", redis_source(cache))
    (tmp_path / "data" / "appendonlydir").mkdir(parents=True)
    target = {"paths": [str(tmp_path / "data")]}
    ended = runner.run("restore", method="Redis", tags={"backup": "nightly"}, target=target)
    assert (ended.code, ended.reason) == (2, "TargetNotEmpty")
    assert "ignores an RDB" in ended.message


def test_redis_that_refuses_or_is_gone(cache: Redis, runner: Runner) -> None:
    source = redis_source(cache)
    ended = runner.run("backup", **backup("Redis", {**source, "password": {"env": "S3_ACCESS"}}))
    assert (ended.code, ended.reason) == (2, "SourceDenied")
    cache.kill()
    ended = runner.run("backup", **backup("Redis", source))
    assert (ended.code, ended.reason) == (1, "SourceUnreachable")
    assert runner.good("snapshots")["runs"] == []
    assert PASSWORD not in ended.message


def test_a_check_reads_the_rdb(cache: Redis, runner: Runner) -> None:
    fill(cache)
    runner.backup("Redis", redis_source(cache))
    result = runner.good("check", method="Redis", tags={"backup": "nightly"}, select={})
    assert "notes" not in result


# Files


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    root = tmp_path / "volume"
    (root / "uploads" / "2026").mkdir(parents=True)
    (root / "uploads" / "2026" / "photo – 1.jpg").write_bytes(os.urandom(300_000))
    (root / "uploads" / "empty").mkdir()
    (root / "settings.toml").write_text("workers = 4\n")
    (root / "link").symlink_to("settings.toml")
    (root / "settings.toml").chmod(0o640)
    os.chown(root / "settings.toml", 1000, 1000)
    (root / "cache").mkdir()
    (root / "cache" / "much").write_bytes(os.urandom(1000))
    return root


def tree(root: Path) -> dict[str, Any]:
    found = {}
    for path in sorted(root.rglob("*")):
        state = path.lstat()
        inside = path.read_bytes() if path.is_file() else b""
        link = str(path.readlink()) if path.is_symlink() else ""
        found[str(path.relative_to(root))] = (state.st_mode, state.st_uid, inside, link, int(state.st_mtime))
    return found


def test_files_into_an_empty_folder(volume: Path, runner: Runner, tmp_path: Path) -> None:
    runner.backup("Files", {"paths": [str(volume)], "exclude": ["cache"]})
    before = {name: entry for name, entry in tree(volume).items() if not name.startswith("cache")}
    target = tmp_path / "restored"
    target.mkdir()
    (target / "lost+found").mkdir()
    runner.restore("Files", {"paths": [str(target)]})
    after = tree(target)
    after.pop("lost+found")
    assert after == before


def test_one_file_out_of_a_run(volume: Path, runner: Runner, tmp_path: Path) -> None:
    runner.backup("Files", {"paths": [str(volume)]})
    target = tmp_path / "restored"
    done = runner.restore("Files", {"paths": [str(target)]}, select={"paths": ["uploads/2026/photo – 1.jpg"]})
    found = [path for path in target.rglob("*") if path.is_file()]
    assert [path.name for path in found] == ["photo – 1.jpg"]
    assert found[0].read_bytes() == (volume / "uploads/2026/photo – 1.jpg").read_bytes()
    assert done["bytes"] == 300_000
    ended = runner.run(
        "restore", method="Files", tags={"backup": "nightly"}, target={"paths": [str(tmp_path / "none")]},
        select={"paths": ["not/there"]},
    )  # fmt: skip
    assert ended.reason == "SnapshotMissing"
    assert "the run has no not/there" in ended.message


def test_a_target_that_holds_something_is_refused(volume: Path, runner: Runner) -> None:
    runner.backup("Files", {"paths": [str(volume)]})
    before = tree(volume)
    (volume / "settings.toml").write_text("workers = 5\n")
    (volume / "uploads/2026/photo – 1.jpg").unlink()
    common: dict[str, Any] = {"method": "Files", "tags": {"backup": "nightly"}}
    ended = runner.run("restore", target={"paths": [str(volume)]}, **common)
    assert (ended.code, ended.reason) == (2, "TargetNotEmpty")
    runner.good("restore", target={"paths": [str(volume)], "existing": "Replace"}, **common)
    assert tree(volume) == before


def test_a_file_that_cant_be_read_is_incomplete_never_a_success(runner: Runner) -> None:
    # Root reads whatever has permissions, but not what the kernel itself refuses.
    result = runner.run("backup", **backup("Files", {"paths": [f"/proc/{os.getpid()}/task/{os.getpid()}/attr"]}))
    assert result.result["outcome"] == "Incomplete"
    assert (result.code, result.reason) == (3, "SourceIncomplete")
    assert result.result["parts"][0]["incomplete"] is True
    runs = runner.good("snapshots")["runs"]
    assert [run["complete"] for run in runs] == [False]


def test_a_volume_that_isnt_mounted(runner: Runner, tmp_path: Path) -> None:
    ended = runner.run("backup", **backup("Files", {"paths": [str(tmp_path / "not-there")]}))
    assert ended.reason == "SourceUnreachable"
    assert "is the volume mounted there?" in ended.message


# Manifests

MANIFESTS = (
    "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: b}\n"
)


def test_manifests_from_standard_input(runner: Runner, tmp_path: Path) -> None:
    runner.backup("Manifests", {"paths": ["/dev/stdin"]}, stdin=MANIFESTS)
    target = tmp_path / "manifests.yaml"
    runner.restore("Manifests", {"paths": [str(target)]})
    assert target.read_text() == MANIFESTS
    assert all(
        b"kind: Secret" not in path.read_bytes() for path in (runner.folder / "repository").rglob("*") if path.is_file()
    )


def test_manifests_that_hold_nothing(runner: Runner) -> None:
    ended = runner.run("backup", **backup("Manifests", {"paths": ["/dev/stdin"]}), stdin="# nothing\n")
    assert (ended.code, ended.reason) == (2, "SourceDamaged")
    assert runner.good("snapshots")["runs"] == []
