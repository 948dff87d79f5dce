"""Repositories that are storages of Proxmox VE, and Backups of containers as a whole, on the stand-in."""

from __future__ import annotations

from typing import Any

import pytest
from backups_lab import PROJECT, STORAGE, USES, archives, backup, ready, ready_lab, repository, run, status
from containers_lab import begun

from homeport.drivers.kubernetes import types
from memory_world import Killed, play
from proxmox_inside import Lab

REPOSITORY, BACKUP, RUN = types.BACKUP_REPOSITORY, types.BACKUP, types.BACKUP_RUN


async def test_a_storage_that_can_be_used() -> None:
    lab = await ready_lab()
    assert ready(lab, REPOSITORY, "host") == ("True", "ReconciliationSucceeded", f"storage {STORAGE} on lab")
    told = status(lab, REPOSITORY, "host")
    assert (told["initialized"], told["backups"]) == (True, 1)
    assert ready(lab, BACKUP, "nightly")[0] == "True"


async def test_what_else_prunes_there_is_told_and_stops_nothing() -> None:
    lab = await ready_lab()
    lab.pve.backup_jobs.append({"id": "nightly", "storage": STORAGE, "enabled": 1, "prune-backups": {"keep-last": "3"}})
    await play(lab, lambda world: world.apply([repository()]))
    running = await lab.operator()
    await running.settle()
    await running.stop()
    degraded = lab.condition(REPOSITORY, PROJECT, "host", "Degraded")
    assert degraded["reason"] == "PruneConflict"
    assert "the datacenter's backup job prunes storage local by VMID" in degraded["message"]
    assert ready(lab, REPOSITORY, "host")[0] == "True"


async def test_a_storage_that_the_project_may_not_use() -> None:
    lab = Lab()
    await play(lab, lambda world: world.furnish([{**USES[0], "storages": ["local-lvm"]}]))
    await play(lab, lambda world: world.apply([repository(), backup()]))
    told = ready(lab, REPOSITORY, "host")
    assert told[:2] == ("False", "AccessDenied")
    assert f"storage {STORAGE} isn't among those that ProxmoxHost lab gives project {PROJECT}" in told[2]
    assert ready(lab, BACKUP, "nightly")[:2] == ("False", "DependencyNotReady")


async def test_a_storage_that_takes_no_backups() -> None:
    lab = await ready_lab("local-lvm")
    told = ready(lab, REPOSITORY, "host")
    assert told[:2] == ("False", "InvalidSpec") and "doesn't take content of type backup" in told[2]


async def test_a_container_wants_a_storage() -> None:
    """And the other way round: vzdump writes to no bucket."""
    lab = await ready_lab()
    bucket = repository()
    bucket["metadata"]["name"] = "bucket"
    bucket["spec"] = {
        "s3": {"endpoint": "https://s3.example.com", "bucket": "backups", "credentialsSecretRef": {"name": "s3"}},
        "encryption": {"generate": True},
    }
    other = backup(repositoryRef={"name": "bucket"})
    other["metadata"]["name"] = "other"
    await play(lab, lambda world: world.apply([bucket, other]))
    assert ready(lab, BACKUP, "other")[1:] == (
        "InvalidSpec",
        "a container is backed up by Proxmox VE, onto a storage of its own, and BackupRepository bucket is none; name "
        "one with proxmox",
    )


async def deleted(lab: Lab, kill_at: tuple[int, bool] | None = None) -> int:
    """Delete the Backup, which has agreed to lose its archives: how many writes that took."""
    agreed = {"metadata": {"annotations": {"homeport.dev/confirm-delete": "nightly"}}}
    await lab.client.patch(BACKUP, PROJECT, "nightly", agreed)
    await lab.delete(BACKUP, PROJECT, "nightly")
    running = await lab.operator()
    running.gate.kill_at = kill_at
    try:
        await running.settle()
    except Killed:
        await running.stop()
        again = await lab.operator()
        await again.settle()
        await again.stop()
        return 0
    await running.stop()
    return len(running.gate.writes)


async def with_archives() -> Lab:
    lab = await ready_lab(deletionPolicy="Delete")
    for name, more in (("one", {}), ("two", {"protected": True}), ("three", {})):
        await play(lab, lambda world, name=name, more=more: world.apply([run(name, **more)]))  # type: ignore[misc]
    assert len(archives(lab)) == 3
    return lab


async def test_a_deleted_backup_removes_its_archives_and_no_others() -> None:
    lab = await with_archives()
    theirs: dict[str, Any] = {"content": "backup", "format": "tar.zst", "size": 1, "vmid": 2000, "ctime": 1}
    other = {**theirs, "notes": f"homeport.dev/backup=elsewhere/{PROJECT}/nightly/one/dns/1of1"}
    name = "backup/vzdump-lxc-2000-2020_01_01-00_00_0"
    lab.pve.storages[STORAGE]["volumes"] |= {
        f"{name}1.tar.zst": {**theirs, "notes": "by hand"},
        f"{name}2.tar.zst": other,
    }
    await deleted(lab)
    left = archives(lab)
    assert {f"{name}1.tar.zst", f"{name}2.tar.zst"} <= left.keys()
    assert [found["notes"].split("/")[4] for found in left.values() if found.get("protected")] == ["two"]
    assert len(left) == 3 and begun(lab)["imgdel"] == 2
    assert (BACKUP, PROJECT, "nightly") not in lab.client._objects


