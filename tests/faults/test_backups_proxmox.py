"""Backups of containers: vzdump on the stand-in, in this process and on a clock that the test turns."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from backups_lab import (
    PROJECT,
    STORAGE,
    USES,
    archives,
    backup,
    ready,
    ready_lab,
    run,
    status,
    statuses,
    vmid,
)
from containers_lab import begun, cleaned, container

from homeport.drivers.kubernetes import types
from homeport.engine.backups import proxmoxafter
from homeport.plan.agent import ExecResult
from memory_world import Manifest, play
from proxmox_inside import Lab

pytestmark = pytest.mark.faults
RUN, CONTAINER = types.BACKUP_RUN, types.LXC_CONTAINER


async def taken(lab: Lab, name: str = "one", **more: Any) -> None:
    await play(lab, lambda world: world.apply([run(name, **more)]))


async def test_a_run() -> None:
    lab = await ready_lab()
    await taken(lab)
    told = status(lab, RUN, "one")
    assert told["phase"] == "Succeeded", told
    ((name, found),) = archives(lab).items()
    assert told["snapshot"] == f"local:{name}" and told["bytes"] == found["size"]
    assert found["notes"].startswith("homeport.dev/backup=") and f"/{PROJECT}/nightly/one/dns/1of1 " in found["notes"]
    assert told["mode"] == "snapshot" and "task" not in told
    assert told["notCovered"] == [
        "dns: /var/cache/dns (mp1): its backup is off; set backup: true on the mount to have it"
    ]
    assert told["listing"]["snapshots"] == 1 and told["listing"]["runs"][0]["run"] == "one"
    assert ready(lab, RUN, "one")[0] == "True"
    assert begun(lab)["vzdump"] == 1 and not lab.pve.refused
    assert ready(lab, CONTAINER, "dns")[0] == "True"


async def test_a_protected_run_stays() -> None:
    lab = await ready_lab(retention={"keepLast": 1})
    await taken(lab, "one", protected=True)
    await taken(lab, "two")
    await taken(lab, "three")
    told = {entry["run"]: entry for entry in status(lab, RUN, "three")["listing"]["runs"]}
    assert set(told) == {"one", "three"} and told["one"]["protected"]
    assert sorted(bool(found.get("protected")) for found in archives(lab).values()) == [False, True]


async def test_retention_removes_ours_alone() -> None:
    """Others' archives of the same VMID, and those of another Backup, aren't counted, and stay."""
    lab = await ready_lab(retention={"keepLast": 2})
    theirs = {"content": "backup", "format": "tar.zst", "size": 1, "vmid": vmid(lab), "ctime": 1, "notes": "by hand"}
    other = {**theirs, "notes": f"homeport.dev/backup=elsewhere/{PROJECT}/nightly/one/dns/1of1"}
    name = f"backup/vzdump-lxc-{vmid(lab)}-2020_01_01-00_00_0"
    lab.pve.storages[STORAGE].setdefault("volumes", {}).update({f"{name}1.tar.zst": theirs, f"{name}2.tar.zst": other})
    for number in range(4):
        await taken(lab, f"run-{number}")
    told = status(lab, RUN, "run-3")
    assert [entry["run"] for entry in told["listing"]["runs"]] == ["run-3", "run-2"]
    assert {f"{name}1.tar.zst", f"{name}2.tar.zst"} <= archives(lab).keys() and len(archives(lab)) == 4
    assert begun(lab)["imgdel"] == 2


async def test_an_archive_whose_notes_were_changed_meanwhile_stays() -> None:
    lab = await ready_lab(retention={"keepLast": 1})
    await taken(lab, "one")
    (first,) = archives(lab)

    def renamed(pve: Any) -> None:
        pve.storages[STORAGE]["volumes"][first]["notes"] = "mine now"

    # Between the listing and the removal.
    lab.pve.script.add("GET", f"/nodes/*/storage/{STORAGE}/content/*", doing=renamed)
    await taken(lab, "two")
    assert archives(lab).keys() >= {first} and begun(lab)["imgdel"] == 0
    assert any("has changed meanwhile" in note for note in status(lab, RUN, "two")["notes"])


async def test_many_archives_that_cannot_be_removed() -> None:
    """The run ends: what it couldn't remove isn't tried again, however many there are."""
    lab = await ready_lab(retention={"keepLast": 1})
    await taken(lab, "one")
    ((name, first),) = archives(lab).items()
    volumes = lab.pve.storages[STORAGE]["volumes"]
    for number in range(80):
        earlier = {**volumes[name], "ctime": number + 1, "notes": first["notes"].replace("/one/", f"/before-{number}/")}
        volumes[f"backup/vzdump-lxc-{vmid(lab)}-2020_01_01-00_{number // 60:02}_{number % 60:02}.tar.zst"] = earlier
    lab.pve.script.add("DELETE", f"/nodes/*/storage/{STORAGE}/content*", "privilege taken (403)", times=10**6)
    await taken(lab, "two")
    told = status(lab, RUN, "two")
    assert told["phase"] == "Succeeded" and len(archives(lab)) == 82
    refused = [note for note in told["notes"] if "couldn't be removed" in note]
    assert len(refused) == proxmoxafter.REFUSALS and any("no more is tried" in note for note in told["notes"])


async def test_a_mode_that_the_storage_cannot_do() -> None:
    lab = await ready_lab()
    lab.pve.storages["local-lvm"]["type"] = "lvm"
    await taken(lab)
    told = status(lab, RUN, "one")
    assert told["phase"] == "Succeeded" and told["mode"] == "suspend"
    assert any("taken with mode suspend, not snapshot" in note for note in told["notes"])
    strict = backup(container={"requireMode": True})
    await play(lab, lambda world: world.apply([strict]))
    await taken(lab, "two")
    told = status(lab, RUN, "two")
    assert told["phase"] == "Failed" and told["reason"] == "OtherMode"
    complete = {entry["run"]: entry.get("complete") for entry in told["listing"]["runs"]}
    assert complete == {"one": None, "two": False}, "what was rejected counts for nothing"


async def test_notes_that_could_not_be_written_are_written_again() -> None:
    lab = await ready_lab()
    lab.pve.storages[STORAGE]["unwritable_notes"] = True
    await taken(lab)
    told = status(lab, RUN, "one")
    assert told["phase"] == "Succeeded" and any("Proxmox VE warned" in note for note in told["notes"])
    assert all("/nightly/one/dns/1of1" in found["notes"] for found in archives(lab).values())
    assert told["listing"]["snapshots"] == 1


@pytest.mark.parametrize(
    ("broken", "reason", "says"),
    [
        (lambda pve: pve.storages[STORAGE].update(avail=1000), "RepositoryFull", "No space left"),
        (lambda pve: pve.storages[STORAGE].update({"prune-backups": "keep-last=0,keep-daily=0"}), None, ""),
        (lambda pve: pve.script.fail_task("vzdump", "interrupted by signal"), "BackupFailed", "interrupted"),
        (lambda pve: pve.script.fail_task("vzdump", "unexpected status"), "TaskLost", "without saying how"),
    ],
)
async def test_failures(broken: Any, reason: str | None, says: str) -> None:
    lab = await ready_lab()
    broken(lab.pve)
    await taken(lab)
    told = status(lab, RUN, "one")
    assert told.get("reason") == reason and says in told["message"] + str(told.get("notes")), told
    assert told["phase"] == ("Failed" if reason else "Succeeded")
    assert ready(lab, RUN, "one")[1] == ("BackupFailed" if reason else "ReconciliationSucceeded")


async def test_the_storages_own_retention_is_told() -> None:
    lab = await ready_lab()
    lab.pve.storages[STORAGE]["prune-backups"] = "keep-last=1"
    lab.pve.backup_jobs.append({"id": "nightly", "storage": STORAGE, "enabled": 1, "prune-backups": {"keep-last": "3"}})
    await taken(lab)
    told = status(lab, RUN, "one")
    assert told["phase"] == "Succeeded"
    assert "keep-last=1" in told["notes"][0] and "backup job nightly" in told["notes"][1]
    await taken(lab, "two")
    assert status(lab, RUN, "two")["reason"] == "StorageRetention"
    assert len(archives(lab)) == 1


async def test_two_on_a_node_queue() -> None:
    lab = await ready_lab()
    lab.pve.dump_secs = 40.0
    running = await lab.operator()
    said: set[str] = set()
    await lab.apply([run("one"), run("two")])
    for _ in range(600):
        await lab.rest()
        if not (await lab.controllers() or await running.step()):
            lab.clock.seconds += 0.5
        for name in ("one", "two"):
            said.add(str((status(lab, RUN, name).get("progress") or {}).get("message")))
    await running.settle()
    await running.stop()
    assert {status(lab, RUN, name)["phase"] for name in ("one", "two")} == {"Succeeded"}
    assert any("queued behind another backup of node pve1" in text for text in said), said
    assert begun(lab)["vzdump"] == 2 and len(archives(lab)) == 2


async def test_a_container_of_somebody_else_is_not_backed_up() -> None:
    lab = await ready_lab()
    lab.pve.ct(vmid(lab)).config["description"] = "mine"
    await taken(lab)
    assert status(lab, RUN, "one")["reason"] == "NotOurs" and not archives(lab)


async def test_what_a_token_cannot_restore_is_told() -> None:
    lab = await ready_lab()
    lab.pve.ct(vmid(lab)).config.update(lxc=[["lxc.init.cwd", "/app"]], hookscript="local:snippets/x.sh")
    await taken(lab)
    (note,) = (note for note in status(lab, RUN, "one")["notes"] if note.startswith("NotRestorableByToken"))
    assert "lxc.init.cwd: /app" in note and "hookscript" in note


async def test_a_backup_server_and_what_it_verifies() -> None:
    lab = await ready_lab(retention={"keepLast": 1})
    lab.pve.storages["pbs"] = {"type": "pbs", "active": 1, "content": "backup", "files": set(), "shared": 1,
                               "server": "10.0.0.9", "datastore": "d"}  # fmt: skip
    uses = [{**USES[0], "storages": ["local-lvm", "pbs"]}]
    await play(lab, lambda world: world.furnish(uses))
    await play(lab, lambda world: world.apply([backup(retention={"keepLast": 1}, container={"storage": "pbs"})]))
    await taken(lab, "one")
    told = status(lab, RUN, "one")
    assert told["phase"] == "Succeeded" and told["snapshot"].startswith(f"pbs:backup/ct/{vmid(lab)}/2026-"), told
    volumes = lab.pve.storages["pbs"]["volumes"]
    volumes[told["snapshot"].removeprefix("pbs:")]["verification"] = {"state": "ok", "upid": "UPID:x"}
    await taken(lab, "two")
    (second,) = (name for name in volumes if f"pbs:{name}" == status(lab, RUN, "two")["snapshot"])
    kept = {entry["run"]: entry.get("verified") for entry in status(lab, RUN, "two")["listing"]["runs"]}
    assert kept == {"two": None, "one": True}, "the newest verified one stays, whatever the rules say"
    volumes[second]["verification"] = {"state": "failed", "upid": "UPID:x"}
    await taken(lab, "three")
    kept = {entry["run"]: entry.get("complete") for entry in status(lab, RUN, "three")["listing"]["runs"]}
    assert kept == {"three": None, "one": None}, "what can't be verified is no good one, and goes"


# --- crashes and faults -----------------------------------------------------------------------------------------------


def problems(lab: Lab, clean: Lab) -> list[str]:
    """What isn't as after the play without a fault."""
    out = []
    if begun(lab) != begun(clean):
        out.append(f"tasks begun {begun(lab)}, should be {begun(clean)}")
    notes = [Counter(found.get("notes") for found in archives(one).values()) for one in (lab, clean)]
    if notes[0] != notes[1]:
        out.append(f"archives {notes[0]}, should be {notes[1]}")
    phases = [{name: (told or {}).get("phase") for name, told in statuses(one, RUN).items()} for one in (lab, clean)]
    if phases[0] != phases[1]:
        out.append(f"phases {phases[0]}, should be {phases[1]}")
    if lab.pve.refused:
        out.append(f"refused: {lab.pve.refused}")
    return out


