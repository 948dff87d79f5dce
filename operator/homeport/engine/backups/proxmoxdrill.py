"""Drills of containers: what was restored is started where it reaches nobody, asked, and destroyed.

Software that Homeport's init runs gets an identity of its own in the drill: with the original's it would be taken for
it. It is told to run what the original runs, on the isolated bridge; without a bridge its links are down, nobody can
ask it anything, and what is proven is that it starts and stays up.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta

from homeport.api.backupparts import CheckResult, RunPart
from homeport.api.conditions import Reason
from homeport.engine.backups import proxmoxbeside
from homeport.engine.backups.hosttasks import POLL, START
from homeport.engine.backups.proxmoxplace import Container, Ground
from homeport.engine.backups.proxmoxrestoring import Restoring
from homeport.engine.lxc.payload import payload_of
from homeport.outcome import Outcome, Stalled, Wait
from homeport.plan import payload as payloads
from homeport.plan.agent import AgentId, Peer
from homeport.plan.backup import times
from homeport.plan.backup.proxmoxrestore import As, Scratch
from homeport.plan.delivery import IMAGES_FROM
from homeport.plan.lxc.owner import Owner
from homeport.plan.lxc.wanted import Place, environment
from homeport.plan.names import seconds
from homeport.plan.proxmox.addresses import Unavailable
from homeport.runner import expect
from homeport.runner.result import Failure

SETTLE = 5.0
"""Seconds that a container must have been running before that counts for something."""
AGENT = timedelta(minutes=5)
"""How long an agent gets to connect, and the software to become ready."""
OUTPUT = 1024


def objection(restoring: Restoring, on: Ground, parts: tuple[RunPart, ...]) -> Outcome | None:
    """Why there can be no drill."""
    verify = on.spec.verify if on.spec is not None else None
    if verify is not None and not verify.restore:
        return Stalled(
            Reason.INVALID_SPEC,
            "Proxmox VE can't check an archive without restoring it; write verify.restore: true (a Proxmox Backup "
            "Server verifies by jobs of its own, and what they find is in status.runs)",
        )
    before = not on.reading.version.at_least(*IMAGES_FROM)
    if before and verify is not None and verify.network is not None and any(has_agent(restoring, one) for one in parts):
        # Its containers have no environment to give it another identity by.
        return Stalled(
            Reason.UNSUPPORTED_VERSION,
            f"{on.host} is Proxmox VE {on.reading.version.text}, and a drill on a bridge of software with an init "
            f"needs {'.'.join(map(str, IMAGES_FROM))}; leave verify.network out, or upgrade it",
        )
    return None


def wish(restoring: Restoring, on: Ground, scratch: Scratch, part: RunPart, what: str) -> As:
    """As what a part is restored for a drill."""
    verify = on.spec.verify if on.spec is not None else None
    network = verify.network if verify is not None else None
    pool = on.use.pool if on.use is not None else None
    return As(
        scratch,
        proxmoxbeside.name_of(restoring, part)[:63].rstrip("-"),
        what,
        bridge=network.bridge if network is not None else None,
        address=restoring.status.address if network is not None else None,
        storage=verify.storage if verify is not None else None,
        pool=pool,
        env=_env(restoring, scratch) if network is not None and has_agent(restoring, part) else None,
    )


async def address(restoring: Restoring, on: Ground) -> str | Outcome | None:
    """An address on the isolated bridge, as long as the drill lasts. Raises ``ProxmoxError``."""
    verify = on.spec.verify if on.spec is not None else None
    if verify is None or verify.network is None:
        return None
    if restoring.status.address is not None:
        return restoring.status.address
    found = await restoring.context.allocations.address(restoring.key, on.host, "eth0", verify.network.cidr, None)
    return Wait(Reason.DEPENDENCY_NOT_READY, found.text, 60.0) if isinstance(found, Unavailable) else found


def has_agent(restoring: Restoring, part: RunPart) -> bool:
    """Whether Homeport's init runs in it."""
    source = proxmoxbeside.original(restoring, part)
    claim = (source.status.get("software") or {}).get("claim") if source is not None else None
    return bool(claim)


def agent(restoring: Restoring, vmid: int) -> AgentId:
    """What the container of a drill calls itself."""
    return AgentId(restoring.resource.namespace, restoring.resource.name, vmid)


def _claim(restoring: Restoring) -> str:
    """The same each time, also after a restart."""
    return hashlib.sha256(f"drill {restoring.resource.uid}".encode()).hexdigest()[:16]


def _env(restoring: Restoring, scratch: Scratch) -> str | None:
    """What its init finds: its own name and claim. Raises nothing; None where agents aren't listened to."""
    peer = Peer(restoring.resource.uid, _claim(restoring))
    found = restoring.context.agents.environment(agent(restoring, scratch.vmid), peer)
    # Without an operator to dial to it must still not have the original's.
    return environment(found) if isinstance(found, dict) else "HOMEPORT_DRILL=1"


