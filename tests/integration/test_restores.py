"""Restores and drills on the real API server, with the real runner, a real restic and real data."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from backup_shop import DATABASE, WAIT, WEB, BackupShop
from homes import eventually, told

from backup_servers import PASSWORD, Postgres

pytestmark = pytest.mark.integration


def count(path: Path) -> int:
    with closing(sqlite3.connect(path)) as database:
        return int(database.execute("select count(*) from entry").fetchone()[0])


def rows(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("create table if not exists entry (id integer primary key, body text)")
        database.execute("delete from entry")
        database.executemany("insert into entry (body) values (?)", ((f"row {n}",) for n in range(number)))


@pytest.fixture
def sqlite_shop(backup_shop: BackupShop) -> tuple[BackupShop, Path]:
    """An application with a SQLite database of 100 rows, saved as `good`; 3 rows are left."""
    backup_shop.rolled_out(WEB)
    path = backup_shop.world.volume(backup_shop.home.place(), "web-data") / "db" / "app.db"
    rows(path, 100)
    backup_shop.backup(method="SQLite", source={"paths": ["/data/db/app.db"]})
    backup_shop.saved("good")
    rows(path, 3)
    return backup_shop, path


def in_place(shop: BackupShop, **more: Any) -> dict[str, Any]:
    return {"target": {"inPlace": {"confirm": shop.home.mine("Application")["metadata"]["uid"], **more}}}


def test_in_place_what_is_there_is_saved_and_its_user_at_rest(sqlite_shop: tuple[BackupShop, Path]) -> None:
    shop, path = sqlite_shop
    home = shop.home
    seen: list[tuple[int, int, int]] = []

    def look(pod: Any, job: Any) -> None:
        if job["operation"] == "restore":
            pods = home.list("Pod", home.place(), "homeport.dev/component=web")
            replicas = home.child("Deployment")["spec"]["replicas"]
            seen.append((replicas, len(pods), count(path)))

    shop.world.before = look
    try:
        status = shop.restore(**in_place(shop, quiesce=True))
    finally:
        shop.world.before = lambda pod, job: None
    assert status["phase"] == "Succeeded", status
    assert seen == [(0, 0, 3)]
    assert count(path) == 100
    assert (status["run"], status["restoredTo"]) == (
        "good", {"claims": ["web-data"], "namespace": home.place()},
    )  # fmt: skip
    # What was overwritten can be had back.
    before = home.mine("BackupRun", "undo-before")
    assert before["status"]["phase"] == "Succeeded"
    assert before["spec"] == {"backupRef": {"name": "nightly"}, "protected": True, "trigger": "BeforeRestore"}
    home.ready(seconds=WAIT)
    assert home.child("Deployment")["spec"]["replicas"] == 1
    assert told(home.mine("Restore", "undo"))[:2] == ("True", "ReconciliationSucceeded")
    assert shop.made() == set()
    eventually(lambda: shop.listed("undo-before"), "the Backup knows what was saved", WAIT)
    again = shop.restore("redo", snapshot=before["status"]["snapshot"][:12], **in_place(shop, quiesce=True))
    assert (again["phase"], again["run"], count(path)) == ("Succeeded", "undo-before", 3), again


def test_beside_the_original_into_a_claim_that_stays(sqlite_shop: tuple[BackupShop, Path]) -> None:
    shop, path = sqlite_shop
    home = shop.home
    status = shop.restore()
    assert status["phase"] == "Succeeded", status
    assert status["restoredTo"] == {"claims": ["web-data-undo"], "namespace": home.place()}
    assert count(shop.world.volume(home.place(), "web-data-undo") / "db" / "app.db") == 100
    assert count(path) == 3
    claim = home.get("PersistentVolumeClaim", home.place(), "web-data-undo")
    original = home.get("PersistentVolumeClaim", home.place(), "web-data")
    for field in ("accessModes", "resources", "storageClassName"):
        assert claim["spec"].get(field) == original["spec"].get(field)
    assert shop.made() == {"PersistentVolumeClaim web-data-undo"}
    version = home.mine("Restore", "undo")["metadata"]["resourceVersion"]
    home.settled("Application")
    assert home.mine("Restore", "undo")["metadata"]["resourceVersion"] == version
    home.delete("Restore", home.name, "undo")
    home.gone("Restore", home.name, "undo")
    assert not home.missing("PersistentVolumeClaim", "web-data-undo")


def test_drills_that_pass_and_fail(sqlite_shop: tuple[BackupShop, Path]) -> None:
    shop, path = sqlite_shop
    home = shop.home
    script = "import sqlite3; print(*sqlite3.connect('app.db').execute('select count(*) from entry').fetchone())"
    check = {"exec": ["python3", "-c", script]}
    home.set("Backup", "nightly", verify={"check": {**check, "expect": "==100"}})
    status = shop.restore("drill-1", target={"drill": {}})
    assert status["phase"] == "Succeeded", status
    assert (status["run"], status["check"]) == ("good", {"output": "100\n", "passed": True})
    assert status["duration"] and "restoredTo" not in status
    eventually(lambda: shop.made() == set(), "nothing of it is left", WAIT)

    def proven() -> bool:
        found = home.mine("Backup", "nightly")["status"]
        return bool(
            found.get("measuredRTO") == status["duration"] and (found.get("verified") or {}).get("run") == "good"
        )

    eventually(proven, "the Backup says what was proven", WAIT)
    home.set("Backup", "nightly", verify={"check": {**check, "expect": ">100"}})
    failed = shop.restore("drill-2", target={"drill": {}})
    assert (failed["phase"], failed["reason"], failed["check"]) == (
        "Failed", "CheckFailed", {"output": "100\n", "passed": False},
    )  # fmt: skip
    assert told(home.mine("Restore", "drill-2")) == (
        "False", "VerificationFailed", "CheckFailed: the check printed '100', and >100 is expected",
    )  # fmt: skip
    home.until("Backup", "nightly", "False", "VerificationFailed", seconds=WAIT)
    eventually(lambda: shop.made() == set(), "nothing of it is left", WAIT)
    assert count(path) == 3


@pytest.mark.parametrize(
    ("spec", "reason", "said"),
    [
        (
            {"target": {"inPlace": {"confirm": "7f6d1c1e-0000-4000-8000-000000000000", "quiesce": True}}},
            "ConfirmationRequired",
            "this Restore was written for another one, and overwrites nothing",
        ),
        ({"snapshot": "0123456789ab"}, "SnapshotMissing", "no run has a snapshot 0123456789ab; write one of these"),
        ({"before": "2020-01-01T00:00:00Z"}, "SnapshotMissing", "(good, "),
        ({"paths": ["a.txt"]}, "InvalidSpec", "spec.paths: only method Files knows files"),
    ],
)
def test_what_cant_be_done_is_said_and_nothing_is_made(
    sqlite_shop: tuple[BackupShop, Path], spec: dict[str, Any], reason: str, said: str
) -> None:
    shop, path = sqlite_shop
    shop.home.own("Restore", "undo", {"backupRef": {"name": "nightly"}, **spec})
    shop.home.until("Restore", "undo", "False", reason, said, seconds=WAIT)
    assert shop.made() == set()
    assert shop.home.find("BackupRun", shop.home.name, "undo-before") is None
    assert count(path) == 3


def test_a_volume_isnt_changed_under_who_uses_it(sqlite_shop: tuple[BackupShop, Path]) -> None:
    shop, _ = sqlite_shop
    shop.home.own("Restore", "undo", {"backupRef": {"name": "nightly"}, **in_place(shop)})
    shop.home.until("Restore", "undo", "False", "InvalidSpec", "write quiesce: true", seconds=WAIT)


def test_into_another_environment_when_its_keys_may_go_there(sqlite_shop: tuple[BackupShop, Path]) -> None:
    shop, path = sqlite_shop
    home = shop.home
    home.environment("staging")
    home.ready("Environment", "staging", seconds=WAIT)
    home.ready(seconds=WAIT)
    home.own("Restore", "undo", {"backupRef": {"name": "nightly"}, "target": {"new": {"environment": "staging"}}})
    said = "may not be used from environment staging: its keys would be carried there"
    home.until("Restore", "undo", "False", "InvalidSpec", said, seconds=WAIT)
    home.set("BackupRepository", "offsite", environments=["dev", "staging"])
    status = shop.over("Restore", "undo")
    assert (status["phase"], status["restoredTo"]) == (
        "Succeeded", {"claims": ["web-data-undo"], "namespace": home.place("staging")},
    ), status  # fmt: skip
    assert count(shop.world.volume(home.place("staging"), "web-data-undo") / "db" / "app.db") == 100
    assert count(path) == 3


def test_when_the_backup_is_gone_its_runs_are_still_there(sqlite_shop: tuple[BackupShop, Path]) -> None:
    shop, _ = sqlite_shop
    home = shop.home
    home.delete("Backup", home.name, "nightly")
    home.gone("Backup", home.name, "nightly", WAIT)
    source = {"repositoryRef": {"name": "offsite"}, "backup": "nightly", "method": "SQLite"}
    new = {"application": "shop", "component": "web", "environment": "dev"}
    home.own("Restore", "undo", {"source": source, "target": {"new": new}})
    status = shop.over("Restore", "undo")
    assert (status["phase"], status["run"]) == ("Succeeded", "good"), status
    assert count(shop.world.volume(home.place(), "web-data-undo") / "app.db") == 100


def test_two_in_place_take_turns(sqlite_shop: tuple[BackupShop, Path]) -> None:
    shop, path = sqlite_shop
    at_work: list[set[str]] = []

    def look(pod: Any, job: Any) -> None:
        jobs = shop.home.list("Job", shop.home.place(), "homeport.dev/owner-kind=Restore")
        at_work.append({item["metadata"]["name"] for item in jobs})

    spec = {"backupRef": {"name": "nightly"}, "before": "2999-01-01T00:00:00Z", **in_place(shop, quiesce=True)}
    shop.world.before = look
    try:
        for name in ("one", "two"):
            shop.home.own("Restore", name, spec)
        found = [shop.over("Restore", name) for name in ("one", "two")]
    finally:
        shop.world.before = lambda pod, job: None
    assert [status["phase"] for status in found] == ["Succeeded", "Succeeded"], found
    assert max(len(jobs) for jobs in at_work) == 1
    assert count(path) in (3, 100)
    shop.home.ready(seconds=WAIT)


def test_one_that_is_deleted_at_work_leaves_nothing_and_lets_run(sqlite_shop: tuple[BackupShop, Path]) -> None:
    shop, path = sqlite_shop
    home = shop.home
    home.own("Restore", "undo", {"backupRef": {"name": "nightly"}, **in_place(shop, quiesce=True)})
    eventually(lambda: (home.mine("Restore", "undo").get("status") or {}).get("quiesced"), "it quiesces", WAIT)
    shop.world.hold.clear()
    try:
        home.delete("Restore", home.name, "undo")
        home.gone("Restore", home.name, "undo", WAIT)
    finally:
        shop.world.hold.set()
    home.ready(seconds=WAIT)
    eventually(lambda: home.child("Deployment")["spec"]["replicas"] == 1, "it runs again", WAIT)
    assert shop.made() == set()
    assert count(path) in (3, 100)


@pytest.fixture
def postgres_shop(backup_shop: BackupShop, postgres: Postgres) -> BackupShop:
    """An application with a PostgreSQL that holds a database of five rows, saved as `good`."""
    home = backup_shop.home
    for name in postgres.sql("select datname from pg_database where datname ~ '^restored'").splitlines():
        postgres.sql(f'drop database "{name}" with (force)')
    postgres.sql("create database restored")
    postgres.sql("create table entry as select generate_series(1, 5)", "restored")
    backup_shop.world.servers[home.place(), "db"] = postgres.port
    home.application(DATABASE)
    eventually(lambda: home.find("Namespace", None, home.place()), "the environment is there", WAIT)
    home.secret("db", home.place(), password=PASSWORD)
    home.ready(seconds=WAIT)
    backup_shop.backup(component="db", source={"databases": ["restored"]})
    backup_shop.saved("good")
    return backup_shop


def test_databases_beside_the_original_and_over_it(postgres_shop: BackupShop, postgres: Postgres) -> None:
    shop = postgres_shop
    postgres.sql("delete from entry", "restored")
    status = shop.restore()
    assert status["phase"] == "Succeeded", status
    assert status["restoredTo"] == {"databases": ["restored_undo"], "namespace": shop.home.place()}
    assert postgres.sql("select count(*) from entry", "restored_undo") == "5"
    assert postgres.sql("select count(*) from entry", "restored") == "0"
    status = shop.restore("back", snapshot=status["snapshot"], **in_place(shop))
    assert status["phase"] == "Succeeded", status
    assert status["restoredTo"]["databases"] == ["restored"]
    assert postgres.sql("select count(*) from entry", "restored") == "5"
    # Nothing names what is at rest: nobody says that they work with it.
    assert "quiesced" not in status
    assert shop.made() == set()


def test_a_drill_of_a_database_asks_what_was_restored(postgres_shop: BackupShop, fresh_postgres: Postgres) -> None:
    shop = postgres_shop
    fresh_postgres.sql("drop database if exists restored with (force)")
    # The server beside the runner, which a kubelet would start.
    shop.world.servers[shop.home.place(), "127"] = fresh_postgres.port
    check = {"exec": ["psql", "-XAtc", "select count(*) from entry"], "expect": ">0"}
    shop.home.set("Backup", "nightly", verify={"check": check})
    status = shop.restore("drill", target={"drill": {}})
    assert (status["phase"], status.get("check")) == ("Succeeded", {"output": "5\n", "passed": True}), status
    shop.home.set("Backup", "nightly", verify={"restore": False, "check": None})
    status = shop.restore("look", target={"drill": {}})
    assert (status["phase"], "duration" in status, "check" in status) == ("Succeeded", False, False), status
    assert "can be read from end to end" in status["message"]
