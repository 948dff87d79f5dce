"""What a decision about a container rests on: what was seen, what is remembered, what is wanted. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from typing import Any

from homeport.api.lxccontainer import LXCContainerSpec
from homeport.api.lxcstatus import LXCContainerStatus
from homeport.outcome import Ok, Outcome
from homeport.plan.lxc import diff, owner
from homeport.plan.lxc.differences import Diff, Difference
from homeport.plan.lxc.wanted import Place, Wanted
from homeport.plan.proxmox.config import ContainerConfig, Impact, PendingChange
from homeport.plan.proxmox.readings import Guest
from homeport.plan.proxmox.tasks import TaskStatus


class Absence(StrEnum):
    """Why a container isn't seen."""

    GONE = "gone"
    """The cluster is complete, and says that its VMID is free."""
    UNCERTAIN = "uncertain"
    """A node is offline, or there is no quorum: nobody can tell."""
    HIDDEN = "hidden"
    """Its VMID is taken, and the token may not see by what."""


@dataclass(frozen=True)
class Seen:
    """One container as it is."""

    guest: Guest | None = None
    config: ContainerConfig | None = None
    pending: tuple[PendingChange, ...] = ()
    absence: Absence | None = None
    free: bool = False
    """Whether its VMID is: then it can be made, however incomplete the cluster is."""
    offline: tuple[str, ...] = ()
    """Nodes that can't be reached."""
    snapshots: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """The volumes that each snapshot holds; looked at only of one that is about to be replaced."""
    busy: bool = True
    """Of a locked container: whether a task is at work on it, or it was only just seen."""
    reading: int = 0
    """Which look at the host this comes from; 0 is none."""

    @property
    def here(self) -> bool:
        """Whether it is there."""
        return self.guest is not None and self.config is not None

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self.guest is not None and self.guest.status == "running"

    @property
    def lock(self) -> str | None:
        """What holds it."""
        found = self.config.lock if self.config is not None else None
        return found or (self.guest.lock if self.guest is not None else None)


@dataclass(frozen=True)
class Asked:
    """What is known of a creation that was asked for, perhaps, and never answered."""

    task: TaskStatus | None = None
    """The task that it became."""
    hopeless: bool = False
    """There is no such task, and it would be there by now."""


@dataclass(frozen=True)
class Health:
    """How well it is, beyond running. ``well`` is None while that isn't known."""

    well: bool | None = None
    message: str = ""
    asked: bool = True
    """Whether anything is checked at all."""


UNCHECKED = Health(True, "", asked=False)


