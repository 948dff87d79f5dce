"""Calling off a swap: the original has its mark back, what was restored is destroyed, and the LXCContainer goes on.

Asked for by the annotation ``homeport.dev/call-off`` with the Restore's name, and done as long as nothing has come over
from the original: after that, both hold data that the other hasn't. ``Return`` is a step of the swap as others are: it
is in the status before anything is written, and what a crash leaves undone is done by the next look.
"""

from __future__ import annotations

from typing import Any

from homeport.api import labels
from homeport.api.conditions import Reason
from homeport.engine.backups.proxmoxplace import Container, Ground
from homeport.engine.backups.proxmoxrestoring import Restoring
from homeport.engine.queue import RESYNC
from homeport.outcome import Outcome, Wait
from homeport.plan.backup import proxmoxrestore
from homeport.plan.lxc import owner as owners
from homeport.plan.lxc.owner import Owner
from homeport.plan.proxmox import properties
from homeport.plan.proxmox.config import ContainerConfig

BEFORE_HAND = ("Stop", "Release", "Move", "Take")
"""The steps in which it can be called off."""
RETURN = "Return"
REPLACED = "\n\nreplaced by Restore"
"""What begins the note in an original that is kept."""


def asked(restoring: Restoring) -> bool:
    """Whether somebody wants it called off."""
    return restoring.resource.annotations.get(labels.CALL_OFF) == restoring.resource.name


async def turned(
    restoring: Restoring, on: Ground, container: Container, node: str, old: ContainerConfig, new: ContainerConfig
) -> Outcome | None:
    """What is done of it; None while nobody wants it, or when it can't be."""
    if restoring.status.step == RETURN:
        return await _give_back(restoring, on, container, node, old)
    return _begin(restoring, on, container, old, new) if asked(restoring) else None


def _begin(
    restoring: Restoring, on: Ground, container: Container, old: ContainerConfig, new: ContainerConfig
) -> Outcome | None:
    """Turn back; None when that can't be any more, which is noted, and the swap goes on."""
    previous, vmid = restoring.status.previous_vmid, restoring.status.vmid
    assert previous is not None and vmid is not None
    if owners.is_ours(new.description, Owner(on.installation, container.namespace, container.name, vmid)):
        restoring.note(f"it can't be called off any more: {vmid} has taken the original's place")
        return None
    came = {key: mount for key, mount in proxmoxrestore.left_out(new).items() if key not in old.mounts}
    if came:
        paths = ", ".join(str(mount.path) for mount in came.values())
        restoring.note(f"it can't be called off any more: {paths} came over from {previous} to {vmid}")
        return None
    restoring.remember(step=RETURN, task=None)
    return Wait(Reason.PROGRESSING, f"called off: {previous} has its place back", 0.0)


async def _give_back(
    restoring: Restoring, on: Ground, container: Container, node: str, config: ContainerConfig
) -> Outcome:
    """The original's mark; then what was restored goes as after a start that failed."""
    previous = restoring.status.previous_vmid
    assert previous is not None
    mine = Owner(on.installation, container.namespace, container.name, previous)
    if owners.is_ours(config.description, mine):
        return over(restoring, container, f"called off: {container.name} is {previous}, as before")
    if not owners.is_left(config.description, mine):
        return restoring.failed("NotOurs", f"container {previous} isn't LXCContainer {container.name}'s any more")
    options: dict[str, Any] = {
        "description": owners.described(owners.text(config.description).partition(REPLACED)[0], mine),
        "tags": properties.tags_text((config.tags - {owners.RETAINED_TAG}) | {owners.TAG}),
    }
    await on.driver.configure(node, previous, options, digest=config.digest)
    return Wait(Reason.PROGRESSING, f"called off: {previous} has its mark back", 0.0)


def over(restoring: Restoring, container: Container, text: str) -> Outcome:
    """The swap is over, and the LXCContainer doesn't wait any more: it starts the original, where that is to run."""
    restoring.remember(step="Start", phase="Running", previous_vmid=None)
    restoring.context.enqueue(container.key, RESYNC, 0.0)
    return restoring.failed("CalledOff", text)
