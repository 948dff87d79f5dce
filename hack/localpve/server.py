"""The server: fakepve, with what PVE does and it doesn't put before it.

What the layers add, each as PVE's sources have it:

- every request is held against the API schema, also where fakepve answers by hand: an unknown parameter is a 400;
- ``/cluster/status`` needs Sys.Audit; storages are listed to who may audit them; nodes show what they have likewise;
- ``/access/permissions`` lists the top levels with what they inherit (``get_effective_permissions``);
- what is said in ``containers``, ``vzdump``, ``templates`` and ``networks``.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from aiohttp import web
from fakepve import schema
from fakepve.model import PveError, TaskError
from fakepve.schema import Match, validate
from fakepve.server import USER, FakePve, error, ok, params

from localpve.faults import Answer, Script
from localpve.guests import Guests
from localpve.networks import Networks, bridge
from localpve.tasks import Tasks
from localpve.templates import OFFERED, Templates, form
from localpve.vzdump import Vzdump

API = "/api2/json"
TOP_LEVEL = ("/", "/access", "/access/groups", "/nodes", "/pool", "/sdn", "/storage", "/vms")
VOLUMES = "/nodes/{node}/storage/{storage}/content/{volume}"
VOLUME = re.compile(r"/nodes/(?P<node>[^/]+)/storage/(?P<storage>[^/]+)/content/(?P<volume>.+)")
UPLOADS = 2**30
"""The largest body that is taken: an image is a template of some hundred MiB."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class StandIn(Vzdump, Templates, Networks, Tasks, FakePve):
    """One cluster over HTTPS.

    Times are PVE's seconds. With ``time_scale`` 0 a task has ended before its request is answered; a ``sleeper`` takes
    over the waiting, for a clock that somebody turns by hand.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        super().__init__(host=host, port=port)
        self.client_max_size = UPLOADS
        self.lost: list[tuple[str, str]] = []
        self.refused: list[str] = []
        """Requests that the schema doesn't know: on a real host they are a 400 too, so whoever sent them has erred."""
        self.seen: list[tuple[str, str]] = []
        self.closes: set[str] = set()
        """Paths whose answers end the connection, as pveproxy does when it has served enough over it."""
        self.script = Script()
        """What goes wrong."""
        self.sleeper: Callable[[float], Awaitable[None]] | None = None
        self.clock: Callable[[], float] = time.time
        """Tells how long a container has been running."""
        self.wall: Callable[[], float] = time.time
        """What the nodes' clocks show."""
        self.files: Path | None = None
        """Where uploaded files are kept; None keeps only what is needed to make containers of them."""
        self.bridges: dict[str, dict[str, dict[str, Any]]] = defaultdict(lambda: {"vmbr0": bridge("vmbr0")})
        self.isolated: set[str] = set()
        """Bridges from which nothing reaches the operator."""
        self.leases: dict[str, int] = {}
        self.offered = {entry["template"]: entry for entry in OFFERED}
        self.remote: dict[str, dict[str, Any]] = {}
        """What lies behind URLs: ``size``, digests (``sha512``, …), or an ``error`` of the server."""
        self.registry: dict[str, dict[str, Any]] = {}
        """Images that the host itself can pull, by reference: their ``config``."""
        self.power_secs = (0.0, 0.0, 0.0)
        """How long a new container takes to start, to be stopped, and to shut down."""
        self.download_secs, self.upload_secs, self.dump_secs, self.remove_secs = 5.0, 1.0, 0.0, 0.0
        self.node_memory = 8 * 2**30
        """Bytes that each node has."""
        self.workers: dict[str, asyncio.Task[Any] | None] = {}
        self.busiest = 0
        """The most tasks that have ever run at once."""
        self.guests = Guests(self)
        self.disks: dict[int, dict[str, str]] = {}
        """What simulated guests keep on their containers' disks, by VMID."""
        self.dirty = asyncio.Event()
        """Set when something has changed that ought to survive."""
        self._recipes: dict[int, tuple[dict[str, Any] | None, str]] = {}
        self._start_vzdump()

    def app(self) -> web.Application:
        """The application, ours around it."""
        out = self._build_app()
        out.middlewares.insert(1, self._faithful)
        return out

    @web.middleware
    async def _faithful(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        path = request.path.removeprefix(API)
        self.seen.append((request.method, path))
        try:
            self._authenticate(request)
            await self._hold_against_schema(request)
        except PveError as refusal:
            if refusal.status != 401:
                self.refused.append(f"{request.method} {path}: {refusal.errors or refusal.message}")
            return answer(refusal)
        response = await self._scripted(request, handler, path)
        if (request.method, path) in self.lost:
            self.lost.remove((request.method, path))
            hang_up(request)
        if path in self.closes:
            response.force_close()
        return response

    async def _scripted(self, request: web.Request, handler: Handler, path: str) -> web.StreamResponse:
        """The answer, with what the script has for this request."""
        fault = self.script.of_request(request.method, path)
        if fault is not None and fault.doing is not None and not fault.after:
            fault.doing(self)
        if fault is not None and fault.answer is not None and not fault.after:
            return _instead(request, fault.answer)
        response = await handler(request)
        if request.method != "GET":
            self.changed()
        if fault is not None and fault.after:
            if fault.doing is not None:
                fault.doing(self)
            if fault.answer is not None:
                return _instead(request, fault.answer)
        return response

    def resolve(self, request: web.Request, prefix: str) -> Any:
        """What the schema has for a path. A volume's name takes what is left of it, slashes and all (pve-storage,
        ``API2/Storage/Status.pm``: ``fragmentDelimiter``)."""
        found = super().resolve(request, prefix)
        volume = VOLUME.fullmatch(request.path.removeprefix(API))
        if found is not None or volume is None:
            return found
        return Match(VOLUMES, volume.groupdict(), schema.load().paths[VOLUMES])

    async def _hold_against_schema(self, request: web.Request) -> None:
        match = self.resolve(request, API)
        info = (match.methods.get(request.method) if match else None) or {}
        if match is None or not info:
            raise PveError(501, f"Method '{request.method} {request.path}' not implemented")
        body = await request.read()
        sent = await params(request)
        if request.content_type == "multipart/form-data":
            sent.update(form(request, body)[0])
        values = {**sent, **match.params}
        declared = (info.get("parameters") or {}).get("properties", {})
        _, wrong = validate(
            info.get("parameters"), {k: v for k, v in values.items() if k in declared or k not in match.params}
        )
        if wrong:
            raise PveError(400, "Parameter verification failed.", wrong)

    async def _cluster_status(self, request: web.Request) -> web.StreamResponse:
        self.require(request[USER], "/", "Sys.Audit")
        found: web.StreamResponse = await super()._cluster_status(request)
        return found

    async def _resources(self, request: web.Request) -> web.StreamResponse:
        user = request[USER]
        found = await super()._resources(request)
        out = []
        for entry in json.loads(found.text)["data"]:
            if entry["type"] == "storage" and not self.allowed(user, f"/storage/{entry['storage']}", "Datastore.Audit"):
                continue
            audit = entry["type"] != "node" or self.allowed(user, f"/nodes/{entry['node']}", "Sys.Audit")
            out.append(entry if audit else {key: entry[key] for key in ("id", "type", "node", "status")})
        listed: web.StreamResponse = ok(out)
        return listed

    async def _permissions(self, v: dict[str, Any], user: str) -> dict[str, dict[str, int]]:
        held: dict[str, dict[str, int]] = await super()._permissions(v, user)
        for path in TOP_LEVEL:
            inherited = {p: 1 for above, ps in held.items() if above == "/" or path.startswith(above + "/") for p in ps}
            if inherited or path in held:
                held[path] = {**inherited, **held.get(path, {})}
        return held

    def _node_stats(self, online: bool) -> dict[str, Any]:
        found: dict[str, Any] = super()._node_stats(online)
        return {**found, "maxmem": self.node_memory} if found else found

    # ------------------------------------------------------------ time and tasks

    def _upid(self, node: str, ttype: str, tid: Any, user: str) -> tuple[str, int, int]:
        upid, pid, _ = super()._upid(node, ttype, tid, user)
        parts = upid.split(":")
        parts[4] = f"{int(self.wall()):08X}"
        return ":".join(parts), pid, int(self.wall())

    async def pause(self, secs: float) -> None:
        """Let PVE seconds pass."""
        if self.sleeper is None:
            await super().pause(secs)
        elif secs:
            await self.sleeper(secs)

    async def acquire(self, vm: Any, holder: str, wait: float | None = None) -> None:
        """Take a configuration's lock: at once, or within the 10 s that PVE waits for it."""
        if self.sleeper is None or vm.lock_holder is None or wait == 0:
            await super().acquire(vm, holder, wait)
            return
        late = asyncio.ensure_future(self.sleeper(self.lock_wait if wait is None else wait))
        try:
            while vm.lock_holder is not None and not late.done():
                vm.lock_released = vm.lock_released or asyncio.Event()
                freed = asyncio.ensure_future(vm.lock_released.wait())
                await asyncio.wait({freed, late}, return_when=asyncio.FIRST_COMPLETED)
                freed.cancel()
        finally:
            late.cancel()
        await super().acquire(vm, holder, 0)

    @property
    def running(self) -> list[dict[str, Any]]:
        """The tasks that run now."""
        return [task for task in self.tasklog if task["status"] == "running"]

    async def task(
        self, node: str, ttype: str, tid: Any, user: str, body: Callable[[], Awaitable[str | None]],
        vm: Any = None, lock: bool = True, log: Sequence[str] = (),
    ) -> str:  # fmt: skip
        """Start a task. What is appended to a list given as ``log`` while it runs is in its log."""
        number = len(self.tasklog)

        async def wrapped() -> str | None:
            if isinstance(log, list):
                self.tasklog[number]["log"] = log
            self.workers[self.tasklog[number]["upid"]] = asyncio.current_task()
            try:
                await self.pause(self.remove_secs if ttype == "imgdel" else 0.0)
                fault = self.script.of_task(ttype)
                if fault is None:
                    told = await body()
                    self.warned(ttype, tid)
                    return told
                if fault.after:
                    await body()
                elif ttype in ("vzcreate", "vzrestore") and not fault.broken_off:
                    self._drop(self.ct(int(tid)))  # as the worker does with what it had begun
                raise TaskError(fault.message)
            except asyncio.CancelledError:
                raise TaskError("interrupted by signal") from None
            finally:
                self.workers.pop(self.tasklog[number]["upid"], None)
                self.changed()

        upid: str = await super().task(node, ttype, tid, user, wrapped, vm, lock, log)
        self.busiest = max(self.busiest, len(self.running))
        return upid

    def changed(self) -> None:
        """Something is other than it was: guests come and go, and it is kept."""
        self.dirty.set()
        self.guests.settle()

    def begun(self) -> Counter[tuple[str, str]]:
        """How many tasks have been started, by type and guest."""
        return Counter((task["type"], task["id"]) for task in self.tasklog)


def answer(refusal: PveError) -> web.Response:
    """An error as PVE sends it."""
    told: web.Response = error(refusal.status, refusal.message, refusal.errors)
    return told


def hang_up(request: web.Request) -> None:
    """Close the connection without an answer."""
    if request.transport is not None:
        request.transport.close()


def _instead(request: web.Request, given: Answer) -> web.StreamResponse:
    """What a fault has in place of the true answer."""
    if given.status == 0:
        hang_up(request)
        return web.Response()
    return answer(PveError(given.status, given.message))
