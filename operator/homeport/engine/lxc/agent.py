"""``delivery: Agent``: what a container is told by its agent, and how that says it is."""

from __future__ import annotations

from typing import Any

from homeport.api.lxccontainer import LXCContainerSpec
from homeport.api.lxcstatus import LXCContainerStatus
from homeport.api.resource import Resource
from homeport.api.software import ProcessStatus, Software, SoftwareStatus
from homeport.engine.context import Context
from homeport.engine.lxc.checks import Looked
from homeport.engine.lxc.payload import payload_of, run_of
from homeport.engine.queue import RESYNC
from homeport.plan import agent as wire
from homeport.plan import payload as payloads
from homeport.plan.agent import AgentId, Peer, Session
from homeport.plan.lxc.view import Health
from homeport.plan.lxc.wanted import Place

Container = Resource[LXCContainerSpec]


def agent(container: Container, vmid: int) -> AgentId:
    """What the container calls itself."""
    return AgentId(container.namespace, container.name, vmid)


def peer(container: Container, known: SoftwareStatus) -> Peer:
    """Who may connect as it."""
    return Peer(container.uid, known.claim or "", known.credential or "")


async def look(
    container: Container, status: LXCContainerStatus, place: Place, running: bool, context: Context
) -> Looked:
    """How it is; tells it what to run."""
    software, known = container.spec.software, status.software
    assert software is not None and known is not None
    mine, run = agent(container, place.vmid), run_of(container)
    session = context.agents.session(mine)
    job = software.restart_policy == "Never"
    if job and known.exit_code is not None and known.run == run:
        # Its result is in the status: now it may stop.
        if session.connected:
            await context.agents.finish(mine, run)
        return Looked(finished=True, exit_code=known.exit_code)
    if not running:
        lost = ("ready", "agent", "started_at", "message", "processes")
        gone = known.model_copy(update=dict.fromkeys(lost))
        return Looked(remember={"software": gone})
    if session.fingerprint and not known.credential and session.connected:
        # Kept before anything is delivered.
        context.enqueue(container.key, RESYNC, 0.0)
        pinned = known.model_copy(update={"credential": session.fingerprint, "agent": "Connected"})
        return Looked(Health(None, "its agent has connected"), remember={"software": pinned})
    if _only_just_away(container, known, session, context):
        return Looked(Health(True))
    told = await _deliver(container, software, mine, session, place, context)
    fresh = known.model_copy(update=_told(session, software))
    remember = {"software": fresh}
    if job and session.state is not None and session.state.phase == "Exited" and session.state.run == run:
        last = session.state.last
        done = fresh.model_copy(update={"exit_code": last.exit_code if last else 255, "run": run, "ready": None})
        context.enqueue(container.key, RESYNC, 0.0)
        return Looked(Health(None, "its command has ended"), remember={"software": done})
    return Looked(_verdict(session, told, job), remember=remember)


def _only_just_away(container: Container, known: SoftwareStatus, session: Session, context: Context) -> bool:
    """Whether an agent that was well has just gone."""
    excused = bool(known.ready) and not session.connected and not session.problem
    left = context.containers.away_still(container.key, context.clock(), excused=excused)
    if left > 0:
        context.enqueue(container.key, RESYNC, left)
    return left > 0


def _verdict(session: Session, told: str | bool, job: bool) -> Health:
    if session.problem:
        return Health(False, session.problem)
    if isinstance(told, str):
        return Health(False, told)
    if not session.connected:
        return Health(None, "waits for its agent to connect")
    state = session.state
    if not told or state is None:
        return Health(None, "its agent is told what to run")
    if state.error:
        return Health(False, state.error)
    if state.phase == "Idle" or (not job and state.ready):
        return Health(True)
    if job and state.phase == "Backoff":
        code = f" with exit code {state.last.exit_code}" if state.last is not None else ""
        return Health(None, f"its command has failed{code}, and is tried again")
    if state.phase == "Backoff":
        return Health(False, state.unready or "its command ends again and again")
    if job:
        return Health(None, "its command runs")
    return Health(False if state.started else None, state.unready or "waits for its probes")


def _told(session: Session, software: Software) -> dict[str, Any]:
    """What the status says of the agent."""
    state = session.state
    out: dict[str, Any] = {"agent": "Connected" if session.connected else "Disconnected"}
    if state is not None:
        out["ready"] = (state.ready or state.phase == "Idle") and session.connected
        out["started_at"] = state.started_at or None
        out["message"] = (state.error or state.unready)[:1024] or None
        if software.schedule is not None and state.last is not None:
            out["exit_code"] = state.last.exit_code
        out["processes"] = _processes(state, software, session.connected) or None
    return out


def _processes(state: wire.State, software: Software, connected: bool) -> tuple[ProcessStatus, ...]:
    """How each of several is."""
    scheduled = {process.name for process in software.processes or () if process.schedule is not None}
    return tuple(
        ProcessStatus(
            name=one.name,
            ready=(one.ready or one.phase == "Idle") and connected,
            started_at=one.started_at or None,
            exit_code=one.last.exit_code if one.last is not None and one.name in scheduled else None,
            message=(one.unready or _ending(one))[:512] or None,
        )
        for one in state.processes
    )


def _ending(one: wire.ProcessState) -> str:
    code = f", with exit code {one.last.exit_code}" if one.last is not None else ""
    return f"its command ends again and again{code}" if one.phase == "Backoff" else ""


async def _deliver(
    container: Container, software: Software, mine: AgentId, session: Session, place: Place, context: Context
) -> str | bool:
    """Tell the agent what to run; whether that is in force, or what keeps it from being told."""
    if not session.connected:
        return False
    if software.processes is not None and wire.SEVERAL not in session.features:
        return (
            "the init in this container is of an older Homeport and keeps one process; a new container has the present "
            "one: set the annotation homeport.dev/replace-at to a new value"
        )
    try:
        payload = await payload_of(container, software, place, context)
        return await context.agents.deliver(mine, payload)
    except (payloads.Missing, ValueError) as error:
        return str(error)
