"""Backups by the clock: what is scheduled when, what its status says, and that no crash makes anything twice."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from homeport.drivers.kubernetes import types
from homeport.engine.backupmetrics import BackupState, RepositoryState, backup_metrics, repository_metrics
from memory_world import EPOCH, Killed, Manifest, Running, World

NAMESPACE = "shop"
KINDS = (types.PROJECT, types.BACKUP_REPOSITORY, types.BACKUP, types.BACKUP_RUN, types.RESTORE)


def meta(name: str) -> Manifest:
    return {"name": name, "namespace": NAMESPACE}


def ours(kind: str, name: str, spec: Any) -> Manifest:
    return {"apiVersion": "homeport.dev/v1alpha1", "kind": kind, "metadata": meta(name), "spec": spec}


def backup(**spec: Any) -> Manifest:
    fixed = {"source": {"project": True}, "repositoryRef": {"name": "offsite"}}
    return ours("Backup", "nightly", {**fixed, **spec})


REPOSITORY = ours(
    "BackupRepository",
    "offsite",
    {
        "s3": {"endpoint": "https://s3.example.com", "bucket": "backups", "credentialsSecretRef": {"name": "s3"}},
        "encryption": {"generate": True},
    },
)


class Player:
    """Plays runs and drills: each takes ``takes`` seconds, and ends as ``ends`` says."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.takes = 60.0
        self.ends: Callable[[str], str] = lambda name: "Succeeded"
        self.began: dict[str, float] = {}

    def __call__(self, found: Manifest, failing: set[str]) -> Manifest | None:
        if (found.get("status") or {}).get("phase") in ("Succeeded", "Failed", "Incomplete"):
            return None
        name, now = found["metadata"]["name"], self.world.clock.seconds
        began = self.began.setdefault(name, now)
        if now < began + self.takes:
            return {"phase": "Running", "startedAt": at(began)}
        phase = self.ends(name)
        status = {"phase": phase, "startedAt": at(began), "finishedAt": at(now), "message": f"it {phase.lower()}"}
        status |= {"duration": "1m00s", "snapshot": "4bf1c0de"}
        if found["kind"] == "Restore":
            good = [run for run in runs(self.world) if run["status"].get("phase") == "Succeeded"]
            return status | {"run": good[-1]["metadata"]["name"], "time": good[-1]["status"]["startedAt"]}
        if phase == "Succeeded":
            status["listing"] = {"snapshots": 1, "runs": [{"run": name, "time": at(began), "snapshot": "4bf1c0de"}]}
        return status


def at(seconds: float) -> str:
    moment = datetime.fromtimestamp(EPOCH.timestamp() + seconds, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def clock_at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp() - EPOCH.timestamp()


def objects(world: World, gvk: types.GVK) -> list[Manifest]:
    return [found for (kind, _, _), found in sorted(world.client._objects.items()) if kind is gvk]


def runs(world: World) -> list[Manifest]:
    return objects(world, types.BACKUP_RUN)


def names(world: World, gvk: types.GVK = types.BACKUP_RUN) -> list[str]:
    return [found["metadata"]["name"] for found in objects(world, gvk)]


def status(world: World) -> Manifest:
    found: Manifest = world.get(types.BACKUP, NAMESPACE, "nightly").get("status") or {}
    return found


def ready(world: World) -> tuple[str, str, str]:
    found = world.condition(types.BACKUP, NAMESPACE, "nightly")
    return found["status"], found["reason"], found["message"]


async def prepared(start: str, *manifests: Manifest, repository: bool = True) -> tuple[World, Player]:
    """A world at ``start`` with a project and a repository that can be used; runs are played."""
    world = World()
    world.ours = KINDS
    world.clock.seconds = clock_at(start)
    player = Player(world)
    there = {"initialized": True, "conditions": [{"type": "Ready", "status": "True", "reason": "x", "message": ""}]}
    world.played |= {
        types.PROJECT: lambda found, failing: {},
        types.BACKUP_REPOSITORY: lambda found, failing: there,
        types.BACKUP_RUN: player,
        types.RESTORE: player,
    }
    await world.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}])
    await world.apply([ours("Project", NAMESPACE, {}), *([REPOSITORY] if repository else []), *manifests])
    return world, player


async def watched(world: World, until: str) -> Running:
    """An operator's work until a moment; it is stopped then."""
    running = await world.operator()
    await turn(world, running, until)
    await running.stop()
    return running


