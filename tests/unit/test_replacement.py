"""Replacing a container: what is seen in each phase, and what is done about it. Values only; no host."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from homeport.api.conditions import Reason
from homeport.api.lxccontainer import LXCContainerSpec
from homeport.api.lxcstatus import LXCContainerStatus
from homeport.outcome import Stalled, Wait
from homeport.plan.lxc import owner, steps, taking_back
from homeport.plan.lxc.owner import Owner
from homeport.plan.lxc.view import Absence, Do, Health, Seen, View
from homeport.plan.lxc.wanted import Place, wanted
from homeport.plan.proxmox.config import container_config
from homeport.plan.proxmox.readings import guest
from homeport.plan.proxmox.tasks import End, TaskStatus, Upid

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MOUNTS = [{"name": "data", "path": "/d", "storage": "lv", "size": "1Gi"}]
KNOWN = [{"name": "data", "id": "mp0", "volume": "lv:subvol-100-disk-1"}]
DATA = "lv:subvol-100-disk-1,mp=/d,size=1G"
A, B, C = ("lv:vztmpl/a.tar", "lv:vztmpl/b.tar", "lv:vztmpl/c.tar")
IMAGE = {"template": None, "software": {"image": "nginx:2"}}
GONE, UNCERTAIN, HIDDEN = (Seen(absence=absence, free=absence is Absence.GONE) for absence in Absence)
UPID = "UPID:n1:00000001:00000002:00000003:move_volume:100:root@pam!t:"


def seen(vmid: int, state: str = "stopped", mark: str | None = None, snapshots: Any = None, **config: Any) -> Seen:
    """A container that is there, marked as this one's."""
    mine = Owner("i", "ns", "db", vmid)
    base = {"digest": "d", "description": owner.described("", mine) if mark is None else mark, "hostname": "db",
            "memory": 512, "swap": 512, "tags": "homeport", "unprivileged": 1,
            "rootfs": f"lv:subvol-{vmid}-disk-0,size=8G"}  # fmt: skip
    found = guest({"vmid": vmid, "type": "lxc", "node": "n1", "status": state, "uptime": 100})
    return Seen(found, container_config({**base, **config}), snapshots=snapshots or {})


def replacing(phase: str, **more: Any) -> dict[str, Any]:
    """100 is replaced by 101; it was made of A."""
    return {"vmid": 100, "node": "n1", "phase": phase, "reason": "template", "template": A, **more}


def view(spec: dict[str, Any], status: dict[str, Any], template: str = B, **more: Any) -> View:
    """What is known of container 101, which was made of B, of LXCContainer db."""
    base = {"hostRef": {"name": "h"}, "template": "x", "rootfs": {"storage": "lv", "size": "8Gi"}, "networks": []}
    declared = LXCContainerSpec.model_validate(
        {key: value for key, value in {**base, **spec}.items() if value is not None}
    )
    told = LXCContainerStatus.model_validate({"vmid": 101, "created": True, "template": B, **status})
    place = Place("h", "n1", Owner("i", "ns", "db", told.vmid or 0), storage="lv", template=template)
    return View("db", declared, told, place, wanted("db", declared, place), now=NOW, **{"seen": seen(101), **more})


# --- nothing of ours is forgotten, and no mount is replaced by an empty one -------------------------------------------


@pytest.mark.parametrize("policy", ["Stall", "Recreate"])
@pytest.mark.parametrize("phase", ["Creating", "Moving", "Starting", "Cleaning"])
def test_what_may_not_be_seen_is_not_gone(policy: str, phase: str) -> None:
    new = seen(101, "running", mp0=DATA) if phase in ("Starting", "Cleaning") else seen(101)
    now = view({"mounts": MOUNTS, "onMissing": policy}, {"mounts": KNOWN, "replacing": replacing(phase)}, seen=new,
               old=HIDDEN)  # fmt: skip
    step = steps.next_step(now)
    assert (step.do, step.remember) == (Do.NOTHING, {})
    assert isinstance(step.outcome, Stalled) and step.outcome.reason == Reason.ACCESS_DENIED
    assert "VM.Audit on /vms/100" in step.outcome.message


@pytest.mark.parametrize("phase", ["Creating", "Moving", "Starting"])
def test_what_has_lost_its_mark_is_not_gone(phase: str) -> None:
    new = seen(101, "running", mp0=DATA) if phase == "Starting" else seen(101)
    now = view({"mounts": MOUNTS, "onMissing": "Recreate"}, {"mounts": KNOWN, "replacing": replacing(phase)},
               seen=new, old=seen(100, mark="by hand", mp0=DATA))  # fmt: skip
    step = steps.next_step(now)
    assert (step.do, step.remember) == (Do.NOTHING, {})
    assert isinstance(step.outcome, Stalled) and "homeport.dev/owner=i/ns/db/100" in step.outcome.message


