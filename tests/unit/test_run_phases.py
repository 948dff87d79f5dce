"""A run by a Job that can't be seen is given up in the end."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from homeport.api import labels
from homeport.api.resource import parse
from homeport.engine.backups.kubernetesrun import KubernetesRun
from homeport.engine.backups.runphases import RunWorld
from homeport.outcome import Wait
from homeport.plan.world import Desired, Report

NOW = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
GONE = Wait("DependencyNotReady", "Environment live doesn't exist in namespace web; create it")


@pytest.mark.parametrize(("timeout", "phase"), [(3000, "Failed"), (4000, "Running")])
def test_a_run_whose_environment_is_gone_ends(timeout: int, phase: str) -> None:
    metadata = {"name": "n-1", "namespace": "web", "uid": "u", "generation": 1, "resourceVersion": "1"}
    status = {"phase": "Running", "startedAt": "2026-11-21T01:00:00Z", "run": "n-1"}
    run = parse({"apiVersion": labels.API_VERSION, "kind": "BackupRun", "metadata": metadata,
                 "spec": {"backupRef": {"name": "nightly"}}, "status": status})  # fmt: skip
    world = RunWorld(NOW, problem=GONE, timeout=timeout)
    fields, outcome = KubernetesRun().status(run, world, Desired(), Report())
    assert fields["phase"] == phase
    if phase == "Failed":
        assert fields["message"] == f"nothing was heard of its Job for too long: {GONE.message}"
    else:
        assert outcome == GONE
