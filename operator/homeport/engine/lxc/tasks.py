"""Tasks on a container's host as its status names them: how one stands, what came of one without an answer."""

from __future__ import annotations

from datetime import datetime, timedelta

from homeport.api.labels import OwnerKey
from homeport.api.lxcstatus import TaskState
from homeport.drivers.proxmox import errors
from homeport.drivers.proxmox.protocol import ProxmoxHost
from homeport.engine.lxc.known import Containers
from homeport.plan.lxc.view import Absence, Asked, Seen
from homeport.plan.proxmox.tasks import TaskStatus, Upid

UNANSWERED = timedelta(seconds=60)
"""How long a request may be under way whose answer nobody waits for any more."""
CLOCKS = timedelta(minutes=10)
"""How far a host's clock may be behind."""


async def standing(task: TaskState | None, key: OwnerKey, driver: ProxmoxHost) -> TaskStatus | None:
    """How a task stands that was begun; None when nobody knows (any more). Its slot is held for what comes next."""
    if task is None or task.upid is None:
        return None
    try:
        upid = Upid.parse(task.upid)
    except ValueError:
        return None
    driver.resume(str(key), upid)
    try:
        return await driver.task(upid, hold=True)
    except errors.NotFound:
        # Its node has lost what it knew of it: nobody will tell its end, and nothing runs any more.
        driver.release(str(key))
        return None


async def asked(
    task: TaskState | None,
    seen: Seen,
    driver: ProxmoxHost,
    known: Containers,
    key: OwnerKey,
    now: datetime,
    leaving: bool,
) -> Asked:
    """What came of a creation that may have been asked for. A request may be under way when its sender has died or
    given up, so that for a while no task is no proof."""
    stuck = seen.lock == "create" and not seen.busy
    matters = stuck or seen.absence is Absence.HIDDEN or (leaving and not seen.here)
    if task is None or task.type != "Create" or task.upid is not None or not matters:
        known.doubts.pop(key, None)
        return Asked()
    since = datetime.fromisoformat(task.since) - CLOCKS
    found = await driver.begun(task.node, "vzcreate", task.vmid, int(since.timestamp()))
    doubted = known.doubts.setdefault(key, now)
    return Asked(found, found is None and now - doubted > UNANSWERED)
