"""The original of a swap: kept, stopped, until its time has come, and then destroyed if nobody may miss it."""

from __future__ import annotations

from datetime import datetime

from homeport.api.labels import OwnerKey
from homeport.engine.backups.hosttasks import DESTROY
from homeport.engine.backups.proxmoxplace import Container, Ground
from homeport.engine.backups.proxmoxrestoring import Restoring
from homeport.outcome import Ok, Outcome, Wait
from homeport.plan.backup import proxmoxrestore, times
from homeport.plan.lxc import owner as owners
from homeport.plan.lxc.owner import Owner


def container_of(restoring: Restoring) -> Container | None:
    """The LXCContainer that is restored; None when it is gone."""
    told = restoring.status.restored_to
    if told is None:
        return None
    where = told.namespace or restoring.resource.namespace
    found, _ = restoring.context.store.look(OwnerKey("LXCContainer", where, str(told.container)))
    return found


async def keep(restoring: Restoring, on: Ground) -> Outcome:
    """The original, until its time has come."""
    message = restoring.status.message or ""
    until = datetime.fromisoformat(restoring.status.keep_until or times.text(restoring.context.now()))
    left = (until - restoring.context.now()).total_seconds()
    if left > 0:
        return Ok(message, min(left, 3600.0))
    previous, node = restoring.status.previous_vmid, restoring.status.node or _node(restoring)
    told = restoring.status.restored_to
    if previous is None or not node:
        restoring.remember(step=None)
        return Ok(message)
    if (followed := await restoring.follow(on)) is not None:
        return followed
    there = await restoring.look(on, previous, node)
    if there is None:
        restoring.remember(step=None, previous_vmid=None, task=None)
        return Ok(message)
    guest, config = there
    where = (told.namespace if told is not None else None) or restoring.resource.namespace
    mine = Owner(on.installation, where, str(told.container if told is not None else ""), previous)
    if guest.status == "running" or not owners.is_left(config.description, mine) or config.protection:
        restoring.note(
            f"container {previous} isn't as it was left (it runs, is protected or has another mark), and stays"
        )
        restoring.remember(step=None)
        return Ok(message)
    if alone := proxmoxrestore.left_out(config):
        paths = ", ".join(str(mount.path) for mount in alone.values())
        restoring.note(f"container {previous} holds {paths}, which no backup has, and stays")
        restoring.remember(step=None)
        return Ok(message)
    if (why := restoring.ended_badly(DESTROY)) is not None:
        restoring.note(f"container {previous} couldn't be removed: {why}")
        restoring.remember(step=None)
        return Ok(message)
    outcome = await restoring.do(on, DESTROY, node, previous, "DELETE", "lxc", previous, purge=True)
    return Ok(message, outcome.after if isinstance(outcome, Wait) else 5.0)


def _node(restoring: Restoring) -> str:
    container = container_of(restoring)
    return str(container.status.get("node") or "") if container is not None else ""
