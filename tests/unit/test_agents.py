"""The agents' server against a real client over TLS: who is let in, what is delivered, what a hostile one can do."""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
import time
from collections.abc import AsyncIterator
from ipaddress import IPv4Interface
from typing import Any

import aiohttp
import pytest

from homeport.api.labels import OwnerKey
from homeport.engine import agents as agents_module
from homeport.engine.agentkeys import Keys, credential_fingerprint
from homeport.engine.agents import Agents
from homeport.outcome import Stalled, Wait
from homeport.plan import agent as wire
from homeport.plan.agent import AgentId, Payload, Peer, hostclaim
from homeport.plan.agent.hostclaim import Bootstrap

AGENT = AgentId("homelab", "pihole", 210)
KEYS = Keys.new()


class Container:
    """An init as far as the wire goes."""

    def __init__(self, agents: Agents, environment: dict[str, str], credential: str = "") -> None:
        self.agents, self.environment = agents, environment
        self.credential = credential or secrets.token_hex(32)
        self.instance = secrets.token_hex(4)
        self.http: aiohttp.ClientSession | None = None
        self.socket: Any = None

    async def connect(self, **changed: Any) -> dict[str, Any]:
        self.http = aiohttp.ClientSession()
        pinned = aiohttp.Fingerprint(bytes.fromhex(self.environment[wire.ENV_FINGERPRINT]))
        url = f"https://127.0.0.1:{self.agents.port}{wire.PATH}"
        self.socket = await self.http.ws_connect(url, ssl=pinned, max_msg_size=wire.PAYLOAD_LIMIT * 2)
        hello = {
            "type": "hello",
            "protocol": wire.PROTOCOL,
            "container": self.environment[wire.ENV_CONTAINER],
            "claim": self.environment[wire.ENV_CLAIM],
            "credential": self.credential,
            "instance": self.instance,
            **changed,
        }
        await self.socket.send_json(hello)
        return await self.receive()

    async def receive(self) -> dict[str, Any]:
        message = await self.socket.receive(10)
        return json.loads(message.data) if message.type is aiohttp.WSMsgType.TEXT else {"type": "closed"}

    async def send(self, **frame: Any) -> None:
        await self.socket.send_json(frame)

    async def close(self) -> None:
        if self.http is not None:
            await self.http.close()


class World:
    def __init__(self) -> None:
        self.woken: asyncio.Queue[OwnerKey] = asyncio.Queue()
        self.agents = Agents(self.woken.put_nowait, time.monotonic)
        self.agents.url = "https://operator.example:8443"
        self.peer = Peer("uid-1", Agents.new_claim())
        self.containers: list[Container] = []

    def container(self, credential: str = "", agent: AgentId = AGENT, peer: Peer | None = None) -> Container:
        environment = self.agents.environment(agent, peer or self.peer)
        assert isinstance(environment, dict)
        made = Container(self.agents, environment, credential)
        self.containers.append(made)
        return made

    def pin(self, credential: str) -> None:
        """As a reconciliation does that has written the status."""
        self.peer = Peer(self.peer.uid, self.peer.claim, credential_fingerprint(credential))
        self.agents.expect(AGENT, self.peer)

    async def until(self, condition: Any) -> None:
        async with asyncio.timeout(20):
            while not condition():
                await self.woken.get()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    await world.agents.start(KEYS, "127.0.0.1:0")
    world.agents.expect(AGENT, world.peer)
    yield world
    for container in world.containers:
        await container.close()
    await world.agents.stop()


