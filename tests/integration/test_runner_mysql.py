"""MariaDB: dumped from a real server, restored into a fresh one, compared."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from backup_servers import MariaDB
from runner_jobs import Runner, backup

pytestmark = pytest.mark.integration

SHOP = """
create database shop character set utf8mb4 collate utf8mb4_unicode_ci;
create user shop@'%' identified by 'shop password';
grant select, insert on shop.* to shop@'%';
use shop;
create table customer (id int auto_increment primary key, name varchar(100) not null unique, notes text);
create table entry (id bigint auto_increment primary key, customer int, amount decimal(12, 2), body blob,
  foreign key (customer) references customer (id));
create view total as select customer, sum(amount) as total from entry group by customer;
insert into customer (name, notes) select concat('customer ', seq), concat('Grüße – 💶 ', seq) from seq_1_to_50;
insert into entry (customer, amount, body) select 1 + seq % 50, seq * 0.37, unhex(md5(seq)) from seq_1_to_20000;
delete from customer where id = -1;
alter table customer auto_increment = 1000;
delimiter //
create trigger noted before insert on customer for each row set new.notes = coalesce(new.notes, 'none')//
create function twice(n int) returns int deterministic return n * 2//
create event cleanup on schedule every 1 day do delete from entry where id < 0//
delimiter ;
"""
COMPARED = {
    "rows": "select count(*) from customer union all select count(*) from entry",
    "checksums": "checksum table customer, entry",
    "bytes": "select md5(group_concat(md5(body) order by id)) from entry",
    "next": "select table_name, auto_increment from information_schema.tables where table_schema = database() "
    "order by 1",
    "keys": "select constraint_name, constraint_type from information_schema.table_constraints "
    "where table_schema = database() order by 1, 2",
    "text": "select notes from customer where id = 7",
    "function": "select twice(21)",
    "triggers": "select trigger_name, action_statement from information_schema.triggers "
    "where trigger_schema = database()",
    "events": "select event_name, event_definition from information_schema.events where event_schema = database()",
    "database": "select default_collation_name from information_schema.schemata where schema_name = database()",
    "view": "select sum(total) from total",
}


def server(place: MariaDB, **more: Any) -> dict[str, Any]:
    own = {"user": {"value": "admin"}, "password": {"env": "DATABASE_PASSWORD"}}
    return {"host": "127.0.0.1", "port": place.port, **own, **more}


def facts(place: MariaDB, database: str = "shop") -> dict[str, str]:
    found = {
        name: place.sql(f"set session group_concat_max_len = 10000000; {query}", database)
        for name, query in COMPARED.items()
    }
    return {name: text.replace(f"{database}.", "") for name, text in found.items()}


@pytest.fixture
def shop(mariadb: MariaDB) -> Iterator[MariaDB]:
    mariadb.clear()
    mariadb.sql(SHOP)
    yield mariadb


@pytest.fixture
def empty(fresh_mariadb: MariaDB) -> MariaDB:
    fresh_mariadb.clear()
    return fresh_mariadb


def test_a_fresh_server_gets_everything(shop: MariaDB, empty: MariaDB, runner: Runner) -> None:
    result = runner.backup("MySQL", server(shop))
    assert [part["part"] for part in result["parts"]] == ["users", "database/shop"]
    assert result["tools"]["server"].startswith("MariaDB 10.11")
    before, grants = facts(shop), shop.sql("show grants for shop@'%'")
    shop.sql("delete from entry where id > 100", "shop")
    runner.restore("MySQL", server(empty))
    assert facts(empty) == before
    assert "20000" in before["rows"] and before["text"] == "Grüße – 💶 7"
    assert empty.sql("show grants for shop@'%'") == grants
    assert empty.sql("select count(*) from customer", "shop", user="shop", password="shop password") == "50"


def test_under_another_name(shop: MariaDB, runner: Runner) -> None:
    runner.backup("MySQL", server(shop))
    before = facts(shop)
    shop.sql("delete from entry", "shop")
    runner.restore("MySQL", server(shop, rename={"shop": "shop_restored"}), select={"parts": ["database/shop"]})
    assert facts(shop, "shop_restored") == before
    assert shop.sql("select count(*) from entry", "shop") == "0"
    shop.sql("drop database shop_restored")


def test_what_holds_something_is_refused(shop: MariaDB, runner: Runner) -> None:
    runner.backup("MySQL", server(shop))
    before = facts(shop)
    shop.sql("delete from entry", "shop")
    ended = runner.run("restore", method="MySQL", tags={"backup": "nightly"}, target=server(shop))
    assert (ended.code, ended.reason) == (2, "TargetNotEmpty")
    assert "the database shop holds 3 tables" in ended.message
    runner.restore("MySQL", server(shop, existing="Replace"))
    assert facts(shop) == before


def test_a_user_that_may_not_see_users(shop: MariaDB, runner: Runner) -> None:
    shop.sql("grant select, show view, trigger, event, lock tables on shop.* to shop@'%'")
    runner.environment["SHOP_PASSWORD"] = "shop password"
    source = server(shop, user={"value": "shop"}, password={"env": "SHOP_PASSWORD"})
    result = runner.backup("MySQL", source)
    assert [part["part"] for part in result["parts"]] == ["database/shop"]
    assert "the user may not read mysql.*, so users and their rights aren't saved" in result["notes"]


def test_tables_that_no_transaction_holds_are_told(shop: MariaDB, runner: Runner) -> None:
    shop.sql("create table log (line text) engine = MyISAM", "shop")
    result = runner.backup("MySQL", server(shop))
    assert "shop has tables of MyISAM, which no transaction holds together" in result["notes"]


def test_a_dump_that_fails_is_no_snapshot(shop: MariaDB, runner: Runner) -> None:
    # A view whose table is gone: mariadb-dump stops there.
    shop.sql("create table gone (id int); create view broken as select * from gone; drop table gone", "shop")
    ended = runner.run("backup", **backup("MySQL", server(shop)))
    assert (ended.code, ended.reason) == (1, "DumpFailed")
    assert "broken" in ended.message
    assert [part["part"] for part in ended.result["parts"]] == ["users"]


@pytest.mark.parametrize(
    ("change", "reason", "words"),
    [
        ({"password": {"env": "S3_SECRET"}}, "SourceDenied", "Access denied"),
        ({"port": 1}, "SourceUnreachable", "doesn't answer"),
        ({"databases": ["shoppe"]}, "InvalidJob", "there is no database shoppe that this user sees; there are shop"),
    ],
)
def test_a_source_that_refuses(shop: MariaDB, runner: Runner, change: dict[str, Any], reason: str, words: str) -> None:
    ended = runner.run("backup", **backup("MySQL", server(shop, **change)))
    assert ended.reason == reason
    assert words in ended.message


def test_a_check_reads_dumps_to_their_end(shop: MariaDB, runner: Runner) -> None:
    runner.backup("MySQL", server(shop))
    result = runner.good("check", method="MySQL", tags={"backup": "nightly"}, select={})
    assert [part["part"] for part in result["parts"]] == ["users", "database/shop"]
