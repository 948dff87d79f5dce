"""Software in LXC containers: an image becomes a template, an agent is claimed, told what to run, and listened to."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

from test_containers import NAME, Bench, lab, ready, status

from homeport.drivers.kubernetes import types
from homeport.engine.lxc.software import Made
from homeport.outcome import Wait
from homeport.plan import agent as wire
from homeport.plan.agent import AgentId, Payload, Peer, Run, Session, State

DIGESTS = {"nginx:1.27": "sha256:" + "a" * 64, "nginx:1.28": "sha256:" + "b" * 64}


class Images:
    """Images that are there at the second look."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.asked = bench, list[str]()

    async def template(self, container: Any, software: Any, *, digest: str | None, **_: Any) -> Any:
        self.asked.append(software.image)
        if self.asked.count(software.image) == 1:
            self.bench.running.engine.context.enqueue(container.key, 5, 1.0)
            return Wait("Progressing", f"image {software.image}: pulling", 30.0)
        found = digest or DIGESTS[software.image]
        name = f"homeport-{found[7:19]}.tar"
        if not self.bench.world.pve.volume_exists(f"local:vztmpl/{name}"):
            self.bench.world.pve.store_file("local", name, 2**20, "vztmpl")
        return Made(f"local:vztmpl/{name}", found)