class TestWhoIsLetIn:
    async def test_the_one_with_the_claim(self, world: World) -> None:
        container = world.container()
        welcome = await container.connect()
        assert welcome == {"type": "welcome", "trust": [KEYS.fingerprint]}
        session = world.agents.session(AGENT)
        assert (session.connected, session.fingerprint) == (True, credential_fingerprint(container.credential))
        assert await world.woken.get() == OwnerKey("LXCContainer", "homelab", "pihole")

    async def test_the_one_that_knows_its_claim_only(self, world: World) -> None:
        """From a container whose claim was its hostname: half a token, and no name of its own."""
        token = KEYS.token(AGENT, world.peer)
        network = Bootstrap("eth0", IPv4Interface("10.0.0.20/24"))
        name = world.agents.hostname(AGENT, world.peer, network)
        assert name == hostclaim.hostname(world.peer.claim, token, network)
        for wrong in ("", f"{world.peer.claim}.", f"{world.peer.claim}.{'0' * 32}", f"{world.peer.claim}.{token}"):
            assert (await world.container().connect(container="", claim=wrong))["type"] == "refused"
        container = world.container()
        shown = f"{world.peer.claim}.{token[: hostclaim.TOKEN_DIGITS]}"
        assert (await world.container().connect(claim=shown))["type"] == "refused", "who knows its name has all of it"
        assert (await container.connect(container="", claim=shown))["type"] == "welcome"
        assert world.agents.session(AGENT).fingerprint == credential_fingerprint(container.credential)
        world.pin(container.credential)
        await container.close()
        await world.until(lambda: not world.agents.session(AGENT).connected)
        # Once it was used: the claim's name to be found by, and the credential to be let in.
        later = f"{world.peer.claim}."
        assert (await world.container().connect(container="", claim=later))["type"] == "refused"
        assert (await container.connect(container="", claim=later))["type"] == "welcome"

    async def test_a_claim_that_was_used_by_another(self, world: World) -> None:
        first = world.container()
        await first.connect()
        world.pin(first.credential)
        await first.close()
        await world.until(lambda: not world.agents.session(AGENT).connected)
        second = world.container()
        refused = await second.connect()
        assert refused["type"] == "refused"
        assert "has been used before" in refused["reason"]
        assert "has been used before" in world.agents.session(AGENT).problem
        assert (await first.connect())["type"] == "welcome"  # the one that it belongs to comes back
        assert world.agents.session(AGENT).problem == ""

    async def test_the_same_before_the_status_has_it(self, world: World) -> None:
        await world.container().connect()
        assert "has been used before" in (await world.container().connect())["reason"]

    async def test_after_a_restart_of_the_operator_the_credential_is_enough(self, world: World) -> None:
        credential = secrets.token_hex(32)
        world.pin(credential)
        assert (await world.container(credential).connect(claim=""))["type"] == "welcome"

    @pytest.mark.parametrize(
        ("agent", "peer"),
        [
            (AgentId("homelab", "other", 211), Peer("uid-2", "0123456789abcdef")),
            (AgentId("homelab", "pihole", 999), None),
            (AGENT, Peer("uid-of-a-former-one", "0123456789abcdef")),
        ],
        ids=["another container's", "another VMID's", "a former object's"],
    )
    async def test_a_claim_that_is_for_another(self, world: World, agent: AgentId, peer: Peer | None) -> None:
        stolen = world.container(agent=agent, peer=peer)
        refused = await stolen.connect(container=str(AGENT))
        assert refused == {"type": "refused", "reason": "its claim isn't the one that this container was given"}

    async def test_a_claim_that_is_made_up(self, world: World) -> None:
        refused = await world.container().connect(claim=f"{world.peer.claim}.{'0' * 64}")
        assert refused["type"] == "refused"

    async def test_one_that_nobody_expects(self, world: World) -> None:
        container = world.container()
        world.agents.forget(AGENT)
        assert "no such container" in (await container.connect())["reason"]

    async def test_a_new_claim_takes_the_place_of_a_used_one(self, world: World) -> None:
        old = world.container()
        await old.connect()
        world.peer = Peer("uid-1", Agents.new_claim())
        world.agents.expect(AGENT, world.peer)
        fresh = world.container()
        await old.close()
        assert (await fresh.connect())["type"] == "welcome"

    async def test_a_copy_beside_the_one_that_answers(self, world: World) -> None:
        first = world.container()
        await first.connect()

        async def answering() -> None:
            while (frame := await first.receive())["type"] == "getLog":
                await first.send(type="log", id=frame["id"], lines=[])

        async with asyncio.TaskGroup() as group:
            task = group.create_task(answering())
            copy = world.container(first.credential)
            assert "one of the two is a copy" in (await copy.connect())["reason"]
            task.cancel()

    async def test_the_same_init_comes_back_at_once(self, world: World) -> None:
        first = world.container()
        await first.connect()
        again = world.container(first.credential)
        again.instance = first.instance
        assert (await again.connect())["type"] == "welcome"
        assert (await first.receive())["type"] == "closed"

    async def test_the_certificate_is_another(self, world: World) -> None:
        container = world.container()
        container.environment[wire.ENV_FINGERPRINT] = hashlib.sha256(b"another").hexdigest()
        with pytest.raises(aiohttp.ServerFingerprintMismatch):
            await container.connect()

    async def test_no_hello(self, world: World) -> None:
        container = world.container()
        assert (await container.connect(credential="short"))["reason"] == "the first frame must be a hello"

    async def test_another_protocol(self, world: World) -> None:
        assert "protocol 2" in (await world.container().connect(protocol=2))["reason"]