async def turn(world: World, running: Running, until: str) -> None:
    """The clock goes on, and what is played with it: minute by minute."""
    end = clock_at(until)
    while world.clock.seconds < end:
        await running.until(min(end, world.clock.seconds + 30.0))


def played(scenario: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(scenario())


# --- when ------------------------------------------------------------------------------------------------------------


def test_a_run_a_day_named_by_its_time() -> None:
    async def scenario() -> None:
        world, _ = await prepared("2026-02-01T12:00:00Z", backup(schedule="0 3 * * *"))
        await watched(world, "2026-02-03T12:00:00Z")
        assert names(world) == ["nightly-202602020300", "nightly-202602030300"]
        found = status(world)
        assert found["lastScheduled"] == "2026-02-03T03:00:00Z"
        assert found["next"] == "2026-02-04T03:00:00Z"
        assert found["lastSuccess"]["run"] == "nightly-202602030300"
        assert found["snapshots"] == 1
        owner = runs(world)[0]["metadata"]["ownerReferences"][0]
        assert (owner["kind"], owner["uid"]) == (
            "Backup",
            world.get(types.BACKUP, NAMESPACE, "nightly")["metadata"]["uid"],
        )
        assert ready(world)[:2] == ("True", "ReconciliationSucceeded")

    played(scenario)


@pytest.mark.parametrize(
    ("start", "end", "schedule", "made"),
    [
        # Clocks go from 02:00 to 03:00: what falls into that hour runs at its end.
        ("2026-03-28T12:00:00Z", "2026-03-30T12:00:00Z", "30 2 * * *", ["202603290100", "202603300030"]),
        # Clocks go from 03:00 to 02:00: the first 02:30 counts.
        ("2026-10-24T12:00:00Z", "2026-10-26T12:00:00Z", "30 2 * * *", ["202610250030", "202610260130"]),
    ],
    ids=["summer time begins", "summer time ends"],
)
def test_days_when_clocks_change_neither_skip_nor_double(start: str, end: str, schedule: str, made: list[str]) -> None:
    async def scenario() -> None:
        world, _ = await prepared(start, backup(schedule=schedule, timeZone="Europe/Rome"))
        await watched(world, end)
        assert names(world) == [f"nightly-{stamp}" for stamp in made]

    played(scenario)


def test_one_missed_run_is_caught_up_after_downtime() -> None:
    async def scenario() -> None:
        world, _ = await prepared("2026-02-01T12:00:00Z", backup(schedule="0 3 * * *"))
        await watched(world, "2026-02-01T12:10:00Z")
        world.clock.seconds = clock_at("2026-02-09T12:00:00Z")
        await watched(world, "2026-02-09T12:10:00Z")
        assert names(world) == ["nightly-202602090300"]

    played(scenario)


def test_a_run_that_is_too_late_is_left_out() -> None:
    async def scenario() -> None:
        world, _ = await prepared("2026-02-01T12:00:00Z", backup(schedule="0 3 * * *", startingDeadline="1h"))
        await watched(world, "2026-02-01T12:10:00Z")
        world.clock.seconds = clock_at("2026-02-02T04:00:30Z")
        await watched(world, "2026-02-02T12:00:00Z")
        assert names(world) == []
        assert "the run of 2026-02-02T03:00:00Z was missed by more than startingDeadline" in ready(world)[2]
        await watched(world, "2026-02-03T12:00:00Z")
        assert names(world) == ["nightly-202602030300"]

    played(scenario)


def test_jitter_delays_a_run_by_the_same_after_a_restart() -> None:
    async def scenario() -> None:
        world, player = await prepared("2026-02-01T12:00:00Z", backup(schedule="0 3 * * *", jitter="30m"))
        await watched(world, "2026-02-02T02:59:00Z")
        coming = status(world)["next"]
        assert "2026-02-02T03:00:00Z" < coming < "2026-02-02T03:30:00Z"
        await watched(world, "2026-02-02T03:00:30Z")
        assert names(world) == []
        assert status(world)["next"] == coming
        await watched(world, "2026-02-02T12:00:00Z")
        assert names(world) == ["nightly-202602020300"]
        assert at(player.began["nightly-202602020300"])[:16] == coming[:16]

    played(scenario)


def test_a_schedule_that_never_comes_and_a_zone_that_is_none_are_told() -> None:
    async def scenario() -> None:
        world, _ = await prepared("2026-02-01T12:00:00Z", backup(schedule="0 3 31 2 *"))
        await watched(world, "2026-02-01T12:10:00Z")
        assert ready(world) == (
            "False",
            "InvalidSpec",
            "spec.schedule: '0 3 31 2 *': the day-of-month isn't one; write 1 to 31, and a day that the month has",
        )
        await world.apply([backup(schedule="0 3 * * *", timeZone="Europe/Roma")])
        await watched(world, "2026-02-01T12:20:00Z")
        assert ready(world)[1] == "InvalidSpec"
        assert ready(world)[2].startswith("spec.timeZone: 'Europe/Roma' isn't a time zone")
        assert names(world) == []

    played(scenario)


def test_suspended_and_archived_are_left_in_peace() -> None:
    async def scenario() -> None:
        world, _ = await prepared("2026-02-01T12:00:00Z", backup(schedule="0 3 * * *", suspend=True, maxAge="1h"))
        await watched(world, "2026-02-03T12:00:00Z")
        assert names(world) == []
        await world.apply([ours("Project", NAMESPACE, {"archived": True}), backup(schedule="0 3 * * *", maxAge="1h")])
        await watched(world, "2026-02-05T12:00:00Z")
        assert names(world) == []
        assert ready(world) == ("True", "Archived", "the project is archived: nothing is backed up")
        await world.apply([ours("Project", NAMESPACE, {"archived": False})])
        await watched(world, "2026-02-05T12:10:00Z")
        assert names(world) == ["nightly-202602050300"]

    played(scenario)


# --- two at a time ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "at_two", "after"),
    [
        ("Forbid", ["nightly-202602010100"], ["nightly-202602010100", "nightly-202602010200"]),
        ("Allow", ["nightly-202602010100", "nightly-202602010200"], ["nightly-202602010100", "nightly-202602010200"]),
        # What runs already isn't broken off.
        ("Replace", ["nightly-202602010100"], ["nightly-202602010100", "nightly-202602010200"]),
    ],
)
def test_what_is_due_while_another_runs(policy: str, at_two: list[str], after: list[str]) -> None:
    async def scenario() -> None:
        world, player = await prepared("2026-02-01T00:30:00Z", backup(schedule="0 * * * *", concurrencyPolicy=policy))
        player.takes = 4500.0
        await watched(world, "2026-02-01T02:05:00Z")
        assert names(world) == at_two
        if policy == "Forbid":
            assert "the run of 2026-02-01T02:00:00Z waits for nightly-202602010100" in ready(world)[2]
        await watched(world, "2026-02-01T02:40:00Z")
        assert names(world) == after

    played(scenario)


