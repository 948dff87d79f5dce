"""A new container in the place of one: for what only a new container can have, and for a new image.

A VMID can't be changed and a root disk can't be moved, so there is a new container with another VMID, on the same node.
``status.replacing`` has the other one (the *old* one), ``status.vmid`` the one whose turn it is (the *new* one):

========  ==============================================  =========================================================
phase     what is seen                                    next
========  ==============================================  =========================================================
Creating  the new one isn't there; the spec fits the old  given up (``taking_back``)
Creating  the new one isn't there                         it is made, without mounts, with the old one's MAC
Creating  snapshots hold volumes of the old one           waits; the old one runs on
Creating  the old one runs                                it is shut down
Creating  the old one is stopped                          its ``onboot`` is taken away; Moving
Moving    mounts are on the old one                       moved, one after the other
Moving    none is left there                              Starting
Starting  the new one isn't well yet                      waits for it; the old one stays, stopped
Starting  the new one is well                             the old one is destroyed (Cleaning), or kept and marked
Cleaning  the old one is gone, or has the mark *retained* forgotten, and only then
any       another spec, and the new one isn't well        the two change places (``taking_back``), and the way is the
                                                          same, to the old one
any       the old one can't be seen, or has no mark       nothing is moved or forgotten: waits, or asks
========  ==============================================  =========================================================

The old one is destroyed when nothing of value can be on it: it has no volumes, and its root disk is an image's. That
of a ``template`` may hold data: it is kept, unless an annotation names its VMID.
"""

from __future__ import annotations

from homeport.api import labels
from homeport.api.conditions import Reason
from homeport.api.lxcstatus import MountState, Replacement
from homeport.outcome import Ok, Stalled, Wait
from homeport.plan.lxc import owner
from homeport.plan.lxc.common import SNAPSHOT, SOON, anew, node_of, shutdown
from homeport.plan.lxc.taking_back import old_is_ours, old_owner, unwell
from homeport.plan.lxc.view import Absence, Do, Step, View
from homeport.plan.proxmox import properties
from homeport.plan.proxmox.config import ContainerConfig

SNAPSHOTS_AGAIN = 60.0


def replace(view: View) -> Step | None:
    """Begin, if there is a reason to, and somebody asked or it is a rollout."""
    if view.status.replacing is not None:
        return None
    shrunk = any(d.field.endswith(".size") for d in view.diff.recreate)
    if not view.asked_to_replace:
        refused = view.status.refused
        if not view.software_changed or (refused is not None and refused.template == view.place.template):
            return None
    if not view.software_changed and (not view.diff.recreate or shrunk):
        # There is nothing that a new container would have; the next reason wants a new token.
        return Step(remember={"last_replace_at": view.replace_at}, again=True)
    if view.spec.vmid is not None:
        text = (
            f"this change needs a new container, which has another VMID, and vmid: {view.spec.vmid} is fixed; leave "
            "vmid out to have it replaced"
        )
        return Step(outcome=Stalled(Reason.REPLACEMENT_REQUIRED, text))
    why = "another image" if view.software_changed else ", ".join(d.field for d in view.diff.recreate)
    text = f"container {view.wanted.owner.vmid} is replaced: {why}"
    return Step(outcome=Wait(Reason.PROGRESSING, text, SOON), remember=_begun(view, why))


def _begun(view: View, why: str) -> dict[str, object]:
    status = view.status
    old = Replacement(
        vmid=view.wanted.owner.vmid, node=node_of(view), phase="Creating", reason=why, template=status.template,
        software=status.software, adopted=status.adopted,
    )  # fmt: skip
    fresh = dict.fromkeys(("vmid", "created", "adopted", "template", "trial", "refused", "started_at"))
    return {**fresh, "replacing": old, "node": old.node, "software": anew(view), "last_replace_at": view.replace_at}


# --- the old one ------------------------------------------------------------------------------------------------------


