"""The operator as a process, on a control plane of its own that is killed, paused and lied about."""

from __future__ import annotations

import asyncio
import os
import signal
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from badnetwork import Proxy
from shops import Audit, Home, until

from api_server import ApiServer
from homeport.drivers.kubernetes import config, types
from homeport.drivers.kubernetes.client import Client
from localplane.controlplane import ControlPlane
from operators import Operator

pytestmark = [pytest.mark.faults, pytest.mark.integration]

STEADY = 4.0
"""Seconds without a write after which things count as settled; a Project's summary comes within 2."""


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with ControlPlane(tmp_path_factory.mktemp("plane"), ephemeral=True, audit=True) as plane:
        ApiServer(str(plane.kubeconfig)).install("crds", "policies")
        yield plane


@pytest.fixture
async def client(plane: Any) -> AsyncIterator[Client]:
    client = Client(config.load(plane.kubeconfig), user_agent="test")
    yield client
    await client.close()


def unique(name: str) -> str:
    """A name that no earlier try of a test has left anything under."""
    return f"{name}-{uuid.uuid4().hex[:6]}"


Start = Callable[..., Awaitable[Operator]]


@pytest.fixture
async def start(plane: Any, tmp_path: Path) -> AsyncIterator[Start]:
    """Starts operators; those that still run at the end are ended."""
    running: list[Operator] = []

    async def start(leads: bool = True, kubeconfig: Path | None = None) -> Operator:
        operator = Operator(kubeconfig or plane.kubeconfig, tmp_path / f"operator-{len(running)}.log")
        running.append(operator)
        operator.start()
        if leads:
            await operator.wait_leading()
        return operator

    yield start
    for operator in running:
        assert operator.process is not None
        if operator.process.poll() is None:
            # Gently, so that the next test's operator need not wait for the Lease to run out.
            operator.process.send_signal(signal.SIGCONT)
            operator.kill(signal.SIGTERM)


