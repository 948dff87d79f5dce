"""Tasks of Proxmox VE: waited for, and looked for when nobody knows whether they were begun."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from homeport.api.conditions import Reason
from homeport.api.lxcstatus import TaskState
from homeport.outcome import Stalled, Transient, Wait
from homeport.plan.lxc import creation
from homeport.plan.lxc.common import SOON, at_work, node_of, taken, timeout, uncertain
from homeport.plan.lxc.taking_back import UNANSWERED, impossible
from homeport.plan.lxc.view import Absence, Do, Step, View
from homeport.plan.proxmox.tasks import End

POLL = (0.25, 10.0)
"""Seconds between two looks at a task, at least and at most: longer, the longer it takes."""


def follow(view: View) -> Step | None:
    """A task that was begun: wait for its end, and take down what came of it."""
    task = view.status.task
    if task is None or task.upid is None:
        return None
    found = view.task
    if found is not None and found.running:
        return Step(outcome=Wait(Reason.PROGRESSING, at_work(task), _patience(view, task)))
    if found is not None and found.end is End.FAILED and not _is_so_already(found.message):
        text = f"{at_work(task)}: {found.message}"
        if task.type == "Snapshot":
            more_text = f"{text}; leave rollback out where the storage takes no snapshots"
            return Step(outcome=Stalled(Reason.INVALID_SPEC, more_text), remember={"task": None})
        # What a creation that failed has left behind is nobody else's: its intention stays.
        left = task.model_copy(update={"upid": None}) if task.type == "Create" else None
        more = impossible(view.status, found.message) if task.type == "MoveVolume" else {}
        return Step(outcome=Transient(Reason.PROGRESSING_WITH_RETRY, text), remember={"task": left, **more})
    done = found is not None and found.end is not End.UNKNOWN
    if task.type == "Create" and not done:
        # Whether it was made shows in what is there: the intention stays.
        return Step(remember={"task": task.model_copy(update={"upid": None})}, again=True)
    return Step(remember={"task": None, **(_effects(view, task) if done else {})}, again=True)


def _is_so_already(message: str) -> bool:
    return any(words in message for words in ("already running", "not running", "already at specified size"))


def _patience(view: View, task: TaskState) -> float:
    try:
        age = (view.now - datetime.fromisoformat(task.since)).total_seconds()
    except ValueError:
        age = 0.0
    return min(max(POLL[0], age / 3), POLL[1])


def _effects(view: View, task: TaskState) -> dict[str, Any]:
    """What the end of a task means for what is remembered."""
    if task.type == "Create":
        return {
            "created": True,
            "template": task.detail or view.place.template,
            "last_restart_at": view.spec.restart_at,
        }
    if task.type == "Reboot":
        return _rebooted(view, task)
    return {}


def _rebooted(view: View, task: TaskState) -> dict[str, Any]:
    return {"rebooted_for": task.detail, "last_restart_at": view.spec.restart_at}


def make(view: View) -> Step | None:
    """A creation that was written down: look whether it has happened, and else ask for it."""
    task, seen = view.status.task, view.seen
    if task is None or task.type != "Create":
        return None
    if seen.here:
        if seen.lock == "create":
            return broken_off(view) or unanswered(view) or taken(view)
        if view.mine:
            return Step(remember={"task": None, **_effects(view, task)}, again=True)
        return taken(view)
    if seen.absence is Absence.HIDDEN:
        return unanswered(view) or taken(view)
    if seen.absence is Absence.UNCERTAIN and not seen.free:
        return uncertain(view)
    if task.detail != view.place.template:
        return _otherwise(view, task)
    moved = view.status.replacing is not None
    try:
        params = creation.creation(view.wanted, without_mounts=moved)
    except ValueError as error:
        return Step(outcome=Stalled(Reason.INVALID_SPEC, str(error)))
    if moved:
        # The old one may be started with the node, and has the same address.
        params.pop("onboot", None)
    return Step(Do.CREATE, Wait(Reason.PROGRESSING, at_work(task), SOON), vmid=task.vmid, node=task.node, params=params,
                detail=task.detail or "")  # fmt: skip


def _otherwise(view: View, task: TaskState) -> Step:
    """It is to be made of something else than was written down: that is written down first. What was asked for in the
    meantime, and isn't there, may come yet."""
    age = (view.now - datetime.fromisoformat(task.since)).total_seconds()
    if age <= UNANSWERED:
        text = f"{at_work(task)} of {task.detail}: looks whether it comes, for it is to be made of another template"
        return Step(outcome=Wait(Reason.PROGRESSING, text, UNANSWERED - age + 1.0))
    text = f"container {task.vmid} is made of another template"
    return Step(outcome=Wait(Reason.PROGRESSING, text, SOON), remember={"task": None})


def unanswered(view: View) -> Step | None:
    """A creation that may have been asked for, and of which nobody has written down an answer. What is being made is
    out of the sight of a token that sees a pool only, until it is done: its task isn't. None: nothing was made."""
    task, found = view.status.task, view.asked.task
    if task is None or task.type != "Create" or view.asked.hopeless:
        return None
    if found is not None and found.running:
        return Step(remember={"task": task.model_copy(update={"upid": str(found.upid)})}, again=True)
    if found is None:
        return Step(outcome=Wait(Reason.PROGRESSING, f"{at_work(task)}: looks what came of it", 2.0))
    if view.seen.absence is Absence.GONE:
        return None
    text = (
        f"container {task.vmid} was begun on {task.node} ({found.message or 'its task has ended'}), and the token may "
        f"not see it; grant it VM.Audit on /vms/{task.vmid}, or remove the container"
    )
    return Step(outcome=Wait(Reason.ACCESS_DENIED, text, 30.0))


def broken_off(view: View) -> Step | None:
    """Its making holds a lock: for as long as that is at work, and for ever when its node broke off in the middle."""
    task = view.status.task
    assert task is not None
    if view.seen.busy:
        return Step(outcome=Wait(Reason.PROGRESSING, at_work(task), 2.0))
    if view.asked.task is None or view.asked.task.running:
        return None
    text = (
        f"the creation of container {task.vmid} was broken off, and the API can't take its lock away; run on "
        f"{node_of(view)}: pct unlock {task.vmid}; pct destroy {task.vmid}; the rest follows by itself"
    )
    return Step(outcome=Stalled(Reason.LOCKED, text))


def reboot_asked(view: View) -> Step | None:
    """A reboot that was written down: whether it has happened shows in how long the container runs."""
    task, seen = view.status.task, view.seen
    if task is None or task.type != "Reboot" or not seen.here:
        return None
    uptime = seen.guest.uptime if seen.guest is not None else None
    age = (view.now - datetime.fromisoformat(task.since)).total_seconds()
    if not seen.running or (uptime is not None and uptime < age - 1):
        return Step(remember={"task": None, **_rebooted(view, task)}, again=True)
    if not view.mine or seen.lock:
        return Step(remember={"task": None}, again=True)
    params = {"timeout": timeout(view)}
    return Step(
        Do.REBOOT, Wait(Reason.PROGRESSING, at_work(task), SOON), vmid=task.vmid, node=node_of(view), params=params,
        detail=task.detail or "",
    )  # fmt: skip
