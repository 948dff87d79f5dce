from __future__ import annotations

import asyncio
import time

import pytest

from homeport.drivers.kubernetes import errors, types
from homeport.drivers.memory import Call, MemoryClient
from homeport.engine.leader import Leader

# A tenth of the real times; the proportions are what matters.
TIMES = {"lease": 1.0, "renew": 0.65, "retry": 0.2}


class Candidate:
    def __init__(self, client: MemoryClient, name: str, log: list[tuple[float, str, str]]) -> None:
        self.name = name
        self.leader = Leader(
            client, "homeport-system", identity=name, on_started=self.started, on_stopped=self.stopped, **TIMES
        )
        self.log = log

    def started(self) -> None:
        self.log.append((time.monotonic(), self.name, "started"))

    async def stopped(self) -> None:
        self.log.append((time.monotonic(), self.name, "stopped"))

    def kill(self) -> None:
        """As kill -9: nothing of it runs any more, nothing is given back."""
        leader = self.leader
        leader._client = Dead()  # type: ignore[assignment]
        assert leader._task is not None
        leader._on_stopped = lambda: None
        leader._task.cancel()


class Dead:
    def __getattr__(self, name: str) -> object:
        raise errors.ServerUnavailable(0, "NoAnswer", "dead")


async def until(condition: object, seconds: float = 5.0) -> float:
    started = time.monotonic()
    async with asyncio.timeout(seconds):
        while not condition():  # type: ignore[operator]
            await asyncio.sleep(0.01)
    return time.monotonic() - started


def pair() -> tuple[MemoryClient, Candidate, Candidate, list[tuple[float, str, str]]]:
    client = MemoryClient(namespaces=True)
    log: list[tuple[float, str, str]] = []
    return client, Candidate(client, "a", log), Candidate(client, "b", log), log


async def test_one_leads_and_the_namespace_is_made() -> None:
    client, a, b, log = pair()
    a.leader.start()
    await until(lambda: a.leader.is_leader)
    b.leader.start()
    await asyncio.sleep(1.5)
    assert [entry[1:] for entry in log] == [("a", "started")]
    assert a.leader.is_leader
    assert not b.leader.is_leader
    assert b.leader.holder == "a"
    lease = await client.get(types.LEASE, "homeport-system", "homeport-operator")
    assert lease is not None
    assert lease["spec"]["holderIdentity"] == "a"
    await b.leader.stop()
    await a.leader.stop()


async def test_stopping_hands_over_at_once() -> None:
    _, a, b, log = pair()
    a.leader.start()
    await until(lambda: a.leader.is_leader)
    b.leader.start()
    await asyncio.sleep(0.1)
    await a.leader.stop()
    assert not a.leader.is_leader
    assert await until(lambda: b.leader.is_leader) < 0.5
    assert [entry[1:] for entry in log] == [("a", "started"), ("a", "stopped"), ("b", "started")]
    await b.leader.stop()


async def test_a_killed_leader_is_followed_after_its_lease() -> None:
    _, a, b, _ = pair()
    a.leader.start()
    await until(lambda: a.leader.is_leader)
    b.leader.start()
    await asyncio.sleep(0.4)
    a.kill()
    taken = await until(lambda: b.leader.is_leader)
    assert 0.5 < taken < 1.5  # of a lease of 1 s: never early, and within 15 s for one of 10 s
    await b.leader.stop()


async def test_a_passing_fault_is_endured() -> None:
    client, a, _, log = pair()
    a.leader.start()
    await until(lambda: a.leader.is_leader)
    client.fail(lambda call: call.verb == "patch", errors.ServerUnavailable(503, "", "down"), times=2)
    await asyncio.sleep(1.2)
    assert a.leader.is_leader
    assert [entry[1:] for entry in log] == [("a", "started")]
    await a.leader.stop()


async def test_cut_off_it_stops_before_another_may_start() -> None:
    client, a, b, log = pair()
    a.leader.start()
    await until(lambda: a.leader.is_leader)
    b.leader.start()
    await asyncio.sleep(0.3)
    a.leader._client = Dead()  # type: ignore[assignment]
    await until(lambda: b.leader.is_leader)
    await asyncio.sleep(0.1)
    assert [entry[1:] for entry in log] == [("a", "started"), ("a", "stopped"), ("b", "started")]
    assert log[2][0] - log[1][0] > 0.1
    a.leader._client = client
    await b.leader.stop()
    await until(lambda: a.leader.is_leader)
    await a.leader.stop()


async def test_an_api_server_that_never_answers_costs_the_lease_in_time() -> None:
    client, a, _, log = pair()
    a.leader.start()
    await until(lambda: a.leader.is_leader)

    async def silence(*_: object, **__: object) -> None:
        await asyncio.sleep(60)

    client.patch = silence  # type: ignore[assignment,method-assign]
    assert await until(lambda: len(log) == 2) < 0.9
    assert log[1][1:] == ("a", "stopped")
    await a.leader.stop()


async def test_of_two_that_take_a_free_lease_one_wins() -> None:
    for _ in range(10):
        _, a, b, log = pair()
        a.leader.start()
        b.leader.start()
        await until(lambda a=a, b=b: a.leader.is_leader or b.leader.is_leader)
        await asyncio.sleep(0.05)
        assert a.leader.is_leader != b.leader.is_leader
        await asyncio.gather(a.leader.stop(), b.leader.stop())
        assert len([entry for entry in log if entry[2] == "started"]) in {1, 2}


async def test_an_edit_by_hand_does_not_cost_the_lease() -> None:
    client, a, _, log = pair()
    a.leader.start()
    await until(lambda: a.leader.is_leader)
    await client.patch(types.LEASE, "homeport-system", "homeport-operator", {"metadata": {"labels": {"x": "y"}}})
    await asyncio.sleep(1.2)
    assert a.leader.is_leader
    assert len(log) == 1
    await a.leader.stop()


async def test_leadership_ends_by_the_clock_even_when_nobody_noticed() -> None:
    clock = [0.0]
    client = MemoryClient()
    leader = Leader(
        client, "ns", identity="a", on_started=lambda: None, on_stopped=lambda: None, clock=lambda: clock[0]
    )
    assert await leader._try(1.0)
    leader._leading = True
    assert leader.is_leader
    clock[0] = 10.1
    assert not leader.is_leader


def test_times_that_cannot_be_safe_are_refused() -> None:
    with pytest.raises(ValueError, match="renew"):
        Leader(MemoryClient(), "ns", identity="a", lease=5, renew=6, on_started=lambda: None, on_stopped=lambda: None)


async def test_renewing_costs_one_write_and_no_read() -> None:
    client, a, _, _ = pair()
    a.leader.start()
    await until(lambda: a.leader.is_leader)
    client.calls.clear()
    await asyncio.sleep(0.7)
    verbs = {call.verb for call in client.calls if isinstance(call, Call)}
    assert verbs == {"patch"}
    await a.leader.stop()
