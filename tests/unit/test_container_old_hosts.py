"""Software on Proxmox VE before 9.1: a root filesystem instead of an image, a hostname instead of an environment."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from test_container_software import Agents, Images, software
from test_containers import NAME, PROJECT, Bench, ready, status

from homeport.drivers.kubernetes import types
from homeport.engine.agentkeys import Keys
from homeport.engine.lxc.software import Made
from homeport.plan import agent as wire
from homeport.plan.agent import AgentId, Interface, Peer, hostclaim
from homeport.plan.agent.hostclaim import Bootstrap
from proxmox_inside import Lab

KEYS = Keys.new()
AGENT = AgentId("homelab", NAME, 2000)


class OldAgents(Agents):
    """Agents whose containers have no environment: they know the claim from the hostname, and later what they kept."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench)
        self.networks: dict[AgentId, Bootstrap] = {}
        self.kept: set[tuple[AgentId, str]] = set()
        self.given = ""

    def new_claim(self) -> str:
        return f"{len(self.peers):016x}"

    def whereabouts(self) -> dict[str, str]:
        return {wire.ENV_URL: "https://10.20.0.1:8443", wire.ENV_FINGERPRINT: KEYS.fingerprint}

    def environment(self, agent: AgentId, peer: Peer) -> dict[str, str]:
        raise AssertionError("its host has no environments")

    def hostname(self, agent: AgentId, peer: Peer, network: Bootstrap) -> str:
        self.networks[agent] = network
        self.given = hostclaim.hostname(peer.claim, KEYS.token(agent, peer), network)
        return self.given

    def _runs(self, agent: AgentId) -> bool:
        ct = next((ct for ct in self.bench.world.pve.cts if ct.vmid == agent.vmid), None)
        if ct is None or ct.status != "running":
            return False
        claim = self.peers[agent].claim
        if hostclaim.is_claim(ct.config["hostname"]) and agent in self.networks:
            self.kept.add((agent, claim))
        return (agent, claim) in self.kept


class OldImages(Images):
    """Images that become root filesystems."""

    async def template(self, *given: Any, **more: Any) -> Any:
        found = await super().template(*given, **more)
        if not isinstance(found, Made):
            return found
        volume = found.volume.removesuffix(".tar") + "-1048576.tar.gz"
        if not self.bench.world.pve.volume_exists(volume):
            self.bench.world.pve.store_file("local", volume.rpartition("/")[2], 2**20, "vztmpl")
        return Made(volume, found.digest)


async def bench(version: str) -> tuple[Bench, OldAgents]:
    world = Lab()
    world.pve.version = version
    await world.furnish([PROJECT])
    running = await world.operator()
    await running.settle()
    out = Bench(world, running)
    agents, context = OldAgents(out), running.engine.context
    context.images, context.agents = OldImages(out), agents  # type: ignore[assignment]
    return out, agents


@pytest.mark.parametrize("version", ["8.4.1", "9.0.11"])
def test_its_claim_is_its_hostname_until_it_has_said_hello(version: str) -> None:
    async def run() -> None:
        place, agents = await bench(version)
        found = await place.want(**software(env=[{"name": "A", "value": "1"}]), dns={"servers": ["10.20.0.2"]})
        assert ready(found)[0] == "True", ready(found)
        config = place.ct().config
        assert config["ostype"] == "unmanaged" and config["hostname"] == NAME
        assert "env" not in config and "entrypoint" not in config
        network = agents.networks[AGENT]
        assert str(network.address) == config["net0"].partition("ip=")[2].partition(",")[0]
        told = agents.told[AGENT]
        assert told.interfaces == (Interface(name="eth0", addresses=(str(network.address),), gateways=("10.20.0.1",)),)
        assert told.nameservers == ("10.20.0.2",) and told.hostname == NAME
        everything = json.dumps([await place.world.client.get(types.LXC_CONTAINER, "homelab", NAME), found])
        assert hostclaim.is_claim(agents.given)
        assert agents.given not in everything + str(place.running.events), (
            "nobody reads it but who may audit the container"
        )
        place.writes()
        started = place.ct().started_at
        await place.running.settle(quiet=1000.0)
        assert place.writes() == [] and place.ct().started_at == started

    asyncio.run(run())


def test_a_network_that_changes_is_told() -> None:
    async def run() -> None:
        place, agents = await bench("8.4.1")
        await place.want(**software())
        networks = [{"name": "eth0", "bridge": "vmbr0", "address": "10.20.0.77/24", "gateway": "10.20.0.1"}]
        found = await place.want(**software(), networks=networks)
        assert ready(found)[0] == "True", ready(found)
        assert agents.told[AGENT].interfaces == (
            Interface(name="eth0", addresses=("10.20.0.77/24",), gateways=("10.20.0.1",)),
        )

    asyncio.run(run())


def test_what_an_old_host_refuses() -> None:
    async def run() -> None:
        place, _ = await bench("8.4.1")
        found = await place.want(**software(), networks=[{"name": "eth0", "bridge": "vmbr0", "address": "dhcp"}])
        assert ready(found)[1] == "InvalidSpec" and "by DHCP, and before Proxmox VE 9.1" in ready(found)[2]
        assert 2000 not in place.world.containers()
        found = await place.want(name="plain", **software(delivery="Plain"))
        assert ready(found)[1:] == (
            "UnsupportedVersion",
            "lab is Proxmox VE 8.4.1, and an image as it is needs 9.1; write delivery: Agent, or upgrade it",
        )

    asyncio.run(run())


def test_one_that_is_there_stays_as_it_is_when_its_host_is_upgraded() -> None:
    async def run() -> None:
        place, agents = await bench("8.4.1")
        await place.want(**software())
        place.world.pve.version = "9.1.3"
        started = place.ct().started_at
        await place.running.settle(quiet=1000.0)
        await place.want(**software(env=[{"name": "A", "value": "2"}]))
        assert ready(await status(place.world))[0] == "True" and place.ct().started_at == started
        assert "env" not in place.ct().config and agents.told[AGENT].interfaces

    asyncio.run(run())
