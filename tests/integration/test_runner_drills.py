"""Drills: a run brought back to a scratch place, and asked there."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from backup_servers import MariaDB, Postgres, Redis, S3Server, running
from runner_jobs import REPOSITORY_PASSWORD, Runner, s3

pytestmark = pytest.mark.integration

TAGS = {"backup": "nightly"}


def server(place: Postgres | MariaDB, **more: Any) -> dict[str, Any]:
    own = {"user": {"value": "admin"}, "password": {"env": "DATABASE_PASSWORD"}}
    return {"host": "127.0.0.1", "port": place.port, "databases": ["drilled"], **own, **more}


@pytest.fixture
def rows(tmp_path: Path, runner: Runner) -> Path:
    """A SQLite database of three rows, saved."""
    path = tmp_path / "volume" / "shop.db"
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("create table entry (id integer primary key)")
        connection.executemany("insert into entry values (?)", [(1,), (2,), (3,)])
        connection.commit()
    runner.backup("SQLite", {"paths": [str(path)]})
    return path


COUNT = [
    "python3",
    "-c",
    "import sqlite3; print(*sqlite3.connect('shop.db').execute('select count(*) from entry').fetchone())",
]

NAMES = ["python3", "-c", "import json, os; print(json.dumps(sorted(os.environ)))"]


def drill(runner: Runner, method: str, target: dict[str, Any], check: dict[str, Any]) -> Any:
    return runner.run("drill", method=method, tags=TAGS, target=target, check=check)


def test_what_was_restored_is_asked_where_it_is(rows: Path, runner: Runner, tmp_path: Path) -> None:
    ended = drill(runner, "SQLite", {"paths": [str(tmp_path / "scratch")]}, {"exec": COUNT, "expect": "==3"})
    assert ended.code == 0
    assert ended.message == "the run run-1 was restored, and the check passed"
    assert ended.result["check"] == {"passed": True, "output": "3\n"}
    assert (ended.result["method"], ended.result["run"], len(ended.result["snapshot"])) == ("SQLite", "run-1", 64)
    assert 0 <= ended.result["restoreSeconds"] <= ended.result["recoverySeconds"] <= ended.result["durationSeconds"] + 1


def test_a_check_that_isnt_met_fails_the_drill_and_says_what_it_printed(
    rows: Path, runner: Runner, tmp_path: Path
) -> None:
    ended = drill(runner, "SQLite", {"paths": [str(tmp_path / "scratch")]}, {"exec": COUNT, "expect": ">3"})
    assert (ended.code, ended.reason) == (2, "CheckFailed")
    assert ended.message == "the check printed '3', and >3 is expected"
    assert ended.result["check"] == {"passed": False, "output": "3\n"}
    assert ended.result["run"] == "run-1"
    assert "recoverySeconds" not in ended.result


def test_without_a_check_it_says_that_nothing_was_checked(rows: Path, runner: Runner, tmp_path: Path) -> None:
    ended = drill(runner, "SQLite", {"paths": [str(tmp_path / "scratch")]}, {})
    assert (ended.code, ended.message) == (0, "the run run-1 was restored, and nothing was checked")
    assert ended.result["notes"] == ["no check was asked for: that it could be restored is all that is proven"]
    assert "check" not in ended.result


def test_a_check_gets_none_of_the_repositorys_keys(
    rows: Path, runner: Runner, tmp_path: Path, s3_server: S3Server
) -> None:
    runner.repository = s3(s3_server, "drill-keys")
    runner.good("init")
    runner.backup("SQLite", {"paths": [str(rows)]})
    ended = drill(runner, "SQLite", {"paths": [str(tmp_path / "scratch")]}, {"exec": NAMES})
    names = set(json.loads(ended.result["check"]["output"]))
    assert names
    assert not names & {"REPOSITORY_PASSWORD", "S3_ACCESS", "S3_SECRET", "RESTIC_PASSWORD", "AWS_SECRET_ACCESS_KEY"}


def test_what_a_check_prints_is_bounded_and_has_no_secret(rows: Path, runner: Runner, tmp_path: Path) -> None:
    script = f"print('{REPOSITORY_PASSWORD} ' * 200)"
    ended = drill(runner, "SQLite", {"paths": [str(tmp_path / "scratch")]}, {"exec": ["python3", "-c", script]})
    assert ended.code == 0
    assert ended.result["check"]["output"].startswith("*** *** ")
    assert len(ended.result["check"]["output"]) <= 2000
    assert len(ended.termination) <= 4096


def test_a_database_server_is_asked_without_being_named(
    postgres: Postgres, fresh_postgres: Postgres, runner: Runner
) -> None:
    for place in (postgres, fresh_postgres):
        place.sql("drop database if exists drilled with (force)")
    postgres.sql("create database drilled")
    postgres.sql("create table entry as select generate_series(1, 5)", "drilled")
    runner.backup("Postgres", server(postgres))
    # The folder of clients has each in a namespace of its own; a check starts them by name, as in the image.
    check = {"exec": [str(runner.path / "psql"), "-XAtc", "select count(*) from entry"], "expect": "==5"}
    for target in (server(fresh_postgres), server(fresh_postgres, databases=[], existing="Replace")):
        ended = drill(runner, "Postgres", target, check)
        assert (ended.code, ended.result["check"]["output"]) == (0, "5\n"), ended.result
    assert postgres.sql("select count(*) from entry", "drilled") == "5"


def test_mariadb_is_asked_without_being_named(mariadb: MariaDB, fresh_mariadb: MariaDB, runner: Runner) -> None:
    for place in (mariadb, fresh_mariadb):
        place.sql("drop database if exists drilled")
    mariadb.sql("create database drilled; create table drilled.entry (id int); insert into drilled.entry values (1)")
    runner.backup("MySQL", server(mariadb))
    check = {"exec": [str(runner.path / "mariadb"), "-BNe", "select count(*) from entry"], "expect": "==1"}
    ended = drill(runner, "MySQL", server(fresh_mariadb), check)
    assert (ended.code, ended.result["check"]["output"]) == (0, "1\n"), ended.result


def test_redis_is_restored_first_and_asked_by_another_job(client_programs: Path, runner: Runner) -> None:
    """As a drill's Pod does: the files before the server starts, the check when it answers."""
    with running(Redis("drilled").up()) as source:
        source.cli("set", "visits", "42")
        runner.backup("Redis", {"host": "127.0.0.1", "port": source.port, "password": {"env": "DATABASE_PASSWORD"}})
    scratch = Redis("scratch")
    with running(scratch):
        restored = runner.restore("Redis", {"paths": [str(scratch.data)]})
        before = runner.folder / "restored.json"
        before.write_text(json.dumps(restored))
        scratch.up()
        target = {"host": "127.0.0.1", "port": scratch.port, "password": {"env": "DATABASE_PASSWORD"}}
        program = str(runner.path / "redis-cli")
        check = {"exec": [program, "-p", str(scratch.port), "get", "visits"], "expect": "=42"}
        result = runner.good("drill-check", method="Redis", target=target, check=check, restored=str(before))
    assert (result["run"], result["check"]) == ("run-1", {"passed": True, "output": "42\n"})
    assert result["restoreSeconds"] == restored["durationSeconds"]
    assert result["recoverySeconds"] >= 0


