"""The agents in containers: they dial in here, and are told what to run. docs/agent.md says what goes over the wire.

Sessions are in memory only. What a restart has to know is kept in each LXCContainer's status, and given to ``expect``:
the name of the claim, and the fingerprint of the credential that used it. The leader alone listens.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import logging
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from aiohttp import WSMsgType, web
from pydantic import ValidationError

from homeport.api.conditions import Reason
from homeport.api.labels import OwnerKey
from homeport.drivers.kubernetes.cluster import Cluster
from homeport.drivers.kubernetes.errors import ApiError
from homeport.engine import agentkeys
from homeport.engine.agentkeys import Keys
from homeport.engine.agentlink import LATE, AgentAwayError, Link
from homeport.engine.serve import parse_bind
from homeport.outcome import Outcome, Stalled, Wait
from homeport.plan import agent as wire
from homeport.plan.agent import (
    AgentId,
    ExecResult,
    Hello,
    Output,
    Payload,
    Peer,
    Probe,
    Result,
    Session,
    State,
    hostclaim,
)
from homeport.plan.agent.hostclaim import Bootstrap

log = logging.getLogger(__name__)

HELLO = 10.0
"""Seconds that a connection gets for its first frame."""
HEARTBEAT = 20.0
"""Seconds between two pings; an agent that doesn't answer one within half of that is away."""
STRANGERS = 128
"""Connections that haven't said who they are, at most."""
STRANGERS_OF_ONE = 32
"""The same from one address: one that says nothing keeps nobody else out."""
ANSWER = 5.0
"""Seconds that a connected agent gets to show that it is there, when another says to be the same container."""
AGAIN = 5.0
"""Seconds between two tries to read the Secret or to listen."""
KIND = "LXCContainer"


@dataclass
class _Slot:
    """One container: who may connect, and what is known of it."""

    peer: Peer
    link: Link | None = None
    state: State | None = None
    """What was said last over ``link``, or over the last one while there is none."""
    used_by: str = ""
    """The fingerprint that used the claim, until the status has it."""
    problem: str = ""
    owner: OwnerKey | None = None
    """Whose it is, when that isn't the LXCContainer that it calls itself: a drill's Restore."""


