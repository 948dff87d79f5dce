"""PostgreSQL: dumped from a real server, restored into a fresh one, compared."""

from __future__ import annotations

from typing import Any

import pytest

from backup_servers import Postgres, running
from runner_jobs import Runner, backup

pytestmark = pytest.mark.integration

SHOP = """
create role shop login password 'shop password';
create role reader;
create database shop owner shop;
\\c shop
create extension if not exists plpgsql;
set role shop;
create sequence invoice start 100 increment 7;
create table customer (id serial primary key, name text not null unique, notes text);
create table entry (id bigserial primary key, customer int references customer, amount numeric(12, 2) not null,
  at timestamptz default '2026-01-01', body bytea);
create index on entry (amount);
create view total as select customer, sum(amount) from entry group by customer;
create function twice(int) returns int language sql immutable as 'select $1 * 2';
insert into customer (name, notes) select 'customer ' || n, 'Grüße – ' || n from generate_series(1, 50) n;
insert into entry (customer, amount, body)
  select 1 + n % 50, n * 0.37, decode(md5(n::text) || md5((n + 1)::text), 'hex') from generate_series(1, 20000) n;
select nextval('invoice'), nextval('invoice'), nextval('invoice');
grant select on total to reader;
reset role;
alter database shop set work_mem = '7MB';
revoke connect on database shop from public;
grant connect on database shop to reader;
"""
# What two servers have to agree on.
COMPARED = {
    "rows": "select count(*) from customer union all select count(*) from entry",
    "content": "select md5(string_agg(c::text, ',' order by id)) from customer c union all "
    "select md5(string_agg(e::text, ',' order by id)) from entry e",
    "sequences": "select last_value, is_called from invoice union all select last_value, is_called from entry_id_seq",
    "owners": "select relname, pg_get_userbyid(relowner), relacl from pg_class "
    "where relnamespace = 'public'::regnamespace order by relname",
    "indexes": "select indexdef from pg_indexes where schemaname = 'public' order by 1",
    "function": "select twice(21)",
    "database": "select pg_get_userbyid(datdba), array(select a::text from unnest(datacl) a order by 1), "
    "encoding, datcollate from pg_database where datname = current_database()",
    "settings": "show work_mem",
    "role": "select rolname, rolcanlogin, rolpassword from pg_authid where rolname in ('shop', 'reader') order by 1",
}


def server(place: Postgres, **more: Any) -> dict[str, Any]:
    own = {"user": {"value": "admin"}, "password": {"env": "DATABASE_PASSWORD"}}
    return {"host": "127.0.0.1", "port": place.port, **own, **more}


def facts(place: Postgres, database: str = "shop") -> dict[str, str]:
    return {name: place.sql(query, database) for name, query in COMPARED.items()}


@pytest.fixture
def shop(postgres: Postgres) -> Postgres:
    postgres.clear()
    postgres.sql(SHOP)
    return postgres


@pytest.fixture
def empty(fresh_postgres: Postgres) -> Postgres:
    fresh_postgres.clear()
    return fresh_postgres


def test_a_fresh_server_gets_everything(shop: Postgres, empty: Postgres, runner: Runner) -> None:
    result = runner.backup("Postgres", server(shop))
    assert [part["part"] for part in result["parts"]] == ["globals", "database/postgres", "database/shop"]
    assert result["tools"]["server"].startswith("PostgreSQL 15.")
    before = facts(shop)
    shop.sql("delete from entry where id > 100", "shop")
    done = runner.restore("Postgres", server(empty), select={"run": "run-1"})
    assert [part.get("database") for part in done["parts"]] == [None, "postgres", "shop"]
    assert facts(empty) == before
    assert "20000" in before["rows"]
    # Roles came with their passwords, and the one that restored kept its own.
    assert empty.sql("select 1", "shop", user="shop", password="shop password") == "1"


def test_a_second_run_adds_only_what_is_new(shop: Postgres, runner: Runner) -> None:
    rows = "select md5(n::text) || md5((-n)::text) line from generate_series(1, 150000) n"
    shop.sql(f"drop table if exists log; create table log as {rows}", "shop")
    first = runner.backup("Postgres", server(shop, databases=["shop"]))
    shop.sql("insert into customer (name) values ('one more')", "shop")
    second = runner.backup("Postgres", server(shop, databases=["shop"]), run="run-2")
    assert second["bytes"] > first["bytes"]
    assert second["bytesAdded"] < first["bytesAdded"] / 2
    runs = runner.good("snapshots", tags={"backup": "nightly"})["runs"]
    assert [(run["run"], run["complete"]) for run in runs] == [("run-2", True), ("run-1", True)]