@pytest.mark.timeout(1200)
async def test_crash_points_of_a_run_that_removes_another() -> None:
    """Killed before and after each write, to the API server or to the host: nothing is made twice, nothing is lost."""
    start = await ready_lab(retention={"keepLast": 1})
    await taken(start, "one")
    clean = start.clone()
    told = await play(clean, lambda world: world.apply([run("two", protected=True)]))
    clean_writes = len(told.gate.writes)
    assert begun(clean)["imgdel"] == 1 and clean_writes > 8, told.gate.writes
    bad = []
    for number in range(clean_writes):
        for after in (False, True):
            lab = start.clone()
            await play(lab, lambda world: world.apply([run("two", protected=True)]), (number, after))
            if found := problems(lab, clean):
                bad.append((told.gate.writes[number], after, found))
    assert not bad, bad


@pytest.mark.parametrize(
    "answer", ["lost", "timed out (596)", "bad gateway (502)", "no quorum", "internal", "refused (595)"]
)
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("path", ["/nodes/*/vzdump", "/nodes/*/storage/local/content*"])
async def test_faults(answer: str, after: bool, path: str) -> None:
    start = await ready_lab(retention={"keepLast": 1})
    await taken(start, "one")
    clean = start.clone()
    await taken(clean, "two")
    lab = start.clone()
    lab.pve.script.add("POST" if path.endswith("vzdump") else "DELETE", path, answer, after=after)
    await taken(lab, "two")
    if begun(lab)["imgdel"] > begun(clean)["imgdel"]:
        # What a removal came to isn't known: it is asked for again, and does nothing then.
        assert len(archives(lab)) == 1 and status(lab, RUN, "two")["phase"] == "Succeeded"
    elif answer in ("internal", "no quorum") and after and path.endswith("vzdump"):
        # PVE says that it failed, although it has begun: both are there, and both are ours.
        assert status(lab, RUN, "two")["phase"] in ("Succeeded", "Failed")
    elif answer in ("internal", "no quorum") and not after and not path.endswith("vzdump"):
        # A backup is one also when another can't be removed now; the next run does.
        told = status(lab, RUN, "two")
        assert told["phase"] == "Succeeded" and any("couldn't be removed" in note for note in told["notes"])
        await taken(lab, "three")
        assert len(archives(lab)) == 1
    else:
        found = problems(lab, clean)
        assert not found, found


