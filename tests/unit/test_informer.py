from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from homeport.api import labels
from homeport.api.labels import OwnerKey
from homeport.drivers.kubernetes import errors, informer, types
from homeport.drivers.kubernetes.cluster import Cluster
from homeport.drivers.kubernetes.informer import Informer
from homeport.drivers.kubernetes.types import GVK, Manifest
from homeport.drivers.kubernetes.watches import WatchSpec, default_watches, strangers
from homeport.drivers.memory import MemoryClient

Told = list[tuple[str, str]]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(informer, "SHORTEST_PAUSE", 0.01)
    monkeypatch.setattr(informer, "ABSENT_PAUSE", 0.05)


async def until(condition: Callable[[], Any], seconds: float = 3.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


def config_map(name: str, ns: str = "ns", data: str = "", **found: str) -> Manifest:
    metadata = {"name": name, "namespace": ns, "labels": found, "annotations": {}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"x": data}}


def teller(told: Told) -> Callable[[str, Manifest | None, Manifest | None], None]:
    def tell(kind: str, old: Manifest | None, new: Manifest | None) -> None:
        seen = new if new is not None else old
        assert seen is not None
        told.append((kind, seen["metadata"]["name"]))

    return tell


@pytest.fixture
async def watched() -> AsyncIterator[tuple[MemoryClient, Informer, Told]]:
    client = MemoryClient()
    await client.create(types.CONFIG_MAP, "ns", config_map("a"))
    told: Told = []
    inf = Informer(
        client,
        types.CONFIG_MAP,
        on_event=teller(told),
        index=lambda m: m["metadata"]["labels"].get("app"),
    )
    inf.start()
    await asyncio.wait_for(inf.synced.wait(), 1)
    yield client, inf, told
    await inf.stop()


Watched = tuple[MemoryClient, Informer, Told]


async def test_it_lists_then_follows(watched: Watched) -> None:
    client, inf, told = watched
    await client.create(types.CONFIG_MAP, "ns", config_map("b"))
    await client.apply(types.CONFIG_MAP, "ns", "a", config_map("a", data="2"))
    await client.delete(types.CONFIG_MAP, "ns", "b")
    await until(lambda: len(told) == 4)
    assert told == [("ADDED", "a"), ("ADDED", "b"), ("MODIFIED", "a"), ("DELETED", "b")]
    assert len(inf) == 1
    found = inf.get("ns", "a")
    assert found is not None
    assert found["data"] == {"x": "2"}
    assert "managedFields" not in found["metadata"]


async def test_the_index_follows_the_labels(watched: Watched) -> None:
    client, inf, _ = watched
    await client.create(types.CONFIG_MAP, "ns", config_map("b", app="x"))
    await until(lambda: list(inf.list("x")))
    await client.patch(types.CONFIG_MAP, "ns", "b", {"metadata": {"labels": {"app": "y"}}})
    await until(lambda: list(inf.list("y")))
    assert not list(inf.list("x"))
    await client.delete(types.CONFIG_MAP, "ns", "b")
    await until(lambda: not list(inf.list("y")))
    assert not inf._indexed


async def test_a_closed_watch_is_resumed_without_listing_again(watched: Watched) -> None:
    client, _, told = watched
    client.drop_watches()
    await client.create(types.CONFIG_MAP, "ns", config_map("b"))
    await until(lambda: ("ADDED", "b") in told)
    assert [call.verb for call in client.calls].count("list") == 1
    assert told.count(("ADDED", "a")) == 1


async def test_gone_lists_again_and_tells_only_what_differs(watched: Watched) -> None:
    client, inf, told = watched
    await client.create(types.CONFIG_MAP, "ns", config_map("keep"))
    await client.create(types.CONFIG_MAP, "ns", config_map("drop"))
    await until(lambda: len(told) == 3)
    told.clear()
    client.fail(lambda call: call.verb == "watch", errors.Gone(410, "Expired", "too old"))
    # While the watch is down: one goes, one changes, one is made again under its old name.
    await inf.stop()
    await client.delete(types.CONFIG_MAP, "ns", "drop")
    await client.patch(types.CONFIG_MAP, "ns", "a", {"data": {"x": "9"}})
    await client.delete(types.CONFIG_MAP, "ns", "keep")
    await client.create(types.CONFIG_MAP, "ns", config_map("keep"))
    client.compact()
    inf.start()
    await until(lambda: len(told) == 4)
    await asyncio.sleep(0.05)
    assert sorted(told) == [("ADDED", "keep"), ("DELETED", "drop"), ("DELETED", "keep"), ("MODIFIED", "a")]
    assert told.index(("DELETED", "keep")) < told.index(("ADDED", "keep"))


