"""Repositories, in a folder and on a real S3: made once, opened with the right password, pruned, emptied by ids."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backup_servers import S3Server
from runner_jobs import Runner, backup, filesystem, s3

pytestmark = pytest.mark.integration

MANIFEST = "kind: ConfigMap\n"


@pytest.fixture(params=["folder", "s3"])
def unmade(request: pytest.FixtureRequest, client_programs: Path, tmp_path: Path) -> Runner:
    """A runner whose repository isn't made yet."""
    if request.param == "folder":
        return Runner(tmp_path, client_programs, filesystem(tmp_path / "repository"))
    return Runner(tmp_path, client_programs, s3(request.getfixturevalue("s3_server"), f"shop/{tmp_path.name}"))


def manifest(runner: Runner, run: str = "run-1", text: str = MANIFEST) -> dict[str, Any]:
    return runner.backup("Manifests", {"paths": ["/dev/stdin"]}, run=run, stdin=text)


def test_made_once_and_used(unmade: Runner, tmp_path: Path) -> None:
    ended = unmade.run("backup", **backup("Manifests", {"paths": ["/dev/stdin"]}), stdin=MANIFEST)
    assert (ended.code, ended.reason) == (2, "RepositoryMissing")
    assert "`init` makes one" in ended.message
    assert unmade.good("init")["created"] is True
    assert unmade.good("init")["created"] is False
    manifest(unmade)
    unmade.restore("Manifests", {"paths": [str(tmp_path / "restored.yaml")]})
    assert (tmp_path / "restored.yaml").read_text() == MANIFEST


def test_of_two_that_make_it_at_a_time_one_does(unmade: Runner) -> None:
    jobs = [unmade.start(unmade.job("init")) for _ in range(4)]
    ended = [job.wait() for job in jobs]
    assert [one.code for one in ended] == [0] * 4, [one.result for one in ended]
    assert [one.result["created"] for one in ended].count(True) == 1
    manifest(unmade)
    unmade.good("check")


def test_another_password(unmade: Runner) -> None:
    unmade.good("init")
    for operation in ("init", "snapshots", "check"):
        ended = Runner(
            unmade.folder / operation, unmade.path, {**unmade.repository, "password": {"env": "S3_SECRET"}}
        ).run(operation)
        assert (ended.code, ended.reason) == (2, "WrongPassword")
        assert ended.message == "no key of the repository opens with this password"


def test_s3_that_refuses(s3_server: S3Server, client_programs: Path, tmp_path: Path) -> None:
    wrong = Runner(tmp_path / "a", client_programs, s3(s3_server, "x"), {"S3_SECRET": "another secret key"})
    for operation in ("init", "snapshots"):
        ended = wrong.run(operation)
        assert (ended.code, ended.reason) == (2, "RepositoryDenied")
    place = s3(s3_server, "x")
    place["s3"]["bucket"] = "not-there"
    for operation in ("init", "snapshots"):
        ended = Runner(tmp_path / operation, client_programs, place).run(operation)
        assert (ended.code, ended.reason) == (2, "RepositoryMissing")
        assert "bucket" in ended.message


def test_nobody_listens(client_programs: Path, s3_server: S3Server, tmp_path: Path) -> None:
    nobody = Runner(tmp_path, client_programs, s3(s3_server, "x", url="http://127.0.0.1:1", giveUpAfterSeconds=3))
    ended = nobody.run("snapshots")
    assert (ended.code, ended.reason) == (1, "RepositoryUnreachable")
    assert "didn't answer for 3 s" in ended.message
    assert [event for event in ended.events if event["event"] == "retrying"]


def test_ids_that_are_forgotten_and_no_others(runner: Runner) -> None:
    for run in ("run-1", "run-2"):
        manifest(runner, run, f"{MANIFEST}# {run}\n")
    runs = runner.good("snapshots", tags={"backup": "nightly"})["runs"]
    older = runs[1]["snapshots"]
    assert len(older) == 2
    result = runner.good("forget", snapshots=[*older, "0" * 64])
    assert sorted(result["forgotten"]) == sorted(older)
    assert result["notThere"] == ["0" * 64]
    assert runner.good("forget", snapshots=older)["forgotten"] == []  # told twice, done once
    assert [run["run"] for run in runner.good("snapshots")["runs"]] == ["run-2"]
    pruned = runner.good("prune")
    assert pruned["repositoryBytes"] > 0
    assert pruned["repositorySnapshots"] == runner.good("check")["repositorySnapshots"] > 0
    runner.good("check", readData="100%")


def test_an_id_of_another_backup_isnt_forgotten(runner: Runner) -> None:
    manifest(runner)
    ids = runner.good("snapshots")["runs"][0]["snapshots"]
    assert runner.good("forget", tags={"backup": "another"}, snapshots=ids)["notThere"] == ids
    assert runner.good("snapshots")["runs"][0]["complete"]


def test_everything_of_one_backup_is_forgotten_and_nothing_of_others(runner: Runner) -> None:
    manifest(runner)
    assert runner.good("forget", tags={"backup": "another"}, everything=True)["forgotten"] == []
    assert len(runner.good("forget", tags={"backup": "nightly"}, everything=True)["forgotten"]) == 2
    assert runner.good("snapshots")["runs"] == []


