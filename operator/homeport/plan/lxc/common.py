"""What the rules about a container share: words, times, and the steps that more than one of them takes."""

from __future__ import annotations

from datetime import UTC

from homeport.api.conditions import Reason
from homeport.api.lxcstatus import TaskState
from homeport.api.software import Software, SoftwareStatus
from homeport.outcome import Stalled, Wait
from homeport.plan.agent import hostclaim
from homeport.plan.lxc import owner
from homeport.plan.lxc.view import Do, Step, View
from homeport.plan.names import seconds

SHUTDOWN = "60s"
"""How long a container gets to shut down, unless it says otherwise."""
SOON = 0.0
SNAPSHOT = "homeport-"
"""How the names of snapshots begin that are taken before a risky change, where that is asked for."""
MISSING_AGAIN = 30.0

_WORDS = {
    "Create": "creating", "Start": "starting", "Shutdown": "shutting down", "Reboot": "rebooting",
    "Resize": "growing a disk of", "MoveVolume": "moving a volume of", "Destroy": "destroying",
    "Snapshot": "taking a snapshot of", "Rollback": "rolling back", "DeleteSnapshot": "removing a snapshot of",
}  # fmt: skip


def at_work(task: TaskState) -> str:
    """What a task does, in words."""
    return f"{_WORDS[task.type]} container {task.vmid} on {task.node}"


def stamp(view: View) -> str:
    """Now, as it is written down."""
    return view.now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def node_of(view: View) -> str:
    """The node that it is on; the one that it is to be made on, while it isn't there."""
    return view.seen.guest.node if view.seen.guest is not None else view.place.node


def timeout(view: View) -> int:
    """Seconds that it gets to shut down."""
    software = view.spec.software
    if view.spec.shutdown_timeout is None and software is not None:
        # Homeport's init, or the image's own process, has this long; a little more for the container itself.
        return _grace(software) + 10
    return max(1, round(seconds(view.spec.shutdown_timeout or SHUTDOWN)))


def _grace(software: Software) -> int:
    """Seconds that its processes get: of several, those that wait for each other one after the other."""
    own = {one.name: one.termination_grace_period_seconds or 30 for one in software.processes or ()}
    if not own:
        return software.termination_grace_period_seconds or 30
    until = dict(own)
    for _ in own:
        for one in software.processes or ():
            for needed in one.depends_on or ():
                until[needed] = min(max(until[needed], until[one.name] + own[needed]), sum(own.values()))
    return max(until.values())


def shutdown(view: View, vmid: int, node: str) -> Step:
    """Stop a container: it gets its time, and then it is killed."""
    params = {"timeout": timeout(view), "forceStop": 1}
    outcome = Wait(Reason.PROGRESSING, f"shuts down container {vmid} on {node}", SOON)
    return Step(Do.SHUTDOWN, outcome, vmid=vmid, node=node, params=params)


def taken(view: View) -> Step:
    """Somebody else has the VMID."""
    vmid = view.wanted.owner.vmid
    if view.spec.vmid is None:
        text = f"VMID {vmid} was taken meanwhile; another one is chosen"
        remember = {"task": None, "vmid": None}
        return Step(outcome=Wait(Reason.PROGRESSING, text, SOON), remember=remember)
    return Step(outcome=Stalled(Reason.NAME_TAKEN, whose(view)), remember={"task": None})


def whose(view: View) -> str:
    """Whose what is at its VMID is, and what to do."""
    vmid, found = view.wanted.owner.vmid, view.seen
    if found.config is None:
        kind = f"a guest that isn't a container ({found.guest.name})" if found.guest is not None else "a guest"
        return f"VMID {vmid} on {view.place.host} is taken by {kind}; write another vmid, or none"
    whose = owner.holder(found.config.description)
    text = f"container {vmid} on {view.place.host} belongs to {whose}; it isn't touched. Write another vmid, or none"
    kept = owner.kept_elsewhere(found.config.description, view.wanted.owner.namespace)
    if kept is not None:
        return (
            f"container {vmid} on {view.place.host} was kept when {kept.shown} was deleted, and isn't this namespace's "
            "to take over; to give it away, an administrator removes the line homeport.dev/retained from its "
            "description, and the tag homeport-retained"
        )
    if owner.is_free(found.config.description, view.wanted.owner.namespace) and not view.may_adopt:
        text += f"; to take it over, write adopt: {{expectHostname: {hostclaim.shown(found.config.hostname)}}}"
    return text


def uncertain(view: View) -> Step:
    """Nobody can tell whether it is there."""
    vmid, host = view.wanted.owner.vmid, view.place.host
    if view.seen.offline:
        where = f"node {', '.join(view.seen.offline)} of {host} is offline"
        return Step(
            outcome=Wait(Reason.NODE_OFFLINE, f"container {vmid} isn't seen, and {where}", MISSING_AGAIN),
            remember={"state": "Unknown"},
        )
    text = f"container {vmid} isn't seen, and {host} has no quorum: nobody can tell whether it is there"
    return Step(outcome=Wait(Reason.NO_QUORUM, text, MISSING_AGAIN), remember={"state": "Unknown"})


def anew(view: View) -> SoftwareStatus | None:
    """What is known of the software of a container that is another one now: its agent is a stranger."""
    known = view.status.software
    if known is None:
        return None
    gone = ("claim", "credential", "ready", "started_at", "exit_code", "run", "agent", "message",
            "host_key")  # fmt: skip
    return known.model_copy(update=dict.fromkeys(gone))
