"""Which archives of a Backup of containers are kept, what is there of them, and whether one may be removed."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from homeport.api.backupparts import KeptRun, Listing
from homeport.api.labels import OwnerKey
from homeport.drivers.proxmox import errors
from homeport.engine.backups.hosttasks import OVER
from homeport.engine.backups.proxmoxplace import Ground
from homeport.engine.context import Context
from homeport.plan.backup import proxmoxmarks, retention, times
from homeport.plan.backup.proxmoxmarks import Found
from homeport.plan.proxmox.archives import Archive

KEPT = 100


def listing(runs: tuple[Found, ...]) -> Listing:
    """What the storage has of a Backup, newest first."""
    kept = tuple(
        KeptRun(
            run=one.run, snapshot=next(iter(one.parts.values())).volume if one.parts else None,
            time=times.text(one.time), bytes=one.size, protected=one.protected or None,
            complete=None if one.good else False, verified=one.verified or None,
        )
        for one in runs[:KEPT]
    )  # fmt: skip
    return Listing(snapshots=len(runs), runs=kept)


def let_go(on: Ground, runs: tuple[Found, ...], context: Context) -> tuple[Found, ...]:
    """The runs that retention doesn't keep, oldest first."""
    spec = on.spec
    if spec is None or spec.retention is None:
        return ()
    told = spec.retention
    policy = retention.Policy(*(getattr(told, f"keep_{rule}") or 0 for rule in retention.Policy._fields))
    status = context.store.status(OwnerKey("Backup", on.namespace, on.backup))
    verified = {str((status.get("verified") or {}).get("run") or "")}
    verdicts = retention.decide(proxmoxmarks.retained(runs, verified), policy, ZoneInfo(spec.time_zone or "UTC"))
    going = {verdict.run.id for verdict in verdicts if not verdict.keep}
    return tuple(one for one in reversed(runs) if one.run in going - in_use(on.namespace, context))


def in_use(namespace: str, context: Context) -> set[str]:
    """The runs that are under way, or being restored."""
    out = set()
    for kind in ("BackupRun", "Restore"):
        for key in context.store.keys(kind, namespace):
            status = context.store.status(key)
            if status.get("phase") not in OVER:
                out.add(str(status.get("run") or key.name))
    return out


async def still_ours(on: Ground, archive: Archive, node: str) -> bool:
    """Whether it is what it was when it was listed; read just before it is removed."""
    try:
        fresh = await on.driver.archive(node, archive.volume)
    except errors.NotFound:
        return True  # gone: removing it does nothing
    told = proxmoxmarks.mark(fresh.notes)
    return told is not None and told.owner == on.owner and not fresh.protected