def test_a_repository_has_an_id_of_its_own(runner: Runner) -> None:
    known = runner.good("init")["repositoryID"]
    assert len(known) == 64
    assert {runner.good(operation)["repositoryID"] for operation in ("check", "prune", "init")} == {known}


def test_a_run_that_isnt_there_lists_the_nearest(runner: Runner) -> None:
    manifest(runner, "run-1")
    manifest(runner, "run-2")
    common: dict[str, Any] = {"method": "Manifests", "tags": {"backup": "nightly"}, "target": {"paths": ["/nowhere"]}}
    for select, words in (
        ({"run": "run-3"}, "no run is named run-3; the nearest are run-2 ("),
        ({"snapshot": "ffffffffff"}, "no snapshot's id begins with ffffffffff; the nearest are run-2 ("),
        (
            {"before": "2020-01-01T00:00:00Z"},
            "no complete run is older than 2020-01-01T00:00:00+00:00; the nearest are run-1 (",
        ),
    ):
        ended = runner.run("restore", select=select, **common)
        assert (ended.code, ended.reason) == (2, "SnapshotMissing")
        assert words in ended.message
    ended = runner.run("restore", **{**common, "method": "Files"})
    assert (ended.code, ended.reason) == (2, "InvalidJob")
    assert "was made by the method Manifests" in ended.message


def test_a_moment_and_a_snapshot_choose_a_run(runner: Runner, tmp_path: Path) -> None:
    manifest(runner, "run-1", f"{MANIFEST}# one\n")
    manifest(runner, "run-2", f"{MANIFEST}# two\n")
    second, first = runner.good("snapshots")["runs"]
    for number, (select, text) in enumerate(
        [({"before": second["time"]}, "one"), ({"snapshot": first["snapshots"][0][:10]}, "one"), ({}, "two")]
    ):
        path = tmp_path / f"{number}.yaml"
        runner.restore("Manifests", {"paths": [str(path)]}, select=select)
        assert path.read_text() == f"{MANIFEST}# {text}\n"


def test_a_bare_id_finds_nothing_of_another_project(runner: Runner, tmp_path: Path) -> None:
    """A repository may be shared: who names no backup sees what the project's own have saved."""
    for project in ("shop", "shop-two"):
        given = backup("Manifests", {"paths": ["/dev/stdin"]})
        given["tags"] = {**given["tags"], "backup": f"{project}/nightly"}
        assert runner.run("backup", **given, stdin=f"{MANIFEST}# {project}\n").code == 0
    found = {run["backup"]: run["snapshots"][-1] for run in runner.good("snapshots", tags={})["runs"]}
    mine, theirs = found["shop/nightly"], found["shop-two/nightly"]
    path = tmp_path / "restored.yaml"
    given = {"method": "Manifests", "tags": {"project": "shop"}, "target": {"paths": [str(path)]}}
    ended = runner.run("restore", **given, select={"snapshot": theirs})
    assert (ended.code, ended.reason) == (2, "SnapshotMissing")
    assert f"no snapshot's id begins with {theirs}" in ended.message
    assert runner.run("restore", **given, select={"snapshot": mine}).code == 0
    assert path.read_text() == f"{MANIFEST}# shop\n"


@pytest.mark.parametrize(
    ("check", "reason", "words"),
    [
        ({"exec": ["echo", "7"], "expect": ">0"}, "", "the check passed"),
        ({"exec": ["echo", "0"], "expect": ">0"}, "CheckFailed", "the check printed '0', and >0 is expected"),
        ({"exec": ["sh", "-c", "echo no >&2; exit 3"]}, "CheckFailed", "the check ended with 3: no"),
        ({"exec": ["sleep", "60"], "timeoutSeconds": 1}, "CheckFailed", "the check had no answer for 1 s"),
        ({"exec": ["not-there"]}, "ToolMissing", "not-there can't be run"),
        ({"exec": ["echo", "7"], "expect": "more than 0"}, "InvalidJob", "write >0, >=10"),
    ],
)
def test_a_check_of_what_was_restored(runner: Runner, check: dict[str, Any], reason: str, words: str) -> None:
    ended = runner.run("drill-check", check=check)
    assert ended.reason == reason
    assert words in ended.message


def test_what_restic_keeps_is_as_the_job_says(runner: Runner) -> None:
    manifest(runner)
    snapshots = json.loads(runner.restic("snapshots", "--json"))
    assert {one["hostname"] for one in snapshots} == {"shop-production"}
    assert [one["paths"] for one in snapshots] == [["/manifests.yaml"], ["/index.json"]]
    assert snapshots[0]["tags"] == ["backup=nightly", "run=run-1", "part=manifests"]


def test_a_restic_that_is_too_old(new_runner: Callable[[], Runner], tmp_path: Path) -> None:
    runner = new_runner()
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "restic").write_text("#!/bin/sh\necho 'restic 0.14.0 compiled with go1.19'\n")
    (tmp_path / "old" / "restic").chmod(0o755)
    runner.path = tmp_path / "old"
    ended = runner.run("snapshots")
    assert (ended.code, ended.reason) == (2, "ToolMissing")
    assert ended.message == "restic 0.14.0 is too old; 0.17.1 or newer is needed"
