"""Whether a container is there, whose it is, and whether it may be touched now."""

from __future__ import annotations

from homeport.api.conditions import Reason
from homeport.api.lxcstatus import Replacement, TaskState
from homeport.outcome import Ok, Outcome, Stalled, Wait
from homeport.plan.agent import hostclaim
from homeport.plan.lxc import owner
from homeport.plan.lxc.common import MISSING_AGAIN, SOON, anew, at_work, node_of, stamp, taken, uncertain, whose
from homeport.plan.lxc.view import Absence, Do, Step, View

LOCKED_AGAIN = 15.0


def begin(view: View) -> Step | None:
    """It hasn't been made: take it over, only look at it, or write down that it is about to be made."""
    if view.status.created:
        return None
    if view.spec.adopt is not None or view.spec.management_policy == "Observe":
        return _adopt(view)
    if view.seen.here and view.mine:
        # Made before, and that wasn't written down: its status was lost, or somebody took it away.
        return Step(remember={"created": True, "template": view.place.template}, again=True)
    if view.seen.guest is not None or view.seen.absence is Absence.HIDDEN:
        return taken(view)  # said without writing down a creation that can't be: that would be told anew each time
    vmid, node = view.wanted.owner.vmid, view.place.node
    task = TaskState(type="Create", vmid=vmid, node=node, since=stamp(view), detail=view.place.template)
    return Step(
        outcome=Wait(Reason.PROGRESSING, at_work(task), SOON), remember={"task": task, "node": node, "created": None}
    )


def _adopt(view: View) -> Step:
    seen, vmid, host = view.seen, view.wanted.owner.vmid, view.place.host
    if seen.guest is not None and seen.config is None:
        return Step(outcome=Stalled(Reason.NAME_TAKEN, whose(view)))
    if seen.absence is Absence.UNCERTAIN:
        return uncertain(view)
    if seen.config is None:
        return Step(outcome=Stalled(Reason.MISSING, f"there is no container {vmid} on {host} to take over"))
    expected = view.spec.adopt.expect_hostname if view.spec.adopt is not None else None
    description = seen.config.description
    if not view.mine and not view.left:
        if not owner.is_free(description, view.wanted.owner.namespace):
            return Step(outcome=Stalled(Reason.NAME_TAKEN, whose(view)))
        if view.may_adopt:
            return Step(outcome=Stalled(Reason.ACCESS_DENIED, view.may_adopt))
    if expected is not None and (seen.config.hostname or "") != expected:
        has = hostclaim.shown(seen.config.hostname)
        text = f"container {vmid} on {host} has the hostname {has}, and adopt expects {expected}"
        return Step(outcome=Stalled(Reason.INVALID_SPEC, text))
    if view.spec.management_policy == "Observe":
        return observed(view)
    text = f"takes over container {vmid}"
    if not view.mine:
        return locked(view) or _mark(view, text)
    # Told first what will change; the next look changes it.
    remember = {"created": True, "adopted": True, "last_restart_at": view.spec.restart_at}
    return Step(outcome=Wait(Reason.PROGRESSING, text, SOON), remember=remember)


def _mark(view: View, text: str) -> Step:
    """The mark and nothing else, on the very configuration that was judged: from then on it counts as this one's."""
    assert view.seen.config is not None
    mine = view.wanted.owner
    params = {"description": owner.described(owner.text(view.seen.config.description), mine)}
    return Step(Do.CONFIGURE, Wait(Reason.PROGRESSING, text, SOON), vmid=mine.vmid, node=node_of(view), params=params,
                digest=view.seen.config.digest, detail="mark")  # fmt: skip