# --- hooks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("code", "broken"), [(0, False), (3, False), (0, True)])
async def test_hooks_run_by_the_agent(monkeypatch: pytest.MonkeyPatch, code: int, broken: bool) -> None:
    """Before it, and after it whatever came of it."""
    said: list[tuple[str, ...]] = []

    async def answer(self: Any, agent: Any, command: Any, seconds: float = 0, **more: Any) -> ExecResult:
        said.append((str(agent), *command))
        return ExecResult(code if command[0] == "freeze" else 0)

    monkeypatch.setattr("homeport.engine.agents.Agents.exec", answer)
    hooks = {"before": [{"exec": ["freeze"]}], "after": [{"exec": ["thaw"]}]}
    lab = await ready_lab(hooks=hooks)
    if broken:
        lab.pve.script.fail_task("vzdump", "interrupted by signal")
    await taken(lab)
    told = status(lab, RUN, "one")
    mine = f"{PROJECT}/dns/{vmid(lab)}"
    assert said == [(mine, "freeze"), (mine, "thaw")]
    assert told["phase"] == ("Failed" if code or broken else "Succeeded"), told
    assert begun(lab)["vzdump"] == (0 if code else 1)
    assert [entry["hook"] for entry in told["hooks"]] == ["before[0]", "after[0]"]
    assert told.get("reason") == ("HookFailed" if code else "BackupFailed" if broken else None)