@dataclass(frozen=True)
class View:
    """All of it."""

    name: str
    spec: LXCContainerSpec
    status: LXCContainerStatus
    place: Place
    wanted: Wanted
    seen: Seen
    now: datetime
    old: Seen = field(default_factory=Seen)
    """The container that is being replaced."""
    task: TaskStatus | None = None
    """How the task in the status stands; None when nobody knows (any more)."""
    asked: Asked = field(default_factory=Asked)
    """Only looked for when it matters: the container can't be seen, is stuck in its making, or its resource goes."""
    health: Health = UNCHECKED
    addresses: tuple[str, ...] = ()
    replace_at: str | None = None
    """The annotation that allows a replacement."""
    old_fits: bool = False
    """Whether the container that is being replaced is what the spec asks for."""
    window_open: bool = False
    may_adopt: str = ""
    """Why a container may not be taken over; empty when it may."""
    software_changed: bool = False
    """Whether its image is another than the one that it was made of."""
    confirmed: str | None = None
    """The annotation that consents to the loss of data."""
    archived: bool = False
    """Whether its project is."""
    stuck: frozenset[str] = frozenset()
    """Options that were sent, taken, and aren't shown as sent."""
    listed: Guest | None = None
    """The container in the host's reading, which alone tells its pool."""
    finished: bool = False
    """Whether the job that it is for is over, so that it is to stop."""
    exit_code: int | None = None
    """How that job has ended."""

    @property
    def mine(self) -> bool:
        """Whether the container that is there is this one's."""
        return self.seen.config is not None and owner.is_ours(self.seen.config.description, self.wanted.owner)

    @property
    def left(self) -> bool:
        """Whether the container that is there was this one's before, and was kept."""
        return self.seen.config is not None and owner.is_left(self.seen.config.description, self.wanted.owner)

    @property
    def shown(self) -> bool:
        """Whether its project may be told how the container that is there is."""
        if self.mine:
            return True
        if self.seen.config is None or self.spec.management_policy != "Observe":
            return False
        free = owner.is_free(self.seen.config.description, self.wanted.owner.namespace)
        return self.left or (free and not self.may_adopt)

    @property
    def asked_to_replace(self) -> bool:
        """Whether the annotation has a value that nothing was done about yet."""
        return bool(self.replace_at) and self.replace_at != self.status.last_replace_at

    @property
    def moving(self) -> bool:
        """Whether its mounts are still another's."""
        replacing = self.status.replacing
        return replacing is not None and replacing.phase in ("Creating", "Moving")

    @cached_property
    def diff(self) -> Diff:
        """What differs."""
        assert self.seen.config is not None
        found = diff.compare(
            self.without_mounts if self.moving else self.wanted,
            self.seen.config,
            self.seen.pending,
            running=self.seen.running,
            mounts=() if self.moving else self.status.mounts,
            template=self.status.template,
        )
        if self.stuck:
            found = found.without(self.stuck)
        if self.moving:
            return found
        reverted = self.status.reverted
        return found.without(found.risky()) if reverted is not None and reverted.hash == self.digest else found

    @property
    def by_hand(self) -> tuple[Difference, ...]:
        """What only a person changes of a container that is there: where it is, and in which pool."""
        guest, pool = self.seen.guest, self.spec.pool if self.wanted.partial else self.wanted.pool
        found = []
        if guest is not None and self.spec.node not in (None, guest.node):
            found.append(Difference("node", str(self.spec.node), guest.node, Impact.BY_HAND, sends=False))
        if pool is not None and self.listed is not None and self.listed.pool != pool:
            found.append(Difference("pool", pool, self.listed.pool or "", Impact.BY_HAND, sends=False))
        return tuple(found)

    @property
    def without_mounts(self) -> Wanted:
        """What is wanted of a container whose mounts come later."""
        return replace(self.wanted, mounts=())

    @property
    def digest(self) -> str:
        """Which configuration is wanted."""
        return diff.digest(self.wanted)

    @property
    def wants_running(self) -> bool | None:
        """Whether it should run; None when that is nobody's to say."""
        if self.finished or self.archived:
            return False
        if self.spec.state is None:
            return None if self.status.adopted else True
        return self.spec.state == "Running"


class Do(StrEnum):
    """What is done on the host."""

    NOTHING = "nothing"
    CREATE = "Create"
    CONFIGURE = "Configure"
    RESIZE = "Resize"
    START = "Start"
    SHUTDOWN = "Shutdown"
    REBOOT = "Reboot"
    MOVE = "MoveVolume"
    DESTROY = "Destroy"
    SNAPSHOT = "Snapshot"
    ROLLBACK = "Rollback"
    DELETE_SNAPSHOT = "DeleteSnapshot"


@dataclass(frozen=True)
class Step:
    """One step.

    ``remember`` goes into the status whatever comes of the step: only what makes it safe to be repeated. That something
    is done, and may be forgotten, is taken from what is seen afterwards.
    """

    do: Do = Do.NOTHING
    outcome: Outcome = field(default_factory=Ok)
    remember: Mapping[str, Any] = field(default_factory=dict)
    again: bool = False
    """Look once more at once: what was decided rests on something that has changed."""
    vmid: int = 0
    node: str = ""
    params: Mapping[str, str | int] = field(default_factory=dict)
    digest: str = ""
    detail: str = ""
