"""BackupRuns on the real API server, with the real runner, a real restic and real sources."""

from __future__ import annotations

import base64
import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml
from backup_shop import WAIT, WEB, BackupShop
from homes import Home, eventually, told

from backup_servers import PASSWORD, MariaDB, Postgres, Redis, S3Server, running
from backup_world import BackupWorld
from homeport.plan.backup.access import kept_as
from runner_jobs import REPOSITORY_PASSWORD, Ended

pytestmark = pytest.mark.integration


class Shop(BackupShop):
    """A project with runs in it."""

    def backup(self, name: str = "nightly", component: str = "web", **spec: Any) -> None:
        if spec.pop("project", False):
            self.home.own("Backup", name, {"source": {"project": True}, "repositoryRef": {"name": "offsite"}})
            return
        super().backup(name, component, **spec)

    def start(self, name: str = "now", backup: str = "nightly", **spec: Any) -> None:
        self.home.own("BackupRun", name, {"backupRef": {"name": backup}, **spec})

    def done(self, name: str = "now") -> dict[str, Any]:
        """The run once it is over."""
        self.over("BackupRun", name)
        return self.home.mine("BackupRun", name)

    def run(self, name: str = "now", backup: str = "nightly", **spec: Any) -> dict[str, Any]:
        self.start(name, backup, **spec)
        return self.done(name)

    def restored(self, method: str, target: dict[str, Any], backup: str = "nightly") -> Ended:
        """What restic has of it, brought back by the runner alone."""
        return self.runner.run(
            "restore", method=method, tags={"backup": kept_as(self.home.name, backup)}, target=target
        )

    def swept(self) -> bool:
        """Whether nothing is left of what was made for runs."""
        return not self.made("BackupRun")


@pytest.fixture
def shop(home: Home, backup_world: BackupWorld, s3_server: S3Server, tmp_path: Path) -> Shop:
    return Shop(home, backup_world, s3_server, tmp_path / "runner")


def good(run: dict[str, Any]) -> dict[str, Any]:
    assert run["status"]["phase"] == "Succeeded", run["status"]
    assert told(run)[0] == "True"
    return dict(run["status"])


# --- what is backed up ------------------------------------------------------------------------------------------------


def test_a_sqlite_database(shop: Shop, tmp_path: Path) -> None:
    shop.rolled_out(WEB)
    path = shop.world.volume(shop.home.place(), "web-data") / "app.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("pragma journal_mode = wal")
        database.execute("create table entry (id integer primary key, body text)")
        database.executemany("insert into entry (body) values (?)", ((f"row {n}",) for n in range(1000)))
    shop.backup(method="SQLite", source={"paths": ["/data/app.db"]})
    status = good(shop.run())
    assert (status["method"], status["run"], len(status["parts"])) == ("SQLite", "now", 1)
    assert status["snapshot"] and status["bytes"] > 0 and status["duration"]
    assert status["listing"]["snapshots"] == 1
    eventually(shop.swept, "the Job and the keys are gone")
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("delete from entry")
    ended = shop.restored("SQLite", {"paths": [str(tmp_path / "back")]})
    assert ended.code == 0, ended.result
    with closing(sqlite3.connect(tmp_path / "back" / "app.db")) as database:
        assert database.execute("select count(*) from entry").fetchone() == (1000,)
    # It is over, and nothing more is written.
    before = shop.home.mine("BackupRun", "now")["metadata"]["resourceVersion"]
    shop.home.settled("Project", shop.home.name)
    assert shop.home.mine("BackupRun", "now")["metadata"]["resourceVersion"] == before


def database(image: str, port: int, env: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    volumes = [{"name": "data", "path": "/var/lib/data", "size": "1Gi"}]
    return {"name": "db", "type": "stateful", "image": image, "ports": [{"name": "db", "port": port}], "env": env,
            "volumes": volumes, **more}  # fmt: skip


def secret(name: str) -> dict[str, Any]:
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}}


def test_a_postgres_by_its_own_variables(shop: Shop, postgres: Postgres, fresh_postgres: Postgres) -> None:
    place = shop.home.place()
    shop.home.secret("db", place, password=PASSWORD)
    postgres.sql("create database runshop")
    try:
        postgres.sql("create table t as select n, md5(n::text) as body from generate_series(1, 5000) n", "runshop")
        shop.world.servers[place, "db"] = postgres.port
        env = [{"name": "POSTGRES_USER", "value": "admin"}, secret("POSTGRES_PASSWORD")]
        shop.rolled_out(database("postgres:15", 5432, env))
        shop.backup(component="db", source={"databases": ["runshop"]})
        status = good(shop.run())
    finally:
        postgres.sql("drop database runshop")
    assert status["method"] == "Postgres"
    assert [part["part"] for part in status["parts"]] == ["globals", "database/runshop"]
    target = {"host": "127.0.0.1", "port": fresh_postgres.port, "user": {"value": "admin"},
              "password": {"env": "DATABASE_PASSWORD"}}  # fmt: skip
    ended = shop.restored("Postgres", target)
    assert ended.code == 0, ended.result
    try:
        assert fresh_postgres.sql("select count(*) from t", "runshop") == "5000"
    finally:
        fresh_postgres.sql("drop database runshop")


