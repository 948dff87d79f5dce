"""Much data in one piece: dumped from a real server, saved by a real restic in a real S3, restored elsewhere, compared.

``HOMEPORT_TEST_MEBIBYTES`` says how much; docs/testing.md says what it takes.
"""

from __future__ import annotations

import hashlib
import os
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from test_runner_mysql import server as mysql_server
from test_runner_postgres import server

from backup_servers import PASSWORD, MariaDB, Postgres, Redis, S3Server, running
from runner_jobs import Runner, s3

pytestmark = pytest.mark.integration
MEBIBYTES = int(os.environ.get("HOMEPORT_TEST_MEBIBYTES", "256"))
FEWER = int(os.environ.get("HOMEPORT_TEST_MEBIBYTES", "64"))
"""Of the other methods, which have less in them that grows."""
_PIECE = 1 << 16  # bytes of a value in SQLite and Redis
_ROW = 64 * 32  # bytes: md5 sums as text, which compress to about a half

MADE = f"""
create role keeper login password 'keeper password';
create role reader;
create database much owner keeper;
\\c much
set role keeper;
create sequence ticket start 100 increment 7;
create table load (id bigserial primary key, body text not null);
insert into load (body) select (select string_agg(md5((n * 64 + m)::text), '') from generate_series(1, 64) m)
  from generate_series(1, {MEBIBYTES * 1024 * 1024 // _ROW}) n;
select count(nextval('ticket')) from generate_series(1, 1000);
grant select on load to reader;
"""
# Sums of 64-bit hashes of every row, in no order: a text of all rows would be larger than PostgreSQL takes.
COMPARED = {
    "rows": "select count(*), min(id), max(id), sum(length(body)) from load",
    "checksums": "select sum(hashtextextended(body, id)), bit_xor(hashtextextended(body, id)) from load",
    "sequences": "select last_value, is_called from ticket union all select last_value, is_called from load_id_seq",
    "roles": "select rolname, rolcanlogin, rolpassword from pg_authid where rolname in ('keeper', 'reader') order by 1",
    "owners": "select relname, pg_get_userbyid(relowner), relacl from pg_class "
    "where relnamespace = 'public'::regnamespace order by relname",
}


@pytest.fixture
def servers(client_programs: Path) -> Iterator[tuple[Postgres, Postgres]]:
    """One with much in it, and one with nothing; both go again, for they take room."""
    with running(Postgres("much")) as full, running(Postgres("much-back")) as empty:
        full.sql(MADE)
        yield full, empty


@pytest.mark.timeout(3600)
def test_much_data_comes_back_as_it_was(
    servers: tuple[Postgres, Postgres], new_runner: Callable[[], Runner], record_property: Callable[[str, object], None]
) -> None:
    full, empty = servers
    before = {name: full.sql(query, "much") for name, query in COMPARED.items()}
    size = int(full.sql("select pg_table_size('load')", "much"))
    assert size >= MEBIBYTES * 1024 * 1024 // 2, "what is asked for is there, as PostgreSQL compresses it"
    runner = new_runner()
    _there_and_back(runner, "Postgres", MEBIBYTES, server(full, databases=["much"]), server(empty), record_property)
    assert {name: empty.sql(query, "much") for name, query in COMPARED.items()} == before


def _there_and_back(
    runner: Runner,
    method: str,
    mebibytes: int,
    source: dict[str, Any],
    target: dict[str, Any],
    record_property: Callable[[str, object], None],
) -> None:
    """Saves, restores, and has the repository's own word on it, every byte read again."""
    began = time.perf_counter()
    result = runner.backup(method, source)
    saved = time.perf_counter()
    assert result["bytes"] >= mebibytes * 1024 * 1024
    runner.restore(method, target)
    seconds = {"backup": round(saved - began, 1), "restore": round(time.perf_counter() - saved, 1)}
    runner.good("check", readData="100%")
    record_property("mebibytes", mebibytes)
    record_property("seconds", seconds)


