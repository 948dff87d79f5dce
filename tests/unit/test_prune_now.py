"""Retention that is asked for, and not after a run: written down, done by one Job, and told."""

from __future__ import annotations

from typing import Any

import pytest
from test_backup_repository import S3, Shop, secret
from test_backup_repository import prepared as repository_prepared
from test_backups import NAMESPACE, clock_at, ours, played

from homeport.drivers.kubernetes import types
from memory_world import Killed, Manifest, Running

START = "2026-02-01T00:00:00Z"
RUNS = [{"run": "b", "time": "2026-01-31T00:00:00Z", "snapshot": "22"}]
ANSWER = {"message": "2 runs were removed; 1 are kept", "snapshots": 1, "runs": RUNS, "forgotten": ["a", "c"]}


async def shop(**spec: Any) -> Shop:
    key = {"passwordSecretRef": {"name": "restic", "key": "password"}}
    repository = ours("BackupRepository", "offsite", {"s3": S3, "encryption": key})
    backup = ours("Backup", "nightly", {"source": {"project": True}, "repositoryRef": {"name": "offsite"}, **spec})
    world = await repository_prepared(START, secret("restic", password="Yw=="), repository, backup)
    world.ours = (*world.ours, types.BACKUP_RUN, types.RESTORE)
    world.played[types.BACKUP_RUN] = lambda found, failing: None
    world.runners.answers["retain"] = ANSWER
    await lived(world)
    return world


async def lived(world: Shop, kill_at: tuple[int, bool] | None = None, seconds: float = 120.0) -> Running:
    end = world.clock.seconds + seconds
    running = await world.operator()
    running.gate.kill_at = kill_at
    try:
        await running.until(end)
    except Killed:
        await running.stop()
        running = await world.operator()
        await running.until(end)
    await running.stop()
    return running


async def asks(world: Shop, token: str = "now") -> None:
    change = {"metadata": {"annotations": {"homeport.dev/prune-at": token}}}
    await world.client.patch(types.BACKUP, NAMESPACE, "nightly", change)


def status(world: Shop) -> Manifest:
    return dict(world.get(types.BACKUP, NAMESPACE, "nightly").get("status") or {})


def operations(world: Shop) -> list[str]:
    return [operation for operation, _ in world.runners.done]


def test_a_job_does_what_a_run_would_and_the_status_knows() -> None:
    async def scenario() -> None:
        world = await shop(retention={"keepLast": 1, "keepDaily": 2}, timeZone="Europe/Rome")
        assert operations(world) == ["init"]
        await asks(world)
        await lived(world)
        assert operations(world) == ["init", "retain"]
        job = world.runners.jobs[-1]
        assert job["tags"]["backup"] == f"{NAMESPACE}/nightly"
        rules = {"last": 1, "daily": 2, "timeZone": "Europe/Rome", "unfinishedSeconds": 86400}
        assert job["retention"] == rules
        told = status(world)
        assert {name: told["lastPrune"][name] for name in ("asked", "outcome", "message")} == {
            "asked": "now", "outcome": "Succeeded", "message": ANSWER["message"],
        }  # fmt: skip
        assert (told["snapshots"], told["runs"]) == (1, RUNS)
        assert "pruning" not in told
        assert [key for key in world.client._objects if key[0] is types.JOB] == []
        # The same token asks for nothing more, and nothing is written.
        assert (await lived(world)).gate.writes == []
        await asks(world, "again")
        await lived(world)
        assert operations(world)[-2:] == ["retain", "retain"]

    played(scenario)


def test_a_failure_is_told_and_the_next_token_tries_again() -> None:
    async def scenario() -> None:
        world = await shop(retention={"keepLast": 1})
        said = {"outcome": "Failed", "reason": "RepositoryLocked", "message": "the repository is in use"}
        world.runners.answers["retain"] = said
        await asks(world)
        await lived(world)
        last = status(world)["lastPrune"]
        assert (last["outcome"], last["message"]) == ("Failed", "RepositoryLocked: the repository is in use")
        message = world.condition(types.BACKUP, NAMESPACE, "nightly")["message"]
        assert f"pruning of {last['time']} failed: RepositoryLocked: the repository is in use" in message
        world.runners.answers["retain"] = ANSWER
        await asks(world, "again")
        await lived(world)
        assert status(world)["lastPrune"]["outcome"] == "Succeeded"
        assert "pruning" not in world.condition(types.BACKUP, NAMESPACE, "nightly")["message"]

    played(scenario)


def test_it_waits_for_a_run_and_does_nothing_without_rules() -> None:
    async def scenario() -> None:
        world = await shop()
        await asks(world)
        await lived(world)
        assert status(world)["lastPrune"]["message"] == "it has no retention: every run is kept"
        world = await shop(retention={"keepLast": 1})
        await world.apply([ours("BackupRun", "now", {"backupRef": {"name": "nightly"}})])
        await asks(world)
        await lived(world)
        assert "retain" not in operations(world)
        message = world.condition(types.BACKUP, NAMESPACE, "nightly")["message"]
        assert "pruning waits: BackupRun now is under way" in message
        await world.client.delete(types.BACKUP_RUN, NAMESPACE, "now")
        await lived(world)
        assert operations(world)[-1] == "retain"

    played(scenario)


@pytest.mark.parametrize("carried_out", [False, True])
def test_a_crash_at_any_write_comes_to_the_same(carried_out: bool) -> None:
    async def scenario() -> None:
        calm = await shop(retention={"keepLast": 1})
        await asks(calm)
        writes = len((await lived(calm)).gate.writes)
        assert writes >= 4
        for number in range(writes):
            world = await shop(retention={"keepLast": 1})
            await asks(world)
            await lived(world, (number, carried_out))
            told = status(world)
            assert (told["lastPrune"]["message"], told["snapshots"]) == (ANSWER["message"], 1), number
            assert "pruning" not in told, number
            made = [key for key in world.client._objects if key[0] in (types.JOB, types.NETWORK_POLICY)]
            assert made == [], number
            assert clock_at(START) < world.clock.seconds

    played(scenario)