def test_a_mariadb_by_its_own_variables(shop: Shop, mariadb: MariaDB) -> None:
    place = shop.home.place()
    shop.home.secret("db", place, password=PASSWORD)
    mariadb.sql("create database runshop")
    try:
        mariadb.sql("create table t as select seq from seq_1_to_1000", "runshop")
        shop.world.servers[place, "db"] = mariadb.port
        env = [{"name": "MARIADB_USER", "value": "admin"}, secret("MARIADB_PASSWORD")]
        shop.rolled_out(database("mariadb:10.11", 3306, env))
        shop.backup(component="db", source={"databases": ["runshop"]})
        status = good(shop.run())
    finally:
        mariadb.sql("drop database runshop")
    assert status["method"] == "MySQL"
    assert "database/runshop" in [part["part"] for part in status["parts"]]


def test_a_redis_by_its_own_arguments(shop: Shop, client_programs: Path) -> None:
    place = shop.home.place()
    shop.home.secret("db", place, password=PASSWORD)
    with running(Redis("run")) as server:
        server.up().cli("set", "key", "value")
        shop.world.servers[place, "db"] = server.port
        args = ["redis-server", "--requirepass", "$(REDIS_PASSWORD)"]
        shop.rolled_out(database("redis:7", 6379, [secret("REDIS_PASSWORD")], args=args))
        shop.backup(component="db")
        status = good(shop.run())
    assert status["method"] == "Redis"


def test_files_and_what_is_left_out(shop: Shop, tmp_path: Path) -> None:
    shop.rolled_out(WEB)
    volume = shop.world.volume(shop.home.place(), "web-data")
    (volume / "uploads").mkdir()
    (volume / "uploads" / "a.txt").write_text("a")
    (volume / "uploads" / "b.tmp").write_text("b")
    (volume / "cache").mkdir()
    (volume / "cache" / "c.txt").write_text("c")
    shop.backup(method="Files", source={"paths": ["/data/uploads"], "exclude": ["*.tmp"]})
    good(shop.run())
    ended = shop.restored("Files", {"paths": [str(tmp_path / "back")]})
    assert ended.code == 0, ended.result
    found = [str(path.relative_to(tmp_path / "back")) for path in (tmp_path / "back").rglob("*") if path.is_file()]
    assert found == ["uploads/a.txt"]


def test_the_projects_own_manifests(shop: Shop, tmp_path: Path) -> None:
    shop.rolled_out(WEB)
    shop.backup("everything", project=True)
    status = good(shop.run(backup="everything"))
    assert status["method"] == "Manifests"
    target = tmp_path / "manifests.yaml"
    ended = shop.restored("Manifests", {"paths": [str(target)]}, "everything")
    assert ended.code == 0, ended.result
    found = {(body["kind"], body["metadata"]["name"]): body for body in yaml.safe_load_all(target.read_text())}
    assert {("Project", shop.home.name), ("Environment", "dev"), ("Application", "shop"), ("Secret", "restic")} <= set(
        found
    )
    assert all("status" not in body and "uid" not in body["metadata"] for body in found.values())
    assert found["Application", "shop"]["spec"]["components"][0]["name"] == "web"


# --- what isn't good --------------------------------------------------------------------------------------------------


