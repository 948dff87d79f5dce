"""A world in memory whose Jobs with the backup runner end as real ones do: with a Pod that says what came of them."""

from __future__ import annotations

import json
from datetime import UTC
from typing import Any

from homeport.api.labels import API_VERSION, RUNNER
from homeport.drivers.kubernetes import types
from memory_world import OURS, Manifest, Running, World

SPACE = "shop"
PLACE = "shop-main"
SNAPSHOT = "{:064x}"
WEB: dict[str, Any] = {
    "name": "web",
    "image": "example/web:1",
    "ports": [{"name": "http", "port": 8080}],
    "volumes": [{"name": "data", "path": "/data", "size": "1Gi"}],
    "securityContext": {"runAsUser": 1000, "fsGroup": 1000},
}


class RestoreWorld(World):
    """``failing`` has the operations of runners that fail."""

    def __init__(self) -> None:
        super().__init__()
        self.ours = (*OURS, types.BACKUP_REPOSITORY, types.BACKUP, types.BACKUP_RUN, types.RESTORE)

    def clone(self) -> RestoreWorld:
        other = RestoreWorld()
        self._copy_to(other)
        return other

    async def operator(self) -> Running:
        running = Running(self)
        running.engine.context.runner_image = "homeport-runner:1"
        await running.start()
        return running

    async def controllers(self) -> bool:
        """Runners' Pods come before their Jobs' ends, and go with the Jobs."""
        worked = False
        jobs = {found["metadata"]["uid"]: found for (gvk, _, _), found in self.client._objects.items()
                if gvk == types.JOB and RUNNER in found["metadata"]["labels"]}  # fmt: skip
        pods = {found["metadata"]["ownerReferences"][0]["uid"]: found
                for (gvk, _, _), found in self.client._objects.items()
                if gvk == types.POD and RUNNER in found["metadata"]["labels"]}  # fmt: skip
        for uid, job in jobs.items():
            if uid not in pods:
                await self.client.create(types.POD, job["metadata"]["namespace"], self._pod(job))
                worked = True
        for uid, pod in pods.items():
            if uid not in jobs:
                await self.client.delete(types.POD, pod["metadata"]["namespace"], pod["metadata"]["name"])
                worked = True
        return bool(await super().controllers()) or worked

    def _pod(self, job: Manifest) -> Manifest:
        metadata = job["metadata"]
        container = job["spec"]["template"]["spec"]["containers"][0]
        work = json.loads(next(one["value"] for one in container["env"] if one["name"] == "HOMEPORT_JOB"))
        ended = {"exitCode": 0, "reason": "Completed", "message": json.dumps(self._result(work))}
        return {
            "metadata": {
                "name": f"{metadata['name']}-pod", "namespace": metadata["namespace"],
                "labels": {RUNNER: metadata["labels"][RUNNER]},
                "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": metadata["name"],
                                     "uid": metadata["uid"]}],
            },
            "spec": {"containers": [container]},
            "status": {"phase": "Succeeded",
                       "containerStatuses": [{"name": container["name"], "state": {"terminated": ended}}]},
        }  # fmt: skip

    def _result(self, work: Manifest) -> Manifest:
        now = self.clock.now().astimezone(UTC).isoformat()
        told: Manifest = {"version": 1, "operation": work["operation"], "outcome": "Succeeded", "message": "done",
                          "finishedAt": now, "durationSeconds": 1.0}  # fmt: skip
        if work["operation"] in self.failing:
            return {**told, "outcome": "Failed", "reason": "TargetTooSmall", "message": "there is no room"}
        if work["operation"] == "init":
            return {**told, "created": True, "repositoryId": "1" * 64}
        if work["operation"] == "backup":
            run = work["tags"]["run"]
            listed = {"run": run, "snapshot": SNAPSHOT.format(sum(run.encode())), "time": now, "bytes": 10}
            return {**told, "snapshot": listed["snapshot"], "bytes": 10, "snapshots": 1, "runs": [listed],
                    "parts": [{"part": "database/app.db", "snapshot": "f" * 64, "bytes": 10}]}  # fmt: skip
        return {**told, "run": work["select"]["run"], "takenAt": now, "bytes": 10,
                "parts": [{"part": "database/app.db", "bytes": 10}],
                **({"check": {"passed": True, "output": "1\n"}} if work.get("check") else {})}  # fmt: skip


def own(kind: str, name: str, spec: Manifest) -> Manifest:
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name, "namespace": SPACE}, "spec": spec}


def secret(name: str, **data: str) -> Manifest:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": SPACE}, "data": data}


async def furnish(world: RestoreWorld) -> None:
    """An application with a volume, and a Backup of it."""
    s3 = {"endpoint": "https://s3.example.com", "bucket": "backups", "credentialsSecretRef": {"name": "s3"}}
    source = {"application": "web", "component": "web", "environment": "main", "paths": ["/data/app.db"]}
    check = {"check": {"exec": ["sqlite3", "app.db", "select 1"]}}
    await world.apply(
        [
            # Its UID is what this control plane is called: runs in a repository are kept under it.
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kube-system"}},
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SPACE}},
            own("Project", SPACE, {}),
            own("Environment", "main", {"isolation": "Strict"}),
            own("Application", "web", {"version": "1.0.0", "components": [WEB]}),
            secret("s3", accessKeyId="YQ==", secretAccessKey="Yg=="),
            secret("restic", password="YQ=="),
            own("BackupRepository", "offsite", {
                "s3": s3, "environments": ["main"],
                "encryption": {"passwordSecretRef": {"name": "restic", "key": "password"}},
            }),
            own("Backup", "nightly", {"source": source, "method": "SQLite", "repositoryRef": {"name": "offsite"},
                                      "verify": check}),
        ]
    )  # fmt: skip
    # As real ones are: a Restore in place says the application's.
    world.get(types.APPLICATION, SPACE, "web")["metadata"]["uid"] = "7f6d1c1e-0000-4000-8000-000000000000"


async def save(world: RestoreWorld) -> None:
    """A run to go back to."""
    await world.apply([own("BackupRun", "good", {"backupRef": {"name": "nightly"}})])


def restore(target: Manifest | None) -> Manifest:
    given = {"target": target} if target else {}
    return own("Restore", "undo", {"backupRef": {"name": "nightly"}, **given})