async def test_the_container_stays_ready_while_it_is_backed_up() -> None:
    lab = await ready_lab()
    lab.pve.dump_secs = 30.0
    running, seen = await lab.operator(), set()
    await lab.apply([run("one")])
    for _ in range(150):
        await lab.rest()
        if not (await lab.controllers() or await running.step()):
            lab.clock.seconds += 0.5
        seen.add(ready(lab, CONTAINER, "dns")[:2])
    await running.settle()
    await running.stop()
    assert status(lab, RUN, "one")["phase"] == "Succeeded" and seen == {("True", "ReconciliationSucceeded")}


# --- an application's component in several containers --------------------------------------------------------------

WEB = {"homeport.dev/project": PROJECT, "homeport.dev/application": "shop", "homeport.dev/environment": "lab",
       "homeport.dev/component": "web"}  # fmt: skip


async def of_an_application(**more: Any) -> Lab:
    """Two containers of one component, as its Application makes them, beside one of nobody's."""
    lab = await ready_lab()
    replicas = []
    for number in (1, 2):
        net = {"name": "eth0", "bridge": "vmbr0", "address": f"10.20.0.2{number}/16", "gateway": "10.20.0.1"}
        disk = {"storage": "local-lvm", "size": "4Gi"}
        body = cleaned(container(f"web-{number}", node=f"pve{number}", rootfs=disk, networks=[net]))
        body["metadata"]["labels"] = WEB
        replicas.append(body)
    source = {"application": "shop", "component": "web", "environment": "lab"}
    both = backup(source=source, **more)
    both["metadata"]["name"] = "both"
    await play(lab, lambda world: world.apply([*replicas, both]))
    return lab


