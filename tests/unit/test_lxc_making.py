"""What is done about a creation whose answer nobody has, or that was broken off: pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from homeport.api.lxccontainer import LXCContainerSpec
from homeport.api.lxcstatus import LXCContainerStatus, TaskState
from homeport.api.resource import parse_spec
from homeport.outcome import Ok, Stalled, Wait
from homeport.plan.lxc import owner, steps
from homeport.plan.lxc.owner import Owner
from homeport.plan.lxc.view import Absence, Asked, Do, Seen, View
from homeport.plan.lxc.wanted import Place, wanted
from homeport.plan.proxmox.config import container_config
from homeport.plan.proxmox.readings import guest
from homeport.plan.proxmox.tasks import End, TaskStatus, Upid

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ME = Owner("inst", "homelab", "dns", 2000)
UPID = Upid.parse("UPID:n1:0000C350:00055730:6955B900:vzcreate:2000:homeport@pve!operator:")
CREATE = {"type": "Create", "vmid": 2000, "node": "n1", "since": "2025-12-31T23:59:00Z"}
HIDDEN, GONE = Seen(absence=Absence.HIDDEN), Seen(absence=Absence.GONE, free=True)
NOTHING_YET, NOTHING_EVER = Asked(), Asked(hopeless=True)
RUNS, ENDED = Asked(TaskStatus(UPID, End.RUNNING)), Asked(TaskStatus(UPID, End.UNKNOWN, "unexpected status"))


def stuck(*, busy: bool) -> Seen:
    """A container in its making."""
    raw = {"vmid": 2000, "type": "lxc", "node": "n1", "status": "stopped"}
    return Seen(guest(raw), container_config({"digest": "x", "lock": "create"}), busy=busy)


def view(seen: Seen, asked: Asked = NOTHING_YET, written: dict[str, Any] | None = CREATE, **more: Any) -> View:
    """A container that is to be made."""
    body = {"hostRef": {"name": "lab"}, "template": "debian-12", "rootfs": {"storage": "lv", "size": "8Gi"}}
    spec = parse_spec(LXCContainerSpec, {**body, **more.pop("spec", {})})
    status = LXCContainerStatus.model_validate({"vmid": 2000, "host": "lab", "task": written, **more.pop("status", {})})
    place = Place("lab", "n1", ME, storage="lv", template="lv:vztmpl/debian-12.tar")
    return View("dns", spec, status, place, wanted("dns", spec, place), seen, NOW, asked=asked, **more)


def test_what_a_token_cannot_see_yet_is_not_made_twice() -> None:
    for decide in (steps.next_step, steps.last_step):
        step = decide(view(HIDDEN))
        assert isinstance(step.outcome, Wait) and step.outcome.after and not step.remember, "the request is under way"
        step = decide(view(HIDDEN, RUNS))
        assert step.remember == {"task": TaskState.model_validate({**CREATE, "upid": str(UPID)})} and step.again
        step = decide(view(HIDDEN, ENDED))
        assert isinstance(step.outcome, Wait) and "VM.Audit on /vms/2000" in step.outcome.message
        assert not step.remember and step.do is Do.NOTHING


def test_another_vmid_is_chosen_only_when_nothing_was_made() -> None:
    step = steps.next_step(view(HIDDEN, NOTHING_EVER))
    assert step.remember == {"task": None, "vmid": None}
    assert steps.last_step(view(HIDDEN, NOTHING_EVER)).outcome == Ok()


def test_who_leaves_waits_for_what_was_asked_for() -> None:
    step = steps.last_step(view(GONE))
    assert isinstance(step.outcome, Wait) and step.outcome.after
    assert steps.last_step(view(GONE, RUNS)).again
    assert steps.last_step(view(GONE, ENDED)).outcome == Ok(), "it failed, and cleaned up"
    assert steps.last_step(view(GONE, NOTHING_EVER)).outcome == Ok()


def test_a_creation_that_is_lost_with_its_task_is_looked_for() -> None:
    begun = {**CREATE, "upid": str(UPID)}
    for stands in (None, TaskStatus(UPID, End.UNKNOWN)):
        step = steps.next_step(view(GONE, written=begun, task=stands))
        assert step.remember == {"task": TaskState.model_validate(CREATE)} and step.again


def test_the_lock_of_a_creation_that_was_broken_off_is_told() -> None:
    for decide in (steps.next_step, steps.last_step):
        assert isinstance(decide(view(stuck(busy=True))).outcome, Wait)
        step = decide(view(stuck(busy=False), ENDED))
        assert isinstance(step.outcome, Stalled) and "pct unlock 2000; pct destroy 2000" in step.outcome.message
        assert decide(view(stuck(busy=False), RUNS)).again
    # Somebody else's: it isn't ours to tell, and not ours to wait for.
    assert steps.next_step(view(stuck(busy=False), NOTHING_EVER)).remember == {"task": None, "vmid": None}
    assert isinstance(steps.last_step(view(stuck(busy=False), NOTHING_EVER)).outcome, Ok)


def test_a_mark_that_is_gone_is_missed_also_on_one_that_was_adopted() -> None:
    raw = {"vmid": 2000, "type": "lxc", "node": "n1", "status": "running"}
    theirs = Seen(guest(raw), container_config({"digest": "x", "hostname": "dns", "description": "payroll"}))
    adopt = {"spec": {"vmid": 2000, "adopt": {"expectHostname": "dns"}}}
    taken = {"created": True, "adopted": True}
    step = steps.next_step(view(theirs, written=None, status=taken, **adopt))
    assert isinstance(step.outcome, Stalled) and "lost the mark" in step.outcome.message and step.do is Do.NOTHING
    # Before it was taken over, the mark goes onto what was judged, and nothing else does.
    step = steps.next_step(view(theirs, written=None, **adopt))
    assert (step.do, step.digest) == (Do.CONFIGURE, "x")
    assert step.params == {"description": owner.described("payroll", ME)} and "created" not in step.remember
    assert isinstance(steps.next_step(view(theirs, written=None, may_adopt="no", **adopt)).outcome, Stalled)
