"""A step becomes one request to the host; what it makes has its name in the status before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from homeport.api.conditions import Reason
from homeport.api.lxccontainer import LXCContainerSpec
from homeport.api.lxcstatus import LXCContainerStatus, TaskState
from homeport.api.resource import Resource
from homeport.drivers.kubernetes import types
from homeport.drivers.proxmox import errors
from homeport.engine.context import Context
from homeport.engine.lxc.ground import Ground
from homeport.outcome import Outcome, Stalled, Transient, Wait
from homeport.plan.lxc import taking_back
from homeport.plan.lxc.following import POLL
from homeport.plan.lxc.view import Do, Step

Container = Resource[LXCContainerSpec]
ROOM = 15.0
"""Seconds after which somebody who waits for room for a task looks by itself; it is told earlier."""


@dataclass(frozen=True)
class Done:
    """What came of a step."""

    outcome: Outcome | None = None
    """None: look again at once."""
    remember: Mapping[str, Any] = field(default_factory=dict)


async def carry_out(
    step: Step, container: Container, status: LXCContainerStatus, on: Ground, context: Context
) -> Done:  # fmt: skip
    """Do it."""
    key, known = container.key, context.containers
    before = known.sight.stale(key)
    known.doubts.pop(key, None)
    try:
        if step.do is Do.CREATE and (doubt := await _doubt(step, container, context)) is not None:
            return Done(doubt)
        if step.do is Do.CONFIGURE:
            await on.driver.configure(step.node, step.vmid, dict(step.params), digest=step.digest)
            known.sent(key, step)
            return Done()
        if step.do is not Do.CREATE and await _is_at_work(step, container, on, context):
            text = f"a task is at work on container {step.vmid}, perhaps one of ours; waits for its end"
            return Done(Wait(Reason.PROGRESSING, text, 2.0))
        method, *segments = _request(step)
        upid = await on.driver.begin(str(key), method, *segments, params=dict(step.params) or None)
    except (errors.AlreadyRunning, errors.NotRunning, errors.AlreadyThisSize, errors.DigestConflict):
        return Done()
    except errors.Busy as error:
        known.sight.restore(before)
        return Done(Wait(Reason.PROGRESSING, str(error), ROOM))
    except errors.OutcomeUnknown as error:
        known.sure.discard(key)
        return Done(Wait(Reason.PROGRESSING, f"{error}; looks what came of it", 2.0))
    except errors.ProxmoxError as error:
        if isinstance(error, errors.Exists) and step.do is Do.CREATE:
            # Somebody was faster: whose it is shows at the next look.
            if container.spec.vmid is None:
                context.allocations.lose(on.host, step.vmid)
            return Done()
        more = taking_back.impossible(status, str(error)) if step.do is Do.MOVE else {}
        return Done(told(error, str(status.host or ""), context), more)
    # What was written down before may have waited for room: how long it takes counts from now.
    since = context.now().strftime("%Y-%m-%dT%H:%M:%SZ")
    task = TaskState(
        type=step.do.value, vmid=step.vmid, node=step.node, upid=str(upid), since=since, detail=step.detail or None
    )
    known.sure.add(key)
    known.tasks[key] = task
    reason = step.outcome.reason if isinstance(step.outcome, Wait) else Reason.PROGRESSING
    return Done(Wait(reason, step.outcome.message, POLL[0]), {"task": task})


async def _is_at_work(step: Step, container: Container, on: Ground, context: Context) -> bool:
    """Whether a task of ours may be under way that nobody has written down: begun before a crash, or without an
    answer. Asked of the host only when that can be."""
    sure = context.containers.sure
    if container.key in sure:
        return False
    if await on.driver.is_at_work(step.node, step.vmid):
        return True
    sure.add(container.key)
    return False


async def _doubt(step: Step, container: Container, context: Context) -> Outcome | None:
    """Before anything is made: whether the API server has it that it is to be, whatever a cache says."""
    found = await context.cluster.client.get(types.LXC_CONTAINER, container.namespace, container.name)
    if found is None or found["metadata"].get("uid") != container.uid:
        return Wait(Reason.PROGRESSING, "the resource has changed; looks again", 1.0)
    status = found.get("status") or {}
    if (status.get("task") or {}).get("type") != "Create" or status.get("vmid") != step.vmid:
        return Wait(Reason.PROGRESSING, "the status has changed; looks again", 1.0)
    return None


def told(error: errors.ProxmoxError, host: str, context: Context) -> Outcome:
    """What a fault of its host means for a container."""
    match error:
        case errors.Busy():
            return Wait(Reason.PROGRESSING, str(error), 2.0)
        case errors.Locked():
            if error.lock == errors.CONFIG_LOCK:
                return Wait(Reason.PROGRESSING, f"its configuration is being changed by somebody: {error}", 2.0)
            return Wait(Reason.LOCKED, f"{error}; waits until that is over", 15.0)
        case errors.NoQuorum():
            return Wait(Reason.NO_QUORUM, f"the cluster has no quorum: {error}", 30.0)
        case errors.Protected():
            return Stalled(Reason.CONFIRMATION_REQUIRED, f"{error}; write protection: false to go on")
        case errors.Forbidden() if error.root_only:
            return Stalled(Reason.ACCESS_DENIED, f"{error}: no token may do that; leave it out of the spec")
        case errors.InvalidParameters():
            return Stalled(Reason.INVALID_SPEC, f"Proxmox VE doesn't take it: {error}")
        case errors.Unauthorized() | errors.OtherCluster() | errors.UnsupportedVersion() | errors.Untrusted():
            # The ProxmoxHost says what is to be done; it wakes its containers when it can be used again.
            return Wait(Reason.DEPENDENCY_NOT_READY, str(error), 30.0)
    found = context.hosts.problem(host, error)
    return found or Transient(Reason.PROGRESSING_WITH_RETRY, str(error))


def _request(step: Step) -> tuple[Any, ...]:
    """Method and path of a task."""
    base = ("nodes", step.node, "lxc")
    match step.do:
        case Do.CREATE:
            return ("POST", *base)
        case Do.DESTROY:
            return ("DELETE", *base, step.vmid)
        case Do.RESIZE:
            return ("PUT", *base, step.vmid, "resize")
        case Do.MOVE:
            return ("POST", *base, step.vmid, "move_volume")
        case Do.START | Do.SHUTDOWN | Do.REBOOT:
            return ("POST", *base, step.vmid, "status", step.do.value.lower())
        case Do.SNAPSHOT:
            return ("POST", *base, step.vmid, "snapshot")
        case Do.ROLLBACK:
            return ("POST", *base, step.vmid, "snapshot", step.detail, "rollback")
        case Do.DELETE_SNAPSHOT:
            return ("DELETE", *base, step.vmid, "snapshot", step.detail)
    raise AssertionError(step.do)
