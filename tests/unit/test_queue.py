from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from homeport.engine import queue
from homeport.engine.queue import CHILD, RESYNC, USER, Queue, QueueClosed


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def drain(q: Queue[str]) -> Iterator[str]:
    while (key := q.get_nowait()) is not None:
        yield key
        q.done(key)


def make(clock: Clock, chance: float = 0.5, **more: bool) -> Queue[str]:
    return Queue(clock=clock, chance=lambda: chance, **more)


def test_first_in_first_out_within_a_priority() -> None:
    q = make(Clock())
    for key in "abc":
        q.add(key)
    assert list(drain(q)) == ["a", "b", "c"]


def test_the_more_urgent_goes_first() -> None:
    q = make(Clock())
    q.add("resync", RESYNC)
    q.add("child", CHILD)
    q.add("user", USER)
    assert list(drain(q)) == ["user", "child", "resync"]


def test_a_resync_does_not_starve() -> None:
    clock = Clock()
    q = make(clock)
    q.add("resync", RESYNC)
    clock.now += 2 * queue.AGEING + 1
    q.add("user", USER)
    assert list(drain(q)) == ["resync", "user"]


def test_adding_again_keeps_the_earlier_time_and_the_more_urgent_priority() -> None:
    clock = Clock()
    q = make(clock)
    q.add("a", RESYNC, after=5)
    q.add("b", CHILD, after=2)
    q.add("a", USER, after=60)
    clock.now += 3
    assert list(drain(q)) == ["b"]
    clock.now += 2
    q.add("b", CHILD)
    assert list(drain(q)) == ["a", "b"]
    clock.now += 600
    assert list(drain(q)) == []


def test_added_in_flight_runs_again_afterwards() -> None:
    q = make(Clock())
    q.add("a")
    assert q.get_nowait() == "a"
    q.add("a")
    q.add("a")
    assert q.get_nowait() is None
    q.done("a")
    assert q.get_nowait() == "a"
    q.done("a")
    assert q.get_nowait() is None


def test_backoff_doubles_to_five_minutes_and_is_forgotten() -> None:
    q = make(Clock())
    delays = [q.backoff("a") for _ in range(12)]
    assert delays[:4] == [0.5, 1.0, 2.0, 4.0]
    assert delays[-1] == 300.0
    assert q.failures("a") == 12
    q.forget("a")
    assert q.backoff("a") == 0.5


@pytest.mark.parametrize(("chance", "factor"), [(0.0, 0.8), (1.0, 1.2)])
def test_backoff_jitters_by_a_fifth(chance: float, factor: float) -> None:
    q = make(Clock(), chance)
    assert q.backoff("a") == pytest.approx(0.5 * factor)


def test_depth_and_oldest_wait() -> None:
    clock = Clock()
    q = make(clock, paused=True)
    q.add("a")
    q.add("b", after=10)
    assert (q.depth(), q.delayed(), q.oldest_wait()) == (1, 1, 0.0)
    clock.now += 12
    assert (q.depth(), q.delayed(), q.oldest_wait()) == (2, 0, 12.0)
    q.resume()
    assert list(drain(q)) == ["a", "b"]
    assert (q.depth(), q.oldest_wait()) == (0, 0.0)


def test_dead_entries_do_not_pile_up() -> None:
    clock = Clock()
    q = make(clock)
    for _ in range(5000):
        q.add("a", CHILD, after=300)
        q.add("a", CHILD)
        assert q.get_nowait() == "a"
        q.done("a")
    assert len(q._waiting) < 200


async def test_a_paused_queue_hands_out_only_after_resume() -> None:
    q: Queue[str] = Queue(paused=True)
    q.add("a")
    getter = asyncio.create_task(q.get())
    await asyncio.sleep(0.02)
    assert not getter.done()
    q.resume()
    assert await asyncio.wait_for(getter, 1) == "a"


async def test_a_delayed_key_wakes_its_worker_by_timer() -> None:
    q: Queue[str] = Queue()
    q.add("late", after=0.1)
    q.add("soon", after=0.02)
    assert await asyncio.wait_for(q.get(), 1) == "soon"
    assert await asyncio.wait_for(q.get(), 1) == "late"


