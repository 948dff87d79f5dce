"""What is done so that a container is as its spec says, each step when the ones before have nothing to do."""

from __future__ import annotations

from homeport.api.conditions import Reason
from homeport.api.lxcstatus import TaskState
from homeport.outcome import Outcome, Stalled, Wait
from homeport.plan.lxc.common import SOON, at_work, node_of, shutdown, stamp
from homeport.plan.lxc.view import Do, Step, View
from homeport.plan.proxmox import sizes


def lost(view: View) -> Step | None:
    """A mount whose volume is nowhere: an empty one in its place is nothing that happens by itself."""
    names = view.diff.lost
    if not names or view.moving:
        return None
    if view.spec.on_missing == "Recreate":
        kept = tuple(state for state in view.status.mounts if state.name not in names)
        return Step(remember={"mounts": kept}, again=True)
    text = (
        f"the volumes of the mounts {', '.join(names)} aren't on container {view.wanted.owner.vmid} any more; attach "
        "them again there, or write onMissing: Recreate to have empty ones made"
    )
    return Step(outcome=Stalled(Reason.MISSING, text))


def grow(view: View) -> Step | None:
    """A disk that has to grow."""
    if not view.diff.resizes:
        return None
    resize = view.diff.resizes[0]
    size = sizes.render(-(-resize.size // sizes.MIB) * sizes.MIB)
    return Step(
        Do.RESIZE, Wait(Reason.PROGRESSING, f"grows {resize.disk} to {size}", SOON), vmid=view.wanted.owner.vmid,
        node=node_of(view), params={"disk": resize.disk, "size": size}, detail=resize.disk,
    )  # fmt: skip


def run(view: View) -> Step | None:
    """Started or stopped, as it should be."""
    wants, guest = view.wants_running, view.seen.guest
    if wants is None or guest is None or wants == view.seen.running or view.moving:
        return None
    vmid, node = view.wanted.owner.vmid, guest.node
    if guest.ha_state is not None and guest.ha_state == ("started" if wants else "stopped"):
        text = f"waits for the HA manager to {'start' if wants else 'stop'} container {vmid}"
        return Step(outcome=Wait(Reason.PROGRESSING, text, 5.0))
    if wants:
        outcome: Outcome = Wait(Reason.PROGRESSING, f"starts container {vmid} on {node}", SOON)
        # A start is a restart, too.
        remember = {"last_restart_at": view.spec.restart_at}
        return Step(Do.START, outcome, remember, vmid=vmid, node=node)
    return shutdown(view, vmid, node)


def reboot(view: View) -> Step | None:
    """A restart that was asked for, or changes that wait for one."""
    token = view.spec.restart_at
    asked = bool(token) and token != view.status.last_restart_at
    if asked and not view.seen.running:
        return Step(remember={"last_restart_at": token}, again=True)
    pending = ",".join(view.diff.pending)
    policy = view.spec.reboot_policy
    due = bool(pending) and (policy == "WhenPending" or (policy == "Window" and view.window_open))
    why = f"pending {pending} {view.digest}"[:253]
    if not view.seen.running or not (asked or (due and view.status.rebooted_for != why)):
        return None
    task = TaskState(
        type="Reboot",
        vmid=view.wanted.owner.vmid,
        node=node_of(view),
        since=stamp(view),
        detail=why if pending else None,
    )
    return Step(outcome=Wait(Reason.PROGRESSING, at_work(task), SOON), remember={"task": task})