def of_both(name: str) -> Manifest:
    body = run(name)
    body["spec"]["backupRef"]["name"] = "both"
    return body


async def test_a_component_in_several_containers_is_one_run() -> None:
    lab = await of_an_application(retention={"keepLast": 1})
    for name in ("one", "two"):
        await play(lab, lambda world, name=name: world.apply([of_both(name)]))  # type: ignore[misc]
        told = status(lab, RUN, name)
        assert told["phase"] == "Succeeded", told
        assert [(part["part"], part["container"], part["done"]) for part in told["parts"]] == [
            ("web-1", "web-1", True), ("web-2", "web-2", True),
        ]  # fmt: skip
        assert [part["vmid"] for part in told["parts"]] == [vmid(lab, "web-1"), vmid(lab, "web-2")]
    # They are kept, and go, together.
    told = status(lab, RUN, "two")
    assert (told["listing"]["snapshots"], [entry["run"] for entry in told["listing"]["runs"]]) == (1, ["two"])
    assert sorted(found["notes"].split("/")[4:6] for found in archives(lab).values()) == [
        ["two", "web-1"], ["two", "web-2"],
    ]  # fmt: skip
    assert (begun(lab)["vzdump"], begun(lab)["imgdel"]) == (4, 2)


async def test_one_of_several_that_fails_is_told_and_counts_for_no_retention() -> None:
    lab = await of_an_application(retention={"keepLast": 1})
    await play(lab, lambda world: world.apply([of_both("one")]))
    lab.pve.script.fail_task("vzdump", "no space")
    await play(lab, lambda world: world.apply([of_both("two")]))
    told = status(lab, RUN, "two")
    assert told["phase"] in ("Incomplete", "Failed"), told
    assert "web-1" in told["message"] or any("web-1" in note for note in told["notes"])
    left = sorted(found["notes"].split("/")[4:6] for found in archives(lab).values())
    good = [entry for entry in left if entry[0] == "one"]
    assert good == [["one", "web-1"], ["one", "web-2"]], "the good one stays"