def _hindered(view: View) -> Step | None:
    """The old one is there, perhaps, and can't be judged: then nothing is done without it."""
    replacing, old = view.status.replacing, view.old
    assert replacing is not None
    what = f"container {replacing.vmid}, which is replaced,"
    if old.absence is Absence.HIDDEN:
        text = f"{what} is there, and the token may not see it; grant it VM.Audit on /vms/{replacing.vmid}"
        return Step(outcome=Stalled(Reason.ACCESS_DENIED, text))
    if old.guest is None and old.absence is not Absence.GONE:
        return Step(outcome=Wait(Reason.NODE_OFFLINE, f"{what} can't be seen now", 30.0))
    if old.config is not None and not owner.marks(old.config.description):
        mine = old_owner(view)
        text = (
            f"{what} has lost the mark in its description that says whose it is; it isn't touched. If it is this "
            f"one's, put the line back: {owner.described('', mine)}; else put this there: "
            f"{owner.described('', mine, retained=True)}"
        )
        return Step(outcome=Stalled(Reason.NAME_TAKEN, text))
    return None


def move(view: View) -> Step | None:
    """The new one is there: stop the old one, and move its mounts."""
    replacing = view.status.replacing
    if replacing is None or replacing.phase not in ("Creating", "Moving"):
        return None
    old = view.old
    if (hindered := _hindered(view)) is not None:
        return hindered
    if not old_is_ours(view):
        return _without(view)
    assert old.config is not None and old.guest is not None
    if old.lock:
        text = f"container {replacing.vmid}, which is replaced, is locked by a {old.lock}"
        return Step(outcome=Wait(Reason.LOCKED, text, 15.0))
    moves = _moves(view, old.config)
    if old.running:
        return _held(view, moves) or shutdown(view, replacing.vmid, old.guest.node)
    if old.config.on_boot:
        # The node may boot at any time: it is to start one of the two.
        text = f"container {replacing.vmid} isn't started with its node any more"
        return Step(Do.CONFIGURE, Wait(Reason.PROGRESSING, text, SOON), vmid=replacing.vmid, node=old.guest.node,
                    params={"onboot": "0"}, digest=old.config.digest, detail="onboot")  # fmt: skip
    if replacing.phase == "Creating":
        return Step(remember={"replacing": _phase(replacing, "Moving")}, again=True)
    for key in moves:
        text = f"moves {old.config.mounts[key].path} from container {replacing.vmid} to {view.wanted.owner.vmid}"
        params: dict[str, str | int] = {
            "volume": key,
            "target-vmid": view.wanted.owner.vmid,
            "target-volume": key,
        }
        return Step(Do.MOVE, Wait(Reason.PROGRESSING, text, SOON), vmid=replacing.vmid, node=old.guest.node,
                    params=params, detail=key)  # fmt: skip
    return Step(remember={"replacing": _phase(replacing, "Starting"), "mounts": _moved(view)}, again=True)


def _moves(view: View, config: ContainerConfig) -> tuple[str, ...]:
    """The mounts that have to come over."""
    known = {state.id for state in view.status.mounts if not state.retained}
    return tuple(key for key, mount in config.mounts.items() if key in known and mount.kind == "volume")


def _held(view: View, moves: tuple[str, ...]) -> Step | None:
    """Proxmox VE moves no volume that a snapshot holds: that has to be known while the old one runs."""
    assert view.old.config is not None and view.status.replacing is not None
    volumes = {view.old.config.mounts[key].volume for key in moves}
    names = sorted(name for name, held in view.old.snapshots.items() if not volumes.isdisjoint(held))
    if not names:
        return None
    text = (
        f"container {view.status.replacing.vmid} is to be replaced, and its snapshots {', '.join(names)} hold volumes "
        "that would have to be moved; remove them first. It runs on"
    )
    return Step(outcome=Wait(Reason.REPLACEMENT_REQUIRED, text, SNAPSHOTS_AGAIN))