def test_what_nobody_can_see_now_is_waited_for() -> None:
    step = steps.next_step(view({}, {"replacing": replacing("Creating")}, old=UNCERTAIN))
    assert isinstance(step.outcome, Wait) and step.outcome.reason == Reason.NODE_OFFLINE and not step.remember


def test_what_is_gone_with_its_volumes_is_asked_for() -> None:
    now = view({"mounts": MOUNTS}, {"mounts": KNOWN, "replacing": replacing("Moving")}, old=GONE)
    step = steps.next_step(now)
    assert isinstance(step.outcome, Stalled) and step.outcome.reason == Reason.MISSING
    # What was moved before isn't missed.
    now = view({"mounts": MOUNTS}, {"mounts": KNOWN, "replacing": replacing("Moving")}, old=GONE,
               seen=seen(101, mp0=DATA))  # fmt: skip
    assert steps.next_step(now).remember["replacing"].phase == "Starting"


def test_the_old_one_is_forgotten_when_it_is_seen_to_be_let_go() -> None:
    running = seen(101, "running")
    kept = steps.next_step(view({}, {"replacing": replacing("Starting")}, seen=running, old=seen(100, onboot=1)))
    assert kept.do is Do.CONFIGURE and kept.params["onboot"] == "0" and not kept.remember, "it may be refused"
    assert kept.params["tags"] == "homeport-retained"
    marked = seen(100, mark=str(kept.params["description"]))
    after = steps.next_step(view({}, {"replacing": replacing("Starting")}, seen=running, old=marked))
    assert after.remember == {"replacing": None, "kept": (100,)}
    gone = steps.next_step(view({}, {"replacing": replacing("Cleaning")}, seen=running, old=GONE))
    assert gone.remember == {"replacing": None}


@pytest.mark.parametrize(
    ("spec", "state", "more", "old", "do"),
    [
        ({}, {}, {}, seen(100), Do.CONFIGURE),
        ({}, {}, {"confirmed": "100"}, seen(100), Do.DESTROY),
        ({}, {}, {"confirmed": "db"}, seen(100), Do.CONFIGURE),
        ({}, {"back": "Unused"}, {}, seen(100), Do.DESTROY),
        ({}, {"back": "Tried"}, {}, seen(100), Do.CONFIGURE),
        (IMAGE, {}, {}, seen(100), Do.DESTROY),
        (IMAGE, {}, {}, seen(100, unused0="lv:subvol-100-disk-7"), Do.CONFIGURE),
        (IMAGE, {}, {}, seen(100, protection=1), Do.CONFIGURE),
    ],
)
def test_a_root_disk_goes_only_if_it_is_an_images(
    spec: dict[str, Any], state: dict[str, Any], more: dict[str, Any], old: Seen, do: Do
) -> None:
    now = view(spec, {"replacing": replacing("Starting", **state)}, seen=seen(101, "running"), old=old, **more)
    step = steps.next_step(now)
    assert (step.do, step.vmid) == (do, 100)


# --- it is stopped when its mounts can be moved -----------------------------------------------------------------------


def test_snapshots_are_told_before_anything_is_stopped() -> None:
    held = {"before-upgrade": frozenset({"lv:subvol-100-disk-1"})}
    old = seen(100, "running", mp0=DATA, snapshots=held)
    step = steps.next_step(view({"mounts": MOUNTS}, {"mounts": KNOWN, "replacing": replacing("Creating")}, old=old))
    assert step.do is Do.NOTHING and isinstance(step.outcome, Wait) and "before-upgrade" in step.outcome.message
    other = seen(100, "running", mp0=DATA, snapshots={"older": frozenset({"lv:subvol-100-disk-9"})})
    step = steps.next_step(view({"mounts": MOUNTS}, {"mounts": KNOWN, "replacing": replacing("Creating")}, old=other))
    assert (step.do, step.vmid) == (Do.SHUTDOWN, 100)


def test_the_stopped_one_is_not_started_with_its_node() -> None:
    old = seen(100, mp0=DATA, onboot=1)
    step = steps.next_step(view({"mounts": MOUNTS}, {"mounts": KNOWN, "replacing": replacing("Creating")}, old=old))
    assert (step.do, step.vmid, step.params, step.digest) == (Do.CONFIGURE, 100, {"onboot": "0"}, "d")


