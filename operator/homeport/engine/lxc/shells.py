"""Software brought into containers by SSH: in the background; a reconciliation takes what is known.

The operator's key pair is in one Secret in its own namespace, made once. A host key is learned at the first connection,
and kept in the LXCContainer's status before anything is brought: from then on it is the only one that is taken.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import shlex
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol

from homeport.api.labels import OwnerKey
from homeport.drivers import ssh as driver
from homeport.drivers.kubernetes.cluster import Cluster
from homeport.engine.lxc import probes as checks
from homeport.engine.lxc.probes import Check
from homeport.engine.lxc.shellprobes import Watch
from homeport.engine.ownsecrets import made_once
from homeport.plan import agent as wire
from homeport.plan import ssh

log = logging.getLogger(__name__)

SECRET = "homeport-ssh"  # noqa: S105 - a name
PRIVATE = "ssh-privatekey"
"""The key in the Secret, as Kubernetes's own type for it has it."""
WELL, UNWELL = 30.0, 5.0
"""Seconds between two looks."""
BRING = 120.0
"""Seconds that bringing may take."""


class Shell(Protocol):
    """A connection, as ``drivers.ssh.Connection``."""

    fingerprint: str

    @property
    def closed(self) -> bool:
        """Whether it is gone."""

    async def run(self, command: str, stdin: str = "", seconds: float = 30.0) -> driver.Done:
        """Run a command. Raises SshError."""

    def close(self) -> None:
        """Close it."""


Connect = Callable[[str, str, str], Awaitable[Shell]]
"""Address, private key, and the host key that is known."""


class Target(NamedTuple):
    """What is to be where."""

    vmid: int
    address: str
    host_key: str
    """Its fingerprint; empty only learns it."""
    parcel: ssh.Parcel
    probes: wire.ProbeSet = wire.ProbeSet()
    """Of readiness a command alone: what is reached over the network is checked without a shell."""


@dataclass
class State:
    """What is known of one container."""

    target: Target
    fingerprint: str = ""
    """Of the host key that it showed."""
    found: ssh.Found | None = None
    problem: str = ""
    """Why it can't be reached, or why nothing was brought."""
    unready: str = ""
    """What the probe said."""
    failures: int = 0
    connected: bool = False
    refused: bool = False
    """Whether the operator's key isn't taken there, or another host key was shown."""

    def shown(self) -> tuple[Any, ...]:
        """What a reconciliation sees of it."""
        return (self.fingerprint, self.found, self.problem, self.unready, self.failures, self.connected)


@dataclass
class _Known:
    state: State
    watch: Watch | None = None
    shell: Shell | None = None
    task: asyncio.Task[None] | None = None
    at: float = float("-inf")
    well: bool = False


