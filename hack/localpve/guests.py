"""What runs in the stand-in's containers: nothing, but an agent that says that it does.

A container whose entrypoint is Homeport's init, or whose root filesystem has it, gets a simulated one when it is
started: it claims, takes its payload,
says what it would run, and answers probes and commands. No image is unpacked, no process started, no port opened; what
that doesn't prove is said in docs/proxmox.md. Everything else about the container is as its configuration says.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

import aiohttp

from homeport.plan import agent as wire
from homeport.plan.agent import hostclaim

log = logging.getLogger(__name__)

AGAIN, LONGEST = 0.5, 10.0
"""Seconds between two tries to reach the operator, and the most."""
JOB = 1.0
"""Seconds that a job takes."""


def environment(config: dict[str, Any]) -> dict[str, str]:
    """A container's environment as init finds it; empty when init isn't its entrypoint."""
    words = str(config.get("entrypoint") or "").split()
    if words[:1] != [wire.INIT]:
        return {}
    pairs = (entry.partition("=") for entry in str(config.get("env") or "").split("\0"))
    return {name: value for name, _, value in pairs}


def by_hostname(config: dict[str, Any], disk: dict[str, str]) -> dict[str, str]:
    """The same where containers have no environment (before 9.1): from its root filesystem, and its hostname as long as
    that is a claim. Empty without an init in it, and for one that nobody ever named."""
    name = str(config.get("hostname") or "")
    if "operator" not in disk:
        return {}
    claim = f"{disk.get('claim', '')}."
    if hostclaim.is_claim(name):
        raw = base64.b32decode(name.removeprefix(hostclaim.PREFIX).upper() + "===").hex()
        claim = f"{raw[:16]}.{raw[16:48]}"
        if disk.get("claim") != raw[:16]:
            disk.pop("credential", None)
        disk["claim"] = raw[:16]
    return {**json.loads(disk["operator"]), wire.ENV_CONTAINER: "", wire.ENV_CLAIM: claim} if "claim" in disk else {}


@dataclass
class Agent:
    """The answers of one simulated init. Knows nothing of connections."""

    disk: dict[str, str]
    """What survives a restart of the container: the credential, and the last run of a job."""
    failing: bool = False
    """Whether its readiness probe, its jobs and its commands fail."""
    instance: str = field(default_factory=lambda: secrets.token_hex(8))
    payload: wire.Payload | None = None
    digest: str = ""
    started_at: str = ""
    restarts: int = 0

    def hello(self, given: dict[str, str]) -> wire.Hello:
        """The first frame."""
        return wire.Hello(
            protocol=wire.PROTOCOL, container=given.get(wire.ENV_CONTAINER, ""), claim=given.get(wire.ENV_CLAIM, ""),
            credential=self.disk.setdefault("credential", secrets.token_hex(32)), instance=self.instance,
            version="simulated", architecture="amd64", features=(wire.SEVERAL,),
        )  # fmt: skip

    def take(self, deliver: wire.Deliver) -> None:
        """A payload is in force from now on."""
        before, self.payload, self.digest = self.payload, deliver.payload, deliver.digest
        changed = before is None or _process(before) != _process(deliver.payload)
        if changed:
            self.restarts += before is not None
            self.started_at = _now()

    @property
    def is_job(self) -> bool:
        """Whether it runs once."""
        return self.payload is not None and self.payload.restart_policy == "Never" and self.payload.schedule is None

    @property
    def job_due(self) -> bool:
        """Whether the job that was asked for has yet to run."""
        return self.is_job and self.payload is not None and self.disk.get("done") != self.payload.run

    def run_job(self) -> None:
        """Do it."""
        assert self.payload is not None
        self.disk["done"], self.disk["doneAt"] = self.payload.run, _now()

    def state(self) -> wire.State:
        """How it is."""
        if self.payload is None:
            return wire.State(phase="Waiting")
        if self.payload.processes:
            return self._several(self.payload)
        if self.payload.schedule is not None:
            return wire.State(phase="Idle", digest=self.digest, started=True, ready=True)
        if self.is_job and not self.job_due:
            at, code = self.disk.get("doneAt", ""), 1 if self.failing else 0
            last = wire.Run(started_at=at, finished_at=at, exit_code=code, reason="Error" if code else "Completed")
            return wire.State(phase="Exited", digest=self.digest, last=last, run=self.payload.run, started=True)
        unready = "the readiness probe fails" if self.failing else ""
        return wire.State(
            phase="Running", digest=self.digest, started_at=self.started_at, restarts=self.restarts, started=True,
            ready=not self.failing and not self.is_job, unready=unready, run=self.payload.run,
        )  # fmt: skip

    def _several(self, payload: wire.Payload) -> wire.State:
        """Several processes, all of which run."""
        unready = "the readiness probe fails" if self.failing else ""
        all_ = tuple(
            wire.ProcessState(name=one.name, phase="Idle", started=True, ready=True) if one.schedule is not None else
            wire.ProcessState(name=one.name, phase="Running", started_at=self.started_at, started=True,
                              ready=not unready, unready=unready)
            for one in payload.processes
        )  # fmt: skip
        first = next((f"{one.name}: {one.unready}" for one in all_ if one.unready), "")
        return wire.State(
            phase="Running", digest=self.digest, started_at=self.started_at, restarts=self.restarts, started=True,
            ready=not first, unready=first, processes=all_,
        )  # fmt: skip

    def result(self, number: int, command: tuple[str, ...]) -> wire.Result:
        """What a command would have said: `echo` and `cat` of a payload's file do, all else is silent and succeeds."""
        out, code = "", 1 if self.failing else 0
        payload = self.payload or wire.Payload()
        programs = payload.processes or (payload,)
        files = {
            file.path: wire.decode64(file.content).decode(errors="replace") for one in programs for file in one.files
        }
        match command:
            case ("echo", *words):
                out = " ".join(words) + "\n"
            case ("cat", path):
                known = {**files, **self.disk}
                out, code = (known[path], 0) if path in known else ("", 1)
            case ("env",):
                out = "".join(f"{entry.name}={entry.value}\n" for entry in programs[0].env)
            case ("false",):
                code = 1
        return wire.Result(id=number, exit_code=code, stdout=wire.File.of("/", out.encode()).content)


