"""A stand-in for Proxmox VE in this process, on a clock that the test turns: no socket, no thread, no chance.

``Lab`` is a memory world (see ``memory_world``) with a host in it. What the operator sends goes through all of the
stand-in, the API schema and the driver's own reading of answers; only TLS, connections and the endpoints' failover
are left out, which tests/integration/test_proxmox_driver.py has.
"""

from __future__ import annotations

import asyncio
import base64
import copy
import heapq
import itertools
import json
from typing import Any
from urllib.parse import urlencode

from aiohttp import StreamReader, web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpVersion11, RawRequestMessage
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from homeport.drivers.kubernetes import types
from homeport.drivers.kubernetes.informer import Informer
from homeport.drivers.proxmox import errors
from homeport.drivers.proxmox.client import _path, _sent
from homeport.drivers.proxmox.config import HostConfig
from homeport.drivers.proxmox.host import Host
from homeport.drivers.proxmox.slots import Slots
from homeport.plan.proxmox.readings import Identity
from localpve import API, StandIn, state
from localpve.lab import SECRET, TOKEN, furnish
from memory_world import OURS, STEP, Gate, Killed, Manifest, Running, World, drain

HOST = "lab"
SYSTEM = "homeport-system"
QUIET = 35.0
"""Seconds without a write after which nothing more is to come: nobody waits longer than 30 s for what may pass."""
STEPS = 5000
"""Reconciliations at one moment of the clock, at most: more are a loop that never rests."""
PASSES = 400
"""How often the loop is turned, at most, until what is under way has ended."""


class Sleeper:
    """Waits on a clock that somebody turns."""

    def __init__(self, clock: Any) -> None:
        self.clock = clock
        self._due: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()

    async def __call__(self, seconds: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._due, (self.clock.seconds + seconds, next(self._numbers), future))
        await future

    def wake(self) -> bool:
        """Let go on what is due; whether anything was."""
        woken = False
        while self._due and self._due[0][0] <= self.clock.seconds:
            _, _, future = heapq.heappop(self._due)
            if not future.done():
                future.set_result(None)
                woken = True
        return woken


class Line:
    """The operator's way to the host: ``client.Client`` without a network. Counts calls; kills it at a write."""

    def __init__(self, lab: Lab, gate: Gate, token: str) -> None:
        self.lab, self.gate, self.token = lab, gate, token
        self.calls: list[tuple[str, str]] = []

    async def call(self, method: str, *segments: str | int, params: Any = None, sure: bool = False, **more: Any) -> Any:
        path, sent = _path(segments), _sent(params or {})
        self.calls.append((method, "/" + path))
        if method == "GET":
            return await self._ask(method, path, sent)
        number = len(self.gate.writes)
        self.gate.writes.append(f"{method} /{path}")
        if self.gate.kill_at == (number, False):
            raise Killed
        answer = await self._ask(method, path, sent)
        if self.gate.kill_at == (number, True):
            raise Killed
        return answer

    async def _ask(self, method: str, path: str, sent: dict[str, Any]) -> Any:
        if self.lab.gone:
            raise errors.Unreachable(0, "connection refused")
        self.lab.under_way += 1
        try:
            status, body, hung_up = await self.lab.ask(method, path, sent, self.token)
        finally:
            self.lab.under_way -= 1
        if hung_up:
            if method != "GET":
                raise errors.OutcomeUnknown(0, "no answer to a change: the connection broke")
            raise errors.Unreachable(0, "the connection broke")
        if status >= 400:
            told = str(body.get("message") or "").strip()
            raise errors.from_answer(status, told, body.get("errors"), write=method != "GET")
        return body.get("data")

    def recognise(self, found: Identity) -> None:
        """There is one cluster only."""

    async def close(self) -> None:
        """Nothing to close."""


class InsideHost(Host):
    """The driver, over such a line."""

    def __init__(self, config: HostConfig, line: Line) -> None:
        self.client = line  # type: ignore[assignment]
        self.slots = Slots(config.concurrent_tasks)
        self.token_id = config.token.id


