"""Restores and drills of containers: what is refused, what goes wrong, and what is left then."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from backups_lab import DATA, PROJECT, archives, backup, ready, restore, run, status, vmid
from containers_lab import begun, cleaned, container
from test_backups_proxmox_restore import DRILL, backed_up, in_place, restored

from homeport.api import labels
from homeport.drivers.kubernetes import types
from homeport.engine.backups import proxmoxdrill
from homeport.plan.agent import ExecResult
from memory_world import Killed, play
from proxmox_inside import Lab

pytestmark = pytest.mark.faults
RUN, CONTAINER, RESTORE = types.BACKUP_RUN, types.LXC_CONTAINER, types.RESTORE
NETWORK = {"network": {"bridge": "vmbr9", "cidr": "10.99.0.0/24"}, "vmidRange": {"min": 2090, "max": 2099}}


def extra(lab: Lab, before: dict[int, Any]) -> list[int]:
    """The containers that weren't there before."""
    return sorted(lab.containers().keys() - before.keys())


async def test_the_original_is_destroyed_when_its_time_has_come() -> None:
    lab = await backed_up()
    old = vmid(lab)
    told = await restored(lab, **in_place(lab, keep="1h"))
    assert told["phase"] == "Succeeded" and lab.pve.ct(old) is not None
    running = await lab.operator()
    await running.settle()
    assert lab.pve.ct(old) is not None, "a restart forgets nothing"
    lab.clock.seconds += 3700
    await running.settle(limit=9000)
    await running.stop()
    assert lab.pve.ct(old) is None and lab.pve.disks[vmid(lab)][DATA] == "100"
    told = status(lab, RESTORE, "back")
    assert told["phase"] == "Succeeded" and "step" not in told


async def test_an_original_that_somebody_uses_again_stays() -> None:
    lab = await backed_up()
    old = vmid(lab)
    await restored(lab, **in_place(lab, keep="1h"))
    lab.pve.ct(old).status = "running"
    running = await lab.operator()
    lab.clock.seconds += 3700
    await running.settle(limit=9000)
    await running.stop()
    assert lab.pve.ct(old) is not None and any("stays" in note for note in status(lab, RESTORE, "back")["notes"])


async def test_a_vmid_with_backups_is_given_to_nobody() -> None:
    lab = await backed_up()
    old = vmid(lab)
    await play(lab, lambda world: world.delete(types.LXC_CONTAINER, PROJECT, "dns"))
    lab.pve._drop(lab.pve.ct(old))  # it was kept; somebody removes it by hand
    for key in [key for key in lab.client._objects if key[0] == RUN]:
        await lab.delete(RUN, PROJECT, key[2])
    net = {"name": "eth0", "bridge": "vmbr0", "address": "dhcp"}
    small = container("other", rootfs={"storage": "local-lvm", "size": "1Gi"}, networks=[net])
    await play(lab, lambda world: world.apply([cleaned(small)]))
    assert vmid(lab, "other") == old + 1, "the archives on the storage are asked, whatever objects there are"