def missing(view: View) -> Step | None:
    """It isn't there."""
    if view.seen.here:
        return None
    vmid, host = view.wanted.owner.vmid, view.place.host
    if view.seen.guest is not None:
        return Step(outcome=Stalled(Reason.NAME_TAKEN, whose(view)))
    if view.seen.absence is Absence.UNCERTAIN or view.seen.absence is None:
        return uncertain(view)
    if view.seen.absence is Absence.HIDDEN:
        text = (
            f"container {vmid} on {host} is there, and the token may not see it; grant it VM.Audit on /vms/{vmid}, or "
            "on the pool that it is in"
        )
        return Step(outcome=Stalled(Reason.ACCESS_DENIED, text))
    replacing = view.status.replacing
    if replacing is not None and view.old.absence is not Absence.GONE:
        return Step(outcome=_missing_in_the_middle(view, replacing), remember={"state": "Missing"})
    if view.spec.on_missing == "Recreate":
        fresh = {"created": None, "adopted": None, "template": None, "mounts": (), "task": None, "started_at": None,
                 "vmid": view.spec.vmid, "node": None, "software": anew(view), "replacing": None}  # fmt: skip
        text = f"container {vmid} was deleted by somebody; it is made anew, as onMissing says"
        return Step(outcome=Wait(Reason.PROGRESSING, text, SOON), remember=fresh)
    text = (
        f"container {vmid} was deleted on {host} by somebody, and its data with it; restore it there from a backup, or "
        "write onMissing: Recreate to have it made anew"
    )
    return Step(outcome=Stalled(Reason.MISSING, text), remember={"state": "Missing"})


def _missing_in_the_middle(view: View, replacing: Replacement) -> Outcome:
    """The new one was deleted, and the old one can't have its place back as it is (``taking_back.abandoned``)."""
    vmid, host, old = view.wanted.owner.vmid, view.place.host, replacing.vmid
    gone = f"container {vmid} on {host}, which was taking the place of {old}, was deleted by somebody"
    if view.old.config is None:
        return Wait(Reason.MISSING, f"{gone}, and container {old} can't be seen now", MISSING_AGAIN)
    if not owner.is_ours(view.old.config.description, view.wanted.owner._replace(vmid=old)):
        text = f"{gone}, and container {old} doesn't carry this one's mark any more; put it back, or make a new one"
        return Stalled(Reason.MISSING, text)
    text = (
        f"{gone}, and volumes that had been moved to it with it; container {old} is there, stopped. Restore them from "
        f"a backup to container {old}, or write onMissing: Recreate to go back to it with empty ones"
    )
    return Stalled(Reason.MISSING, text)


def foreign(view: View) -> Step | None:
    """It is there without this one's mark, which it had: it is another one now. Of two claimants neither is touched."""
    if view.mine:
        return None
    description = view.seen.config.description if view.seen.config is not None else ""
    if view.status.created and not owner.marks(description):
        text = (
            f"container {view.wanted.owner.vmid} on {view.place.host} has lost the mark in its description that says "
            f"whose it is; it isn't touched. If it is this one, put the line back: "
            f"{owner.described('', view.wanted.owner)}"
        )
        return Step(outcome=Stalled(Reason.NAME_TAKEN, text))
    return Step(outcome=Stalled(Reason.NAME_TAKEN, whose(view)))


def locked(view: View) -> Step | None:
    """Somebody works on it, or has left a lock behind."""
    lock = view.seen.lock
    if lock is None:
        return None
    vmid, node = view.wanted.owner.vmid, node_of(view)
    if lock == "backup" and view.seen.busy and view.seen.running:
        return None  # it runs as ever; what would have to be changed now, Proxmox VE refuses, and that is said
    if view.seen.busy:
        text = f"container {vmid} is locked by a {lock} on {node}; waits until that is over"
        return Step(outcome=Wait(Reason.LOCKED, text, LOCKED_AGAIN))
    text = (
        f"container {vmid} is locked ({lock}) on {node}, and no task is at work there: the lock was left behind. The "
        f"API can't take it away; run on {node}: pct unlock {vmid}"
    )
    return Step(outcome=Stalled(Reason.LOCKED, text))


def observe(view: View) -> Step | None:
    """``managementPolicy: Observe``: nothing is touched."""
    return observed(view) if view.spec.management_policy == "Observe" else None


def observed(view: View) -> Step:
    """Only look, and tell what differs."""
    count = len(view.diff.differences) + len(view.diff.resizes)
    text = "observed; it is as declared" if not count else f"observed; {count} fields differ: see status.drift"
    return Step(outcome=Ok(text))