@pytest.mark.parametrize(
    ("message", "for_good"),
    [
        ("Cannot move volume used by a snapshot to another container", True),
        ("Storage does not support moving of this disk to another container", True),
        ("CT is locked (backup)", False),
        ("got timeout", False),
    ],
)
def test_a_move_that_will_never_be_goes_back(message: str, for_good: bool) -> None:
    task = {"type": "MoveVolume", "vmid": 100, "node": "n1", "upid": UPID, "since": "2026-01-01T00:00:00Z"}
    ended = TaskStatus(Upid.parse(UPID), End.FAILED, message)
    state = {"mounts": KNOWN, "replacing": replacing("Moving"), "task": task}
    step = steps.next_step(view({"mounts": MOUNTS}, state, old=seen(100, mp0=DATA), task=ended))
    assert ("replacing" in step.remember) == for_good
    if not for_good:
        return
    problem = step.remember["replacing"].model_dump(by_alias=True, exclude_none=True)
    now = view({"mounts": MOUNTS}, {"mounts": KNOWN, "replacing": problem}, old=seen(100, mp0=DATA))
    back = steps.next_step(now)
    assert back.remember["vmid"] == 100 and back.remember["template"] == A and back.remember["created"] is True
    assert (back.remember["replacing"].vmid, back.remember["replacing"].back) == (101, "Unused")
    assert message in back.remember["refused"].message


def test_what_the_host_refused_is_tried_again_only_when_asked() -> None:
    state = {"refused": {"template": B, "message": "no"}, "template": A, "vmid": 100}
    now = view(IMAGE, state, seen=seen(100, "running"), software_changed=True)
    step = steps.next_step(now)
    assert not step.remember.get("replacing") and isinstance(step.outcome, Stalled)
    assert "replace-at" in step.outcome.message and "no" in step.outcome.message
    for change in ({"replace_at": "again"}, {"template": C}):
        begun = steps.next_step(view(IMAGE, state, seen=seen(100, "running"), software_changed=True, **change))
        assert begun.remember["replacing"].vmid == 100 and begun.remember["refused"] is None


# --- a wish that is none any more, and one that doesn't work ----------------------------------------------------------


def test_what_is_not_wanted_any_more_is_given_up_while_nothing_is_there() -> None:
    task = {"type": "Create", "vmid": 101, "node": "n1", "since": "2025-12-31T23:00:00Z", "detail": B}
    state = {"created": None, "template": None, "replacing": replacing("Creating"), "task": task}
    step = steps.next_step(view({}, state, seen=GONE, old=seen(100, "running"), old_fits=True))
    told = {key: step.remember[key] for key in ("vmid", "created", "template", "replacing", "task")}
    assert told == {"vmid": 100, "created": True, "template": A, "replacing": None, "task": None}
    # It is still wanted; or the request may be under way.
    step = steps.next_step(view({}, state, seen=GONE, old=seen(100, "running")))
    assert step.do is Do.CREATE
    late = {**state, "task": {**task, "since": "2025-12-31T23:59:50Z"}}
    step = steps.next_step(view({}, late, seen=GONE, old=seen(100, "running"), old_fits=True))
    assert step.do is Do.NOTHING and not step.remember and isinstance(step.outcome, Wait)


@pytest.mark.parametrize("phase", ["Creating", "Moving", "Starting"])
def test_they_change_places_when_the_old_one_is_wanted(phase: str) -> None:
    new = seen(101, "running" if phase == "Starting" else "stopped")
    step = steps.next_step(view({}, {"replacing": replacing(phase)}, template=A, seen=new, old=seen(100),
                                health=Health(None), old_fits=True))  # fmt: skip
    other = step.remember["replacing"]
    assert (step.remember["vmid"], step.remember["template"]) == (100, A)
    assert (other.vmid, other.template, other.phase) == (101, B, "Moving")
    assert other.back == ("Tried" if phase == "Starting" else "Unused")


