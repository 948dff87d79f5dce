"""Much data in one piece: dumped from a real PostgreSQL, saved by a real restic, restored elsewhere, compared.

``HOMEPORT_TEST_MEBIBYTES`` says how much; docs/testing.md says what it takes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from test_runner_postgres import server

from backup_servers import Postgres, running
from runner_jobs import Runner

pytestmark = pytest.mark.integration
MEBIBYTES = int(os.environ.get("HOMEPORT_TEST_MEBIBYTES", "256"))
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
    began = time.perf_counter()
    result = runner.backup("Postgres", server(full, databases=["much"]))
    saved = time.perf_counter()
    assert result["bytes"] >= MEBIBYTES * 1024 * 1024
    runner.restore("Postgres", server(empty))
    restored = time.perf_counter()
    assert {name: empty.sql(query, "much") for name, query in COMPARED.items()} == before
    # The repository's own word on it, every byte read again.
    runner.good("check", readData="100%")
    record_property("mebibytes", MEBIBYTES)
    record_property("seconds", {"backup": round(saved - began, 1), "restore": round(restored - saved, 1)})