async def page(operator: Operator, path: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{operator.port}{path}") as answer:
        return answer.status, await answer.text()


async def answers(operator: Operator, path: str = "/readyz") -> bool:
    try:
        return (await page(operator, path))[0] == 200
    except aiohttp.ClientError:
        return False


async def leads(operator: Operator) -> bool:
    return (await operator.scrape()).get("homeport_leader") == 1


async def steady(plane: Any, seconds: float = 40.0) -> None:
    """Until nothing has been written for a while."""
    until_ = time.monotonic() + seconds
    while True:
        audit = Audit(plane.audit_log)
        await asyncio.sleep(STEADY)
        if not audit.writes():
            return
        assert time.monotonic() < until_, f"it never stops writing: {audit.summary()[:10]}"


async def jobs(home: Home) -> list[str]:
    items, _ = await home.client.list(types.JOB, home.namespace)
    return [item["metadata"]["name"].rsplit("-", 1)[0] for item in items]


async def test_killed_in_the_middle_of_a_rollout(plane: Any, client: Client, start: Start) -> None:
    audit, count = Audit(plane.audit_log), 30
    home = Home(client, unique("killed"))
    operator = await start()
    await home.settle_in()
    filling = asyncio.create_task(home.fill(count))
    await home.wait_ready(3)
    operator.kill()
    await filling
    assert await home.ready() < count, "it was too fast to be killed in the middle"
    again = await start(leads=False)
    await home.wait_ready(count)
    await steady(plane)
    assert audit.made_twice() == []
    assert len(await jobs(home)) == len(set(await jobs(home))) == count
    # A write that was under way at the kill is logged as unanswered (504), made or not: so these may be fewer.
    made = audit.made()
    assert sum(name.startswith(f"deployments/{home.namespace}/") for name in made) <= count
    deployments, _ = await client.list(types.DEPLOYMENT, home.namespace, metadata_only=True)
    assert len(deployments) == count

    # In steady state a restart costs no write at all.
    again.kill(signal.SIGTERM)
    audit = Audit(plane.audit_log)
    third = await start()
    await asyncio.sleep(STEADY)
    assert audit.summary() == []
    assert await page(third, "/healthz") == (200, "ok\n")
    metrics = (await page(third, "/metrics"))[1]
    for name in (
        "homeport_queue_depth", "homeport_queue_wait_seconds_bucket", "homeport_reconcile_duration_seconds_bucket",
        "homeport_reconcile_outcomes_total", "homeport_api_calls_total", "homeport_watch_age_seconds",
        "homeport_leader", "homeport_resources", "process_resident_memory_bytes",
    ):  # fmt: skip
        assert f"\n{name}" in metrics, name
    assert f'homeport_resources{{kind="Application",ready="true"}} {count}.0' in metrics


async def test_one_of_two_leads(plane: Any, client: Client, start: Start) -> None:
    audit, count = Audit(plane.audit_log), 12
    home = Home(client, unique("replicas"))
    first = await start()
    second = await start(leads=False)
    await until(lambda: answers(second), "the standby is ready", 30)
    assert not await leads(second)
    await home.settle_in()
    filling = asyncio.create_task(home.fill(count))
    await home.wait_ready(1)
    first.kill()
    taken = await until(lambda: leads(second), "the standby leads", 20)
    assert taken < 15
    await filling
    await home.wait_ready(count)
    assert audit.made_twice() == []
    assert len(await jobs(home)) == count

    # Told to stop, the leader gives the Lease back: nobody has to wait for it to run out.
    third = await start(leads=False)
    await until(lambda: answers(third), "the new standby is ready", 30)
    began = time.monotonic()
    assert second.kill(signal.SIGTERM) == 0
    assert time.monotonic() - began < 10
    assert await until(lambda: leads(third), "the new standby leads", 20) < 5


async def test_without_the_api_server(plane: Any, client: Client, start: Start) -> None:
    home = Home(client, unique("away"))
    operator = await start()
    assert operator.process is not None
    await home.settle_in()
    await home.fill(3)
    await home.wait_ready(3)

    plane.pause_component("kube-apiserver")
    try:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            assert (await page(operator, "/healthz"))[0] == 200, "a restart would mend nothing"
            await asyncio.sleep(1.0)
    finally:
        plane.resume_component("kube-apiserver")
    await home.fill(3, setting="2")
    await until(lambda: _has(home, 2, "setting = 2"), "the change is carried out after a pause", 30)

    plane.kill_component("kube-apiserver")
    await asyncio.sleep(3)
    await asyncio.to_thread(plane.start_component, "kube-apiserver")
    await home.fill(3, setting="3")
    await until(lambda: _has(home, 2, "setting = 3"), "the change is carried out after a crash", 30)
    await home.wait_ready(3)
    assert operator.process.poll() is None, "the same process all along"

    # And it ends in time when nobody answers.
    plane.pause_component("kube-apiserver")
    try:
        began = time.monotonic()
        assert await asyncio.to_thread(operator.kill, signal.SIGTERM) == 0
        assert time.monotonic() - began < 10
    finally:
        plane.resume_component("kube-apiserver")


async def _has(home: Home, number: int, text: str) -> bool:
    return text in await home.setting(number)


async def test_what_it_missed(plane: Any, client: Client, start: Start) -> None:
    """While it sleeps, the API server restarts: the watches' versions are Gone, and what happened is in no event."""
    home = Home(client, unique("missed"))
    operator = await start()
    assert operator.process is not None
    await home.settle_in()
    await home.fill(3)
    await home.wait_ready(3)
    os.kill(operator.process.pid, signal.SIGSTOP)
    await home.apply(home.application(1, setting="2"))
    await home.apply(home.application(3))
    await client.patch(types.APPLICATION, home.name, "app-0", {"metadata": {"finalizers": None}})
    await client.delete(types.APPLICATION, home.name, "app-0")
    await client.delete(types.SERVICE, home.namespace, "web-2")
    await asyncio.to_thread(plane.restart_component, "kube-apiserver")
    os.kill(operator.process.pid, signal.SIGCONT)

    await until(lambda: _has(home, 1, "setting = 2"), "a missed change is carried out", 30)
    await home.wait_ready(3)

    async def mended() -> bool:
        return await client.get(types.SERVICE, home.namespace, "web-2") is not None

    async def forgotten() -> bool:
        project = await client.get(types.PROJECT, home.name, home.name)
        deployment = await client.get(types.DEPLOYMENT, home.namespace, "web-0")
        return deployment is None and (project or {})["status"]["applications"] == {"ready": 3, "total": 3}

    await until(mended, "a child that was deleted is made anew", 30)
    await until(forgotten, "an application that went by force is forgotten, with all it had", 100)
    assert operator.process.poll() is None


async def test_a_bad_network(plane: Any, client: Client, start: Start, tmp_path: Path) -> None:
    audit, count = Audit(plane.audit_log), 15
    proxy = Proxy(plane.kubeconfig)
    kubeconfig = await proxy.start(tmp_path)
    try:
        home = Home(client, unique("network"))
        proxy.bad = 10
        operator = await start(leads=False, kubeconfig=kubeconfig)
        await home.settle_in()
        await home.fill(count)
        await home.wait_ready(count, 120)
        every = {"429", "500", "503", "409", "slow", "lost", "torn", "closed", "broken", "gone"}
        for setting in map(str, range(2, 12)):
            await home.fill(count, setting=setting)
            wanted = f"setting = {setting}"
            await until(lambda wanted=wanted: _has(home, count - 1, wanted), "a change is carried out", 90)
            await home.wait_ready(count, 120)
            if every <= set(proxy.done):
                break
        assert every <= set(proxy.done)
        proxy.bad = 0
        assert operator.process is not None and operator.process.poll() is None
        assert await page(operator, "/healthz") == (200, "ok\n")
        assert audit.made_twice() == []
        assert len(await jobs(home)) == count
        await steady(plane)
        assert operator.kill(signal.SIGTERM) == 0
    finally:
        await proxy.stop()