class LabRunning(Running):
    """One operator on a lab."""

    def __init__(self, world: Lab) -> None:
        super().__init__(world)
        self.lab = world
        self.lines: list[Line] = []
        self.engine.context.hosts.connect = self._connect
        for gvk in (types.PROXMOX_HOST, types.LXC_CONTAINER, types.BACKUP_REPOSITORY, types.BACKUP, types.BACKUP_RUN,
                    types.RESTORE):  # fmt: skip
            if gvk not in OURS:
                self._doors.append(Informer(self.gate, gvk, trim=lambda m: m, on_event=self._seen, clock=world.clock))

    def _connect(self, config: HostConfig, *, identity: Identity | None) -> Any:
        line = Line(self.lab, self.gate, f"{config.token.id}={config.token.secret}")
        self.lines.append(line)
        return InsideHost(config, line)

    @property
    def calls(self) -> list[tuple[str, str]]:
        """Every request to the host."""
        return [call for line in self.lines for call in line.calls]

    async def settle(self, quiet: float | None = None, limit: float = 3000.0) -> None:
        """Work until nothing was written, neither to the API server nor to the host, and no task runs."""
        await settle([self], quiet, limit)


async def settle(operators: list[LabRunning], quiet: float | None = None, limit: float = 3000.0) -> None:
    """The same for operators that share a host and a clock: each in its turn. Raises Killed."""
    lab = operators[0].lab
    clock, quiet = lab.clock, lab.quiet if quiet is None else quiet
    end, last, seen = clock.seconds + limit, clock.seconds, ""
    moment, steps = clock.seconds, 0
    while clock.seconds - last < quiet:
        assert clock.seconds < end, f"it never stops writing: {[one.gate.writes[-12:] for one in operators]}"
        worked = False
        for one in operators:
            await one.lab.rest()
            worked |= await one.lab.controllers() or await one.step()
        now = str([(one.world.client._version, len(one.gate.writes)) for one in operators])
        if now != seen or lab.pve.running:
            seen, last = now, clock.seconds
        if not worked:
            clock.seconds += STEP
        moment, steps = (moment, steps + 1) if moment == clock.seconds else (clock.seconds, 0)
        if steps > STEPS:
            doing = [(one.engine.queue.depth(), one.gate.writes[-12:]) for one in operators]
            raise AssertionError(f"it never rests: {STEPS} steps at one moment (due, last writes): {doing}")


class _Peer:
    """Who asks, as far as a request looks at that; also its transport."""

    ssl_context = peername = sockname = None

    def __init__(self) -> None:
        self.hung_up = False
        self.transport = self

    def close(self) -> None:
        self.hung_up = True


def _request(method: str, url: str, headers: CIMultiDict[str], body: bytes, peer: _Peer) -> web.Request:
    """A request as the server's own protocol makes one. aiohttp's mocked ones take longer than all the rest."""
    loop = asyncio.get_running_loop()
    payload = StreamReader(BaseProtocol(loop), 2**16, loop=loop)
    payload.feed_data(body)
    payload.feed_eof()
    raw = tuple((key.encode(), value.encode()) for key, value in headers.items())
    message = RawRequestMessage(
        method, url, HttpVersion11, CIMultiDictProxy(headers), raw, False, None, False, False, URL(url, encoded=True)
    )
    nobody: Any = None
    return web.Request(message, payload, peer, nobody, nobody, loop, client_max_size=2**30)  # type: ignore[arg-type]