def test_a_part_that_can_not_be_read_is_never_a_success(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 3: something was saved, and something is missing."""
    # Root reads whatever has permissions, but not what the kernel itself refuses.
    unreadable = {"paths": [f"/proc/{os.getpid()}/task/{os.getpid()}/attr"]}
    monkeypatch.setattr(shop.world, "before", lambda pod, job: job.update(source=unreadable))
    shop.rolled_out(WEB)
    shop.backup(method="Files")
    run = shop.run()
    assert run["status"]["phase"] == "Incomplete"
    assert told(run)[:2] == ("False", "BackupFailed")
    assert "SourceIncomplete" in told(run)[2]
    assert run["status"]["parts"][0]["snapshot"]
    assert "lastSuccess" not in shop.home.settled("Backup", "nightly")["status"]


def test_what_the_runner_says_is_told(shop: Shop) -> None:
    shop.rolled_out(WEB)
    shop.backup(method="Files", source={"paths": ["/data/missing"]})
    run = shop.run()
    assert run["status"]["phase"] == "Failed"
    assert told(run)[:2] == ("False", "BackupFailed")
    assert "SourceUnreachable" in told(run)[2]
    assert "missing doesn't exist" in told(run)[2]


def test_a_runner_that_says_nothing_is_a_failure(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its Job is retried by Kubernetes, and then there is no result to be read."""

    def broken(pod: Any, job: Any) -> None:
        raise OSError("no such image")

    monkeypatch.setattr(shop.world, "before", broken)
    shop.rolled_out(WEB)
    shop.backup(method="Files")
    run = shop.run()
    assert run["status"]["phase"] == "Failed"
    assert "NoResult: the Job failed without a word of its runner (BackoffLimitExceeded" in told(run)[2]


# --- while it runs ----------------------------------------------------------------------------------------------------


@pytest.fixture
def held(shop: Shop) -> Iterator[Shop]:
    """A shop with a component to back up, in which runners don't begin yet."""
    shop.rolled_out(WEB)
    (shop.world.volume(shop.home.place(), "web-data") / "a").write_text("a")
    shop.backup(method="Files")
    shop.world.hold.clear()
    yield shop
    shop.world.hold.set()


def begun(shop: Shop, name: str = "now") -> dict[str, Any]:
    """The run's Job, once it is there."""
    shop.start(name)
    place, job = shop.home.place(), f"homeport-run-{name}"
    return dict(eventually(lambda: shop.home.find("Job", place, job), f"{job} is there", WAIT))


def test_nothing_secret_is_where_it_may_be_seen(held: Shop) -> None:
    job = begun(held)
    keys = held.home.get("Secret", held.home.place(), "homeport-run-now")
    assert base64.b64decode(keys["data"]["password"]).decode() == REPOSITORY_PASSWORD
    shown = json.dumps([job, held.home.mine("BackupRun", "now"), held.home.events("BackupRun", "now")])
    assert REPOSITORY_PASSWORD not in shown
    assert S3Server.SECRET not in shown
    held.world.hold.set()
    good(held.done())
    eventually(held.swept, "the keys are gone with it")


def test_a_job_that_somebody_deletes_is_made_again(held: Shop) -> None:
    first = begun(held)
    held.home.delete("Job", held.home.place(), "homeport-run-now")
    place = held.home.place()

    def another() -> bool:
        found = held.home.find("Job", place, "homeport-run-now")
        return found is not None and found["metadata"]["uid"] != first["metadata"]["uid"]

    eventually(another, "another Job", WAIT)
    held.world.hold.set()
    assert good(held.done())["listing"]["snapshots"] == 1


def test_what_is_at_work_is_left_alone_when_its_source_changes(held: Shop) -> None:
    first = begun(held)
    held.home.set("Backup", "nightly", timeout="2h", hooks={"before": [{"exec": ["true"]}]})
    held.home.settled("BackupRun", "now")
    again = held.home.get("Job", held.home.place(), "homeport-run-now")
    assert again["metadata"]["uid"] == first["metadata"]["uid"]
    assert again["spec"] == first["spec"]
    held.world.hold.set()
    good(held.done())


def test_a_run_that_is_deleted_takes_its_job_along(held: Shop) -> None:
    begun(held)
    held.home.delete("BackupRun", held.home.name, "now")
    held.home.gone("BackupRun", held.home.name, "now")
    assert held.swept()


def test_the_operator_is_gone_while_the_runner_works(held: Shop, restart: Callable[[], None]) -> None:
    begun(held)
    restart()
    held.world.hold.set()
    assert good(held.done())["listing"]["snapshots"] == 1


# --- before and after -------------------------------------------------------------------------------------------------


def test_hooks_that_can_not_be_run(shop: Shop) -> None:
    """kwok's nodes run no commands: a hook before it fails the run, and the one after it is tried all the same."""
    shop.rolled_out(WEB)
    shop.backup(method="Files", hooks={"before": [{"exec": ["sync"]}], "after": [{"exec": ["true"], "timeout": "5s"}]})
    run = shop.run()
    assert run["status"]["phase"] == "Failed"
    assert "HookFailed: nothing was saved: hook before[0]: it couldn't be run" in told(run)[2]
    assert [state["hook"] for state in run["status"]["hooks"]] == ["before[0]", "after[0]"]
    assert "hook after[0]: it couldn't be run" in told(run)[2]


def test_a_run_goes_when_its_time_is_over_and_what_it_saved_stays(shop: Shop) -> None:
    shop.rolled_out(WEB)
    shop.backup(method="Files")
    shop.start(ttlSecondsAfterFinished=1)
    shop.home.gone("BackupRun", shop.home.name, "now", WAIT)
    assert [run["run"] for run in shop.runner.good("snapshots")["runs"]] == ["now"]


def test_retention_and_what_is_protected(shop: Shop) -> None:
    shop.rolled_out(WEB)
    shop.backup(method="Files", retention={"keepLast": 1})
    good(shop.run("first", protected=True))
    good(shop.run("second"))
    status = good(shop.run("third"))
    assert [entry["run"] for entry in status["listing"]["runs"]] == ["third", "first"]
    assert status["listing"]["runs"][1]["protected"] is True
    assert [run["run"] for run in shop.runner.good("snapshots")["runs"]] == ["third", "first"]


def test_retention_that_somebody_asks_for(shop: Shop) -> None:
    shop.rolled_out(WEB)
    shop.backup(method="Files")
    for name in ("first", "second", "third"):
        shop.saved(name)
    shop.home.set("Backup", "nightly", retention={"keepLast": 1})
    shop.home.settled("Backup", "nightly")
    assert len(shop.home.mine("Backup", "nightly")["status"]["runs"]) == 3
    shop.home.annotate("Backup", "nightly", **{"prune-at": "now"})
    eventually(
        lambda: (shop.home.mine("Backup", "nightly")["status"].get("lastPrune") or {}).get("asked") == "now",
        "it was done",
        WAIT,
    )
    status = shop.home.mine("Backup", "nightly")["status"]
    assert status["lastPrune"]["message"] == "2 runs were removed; 1 are kept"
    assert ([entry["run"] for entry in status["runs"]], status["snapshots"]) == (["third"], 1)
    assert [run["run"] for run in shop.runner.good("snapshots")["runs"]] == ["third"]
    eventually(lambda: not shop.made("Backup"), "its Job is gone", WAIT)


def test_where_everything_is_denied_the_runner_is_let_in(shop: Shop, client_programs: Path) -> None:
    shop.home.set("Environment", "dev", isolation="Strict")
    place = shop.home.place()
    shop.home.secret("db", place, password=PASSWORD)
    with running(Redis("strict")) as server:
        shop.world.servers[place, "db"] = server.up().port
        shop.rolled_out(database("redis:7", 6379, [secret("REDIS_PASSWORD")]))
        shop.backup(component="db")
        shop.world.hold.clear()
        begun(shop)
        policies = {item["metadata"]["name"] for item in shop.home.list("NetworkPolicy", place)}
        assert {"homeport-run-now", "homeport-run-now-source"} <= policies
        shop.world.hold.set()
        good(shop.done())
    eventually(shop.swept, "the policies are gone")


# --- what can't be ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({}, "the image registry.example.com/team/web:1 doesn't tell how its data is backed up"),
        ({"method": "SQLite"}, "spec.source.paths: write the files of the databases as the component sees them"),
        ({"method": "Container"}, "spec.method: Container is for LXC containers"),
        ({"method": "Files", "source": {"volume": "logs"}}, "component web has no logs; write data"),
        ({"method": "Files", "source": {"component": "wob"}}, "there is no component wob"),
    ],
)
def test_what_can_not_be_backed_up_is_told_at_once(shop: Shop, spec: dict[str, Any], message: str) -> None:
    shop.rolled_out(WEB)
    shop.backup(**spec)
    run = shop.run()
    assert (run["status"]["phase"], *told(run)[:2]) == ("Failed", "False", "InvalidSpec")
    assert message in told(run)[2]
    assert shop.swept()


def test_what_is_not_there_yet_is_waited_for(shop: Shop) -> None:
    shop.start()
    shop.home.until("BackupRun", "now", "False", "DependencyNotReady", "Backup nightly doesn't exist")
    shop.backup(method="Files")
    shop.home.until("BackupRun", "now", "False", "DependencyNotReady", "Application shop doesn't exist")
    (shop.world.volume(shop.home.place(), "web-data") / "a").write_text("a")
    shop.rolled_out(WEB)
    good(shop.done())


def test_an_environment_that_may_not_have_the_keys(shop: Shop) -> None:
    shop.home.set("BackupRepository", "offsite", environments=["elsewhere"])
    shop.rolled_out(WEB)
    shop.backup(method="Files")
    run = shop.run()
    assert "BackupRepository offsite may not be used from environment dev" in told(run)[2]
    assert "Add dev to its spec.environments (elsewhere)" in told(run)[2]
