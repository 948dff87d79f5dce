"""LXC containers on the stand-in: a hundred in one go against the bare sequence of calls, and five hundred at rest."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1])]
import scenario

from homeport.api import labels
from homeport.drivers.kubernetes import config, types
from homeport.drivers.kubernetes.client import Client
from homeport.drivers.proxmox.host import Host
from homeport.plan.proxmox.tasks import Upid
from operators import Operator, Writes
from proxmox_world import SECRET, TEMPLATE, TOKEN, ProxmoxWorld

Manifest = dict[str, Any]
PROJECT = "bench"
TASKS = 4
"""Worker tasks that the host takes at a time: ``limits.concurrentTasks``."""
POLL = 0.25
"""Seconds between two looks at a task, of the bare sequence."""
SCALE = 0.1
"""Seconds that a second of PVE's takes here: a container is made in 0.4 s."""
INTERVAL = 10
"""Seconds between two readings of the host."""
STEADY_SECONDS = 60


def lab(folder: Path) -> ProxmoxWorld:
    """A host on which a container takes a while."""
    folder.mkdir(parents=True, exist_ok=True)
    world = ProxmoxWorld(folder, endpoints=1)

    def slow() -> None:
        world.pve.time_scale = SCALE
        world.pve.node_memory = 512 * 2**30
        world.pve.ct_secs.update(create=4, destroy=2)

    world.call(slow)
    return world


async def bare(folder: Path, count: int) -> tuple[float, int]:
    """Seconds and calls of whoever makes and starts ``count`` containers, four at a time, and does nothing else."""
    world = lab(folder)
    host = Host(world.config(concurrent_tasks=TASKS))
    gate = asyncio.Semaphore(TASKS)

    async def wait(upid: Upid) -> None:
        while (found := await host.task(upid)).running:
            await asyncio.sleep(POLL)
        assert found.succeeded, found.message

    async def one(vmid: int) -> None:
        path = ("nodes", f"pve{vmid % 2 + 1}", "lxc")
        options = {"vmid": vmid, "hostname": f"ct-{vmid}", "ostemplate": f"local:vztmpl/{TEMPLATE}",
                   "rootfs": "local-lvm:8", "net0": "name=eth0,bridge=vmbr0,ip=dhcp", "unprivileged": True}  # fmt: skip
        async with gate:
            await wait(await host.begin(str(vmid), "POST", *path, params=options))
            await wait(await host.begin(str(vmid), "POST", *path, vmid, "status", "start"))

    try:
        await host.version()
        world.asked()
        started = time.perf_counter()
        await asyncio.gather(*(one(2000 + number) for number in range(count)))
        return time.perf_counter() - started, len(world.asked())
    finally:
        await host.close()
        world.stop()


def home(world: ProxmoxWorld) -> list[Manifest]:
    """The host, and a project that may use it."""
    token = {"namespace": PROJECT, "name": "token"}
    secret = {"tokenId": TOKEN, "tokenSecret": SECRET}
    ca = {"namespace": PROJECT, "name": "ca"}
    certificate = Path(world.certificate).read_text()
    use = {"name": PROJECT, "vmidRange": {"min": 2000, "max": 2999}}
    spec = {
        "endpoints": world.urls,
        "credentialsSecretRef": token,
        "tls": {"caSecretRef": ca},
        "interval": f"{INTERVAL}s",
        "projects": [use],
        "limits": {"concurrentTasks": TASKS},
    }
    return [
        *scenario.home()[:2],
        {"apiVersion": "v1", "kind": "Secret", "metadata": token, "stringData": secret},
        {"apiVersion": "v1", "kind": "Secret", "metadata": ca, "stringData": {"ca.crt": certificate}},
        {"apiVersion": labels.API_VERSION, "kind": "ProxmoxHost", "metadata": {"name": "lab"}, "spec": spec},
    ]  # fmt: skip


def container(number: int) -> Manifest:
    """One of many."""
    spec = {
        "hostRef": {"name": "lab"},
        "template": f"local:vztmpl/{TEMPLATE}",
        "rootfs": {"storage": "local-lvm", "size": "8Gi"},
        "networks": [{"name": "eth0", "bridge": "vmbr0", "address": "dhcp"}],
        "deletionPolicy": "Delete",
    }
    metadata = {"name": f"ct-{number:04d}", "namespace": PROJECT}
    return {"apiVersion": labels.API_VERSION, "kind": "LXCContainer", "metadata": metadata, "spec": spec}