def test_one_database_under_another_name_beside_the_original(shop: Postgres, runner: Runner) -> None:
    runner.backup("Postgres", server(shop, databases=["shop"]))
    before = facts(shop)
    shop.sql("truncate entry", "shop")
    runner.restore("Postgres", server(shop, rename={"shop": "shop_restored"}), select={"parts": ["database/shop"]})
    assert facts(shop, "shop_restored") == before
    assert shop.sql("select count(*) from entry", "shop") == "0"
    shop.sql("drop database shop_restored")


def test_what_holds_something_is_refused_and_replaced_when_asked(shop: Postgres, runner: Runner) -> None:
    runner.backup("Postgres", server(shop, databases=["shop"]))
    before = facts(shop)
    shop.sql("truncate entry; create table later (id int)", "shop")
    common: dict[str, Any] = {"method": "Postgres", "tags": {"backup": "nightly"}}
    ended = runner.run("restore", target=server(shop), **common)
    assert (ended.code, ended.reason) == (2, "TargetNotEmpty")
    assert "the database shop holds" in ended.message
    assert shop.sql("select count(*) from later", "shop") == "0"
    runner.good("restore", target=server(shop, existing="Replace"), **common)
    assert facts(shop) == before
    assert shop.sql("select to_regclass('later') is null", "shop") == "t"
    assert "homeport" not in shop.sql("select string_agg(datname, ' ') from pg_database")


def test_a_role_that_is_no_superuser(shop: Postgres, empty: Postgres, runner: Runner) -> None:
    runner.environment["SHOP_PASSWORD"] = "shop password"
    source = server(shop, databases=["shop"], user={"value": "shop"}, password={"env": "SHOP_PASSWORD"})
    result = runner.backup("Postgres", source)
    assert result["notes"] == ["the role isn't a superuser, so roles are saved without their passwords"]
    before = facts(shop)
    runner.restore("Postgres", server(empty))
    after = facts(empty)
    assert after.pop("role") == "reader|f|\nshop|t|"
    before.pop("role")
    assert after == before


def test_a_dump_that_fails_is_no_snapshot(shop: Postgres, runner: Runner) -> None:
    shop.sql(
        "create table secret (id int); revoke all on secret from public; alter table secret owner to admin", "shop"
    )
    runner.environment["SHOP_PASSWORD"] = "shop password"
    source = server(shop, databases=["shop"], user={"value": "shop"}, password={"env": "SHOP_PASSWORD"})
    ended = runner.run("backup", **backup("Postgres", source))
    assert (ended.code, ended.reason) == (2, "SourceDenied")
    assert "permission denied for table secret" in ended.message
    runs = runner.good("snapshots", tags={"backup": "nightly"})["runs"]
    assert [(run["complete"], len(run["snapshots"])) for run in runs] == [(False, 1)]  # the globals alone
    ended = runner.run(
        "restore", method="Postgres", tags={"backup": "nightly"}, target=server(shop), select={"run": "run-1"}
    )
    assert (ended.code, ended.reason) == (2, "SnapshotMissing")
    assert "was cut off and isn't complete" in ended.message


@pytest.mark.parametrize(
    ("change", "reason", "words"),
    [
        ({"password": {"env": "S3_SECRET"}}, "SourceDenied", "password authentication failed"),
        ({"port": 1}, "SourceUnreachable", "doesn't answer"),
        ({"databases": ["shoppe"]}, "InvalidJob", 'database "shoppe" does not exist'),
        ({"host": ""}, "InvalidJob", "job.source.host is needed"),
    ],
)
def test_a_source_that_refuses(shop: Postgres, runner: Runner, change: dict[str, Any], reason: str, words: str) -> None:
    ended = runner.run("backup", **backup("Postgres", server(shop, **change)))
    assert ended.reason == reason
    assert words in ended.message
    assert runner.good("snapshots")["runs"] == []


def test_the_server_goes_away_in_the_middle(runner: Runner, client_programs: Any) -> None:
    with running(Postgres("leaving")) as leaving:
        leaving.sql("create table big as select n, repeat(md5(n::text), 100) t from generate_series(1, 1000) n")
        holder = leaving.session("begin", "lock table big", "select pg_sleep(1000)")
        job = runner.start(runner.job("backup", **backup("Postgres", server(leaving, databases=["postgres"]))))
        job.until(lambda event: event["event"] == "begin" and event["part"] == "database/postgres")
        leaving.wait_for("select count(*) from pg_locks where not granted", "1")  # pg_dump, which waits for the table
        leaving.kill()
        ended = job.wait()
        holder.wait()
    assert (ended.code, ended.reason) == (1, "SourceUnreachable")
    assert all(part["part"] == "globals" for part in ended.result["parts"])


def test_a_check_reads_dumps_to_their_end(shop: Postgres, runner: Runner) -> None:
    runner.backup("Postgres", server(shop, databases=["shop"]))
    result = runner.good("check", method="Postgres", tags={"backup": "nightly"}, select={}, readData="100%")
    assert "can be read from end to end" in result["message"]
    assert [part["part"] for part in result["parts"]] == ["globals", "database/shop"]
