"""What is known of containers between reconciliations: what was read, and tasks that no status has yet."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from homeport.api.labels import OwnerKey
from homeport.api.lxcstatus import NetworkState, TaskState
from homeport.engine.lxc.probes import Prober
from homeport.engine.lxc.shells import Shells
from homeport.engine.lxc.sight import Sight
from homeport.plan import agent as wire
from homeport.plan.lxc.view import Do, Step

TRIES = 3
"""How often a change is sent that is taken, and doesn't show."""
AWAY = 90.0
"""Seconds that an agent or a shell may be away before its container counts as unwell."""


@dataclass
class Containers:
    """All containers. Kept between reconciliations: what was read, and tasks that no status has yet."""

    sight: Sight
    prober: Prober
    shells: Shells
    payloads: dict[OwnerKey, tuple[Any, wire.Payload]] = field(default_factory=dict)
    """What each container is told to run, and what that rests on. Secrets are in it: it is never shown."""
    marks: dict[tuple[Any, ...], tuple[str, tuple[NetworkState, ...]]] = field(default_factory=dict)
    """Descriptions and networks of containers that no status knows."""
    away: dict[OwnerKey, float] = field(default_factory=dict)
    """Since when agents are away that should be there."""
    tasks: dict[OwnerKey, TaskState] = field(default_factory=dict)
    sure: set[OwnerKey] = field(default_factory=set)
    """Those of which no task is under way that this process doesn't know of."""
    repeats: dict[OwnerKey, tuple[tuple[Any, ...], int]] = field(default_factory=dict)
    """The change that was last sent to each, and how often in a row."""
    stuck: dict[OwnerKey, dict[str, str | None]] = field(default_factory=dict)
    """Options that were sent, taken, and are shown otherwise all the same: with what was sent."""
    doubts: dict[OwnerKey, datetime] = field(default_factory=dict)
    """Since when it isn't known whether a creation was asked for."""

    def away_still(self, key: OwnerKey, now: float, *, excused: bool) -> float:
        """Seconds that what runs in a container may stay away before that counts: after a restart of the operator all
        are away for a while, and what they have started runs on. ``excused``: it was well, and isn't known to be
        otherwise; 0 for one that isn't."""
        if not excused:
            self.away.pop(key, None)
            return 0.0
        return max(0.0, self.away.setdefault(key, now) + AWAY - now)

    def sent(self, key: OwnerKey, step: Step) -> None:
        """A change was sent, and taken."""
        change = _change(step)
        last, count = self.repeats.get(key, (change, 0))
        self.repeats[key] = (change, count + 1 if last == change else 1)

    def is_vain(self, key: OwnerKey, step: Step) -> bool:
        """Whether the very same change was sent, and taken, as often in a row as is worth it."""
        return step.do is Do.CONFIGURE and self.repeats.get(key, ((), 0)) == (_change(step), TRIES)

    def forget(self, key: OwnerKey) -> None:
        """Let go of what is known of a container."""
        self.sight.forget(key)
        self.prober.forget(key)
        self.shells.forget(key)
        self.payloads.pop(key, None)
        self.tasks.pop(key, None)
        self.away.pop(key, None)
        self.sure.discard(key)
        self.doubts.pop(key, None)
        self.repeats.pop(key, None)
        self.stuck.pop(key, None)


def _change(step: Step) -> tuple[Any, ...]:
    return (step.vmid, step.detail, tuple(sorted(step.params.items())))
