"""A project leaves one control plane as a file and arrives on another, with its history and its data.

Both have the real operator, the real runner and a real restic; each keeps its backups in a folder of its own in the
bucket of a real S3 server. The database's rows are compared.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from homes import Home, Live, told

from api_server import ApiServer, eventually
from backup_servers import S3Server
from backup_world import IMAGE, BackupWorld
from localplane.commands import install
from localplane.controlplane import ControlPlane
from localplane.kubectl import Kubectl
from operators import Operator
from runner_jobs import REPOSITORY_PASSWORD

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

ROOT = Path(__file__).resolve().parents[2]
WAIT = 180.0
PASSWORD = "the password of the file"
WEB = {
    "name": "web",
    "image": "registry.example.com/team/web:1",
    "ports": [{"name": "http", "port": 8080}],
    "volumes": [{"name": "data", "path": "/data", "size": "1Gi"}],
}


@dataclass
class Site:
    """A control plane with an operator, a kubelet for runners, and the command line for it."""

    home: Home
    world: BackupWorld
    kubeconfig: Path
    restic: Path

    def run(self, *args: str) -> subprocess.CompletedProcess[str]:
        known = {**os.environ, "KUBECONFIG": str(self.kubeconfig), "PYTHONPATH": str(ROOT / "operator")}
        known["HOMEPORT_RESTIC"] = str(self.restic)
        command = [sys.executable, "-m", "homeport", *args]
        return subprocess.run(command, env=known, capture_output=True, text=True, check=False, timeout=600)

    @property
    def database(self) -> Path:
        return self.world.volume(f"{self.home.name}-dev", "web-data") / "app.db"

    def rows(self) -> list[tuple[int, str]]:
        with closing(sqlite3.connect(self.database)) as database:
            return list(database.execute("select id, body from entry order by id"))


class Elsewhere(Home):
    """A project's namespace of that name, which isn't there yet."""

    def __init__(self, api: ApiServer, name: str) -> None:
        Live.__init__(self, api)
        self.name = name


@pytest.fixture
def far(client_programs: Path, tmp_path: Path, home: Home) -> Iterator[Site]:
    """The other one, with nothing in it."""
    with ControlPlane(tmp_path / "plane", ephemeral=True) as plane:
        install(Kubectl(plane.kubectl, str(plane.kubeconfig)))
        operator = Operator(plane.kubeconfig, tmp_path / "far.log", "--runner-image", IMAGE)
        operator.start()
        api = ApiServer(str(plane.kubeconfig))
        try:
            asyncio.run(operator.wait_leading(WAIT))
            with BackupWorld(api, tmp_path / "far", client_programs).running() as world:
                yield Site(Elsewhere(api, home.name), world, plane.kubeconfig, client_programs / "restic")
        finally:
            operator.kill(signal.SIGTERM)


@pytest.fixture
def near(home: Home, control_plane: Any, client_programs: Path, tmp_path: Path) -> Iterator[Site]:
    with BackupWorld(home.api, tmp_path / "near", client_programs).running() as world:
        yield Site(home, world, control_plane.kubeconfig, client_programs / "restic")


def shop(site: Site, store: S3Server, prefix: str) -> None:
    """An application with two revisions and a database of 1000 rows, backed up once."""
    home = site.home
    home.secret("s3", accessKeyId=store.ACCESS, secretAccessKey=store.SECRET)
    home.secret("restic", password=REPOSITORY_PASSWORD)
    repository = {
        "s3": {"endpoint": store.url, "bucket": store.BUCKET, "prefix": prefix, "credentialsSecretRef": {"name": "s3"}},
        "encryption": {"passwordSecretRef": {"name": "restic", "key": "password"}},
        "environments": ["dev"],
    }
    home.own("BackupRepository", "offsite", repository)
    home.application(WEB)
    home.ready()
    home.application({**WEB, "env": [{"name": "COLOUR", "value": "blue"}]}, version="1.1.0")
    home.ready()
    with closing(sqlite3.connect(site.database, isolation_level=None)) as database:
        database.execute("create table entry (id integer primary key, body text)")
        database.executemany("insert into entry (body) values (?)", ((f"row {n}",) for n in range(1000)))
    source = {"application": "shop", "component": "web", "environment": "dev", "paths": ["/data/app.db"]}
    home.own("Backup", "nightly", {"source": source, "method": "SQLite", "repositoryRef": {"name": "offsite"}})
    home.ready("BackupRepository", "offsite", WAIT)
    done = site.run("backup", "run", "nightly", "--wait", "-n", home.name)
    assert done.returncode == 0, done.stderr
    eventually(lambda: home.mine("Backup", "nightly")["status"].get("runs"), "the run is in the Backup's status", WAIT)


def test_a_project_with_its_data_goes_to_another_cluster(
    near: Site, far: Site, s3_server: S3Server, tmp_path: Path
) -> None:
    name, file, password = near.home.name, tmp_path / "shop.tar.gz", tmp_path / "password"
    password.write_text(PASSWORD)
    shop(near, s3_server, f"{name}/near")
    before = near.rows()

    left = near.run("export", "project", name, "-o", str(file), "--with-secrets", "--password-file", str(password))
    assert left.returncode == 0, left.stderr
    assert "1 runs" in left.stdout
    secrets = (REPOSITORY_PASSWORD, s3_server.SECRET, PASSWORD)
    assert not any(secret in left.stdout + left.stderr for secret in secrets)
    content = file.read_bytes()
    assert not any(secret.encode() in content for secret in secrets)

    wrong = tmp_path / "wrong"
    wrong.write_text("another")
    refused = far.run("import", str(file), "--password-file", str(wrong))
    assert refused.returncode == 1 and "the password doesn't open" in refused.stderr
    assert far.home.find("Project", name, name) is None, "nothing was made"

    arrive = ("import", str(file), "--password-file", str(password), "--s3-prefix", f"{name}/far", "--timeout", "240")
    early = far.run(*arrive)
    assert early.returncode == 1 and "nothing was overwritten" in early.stderr, "there is no database to be saved first"
    # What the application makes for itself when it starts; nothing runs here.
    with closing(sqlite3.connect(far.database)) as database:
        database.execute("create table entry (id integer primary key, body text)")
    done = far.run(*arrive)
    assert done.returncode == 0, done.stderr
    assert far.rows() == before and len(before) == 1000
    assert told(far.home.mine("Application", "shop"))[0] == "True"
    kept = json.loads(far.run("history", "shop", "-n", name, "-o", "json").stdout)
    assert [(entry["revision"], entry["version"]) for entry in kept] == [(1, "1.0.0"), (2, "1.1.0")]
    assert kept[-1]["present"] is True

    # Again, it finds everything done: what was written there since stays.
    with closing(sqlite3.connect(far.database, isolation_level=None)) as database:
        database.execute("insert into entry (body) values ('since then')")
    again = far.run(*arrive)
    assert again.returncode == 0, again.stderr
    assert len(far.rows()) == 1001
    assert far.home.names("Restore", name) == {"nightly-import", "nightly-import-2"}
    assert len(near.rows()) == 1000


def test_a_last_backup_is_taken_before_a_project_is_scaled_to_zero(near: Site, s3_server: S3Server) -> None:
    home = near.home
    shop(near, s3_server, f"{home.name}/final")
    with closing(sqlite3.connect(near.database, isolation_level=None)) as database:
        database.execute("insert into entry (body) values ('the last one')")
    near.world.hold.clear()
    home.set("Project", home.name, finalBackup=True, archived=True)
    home.until("Project", home.name, "False", says="waits for the last backup of nightly", seconds=WAIT)
    assert home.child("Deployment")["spec"]["replicas"] == 1, "nothing is scaled down yet"
    near.world.hold.set()
    home.until("Project", home.name, "True", "Archived", seconds=WAIT)
    assert home.child("Deployment")["spec"]["replicas"] == 0
    (name,) = {run for run in home.names("BackupRun", home.name) if "-final-" in run}
    run = home.mine("BackupRun", name)
    assert (run["status"]["phase"], run["spec"]["protected"], run["spec"]["trigger"]) == ("Succeeded", True, "Final")
    listed = json.loads(near.run("backup", "list", "nightly", "-n", home.name, "-o", "json").stdout)
    assert [entry["protected"] for entry in listed["runs"] if entry["run"] == name] == [True]
    covered = near.run("backup", "coverage", "-n", home.name)
    assert covered.returncode == 0 and "1 of 1 covered" in covered.stdout
    said = {c["type"]: c for c in home.mine("Project", home.name)["status"]["conditions"]}
    assert said["BackupCoverage"]["status"] == "True"