async def test_close_ends_all_workers_and_idle_waits_for_the_last_flight() -> None:
    q: Queue[str] = Queue()
    q.add("a")
    key = await q.get()
    workers = [asyncio.create_task(q.get()) for _ in range(3)]
    await asyncio.sleep(0)
    q.close()
    assert all(isinstance(answer, QueueClosed) for answer in await asyncio.gather(*workers, return_exceptions=True))
    idle = asyncio.create_task(q.idle())
    await asyncio.sleep(0.01)
    assert not idle.done()
    q.done(key)
    await asyncio.wait_for(idle, 1)
    with pytest.raises(QueueClosed):
        await q.get()


async def test_a_cancelled_worker_passes_its_wake_up_on() -> None:
    q: Queue[str] = Queue()
    first, second = asyncio.create_task(q.get()), asyncio.create_task(q.get())
    await asyncio.sleep(0)
    q.add("a")
    first.cancel()
    assert await asyncio.wait_for(second, 1) == "a"
    assert first.cancelled()


@settings(max_examples=30, deadline=None)
@given(
    adds=st.lists(
        st.tuples(
            st.sampled_from("abcdef"), st.sampled_from([USER, CHILD, RESYNC]), st.sampled_from([0.0, 0.001, 0.003])
        ),
        max_size=60,
    ),
    workers=st.integers(1, 5),
)
def test_real_workers_never_share_a_key_and_miss_nothing(adds: list[tuple[str, int, float]], workers: int) -> None:
    async def run() -> None:
        q: Queue[str] = Queue()
        flying: set[str] = set()
        world: dict[str, int] = {}
        seen: dict[str, int] = {}

        async def work() -> None:
            while True:
                try:
                    key = await q.get()
                except QueueClosed:
                    return
                assert key not in flying
                flying.add(key)
                seen[key] = world[key]
                await asyncio.sleep(0)
                flying.discard(key)
                q.done(key)

        tasks = [asyncio.create_task(work()) for _ in range(workers)]
        for number, (key, priority, after) in enumerate(adds):
            world[key] = number
            q.add(key, priority, after)
            if number % 7 == 0:
                await asyncio.sleep(0)
        async with asyncio.timeout(5):
            while q.depth() or q.delayed() or q.in_flight():
                await asyncio.sleep(0.001)
        q.close()
        await asyncio.gather(*tasks)
        assert seen == world

    asyncio.run(run())


class QueueMachine(RuleBasedStateMachine):
    """Against the simplest model: each key's due time, and whether it is in flight."""

    @initialize()
    def begin(self) -> None:
        self.clock = Clock()
        self.queue = make(self.clock)
        self.due: dict[str, float] = {}
        self.flying: set[str] = set()

    @rule(
        key=st.sampled_from("abcd"), priority=st.sampled_from([0, 1, 2]), after=st.sampled_from([0.0, 1.0, 5.0, 50.0])
    )
    def add(self, key: str, priority: int, after: float) -> None:
        self.queue.add(key, priority, after)
        self.due[key] = min(self.due.get(key, float("inf")), self.clock.now + after)

    @rule(key=st.sampled_from("abcd"))
    def backoff(self, key: str) -> None:
        delay = self.queue.backoff(key)
        self.due[key] = min(self.due.get(key, float("inf")), self.clock.now + delay)

    @rule(seconds=st.sampled_from([0.1, 1.0, 7.0, 400.0]))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule()
    def take(self) -> None:
        free = {key for key, due in self.due.items() if due <= self.clock.now and key not in self.flying}
        key = self.queue.get_nowait()
        if key is None:
            assert not free
        else:
            assert key in free
            del self.due[key]
            self.flying.add(key)

    @precondition(lambda self: self.flying)
    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.flying)))
        self.flying.discard(key)
        self.queue.done(key)

    @invariant()
    def counts(self) -> None:
        if not hasattr(self, "queue"):
            return
        free = {key: due for key, due in self.due.items() if key not in self.flying}
        assert self.queue.depth() == sum(due <= self.clock.now for due in free.values())
        assert self.queue.delayed() == sum(due > self.clock.now for due in free.values())
        assert self.queue.in_flight() == len(self.flying)


TestQueueMachine = QueueMachine.TestCase
TestQueueMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
