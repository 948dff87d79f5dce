"""Whose turn it is among a component's containers: one after the other, with health between.

==========================  ====================================================================================
a container that            may be changed, or made
==========================  ====================================================================================
isn't well                  at once: nothing is lost
is well                     when all others of its component are: one that fails stops the rollout
isn't there                 at once; of a stateful component when all before it are well
is to be stopped            at once
is of a paused component    not at all, if it is there
==========================  ====================================================================================
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from homeport.api.conditions import Health
from homeport.plan.health import PAUSED, verdict
from homeport.plan.proxmox_app.guests import KIND
from homeport.plan.types import Change, Verb
from homeport.plan.world import ChildKey


def held(changes: Sequence[Change]) -> Mapping[ChildKey, str]:
    """The containers whose change has to wait, and for what."""
    groups: dict[tuple[str, str], list[Change]] = {}
    for change in changes:
        if change.child is not None and change.child.turn and change.id.kind == KIND:
            groups.setdefault((change.child.environment, change.child.component), []).append(change)
    out: dict[ChildKey, str] = {}
    for group in groups.values():
        group.sort(key=_ordinal)
        out |= {(change.cluster, change.id): why for change, why in _waiting(group)}
    return out


def _waiting(group: Sequence[Change]) -> Iterable[tuple[Change, str]]:
    unwell = [change for change in group if not _is_well(change)]
    moving: Change | None = None
    for number, change in enumerate(group):
        child = change.child
        assert child is not None
        if change.verb not in (Verb.CREATE, Verb.UPDATE) or change.drift or _only_stops(change):
            continue
        if change.verb is Verb.CREATE:
            blocker = next((other for other in group[:number] if other in unwell), None)
            if child.turn == "Ordered" and blocker is not None:
                yield change, _for(blocker)
        elif child.paused:
            yield change, PAUSED
        elif change not in unwell:
            if unwell or moving is not None:
                yield change, _for(unwell[0] if unwell else moving)
            else:
                moving = change


def _ordinal(change: Change) -> tuple[int, str]:
    _, _, number = change.id.name.rpartition("-")
    return (int(number) if number.isdecimal() else 0, change.id.name)


def _is_well(change: Change) -> bool:
    """Whether a container is there and well, in its present version or the one before."""
    if change.live is None or (change.verb is Verb.NOTHING and change.reason):
        return False  # what was written or deleted just now isn't known yet
    return verdict(change.live).health in (Health.HEALTHY, Health.SUSPENDED)


def _only_stops(change: Change) -> bool:
    child = change.child
    return child is not None and (child.manifest.get("spec") or {}).get("state") == "Stopped"


def _for(other: Change | None) -> str:
    assert other is not None
    seen = verdict(other.live) if other.live is not None else None
    why = f" ({seen.message})" if seen is not None and seen.message else ""
    return f"waits for {other.id.name}{why}"
