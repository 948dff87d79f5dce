"""What an LXCContainer does while a Restore puts something into its place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from homeport.api.conditions import Reason
from homeport.engine.backups import proxmoxcalloff
from homeport.engine.backups.proxmoxplace import Container
from homeport.outcome import Outcome, Wait

if TYPE_CHECKING:
    from homeport.engine.context import Context

HELD = ("Halt", *proxmoxcalloff.BEFORE_HAND, proxmoxcalloff.RETURN)
"""The steps in which it waits."""


def restoring_of(container: Container, context: Context) -> tuple[str, Mapping[str, Any]] | None:
    """The Restore that is putting something into a container's place, and its status."""
    for key in context.store.keys("Restore"):
        status = context.store.status(key)
        to = status.get("restoredTo") or {}
        mine = (to.get("namespace") or key.namespace, to.get("container")) == (container.namespace, container.name)
        if status.get("phase") == "Swapping" and mine:
            return key.name, status
    return None


def hold(container: Container, context: Context) -> Mapping[str, Any] | Outcome | None:
    """What an LXCContainer does while it is being restored: waits, and then goes on with the other VMID."""
    found = restoring_of(container, context)
    if found is None:
        return None
    name, status = found
    if status.get("step") in HELD:
        return Wait(Reason.PROGRESSING, f"is being restored by Restore {name} ({status.get('step')})", 10.0)
    if container.status.get("vmid") != status.get("previousVmid"):
        return None
    return {
        "vmid": status.get("vmid"), "node": status.get("node"), "created": True, "task": None, "mounts": (),
        "started_at": None, "pending_reboot": (), "drift": (),
    }  # fmt: skip