async def test_hooks_of_several_containers_run_in_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[tuple[str, ...]] = []

    async def answer(self: Any, agent: Any, command: Any, seconds: float = 0, **more: Any) -> ExecResult:
        said.append((str(agent), *command))
        return ExecResult(0)

    monkeypatch.setattr("homeport.engine.agents.Agents.exec", answer)
    lab = await of_an_application(hooks={"before": [{"exec": ["freeze"]}], "after": [{"exec": ["thaw"]}]})
    await play(lab, lambda world: world.apply([of_both("one")]))
    mine = f"{PROJECT}/web-1/{vmid(lab, 'web-1')}"
    assert said == [(mine, "freeze"), (mine, "thaw")]
    assert status(lab, RUN, "one")["phase"] == "Succeeded"


# --- too late ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("refused", [False, True])
async def test_a_run_past_its_timeout_is_stopped_and_leaves_nothing_at_work(refused: bool) -> None:
    lab = await ready_lab(timeout="1m")
    lab.pve.dump_secs = 600.0
    if refused:  # the first time
        lab.pve.script.add("DELETE", "/nodes/*/tasks/*", "internal")
    began = lab.clock.seconds
    await taken(lab)
    told = status(lab, RUN, "one")
    assert (told["phase"], told["reason"], told["message"]) == ("Failed", "Timeout", "it took longer than 1m"), told
    assert any("interrupted by signal" in note for note in told["notes"]), told["notes"]
    assert lab.clock.seconds - began < 300.0 and not lab.pve.running and not archives(lab)
    (task,) = [task for task in lab.pve.tasklog if task["type"] == "vzdump"]
    assert "interrupted by signal" in task["log"][-1] and "task" not in told
    lab.pve.dump_secs = 1.0
    await taken(lab, "two")
    assert status(lab, RUN, "two")["phase"] == "Succeeded", "the slot and the container's lock are free again"


async def test_a_task_that_no_token_may_stop_is_followed_and_what_it_saved_is_good() -> None:
    lab = await ready_lab(timeout="1m")
    lab.pve.dump_secs = 200.0
    lab.pve.script.add("DELETE", "/nodes/*/tasks/*", "privilege taken (403)", times=10**6)
    await taken(lab)
    told = status(lab, RUN, "one")
    assert told["phase"] == "Succeeded" and len(archives(lab)) == 1, told


async def test_an_answer_lost_before_the_timeout_leaves_nothing_at_work_either() -> None:
    lab = await ready_lab(timeout="10s")
    lab.pve.dump_secs = 600.0
    lab.pve.script.add("POST", "/nodes/*/vzdump", "lost", after=True)
    lab.pve.script.add("GET", "/nodes/*/tasks", "bad gateway (502)", times=6)
    await taken(lab)
    told = status(lab, RUN, "one")
    assert (told["phase"], told["reason"]) == ("Failed", "Timeout"), told
    assert begun(lab)["vzdump"] == 1 and not lab.pve.running and not archives(lab)


@pytest.mark.timeout(1200)
async def test_crash_points_of_a_run_that_is_too_late() -> None:
    """Killed before and after each write: vzdump is begun once, is stopped, and the run says why it failed."""
    start = await ready_lab(timeout="10s")

    def slow() -> Lab:
        lab = start.clone()
        lab.pve.dump_secs = 600.0
        return lab

    writes = (await play(slow(), lambda world: world.apply([run("one")]))).gate.writes
    assert any("/tasks/" in write for write in writes), writes
    for number in range(len(writes)):
        for after in (False, True):
            lab = slow()
            await play(lab, lambda world: world.apply([run("one")]), (number, after))
            told = status(lab, RUN, "one")
            assert (told["phase"], told["reason"]) == ("Failed", "Timeout"), (writes[number], after, told)
            assert begun(lab)["vzdump"] <= 1 and not lab.pve.running and not archives(lab), (writes[number], after)