class Shells:
    """All containers' connections; ``wake`` is told when something of one has changed."""

    def __init__(
        self,
        wake: Callable[[OwnerKey], None],
        clock: Callable[[], float],
        connect: Connect | None = None,
        check: Check | None = None,
    ) -> None:
        self.connect: Connect = connect or driver.connect
        self.check: Check = check or checks.make
        self._wake = wake
        self._clock = clock
        self._private = ""
        self._known: dict[OwnerKey, _Known] = {}
        self._parcels: dict[OwnerKey, tuple[wire.Payload, ssh.Parcel]] = {}

    def parcel(self, key: OwnerKey, payload: wire.Payload, private: str) -> ssh.Parcel:
        """What is brought for a payload; put together once for each. Raises ValueError for what can't be brought."""
        kept = self._parcels.get(key)
        if kept is None or kept[0] is not payload:
            kept = self._parcels[key] = (payload, ssh.parcel(payload, private.encode()))
        return kept[1]

    async def private(self, cluster: Cluster, namespace: str) -> str:
        """The operator's private key. Raises ApiError, and ValueError for a Secret that can't be used."""
        if not self._private:
            self._private = await load(cluster, namespace)
        return self._private

    def look(self, key: OwnerKey, target: Target) -> State:
        """What is known; begins to look, and to bring what isn't there, when it is time to."""
        known = self._known.get(key)
        if known is None or known.state.target[:3] != target[:3]:
            self.forget(key)
            probes = target.probes
            unready = "waits for its probes" if probes.readiness is not None or probes.startup is not None else ""
            known = self._known[key] = _Known(State(target, unready=unready))
        if known.state.target != target:
            known.state.target, known.at = target, float("-inf")
        idle = known.task is None or known.task.done()
        if idle and self._clock() - known.at >= self._period(known):
            known.at = self._clock()
            known.task = asyncio.create_task(self._run(key, known), name=f"ssh {key}")
        return known.state

    def _period(self, known: _Known) -> float:
        probes = known.state.target.probes
        given = [one for one in (probes.liveness, probes.readiness) if one is not None]
        return min([WELL if known.well else UNWELL, *(float(one.period_seconds) for one in given)])

    def due_in(self, key: OwnerKey) -> float:
        """Seconds until it is to be looked at next."""
        known = self._known.get(key)
        return float("inf") if known is None else max(1.0, known.at + self._period(known) - self._clock())

    def forget(self, key: OwnerKey) -> None:
        """It is gone, stopped, or somewhere else."""
        self._parcels.pop(key, None)
        known = self._known.pop(key, None)
        if known is None:
            return
        if known.task is not None:
            known.task.cancel()
        if known.shell is not None:
            known.shell.close()

    def close(self) -> None:
        """Let go of all; what runs goes on."""
        for key in list(self._known):
            self.forget(key)

    async def _run(self, key: OwnerKey, known: _Known) -> None:
        state, target, before = known.state, known.state.target, known.state.shown()
        try:
            await self._once(known, target)
            state.problem, state.connected = "", True
        except _ProblemError as error:
            state.problem, state.connected = str(error), True
        except driver.SshError as error:
            state.problem, state.connected = str(error), False
            state.refused = isinstance(error, driver.KeyRefusedError | driver.HostKeyChangedError)
            log.info("%s: %s", key, error)
        known.well = not state.problem and not state.unready and state.found is not None
        if self._known.get(key) is known and (state.shown() != before or state.target != target):
            self._wake(key)

    async def _once(self, known: _Known, target: Target) -> None:
        state = known.state
        if known.shell is None or known.shell.closed:
            known.shell = await self.connect(target.address, self._private, target.host_key)
        shell = known.shell
        state.fingerprint = shell.fingerprint
        if not target.host_key:
            return
        found = await _look(shell)
        if not found.in_force(target.parcel):
            done = await shell.run("exec /bin/sh -s", target.parcel.script, BRING)
            if done.exit_code:
                raise _ProblemError(ssh.PROBLEMS.get(done.exit_code) or _said("what is to run can't be brought", done))
            found = await _look(shell)
        state.found = found
        if found.active == "active" and not target.parcel.run and not target.parcel.scheduled:
            if known.watch is None or known.watch.since != found.started_at:
                known.watch = Watch(found.started_at, target.probes, self._clock)
            state.unready, state.failures = await known.watch.look(
                target.probes, partial(_exec, shell), partial(self._from_here, target.address), partial(_restart, shell)
            )
        else:
            known.watch = None

    async def _from_here(self, address: str, probe: wire.Probe) -> str:
        """What is wrong with a port or a path."""
        port = probe.http.port if probe.http is not None else probe.tcp or 0
        path, scheme = (probe.http.path, probe.http.scheme) if probe.http is not None else (None, "HTTP")
        where = checks.Target(address, port, path, scheme, timeout=float(probe.timeout_seconds))
        said = await self.check(where)
        return f"fails: {where.shown}: {said}" if said else ""


async def _exec(shell: Shell, probe: wire.Probe) -> str:
    """How a command ends, when not well. Ended there, too: one that hangs would else run on beside the next one."""
    command = f"timeout {probe.timeout_seconds} {shlex.join(probe.exec or ())}"
    done = await shell.run(command, seconds=probe.timeout_seconds + driver.CONNECT)
    return f"ends with {done.exit_code}" if done.exit_code else ""


async def _restart(shell: Shell) -> None:
    await shell.run(f"systemctl restart --no-block {ssh.UNIT}")


class _ProblemError(Exception):
    """It was reached, and something there is wrong."""


def _said(what: str, done: driver.Done) -> str:
    """Without what the script said: that may be anything. sh's own words name paths, and no content."""
    last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.exit_code}"]
    return f"{what}: {last[0][:300]}"


async def _look(shell: Shell) -> ssh.Found:
    done = await shell.run(ssh.LOOK)
    if done.exit_code in ssh.PROBLEMS:
        raise _ProblemError(ssh.PROBLEMS[done.exit_code])
    return ssh.found(done.stdout)


async def load(cluster: Cluster, namespace: str) -> str:
    """The Secret's private key; it is made when it isn't there. Raises ApiError, and ValueError for an unusable one."""
    data = await made_once(cluster, namespace, SECRET, _new)
    try:
        private = base64.b64decode(data[PRIVATE], validate=True).decode()
        driver.public_key(private)
    except (KeyError, ValueError) as error:
        raise ValueError(f"Secret {SECRET} has no private SSH key under {PRIVATE}: {error}") from None
    return private


def _new() -> dict[str, str]:
    return {PRIVATE: base64.b64encode(driver.new_key().encode()).decode()}