async def test_a_lost_api_server_is_waited_for(watched: Watched) -> None:
    client, inf, told = watched
    down = errors.ServerUnavailable(0, "NoAnswer", "down")
    client.fail(lambda call: True, down, times=4)
    client.drop_watches()
    await until(lambda: inf.error is not None)
    await until(lambda: not client._faults)
    await client.create(types.CONFIG_MAP, "ns", config_map("b"))
    await until(lambda: ("ADDED", "b") in told)
    assert [call.verb for call in client.calls].count("list") == 1


async def test_a_restored_etcd_is_listed_again(watched: Watched) -> None:
    client, _, told = watched
    future = errors.ServerUnavailable(504, "Timeout", "Too large resource version")
    client.fail(lambda call: call.verb == "watch", future, times=4)
    client.drop_watches()
    await until(lambda: [call.verb for call in client.calls].count("list") == 2)
    await client.create(types.CONFIG_MAP, "ns", config_map("b"))
    await until(lambda: ("ADDED", "b") in told)


async def test_a_kind_that_is_not_served_is_empty_and_may_appear(watched: Watched) -> None:
    client, _, _ = watched
    client.fail(lambda call: call.verb == "list", errors.NotFound(404, "NotFound", "no such kind"))
    told: Told = []
    inf = Informer(client, types.CONFIG_MAP, on_event=teller(told))
    inf.start()
    await asyncio.wait_for(inf.synced.wait(), 1)
    assert len(inf) == 0
    await until(lambda: told == [("ADDED", "a")])
    await inf.stop()


async def test_a_listeners_mistake_does_not_blind_it(caplog: pytest.LogCaptureFixture) -> None:
    client = MemoryClient()

    def broken(*_: object) -> None:
        raise RuntimeError("oops")

    inf = Informer(client, types.CONFIG_MAP, on_event=broken)
    inf.start()
    await client.create(types.CONFIG_MAP, "ns", config_map("a"))
    await client.create(types.CONFIG_MAP, "ns", config_map("b"))
    await until(lambda: len(inf) == 2)
    assert "was not handled" in caplog.text
    await inf.stop()


async def test_age_counts_from_the_last_sign_of_life() -> None:
    now = [0.0]
    inf = Informer(MemoryClient(), types.CONFIG_MAP, clock=lambda: now[0])
    now[0] = 50
    assert inf.age() == 50
    inf.start()
    await asyncio.wait_for(inf.synced.wait(), 1)
    assert inf.age() == 0
    await inf.stop()


async def test_a_watch_that_was_only_silent_is_opened_anew_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    client = MemoryClient()
    inf = Informer(client, types.CONFIG_MAP, clock=lambda: now[0])
    client.fail(lambda call: call.verb == "watch", errors.ServerUnavailable(0, errors.SILENT, "silent"))

    def later(_: object) -> None:
        now[0] += 90

    client.fail(lambda call: call.verb == "list", later)
    inf.start()
    await until(lambda: [call.verb for call in client.calls] == ["list", "watch", "watch"])
    await asyncio.sleep(0.02)
    assert inf.age() == 0
    assert inf.error is None
    assert not caplog.records
    await inf.stop()


# -- our own writes --------------------------------------------------------------------------------------------------


async def test_the_cache_is_stale_until_our_write_comes_back(watched: Watched) -> None:
    client, inf, _ = watched
    answer = await client.apply(types.CONFIG_MAP, "ns", "a", config_map("a", data="new"))
    inf.expects("ns", "a", answer["metadata"]["resourceVersion"])
    assert inf.is_stale("ns", "a")
    await until(lambda: not inf.is_stale("ns", "a"))
    assert inf.get("ns", "a")["data"] == {"x": "new"}  # type: ignore[index]
    inf.expects("ns", "a", answer["metadata"]["resourceVersion"])
    assert not inf.is_stale("ns", "a")


async def test_a_write_that_changed_nothing_is_not_waited_for(watched: Watched) -> None:
    _, inf, _ = watched
    known = inf.get("ns", "a")
    assert known is not None
    inf.expects("ns", "a", known["metadata"]["resourceVersion"])
    assert not inf.is_stale("ns", "a")