def test_replace_takes_the_place_of_a_run_that_has_not_begun() -> None:
    async def scenario() -> None:
        world, _ = await prepared("2026-02-01T00:30:00Z", backup(schedule="0 * * * *", concurrencyPolicy="Replace"))
        world.played[types.BACKUP_RUN] = lambda found, failing: {"phase": "Pending"}
        await watched(world, "2026-02-01T02:05:00Z")
        assert names(world) == ["nightly-202602010200"]

    played(scenario)


# --- what is said -----------------------------------------------------------------------------------------------------


def test_a_failed_run_is_told_and_a_good_one_mends_it() -> None:
    async def scenario() -> None:
        world, player = await prepared("2026-02-01T12:00:00Z", backup(schedule="0 3 * * *"))
        player.ends = lambda name: "Failed" if name.endswith(("02020300", "02030300")) else "Succeeded"
        await watched(world, "2026-02-03T12:00:00Z")
        assert ready(world) == ("False", "BackupFailed", "run nightly-202602030300 failed: it failed")
        assert status(world)["failures"] == 2
        assert "lastSuccess" not in status(world)
        running = await watched(world, "2026-02-04T12:00:00Z")
        assert ready(world)[0] == "True"
        assert not status(world).get("failures")
        assert [reason for key, reason, _ in running.events if key.kind == "Backup"] == ["ReconciliationSucceeded"]

    played(scenario)


