"""Many containers at once on a host that takes few tasks: how long that takes by the lab's clock, and what it costs."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import datetime

from test_containers import container, lab, ready

from homeport.drivers.kubernetes import types

COUNT, TASKS = 24, 4
CREATE, START = 4.0, 2.0
"""Seconds that the lab's tasks take."""


def kind(call: tuple[str, str]) -> str:
    """What is asked, without names."""
    parts = call[1].split("/")
    plain = ["N" if part.isdigit() or part.startswith(("pve", "UPID")) else part for part in parts]
    return f"{call[0]} {'/'.join(plain)}"


def test_many_at_once_wait_for_room_and_not_for_each_other() -> None:
    async def run() -> None:
        world, running = await lab()
        world.pve.node_memory = 512 * 2**30
        asked = len(running.calls)
        running.gate.writes.clear()
        begun = world.clock.now()
        network = {"name": "eth0", "bridge": "vmbr0", "address": "dhcp"}
        await world.apply([container(f"ct-{number}", networks=[network]) for number in range(COUNT)])
        await running.settle()
        done = []
        for number in range(COUNT):
            found = world.get(types.LXC_CONTAINER, "homelab", f"ct-{number}")["status"]
            assert ready(found)[0] == "True", ready(found)
            entry = next(entry for entry in found["conditions"] if entry["type"] == "Ready")
            done.append((datetime.fromisoformat(entry["lastTransitionTime"]) - begun).total_seconds())
        least = COUNT / TASKS * (CREATE + START)
        calls = Counter(kind(call) for call in running.calls[asked:])
        once = {name: count / COUNT for name, count in calls.items() if "/lxc" in name or "nextid" in name}
        writes = Counter(write.split()[1] for write in running.gate.writes if "/ct-" in write)
        # Half a second is the lab's step, and what a task's end may be seen later by.
        assert max(done) <= 1.1 * least
        assert once == {
            "GET /cluster/nextid": 1, "POST /nodes/N/lxc": 1, "GET /nodes/N/lxc/N/config": 2,
            "GET /nodes/N/lxc/N/pending": 1, "GET /nodes/N/lxc/N/status/current": 2,
            "POST /nodes/N/lxc/N/status/start": 1, "GET /nodes/N/lxc/N/interfaces": 1,
        }  # fmt: skip
        assert calls["GET /nodes/N/tasks/N/status"] / COUNT <= 12, "each 0.5 s, and seldomer the longer it takes"
        assert sum(writes.values()) / COUNT <= 7, "those that wait long say so now and then"

        # At rest: one reading each 5 s for all of them, and nothing is written.
        asked = len(running.calls)
        running.gate.writes.clear()
        await running.settle(quiet=60.0)
        assert Counter(kind(call) for call in running.calls[asked:]) == {"GET /cluster/resources": 12}
        assert running.gate.writes == []

    asyncio.run(run())
