"""Five minutes on a real node: a database in a Pod, rows written, a scheduled run to S3, rows deleted, rows back."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from typing import Any

import pytest
from homes import Manifest, eventually, told
from systems import System

pytestmark = pytest.mark.e2e
log = logging.getLogger(__name__)

SPACE = "e2e-store"
WAIT = 240.0
OVER = ("Succeeded", "Incomplete", "Failed")
COUNT = ["psql", "-XAtc", "select count(*) from entries where account = 'backups'"]
HOOKS = {
    "before": [{"exec": ["sh", "-c", "echo before >>/tmp/hooks"]}],
    "after": [{"exec": ["sh", "-c", "echo after >>/tmp/hooks"], "timeout": "30s"}],
}


@pytest.fixture(scope="module")
def repository(_budget: System) -> Iterator[System]:
    """budget-manager with a repository on an S3 server in a Pod."""
    made = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SPACE}},
        {
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "s3", "namespace": SPACE, "labels": {"app": "s3"}},
            "spec": {
                "containers": [{
                    "name": "s3", "image": "versitygw:e2e", "ports": [{"containerPort": 7070}],
                    "command": ["sh", "-c", "mkdir -p /data/files/backups /data/about && exec versitygw --port :7070 "
                                            "posix --sidecar /data/about /data/files"],
                    "env": [{"name": "ROOT_ACCESS_KEY", "value": "homeport"},
                            {"name": "ROOT_SECRET_KEY", "value": "a very secret key"}],
                    "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                    "readinessProbe": {"tcpSocket": {"port": 7070}, "periodSeconds": 1},
                }],
                "volumes": [{"name": "data", "emptyDir": {}}],
            },
        },
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s3", "namespace": SPACE},
         "spec": {"selector": {"app": "s3"}, "ports": [{"port": 7070}]}},
        secret("s3", accessKeyId="homeport", secretAccessKey="a very secret key"),
        secret("restic", password="a long repository password"),
        own("BackupRepository", "offsite", {
            "s3": {"endpoint": f"http://s3.{SPACE}.svc:7070", "bucket": "backups", "prefix": "budget",
                   "credentialsSecretRef": {"name": "s3"}},
            "environments": ["production"],
            "encryption": {"passwordSecretRef": {"name": "restic", "key": "password"}},
        }),
    ]  # fmt: skip
    for manifest in made:
        _budget.apply(manifest)

    def ready() -> bool:
        found = _budget.get("BackupRepository", _budget.name, "offsite")
        assert told(found)[0] == "True", told(found)
        return True

    eventually(ready, "the repository is made", WAIT, 0.5)
    yield _budget
    _budget.delete("Pod", SPACE, "s3")


def secret(name: str, **data: str) -> Manifest:
    metadata = {"name": name, "namespace": "budget-manager"}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data}


def own(kind: str, name: str, spec: Manifest) -> Manifest:
    metadata = {"name": name, "namespace": "budget-manager"}
    return {"apiVersion": "homeport.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}


def backup(**spec: Any) -> Manifest:
    source = {"application": "budget-manager", "component": "db", "environment": "production"}
    return own("Backup", "nightly-db", {"source": source, "repositoryRef": {"name": "offsite"}, **spec})


def over(system: System, kind: str, name: str) -> dict[str, Any]:
    """A run or a restore once it is over; its status."""

    def look() -> Any:
        found = system.get(kind, system.name, name).get("status") or {}
        assert found.get("phase") in OVER, {key: value for key, value in found.items() if key != "inventory"}
        return found

    return dict(eventually(look, f"{kind} {name} is over", WAIT, 0.5))


def rows(system: System, sql: str = "select count(*) from entries where account = 'backups'") -> str:
    return system.exec("db-0", "psql", "-U", "budget", "-d", "budget", "-Atc", sql).strip()


def made_for_restores(system: System) -> list[str]:
    found = [
        f"{kind} {item['metadata']['name']}"
        for kind in ("Job", "Secret", "NetworkPolicy")
        for item in system.list(kind, system.space, "homeport.dev/owner-kind=Restore")
    ]
    return found + [
        pod["metadata"]["name"] for pod in system.list("Pod", system.space, "homeport.dev/owner-kind=Restore")
    ]


def test_five_minutes(repository: System, budget: System) -> None:
    began = time.monotonic()

    def say(text: str) -> None:
        log.info("%6.1f s  %s", time.monotonic() - began, text)

    for amount in ("1.00", "2.00", "3.00"):
        assert budget.call("backend", "POST", "/api/entries", {"account": "backups", "amount": amount})[0] == 201
    assert rows(budget) == "3"
    say("three rows are written")

    budget.apply(backup(schedule="* * * * *", hooks=HOOKS))

    def scheduled() -> Any:
        found = budget.get("Backup", budget.name, "nightly-db").get("status") or {}
        assert found.get("lastSuccess"), found
        return found["lastSuccess"]

    last = eventually(scheduled, "a scheduled run succeeded", WAIT, 0.5)
    run = over(budget, "BackupRun", last["run"])
    assert run["phase"] == "Succeeded", run
    assert budget.exec("db-0", "cat", "/tmp/hooks").split()[:2] == ["before", "after"]
    say(f"the schedule's run {last['run']} saved {last.get('bytes')} bytes in {last.get('duration')}, hooks ran")
    # Its time has come again meanwhile, maybe: what follows wants to know which run is the newest.
    budget.apply(backup())

    rows(budget, "delete from entries")
    assert rows(budget) == "0"
    say("the rows are deleted")

    confirm = {"confirm": budget.application["metadata"]["uid"], "quiesce": True}
    spec = {"backupRef": {"name": "nightly-db"}, "snapshot": last["snapshot"], "target": {"inPlace": confirm}}
    budget.apply(own("Restore", "undo", spec))
    restored = over(budget, "Restore", "undo")
    assert restored["phase"] == "Succeeded", restored
    assert "budget" in restored["restoredTo"]["databases"]
    assert rows(budget) == "3"
    say(f"Restore undo brought them back in {restored['duration']}: {restored['message']}")
    budget.ready()
    assert len(budget.pods("backend")) == 3
    assert budget.call("backend", "GET", "/health/ready")[0] == 200
    assert over(budget, "BackupRun", "undo-before")["phase"] == "Succeeded"
    assert made_for_restores(budget) == []
    say("the backend serves again; nothing is left of the restore")

    budget.apply(backup(verify={"check": {"exec": COUNT, "expect": "==3"}}))
    drill = {"backupRef": {"name": "nightly-db"}, "target": {"drill": {}}, "snapshot": last["snapshot"]}
    budget.apply(own("Restore", "drill-good", drill))
    passed = over(budget, "Restore", "drill-good")
    assert (passed["phase"], passed["check"]) == ("Succeeded", {"output": "3\n", "passed": True}), passed
    say(f"a drill passed: measured RTO {passed['duration']}")

    budget.apply(backup(verify={"check": {"exec": COUNT, "expect": ">1000"}}))
    budget.apply(own("Restore", "drill-bad", drill))
    failed = over(budget, "Restore", "drill-bad")
    assert (failed["phase"], failed["reason"], failed["check"]["passed"]) == ("Failed", "CheckFailed", False), failed
    say(f"a drill failed: {failed['message']}")

    def told_of() -> bool:
        found = budget.get("Backup", budget.name, "nightly-db")
        assert told(found)[:2] == ("False", "VerificationFailed"), told(found)
        return bool(found["status"]["measuredRTO"] == passed["duration"])

    eventually(told_of, "the Backup says that its newest drill failed", 60, 0.5)
    assert made_for_restores(budget) == []
    assert rows(budget) == "3"