def _without(view: View) -> Step:
    """The old one is gone, or somebody's: what it had can't be moved."""
    replacing = view.status.replacing
    assert replacing is not None and view.seen.config is not None
    lost = [state.name for state in view.status.mounts if not state.retained and not _is_here(view, state)]
    if lost and view.spec.on_missing != "Recreate":
        text = (
            f"container {replacing.vmid}, which is replaced, isn't there or isn't this one's any more, and the "
            f"volumes {', '.join(lost)} were on it; bring them to container {view.wanted.owner.vmid}, or write "
            "onMissing: Recreate to have empty ones made"
        )
        return Step(outcome=Stalled(Reason.MISSING, text))
    return Step(remember={"replacing": _phase(replacing, "Starting"), "mounts": _moved(view)}, again=True)


def _is_here(view: View, state: MountState) -> bool:
    return view.seen.config is not None and state.id in view.seen.config.mounts


def _moved(view: View) -> tuple[MountState, ...]:
    """The mounts as they are on the new one: a volume that was moved has another name."""
    assert view.seen.config is not None
    there = view.seen.config.mounts
    return tuple(
        state if state.retained else state.model_copy(update={"volume": there[state.id].volume})
        for state in view.status.mounts
        if state.retained or state.id in there
    )


def _phase(replacing: Replacement, phase: str) -> Replacement:
    return replacing.model_copy(update={"phase": phase})


# --- its end ----------------------------------------------------------------------------------------------------------


def retire(view: View) -> Step | None:
    """The new one is as it should be; when it is well, the old one goes. It is forgotten when that is seen."""
    replacing, old = view.status.replacing, view.old
    if replacing is None or replacing.phase not in ("Starting", "Cleaning"):
        return None
    hindered = _hindered(view)
    if hindered is None and not old_is_ours(view):
        left = old.config is not None and owner.is_left(old.config.description, old_owner(view))
        kept = {"kept": (*view.status.kept, replacing.vmid)[-32:]} if left else {}
        return Step(remember={"replacing": None, **kept}, again=True)
    if not replacing.back and unwell(view):
        return None  # settle says so
    if hindered is not None:
        return hindered if isinstance(hindered.outcome, Stalled) else None
    assert old.config is not None and old.guest is not None
    if old.lock:
        return None
    if old.running:
        return shutdown(view, replacing.vmid, old.guest.node)
    why = _worth_keeping(view, old.config)
    if why:
        return _keep(view, why)
    text = f"removes container {replacing.vmid}, which was replaced"
    return Step(Do.DESTROY, Wait(Reason.PROGRESSING, text, SOON), vmid=replacing.vmid, node=old.guest.node,
                params={"purge": 1}, remember={"replacing": _phase(replacing, "Cleaning")})  # fmt: skip


def _worth_keeping(view: View, config: ContainerConfig) -> str:
    """Why the old one isn't destroyed; empty when it may be."""
    replacing = view.status.replacing
    assert replacing is not None
    if volumes := [*config.mounts, *config.unused]:
        return f"it still has {', '.join(volumes)}"
    if config.protection:
        return "it is protected"
    if snapshots := sorted(name for name in view.old.snapshots if not name.startswith(SNAPSHOT)):
        return f"it has the snapshots {', '.join(snapshots)}"
    of_image = view.spec.software is not None and view.spec.software.image is not None
    if of_image or replacing.back == "Unused" or view.confirmed == str(replacing.vmid):
        return ""
    return (
        f"its root disk may hold data ({labels.CONFIRM_DELETE}: {replacing.vmid}, set before, would have it destroyed)"
    )


def _keep(view: View, why: str) -> Step:
    replacing, old = view.status.replacing, view.old
    assert replacing is not None and old.config is not None and old.guest is not None
    text = f"replaced; container {replacing.vmid} is kept, stopped, because {why}: remove it when nobody needs it"
    params = {
        "description": owner.described(owner.text(old.config.description), old_owner(view), retained=True),
        "tags": properties.tags_text((old.config.tags - {owner.TAG}) | {owner.RETAINED_TAG}),
        "onboot": "0",
    }
    return Step(Do.CONFIGURE, Ok(text, SOON), vmid=replacing.vmid, node=old.guest.node, params=params,
                digest=old.config.digest, detail="retained")  # fmt: skip