REFUSED: dict[str, tuple[Callable[[Lab], dict[str, Any]], str, str]] = {
    "no such snapshot": (
        lambda lab: {"snapshot": "local:backup/vzdump-lxc-1-2020_01_01-00_00_00.tar.zst"},
        "SnapshotMissing",
        "there are local:backup/vzdump-lxc-2000-2026_01_15-",
    ),
    "before all": (lambda lab: {"before": "2020-01-01T00:00:00Z"}, "SnapshotMissing", "no good run before"),
    "another's UID": (
        lambda lab: {"target": {"inPlace": {"confirm": "7f6d1c1e-0000-4000-8000-00000000dead"}}},
        "ConfirmationRequired",
        "isn't the UID of LXCContainer dns",
    ),
    "a name that is taken": (lambda lab: {"target": {"new": {"container": "dns"}}}, "NameTaken", "LXCContainer dns"),
    "a VMID that is taken": (lambda lab: {"target": {"new": {"vmid": 100}}}, "NameTaken", "VMID 100 is taken"),
    "a VMID that isn't granted": (lambda lab: {"target": {"new": {"vmid": 5000}}}, "AccessDenied", "5000"),
    "a storage that isn't granted": (lambda lab: {"target": {"new": {"storage": "ceph"}}}, "AccessDenied", "ceph"),
    "paths": (lambda lab: {"paths": ["/etc/hosts"]}, "InvalidSpec", "leave paths out"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_refused_before_anything_is_done(case: str) -> None:
    lab = await backed_up()
    more, reason, says = REFUSED[case]
    before = lab.containers()
    await restored(lab, **more(lab))
    told = ready(lab, RESTORE, "back")
    assert told[1] == reason and says in told[2], told
    assert lab.containers() == before and begun(lab)["vzrestore"] == 0


async def test_drills_need_a_restore() -> None:
    lab = await backed_up(verify={"restore": False})
    await restored(lab, **DRILL)
    assert "write verify.restore: true" in ready(lab, RESTORE, "back")[2]


async def test_what_a_token_cannot_restore_is_not_restored() -> None:
    lab = await backed_up()
    lab.pve.ct(vmid(lab)).config["hookscript"] = "local:snippets/x.sh"
    await play(lab, lambda world: world.apply([run("two")]))
    told = await restored(lab)
    assert told["reason"] == "NotRestorableByToken" and "hookscript" in told["message"]
    assert begun(lab)["vzrestore"] == 0


async def test_what_came_out_otherwise_is_not_started() -> None:
    lab = await backed_up()
    before = lab.containers()

    def meddle(pve: Any) -> None:
        for ct in pve.cts:
            if "homeport.dev/restore" in str(ct.config.get("description")):
                ct.config["net0"] = ct.config["net0"].replace("link_down=1", "link_down=0")

    lab.pve.script.add("GET", "/nodes/*/lxc/2001/config", doing=meddle, times=3)
    told = await restored(lab, **DRILL)
    assert told["reason"] == "RestoredOtherwise" and "net0" in told["message"], told
    assert begun(lab)["vzstart"] == 1 and not extra(lab, before)


@pytest.mark.parametrize(
    ("task", "message", "reason"),
    [("vzrestore", "unpacking failed", "RestoreFailed"), ("vzrestore", "no space", "RestoreFailed"),
     ("vzstart", "start failed", "StartFailed")],
)  # fmt: skip
@pytest.mark.parametrize("more", [DRILL, {}, None])
async def test_a_task_that_fails(task: str, message: str, reason: str, more: dict[str, Any] | None) -> None:
    if more == {} and task == "vzstart":
        return  # what is restored beside isn't started
    lab = await backed_up()
    target = in_place(lab) if more is None else more
    before = lab.containers()
    lab.pve.script.fail_task(task, message)
    told = await restored(lab, **target)
    assert told["phase"] == "Failed" and told["reason"] == reason, told
    assert lab.containers() == before, "nothing was changed, and nothing is left"
    assert ready(lab, CONTAINER, "dns")[0] == "True"


async def test_what_cannot_be_saved_is_not_replaced() -> None:
    lab = await backed_up()
    before = lab.containers()
    lab.pve.script.fail_task("vzdump", "no space")
    told = await restored(lab, **in_place(lab))
    assert told["reason"] == "BackupFailed" and "nothing was changed" in told["message"]
    assert lab.containers() == before and begun(lab)["vzrestore"] == 0


@pytest.mark.parametrize("answer", ["lost", "timed out (596)", "bad gateway (502)"])
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("path", ["POST /nodes/*/lxc", "POST /nodes/*/lxc/*/status/start", "DELETE /nodes/*/lxc/*"])
async def test_answers_that_are_lost(answer: str, after: bool, path: str) -> None:
    lab = await backed_up()
    before, tasks = lab.containers(), begun(lab)
    lab.pve.script.add(*path.split(" "), answer, after=after)
    told = await restored(lab, **DRILL)
    assert told["phase"] == "Succeeded", told
    assert lab.containers() == before
    assert begun(lab) - tasks == {"vzrestore": 1, "vzstart": 1, "vzdestroy": 1}


async def test_a_host_that_is_away_meanwhile() -> None:
    lab = await backed_up()
    target = in_place(lab)
    running = await lab.operator()
    await lab.apply([restore("back", **target)])
    for number in range(400):
        await lab.rest()
        lab.gone = number % 40 in range(20, 32)
        if not (await lab.controllers() or await running.step()):
            lab.clock.seconds += 1.0
    lab.gone = False
    await running.settle()
    await running.stop()
    assert status(lab, RESTORE, "back")["phase"] == "Succeeded" and lab.pve.disks[vmid(lab)][DATA] == "100"
    assert begun(lab)["vzrestore"] == 1 and ready(lab, CONTAINER, "dns")[0] == "True"


async def test_a_drill_that_is_deleted_leaves_nothing() -> None:
    lab = await backed_up()
    before = lab.containers()
    running = await lab.operator()
    await lab.apply([restore("back", **DRILL)])
    for _ in range(400):
        await lab.rest()
        if status(lab, RESTORE, "back").get("step") in ("Compare", "Start"):
            break
        if not (await lab.controllers() or await running.step()):
            lab.clock.seconds += 0.5
    assert extra(lab, before)
    await lab.delete(RESTORE, PROJECT, "back")
    await running.settle()
    await running.stop()
    assert lab.containers() == before and (RESTORE, PROJECT, "back") not in lab.client._objects


async def test_a_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is told to an agent is in tests/integration; here, what its answer means."""
    asked: list[Any] = []

    async def answer(self: Any, agent: Any, command: Any, seconds: float = 0, **more: Any) -> ExecResult:
        asked.append((str(agent), tuple(command), seconds))
        return ExecResult(0, b"100\n")

    async def told(*_: Any) -> None:
        return None

    monkeypatch.setattr(proxmoxdrill, "has_agent", lambda *_: True)
    monkeypatch.setattr(proxmoxdrill, "_told", told)
    monkeypatch.setattr("homeport.engine.agents.Agents.exec", answer)
    check = {"exec": ["cat", DATA], "expect": ">10", "timeout": "20s"}
    lab = await backed_up(verify={**NETWORK, "check": check})
    before = lab.containers()
    nets: list[str] = []
    lab.pve.script.add(
        "POST", "/nodes/*/lxc/*/status/start", doing=lambda pve: nets.append(pve.ct(2090).config["net0"])
    )
    seen = await restored(lab, **DRILL)
    assert seen["phase"] == "Succeeded" and seen["check"] == {"output": "100\n", "passed": True}, seen
    assert asked == [(f"{PROJECT}/back/2090", ("cat", DATA), 20)] and lab.containers() == before
    assert "bridge=vmbr9" in nets[0] and "ip=10.99.0.1/24" in nets[0] and "link_down" not in nets[0]
    await play(lab, lambda world: world.apply([backup(verify={**NETWORK, "check": {**check, "expect": ">1000"}})]))
    seen = await restored(lab, "again", **DRILL)
    assert seen["phase"] == "Failed" and seen["reason"] == "CheckFailed" and not seen["check"]["passed"]
    assert lab.containers() == before and len(archives(lab)) == 1


async def test_a_check_that_has_no_way_in_proves_nothing() -> None:
    lab = await backed_up(verify={"check": {"exec": ["true"]}})
    told = await restored(lab, **DRILL)
    assert told["reason"] == "CheckImpossible" and "no way into it" in told["message"]


REFUSALS = {
    # The container that is asked for, by which of two; the request's number among those of its kind.
    "Stop": ("POST", "/nodes/*/lxc/{old}/status/shutdown", 1, "to stop the original {old}"),
    "Release": ("PUT", "/nodes/*/lxc/{old}/config", 1, "to mark the original {old} as kept"),
    "Move": ("POST", "/nodes/*/lxc/{old}/move_volume", 1, "to move what backups leave out from {old} to {new}"),
    "Take": (
        "PUT", "/nodes/*/lxc/{new}/config", 1,
        "to give {new} the names, networks and addresses of the original {old}",
    ),
}  # fmt: skip


@pytest.mark.parametrize("answer", ["privilege taken (403)", "internal"])
@pytest.mark.parametrize("step", REFUSALS)
async def test_a_swap_that_the_host_refuses_says_so_and_goes_on_when_it_may(step: str, answer: str) -> None:
    lab = await backed_up()
    old, new = vmid(lab), 2001
    method, path, nth, doing = REFUSALS[step]
    fault = lab.pve.script.add(method, path.format(old=old, new=new), answer, nth=nth, times=10**6)
    await lab.apply([restore("back", **in_place(lab))])
    running = await lab.operator()
    await running.until(lab.clock.seconds + 900.0)
    told = status(lab, RESTORE, "back")
    assert (told["phase"], told.get("step")) == ("Swapping", step), told
    said = ready(lab, RESTORE, "back")
    assert said[0] == "False"
    assert f"ProxmoxHost lab refuses {doing.format(old=old, new=new)}: " in said[2], said
    assert ("VM.Allocate" if "403" in answer else "internal error") in said[2]
    assert f"Both are there, the original {old} and the restored {new}, and LXCContainer dns waits" in said[2]
    assert {old, new} <= lab.containers().keys()
    # Later and later, five minutes apart at most: neither for ever, nor without a pause.
    tried = fault.seen
    await running.until(lab.clock.seconds + 3600.0)
    assert 8 <= fault.seen - tried <= 20, fault.seen - tried
    # A new operator goes on from there, once the host lets it.
    await running.stop()
    fault.times = 0
    again = await lab.operator()
    await again.settle()
    await again.stop()
    assert status(lab, RESTORE, "back")["phase"] == "Succeeded", status(lab, RESTORE, "back")
    assert vmid(lab) == new and lab.pve.disks[new][DATA] == "100"
    assert ready(lab, CONTAINER, "dns")[0] == "True"


async def refused_at(step: str) -> tuple[Any, Any, int, Any]:
    """A swap that waits for the host at a step: the lab, its operator, the original, and what is refused."""
    lab = await backed_up()
    old = vmid(lab)
    method, path, nth, _ = REFUSALS[step]
    fault = lab.pve.script.add(method, path.format(old=old, new=2001), "privilege taken (403)", nth=nth, times=10**6)
    await lab.apply([restore("back", **in_place(lab))])
    running = await lab.operator()
    await running.until(lab.clock.seconds + 900.0)
    assert (status(lab, RESTORE, "back")["phase"], status(lab, RESTORE, "back")["step"]) == ("Swapping", step)
    said = ready(lab, RESTORE, "back")[2]
    assert "the annotation homeport.dev/call-off with this Restore's name calls it off" in said
    return lab, running, old, fault


async def call_off(lab: Any, name: str = "back") -> None:
    body = {"metadata": {"annotations": {labels.CALL_OFF: name}}}
    await lab.client.patch(RESTORE, PROJECT, "back", body)


@pytest.mark.parametrize("deleted", [False, True])
@pytest.mark.parametrize("step", ["Stop", "Release", "Move"])
async def test_a_swap_that_is_refused_can_be_called_off(step: str, deleted: bool) -> None:
    lab, running, old, fault = await refused_at(step)
    if step == "Release":
        fault.times = 0  # the mark is what it needs for turning back, too
    await call_off(lab, "another")
    assert status(lab, RESTORE, "back")["phase"] == "Swapping", "not its name"
    fault.times = 10**6 if step != "Release" else 0
    await call_off(lab)
    if deleted:
        await lab.delete(RESTORE, PROJECT, "back")
    await running.until(lab.clock.seconds + 60.0)
    await running.settle()
    await running.stop()
    if deleted:
        assert (RESTORE, PROJECT, "back") not in lab.client._objects
    else:
        told = status(lab, RESTORE, "back")
        assert (told["phase"], told.get("reason")) == ("Failed", "CalledOff"), told
        assert told["message"] == f"called off: dns is {old}, as before"
    assert vmid(lab) == old and 2001 not in lab.containers(), "what was restored is gone"
    assert ready(lab, CONTAINER, "dns")[0] == "True"
    found = lab.pve.ct(old)
    assert found.config.get("onboot") == 1 or "onboot" not in found.config
    assert "replaced by Restore" not in found.config["description"]


@pytest.mark.parametrize(("at", "carried_out"), [(0, False), (0, True), (1, True), (2, False)])
async def test_a_swap_that_is_called_off_converges_after_a_crash(at: int, carried_out: bool) -> None:
    lab, running, old, _ = await refused_at("Move")
    running.gate.kill_at = (len(running.gate.writes) + at, carried_out)
    await call_off(lab)
    with pytest.raises(Killed):
        await running.until(lab.clock.seconds + 120.0)
    await running.stop()
    again = await lab.operator()
    await again.settle()
    await again.stop()
    assert status(lab, RESTORE, "back")["reason"] == "CalledOff"
    assert vmid(lab) == old and 2001 not in lab.containers() and ready(lab, CONTAINER, "dns")[0] == "True"


async def test_once_something_has_come_over_a_swap_is_not_called_off() -> None:
    lab, running, old, fault = await refused_at("Take")
    await call_off(lab)
    await running.until(lab.clock.seconds + 60.0)
    told = status(lab, RESTORE, "back")
    said = f"it can't be called off any more: /var/cache/dns came over from {old} to 2001"
    assert told["phase"] == "Swapping" and said in told["notes"], told
    fault.times = 0
    await running.until(lab.clock.seconds + 900.0)
    await running.settle()
    await running.stop()
    assert status(lab, RESTORE, "back")["phase"] == "Succeeded" and vmid(lab) == 2001


async def test_an_original_that_may_not_be_destroyed_is_told_and_tried_again() -> None:
    lab = await backed_up()
    old = vmid(lab)
    fault = lab.pve.script.add("DELETE", f"/nodes/*/lxc/{old}", "privilege taken (403)", times=10**6)
    await lab.apply([restore("back", **in_place(lab, keep="10m"))])
    running = await lab.operator()
    await running.until(lab.clock.seconds + 3600.0)
    said = ready(lab, RESTORE, "back")
    assert said[0] == "True" and f"ProxmoxHost lab refuses to destroy the original {old}" in said[2], said
    assert old in lab.containers()
    fault.times = 0
    await running.until(lab.clock.seconds + 1800.0)
    await running.stop()
    assert "previousVmid" not in status(lab, RESTORE, "back")
