"""A project with a repository on a real S3, a kubelet for runners, and what a user sees of its backups."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from homes import Home, eventually

from api_server import ApiServer
from backup_servers import S3Server
from backup_world import BackupWorld
from runner_jobs import REPOSITORY_PASSWORD, Runner, s3

OVER = ("Succeeded", "Incomplete", "Failed")
WAIT = 150.0
WEB: dict[str, Any] = {
    "name": "web",
    "image": "registry.example.com/team/web:1",
    "ports": [{"name": "http", "port": 8080}],
    "volumes": [{"name": "data", "path": "/data", "size": "1Gi"}],
}
DATABASE: dict[str, Any] = {
    "name": "db",
    "type": "stateful",
    "image": "registry.example.com/library/postgres:15",
    "ports": [{"name": "postgres", "port": 5432}],
    "env": [
        {"name": "POSTGRES_USER", "value": "admin"},
        {"name": "POSTGRES_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}},
    ],
    "volumes": [{"name": "data", "path": "/var/lib/postgresql/data", "size": "1Gi"}],
}


class BackupShop:
    """A home with a repository, and what was made in it."""

    def __init__(self, home: Home, world: BackupWorld, store: S3Server, folder: Path) -> None:
        self.home = home
        self.world = world
        self.runner = Runner(folder, world.path, s3(store, f"{home.name}/offsite"))
        home.secret("s3", accessKeyId=store.ACCESS, secretAccessKey=store.SECRET)
        home.secret("restic", password=REPOSITORY_PASSWORD)
        place = {"endpoint": store.url, "bucket": store.BUCKET, "prefix": f"{home.name}/offsite",
                 "credentialsSecretRef": {"name": "s3"}}  # fmt: skip
        password = {"passwordSecretRef": {"name": "restic", "key": "password"}}
        home.own("BackupRepository", "offsite", {"s3": place, "environments": ["dev"], "encryption": password})
        home.until("BackupRepository", "offsite", "True", seconds=WAIT)

    def rolled_out(self, *components: dict[str, Any]) -> None:
        self.home.application(*components)
        self.home.ready(seconds=WAIT)

    def backup(self, name: str = "nightly", component: str = "web", **spec: Any) -> None:
        source = {"application": "shop", "component": component, "environment": "dev", **spec.pop("source", {})}
        self.home.own("Backup", name, {"source": source, "repositoryRef": {"name": "offsite"}, **spec})

    def saved(self, name: str, backup: str = "nightly") -> dict[str, Any]:
        """A run that has to succeed, known to its Backup; its status."""
        self.home.own("BackupRun", name, {"backupRef": {"name": backup}})
        run = self.over("BackupRun", name)
        assert run["phase"] == "Succeeded", run
        eventually(lambda: self.listed(name, backup), f"{backup} knows of {name}", WAIT)
        return run

    def listed(self, run: str, backup: str = "nightly") -> bool:
        runs = (self.home.mine("Backup", backup).get("status") or {}).get("runs") or ()
        return run in [entry["run"] for entry in runs]

    def restore(self, name: str = "undo", backup: str = "nightly", **spec: Any) -> dict[str, Any]:
        """A restore once it is over; its status."""
        self.home.own("Restore", name, {"backupRef": {"name": backup}, **spec})
        return self.over("Restore", name)

    def over(self, kind: str, name: str) -> dict[str, Any]:
        def look() -> Any:
            found = self.home.mine(kind, name).get("status") or {}
            assert found.get("phase") in OVER, found
            return found

        return dict(eventually(look, f"{kind} {name} is over", WAIT))

    def made(self, kind: str = "Restore") -> set[str]:
        """What was made for runs or restores, and is still there."""
        out = set()
        for namespace in (self.home.name, self.home.place()):
            for what in ("Job", "Secret", "NetworkPolicy", "PersistentVolumeClaim"):
                found = self.home.list(what, namespace, f"homeport.dev/owner-kind={kind}")
                out |= {f"{what} {item['metadata']['name']}" for item in found}
        return out


@pytest.fixture(scope="module")
def backup_world(
    server: ApiServer, client_programs: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[BackupWorld]:
    """A kubelet for runners."""
    with BackupWorld(server, tmp_path_factory.mktemp("world"), client_programs).running() as found:
        yield found


@pytest.fixture
def backup_shop(home: Home, backup_world: BackupWorld, s3_server: S3Server, tmp_path: Path) -> BackupShop:
    """A project with a repository."""
    return BackupShop(home, backup_world, s3_server, tmp_path / "runner")
