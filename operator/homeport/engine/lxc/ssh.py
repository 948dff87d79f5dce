"""``delivery: SSH``: the keys that a container is made with, and how its software is, from what its shell tells."""

from __future__ import annotations

import base64
import dataclasses
from typing import Any, NamedTuple

from homeport.api.conditions import Reason
from homeport.api.lxccontainer import LXCContainerSpec
from homeport.api.lxcstatus import LXCContainerStatus
from homeport.api.resource import Resource
from homeport.api.software import SoftwareStatus
from homeport.drivers import ssh as driver
from homeport.drivers.kubernetes import types
from homeport.engine.context import Context
from homeport.engine.lxc import checks
from homeport.engine.lxc.checks import Looked
from homeport.engine.lxc.payload import payload_of, run_of
from homeport.engine.lxc.shells import State, Target
from homeport.engine.queue import RESYNC
from homeport.outcome import Outcome, Stalled, Wait
from homeport.plan import agent as wire
from homeport.plan import payload as payloads
from homeport.plan.lxc.view import Health
from homeport.plan.lxc.wanted import Place

Container = Resource[LXCContainerSpec]


class Verdict(NamedTuple):
    """How it is, and what the status is to say."""

    health: Health
    status: SoftwareStatus
    running: bool = False
    """Whether its process runs, so that a port can be checked."""


async def user_keys(container: Container, context: Context) -> str | Outcome:
    """What ``sshKeysSecretRef`` names; empty for none."""
    ref = container.spec.ssh_keys_secret_ref
    if ref is None:
        return ""
    found = await context.cluster.client.get(types.SECRET, container.namespace, ref.name)
    content = ((found or {}).get("data") or {}).get(ref.key)
    if content is None:
        text = f"sshKeysSecretRef: Secret {ref.name} in namespace {container.namespace} has no key {ref.key}; create it"
        return Wait(Reason.DEPENDENCY_NOT_READY, text, 30.0)
    try:
        return base64.b64decode(content).decode("ascii").strip()
    except ValueError:
        return Stalled(Reason.INVALID_SPEC, f"sshKeysSecretRef: {ref.key} of Secret {ref.name} isn't lines of text")


async def with_keys(container: Container, place: Place, by_ssh: bool, context: Context) -> Place | Outcome:
    """The place of a container that is to be made, with root's authorized_keys: the user's, and the operator's."""
    lines = await user_keys(container, context)
    if isinstance(lines, Outcome):
        return lines
    if by_ssh:
        try:
            private = await context.containers.shells.private(context.cluster, context.system_namespace)
        except ValueError as error:
            return Wait(Reason.DEPENDENCY_NOT_READY, str(error), 30.0)
        lines = f"{lines}\n{driver.public_key(private)}".strip()
    return dataclasses.replace(place, public_keys=f"{lines}\n" if lines else None)


async def _look(
    container: Container, known: SoftwareStatus, vmid: int, address: str, payload: wire.Payload, run: str,
    context: Context,
) -> Verdict:  # fmt: skip
    """How it is; in the background what isn't there is brought. ``run`` names a job's run; empty for none."""
    if not address:
        return Verdict(Health(None, "waits for an address to reach it at"), known)
    shells = context.containers.shells
    try:
        private = await shells.private(context.cluster, context.system_namespace)
        parcel = shells.parcel(container.key, payload, private)
    except ValueError as error:
        return Verdict(Health(False, str(error)), known)
    state = shells.look(container.key, Target(vmid, address, known.host_key or "", parcel, _by_shell(payload.probes)))
    if state.fingerprint and not known.host_key:
        # Kept before anything is brought.
        context.enqueue(container.key, RESYNC, 0.0)
        learned = known.model_copy(update={"host_key": state.fingerprint, "agent": "Connected"})
        return Verdict(Health(None, "its SSH host key was learned"), learned)
    if _only_just_away(container, known, state, context):
        return Verdict(Health(True), known)
    health, exit_code = judged(state)
    ready = health.well is True
    said = state.problem or (health.message if not ready else "")
    update: dict[str, Any] = {
        "agent": "Connected" if state.connected else "Disconnected",
        "ready": ready,
        "message": said[:1024] or None,
        "started_at": state.found.started_at if state.found is not None else known.started_at,
    }
    if payload.schedule is not None and exit_code is not None:
        update["exit_code"] = exit_code
    if run and exit_code is not None:
        update |= {"exit_code": exit_code, "run": run, "ready": None}
        context.enqueue(container.key, RESYNC, 0.0)
    running = state.found is not None and state.found.active == "active" and not state.problem
    return Verdict(health, known.model_copy(update=update), running)


def _by_shell(probes: wire.ProbeSet) -> wire.ProbeSet:
    """Those that the shell's look makes. A readiness that is reached over the network is the prober's."""
    readiness = probes.readiness
    if readiness is None or readiness.exec is not None:
        return probes
    return probes.model_copy(update={"readiness": None})


def _only_just_away(container: Container, known: SoftwareStatus, state: State, context: Context) -> bool:
    """Whether one that was well isn't reached yet, or just now: what runs there goes on."""
    excused = bool(known.ready) and not state.connected and not state.refused
    left = context.containers.away_still(container.key, context.clock(), excused=excused)
    if left > 0:
        context.enqueue(container.key, RESYNC, min(left, 5.0))
    return left > 0


def judged(state: State) -> tuple[Health, int | None]:
    """How well it is, and the exit code of a job, or of a schedule's last run, when there is one."""
    parcel, found = state.target.parcel, state.found
    if state.problem:
        return Health(False if state.connected or state.refused or found is not None else None, state.problem), None
    if found is None:
        return Health(None, "is reached by SSH"), None
    if not found.in_force(parcel):
        return Health(None, "is told what to run"), None
    if parcel.run:
        ended = found.ended(parcel)
        return Health(None, "its command runs" if ended is None else "its command has ended"), ended
    if parcel.scheduled:
        return Health(True), found.exit_code
    if found.active != "active":
        code = f" with {found.exit_code}" if found.exit_code is not None else ""
        return Health(False, f"its command ends again and again{code}"), None
    if state.unready:
        readiness = state.target.probes.readiness
        failed = readiness is not None and state.failures >= readiness.failure_threshold
        return Health(False if failed else None, state.unready), None
    return Health(True), None


async def look(
    container: Container, status: LXCContainerStatus, place: Place, running: bool, addresses: tuple[str, ...],
    context: Context,
) -> Looked:  # fmt: skip
    """How it is, by its shell and by its readiness probe."""
    software, known = container.spec.software, status.software or SoftwareStatus()
    assert software is not None
    run = run_of(container) if software.restart_policy == "Never" else ""
    if run and known.exit_code is not None and known.run == run:
        # Its result is in the status: the container may stop.
        return Looked(finished=True, exit_code=known.exit_code)
    if not running:
        context.containers.shells.forget(container.key)
        context.containers.prober.forget(container.key)
        gone = known.model_copy(update={"ready": None, "agent": None, "started_at": None, "message": None})
        return Looked(remember={"software": gone} if gone != known else {})
    try:
        payload = await payload_of(container, software, place, context)
    except (payloads.Missing, ValueError) as error:
        return Looked(Health(False, str(error)))
    address = addresses[0] if addresses else ""
    health, fresh, up = await _look(container, known, place.vmid, address, payload, run, context)
    target = checks.target(container, addresses) if up and health.well else None
    if target is not None:
        health = context.containers.prober.look(container.key, target)
        fresh = fresh.model_copy(update={"ready": health.well is True, "message": health.message or None})
    return Looked(health, remember={"software": fresh} if fresh != known else {})
