"""What the status says of a container as it was found. Pure; nothing that changes by itself is in it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from homeport.api.lxcstatus import Drift, LXCContainerStatus, NetworkState
from homeport.plan.lxc import reachable
from homeport.plan.lxc.view import View

LIMIT = 64
SAME_START = timedelta(seconds=120)
"""A start that is told as less than this apart is the same one: a host's uptime is counted from another moment."""
COMMON = ("observed_generation", "conditions", "last_handled_reconcile_at", "inventory")


def found(view: View) -> dict[str, Any]:
    """The fields that tell what was found."""
    seen = view.seen
    if seen.guest is None or seen.config is None or not view.shown:
        return {}
    if not view.status.created and view.spec.management_policy != "Observe":
        return {}
    out: dict[str, Any] = {
        "node": seen.guest.node,
        "state": "Running" if seen.running else "Stopped",
        "started_at": _started(view) if seen.running else None,
        "networks": _networks(view),
        "pending_reboot": view.diff.pending[:LIMIT] if not seen.lock else view.status.pending_reboot,
        "drift": _drift(view),
    }
    addresses = (view.addresses or reachable.given(seen.config.networks)) if seen.running else ()
    if addresses or not seen.running:
        out["addresses"] = addresses[:32]
        out["address"] = addresses[0] if addresses else None
    return out


def _started(view: View) -> str | None:
    uptime = view.seen.guest.uptime if view.seen.guest is not None else None
    if uptime is None:
        return view.status.started_at
    start = (view.now - timedelta(seconds=uptime)).astimezone(UTC).replace(microsecond=0)
    known = _moment(view.status.started_at)
    if known is not None and abs(start - known) < SAME_START:
        return view.status.started_at
    return start.strftime("%Y-%m-%dT%H:%M:%SZ")


def _moment(text: str | None) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if text else None
    except ValueError:
        return None


def _networks(view: View) -> tuple[NetworkState, ...]:
    assert view.seen.config is not None
    given = {state.name: state.address for state in view.status.networks}
    return tuple(
        NetworkState(name=network.name, id=key, hwaddr=network.hwaddr, address=given.get(network.name))
        for key, network in view.seen.config.networks.items()
    )


def _drift(view: View) -> tuple[Drift, ...]:
    """What isn't as wanted, and isn't mended by itself."""
    watched = view.spec.management_policy == "Observe"
    out: dict[str, Drift] = {}
    for one in view.diff.differences:
        if watched or one.waits or not one.sends:
            impact = "pending-reboot" if one.waits else str(one.impact)
            out[one.field] = _entry(one.field, one.wanted, one.found, impact)
    for one in view.by_hand:
        out[one.field] = _entry(one.field, one.wanted, one.found, str(one.impact))
    for resize in view.diff.resizes if watched else ():
        out[f"{resize.disk}.size"] = _entry(f"{resize.disk}.size", str(resize.size), "", "live")
    return tuple(out.values())[:LIMIT]


def _entry(field: str, wanted: str, found_value: str, impact: str) -> Drift:
    values = {"field": field, "wanted": wanted[:1024], "found": found_value[:1024], "class": impact}
    return Drift.model_validate(values)


def fields(status: LXCContainerStatus) -> Mapping[str, Any]:
    """The status as it is written, what all kinds share left out."""
    return status.model_dump(by_alias=True, exclude_none=True, exclude=set(COMMON), mode="json")
