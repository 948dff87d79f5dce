"""A Restore by a Job: what is known of it, and what should be there. Pure.

Which phase comes after which is in ``restorephases``, what came of its Job in ``restoreresult``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from homeport.api.application import ApplicationSpec
from homeport.api.conditions import Reason
from homeport.api.resource import Resource
from homeport.api.restore import RestoreSpec
from homeport.outcome import Outcome
from homeport.plan.backup import restorejob, run
from homeport.plan.backup.choosing import Chosen
from homeport.plan.backup.restorejob import Order
from homeport.plan.types import Child
from homeport.plan.world import ChildKey, Desired, Live

Restore = Resource[RestoreSpec]
Fields = dict[str, Any]
OVER = run.OVER
PENDING, BEFORE, QUIESCING, RUNNING = "Pending", "Before", "Quiescing", "Running"
RESUMING, CLEANING = "Resuming", "Cleaning"
TIMEOUT = 24 * 3600
"""Seconds that a restore may take whose Backup is gone."""
LOOK_AGAIN = 10.0
"""Seconds between looks at a Job that is at work: no event tells how far it is."""
CLAIM = "PersistentVolumeClaim"
REFUSALS = frozenset({Reason.INVALID_SPEC, Reason.SNAPSHOT_MISSING, Reason.CONFIRMATION_REQUIRED})
"""Why one that hasn't begun won't, unless somebody mends something."""


@dataclass(frozen=True)
class RestoreWorld:
    """What is known of a restore."""

    now: datetime
    live: Mapping[ChildKey, Live] = field(default_factory=dict)
    """What was made for it."""
    problem: Outcome | None = None
    """Why it can't go on now."""
    chosen: Chosen | None = None
    """Before it begins: the run that is meant."""
    order: Order | None = None
    """What is to be done."""
    quiesces: Sequence[str] = ()
    """What has to be at rest meanwhile, each as application/environment/component."""
    wanted: Sequence[Child] = ()
    """The Job and what is beside it."""
    saved: Mapping[str, Any] | None = None
    """The status of the BackupRun that saves what is there; None when there is no such run."""
    left: Sequence[str] = ()
    """What still has to end: Pods, and runs that read the same."""
    waiting: str = ""
    """What has to run again, and doesn't yet."""
    result: Mapping[str, Any] | None = None
    """The runner's, once its Job is over."""
    event: Mapping[str, Any] = field(default_factory=dict)
    """The last line of a runner that is at work."""
    trouble: str = ""
    """Why its Pod doesn't start."""
    timeout: int = TIMEOUT
    """Seconds that its Job may take."""
    elsewhere: bool = False
    """Whether a Proxmox VE host does it."""
    proves: bool = False
    """Whether it only reads: what is measured then isn't a restore."""

    @property
    def at_work(self) -> bool:
        """Whether anything is there that goes with the work; a claim that was made stays."""
        return any(name.kind != CLAIM for _, name in self.live)


def over(restore: Restore) -> bool:
    """Whether nothing more is done."""
    return restore.status.get("phase") in OVER


def is_drill(restore: Restore) -> bool:
    """Whether it restores into a scratch place."""
    return restore.spec.target is not None and restore.spec.target.drill is not None


def in_place(restore: Restore) -> bool:
    """Whether it overwrites the original."""
    return restore.spec.target is not None and restore.spec.target.in_place is not None


def before_name(restore: Restore) -> str:
    """The BackupRun that saves what is there before a restore in place."""
    return f"{restore.name}-before"


def quiesced(app: Resource[ApplicationSpec], environment: str, component: str, method: str) -> tuple[str, ...]:
    """What has to be at rest: who has a volume mounted, or who works with a server by their own word."""
    if method in restorejob.ON_VOLUMES:
        names = [component]
    else:
        names = [part.name for part in app.spec.components if component in (part.depends_on or ())]
    return tuple(f"{app.name}/{environment}/{name}" for name in names)


def desired(restore: Restore, world: RestoreWorld) -> Desired:
    """The Job while it runs; nothing once its result is written down."""
    if restore.status.get("phase") != RUNNING:
        return Desired()
    # It is at work, or can't be told: what is there stays.
    return Desired(children=tuple(world.wanted)) if world.wanted else Desired(complete=False)