def _process(payload: wire.Payload) -> tuple[Any, ...]:
    """What restarts the process when it differs."""
    return (payload.env, payload.files, payload.command, payload.args, payload.working_dir, payload.user,
            payload.restart, payload.processes)  # fmt: skip


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Guest:
    """A simulated init with its connection, for as long as its container runs."""

    def __init__(self, given: dict[str, str], agent: Agent, halt: Callable[[], None]) -> None:
        self.given, self.agent, self._halt = given, agent, halt
        self._task = asyncio.ensure_future(self._live())

    def stop(self) -> None:
        """The container ends."""
        self._task.cancel()

    async def _live(self) -> None:
        pause = AGAIN
        while True:
            with contextlib.suppress(aiohttp.ClientError, OSError, ValueError, TimeoutError):
                if await self._connected():
                    pause = AGAIN
            await asyncio.sleep(pause)
            pause = min(LONGEST, pause * 2)

    async def _connected(self) -> bool:
        """One connection to its end; whether it was let in."""
        pinned = aiohttp.Fingerprint(bytes.fromhex(self.given[wire.ENV_FINGERPRINT].replace(":", "")))
        url = self.given[wire.ENV_URL].rstrip("/") + wire.PATH
        welcome = False
        async with (
            aiohttp.ClientSession() as http,
            http.ws_connect(url, ssl=pinned, max_msg_size=2 * wire.PAYLOAD_LIMIT, heartbeat=30) as socket,
        ):
            await socket.send_str(wire.encode(self.agent.hello(self.given)))
            async for message in socket:
                if message.type is not aiohttp.WSMsgType.TEXT:
                    break
                frame = wire.TO_CONTAINER.validate_json(message.data)
                if isinstance(frame, wire.Refused):
                    log.warning("%s is refused: %s", self.given.get(wire.ENV_CONTAINER), frame.reason)
                    return False
                welcome = True
                await self._take(socket, frame)
        return welcome

    async def _take(self, socket: aiohttp.ClientWebSocketResponse, frame: wire.ToContainer) -> None:
        agent, said = self.agent, list[wire.Wire]()
        match frame:
            case wire.Welcome():
                said.append(agent.state())
            case wire.Deliver():
                agent.take(frame)
                said.append(agent.state())
            case wire.Exec():
                said.append(agent.result(frame.id, frame.command))
            case wire.Check():
                said.append(wire.Result(id=frame.id, exit_code=1 if agent.failing else 0))
            case wire.GetLog():
                said.append(wire.Log(id=frame.id, lines=("a simulated guest writes nothing",)))
            case wire.Finish():
                self._halt()
        for message in said:
            await socket.send_str(wire.encode(message))
        if agent.job_due and isinstance(frame, wire.Welcome | wire.Deliver):
            await asyncio.sleep(JOB)
            agent.run_job()
            await socket.send_str(wire.encode(agent.state()))


class Guests:
    """The simulated guests of a stand-in, kept in step with what runs there."""

    def __init__(self, pve: Any) -> None:
        self._pve = pve
        self._live: dict[int, tuple[int, Guest]] = {}
        self.failing: set[str] = set()
        """Host names of the containers whose software fails."""

    def settle(self) -> None:
        """Start and end guests, as containers have been started and stopped since. Must be called in the loop."""
        running = {ct.vmid: ct for ct in self._pve.cts if ct.status == "running"}
        for vmid, (pid, guest) in list(self._live.items()):
            if vmid not in running or running[vmid].pid != pid:
                guest.stop()
                del self._live[vmid]
        for vmid, ct in running.items():
            given = environment(ct.config) or by_hostname(ct.config, self._pve.disks.get(vmid, {}))
            if vmid not in self._live and wire.ENV_URL in given and self._reaches(ct.config):
                agent = Agent(self._pve.disks.setdefault(vmid, {}), ct.name in self.failing)
                self._live[vmid] = ct.pid, Guest(given, agent, partial(self._halt, ct))

    def _reaches(self, config: dict[str, Any]) -> bool:
        """Whether a container reaches the operator: over a link that is up, on a bridge that isn't cut off."""
        nets = [dict(part.partition("=")[::2] for part in str(value).split(","))
                for key, value in config.items() if key.startswith("net")]  # fmt: skip
        return not nets or any(
            net.get("link_down") != "1" and net.get("bridge") not in self._pve.isolated for net in nets
        )

    def _halt(self, ct: Any) -> None:
        ct.status, ct.pid = "stopped", None
        self._pve.changed()

    def stop(self) -> None:
        """End all of them."""
        for _, guest in self._live.values():
            guest.stop()
        self._live.clear()
