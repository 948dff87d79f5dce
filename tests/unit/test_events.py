from __future__ import annotations

import asyncio

import aiohttp

from homeport.drivers.kubernetes import errors, types
from homeport.drivers.memory import MemoryClient
from homeport.engine.events import EventRecorder
from homeport.engine.metrics import Metrics
from homeport.engine.serve import Server, parse_bind, silent

ABOUT = {
    "apiVersion": "homeport.dev/v1alpha1",
    "kind": "Application",
    "metadata": {"name": "web", "namespace": "shop", "uid": "u1"},
}


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_an_event_says_what_became_of_which_object() -> None:
    client = MemoryClient()
    recorder = EventRecorder(client)
    recorder.start()
    assert recorder.record(ABOUT, "HealthCheckFailed", "web: ImagePullBackOff", type="Warning")
    await recorder.stop()
    (event,) = client.objects(types.EVENT)
    assert event["metadata"]["namespace"] == "shop"
    assert event["involvedObject"] == {
        "apiVersion": "homeport.dev/v1alpha1", "kind": "Application", "name": "web", "namespace": "shop", "uid": "u1",
    }  # fmt: skip
    assert (event["reason"], event["type"]) == ("HealthCheckFailed", "Warning")


async def test_the_same_is_not_said_twice_within_five_minutes() -> None:
    clock = Clock()
    recorder = EventRecorder(MemoryClient(), clock=clock)
    assert recorder.record(ABOUT, "Progressing", "x")
    assert not recorder.record(ABOUT, "Progressing", "x")
    assert recorder.record(ABOUT, "Progressing", "y")
    clock.now = 301
    assert recorder.record(ABOUT, "Progressing", "x")
    assert recorder.dropped == {"repeated": 1}


async def test_a_flapping_object_is_limited_and_others_are_not() -> None:
    clock = Clock()
    recorder = EventRecorder(MemoryClient(), clock=clock)
    assert sum(recorder.record(ABOUT, "Progressing", str(n)) for n in range(100)) == 15
    other = {**ABOUT, "metadata": {**ABOUT["metadata"], "uid": "u2"}}  # type: ignore[dict-item]
    assert recorder.record(other, "Progressing", "1")
    clock.now = 61
    assert sum(recorder.record(ABOUT, "Progressing", f"later {n}") for n in range(10)) == 2


async def test_what_does_not_fit_is_dropped_and_counted() -> None:
    recorder = EventRecorder(MemoryClient(), size=3)
    assert sum(recorder.record(ABOUT, "Progressing", str(n)) for n in range(5)) == 3
    assert recorder.dropped == {"full": 2}


async def test_a_refusal_of_the_api_server_is_no_trouble() -> None:
    client = MemoryClient()
    client.fail(lambda call: True, errors.Forbidden(403, "Forbidden", "being terminated"))
    recorder = EventRecorder(client)
    recorder.start()
    recorder.record(ABOUT, "A", "1")
    recorder.record(ABOUT, "A", "2")
    await recorder.stop()
    assert [event["message"] for event in client.objects(types.EVENT)] == ["2"]
    assert recorder.dropped == {"failed": 1}


async def test_credentials_are_blotted_out_and_long_messages_cut() -> None:
    client = MemoryClient()
    recorder = EventRecorder(client)
    recorder.start()
    recorder.record(ABOUT, "A", "clone of https://me:hunter2@git.example.com/x failed: " + "x" * 2000)
    recorder.record(ABOUT, "A", "Authorization: Bearer abc.def was refused")
    await recorder.stop()
    first, second = (event["message"] for event in client.objects(types.EVENT))
    assert "hunter2" not in first
    assert "https://***@git.example.com/x" in first
    assert len(first) == 1024
    assert second == "Authorization: Bearer *** was refused"


async def test_the_pages() -> None:
    ages = {"Pod": 3.0}
    unsynced: list[str] = ["Secret is not synced"]
    metrics = Metrics()
    metrics.queue_depth = lambda: 7
    metrics.watch_ages = lambda: ages
    metrics.leader = lambda: True
    metrics.resources = lambda: {("Application", True): 4}
    metrics.observe_call("apply", types.DEPLOYMENT, 200, 0.01)
    metrics.observe_call("get", types.DEPLOYMENT, 200, 0.01)
    metrics.observe_reconcile("Application", "Ok", 0.2)
    metrics.mended("Deployment")
    metrics.observe_wait(0.1)
    server = Server("127.0.0.1:0", health=silent(lambda: ages, 120), ready=lambda: unsynced, metrics=metrics.render)
    port = await server.start()
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:

        async def page(path: str) -> tuple[int, str]:
            async with session.get(path) as answer:
                return answer.status, await answer.text()

        assert await page("/healthz") == (200, "ok\n")
        assert await page("/readyz") == (503, "Secret is not synced\n")
        unsynced.clear()
        ages["Pod"] = 200.0
        assert await page("/readyz") == (200, "ok\n")
        assert await page("/healthz") == (503, "the watch of Pod has been silent for 200 s\n")
        status, text = await page("/metrics")
    await server.stop()
    assert status == 200
    for line in (
        "homeport_queue_depth 7.0",
        "homeport_leader 1.0",
        'homeport_watch_age_seconds{kind="Pod"} 200.0',
        'homeport_resources{kind="Application",ready="true"} 4.0',
        'homeport_api_calls_total{code="200",kind="Deployment",verb="apply"} 1.0',
        'homeport_reconcile_outcomes_total{kind="Application",outcome="Ok"} 1.0',
        'homeport_drift_mended_total{kind="Deployment"} 1.0',
        "homeport_queue_wait_seconds_count 1.0",
    ):
        assert line in text
    assert metrics.writes() == 1
    await asyncio.sleep(0)


def test_addresses() -> None:
    assert parse_bind(":8080") == ("", 8080)
    assert parse_bind("[::1]:0") == ("::1", 0)
    for wrong in ("8080", "localhost", "a:b", "a:99999"):
        try:
            parse_bind(wrong)
        except ValueError as error:
            assert "host:port" in str(error)
        else:
            raise AssertionError(wrong)