def test_a_bad_rollout_goes_on_to_a_good_one() -> None:
    bad = {"seen": seen(101, "running", mp0=DATA), "health": Health(False, "crashes")}
    spec, state = {**IMAGE, "mounts": MOUNTS}, {"mounts": KNOWN, "replacing": replacing("Starting")}
    back = steps.next_step(view(spec, state, template=C, old=seen(100), software_changed=True, **bad))
    assert back.remember["vmid"] == 100 and back.remember["replacing"].vmid == 101
    # Its mounts go back, it is started, the bad one goes without being asked how the old one is; then comes the next.
    turned = {"vmid": 100, "template": A, "mounts": KNOWN}
    going = {"vmid": 101, "node": "n1", "reason": "x", "template": B, "back": "Tried"}

    def at(phase: str, old: Seen, now: Seen, **more: Any) -> Any:
        told = {**turned, "replacing": {**going, "phase": phase}}
        return steps.next_step(view(spec, told, template=C, seen=now, old=old, software_changed=True, **more))

    assert at("Moving", seen(101, "running", mp0=DATA), seen(100)).do is Do.SHUTDOWN
    step = at("Moving", seen(101, mp0=DATA), seen(100))
    assert (step.do, step.vmid, step.params["target-vmid"]) == (Do.MOVE, 101, 100)
    assert at("Moving", seen(101), seen(100, mp0=DATA)).remember["replacing"].phase == "Starting"
    assert (at("Starting", seen(101), seen(100, mp0=DATA)).do) is Do.START
    step = at("Starting", seen(101), seen(100, "running", mp0=DATA), health=Health(None))
    assert (step.do, step.vmid) == (Do.DESTROY, 101)
    step = steps.next_step(view(spec, turned, template=C, seen=seen(100, "running", mp0=DATA), software_changed=True))
    assert step.remember["replacing"].vmid == 100 and step.remember["replacing"].phase == "Creating"


def test_a_rollout_that_is_well_is_not_taken_back() -> None:
    now = view(IMAGE, {"replacing": replacing("Starting")}, template=C, seen=seen(101, "running"),
               health=Health(True), old=seen(100), software_changed=True)  # fmt: skip
    step = steps.next_step(now)
    assert (step.do, step.vmid) == (Do.DESTROY, 100)


def test_somebody_deletes_the_new_one() -> None:
    state = {"mounts": KNOWN, "replacing": replacing("Starting")}
    step = steps.next_step(view({"mounts": MOUNTS}, state, seen=GONE, old=seen(100, mp0=DATA)))
    assert step.remember["vmid"] == 100 and step.remember["replacing"] is None
    # Its volumes went with it: that is asked about.
    step = steps.next_step(view({"mounts": MOUNTS}, state, seen=GONE, old=seen(100)))
    assert isinstance(step.outcome, Stalled) and step.outcome.reason == Reason.MISSING
    step = steps.next_step(view({"mounts": MOUNTS, "onMissing": "Recreate"}, state, seen=GONE, old=seen(100)))
    assert step.remember["vmid"] == 100


# --- what is written down ---------------------------------------------------------------------------------------------


def test_the_template_is_the_one_that_it_was_made_of() -> None:
    task = {"type": "Create", "vmid": 101, "node": "n1", "since": "2025-12-31T23:00:00Z", "detail": A}
    state = {"created": None, "template": None, "task": task}
    assert steps.next_step(view({}, state, template=B, seen=seen(101))).remember["template"] == A
    ended = TaskStatus(Upid.parse(UPID), End.OK)
    begun = {**state, "task": {**task, "upid": UPID}}
    assert steps.next_step(view({}, begun, template=B, seen=seen(101), task=ended)).remember["template"] == A
    # What isn't there is made of what is wanted now, once that is written down.
    step = steps.next_step(view({}, state, template=B, seen=GONE))
    assert step.do is Do.NOTHING and step.remember == {"task": None}
    written = steps.next_step(view({}, {"created": None, "template": None}, template=B, seen=GONE)).remember["task"]
    assert written.detail == B


def test_a_trial_is_forgotten_when_what_was_there_is_there_again() -> None:
    trial = {"hash": "h", "since": "2025-12-31T23:00:00Z", "options": {"memory": "512", "cores": ""}}
    state = {"trial": trial, "reverted": {"hash": "h", "message": "unwell"}}
    step = steps.next_step(view({"memory": "1Gi"}, state, seen=seen(101, "running", memory=1024, cores=2)))
    assert step.do is Do.CONFIGURE and step.params == {"memory": "512", "delete": "cores"}
    assert "trial" not in step.remember, "the request may fail"
    step = steps.next_step(view({"memory": "1Gi"}, state, seen=seen(101, "running")))
    assert step.remember == {"trial": None}


@pytest.mark.parametrize("old", [HIDDEN, UNCERTAIN])
def test_what_is_replaced_is_not_left_unseen(old: Seen) -> None:
    state = {"created": None, "template": None, "replacing": replacing("Creating")}
    step = steps.last_step(view({}, state, seen=GONE, old=old))
    assert isinstance(step.outcome, Stalled | Wait)


def test_undone_is_as_before() -> None:
    status = LXCContainerStatus.model_validate({"vmid": None, "replacing": replacing("Creating", adopted=True)})
    after = status.model_copy(update=taking_back.undone(status))
    assert (after.vmid, after.created, after.adopted, after.template, after.replacing) == (100, True, True, A, None)