class Agents:
    """Agents that connect as soon as their container runs with the claim that it was given."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.peers: dict[AgentId, Peer] = {}
        self.told: dict[AgentId, Payload] = {}
        self.exited: int | None = None
        self.finished: list[str] = []

    def new_claim(self) -> str:
        return f"claim-{len(self.peers)}"

    def environment(self, agent: AgentId, peer: Peer) -> dict[str, str]:
        return {wire.ENV_CONTAINER: str(agent), wire.ENV_CLAIM: f"{peer.claim}.token"}

    def expect(self, agent: AgentId, peer: Peer) -> None:
        self.peers[agent] = peer

    def forget(self, agent: AgentId) -> None:
        self.peers.pop(agent, None)

    def forget_all(self, key: Any) -> None:
        self.peers.clear()

    def _runs(self, agent: AgentId) -> bool:
        ct = next((ct for ct in self.bench.world.pve.cts if ct.vmid == agent.vmid), None)
        claim = self.peers[agent].claim
        return ct is not None and ct.status == "running" and f"{claim}.token" in str(ct.config.get("env"))

    def session(self, agent: AgentId) -> Session:
        if not self._runs(agent):
            return Session()
        payload = self.told.get(agent)
        state = None
        if payload is not None and self.exited is not None:
            last = Run(started_at="", finished_at="", exit_code=self.exited)
            state = State(phase="Exited", digest="x", last=last, run=payload.run)
        elif payload is not None:
            state = State(phase="Running", digest="x", started=True, ready=True, started_at="2026-01-15T12:00:00Z")
        return Session(True, f"finger-{agent.vmid}", state)

    async def deliver(self, agent: AgentId, payload: Payload) -> bool:
        assert self.peers[agent].pinned == f"finger-{agent.vmid}", "what is secret goes to nobody who isn't known"
        if self.told.get(agent) != payload:
            self.told[agent] = payload
            self.bench.running.engine.context.enqueue(
                next(key for key in self.bench.running.engine.store.keys("LXCContainer")), 5, 1.0
            )
            return False
        return True

    async def finish(self, agent: AgentId, run: str) -> None:
        self.finished.append(run)


async def bench() -> tuple[Bench, Images, Agents]:
    """A bench with images and agents."""
    out = Bench(*await lab())
    images, agents = Images(out), Agents(out)
    context = out.running.engine.context
    context.images = images
    context.agents = agents  # type: ignore[assignment]
    return out, images, agents


def software(image: str = "nginx:1.27", **more: Any) -> dict[str, Any]:
    """A spec with software."""
    return {"template": None, "software": {"image": image, **more}}


def test_an_image_is_delivered_claimed_and_told_what_to_run() -> None:
    async def run() -> None:
        place, _, agents = await bench()
        secret = {"metadata": {"name": "db"}, "data": {"url": base64.b64encode(b"postgres://hush").decode()}}
        await place.world.client.create(types.SECRET, "homelab", {"apiVersion": "v1", "kind": "Secret", **secret})
        env = [
            {"name": "A", "value": "1"},
            {"name": "URL", "valueFrom": {"secretKeyRef": {"name": "db", "key": "url"}}},
        ]
        found = await place.want(**software(env=env))
        assert ready(found)[0] == "True", ready(found)
        assert found["software"]["digest"] == DIGESTS["nginx:1.27"] and found["software"]["ready"]
        assert found["software"]["credential"] == "finger-2000"
        config = place.ct().config
        assert config["entrypoint"] == wire.INIT and "HOMEPORT_CLAIM=" in config["env"]
        payload = agents.told[AgentId("homelab", NAME, 2000)]
        assert {one.name: one.value for one in payload.env} == {"A": "1", "URL": "postgres://hush"}
        everything = await place.world.client.get(types.LXC_CONTAINER, "homelab", NAME)
        assert "hush" not in json.dumps(everything) and "hush" not in str(config) + str(place.running.events)
        assert "token" not in json.dumps(found), "the claim's token is in no status"
        place.writes()
        calls = len(place.running.calls)
        await place.running.settle(quiet=100.0)
        assert place.writes() == []
        assert {path for _, path in place.running.calls[calls:]} == {"/cluster/resources"}

    asyncio.run(run())


def test_what_is_told_changes_without_another_container() -> None:
    async def run() -> None:
        place, _, agents = await bench()
        await place.want(**software(env=[{"name": "A", "value": "1"}]))
        started = place.ct().started_at
        found = await place.want(**software(env=[{"name": "A", "value": "2"}]))
        assert ready(found)[0] == "True" and place.ct().started_at == started
        assert agents.told[AgentId("homelab", NAME, 2000)].env[0].value == "2"

    asyncio.run(run())


def test_another_image_is_another_container_and_data_moves_over() -> None:
    async def run() -> None:
        place, images, _ = await bench()
        mounts = [{"name": "data", "path": "/data", "storage": "local-lvm", "size": "4Gi"}]
        await place.want(mounts=mounts, **software())
        mac = place.ct().config["net0"]
        found = await place.want(mounts=mounts, **software("nginx:1.28"))
        assert ready(found)[0] == "True", ready(found)
        assert [vmid for vmid in place.world.containers() if vmid >= 2000] == [2001]
        assert found["software"]["digest"] == DIGESTS["nginx:1.28"]
        assert found["software"]["credential"] == "finger-2001"
        assert place.ct(2001).config["net0"] == mac and "mp=/data" in place.ct(2001).config["mp0"]
        assert set(images.asked) == set(DIGESTS)

    asyncio.run(run())


def test_a_job_runs_once_and_its_container_stops() -> None:
    async def run() -> None:
        place, _, agents = await bench()
        agents.exited = 0
        found = await place.want(**software(restartPolicy="Never"))
        assert found["software"].get("exitCode") == 0 and place.ct().status == "stopped"
        assert ready(found)[0] == "True" and "ended well" in ready(found)[2]
        assert agents.finished and set(agents.finished) == {found["software"]["run"]}
        place.writes()
        await place.running.settle(quiet=60.0)
        assert place.writes() == []
        agents.exited = 3
        agents.told.clear()
        found = await place.want(restartAt="again", **software(restartPolicy="Never"))
        assert found["software"]["exitCode"] == 3 and place.ct().status == "stopped"
        assert ready(found)[:2] == ("False", "HealthCheckFailed") and "exit code 3" in ready(found)[2]

    asyncio.run(run())


def test_what_is_missing_is_told() -> None:
    async def run() -> None:
        place, _, _ = await bench()
        env = [{"name": "URL", "valueFrom": {"secretKeyRef": {"name": "db", "key": "url"}}}]
        found = await place.want(**software(env=env))
        assert ready(found)[:2] == ("False", "HealthCheckFailed") and "Secret db doesn't exist" in ready(found)[2]
        secret = {"metadata": {"name": "db"}, "data": {"url": base64.b64encode(b"x").decode()}}
        await place.world.client.create(types.SECRET, "homelab", {"apiVersion": "v1", "kind": "Secret", **secret})
        await place.running.settle()
        assert ready(await status(place.world))[0] == "True"

    asyncio.run(run())


def test_an_agent_that_is_away_for_a_moment_takes_nothing_out_of_service() -> None:
    async def run() -> None:
        place, _, agents = await bench()
        await place.want(**software())
        here = agents.session
        agents.session = lambda agent: Session()  # type: ignore[method-assign]
        place.writes()
        place.running.engine.context.enqueue(next(iter(place.running.engine.store.keys("LXCContainer"))), 5, 0.0)
        await place.running.settle(quiet=30.0)
        assert place.writes() == [] and ready(await status(place.world))[0] == "True"
        await place.running.settle(quiet=120.0)
        found = await status(place.world)
        assert ready(found)[0] == "False" and "agent" in ready(found)[2]
        agents.session = here  # type: ignore[method-assign]
        place.running.engine.context.enqueue(next(iter(place.running.engine.store.keys("LXCContainer"))), 5, 0.0)
        await place.running.settle()
        assert ready(await status(place.world))[0] == "True"

    asyncio.run(run())
