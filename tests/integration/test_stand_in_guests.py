"""Simulated guests speak the agents' protocol with the operator's own server; what survives a restart."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from homeport.api.labels import OwnerKey
from homeport.engine.agentkeys import Keys
from homeport.engine.agents import Agents
from homeport.plan.agent import INIT, AgentId, File, Payload, Peer, State, variables
from localpve import StandIn, state
from localpve.lab import TOKEN, furnish

AGENT = AgentId("homelab", "web", 210)
USER = "root@pam"


class Shop:
    """An operator's agents and a stand-in, in one loop."""

    def __init__(self) -> None:
        self.woken: asyncio.Queue[OwnerKey] = asyncio.Queue()
        self.agents = Agents(self.woken.put_nowait, time.monotonic)
        self.pve = furnish(StandIn())
        self.peer = Peer("uid", Agents.new_claim())

    async def start(self) -> None:
        port = await self.agents.start(Keys.new(), "127.0.0.1:0")
        self.agents.url = f"https://127.0.0.1:{port}"

    def make(self) -> None:
        """A container as the operator leaves it before it is started."""
        given = self.agents.environment(AGENT, self.peer)
        assert isinstance(given, dict)
        env = "\0".join(f"{name}={value}" for name, value in given.items())
        self.pve.add_ct(210, "web", config={"entrypoint": INIT, "env": env})

    async def power(self, action: str) -> None:
        await getattr(self.pve, f"_lxc_{action}")(USER, {"node": "pve1", "vmid": 210})

    async def until(self, check: Callable[[], Any]) -> None:
        """Look again whenever the agents have something to say."""
        async with asyncio.timeout(20):
            while not check():
                await self.woken.get()

    async def admit(self) -> None:
        """Let the guest in, and keep its credential, as a reconciliation does."""
        self.agents.expect(AGENT, self.peer)
        await self.until(lambda: self.agents.session(AGENT).connected)
        self.peer = Peer("uid", self.peer.claim, self.agents.session(AGENT).fingerprint)
        self.agents.expect(AGENT, self.peer)

    async def run(self, payload: Payload) -> State:
        await self.agents.deliver(AGENT, payload)
        await self.until(lambda: (found := self.agents.session(AGENT).state) is not None and found.digest)
        found = self.agents.session(AGENT).state
        assert found is not None
        return found


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    found = Shop()
    await found.start()
    yield found
    found.pve.guests.stop()
    await found.agents.stop()


async def test_a_guest_claims_and_runs(shop: Shop) -> None:
    shop.make()
    await shop.power("start")
    await shop.admit()
    files = (File.of("/etc/motd", b"hello"),)
    said = await shop.run(Payload(env=variables([("A", "1")]), files=files))
    assert (said.phase, said.ready, said.restarts) == ("Running", True, 0)
    assert (await shop.agents.exec(AGENT, ["echo", "one", "two"])).stdout == b"one two\n"
    assert (await shop.agents.exec(AGENT, ["cat", "/etc/motd"])).stdout == b"hello"
    assert (await shop.agents.exec(AGENT, ["false"])).exit_code == 1
    # Again with the same credential, after a restart of the container.
    await shop.power("reboot")
    await shop.until(lambda: not shop.agents.session(AGENT).connected)
    await shop.until(lambda: shop.agents.session(AGENT).connected)
    assert shop.agents.session(AGENT).fingerprint == shop.peer.pinned
    await shop.power("stop")
    await shop.until(lambda: not shop.agents.session(AGENT).connected)


async def test_a_job_runs_once(shop: Shop) -> None:
    shop.make()
    await shop.power("start")
    await shop.admit()
    assert (await shop.run(Payload(restart_policy="Never", run="one"))).phase == "Running"
    await shop.until(lambda: (found := shop.agents.session(AGENT).state) is not None and found.phase == "Exited")
    found = shop.agents.session(AGENT).state
    assert found is not None and found.last is not None and (found.last.exit_code, found.run) == (0, "one")
    await shop.agents.finish(AGENT, "one")
    await shop.until(lambda: not shop.agents.session(AGENT).connected)
    assert shop.pve.ct(210).status == "stopped"


async def test_a_container_without_init_has_no_guest(shop: Shop) -> None:
    shop.pve.add_ct(210, "web", config={"env": f"HOMEPORT_AGENT_URL={shop.agents.url}"})
    await shop.power("start")
    assert not shop.pve.guests._live


async def test_what_survives_a_restart(tmp_path: Path) -> None:
    first = furnish(StandIn(), "secret")
    first.time_scale = 1.0
    first.ct(101).start_secs = 3600
    await first._lxc_start(USER, {"node": "pve1", "vmid": 101})
    first.grant("ann@pve", "/vms/100", "VM.Audit")
    first.disks[100] = {"credential": "c"}
    state.save(first, tmp_path / "state.json")
    assert not state.load(StandIn(), tmp_path / "none.json")
    second = StandIn()
    assert state.load(second, tmp_path / "state.json")
    assert [(ct.vmid, ct.name, ct.status) for ct in second.cts] == [(ct.vmid, ct.name, ct.status) for ct in first.cts]
    assert second.ct(100).config == first.ct(100).config and second.apitokens == {TOKEN: "secret"}
    assert second.allowed("ann@pve", "/vms/100", "VM.Audit") and not second.allowed("ann@pve", "/vms/101", "VM.Audit")
    assert second.volume_exists(f"local:vztmpl/{next(iter(first.offered))}") and second.disks == first.disks
    assert [task["exitstatus"] for task in second.tasks.values()] == ["unexpected status"] and not second.running
