"""A run as the runner is told of it: what is dropped after it, and which source doesn't fit a repository."""

from __future__ import annotations

from typing import Any

import pytest

from homeport.api.backup import BackupSpec
from homeport.api.backuprepository import BackupRepositorySpec
from homeport.api.backuprun import BackupRunSpec
from homeport.api.resource import Resource, parse_spec
from homeport.plan.backup import run, steps
from homeport.plan.backup.source import Source

SOURCE = {"application": "web", "component": "db", "environment": "main"}


def resource(kind: str, model: Any, spec: dict[str, Any]) -> Resource[Any]:
    return Resource(
        kind=kind, namespace="shop", name="nightly", uid="1", generation=1, resource_version="1",
        created="2026-11-20T03:00:00Z", spec=parse_spec(model, spec), raw_spec=spec, status={},
    )  # fmt: skip


def nightly(**spec: Any) -> Resource[BackupSpec]:
    return resource("Backup", BackupSpec, {"source": SOURCE, "repositoryRef": {"name": "offsite"}, **spec})


class TestWhatIsDropped:
    @pytest.mark.parametrize(
        ("trigger", "restoring", "drops"),
        [("Schedule", False, True), ("Manual", False, True), ("BeforeRestore", False, False), ("Final", False, False),
         ("Schedule", True, False)],
    )  # fmt: skip
    def test_nothing_when_something_is_about_to_be_overwritten(
        self, trigger: str, restoring: bool, drops: bool
    ) -> None:
        one = resource("BackupRun", BackupRunSpec, {"backupRef": {"name": "nightly"}, "trigger": trigger})
        found = run.rules(one, nightly(retention={"keepLast": 3}).spec, "r1", restoring)
        assert (found is not None) is drops
        if found:
            assert (found["last"], found["verified"]) == (3, ["r1"])

    def test_a_job_names_whose_run_it_is(self) -> None:
        one = resource("BackupRun", BackupRunSpec, {"backupRef": {"name": "nightly"}})
        told = run.document(one, Source("Kubernetes", "Files"), "cluster-1", {"paths": ["/data"]}, None)
        assert told["tags"] == {"backup": "shop/nightly", "installation": "cluster-1", "run": "nightly"}
        assert "retention" not in told


def test_manifests_stay_out_of_one_environments_namespace() -> None:
    volume = {"filesystem": {"persistentVolumeClaim": "backups"}, "environments": ["staging"],
              "encryption": {"generate": True}}  # fmt: skip
    offsite = resource("BackupRepository", BackupRepositorySpec, volume)
    whole = resource("Backup", BackupSpec, {"source": {"project": True}, "repositoryRef": {"name": "offsite"}})
    problem = steps.mismatch(whole, Source("Kubernetes", "Manifests"), offsite)
    assert problem is not None and "hold the Secrets of all its environments" in problem.message
    assert steps.mismatch(nightly(), Source("Kubernetes", "Files"), offsite) is None
