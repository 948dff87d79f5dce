"""A repository on a real S3 server, made and looked after by real runners, and Backups that tell of what is in it."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from homes import Home, eventually, told, written

from api_server import ApiServer
from backup_servers import S3Server
from backup_world import BackupWorld

pytestmark = pytest.mark.integration

PATIENCE = 120.0


@pytest.fixture
def world(server: ApiServer, client_programs: Path, tmp_path: Path) -> Iterator[BackupWorld]:
    with BackupWorld(server, tmp_path, client_programs).running() as found:
        yield found


@pytest.fixture
def shop(bare: Home, s3_server: S3Server) -> Home:
    bare.project()
    bare.secret("s3", accessKeyId=s3_server.ACCESS, secretAccessKey=s3_server.SECRET)
    return bare


def repository(home: Home, server: S3Server, name: str = "offsite", prefix: str = "", **spec: object) -> None:
    place = {"endpoint": server.url, "bucket": server.BUCKET, "prefix": prefix or f"live/{home.name}"}
    s3 = {**place, "credentialsSecretRef": {"name": "s3"}}
    home.own("BackupRepository", name, {"s3": s3, "encryption": {"generate": True}, **spec})


def keep_the_key(home: Home, name: str = "offsite") -> None:
    """What the message of an unready repository says."""
    known = home.until("BackupRepository", name, "False", "KeyNotEscrowed", seconds=PATIENCE)
    home.annotate("BackupRepository", name, key_escrowed=known["status"]["keyFingerprint"])
    home.ready("BackupRepository", name, PATIENCE)


def password(home: Home, name: str = "offsite") -> str:
    found = home.get("Secret", home.name, f"{name}-repository-password")["data"]["password"]
    return base64.b64decode(found).decode()


def snapshots(home: Home, world: BackupWorld, server: S3Server) -> list[Any]:
    """What restic itself finds."""
    keys = {"AWS_ACCESS_KEY_ID": server.ACCESS, "AWS_SECRET_ACCESS_KEY": server.SECRET}
    where = f"s3:{server.url}/{server.BUCKET}/live/{home.name}"
    done = subprocess.run(
        [str(world.path / "restic"), "-r", where, "snapshots", "--json", "--no-lock"],
        env={**os.environ, **keys, "RESTIC_PASSWORD": password(home)},
        check=True,
        capture_output=True,
    )
    return list(json.loads(done.stdout))


def test_a_repository_is_made_and_a_run_is_told_of(shop: Home, world: BackupWorld, s3_server: S3Server) -> None:
    repository(shop, s3_server)
    keep_the_key(shop)
    status = shop.mine("BackupRepository", "offsite")["status"]
    assert len(status["repositoryID"]) == 64
    shop.own(
        "Backup",
        "manifests",
        {"source": {"project": True}, "repositoryRef": {"name": "offsite"}, "maxAge": "26h", "schedule": "@yearly"},
    )
    shop.own("BackupRun", "now", {"backupRef": {"name": "manifests"}})
    shop.ready("BackupRun", "now", PATIENCE)
    found = eventually(
        lambda: (body := shop.mine("Backup", "manifests")) and body["status"].get("lastSuccess") and body,
        "the Backup tells of its run",
        PATIENCE,
    )["status"]
    assert (found["lastSuccess"]["run"], found["snapshots"], found["method"]) == ("now", 1, "Manifests")
    assert [run["run"] for run in found["runs"]] == ["now"]
    assert found["next"].endswith("-01-01T00:00:00Z")
    assert len(snapshots(shop, world, s3_server)) == 2
    shop.set("Backup", "manifests", deletionPolicy="Delete")
    shop.annotate("Backup", "manifests", confirm_delete="manifests")
    shop.delete("Backup", shop.name, "manifests")
    eventually(lambda: shop.find("Backup", shop.name, "manifests") is None, "the Backup is gone", PATIENCE)
    ran = [job["operation"] for namespace, job in world.ran if namespace == shop.name]
    assert ran == ["init", "backup", "forget"]
    assert snapshots(shop, world, s3_server) == []
    assert shop.names("Job", shop.name) == set()


def test_another_password_is_told_and_nothing_is_made_anew(shop: Home, world: BackupWorld, s3_server: S3Server) -> None:
    repository(shop, s3_server)
    keep_the_key(shop)
    shop.secret("other", password="not the one")
    repository(shop, s3_server, "again", encryption={"passwordSecretRef": {"name": "other", "key": "password"}})
    shop.until("BackupRepository", "again", "False", "RepositoryFailed", seconds=PATIENCE)
    words = "WrongPassword: no key of the repository opens with this password"
    assert told(shop.mine("BackupRepository", "again")) == ("False", "RepositoryFailed", words)
    shop.secret("other", password=password(shop))
    shop.ready("BackupRepository", "again", PATIENCE)
    ids = {shop.mine("BackupRepository", name)["status"]["repositoryID"] for name in ("offsite", "again")}
    assert len(ids) == 1


def test_a_schedule_makes_runs_and_is_silent_in_between(
    shop: Home, world: BackupWorld, s3_server: S3Server, audit_log: Path
) -> None:
    """The schedule is every minute's, so that one is due while somebody looks."""
    repository(shop, s3_server)
    keep_the_key(shop)
    spec = {"source": {"project": True}, "repositoryRef": {"name": "offsite"}, "schedule": "* * * * *"}
    shop.own("Backup", "often", spec)

    def done() -> Any:
        found = shop.mine("Backup", "often")
        assert found["status"].get("lastSuccess"), found["status"]
        return found

    found = eventually(done, "a run of the schedule", 3 * PATIENCE)
    run = found["status"]["lastSuccess"]["run"]
    made = shop.mine("BackupRun", run)
    assert re.fullmatch(r"often-[0-9]{12}", run)
    assert made["spec"]["trigger"] == "Schedule"
    assert [owner["uid"] for owner in made["metadata"]["ownerReferences"]] == [found["metadata"]["uid"]]
    shop.set("Backup", "often", schedule="0 0 1 1 *")
    shop.ready("Backup", "often", PATIENCE)
    eventually(lambda: not shop.mine("Backup", "often")["status"].get("active"), "nothing is under way", PATIENCE)
    for _ in range(2):  # what the last run has told may have to be seen yet
        shop.settled("Backup", "often")
        shop.settled("BackupRepository", "offsite")
        shop.settled("Project", shop.name)  # its log tells of the other schedule
    offset = audit_log.stat().st_size
    for _ in range(3):
        shop.settled("Backup", "often")
        shop.settled("BackupRepository", "offsite")
        shop.settled("BackupRun", run)
    # Each of the three echoes its token, three times; that is all.
    wanted = {f"patch {kind}/status": 3 for kind in ("backups", "backuprepositories", "backupruns")}
    assert written(audit_log, offset, [shop.name]) == wanted