class Agents:
    """All containers' agents. ``wake`` is told of a container when its agent came, went, or said something new.

    ``url`` is where containers reach this operator, as https://HOST:PORT; empty when nobody said: then no container can
    be delivered to by an agent, and ``environment`` says so.
    """

    def __init__(self, wake: Callable[[OwnerKey], None], clock: Callable[[], float]) -> None:
        self.url = ""
        self.keys: Keys | None = None
        self.port = 0
        self._wake = wake
        self._clock = clock
        self._slots: dict[AgentId, _Slot] = {}
        self._strangers: Counter[str] = Counter()
        """Connections by address that haven't said yet who they are."""
        self._runner: web.AppRunner | None = None

    # -- who may connect ------------------------------------------------------------------------------------------

    @staticmethod
    def new_claim() -> str:
        """The name of a new claim: public; write it into the status before ``environment`` is used."""
        return secrets.token_hex(8)

    def whereabouts(self) -> dict[str, str] | Outcome:
        """How a container's init finds this operator, and knows it: the same for all of them."""
        if not self.url:
            text = (
                "this operator was started without --agent-url, so containers can't reach it; start it with the "
                "address that they reach it at, or use another delivery (Plain, SSH)"
            )
            return Stalled(Reason.DEPENDENCY_NOT_READY, text)
        if self.keys is None:
            return Wait(Reason.PROGRESSING, f"Secret {agentkeys.SECRET} is being read", AGAIN)
        return {wire.ENV_URL: self.url, wire.ENV_FINGERPRINT: self.keys.fingerprint}

    def environment(self, agent: AgentId, peer: Peer) -> dict[str, str] | Outcome:
        """What the container's environment needs, the one-time claim among it: the same each time, for one claim."""
        found = self.whereabouts()
        if not isinstance(found, dict):
            return found
        assert self.keys is not None
        claim = f"{peer.claim}.{self.keys.token(agent, peer)}"
        return {**found, wire.ENV_CONTAINER: str(agent), wire.ENV_CLAIM: claim}

    def hostname(self, agent: AgentId, peer: Peer, network: Bootstrap) -> str | Outcome:
        """The claim as a hostname, for a container that has no environment: the same each time, for one claim."""
        found = self.whereabouts()
        if not isinstance(found, dict):
            return found
        assert self.keys is not None
        return hostclaim.hostname(peer.claim, self.keys.token(agent, peer), network)

    def expect(self, agent: AgentId, peer: Peer, owner: OwnerKey | None = None) -> None:
        """Let this container in, and nobody else in its name. To be called in each reconciliation; returns at once.

        ``owner`` is woken instead of the LXCContainer of that name.
        """
        slot = self._slots.get(agent)
        if slot is None:
            self._slots[agent] = _Slot(peer, owner=owner)
            return
        before, slot.peer = slot.peer, peer
        if (before.uid, before.claim) != (peer.uid, peer.claim):
            slot.used_by = slot.problem = ""
        if slot.link is not None and peer.pinned and slot.link.fingerprint != peer.pinned:
            self._let_go(slot, "another credential counts for this container")

    def forget(self, agent: AgentId) -> None:
        """Let it in no more."""
        slot = self._slots.pop(agent, None)
        if slot is not None:
            self._let_go(slot, "the container is gone")

    def forget_all(self, key: OwnerKey) -> None:
        """The same for every container of a resource."""
        for agent in [one for one in self._slots if self._owner(one) == key]:
            self.forget(agent)

    def _owner(self, agent: AgentId) -> OwnerKey:
        slot = self._slots.get(agent)
        own = slot.owner if slot is not None else None
        return own or OwnerKey(KIND, agent.namespace, agent.name)

    def _let_go(self, slot: _Slot, why: str) -> None:
        if (link := slot.link) is not None:
            slot.link = None
            task = asyncio.ensure_future(link.close(why))
            task.add_done_callback(lambda done: done.cancelled() or done.exception())

    # -- what is known, and what can be done -----------------------------------------------------------------------

    def session(self, agent: AgentId) -> Session:
        """What is known now."""
        slot = self._slots.get(agent)
        if slot is None:
            return Session()
        fingerprint = slot.link.fingerprint if slot.link is not None else slot.used_by
        features = slot.link.features if slot.link is not None else ()
        return Session(slot.link is not None, fingerprint, slot.state, features, slot.problem)

    async def deliver(self, agent: AgentId, payload: Payload) -> bool:
        """Tell the container what to run; whether that is in force already.

        Sent once for each connection and content. Not sent while the status has no fingerprint (``Peer.pinned``): what
        is secret goes to nobody who couldn't be told from another later. Raises ValueError for a payload that is too
        large.
        """
        slot = self._slots.get(agent)
        if slot is None or slot.link is None or self.keys is None or slot.peer.pinned != slot.link.fingerprint:
            return False
        text = payload.model_dump_json(by_alias=True)
        if len(text) > wire.PAYLOAD_LIMIT:
            raise ValueError(
                f"environment and files together are {len(text) // 1024} KiB as they are sent, and "
                f"{wire.PAYLOAD_LIMIT // 1024} KiB is the most; put large files into the image or a mount"
            )
        digest = self.keys.digest(text)
        if slot.state is not None and slot.state.digest == digest and slot.link.sent in ("", digest):
            return True
        if slot.link.sent != digest:
            slot.link.sent = digest
            try:
                await slot.link.send(wire.Deliver(digest=digest, payload=payload))
            except AgentAwayError as error:
                log.info("%s: %s", agent, error)
        return False

    async def exec(
        self, agent: AgentId, command: Sequence[str], seconds: float = 30.0, *, stdin: bytes = b"", root: bool = False,
        process: str = "",
    ) -> ExecResult:  # fmt: skip
        """Run a command beside ``process``, or the first; waits for its end. Never raises: what went wrong is in
        ``error``.

        When the agent goes away meanwhile, nobody knows what came of the command.
        """
        encoded = base64.b64encode(stdin).decode()

        def make(number: int) -> wire.Exec:
            return wire.Exec(id=number, command=tuple(command), timeout_seconds=seconds, stdin=encoded, root=root,
                             process=process)  # fmt: skip

        return await self._ask(agent, make, seconds)

    async def check(self, agent: AgentId, probe: Probe) -> ExecResult:
        """Make a check once; exit code 0 when it succeeds. Never raises."""
        return await self._ask(agent, lambda number: wire.Check(id=number, probe=probe), probe.timeout_seconds)

    async def _ask(self, agent: AgentId, make: Callable[[int], wire.Wire], seconds: float) -> ExecResult:
        try:
            found = await self._link(agent).ask(make, seconds + LATE)
            return _result(found)
        except AgentAwayError as error:
            return ExecResult(-1, error=str(error))
        except TimeoutError:
            return ExecResult(-1, timed_out=True, error=f"no answer within {seconds + LATE:.0f} s")
        except ValueError as error:
            return ExecResult(-1, error=f"an answer that can't be understood: {error}")

    async def stream(
        self, agent: AgentId, command: Sequence[str], seconds: float, *, root: bool = False
    ) -> AsyncIterator[Output | Result]:
        """Run a command whose output comes in pieces, as much as it is; the last one is its Result.

        Raises AgentAwayError and TimeoutError.
        """

        def make(number: int) -> wire.Exec:
            return wire.Exec(id=number, command=tuple(command), timeout_seconds=seconds, stream=True, root=root)

        async for piece in self._link(agent).stream(make, seconds + LATE):
            yield piece

    async def log(self, agent: AgentId, lines: int = 100) -> tuple[str, ...]:
        """The end of what the process has written. Raises AgentAwayError and TimeoutError."""
        wanted = min(lines, wire.LOG_LINES)
        found = await self._link(agent).ask(lambda number: wire.GetLog(id=number, lines=wanted), ANSWER)
        return found.lines if isinstance(found, wire.Log) else ()

    async def finish(self, agent: AgentId, run: str) -> None:
        """A job's result has been kept: its container may stop. Does nothing while the agent is away."""
        try:
            await self._link(agent).send(wire.Finish(run=run))
        except AgentAwayError as error:
            log.info("%s: %s", agent, error)

    def _link(self, agent: AgentId) -> Link:
        slot = self._slots.get(agent)
        if slot is None or slot.link is None:
            raise AgentAwayError("the agent isn't connected")
        return slot.link

    # -- the server -----------------------------------------------------------------------------------------------

    async def serve(self, cluster: Cluster, namespace: str, listen: str) -> None:
        """Listen, as soon as the Secret is there; tries again until then. Ends when it listens."""
        while True:
            try:
                await self.start(await agentkeys.load(cluster, namespace), listen)
            except (ApiError, OSError, ValueError) as error:
                log.warning("containers can't be listened to yet: %s", error)
                await asyncio.sleep(AGAIN)
            else:
                return

    async def start(self, keys: Keys, listen: str) -> int:
        """Listen at ``listen``; the port. Raises OSError and ValueError."""
        host, port = parse_bind(listen)
        app = web.Application()
        app.router.add_get(wire.PATH, self._connected)
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, host or None, port, ssl_context=keys.server_context()).start()
        except BaseException:
            await runner.cleanup()
            raise
        self.keys, self._runner = keys, runner
        self.port = int(runner.addresses[0][1])
        log.info("containers' agents on https://%s:%d", host or "0.0.0.0", self.port)  # noqa: S104 - what is shown  # nosec B104
        return self.port

    async def stop(self) -> None:
        """Close the port and all connections. What was said stays known; the containers run on, and come back."""
        runner, self._runner = self._runner, None
        links = [slot.link for slot in self._slots.values() if slot.link is not None]
        await asyncio.gather(*(link.close("the operator stops") for link in links), return_exceptions=True)
        if runner is not None:
            await runner.cleanup()

    async def _connected(self, request: web.Request) -> web.StreamResponse:
        address = request.remote or "?"
        if self._strangers.total() >= STRANGERS or self._strangers[address] >= STRANGERS_OF_ONE:
            return web.Response(status=503, text="too many at once\n")
        socket = web.WebSocketResponse(
            max_msg_size=wire.FRAME_LIMIT, heartbeat=HEARTBEAT, timeout=ANSWER, compress=False
        )
        await socket.prepare(request)
        self._strangers[address] += 1
        try:
            link = await self._admit(socket, address)
        finally:
            self._strangers[address] -= 1
            if not self._strangers[address]:
                del self._strangers[address]
        if link is not None:
            await self._run(link)
        return socket

    async def _run(self, link: Link) -> None:
        key = self._owner(link.agent)
        log.info("%s: its agent is connected", link.agent)
        self._wake(key)
        try:
            assert self.keys is not None
            await link.send(wire.Welcome(trust=self.keys.trust))
            await link.run()
        except AgentAwayError:
            pass
        finally:
            slot = self._slots.get(link.agent)
            if slot is not None and slot.link is link:
                slot.link = None
            log.info("%s: its agent is away", link.agent)
            self._wake(key)

    async def _admit(self, socket: web.WebSocketResponse, remote: str) -> Link | None:
        """The connection's first frame, and whether it may stay."""
        try:
            message = await socket.receive(HELLO)
            if message.type is not WSMsgType.TEXT:
                await socket.close()
                return None
            hello = Hello.model_validate_json(message.data)
            agent = AgentId.parse(hello.container) if hello.container else self._claimant(hello)
        except (ValidationError, ValueError, TimeoutError):
            await self._refuse(socket, "the first frame must be a hello")
            return None
        if hello.protocol != wire.PROTOCOL:
            await self._refuse(socket, f"protocol {hello.protocol} isn't spoken here, {wire.PROTOCOL} is")
            return None
        fingerprint = agentkeys.credential_fingerprint(hello.credential)
        problem = self._objection(agent, hello, fingerprint) or await self._rival(agent, hello, fingerprint)
        slot = self._slots.get(agent)
        if problem or slot is None:
            log.warning("%s from %s: refused: %s", agent if slot is not None else "somebody", remote, problem)
            if slot is not None and slot.problem != problem:
                slot.problem = problem
                self._wake(self._owner(agent))
            await self._refuse(socket, problem or "gone")
            return None
        if slot.link is not None:
            self._let_go(slot, "it has connected again")
        if not slot.peer.pinned:
            slot.used_by = fingerprint
        slot.problem = ""
        slot.state = None  # what the last connection said may be of before a reboot
        slot.link = Link(agent, hello, fingerprint, socket, lambda state: self._said(agent, state), self._clock)
        return slot.link

    def _claimant(self, hello: Hello) -> AgentId:
        """Who a container is that knows only its claim. What it is told is decided by its token or credential."""
        name = hello.claim.partition(".")[0]
        nobody = AgentId("", "", 0)
        return next((agent for agent, slot in self._slots.items() if name and slot.peer.claim == name), nobody)

    def _objection(self, agent: AgentId, hello: Hello, fingerprint: str) -> str:
        """Why this can't be the container; empty when it is."""
        slot = self._slots.get(agent)
        if slot is None or self.keys is None:
            return "no such container is known here, or not yet"
        known = slot.peer.pinned or slot.used_by
        if known and hmac.compare_digest(known, fingerprint):
            return ""
        name, _, token = hello.claim.partition(".")
        whole = self.keys.token(agent, slot.peer)
        expected = whole if hello.container else whole[: hostclaim.TOKEN_DIGITS]
        ours = hmac.compare_digest(token.encode(), expected.encode())
        if name != slot.peer.claim or not ours:
            return "its claim isn't the one that this container was given"
        if known:
            return "its claim has been used before, with another credential: this is a copy, or the first one was"
        return ""

    async def _rival(self, agent: AgentId, hello: Hello, fingerprint: str) -> str:
        """Why it may not take the place of one that is connected; empty when there is none or that one is dead."""
        slot = self._slots.get(agent)
        link = slot.link if slot is not None else None
        if link is None or link.instance == hello.instance:
            return ""
        if await link.is_alive(ANSWER):
            return "a container with the same credential is connected: one of the two is a copy"
        return self._objection(agent, hello, fingerprint)  # time has passed

    async def _refuse(self, socket: web.WebSocketResponse, reason: str) -> None:
        try:
            async with asyncio.timeout(ANSWER):
                await socket.send_str(wire.encode(wire.Refused(reason=reason)))
                await socket.close()
        except (TimeoutError, ConnectionError, RuntimeError):
            pass

    def _said(self, agent: AgentId, state: State) -> None:
        slot = self._slots.get(agent)
        if slot is None or slot.state == state:
            return
        slot.state = state
        self._wake(self._owner(agent))


def _result(found: wire.Wire) -> ExecResult:
    if not isinstance(found, Result):
        return ExecResult(-1, error="an answer of another kind")
    return ExecResult(
        found.exit_code,
        wire.decode64(found.stdout),
        wire.decode64(found.stderr),
        found.dropped,
        found.timed_out,
        found.error,
    )