def seen(version: str, name: str = "a") -> Manifest:
    return {"metadata": {"name": name, "namespace": "ns", "uid": "u", "resourceVersion": version}}


@pytest.mark.parametrize(("event", "stale"), [("99", True), ("100", False), ("101", False), ("opaque", False)])
def test_an_older_event_does_not_end_the_wait(event: str, stale: bool) -> None:
    inf = Informer(MemoryClient(), types.CONFIG_MAP)
    inf.expects("ns", "a", "100")
    inf._put(seen(event))
    assert inf.is_stale("ns", "a") is stale


def test_a_bookmark_ends_the_wait_and_time_does() -> None:
    now = [0.0]
    inf = Informer(MemoryClient(), types.CONFIG_MAP, clock=lambda: now[0])
    inf.expects("ns", "a", "100")
    inf._reached("99")
    assert inf.is_stale("ns", "a")
    inf._reached("100")
    assert not inf.is_stale("ns", "a")
    inf.expects("ns", "a", "200")
    now[0] = informer.EXPECTATION_LIFE + 1
    assert not inf.is_stale("ns", "a")


def test_our_write_after_a_delete_waits_past_the_delete() -> None:
    inf = Informer(MemoryClient(), types.CONFIG_MAP)
    inf._put(seen("10"))
    inf.expects("ns", "a", "30")
    inf._remove(("ns", "a"), seen("20"))
    assert inf.is_stale("ns", "a")
    inf._put({"metadata": {**seen("30")["metadata"], "uid": "u2"}})
    assert not inf.is_stale("ns", "a")


# -- a cluster -------------------------------------------------------------------------------------------------------

OWNER = OwnerKey("Application", "shop", "web")


def child(name: str, kind: str = "ConfigMap", ns: str = "shop-prod") -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": kind,
        "metadata": {
            "name": name,
            "namespace": ns,
            "labels": {
                labels.MANAGED_BY: labels.MANAGER,
                labels.PROJECT: "shop",
                labels.ENVIRONMENT: "prod",
                labels.APPLICATION: "web",
                labels.OWNER_KIND: "Application",
                labels.OWNER_NAME: "web",
            },
        },
    }


@pytest.fixture
async def cluster() -> AsyncIterator[tuple[MemoryClient, Cluster, list[tuple[GVK, str]]]]:
    client = MemoryClient()
    client.serve(types.SERVICE_MONITOR, False)
    client.serve(types.POD_MONITOR, False)
    events: list[tuple[GVK, str]] = []
    found = Cluster(client, on_event=lambda gvk, kind, old, new: events.append((gvk, kind)))
    await found.start(5)
    yield client, found, events
    await found.stop()


Clustered = tuple[MemoryClient, Cluster, list[tuple[GVK, str]]]


async def test_children_of_all_kinds_are_found_by_owner(cluster: Clustered) -> None:
    client, found, events = cluster
    await client.create(types.CONFIG_MAP, "shop-prod", child("a"))
    await client.create(types.SERVICE, "shop-prod", child("a", "Service"))
    await client.create(types.CONFIG_MAP, "shop-prod", config_map("theirs", "shop-prod"))
    await until(lambda: len(found.children(OWNER)) == 2)
    assert found.synced()
    assert found.get(types.SERVICE, "shop-prod", "a") is not None
    assert found.get(types.CONFIG_MAP, "shop-prod", "theirs") is None
    assert (types.SERVICE, "ADDED") in events
    assert found.children(OwnerKey("Application", "shop", "other")) == []


async def test_versions_of_what_users_made_without_their_data(cluster: Clustered) -> None:
    client, found, _ = cluster
    body = config_map("db", "shop", data="hunter2")
    body["metadata"]["annotations"] = {"homeport.dev/private": "true", "other": "x" * 100}
    made = await client.create(types.SECRET, "shop", body)
    await until(lambda: found.secret_version("shop", "db"))
    assert found.secret_version("shop", "db") == made["metadata"]["resourceVersion"]
    assert found.secret_version("shop", "nothing") is None
    metadata = found.metadata(types.SECRET, "shop", "db")
    assert metadata is not None
    assert metadata["metadata"]["annotations"] == {"homeport.dev/private": "true"}
    assert "hunter2" not in repr(found._versions[types.SECRET]._objects)
    ours = await client.create(types.SECRET, "shop-prod", child("copy", "Secret"))
    await until(lambda: found.secret_version("shop-prod", "copy"))
    assert found.secret_version("shop-prod", "copy") == ours["metadata"]["resourceVersion"]
    assert [m["metadata"]["name"] for m in found.user_metadata(types.SECRET, "shop")] == ["db"]


