"""Tasks on a Proxmox VE host for runs and restores: written to the status first, then asked for, then followed.

Nobody waits for a task in here. Whether one was asked for that nobody has written down (a crash, an answer that was
lost) is found out from the host: by what a task's log says, or by what it made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

from homeport.api import labels
from homeport.api.backupparts import HostTask
from homeport.api.conditions import Reason
from homeport.api.labels import OwnerKey
from homeport.api.resource import Resource
from homeport.drivers.kubernetes import types
from homeport.drivers.proxmox import errors
from homeport.outcome import Outcome, Wait
from homeport.plan.backup import times
from homeport.plan.proxmox.tasks import TaskStatus, Upid

if TYPE_CHECKING:
    from homeport.drivers.proxmox.protocol import Options, ProxmoxHost
    from homeport.engine.context import Context

UNANSWERED = timedelta(seconds=30)
"""How long a request may be under way whose answer nobody waits for any more: pveproxy gives up on one after that."""
CLOCKS = timedelta(minutes=10)
"""How far a host's clock may be behind."""
OVER = ("Succeeded", "Incomplete", "Failed")
"""Phases of runs and restores of which nothing more comes."""
DUMP, REMOVE, RESTORE = "vzdump", "imgdel", "vzrestore"
START, SHUTDOWN, STOP, DESTROY, MOVE = "vzstart", "vzshutdown", "vzstop", "vzdestroy", "move_volume"
POLL = 3.0
"""Seconds between two looks at a task."""
COMMON = {"observed_generation", "conditions", "last_handled_reconcile_at", "inventory"}
S = TypeVar("S", bound=BaseModel)


@dataclass
class Removals:
    """Archives that one Backup has removed (``proxmoxremoving``)."""

    task: HostTask | None = None
    """The one that is under way."""
    refused: dict[str, str] = field(default_factory=dict)
    """Why those stay that couldn't be removed, by volume."""
    until: datetime | None = None
    """When they are tried again; None while there are others to try."""


@dataclass
class HostWork:
    """What this process knows of tasks that no status has yet."""

    planned: dict[OwnerKey, str] = field(default_factory=dict)
    """By whose it is: when the task was written down of which this process has sent nothing."""
    begun: dict[OwnerKey, HostTask] = field(default_factory=dict)
    doubts: dict[OwnerKey, datetime] = field(default_factory=dict)
    listed: dict[str, float] = field(default_factory=dict)
    """By host: when it was last looked which VMIDs have backups (monotonic seconds)."""
    removals: dict[OwnerKey, Removals] = field(default_factory=dict)

    def forget(self, key: OwnerKey) -> None:
        """Let go of what is known."""
        self.planned.pop(key, None)
        self.begun.pop(key, None)
        self.doubts.pop(key, None)
        self.removals.pop(key, None)


class Sought(NamedTuple):
    """What came of one reconciliation: the status fields, and how it ended."""

    fields: Mapping[str, Any]
    outcome: Outcome


def remembered(resource: Resource[Any], kind: type[S]) -> S:
    """The status, typed; what this version can't read is left out."""
    known = {entry.alias or name for name, entry in kind.model_fields.items()}
    kept = {key: value for key, value in resource.status.items() if key in known and key != "conditions"}
    try:
        return kind.model_validate(kept)
    except ValidationError as error:
        wrong = {str(entry["loc"][0]) for entry in error.errors() if entry["loc"]}
        return kind.model_validate({key: value for key, value in kept.items() if key not in wrong})


def fields(status: BaseModel) -> dict[str, Any]:
    """The status as it is written, what all kinds share left out."""
    return status.model_dump(by_alias=True, exclude_none=True, exclude=COMMON, mode="json")


def plan(
    key: OwnerKey, context: Context, kind: str, node: str, vmid: int | None, detail: str | None = None
) -> HostTask:
    """What is going to be asked for; to be written down, and done at the next look."""
    since = times.text(context.now())
    context.host_work.planned[key] = since
    context.host_work.begun.pop(key, None)
    context.host_work.doubts.pop(key, None)
    return HostTask(type=kind, node=node, vmid=vmid, since=since, detail=detail)


def is_untouched(key: OwnerKey, task: HostTask, context: Context) -> bool:
    """Whether this process has written it down, and sent nothing since."""
    return context.host_work.planned.get(key) == task.since


def doubted(key: OwnerKey, context: Context) -> bool:
    """Whether a request that left no trace may still arrive."""
    since = context.host_work.doubts.setdefault(key, context.now())
    return context.now() - since <= UNANSWERED


def trust(key: OwnerKey, task: HostTask, context: Context) -> None:
    """Nothing was sent for it, and nothing will arrive."""
    context.host_work.planned[key] = task.since


def since(task: HostTask) -> int:
    """From when on its traces may be, by the host's clock: seconds since 1970."""
    return int((datetime.fromisoformat(task.since) - CLOCKS).timestamp())


async def send(
    resource: Resource[Any], task: HostTask, driver: ProxmoxHost, context: Context, method: str, *segments: str | int,
    params: Options | None = None,
) -> HostTask | Outcome:  # fmt: skip
    """Ask for it; the task with its UPID, to be written down. Raises ``errors.ProxmoxError`` for a refusal."""
    key = resource.key
    if full := driver.full(str(key)):
        return Wait(Reason.PROGRESSING, full, POLL)
    if (doubt := await _doubt(resource, task, context)) is not None:
        return doubt
    context.host_work.planned.pop(key, None)
    try:
        upid = await driver.begin(str(key), method, *segments, params=params)
    except errors.Busy as error:
        trust(key, task, context)
        return Wait(Reason.PROGRESSING, str(error), POLL)
    except errors.OutcomeUnknown as error:
        return Wait(Reason.PROGRESSING, f"{error}; looks what came of it", POLL)
    except errors.ProxmoxError:
        trust(key, task, context)  # a refusal: nothing was begun
        raise
    told = task.model_copy(update={"upid": str(upid)})
    context.host_work.begun[key] = told
    return told


async def _doubt(resource: Resource[Any], task: HostTask, context: Context) -> Outcome | None:
    """Before anything is made: whether the API server has it that it is to be, whatever a cache says."""
    gvk = types.by_kind(labels.API_VERSION, resource.kind)
    found = await context.cluster.client.get(gvk, resource.namespace, resource.name)
    if found is None or found["metadata"].get("uid") != resource.uid:
        return Wait(Reason.PROGRESSING, "the resource has changed; looks again", 1.0)
    written = (found.get("status") or {}).get("task") or {}
    if (written.get("since"), written.get("type")) != (task.since, task.type):
        return Wait(Reason.PROGRESSING, "the status has changed; looks again", 1.0)
    return None


def recalled(key: OwnerKey, task: HostTask | None, context: Context) -> HostTask | None:
    """The task with its UPID, also when that couldn't be written."""
    begun = context.host_work.begun.get(key)
    if task is not None and task.upid is None and begun is not None and begun.since == task.since:
        return begun
    return task


async def standing(key: OwnerKey, task: HostTask, driver: ProxmoxHost) -> TaskStatus | None:
    """How it stands; None when nobody knows (any more)."""
    upid = Upid.parse(task.upid or "")
    driver.resume(str(key), upid)
    try:
        return await driver.task(upid)
    except errors.NotFound:
        driver.release(str(key))
        return None
