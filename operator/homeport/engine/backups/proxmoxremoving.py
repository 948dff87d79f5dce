"""Archives of a Backup that are removed without a run: one task at a time, each followed to its end.

What is under way is known to this process only. A crash loses nothing by that: what is there is listed anew, an archive
is looked at just before it is removed, and removing what is gone does nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from homeport.api.backupparts import HostTask
from homeport.api.labels import OwnerKey
from homeport.drivers.proxmox import errors
from homeport.engine.backups import hosttasks, proxmoxkeeping
from homeport.engine.backups.hosttasks import REMOVE, Removals
from homeport.engine.backups.proxmoxplace import Ground
from homeport.engine.context import Context
from homeport.plan.backup import times
from homeport.plan.proxmox.archives import Archive

REFUSALS = 16
"""Archives that couldn't be removed, after which no more is tried: the others would hardly fare better."""
AWAY = (errors.Busy, errors.Unreachable, errors.NodeUnreachable, errors.Unauthorized, errors.OutcomeUnknown)
"""What says nothing of the archive."""


async def under_way(on: Ground, key: OwnerKey, context: Context) -> str:
    """The archive that is being removed now; empty when there is none. How its task ended is remembered."""
    known = context.host_work.removals.setdefault(key, Removals())
    task = known.task
    if task is None:
        return ""
    status = await hosttasks.standing(key, task, on.driver)
    if status is not None and status.running:
        return str(task.detail)
    known.task = None
    if status is not None and not status.succeeded:
        known.refused[str(task.detail)] = status.message
    return ""


async def begin(
    on: Ground, key: OwnerKey, going: Iterable[Archive], nodes: Mapping[Archive, str], context: Context
) -> str:
    """Have the next of ``going`` removed that wasn't tried before: which; empty when none is left to try.

    Raises ProxmoxError that says nothing of the archive (``AWAY``), Busy among them: then it is tried again.
    """
    known = context.host_work.removals.setdefault(key, Removals())
    for archive in going:
        if len(known.refused) >= REFUSALS:
            break
        if archive.protected or archive.volume in known.refused:
            continue
        try:
            if not await proxmoxkeeping.still_ours(on, archive, nodes[archive]):
                continue
            path = ("nodes", nodes[archive], "storage", archive.storage, "content", archive.volume)
            upid = await on.driver.begin(str(key), "DELETE", *path)
        except AWAY:
            raise
        except errors.ProxmoxError as error:
            known.refused[archive.volume] = str(error)
            continue
        since = times.text(context.now())
        known.task = HostTask(type=REMOVE, node=nodes[archive], since=since, detail=archive.volume, upid=str(upid))
        return archive.volume
    return ""


def refused(key: OwnerKey, going: Iterable[Archive], context: Context) -> str:
    """Which of ``going`` couldn't be removed, and why; empty when there is none."""
    known = context.host_work.removals.get(key, Removals()).refused
    stay = [archive.volume for archive in going if archive.volume in known]
    if not stay:
        return ""
    more = f"; {len(stay) - 1} more couldn't be removed" if len(stay) > 1 else ""
    return f"{stay[0]} couldn't be removed: {known[stay[0]]}{more}"


def forget(key: OwnerKey, context: Context) -> None:
    """It is over: what was refused may be tried again."""
    context.host_work.removals.pop(key, None)