@pytest.fixture
def to_s3(new_runner: Callable[[], Runner], s3_server: S3Server) -> Runner:
    """A runner whose repository is in S3, and of this test alone."""
    made = new_runner()
    made.repository = s3(s3_server, f"much-{time.monotonic_ns()}")
    made.good("init")
    return made


@pytest.mark.timeout(3600)
def test_much_of_mariadb(client_programs: Path, to_s3: Runner, record_property: Callable[[str, object], None]) -> None:
    made = f"""
    create database much; use much;
    create table load_ (id bigint auto_increment primary key, body blob not null);
    insert into load_ (body) select random_bytes(1024) from seq_1_to_{FEWER * 1024};
    create user reader@'%' identified by 'x'; grant select on much.* to reader@'%';
    """
    compared = (
        "select count(*), min(id), max(id), sum(length(body)), bit_xor(crc32(body)) from load_; "
        "checksum table load_ extended; show grants for reader@'%'; "
        "select auto_increment from information_schema.tables where table_schema = 'much'"
    )
    with running(MariaDB("much")) as full, running(MariaDB("much-back")) as empty:
        full.sql(made)
        before = full.sql(compared, "much")
        assert f"{FEWER * 1024}\t" in before
        _there_and_back(to_s3, "MySQL", FEWER, mysql_server(full), mysql_server(empty), record_property)
        assert empty.sql(compared, "much") == before


@pytest.mark.timeout(3600)
def test_much_of_sqlite(tmp_path: Path, to_s3: Runner, record_property: Callable[[str, object], None]) -> None:
    def content(path: Path) -> tuple[str, int]:
        told, rows = hashlib.sha256(), 0
        with closing(sqlite3.connect(path)) as connection:
            for id, body in connection.execute("select id, body from load order by id"):
                told.update(b"%d:" % id + body)
                rows += 1
            assert connection.execute("pragma integrity_check").fetchone() == ("ok",)
        return told.hexdigest(), rows

    path, target = tmp_path / "volume" / "much.db", tmp_path / "back"
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("pragma journal_mode = wal")
        connection.execute("create table load (id integer primary key, body blob not null)")
        pieces = ((os.urandom(_PIECE),) for _ in range(FEWER * (1 << 20) // _PIECE))
        connection.executemany("insert into load (body) values (?)", pieces)
        connection.commit()
        source, back = {"paths": [str(path)]}, {"paths": [str(target)]}
        _there_and_back(to_s3, "SQLite", FEWER, source, back, record_property)
    assert content(target / "much.db") == content(path)
    assert content(path)[1] == FEWER * (1 << 20) // _PIECE


@pytest.mark.timeout(3600)
def test_much_of_redis(client_programs: Path, to_s3: Runner, record_property: Callable[[str, object], None]) -> None:
    options = ("--enable-debug-command", "yes")
    with running(Redis("much", *options)) as full, running(Redis("much-back", *options)) as empty:
        full.up()
        _fill(full, FEWER * (1 << 20) // _PIECE)
        digest, keys = full.cli("debug", "digest"), full.cli("dbsize")
        source = {"host": "127.0.0.1", "port": full.port, "password": {"env": "DATABASE_PASSWORD"}}
        _there_and_back(to_s3, "Redis", FEWER, source, {"paths": [str(empty.data)]}, record_property)
        empty.up()
        assert (empty.cli("debug", "digest"), empty.cli("dbsize")) == (digest, keys)


def _fill(server: Redis, pieces: int) -> None:
    """Random values by Redis's own protocol, each answered before the next: nothing is held twice."""
    with socket.create_connection(("127.0.0.1", server.port)) as connection, connection.makefile("rb") as answers:

        def say(*words: bytes) -> None:
            connection.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words))
            assert answers.readline() == b"+OK\r\n"

        say(b"auth", PASSWORD.encode())
        for number in range(pieces):
            say(b"set", b"k%d" % number, os.urandom(_PIECE))
