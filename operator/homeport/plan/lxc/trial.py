"""A change that may leave a container unwell: on trial until it is seen to be well, and else taken back.

What was there before is in the status before it is changed. Taken back is the configuration; or all of the container,
by a snapshot, where that is asked for. It is there for as long as its trial, and gone before that is forgotten.
"""

from __future__ import annotations

from datetime import datetime

from homeport.api.conditions import Reason
from homeport.api.lxcstatus import Revert, Trial
from homeport.outcome import Stalled, Wait
from homeport.plan.lxc import diff
from homeport.plan.lxc.common import SNAPSHOT, SOON, node_of, stamp
from homeport.plan.lxc.view import Do, Step, View


def configure(view: View) -> Step | None:
    """What can be changed by a ``PUT``. A risky change is written down before, so that it can be taken back."""
    options = view.diff.options()
    if not options:
        return None
    assert view.seen.config is not None
    risky, trial = view.diff.risky(), view.status.trial
    proven = view.health.asked and view.health.well is True and view.seen.running
    if risky and proven and (trial is None or trial.hash != view.digest):
        snapshot = view.spec.rollback == "Snapshot" or None
        if snapshot and (hindered := _mounted(view)) is not None:
            return hindered
        trial = Trial(hash=view.digest, since=stamp(view), options=risky, snapshot=snapshot)
        remember = {"trial": trial, "reverted": None}
        return Step(outcome=Wait(Reason.PROGRESSING, f"changes {', '.join(sorted(risky))}", SOON), remember=remember)
    if risky and trial is not None and trial.snapshot and trial.hash == view.digest and not _has_snapshot(view, trial):
        return _on_snapshot(view, Do.SNAPSHOT, trial, {"snapname": _name(trial), "description": "before a change"})
    shown = ", ".join(d.field for d in view.diff.sendable) or "unused volumes"
    return Step(
        Do.CONFIGURE,
        Wait(Reason.PROGRESSING, f"changes {shown}", SOON),
        remember={"mounts": view.diff.mounts} if not view.moving else {},
        vmid=view.wanted.owner.vmid,
        node=node_of(view),
        params=options,
        digest=view.seen.config.digest,
        detail=shown,
    )


def revert(view: View) -> Step | None:
    """A trial that is over, or has gone wrong: put back what was there."""
    trial = view.status.trial
    if trial is None or view.seen.config is None:
        return None
    if view.health.well is True and not view.diff.sendable and trial.hash == view.digest:
        return _over(view, trial)
    taken_back = view.status.reverted is not None and view.status.reverted.hash == trial.hash
    if trial.hash != view.digest and not taken_back:
        # Something else is wanted meanwhile, which gets a trial of its own.
        return _over(view, trial) if trial.snapshot else None
    if not taken_back:
        return _late(view, trial)
    if _is_back(view, trial):
        return _over(view, trial)
    if trial.snapshot and _has_snapshot(view, trial):
        return _on_snapshot(view, Do.ROLLBACK, trial, {})
    back: dict[str, str | int] = {key: value for key, value in trial.options.items() if value}
    gone = [key for key, value in trial.options.items() if not value]
    if gone:
        back["delete"] = ",".join(gone)
    return Step(
        Do.CONFIGURE, Wait(Reason.PROGRESSING, "takes the change back", SOON),
        vmid=view.wanted.owner.vmid, node=node_of(view), params=back, digest=view.seen.config.digest, detail="revert",
    )  # fmt: skip


def _late(view: View, trial: Trial) -> Step | None:
    """Whether it has had its time, and isn't well: from then on it is taken back, whatever comes."""
    check = view.spec.health_check
    patience = check.start_seconds if check is not None else 120
    late = (view.now - datetime.fromisoformat(trial.since)).total_seconds() > patience
    if view.health.well is not False or not late:
        return None
    why = f"the container wasn't well {patience} s after {', '.join(sorted(trial.options))} changed: "
    message = (why + (view.health.message or "its health check failed"))[:1024]
    remember = {"reverted": Revert(hash=trial.hash, message=message)}
    return Step(outcome=Wait(Reason.PROGRESSING, "takes the change back", SOON), remember=remember)


def _over(view: View, trial: Trial) -> Step:
    if trial.snapshot and _has_snapshot(view, trial):
        return _on_snapshot(view, Do.DELETE_SNAPSHOT, trial, {})
    return Step(remember={"trial": None}, again=True)


def _name(trial: Trial) -> str:
    return f"{SNAPSHOT}{trial.hash}"


def _has_snapshot(view: View, trial: Trial) -> bool:
    return _name(trial) in view.seen.snapshots


def _on_snapshot(view: View, do: Do, trial: Trial, params: dict[str, str | int]) -> Step:
    vmid, node = view.wanted.owner.vmid, node_of(view)
    words = {Do.SNAPSHOT: "takes a snapshot of", Do.ROLLBACK: "rolls back", Do.DELETE_SNAPSHOT: "removes a snapshot of"}
    outcome = Wait(Reason.PROGRESSING, f"{words[do]} container {vmid}", SOON)
    return Step(do, outcome, vmid=vmid, node=node, params=params, detail=_name(trial))


def _mounted(view: View) -> Step | None:
    """Mounts that the spec doesn't name: a rollback would take back what was written to them, too."""
    assert view.seen.config is not None
    mounts = ", ".join(mount.path or key for key, mount in view.seen.config.mounts.items())
    if not mounts:
        return None
    text = (
        f"container {view.wanted.owner.vmid} has the mounts {mounts}, and rollback: Snapshot would lose what is "
        "written to them meanwhile; leave rollback out"
    )
    return Step(outcome=Stalled(Reason.INVALID_SPEC, text))


def _is_back(view: View, trial: Trial) -> bool:
    """Whether what was there before is there again, and nothing else waits for a reboot."""
    assert view.seen.config is not None
    found, waiting = view.seen.config, {change.option: change.then for change in view.seen.pending}
    return all(
        diff.same(option, value or None, diff.shown(found, option))
        and (option not in waiting or diff.same(option, value or None, waiting[option]))
        for option, value in trial.options.items()
    )
