"""A replacement that isn't wanted any more, or can't go on: the old container gets its place back. Pure.

As long as the new one isn't there, it is as if nothing had been begun. Later the two change places: the way back is
the same as the one there (mounts are moved, one is started, the other goes), so that it is as safe. To another spec the
way is over the old one, too: a service that was well runs again in the meantime, and there are never more than two.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from homeport.api.conditions import Reason
from homeport.api.lxcstatus import LXCContainerStatus, Refusal, Replacement
from homeport.outcome import Wait
from homeport.plan.lxc import diff, owner
from homeport.plan.lxc.common import SOON, node_of
from homeport.plan.lxc.view import Absence, Step, View
from homeport.plan.lxc.wanted import Wanted
from homeport.plan.proxmox.config import ContainerConfig

UNANSWERED = 60.0
"""Seconds after which a request that nobody has an answer to isn't under way any more."""
_FOR_GOOD = ("used by a snapshot", "does not support", "replication", "bindmount", "Both containers need to be")
"""What Proxmox VE says of a move that will never be (pve-container ``API2/LXC.pm``, ``move_volume``)."""


def impossible(status: LXCContainerStatus, message: str) -> dict[str, Any]:
    """What to remember of a move that failed; empty when it may be tried again."""
    if status.replacing is None or not any(words in message for words in _FOR_GOOD):
        return {}
    return {"replacing": status.replacing.model_copy(update={"problem": message[:1024]})}


def old_owner(view: View) -> owner.Owner:
    """The mark of the old one."""
    assert view.status.replacing is not None
    return view.wanted.owner._replace(vmid=view.status.replacing.vmid)


def old_is_ours(view: View) -> bool:
    """Whether the old one is there, and this one's."""
    old = view.old
    return old.here and old.config is not None and owner.is_ours(old.config.description, old_owner(view))


def unwell(view: View) -> bool:
    """Whether it should run, and doesn't, or doesn't well, or nobody knows yet."""
    if view.finished or view.wants_running is False:
        return False
    if not view.seen.running:
        return view.wants_running is True
    return view.health.asked and view.health.well is not True


def fits(wanted: Wanted, config: ContainerConfig, template: str | None) -> bool:
    """Whether a container that was made of ``template`` is what is wanted, or can be changed to it."""
    return not diff.compare(wanted, config, running=False, template=template).recreate


def undone(status: LXCContainerStatus) -> dict[str, Any]:
    """What to remember so that the old one is the one again, and nothing else was ever asked for."""
    old = status.replacing
    assert old is not None
    fresh = dict.fromkeys(("replacing", "task", "trial", "started_at"))
    return {**fresh, "vmid": old.vmid, "node": old.node, "created": True, "adopted": old.adopted,
            "template": old.template, "software": old.software}  # fmt: skip


def give_up(view: View) -> Step | None:
    """A creation was written down, and isn't wanted any more: nothing of it is there, or will be."""
    replacing, task = view.status.replacing, view.status.task
    if replacing is None or view.status.created or not view.old_fits or not old_is_ours(view):
        return None
    if task is not None and (task.upid is not None or view.seen.absence is not Absence.GONE):
        return None
    if task is not None and task.type == "Create":
        age = (view.now - datetime.fromisoformat(task.since)).total_seconds()
        if age <= UNANSWERED:
            text = f"container {task.vmid} isn't wanted any more; looks whether it comes nevertheless"
            return Step(outcome=Wait(Reason.PROGRESSING, text, UNANSWERED - age + 1.0))
    if task is None and view.seen.here and view.mine:
        return None
    text = f"container {replacing.vmid} is as wanted, and isn't replaced"
    return Step(outcome=Wait(Reason.PROGRESSING, text, SOON), remember=undone(view.status))


def abandoned(view: View) -> Step | None:
    """Somebody has deleted the new one. The old one is there: nothing is lost with it but what was moved."""
    replacing = view.status.replacing
    if replacing is None or not view.status.created or view.seen.guest is not None:
        return None
    if view.seen.absence is not Absence.GONE or not old_is_ours(view):
        return None
    assert view.old.config is not None
    lost = [state for state in view.status.mounts if not state.retained and state.id not in view.old.config.mounts]
    if lost and view.spec.on_missing != "Recreate":
        return None
    text = f"container {view.wanted.owner.vmid} was deleted by somebody; goes back to container {replacing.vmid}"
    return Step(outcome=Wait(Reason.PROGRESSING, text, SOON), remember=undone(view.status))


def go_back(view: View) -> Step | None:
    """The new one is there, isn't well (yet), and isn't what is wanted any more, or can't get the mounts."""
    replacing = view.status.replacing
    if replacing is None or replacing.back or not view.status.created or not old_is_ours(view):
        return None
    if replacing.phase == "Cleaning" or (replacing.phase == "Starting" and not unwell(view)):
        return None
    other = view.software_changed or bool(view.diff.recreate)
    wanted = other and (view.software_changed or view.asked_to_replace or view.old_fits)
    if not wanted and not replacing.problem:
        return None
    told = replacing.problem or "something else is wanted"
    text = f"goes back from container {view.wanted.owner.vmid} to {replacing.vmid}: {told}"
    remember = {**undone(view.status), "replacing": _other(view, replacing, told)}
    if replacing.problem:
        remember["refused"] = Refusal(template=view.status.template, message=replacing.problem)
    return Step(outcome=Wait(Reason.PROGRESSING, text, SOON), remember=remember)


def _other(view: View, replacing: Replacement, why: str) -> Replacement:
    status = view.status
    return Replacement(
        vmid=view.wanted.owner.vmid, node=node_of(view), phase="Moving", reason=why[:1024], template=status.template,
        software=status.software, adopted=status.adopted,
        back="Tried" if replacing.phase == "Starting" else "Unused",
    )  # fmt: skip