async def test_pods_are_trimmed_and_found_by_application(cluster: Clustered) -> None:
    client, found, _ = cluster
    pod = child("web-1", "Pod") | {"spec": {"nodeName": "n1", "containers": [{}]}, "status": {"phase": "Running"}}
    await client.create(types.POD, "shop-prod", pod)
    await until(lambda: found.pods("shop", "web"))
    (seen_pod,) = found.pods("shop", "web", "prod")
    assert seen_pod["spec"] == {"nodeName": "n1"}
    assert seen_pod["status"] == {"phase": "Running"}
    assert found.pods("shop", "web", "staging") == []
    assert found.children(OWNER) == []


async def test_optional_kinds_are_watched_where_they_are_served(cluster: Clustered) -> None:
    client, found, _ = cluster
    assert found.has(types.HTTP_ROUTE)
    assert not found.has(types.SERVICE_MONITOR)
    with pytest.raises(KeyError, match="not watched"):
        found.get(types.SERVICE_MONITOR, "ns", "x")
    client.serve(types.SERVICE_MONITOR)
    await found.refresh()
    assert found.has(types.SERVICE_MONITOR)
    assert set(found.ages()) == {spec.name for spec in default_watches()} - {"PodMonitor"}


async def test_strangers_are_listed_once_for_many_questions(cluster: Clustered) -> None:
    client, found, _ = cluster
    await client.create(types.CONFIG_MAP, "shop-prod", child("ours"))
    await client.create(types.CONFIG_MAP, "shop-prod", config_map("theirs", "shop-prod"))
    hubs = child("another-hubs")
    hubs["metadata"]["labels"]["homeport.dev/control-plane"] = "hub"
    await client.create(types.CONFIG_MAP, "shop-prod", hubs)
    client.calls.clear()
    answers = await asyncio.gather(*(found.strangers(types.CONFIG_MAP, "shop-prod") for _ in range(300)))
    assert set(answers) == {frozenset({"theirs", "another-hubs"})}
    assert len(client.calls) == len(strangers(""))


async def test_strangers_survive_a_cancelled_asker_and_do_not_keep_a_failure(cluster: Clustered) -> None:
    client, found, _ = cluster
    first = asyncio.create_task(found.strangers(types.SERVICE, "ns"))
    second = asyncio.create_task(found.strangers(types.SERVICE, "ns"))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == frozenset()
    client.fail(lambda call: call.verb == "list", errors.Forbidden(403))
    with pytest.raises(errors.Forbidden):
        await found.strangers(types.JOB, "ns")
    assert await found.strangers(types.JOB, "ns") == frozenset()


async def test_strangers_are_asked_again_after_a_while() -> None:
    now = [0.0]
    client = MemoryClient()
    found = Cluster(client, [], clock=lambda: now[0])
    assert await found.strangers(types.SERVICE, "ns") == frozenset()
    await client.create(types.SERVICE, "ns", config_map("new"))
    assert await found.strangers(types.SERVICE, "ns") == frozenset()
    now[0] = 1.6
    assert await found.strangers(types.SERVICE, "ns") == frozenset({"new"})


async def test_our_delete_is_known_before_the_watch_shows_it(cluster: Clustered) -> None:
    client, found, _ = cluster
    made = await client.create(types.CONFIG_MAP, "shop-prod", child("a"))
    await until(lambda: found.children(OWNER))
    uid = made["metadata"]["uid"]
    await client.delete(types.CONFIG_MAP, "shop-prod", "a", uid=uid)
    found.expects_gone(uid)
    assert found.is_going(uid)
    assert found.is_stale(types.CONFIG_MAP, "shop-prod", "a")
    await until(lambda: not found.children(OWNER))
    assert not found.is_going(uid)
    assert not found.is_stale(types.CONFIG_MAP, "shop-prod", "a")


async def test_a_start_that_takes_too_long_says_what_is_missing() -> None:
    client = MemoryClient()
    client.fail(lambda call: call.verb == "list", errors.Forbidden(403, "Forbidden", "no list for you"), times=10**6)
    found = Cluster(client, [WatchSpec(types.SECRET)])
    with pytest.raises(TimeoutError, match=r"Secret \(no list for you\)"):
        await found.start(0.1)
    assert not found.synced()
    await found.stop()