def test_databases_beside_the_original_get_a_suffix(postgres: Postgres, runner: Runner) -> None:
    long = "a" * 60
    for name in ("drilled", long):
        postgres.sql(f"drop database if exists {name} with (force)")
        postgres.sql(f"create database {name}")
        postgres.sql(f'drop database if exists "{name[:50]}_undo-friday"')
    runner.backup("Postgres", server(postgres, databases=["drilled", long]))
    done = runner.restore("Postgres", server(postgres, databases=[], suffix="_undo-friday"))
    names = [part["database"] for part in done["parts"] if "database" in part]
    assert names == ["drilled_undo-friday", "a" * 51 + "_undo-friday"]
    for name in (*names, long, "drilled"):
        postgres.sql(f'drop database "{name}"')


def test_a_check_after_a_restore_that_left_no_result(runner: Runner) -> None:
    ended = runner.run("drill-check", check={"exec": ["true"]}, restored=os.devnull)
    assert (ended.code, ended.reason) == (2, "InvalidJob")
    assert ended.message.startswith("job.restored: /dev/null isn't the result of a restore")


def test_a_restore_that_is_tried_again_replaces_what_it_made_itself(postgres: Postgres, runner: Runner) -> None:
    postgres.sql("drop database if exists drilled with (force)")
    postgres.sql('drop database if exists "drilled_undo" with (force)')
    postgres.sql("create database drilled")
    postgres.sql("create table entry as select generate_series(1, 5)", "drilled")
    runner.backup("Postgres", server(postgres))
    target = server(postgres, suffix="_undo", mark="homeport restore 7f6d1c1e")
    runner.restore("Postgres", target)
    postgres.sql("delete from entry", "drilled_undo")
    runner.restore("Postgres", target)
    assert postgres.sql("select count(*) from entry", "drilled_undo") == "5"
    for other in ({"mark": "homeport restore 00000000"}, {"mark": ""}):
        fields: dict[str, Any] = {"method": "Postgres", "tags": TAGS, "target": {**target, **other}}
        ended = runner.run("restore", **fields)
        assert (ended.code, ended.reason) == (2, "TargetNotEmpty")
    postgres.sql('drop database "drilled_undo"')


def test_a_snapshot_names_its_run_whatever_backup_it_is_of(rows: Path, runner: Runner, tmp_path: Path) -> None:
    snapshot = runner.good("snapshots")["runs"][0]["snapshots"][0]
    fields: dict[str, Any] = {"method": "SQLite", "target": {"paths": [str(tmp_path / "restored")]}}
    done = runner.good("restore", select={"snapshot": snapshot[:12]}, **fields)
    assert done["run"] == "run-1"
    ended = runner.run("restore", **fields)
    assert (ended.reason, ended.message) == (
        "InvalidJob",
        "job.tags.backup is needed: the name under which runs are kept",
    )