def test_stale_exactly_when_it_is_and_without_looking_in_between() -> None:
    async def scenario() -> None:
        world, player = await prepared("2026-02-01T12:00:00Z", backup(schedule="0 3 * * *", maxAge="26h"))
        player.ends = lambda name: "Succeeded" if name.endswith("02020300") else "Failed"
        await watched(world, "2026-02-03T04:00:00Z")
        assert ready(world)[1] == "BackupFailed"
        running = await world.operator()
        await turn(world, running, "2026-02-03T04:59:30Z")
        assert ready(world)[1] == "BackupFailed"
        looks = len(running.outcomes)
        await running.until(clock_at("2026-02-03T05:00:40Z"))
        assert len(running.outcomes) - looks <= 2
        assert ready(world)[:2] == ("False", "BackupStale")
        assert "maxAge is 26h, and the newest good one is of 2026-02-02T03:00:" in ready(world)[2]
        await running.stop()

    played(scenario)


def test_a_backup_that_never_was_becomes_stale_too() -> None:
    async def scenario() -> None:
        world, _ = await prepared("2026-02-01T12:00:00Z", backup(maxAge="1h"))
        await watched(world, "2026-02-01T12:59:00Z")
        assert ready(world)[0] == "True"
        await watched(world, "2026-02-01T13:01:00Z")
        assert ready(world) == ("False", "BackupStale", "maxAge is 1h, and there is none")

    played(scenario)


def test_it_waits_for_its_repository_and_then_catches_up() -> None:
    async def scenario() -> None:
        world, _ = await prepared("2026-02-02T02:50:00Z", backup(schedule="0 3 * * *"), repository=False)
        await watched(world, "2026-02-02T03:30:00Z")
        assert ready(world)[:2] == ("False", "DependencyNotReady")
        assert ready(world)[2].startswith("BackupRepository offsite doesn't exist")
        assert names(world) == []
        await world.apply([REPOSITORY])
        await watched(world, "2026-02-02T03:40:00Z")
        assert names(world) == ["nightly-202602020300"]

    played(scenario)


# --- drills -----------------------------------------------------------------------------------------------------------


def test_drills_by_their_own_schedule_and_what_they_prove() -> None:
    async def scenario() -> None:
        verify = {"schedule": "0 5 * * *", "restore": True}
        world, player = await prepared("2026-02-01T04:00:00Z", backup(schedule="0 6 * * *", verify=verify))
        await watched(world, "2026-02-01T05:30:00Z")
        assert names(world, types.RESTORE) == [], "there is nothing to prove yet"
        await watched(world, "2026-02-01T12:00:00Z")
        # The drill of 05:00 was missed for want of a backup, and is made up for once there is one.
        assert names(world, types.RESTORE) == ["nightly-drill-202602010500"]
        found = status(world)
        assert found["verified"]["run"] == "nightly-202602010600"
        assert found["measuredRTO"] == "1m00s"
        assert found["lastVerified"] == found["lastDrill"]["time"]
        assert found["runs"][0]["verified"] is True
        assert found["nextVerify"] == "2026-02-02T05:00:00Z"
        player.ends = lambda name: "Failed" if "drill" in name else "Succeeded"
        await watched(world, "2026-02-02T05:30:00Z")
        assert ready(world) == ("False", "VerificationFailed", "drill nightly-drill-202602020500: it failed")
        assert status(world)["verified"]["run"] == "nightly-202602010600"

    played(scenario)


# --- what goes --------------------------------------------------------------------------------------------------------


def test_history_keeps_some_objects_and_what_they_told() -> None:
    async def scenario() -> None:
        world, _ = await prepared("2026-02-01T00:30:00Z", backup(schedule="0 * * * *", historyLimit=2))
        await watched(world, "2026-02-01T05:30:00Z")
        assert names(world) == ["nightly-202602010400", "nightly-202602010500"]
        before = status(world)
        await world.delete(types.BACKUP_RUN, NAMESPACE, "nightly-202602010400")
        await world.delete(types.BACKUP_RUN, NAMESPACE, "nightly-202602010500")
        await watched(world, "2026-02-01T05:40:00Z")
        assert {key: status(world)[key] for key in ("lastSuccess", "lastRun", "runs", "snapshots")} == {
            key: before[key] for key in ("lastSuccess", "lastRun", "runs", "snapshots")
        }

    played(scenario)


def test_a_run_that_says_itself_when_it_goes_counts_for_no_history() -> None:
    async def scenario() -> None:
        now = ours("BackupRun", "now", {"backupRef": {"name": "nightly"}, "ttlSecondsAfterFinished": 86400})
        world, _ = await prepared("2026-02-01T00:30:00Z", backup(schedule="0 * * * *", historyLimit=1), now)
        await watched(world, "2026-02-01T03:30:00Z")
        assert names(world) == ["nightly-202602010300", "now"]

    played(scenario)