class TestDelivery:
    async def test_nothing_before_the_credential_is_kept(self, world: World) -> None:
        container = world.container()
        await container.connect()
        assert await world.agents.deliver(AGENT, Payload()) is False
        world.pin(container.credential)
        assert await world.agents.deliver(AGENT, Payload(env=wire.variables([("A", "b")]))) is False
        delivered = await container.receive()
        assert delivered["type"] == "deliver"
        assert delivered["payload"]["env"] == [{"name": "A", "value": "b"}]

    async def test_once_for_each_connection_until_it_is_in_force(self, world: World) -> None:
        container = world.container()
        await container.connect()
        world.pin(container.credential)
        payload = Payload(restart="1")
        await world.agents.deliver(AGENT, payload)
        await world.agents.deliver(AGENT, payload)
        digest = (await container.receive())["digest"]
        await container.send(type="state", phase="Running", digest=digest, ready=True)
        await world.until(lambda: world.agents.session(AGENT).state is not None)
        assert await world.agents.deliver(AGENT, payload) is True
        await world.agents.deliver(AGENT, Payload(restart="2"))
        following = await container.receive()
        assert (following["payload"]["restart"], following["digest"] != digest) == ("2", True)

    async def test_what_the_last_connection_said_counts_no_more(self, world: World) -> None:
        container = world.container()
        await container.connect()
        world.pin(container.credential)
        await world.agents.deliver(AGENT, Payload(restart="1"))
        digest = (await container.receive())["digest"]
        await container.send(type="state", phase="Running", digest=digest, ready=True)
        await world.until(lambda: world.agents.session(AGENT).state is not None)
        await container.connect()  # after a reboot: nothing runs yet
        assert world.agents.session(AGENT).state is None
        assert await world.agents.deliver(AGENT, Payload(restart="1")) is False
        assert (await container.receive())["digest"] == digest
        await container.send(type="state", phase="Running", digest=digest, ready=True)
        await world.until(lambda: world.agents.session(AGENT).state is not None)
        assert await world.agents.deliver(AGENT, Payload(restart="1")) is True

    async def test_back_to_what_is_in_force_after_one_that_failed(self, world: World) -> None:
        container = world.container()
        await container.connect()
        world.pin(container.credential)
        await world.agents.deliver(AGENT, Payload(restart="1"))
        digest = (await container.receive())["digest"]
        await container.send(type="state", phase="Running", digest=digest)
        await world.until(lambda: world.agents.session(AGENT).state is not None)
        await world.agents.deliver(AGENT, Payload(restart="bad"))
        await container.receive()
        await world.agents.deliver(AGENT, Payload(restart="1"))
        assert (await container.receive())["digest"] == digest

    async def test_too_large(self, world: World) -> None:
        container = world.container()
        await container.connect()
        world.pin(container.credential)
        huge = wire.File.of("/huge", b"x" * wire.PAYLOAD_LIMIT)
        with pytest.raises(ValueError, match="8192 KiB is the most"):
            await world.agents.deliver(AGENT, Payload(files=(huge,)))

    def test_the_digest_tells_nothing_without_the_key(self) -> None:
        assert KEYS.digest("password") != Keys.new().digest("password")

    def test_values_are_not_shown(self) -> None:
        payload = Payload(env=wire.variables([("A", "s3cret")]), files=(wire.File.of("/f", b"s3cret", secret=True),))
        assert "s3cret" not in repr(payload)
        assert wire.File.of("/f", b"s3cret").content not in repr(payload)


