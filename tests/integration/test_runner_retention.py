"""After a good backup older runs go, as retention says; and a job that is a variable, as a Pod has it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from runner_jobs import Runner, backup

pytestmark = pytest.mark.integration


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    folder = tmp_path / "volume"
    folder.mkdir()
    (folder / "a").write_text("a")
    return folder


def run(runner: Runner, volume: Path, name: str, **fields: Any) -> dict[str, Any]:
    return runner.good("backup", **backup("Files", {"paths": [str(volume)]}, name), **fields)


def names(result: dict[str, Any]) -> list[str]:
    return [entry["run"] for entry in result["runs"]]


def test_what_is_kept(runner: Runner, volume: Path) -> None:
    for name, protected in (("first", True), ("second", False), ("third", False), ("fourth", False)):
        done = run(runner, volume, name, protected=protected)
    assert (done["snapshots"], names(done)) == (4, ["fourth", "third", "second", "first"])
    assert [entry.get("protected") for entry in done["runs"]] == [None, None, None, True]
    assert done["runs"][0]["snapshot"] == done["snapshot"]
    done = run(runner, volume, "fifth", retention={"last": 2, "verified": ["second"], "timeZone": "Europe/Rome"})
    # The newest two, the verified one, and the protected one.
    assert (done["snapshots"], names(done)) == (4, ["fifth", "fourth", "second", "first"])
    assert names(runner.good("snapshots")) == ["fifth", "fourth", "second", "first"]
    assert "notes" not in done


def test_what_is_at_work_beside_it_stays(runner: Runner, volume: Path) -> None:
    """A run without an index may be one that isn't over: it goes when it is older than a run may take."""
    tags = "backup=nightly,run=beside,part=files"
    environment = {**os.environ, "RESTIC_PASSWORD": "a long repository password", "RESTIC_CACHE_DIR": str(volume / "c")}
    repository = str(runner.folder / "repository")
    command = [str(runner.path / "restic"), "-r", repository, "backup", f"--tag={tags}", str(volume / "a")]
    subprocess.run(command, check=True, capture_output=True, env=environment)
    done = run(runner, volume, "first", retention={"last": 1})
    assert names(done) == ["first", "beside"]
    assert done["runs"][1]["complete"] is False
    done = run(runner, volume, "second", retention={"last": 1, "unfinishedSeconds": 0})
    assert names(done) == ["second"]


def test_others_in_the_repository_make_it_a_note(runner: Runner, volume: Path) -> None:
    run(runner, volume, "first")
    other = backup("Files", {"paths": [str(volume)]}, "other")
    other["tags"]["backup"] = "weekly"
    runner.good("backup", **other)
    done = run(runner, volume, "second", retention={"last": 1})
    assert names(done) == ["second"]
    assert [entry["backup"] for entry in runner.good("snapshots")["runs"]] == ["nightly", "weekly"]


@pytest.mark.parametrize(
    ("retention", "message"),
    [
        ({"last": 0}, "job.retention keeps nothing; write one of last, hourly, daily, weekly, monthly, yearly above 0"),
        ({"last": 1, "timeZone": "Mars/Base"}, "job.retention.timeZone: 'Mars/Base' isn't a time zone known here"),
    ],
)
def test_a_retention_that_can_not_be(runner: Runner, volume: Path, retention: Any, message: str) -> None:
    ended = runner.run("backup", **backup("Files", {"paths": [str(volume)]}), retention=retention)
    assert (ended.code, ended.reason, ended.message) == (2, "InvalidJob", message)


def test_some_folders_below_one(runner: Runner, volume: Path, tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        (volume / name).mkdir()
        (volume / name / "file").write_text(name)
    source = {"root": str(volume), "paths": [str(volume / "one"), str(volume / "two" / "file")]}
    runner.backup("Files", source)
    target = tmp_path / "restored"
    runner.restore("Files", {"paths": [str(target)]})
    assert sorted(str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()) == [
        "one/file",
        "two/file",
    ]
    ended = runner.run("backup", **backup("Files", {**source, "paths": ["/etc"]}, "run-2"))
    assert (ended.code, ended.message) == (2, f"job.source.paths: /etc isn't below {volume}")


def test_a_job_that_is_a_variable(runner: Runner, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "homeport.runner", "--job-env", "HOMEPORT_JOB", "--scratch", str(tmp_path)]
    environment = {
        **os.environ,
        "PATH": f"{runner.path}:{os.environ['PATH']}",
        "REPOSITORY_PASSWORD": "a long repository password",
        "HOMEPORT_JOB": json.dumps(runner.job("snapshots")),
    }
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["message"] == "0 runs"
    del environment["HOMEPORT_JOB"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == 2
    assert "HOMEPORT_JOB, which is to have the job, isn't set" in json.loads(done.stdout.splitlines()[-1])["message"]