async def start(restoring: Restoring, on: Ground) -> Outcome:
    """Start it, unless it runs."""
    part, vmid, node = restoring.part, restoring.status.vmid, restoring.status.node
    assert part is not None and vmid is not None and node is not None
    there = await restoring.look(on, vmid, node)
    if there is None:
        return restoring.failed("Missing", f"what was restored as {vmid} was removed by somebody", clean=False)
    guest, _ = there
    if guest.status == "running":
        if (guest.uptime or 0) < SETTLE:
            return Wait(Reason.PROGRESSING, f"{vmid} has started; looks whether it stays up", POLL)
        if restoring.status.duration is None:
            begun = datetime.fromisoformat(restoring.status.started_at or times.text(restoring.context.now()))
            took = max(1, round((restoring.context.now() - begun).total_seconds()))
            restoring.remember(duration=f"{took}s")
        restoring.remember(step="Check" if restoring.kind == "drill" else "Halt",
                           phase="Checking" if restoring.kind == "drill" else restoring.status.phase)  # fmt: skip
        restoring.context.host_work.doubts.pop(restoring.key, None)
        return Wait(Reason.PROGRESSING, f"{vmid} runs", 0.0)
    if (why := restoring.ended_badly(START)) is not None:
        return restoring.failed("StartFailed", f"{part.part}: what was restored doesn't start: {why}")
    if restoring.last is not None and restoring.last[0] == START:
        return restoring.failed("StartFailed", f"{part.part}: what was restored has stopped again at once")
    return await restoring.do(on, START, node, vmid, "POST", "lxc", vmid, "status", "start")


async def check(restoring: Restoring, on: Ground) -> Outcome:
    """Ask what was restored; then it is destroyed."""
    part, vmid, node = restoring.part, restoring.status.vmid, restoring.status.node
    assert part is not None and vmid is not None and node is not None and on.spec is not None
    verify = on.spec.verify
    command = verify.check if verify is not None else None
    reachable = verify is not None and verify.network is not None and has_agent(restoring, part)
    if not reachable:
        if command is not None:
            how = "leave check out, to prove no more than that it starts"
            if has_agent(restoring, part):
                how = "write verify.network: an isolated bridge from which containers reach the operator"
            return restoring.failed("CheckImpossible", f"{part.part}: verify.check has no way into it; {how}")
        restoring.note(f"{part.part}: it starts and stays up; nothing in it was asked")
        return _passed(restoring, f"{part.part} starts from run {restoring.status.run} in {restoring.status.duration}")
    source = proxmoxbeside.original(restoring, part)
    assert source is not None
    waits = await _told(restoring, source, vmid, node, on)
    if waits is not None:
        since = restoring.context.host_work.doubts.setdefault(restoring.key, restoring.context.now())
        if restoring.context.now() - since > AGENT:
            return restoring.failed("CheckFailed", f"{part.part}: {waits} within {AGENT.seconds // 60} minutes")
        return Wait(Reason.PROGRESSING, f"{part.part}: {waits}", POLL)
    if command is None:
        return _passed(restoring, f"{part.part} runs and is ready from run {restoring.status.run}")
    inside = {process.name for process in (source.spec.software.processes or ())} if source.spec.software else set()
    process = on.spec.source.component if on.spec.source.component in inside else None
    found = await restoring.context.agents.exec(
        agent(restoring, vmid), command.exec, seconds(command.timeout), process=process or ""
    )
    output = found.stdout.decode(errors="replace")
    why = found.error or ("it took too long" if found.timed_out else "")
    if not why and found.exit_code != 0:
        why = f"it ended with {found.exit_code}: {found.stderr.decode(errors='replace').strip()[:200]}"
    if not why and command.expect is not None:
        try:
            why = expect.problem(command.expect, output)
        except Failure as error:
            why = str(error)
    restoring.remember(check=CheckResult(output=output[:OUTPUT], passed=not why))
    if why:
        return restoring.failed("CheckFailed", f"{part.part}: the check failed: {why}")
    return _passed(
        restoring, f"the check passed on run {restoring.status.run}, restored in {restoring.status.duration}"
    )


async def _told(restoring: Restoring, source: Container, vmid: int, node: str, on: Ground) -> str | None:
    """Tell it what to run; what is waited for, or None when it is ready."""
    agents, mine = restoring.context.agents, agent(restoring, vmid)
    session = agents.session(mine)
    agents.expect(mine, Peer(restoring.resource.uid, _claim(restoring), session.fingerprint), restoring.key)
    if not session.connected:
        return session.problem or "its agent hasn't connected; the isolated bridge has to lead to the operator"
    software = source.spec.software
    assert software is not None
    owner = Owner(on.installation, source.namespace, source.name, vmid)
    try:
        payload = await payload_of(source, software, Place(on.host, node, owner), restoring.context)
        if not await agents.deliver(mine, payload):
            return "its agent hasn't taken what to run"
    except (payloads.Missing, ValueError) as error:
        return f"it can't be told what to run ({error})"
    state = session.state
    if state is None or not (state.ready or state.phase == "Idle" or software.restart_policy == "Never"):
        return (state.error or state.unready if state is not None else "") or "it hasn't become ready"
    return None


def _passed(restoring: Restoring, message: str) -> Outcome:
    restoring.remember(step="Clean", phase="Cleaning", message=message, task=None)
    return Wait(Reason.PROGRESSING, f"{message}; removes what was made", 0.0)