class TestCommands:
    async def test_exit_codes_and_outputs(self, world: World) -> None:
        container = world.container()
        await container.connect()
        asked = asyncio.create_task(world.agents.exec(AGENT, ["sh", "-c", "echo hi"], 5))
        frame = await container.receive()
        assert (frame["command"], frame["timeoutSeconds"]) == (["sh", "-c", "echo hi"], 5.0)
        await container.send(type="result", id=frame["id"], exitCode=3, stdout="aGkK", dropped=7)
        result = await asked
        assert (result.exit_code, result.stdout, result.dropped, result.ok) == (3, b"hi\n", 7, False)

    async def test_nobody_is_there(self, world: World) -> None:
        assert (await world.agents.exec(AGENT, ["true"])).error == "the agent isn't connected"

    async def test_it_goes_away_meanwhile(self, world: World) -> None:
        container = world.container()
        await container.connect()
        asked = asyncio.create_task(world.agents.exec(AGENT, ["sleep", "9"], 5))
        await container.receive()
        await container.close()
        assert (await asked).error == "the agent went away"

    async def test_a_streamed_output_is_whole(self, world: World) -> None:
        container = world.container()
        await container.connect()

        async def play() -> None:
            frame = await container.receive()
            for _ in range(100):
                await container.send(type="output", id=frame["id"], stream="stdout", data="aGkK")
            await container.send(type="result", id=frame["id"], exitCode=0)

        playing = asyncio.create_task(play())
        pieces = [piece async for piece in world.agents.stream(AGENT, ["dump"], 5)]
        await playing
        assert len(pieces) == 101
        assert isinstance(pieces[-1], wire.Result)


class TestHostile:
    async def test_one_address_that_says_nothing_keeps_nobody_else_out(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(agents_module, "STRANGERS_OF_ONE", 2)
        container = world.container()
        pinned = aiohttp.Fingerprint(bytes.fromhex(container.environment[wire.ENV_FINGERPRINT]))
        url = f"https://127.0.0.1:{world.agents.port}{wire.PATH}"
        async with aiohttp.ClientSession() as silent:
            sockets = [await silent.ws_connect(url, ssl=pinned) for _ in range(2)]
            with pytest.raises(aiohttp.WSServerHandshakeError, match="503"):
                await container.connect()
            assert world.agents._strangers == {"127.0.0.1": 2}
            monkeypatch.setattr(agents_module, "STRANGERS_OF_ONE", 3)
            assert (await container.connect())["type"] == "welcome"
            for socket in sockets:
                await socket.close()

    async def test_a_huge_frame_ends_the_connection(self, world: World) -> None:
        container = world.container()
        await container.connect()
        await container.send(type="state", phase="Running", error="x" * (wire.FRAME_LIMIT + 1))
        assert (await container.receive())["type"] == "closed"
        await world.until(lambda: not world.agents.session(AGENT).connected)

    @pytest.mark.parametrize("frame", [{"type": "unheard-of"}, {"type": "state", "phase": "Dancing"}, {"no": "type"}])
    async def test_a_frame_that_makes_no_sense_ends_the_connection(self, world: World, frame: dict[str, Any]) -> None:
        container = world.container()
        await container.connect()
        await container.send(**frame)
        assert (await container.receive())["type"] == "closed"

    async def test_an_answer_to_what_nobody_asked_is_nothing(self, world: World) -> None:
        container = world.container()
        await container.connect()
        await container.send(type="result", id=77, exitCode=0)
        await container.send(type="state", phase="Running")
        await world.until(lambda: world.agents.session(AGENT).state is not None)
        assert world.agents.session(AGENT).connected


class TestWithout:
    def test_an_address(self) -> None:
        outcome = Agents(lambda key: None, time.monotonic).environment(AGENT, Peer("u", "c"))
        assert isinstance(outcome, Stalled)
        assert "--agent-url" in outcome.message

    def test_the_secret_read(self) -> None:
        agents = Agents(lambda key: None, time.monotonic)
        agents.url = "https://x:1"
        assert isinstance(agents.environment(AGENT, Peer("u", "c")), Wait)


def test_keys_survive_their_secret() -> None:
    assert Keys.of(KEYS.data()) == KEYS
    with pytest.raises(ValueError, match=r"has no key tls\.crt"):
        Keys.of({"key": KEYS.data()["key"]})