async def wait_ready(client: Client, count: int, seconds: float) -> None:
    """Until so many LXCContainers are Ready. Raises TimeoutError with what the others say."""
    until = time.monotonic() + seconds
    while True:
        items, _ = await client.list(types.LXC_CONTAINER, PROJECT)
        if sum(map(scenario.is_ready, items)) >= count:
            return
        if time.monotonic() > until:
            said = Counter(
                entry.get("message", "")[:200]
                for item in items
                for entry in (item.get("status") or {}).get("conditions") or ()
                if entry["type"] == "Ready"
            )
            raise TimeoutError(f"not {count} containers Ready after {seconds:g} s: {said.most_common(5)}")
        await asyncio.sleep(0.5)


def kinds(calls: list[tuple[str, str]]) -> Counter[str]:
    """Requests by what they ask for, without names."""

    def plain(path: str) -> str:
        parts = path.split("/")
        return "/".join("N" if part.isdigit() else "UPID" if part.startswith("UPID") else part for part in parts)

    return Counter(f"{method} {plain(path).replace('pve1', 'NODE').replace('pve2', 'NODE')}" for method, path in calls)


async def measure(folder: Path, plane: Any, count: int, steady: int, add: Callable[..., None], say: Any) -> None:
    """All of it. ``add`` notes a figure, ``say`` tells what is of use to a reader only."""
    seconds, calls = await bare(folder / "bare-lab", count)
    add("containers-bare", seconds, "s", f"{count} containers made and started by a bare sequence of calls")
    world = lab(folder / "lab")
    client = Client(config.load(plane.kubeconfig), connections=scenario.CONNECTIONS, user_agent="bench")
    operator = Operator(plane.kubeconfig, folder / "operator.log")
    writes = Writes(plane.audit_log)
    try:
        operator.start()
        await operator.wait_leading()
        await scenario.apply_all(client, home(world), "bench")
        await asyncio.sleep(5)
        world.asked()
        writes.mark()
        started = time.perf_counter()
        await scenario.apply_all(client, [container(number) for number in range(count)], "bench")
        await wait_ready(client, count, 600)
        taken = time.perf_counter() - started
        asked = world.asked()
        own = [call for call in asked if call[1] != "/cluster/resources"]
        add("containers", taken, "s", f"{count} containers in one go, until all are Ready")
        add("containers-to-bare", taken / seconds, "x", "bare sequence of calls")
        add("calls-per-container", len(own) / count, "calls", f"bare sequence: {calls / count:g}")
        add("readings-meanwhile", len(asked) - len(own), "calls", f"/cluster/resources, each {INTERVAL} s")
        add("container-writes", sum(writes.count().values()) / count, "writes/container", "to the API server")
        add("tasks-at-once", world.pve.busiest, "tasks", f"limits.concurrentTasks: {TASKS}")
        say(f"  [dim]calls: {dict(kinds(asked).most_common(12))}[/]")
        if steady:
            await at_rest(client, world, writes, count, steady, add, say)
    finally:
        operator.kill()
        await client.close()
        world.stop()


async def at_rest(
    client: Client, world: ProxmoxWorld, writes: Writes, count: int, steady: int, add: Callable[..., None], say: Any
) -> None:
    """Nothing changes: what is asked all the same."""
    world.call(lambda: setattr(world.pve, "time_scale", 0.0))
    await scenario.apply_all(client, [container(number) for number in range(count, steady)], "bench")
    await wait_ready(client, steady, 600)
    await asyncio.sleep(2 * INTERVAL)
    world.asked()
    writes.mark()
    await asyncio.sleep(STEADY_SECONDS)
    asked = world.asked()
    each_minute = len(asked) * 60 / STEADY_SECONDS
    add(
        "steady-calls",
        each_minute,
        "calls/min",
        f"{steady} containers; one reading each {INTERVAL} s are {60 / INTERVAL:g}",
    )
    add(
        "steady-container-writes",
        sum(writes.count().values()),
        f"writes/{STEADY_SECONDS} s",
        "target: 0; the Lease aside",
    )
    say(f"  [dim]calls: {dict(kinds(asked))}[/]")
