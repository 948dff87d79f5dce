"""How a container is left when its resource is deleted: kept and marked, or destroyed, and never by mistake."""

from __future__ import annotations

from homeport.api import labels
from homeport.api.conditions import Reason
from homeport.api.lxcstatus import MountState
from homeport.outcome import Ok, Stalled, Wait
from homeport.plan.lxc import owner
from homeport.plan.lxc.common import SNAPSHOT, SOON, shutdown
from homeport.plan.lxc.following import broken_off, unanswered
from homeport.plan.lxc.view import Absence, Do, Seen, Step, View
from homeport.plan.proxmox import properties
from homeport.plan.proxmox.properties import Mount


def leave(view: View) -> Step:
    """One container after the other: the one that is being replaced, then this one. Ok: nothing is left to do."""
    replacing = view.status.replacing
    if replacing is not None:
        step = _leave(view, view.old, replacing.vmid)
        if not isinstance(step.outcome, Ok) or step.do is not Do.NOTHING:
            return step
    return _leave(view, view.seen, view.wanted.owner.vmid)


def _leave(view: View, seen: Seen, vmid: int) -> Step:
    mine = view.wanted.owner._replace(vmid=vmid)
    if view.spec.management_policy == "Observe":
        return Step(outcome=Ok(f"container {vmid} was only observed, and stays as it is"))
    known = bool(view.status.created) or vmid != view.wanted.owner.vmid
    if seen.absence is Absence.UNCERTAIN and (known or view.status.task is not None):
        where = f"node {', '.join(seen.offline)} is offline" if seen.offline else "the cluster has no quorum"
        text = f"container {vmid} can't be seen: {where}; it is removed when it can"
        return Step(outcome=Wait(Reason.TERMINATING, text, 30.0))
    if seen.absence is Absence.HIDDEN and known:
        text = f"container {vmid} is there, and the token may not see it; grant it VM.Audit on /vms/{vmid}"
        return Step(outcome=Stalled(Reason.ACCESS_DENIED, text))
    task = view.status.task
    made = task if task is not None and task.type == "Create" and task.vmid == vmid else None
    if seen.config is None or seen.guest is None:
        # What was asked for and not answered may come yet.
        return (unanswered(view) if made is not None else None) or Step(outcome=Ok())
    if seen.lock == "create" and made is not None:
        found = broken_off(view) or unanswered(view)
        if found is not None:
            return found
    if not owner.is_ours(seen.config.description, mine):
        if owner.is_left(seen.config.description, mine):
            return Step(outcome=Ok(f"container {vmid} on {seen.guest.node} is kept, as deletionPolicy says"))
        # Another's, one that was left already, or never marked: nothing of it is ours.
        return Step(outcome=Ok(f"container {vmid} stays as it is: it doesn't carry this one's mark"))
    if seen.lock:
        text = f"container {vmid} is locked by a {seen.lock}; waits until that is over"
        if not seen.busy:
            text = (
                f"container {vmid} is locked ({seen.lock}), and nothing is at work; run pct unlock {vmid} on the node"
            )
            return Step(outcome=Stalled(Reason.LOCKED, text))
        return Step(outcome=Wait(Reason.TERMINATING, text, 15.0))
    return _keep(view, seen, vmid) if view.spec.deletion_policy == "Retain" else _destroy(view, seen, vmid)


def _keep(view: View, seen: Seen, vmid: int) -> Step:
    assert seen.config is not None and seen.guest is not None
    mine = view.wanted.owner._replace(vmid=vmid)
    params = {
        "description": owner.described(owner.text(seen.config.description), mine, retained=True),
        "tags": properties.tags_text((seen.config.tags - {owner.TAG}) | {owner.RETAINED_TAG}),
    }
    return Step(Do.CONFIGURE, Wait(Reason.TERMINATING, f"container {vmid} is kept, as deletionPolicy says", SOON),
                vmid=vmid, node=seen.guest.node, params=params, digest=seen.config.digest,
                detail="retained")  # fmt: skip


def _destroy(view: View, seen: Seen, vmid: int) -> Step:
    assert seen.config is not None and seen.guest is not None
    if seen.config.protection:
        text = f"container {vmid} is protected; write protection: false, or take it away in Proxmox VE, to go on"
        return Step(outcome=Stalled(Reason.CONFIRMATION_REQUIRED, text))
    data, others = _data(view, seen), _others(view, seen)
    needed = [view.name, *others]
    snapshots = sorted(name for name in seen.snapshots if not name.startswith(SNAPSHOT))
    losses = [
        f"the {what} {', '.join(names)}" for what, names in (("volumes", data), ("snapshots", snapshots)) if names
    ]
    if losses and not set(needed) <= set((view.confirmed or "").split(",")):
        text = (
            f"destroying container {vmid} would lose {' and '.join(losses)}; to go on, set the annotation "
            f"{labels.CONFIRM_DELETE}: {','.join(needed)}, or keep it by deletionPolicy: Retain"
        )
        return Step(outcome=Stalled(Reason.CONFIRMATION_REQUIRED, text))
    if seen.running:
        return shutdown(view, vmid, seen.guest.node)
    # purge takes it out of HA, replication and backup jobs; volumes that only bear its number are never touched.
    return Step(Do.DESTROY, Wait(Reason.TERMINATING, f"destroys container {vmid}", SOON), vmid=vmid,
                node=seen.guest.node, params={"purge": 1})  # fmt: skip


def _data(view: View, seen: Seen) -> list[str]:
    """Volumes beside the root disk that nobody has said may go."""
    assert seen.config is not None
    ours = _ours(view, seen)
    told = {key for key, state in ours.items() if state.deletion_policy == "Delete"}
    listed = [
        ours[key].name if key in ours else key
        for key, mount in seen.config.mounts.items()
        if key not in told and mount.kind == "volume"
    ]
    return [*listed, *(key for key in seen.config.unused if key not in told)]


def _ours(view: View, seen: Seen) -> dict[str, MountState]:
    """The mounts and unused volumes that are this one's, by ``mpN`` and ``unusedN``. A volume is known by its name:
    what somebody has put in the place of one is another."""
    assert seen.config is not None
    there = {key: mount.volume for key, mount in seen.config.mounts.items()}
    there |= {key: Mount.parse(text).volume for key, text in seen.config.unused.items()}
    states = {state.volume: state for state in view.status.mounts if state.volume}
    unnamed = {state.id: state for state in view.status.mounts if not state.volume}
    found = {key: states.get(volume) or unnamed.get(key) for key, volume in there.items()}
    return {key: state for key, state in found.items() if state is not None}


def _others(view: View, seen: Seen) -> list[str]:
    """Those of them that somebody else has attached: the container's name alone doesn't tell that they are meant."""
    assert seen.config is not None
    ours = _ours(view, seen)
    mounts = [key for key, mount in seen.config.mounts.items() if mount.kind == "volume" and key not in ours]
    return [*mounts, *(key for key in seen.config.unused if key not in ours)]