# --- crashes ----------------------------------------------------------------------------------------------------------


def test_nothing_is_written_in_a_steady_state() -> None:
    async def scenario() -> None:
        world, _ = await prepared("2026-02-01T12:00:00Z", backup(schedule="0 3 * * *", maxAge="26h"))
        await watched(world, "2026-02-02T04:00:00Z")
        running = await world.operator()
        await running.settle()
        assert running.gate.writes == []
        await running.stop()

    played(scenario)


@contextmanager
def killed() -> Iterator[None]:
    try:
        yield
    except Killed:
        pass
    else:
        raise AssertionError("nothing was killed")


def test_a_crash_at_any_write_makes_nothing_twice_and_leaves_nothing_out() -> None:
    async def scenario() -> None:
        verify = {"schedule": "30 * * * *", "restore": True}
        spec = backup(schedule="0 * * * *", historyLimit=1, verify=verify)
        start, end = "2026-02-01T00:50:00Z", "2026-02-01T03:10:00Z"

        async def lived(kill_at: tuple[int, bool] | None) -> tuple[World, int]:
            world, _ = await prepared(start, spec)
            running = await world.operator()
            running.gate.kill_at = kill_at
            if kill_at is None:
                await turn(world, running, end)
            else:
                with killed():
                    await turn(world, running, end)
                await running.stop()
                running = await world.operator()
                await turn(world, running, end)
            await running.stop()
            return world, len(running.gate.writes)

        calm, writes = await lived(None)
        assert calm.births("BackupRun") == 3
        assert calm.births("Restore") == 2
        for number in range(writes):
            for carried_out in (False, True):
                world, _ = await lived((number, carried_out))
                for kind in ("BackupRun", "Restore"):
                    assert world.births(kind) == calm.births(kind), (number, carried_out)
                assert names(world) == names(calm)
                assert status(world)["lastScheduled"] == status(calm)["lastScheduled"]

    played(scenario)


def test_metrics_say_moments_and_leave_out_what_never_was() -> None:
    known = {
        "lastSuccess": {"run": "a", "time": "2026-02-01T03:00:00Z", "bytes": 10, "duration": "2m05s"},
        "lastDrill": {"name": "b", "phase": "Failed", "time": "2026-02-01T05:00:00Z"},
        "snapshots": 3,
    }
    states = [BackupState("shop", "nightly", {"maxAge": "26h"}, known), BackupState("shop", "never", {}, {})]
    found = {
        (sample.name.removeprefix("homeport_backup_"), sample.labels["backup"]): sample.value
        for family in backup_metrics(states)
        for sample in family.samples
    }
    assert found == {
        ("last_success_timestamp_seconds", "nightly"): 1769914800.0,
        ("last_success_duration_seconds", "nightly"): 125.0,
        ("last_success_bytes", "nightly"): 10.0,
        ("max_age_seconds", "nightly"): 93600.0,
        ("snapshots", "nightly"): 3.0,
        ("failures", "nightly"): 0.0,
        ("drill_failed", "nightly"): 1.0,
        ("failures", "never"): 0.0,
    }


def test_metrics_of_repositories() -> None:
    known = {
        "initialized": True, "size": 4096, "snapshots": 12, "backups": 2,
        "lastCheck": {"time": "2026-02-01T03:00:00Z", "outcome": "Failed"},
        "lastPrune": {"time": "2026-02-01T04:00:00Z", "outcome": "Succeeded"},
    }  # fmt: skip
    states = [RepositoryState("shop", "offsite", known), RepositoryState("shop", "new", {})]
    found = {
        (sample.name.removeprefix("homeport_backup_repository_"), sample.labels["repository"]): sample.value
        for family in repository_metrics(states)
        for sample in family.samples
    }
    assert found == {
        ("size_bytes", "offsite"): 4096.0,
        ("snapshots", "offsite"): 12.0,
        ("backups", "offsite"): 2.0,
        ("initialized", "offsite"): 1.0,
        ("last_check_timestamp_seconds", "offsite"): 1769914800.0,
        ("last_check_failed", "offsite"): 1.0,
        ("last_prune_timestamp_seconds", "offsite"): 1769918400.0,
        ("last_prune_failed", "offsite"): 0.0,
        ("backups", "new"): 0.0,
        ("initialized", "new"): 0.0,
    }