async def test_a_deleted_backup_waits_to_be_told_twice() -> None:
    lab = await with_archives()
    await lab.delete(BACKUP, PROJECT, "nightly")
    running = await lab.operator()
    await running.settle()
    await running.stop()
    assert ready(lab, BACKUP, "nightly")[1] == "ConfirmationRequired" and len(archives(lab)) == 3


@pytest.mark.parametrize("carried_out", [False, True])
async def test_a_crash_at_any_write_of_a_deletion_loses_nothing_else(carried_out: bool) -> None:
    writes = await deleted(await with_archives())
    assert writes >= 3
    for number in range(writes):
        lab = await with_archives()
        await deleted(lab, (number, carried_out))
        assert (BACKUP, PROJECT, "nightly") not in lab.client._objects, number
        assert [bool(found.get("protected")) for found in archives(lab).values()] == [True], number


async def pruned(lab: Lab, kill_at: tuple[int, bool] | None = None) -> int:
    """Have the Backup's retention, which has just been written, carried out now: how many writes that took."""

    async def step(world: Any) -> None:
        await world.apply([backup(retention={"keepLast": 1})])
        asked = {"metadata": {"annotations": {"homeport.dev/prune-at": "now"}}}
        await world.client.patch(BACKUP, PROJECT, "nightly", asked)

    running = await play(lab, step, kill_at)
    return len(running.gate.writes)


async def kept_by_nothing() -> Lab:
    """Four archives, one of them protected, and no retention yet."""
    lab = await ready_lab()
    for name, more in (("one", {}), ("two", {"protected": True}), ("three", {}), ("four", {})):
        await play(lab, lambda world, name=name, more=more: world.apply([run(name, **more)]))  # type: ignore[misc]
    assert len(archives(lab)) == 4
    return lab


async def test_retention_that_somebody_asks_for_needs_no_run() -> None:
    lab = await kept_by_nothing()
    await pruned(lab)
    told = status(lab, BACKUP, "nightly")
    last = {name: told["lastPrune"][name] for name in ("asked", "outcome", "message")}
    assert last == {"asked": "now", "outcome": "Succeeded", "message": "2 runs are kept"}
    assert "pruning" not in told
    assert [entry["run"] for entry in told["runs"]] == ["four", "two"] and told["snapshots"] == 2
    assert len(archives(lab)) == 2 and begun(lab)["imgdel"] == 2
    running = await lab.operator()
    await running.settle()
    await running.stop()
    assert running.gate.writes == []


@pytest.mark.parametrize("carried_out", [False, True])
async def test_a_crash_at_any_write_of_a_pruning_removes_nothing_else(carried_out: bool) -> None:
    writes = await pruned(await kept_by_nothing())
    assert writes >= 3
    for number in range(writes):
        lab = await kept_by_nothing()
        await pruned(lab, (number, carried_out))
        assert status(lab, BACKUP, "nightly")["lastPrune"]["message"] == "2 runs are kept", number
        assert sorted(bool(found.get("protected")) for found in archives(lab).values()) == [False, True], number


CONTENT = f"/nodes/*/storage/{STORAGE}/content*"


async def test_a_removal_is_followed_to_its_end_and_asked_for_once() -> None:
    """However long it takes: it has the slot meanwhile."""
    lab = await kept_by_nothing()
    lab.pve.remove_secs = 60.0
    await pruned(lab)
    assert begun(lab)["imgdel"] == 2 and len(archives(lab)) == 2
    assert status(lab, BACKUP, "nightly")["lastPrune"]["outcome"] == "Succeeded"


@pytest.mark.parametrize("refusal", ["task", "answer"])
async def test_what_pruning_cannot_remove_is_told_once_and_tried_when_asked_again(refusal: str) -> None:
    lab = await kept_by_nothing()
    if refusal == "task":
        lab.pve.script.fail_task("imgdel", "rm: Read-only file system", times=2)
    else:
        lab.pve.script.add("DELETE", CONTENT, "privilege taken (403)", times=2)
    await pruned(lab)
    told = status(lab, BACKUP, "nightly")
    assert told["lastPrune"]["outcome"] == "Failed" and told["snapshots"] == 4
    why = "Read-only file system" if refusal == "task" else "Permission check failed"
    assert "couldn't be removed" in told["lastPrune"]["message"] and why in told["lastPrune"]["message"]
    assert "1 more couldn't be removed" in told["lastPrune"]["message"]
    assert begun(lab)["imgdel"] == (2 if refusal == "task" else 0), "neither is tried twice"
    asked = {"metadata": {"annotations": {"homeport.dev/prune-at": "again"}}}
    await play(lab, lambda world: world.client.patch(BACKUP, PROJECT, "nightly", asked))
    assert status(lab, BACKUP, "nightly")["lastPrune"]["message"] == "2 runs are kept" and len(archives(lab)) == 2


async def test_a_deleted_backup_says_what_cannot_be_removed_and_tries_again_later() -> None:
    lab = await with_archives()
    lab.pve.script.fail_task("imgdel", "rm: Read-only file system", times=1)
    await deleted(lab)
    told = ready(lab, BACKUP, "nightly")
    assert told[1] == "RepositoryFailed" and "Read-only file system; it is tried again" in told[2]
    assert begun(lab)["imgdel"] == 2 and len(archives(lab)) == 2
    running = await lab.operator()
    await running.settle(quiet=700.0)
    await running.stop()
    assert (BACKUP, PROJECT, "nightly") not in lab.client._objects and begun(lab)["imgdel"] == 3
