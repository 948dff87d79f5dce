"""Restores and drills of MariaDB and Redis by the operator, and a repository on a volume.

On the real API server, with the real runner, a real restic and real servers.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from backup_shop import WAIT, WEB, BackupShop
from homes import eventually

from backup_servers import PASSWORD, MariaDB, Redis, running

pytestmark = pytest.mark.integration
KEY = {"name": "db", "key": "password"}
VOLUMES = [{"name": "data", "path": "/var/lib/data", "size": "1Gi"}]


def database(image: str, port: int, env: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    ports = [{"name": "db", "port": port}]
    return {"name": "db", "type": "stateful", "image": image, "ports": ports, "env": env, "volumes": VOLUMES, **more}


def secret(name: str) -> dict[str, Any]:
    return {"name": name, "valueFrom": {"secretKeyRef": KEY}}


def in_place(shop: BackupShop, **more: Any) -> dict[str, Any]:
    return {"target": {"inPlace": {"confirm": shop.home.mine("Application")["metadata"]["uid"], **more}}}


def furnished(shop: BackupShop, component: dict[str, Any]) -> None:
    home = shop.home
    home.application(component)
    eventually(lambda: home.find("Namespace", None, home.place()), "the environment is there", WAIT)
    home.secret("db", home.place(), password=PASSWORD)
    home.ready(seconds=WAIT)


# --- MariaDB ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def mysql_shop(backup_shop: BackupShop, mariadb: MariaDB) -> BackupShop:
    """An application with a MariaDB whose table of 1000 rows was saved as `good`."""
    for name in mariadb.sql("show databases like 'kept%'").splitlines():
        mariadb.sql(f"drop database `{name}`")
    mariadb.sql("create database kept")
    mariadb.sql("create table entry as select seq from seq_1_to_1000", "kept")
    backup_shop.world.servers[backup_shop.home.place(), "db"] = mariadb.port
    furnished(
        backup_shop,
        database("mariadb:10.11", 3306, [{"name": "MARIADB_USER", "value": "admin"}, secret("MARIADB_PASSWORD")]),
    )
    backup_shop.backup(component="db", source={"databases": ["kept"]})
    backup_shop.saved("good")
    return backup_shop


def test_a_mariadb_beside_the_original_and_over_it(mysql_shop: BackupShop, mariadb: MariaDB) -> None:
    shop = mysql_shop
    mariadb.sql("delete from entry where seq > 3", "kept")
    status = shop.restore()
    assert status["phase"] == "Succeeded", status
    assert status["restoredTo"] == {"databases": ["kept_undo"], "namespace": shop.home.place()}
    assert mariadb.sql("select count(*) from entry", "kept_undo") == "1000"
    assert mariadb.sql("select count(*) from entry", "kept") == "3"
    status = shop.restore("back", snapshot=status["snapshot"], **in_place(shop))
    assert status["phase"] == "Succeeded", status
    assert mariadb.sql("select count(*) from entry", "kept") == "1000"
    # What was overwritten can be had back.
    assert shop.home.mine("BackupRun", "back-before")["status"]["phase"] == "Succeeded"
    assert shop.made() == set()


def test_a_drill_of_a_mariadb_asks_what_was_restored(mysql_shop: BackupShop, fresh_mariadb: MariaDB) -> None:
    shop = mysql_shop
    fresh_mariadb.sql("drop database if exists kept")
    # The server beside the runner, which a kubelet would start.
    shop.world.servers[shop.home.place(), "127"] = fresh_mariadb.port
    check = {"exec": ["mariadb", "-BNe", "select count(*) from kept.entry"], "expect": "==1000"}
    shop.home.set("Backup", "nightly", verify={"check": check})
    status = shop.restore("drill", target={"drill": {}})
    assert (status["phase"], status.get("check")) == ("Succeeded", {"output": "1000\n", "passed": True}), status
    shop.home.set("Backup", "nightly", verify={"check": {**check, "expect": ">1000"}})
    fresh_mariadb.sql("drop database if exists kept")
    failed = shop.restore("drill-2", target={"drill": {}})
    assert (failed["phase"], failed["reason"]) == ("Failed", "CheckFailed"), failed
    shop.home.until("Backup", "nightly", "False", "VerificationFailed", seconds=WAIT)


# --- Redis ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def redis_shop(backup_shop: BackupShop, client_programs: Path) -> Iterator[tuple[BackupShop, Redis]]:
    """An application with a Redis whose key `visits` is 7, saved as `good`; it is 8 since."""
    with running(Redis("shop")) as server:
        server.up().cli("set", "visits", "7")
        backup_shop.world.servers[backup_shop.home.place(), "db"] = server.port
        args = ["redis-server", "--requirepass", "$(REDIS_PASSWORD)"]
        furnished(backup_shop, database("redis:7", 6379, [secret("REDIS_PASSWORD")], args=args))
        backup_shop.backup(component="db")
        backup_shop.saved("good")
        server.cli("set", "visits", "8")
        yield backup_shop, server


@contextmanager
def started_from(folder: Path) -> Iterator[Redis]:
    """A Redis with what is in a volume, as its Pod would find it."""
    with running(Redis("back")) as server:
        for path in folder.iterdir():
            if path.is_file():
                shutil.copy(path, server.data)
        yield server.up()


def test_a_redis_beside_the_original_and_over_it(redis_shop: tuple[BackupShop, Redis]) -> None:
    shop, server = redis_shop
    home = shop.home
    status = shop.restore()
    assert status["phase"] == "Succeeded", status
    assert status["restoredTo"] == {"claims": ["data-db-0-undo"], "namespace": home.place()}
    with started_from(shop.world.volume(home.place(), "data-db-0-undo")) as back:
        assert back.cli("get", "visits") == "7"
    seen: list[int] = []

    def look(pod: Any, job: Any) -> None:
        if job["operation"] == "restore":
            seen.append(home.child("StatefulSet", "db")["spec"]["replicas"])

    shop.world.before = look
    try:
        status = shop.restore("over", snapshot=status["snapshot"], **in_place(shop, quiesce=True))
    finally:
        shop.world.before = lambda pod, job: None
    assert status["phase"] == "Succeeded", status
    assert seen == [0]
    with started_from(shop.world.volume(home.place(), "data-db-0")) as back:
        assert back.cli("get", "visits") == "7"
    assert server.cli("get", "visits") == "8"
    home.ready(seconds=WAIT)
    assert home.child("StatefulSet", "db")["spec"]["replicas"] == 1


def test_a_drill_of_a_redis_asks_what_was_restored(redis_shop: tuple[BackupShop, Redis]) -> None:
    shop, _ = redis_shop
    with running(Redis("drill")) as scratch:

        def start(pod: Any, job: Any) -> None:
            """The server beside the runner, which a kubelet would start once its volume is filled."""
            if job["operation"] == "drill-check":
                volumes = shop.world.folder / "pods" / pod["metadata"]["uid"] / "volumes"
                for path in (volumes / "server-data").iterdir():
                    shutil.copy(path, scratch.data)
                scratch.up()
                job["target"]["port"] = scratch.port

        shop.world.before = start
        try:
            # redis-cli takes its port from nowhere but its arguments.
            check = {"exec": ["redis-cli", "-p", str(scratch.port), "get", "visits"], "expect": "==7"}
            shop.home.set("Backup", "nightly", verify={"check": check})
            status = shop.restore("drill", target={"drill": {}})
        finally:
            shop.world.before = lambda pod, job: None
    assert (status["phase"], status.get("check")) == ("Succeeded", {"output": "7\n", "passed": True}), status
    assert status["duration"]
    eventually(lambda: shop.made() == set(), "nothing of it is left", WAIT)


# --- a repository on a volume -----------------------------------------------------------------------------------------


def test_a_repository_on_a_volume(backup_shop: BackupShop) -> None:
    """Made, written to, read back, looked after and pruned where its claim is: in the environment's namespace."""
    shop = backup_shop
    home, place = shop.home, shop.home.place()
    shop.rolled_out(WEB)
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    home.apply(
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "kept", "namespace": place},
         "spec": claim}
    )  # fmt: skip
    password = {"passwordSecretRef": {"name": "restic", "key": "password"}}
    folder = {"persistentVolumeClaim": "kept", "path": "restic"}
    home.own("BackupRepository", "local", {"filesystem": folder, "environments": ["dev"], "encryption": password})
    home.until("BackupRepository", "local", "True", seconds=WAIT)
    there = shop.world.volume(place, "kept") / "restic"
    assert (there / "config").exists()
    volume = shop.world.volume(place, "web-data")
    (volume / "a.txt").write_text("a")
    source = {"application": "shop", "component": "web", "environment": "dev"}
    home.own("Backup", "near", {"source": source, "method": "Files", "repositoryRef": {"name": "local"},
                                "retention": {"keepLast": 1}})  # fmt: skip
    shop.saved("first", "near")
    (volume / "a.txt").write_text("b")
    shop.saved("second", "near")
    status = home.mine("Backup", "near")["status"]
    assert [run["run"] for run in status["runs"]] == ["second"]
    back = shop.restore("undo", "near")
    assert back["phase"] == "Succeeded", back
    assert (shop.world.volume(place, "web-data-undo") / "a.txt").read_text() == "b"
    home.annotate("Backup", "near", prune_at="now")
    eventually(
        lambda: (home.mine("Backup", "near")["status"].get("lastPrune") or {}).get("outcome") == "Succeeded",
        "retention was carried out", WAIT,
    )  # fmt: skip
