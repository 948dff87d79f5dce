"""Restores of containers and drills on the stand-in, in this process and on a clock that the test turns."""

from __future__ import annotations

from typing import Any

import pytest
from backups_lab import DATA, PROJECT, archives, ready, ready_lab, restore, run, status, vmid
from containers_lab import begun
from killing import killed

from homeport.drivers.kubernetes import types
from memory_world import Manifest, play
from proxmox_inside import Lab

pytestmark = pytest.mark.faults
RUN, CONTAINER, RESTORE = types.BACKUP_RUN, types.LXC_CONTAINER, types.RESTORE
DRILL = {"target": {"drill": {}}}
CHECK = {"network": {"bridge": "vmbr9", "cidr": "10.99.0.0/24"}, "vmidRange": {"min": 2090, "max": 2099}}


async def backed_up(**more: Any) -> Lab:
    """A lab with one good run, and other data since."""
    lab = await ready_lab(**more)
    await play(lab, lambda world: world.apply([run("one")]))
    lab.pve.disks[vmid(lab)][DATA] = "0"
    return lab


async def restored(lab: Lab, name: str = "back", **more: Any) -> dict[str, Any]:
    await play(lab, lambda world: world.apply([restore(name, **more)]))
    return status(lab, RESTORE, name)


async def test_a_drill() -> None:
    lab = await backed_up(verify={"vmidRange": {"min": 2090, "max": 2099}})
    before = lab.containers()
    seen: list[dict[str, Any]] = []
    lab.pve.script.add("POST", "/nodes/*/lxc/*/status/start", doing=lambda pve: seen.append(dict(pve.ct(2090).config)))
    told = await restored(lab, **DRILL)
    assert told.get("phase") == "Succeeded", told
    assert lab.containers() == before, "it is torn down, and nothing else was touched"
    (config,) = seen
    assert "link_down=1" in config["net0"] and "10.20.0.10" not in config["net0"]
    assert not config.get("onboot") and not config.get("protection") and config["hostname"] != "dns"
    assert told["duration"] and "vmid" not in told and any("nothing in it was asked" in note for note in told["notes"])
    assert not lab.pve.refused


async def test_beside() -> None:
    lab = await backed_up()
    told = await restored(lab)
    assert told.get("phase") == "Succeeded", told
    new = told["restoredTo"]
    assert new["container"] == "dns-back" and new["vmid"] != vmid(lab)
    assert lab.pve.disks[new["vmid"]][DATA] == "100" and lab.pve.disks[vmid(lab)][DATA] == "0"
    assert status(lab, CONTAINER, "dns-back")["vmid"] == new["vmid"]
    assert ready(lab, CONTAINER, "dns-back")[0] == "True", ready(lab, CONTAINER, "dns-back")
    assert lab.pve.ct(new["vmid"]).status == "stopped" and "link_down=1" in lab.pve.ct(new["vmid"]).config["net0"]
    assert begun(lab)["vzcreate"] == 1 and begun(lab)["vzrestore"] == 1
    assert ready(lab, CONTAINER, "dns")[0] == "True"


def in_place(lab: Lab, **more: Any) -> Manifest:
    uid = "7f6d1c1e-0000-4000-8000-000000000001"
    lab.get(CONTAINER, PROJECT, "dns")["metadata"]["uid"] = uid  # one as the API server makes them
    return {"target": {"inPlace": {"confirm": uid, **more}}}


async def test_in_place() -> None:
    lab = await backed_up()
    old = vmid(lab)
    net = lab.pve.ct(old).config["net0"]
    told = await restored(lab, **in_place(lab))
    assert told.get("phase") == "Succeeded", told
    new = vmid(lab)
    assert new != old and told["previousVmid"] == old and told["keepUntil"]
    assert lab.pve.disks[new][DATA] == "100" and lab.pve.disks[old][DATA] == "0"
    assert lab.pve.ct(new).config["net0"] == net, "the same MAC and address"
    assert lab.pve.ct(new).status == "running" and lab.pve.ct(old).status == "stopped"
    assert not lab.pve.ct(old).config.get("onboot") and "homeport-retained" in lab.pve.ct(old).config["tags"]
    assert lab.pve.ct(new).config["onboot"] in (1, "1")
    assert "mp1" in lab.pve.ct(new).config and "mp1" not in lab.pve.ct(old).config, "what backups leave out moves over"
    assert ready(lab, CONTAINER, "dns")[0] == "True"
    assert status(lab, RUN, "back-before")["phase"] == "Succeeded"
    assert len(archives(lab)) == 2 and not lab.pve.refused


# --- crashes ----------------------------------------------------------------------------------------------------------


def problems(lab: Lab, clean: Lab) -> list[str]:
    """What isn't as after the play without a crash."""
    out = []
    if begun(lab) != begun(clean):
        out.append(f"tasks begun {dict(begun(lab))}, should be {dict(begun(clean))}")
    mine, theirs = states(lab), states(clean)
    out += [
        f"{key}: {mine.get(key)}, should be {theirs.get(key)}"
        for key in {*mine, *theirs}
        if mine.get(key) != theirs.get(key)
    ]
    if lab.pve.refused:
        out.append(f"refused: {lab.pve.refused}")
    return out


def states(lab: Lab) -> dict[str, Any]:
    """What is on the host by host name, and how the objects are."""
    out: dict[str, Any] = {}
    for number, config in lab.containers().items():
        told = {
            key: value for key, value in config.items() if key in ("status", "onboot", "tags", "net0", "mp0", "mp1")
        }
        disk = lab.pve.disks.get(number, {}).get(DATA)
        entry = str((told, disk)).replace(str(number), "VMID")
        out[f"container {config.get('hostname')} {config.get('status')}"] = entry
    for kind in (RUN, RESTORE, CONTAINER):
        for (gvk, _, name), found in lab.client._objects.items():
            if gvk == kind:
                told = found.get("status") or {}
                out[f"{kind.kind} {name}"] = (told.get("phase"), told.get("step"), told.get("reason"),
                                              (lab.condition(kind, PROJECT, name))["status"])  # fmt: skip
    out["archives"] = sorted(found.get("notes", "") for found in archives(lab).values())
    return out


STORIES: dict[str, Any] = {
    "drill": lambda lab: DRILL,
    "beside": lambda lab: {},
    "in place": in_place,
}


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("story", STORIES)
async def test_killed_at_every_write(story: str) -> None:
    """To the API server as to the host, before and after it: the very same end, nothing twice, nothing orphaned."""
    start = await backed_up()
    more = STORIES[story](start)
    clean = start.clone()
    writes = (await play(clean, lambda world: world.apply([restore("back", **more)]))).gate.writes
    assert status(clean, RESTORE, "back")["phase"] == "Succeeded"
    wrong = []
    async for what, lab in killed(start, lambda world: world.apply([restore("back", **more)]), writes):
        wrong += [f"{what}: {one}" for one in problems(lab, clean)]
    assert not wrong, f"of {2 * len(writes)} points:\n" + "\n".join(wrong[:30])