class Lab(World):
    """A world with a ProxmoxHost ``lab``, which its projects may use."""

    def __init__(self, *, furnished: bool = True) -> None:
        super().__init__()
        self.played.pop(types.LXC_CONTAINER, None)  # here they are the operator's
        self.pve = StandIn()
        if furnished:
            furnish(self.pve)
        self.sleeper = Sleeper(self.clock)
        self.pve.sleeper = self.sleeper
        self.pve.time_scale = 1.0
        self.pve.clock = lambda: self.clock.seconds
        self.pve.wall = lambda: self.clock.now().timestamp()
        self.pve.dump_secs = 6.0
        self.pve.power_secs = (2, 1, 3)
        self.pve.ct_secs.update(create=4, destroy=2, resize=1, migrate=3)
        for ct in self.pve.cts:
            ct.started_at = self.clock.seconds
        self.quiet = QUIET
        self.gone = False
        """Whether nobody answers."""
        self.under_way = 0
        self._app: Any = None

    # -- the host ------------------------------------------------------------------------------------------------

    async def ask(self, method: str, path: str, sent: dict[str, Any], token: str) -> tuple[int, Any, bool]:
        """One request to the stand-in: status, body, and whether it hung up."""
        if self._app is None:
            self._app = self.pve.app()
            self._app.freeze()
        query, body = urlencode(sent), b""
        headers = CIMultiDict({"Host": "lab", "Authorization": f"PVEAPIToken={token}"})
        url = f"{API}/{path}"
        if method in ("GET", "DELETE"):
            url += f"?{query}" if query else ""
        else:
            body = query.encode()
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        peer = _Peer()
        answer = await self._app._handle(_request(method, url, headers, body, peer))
        found = json.loads(answer.body) if answer.body else {}
        return answer.status, found, peer.hung_up

    async def rest(self) -> None:
        """Let everything go as far as it gets without the clock."""
        await drain()
        for _ in range(PASSES):
            if not self.under_way:
                return
            await drain()

    async def controllers(self) -> bool:
        woken = self.sleeper.wake()
        if woken:
            await self.rest()
        return await super().controllers() or woken

    def clone(self) -> Lab:
        other = Lab(furnished=False)
        self._copy_to(other)
        for part in (*state.PARTS, "cts", "tasks", "tasklog", "ct_secs"):
            setattr(other.pve, part, copy.deepcopy(getattr(self.pve, part)))
        other.pve.tasks = {task["upid"]: task for task in other.pve.tasklog}
        other.pve._pids, other.pve._ct_pids = itertools.count(50000), itertools.count(60000)
        return other

    def neighbour(self) -> Lab:
        """Another installation of Homeport, with its own API server, on the same host and clock."""
        other = Lab(furnished=False)
        other.clock = self.clock
        other.client = type(self.client)(namespaces=True, now=self.clock.now)
        other.client._uids = itertools.count(7000000)
        other.pve, other.sleeper = self.pve, self.sleeper  # which look at this one's clock
        return other

    def containers(self) -> dict[int, Manifest]:
        """Every container's configuration by VMID, without chance (MACs) and with its state."""
        out = {}
        for ct in self.pve.cts:
            config = {key: value for key, value in ct.config.items() if not key.startswith("net")}
            nets = {key: _without_mac(value) for key, value in ct.config.items() if key.startswith("net")}
            pool = {"pool": ct.pool} if ct.pool else {}
            out[ct.vmid] = {**config, **nets, **pool, "status": ct.status, "node": ct.node, "pending": dict(ct.pending)}
        return dict(sorted(out.items()))

    # -- the cluster ---------------------------------------------------------------------------------------------

    async def operator(self) -> LabRunning:
        running = LabRunning(self)
        await running.start()
        return running

    async def furnish(self, projects: list[Manifest], tasks: int = 4) -> None:
        """The host's objects, and a project's home for each of ``projects`` (entries of spec.projects)."""
        secret = {"tokenId": TOKEN, "tokenSecret": SECRET}
        metadata = {"name": "lab-token", "namespace": SYSTEM}
        await self.apply(
            [
                {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kube-system"}},
                {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}},
                {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": _encoded(secret)},
                {
                    "apiVersion": "homeport.dev/v1alpha1", "kind": "ProxmoxHost", "metadata": {"name": HOST},
                    "spec": {
                        "endpoints": ["https://pve1.lab:8006"], "interval": "5s", "projects": projects,
                        "credentialsSecretRef": {"namespace": SYSTEM, "name": "lab-token"}, "tls": {"insecure": True},
                        "limits": {"concurrentTasks": tasks},
                    },
                },
            ]
        )  # fmt: skip
        for project in projects:
            name = project["name"]
            await self.apply(
                [
                    {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}},
                    {"apiVersion": "homeport.dev/v1alpha1", "kind": "Project",
                     "metadata": {"name": name, "namespace": name}, "spec": {}},
                ]
            )  # fmt: skip


def _encoded(data: dict[str, str]) -> dict[str, str]:
    return {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}


def _without_mac(net: str) -> str:
    return ",".join(part for part in net.split(",") if not part.startswith("hwaddr="))
