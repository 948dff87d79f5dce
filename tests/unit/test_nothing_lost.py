"""What must never be lost: each case is a way in which data or somebody else's objects could have gone."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from homeport.api import labels
from homeport.api.labels import OwnerKey
from homeport.drivers.kubernetes import types
from homeport.outcome import Stalled
from homeport.plan import route_claims
from homeport.plan.types import Child
from memory_world import Manifest, Running, World, load

WEB = OwnerKey("Application", "shop", "web")
MAIN = OwnerKey("Environment", "shop", "main")
SHOP = load(Path(__file__).parents[1] / "faults" / "shop.yaml")


@pytest.fixture
async def world() -> World:
    world = World()
    await world.apply(SHOP)
    return world


@pytest.fixture
async def running(world: World) -> AsyncIterator[Running]:
    running = await world.operator()
    await running.settle()
    yield running
    await running.stop()


def changed(kind: str, **spec: Any) -> Manifest:
    body = copy.deepcopy(next(doc for doc in SHOP if doc["kind"] == kind))
    body["spec"].update(spec)
    return body


def there(world: World, gvk: types.GVK, namespace: str, name: str) -> bool:
    return (gvk, namespace if gvk.namespaced else "", name) in world.client._objects


def workloads(world: World) -> set[str]:
    return {name for gvk, _, name in world.client._objects if gvk in (types.DEPLOYMENT, types.STATEFUL_SET)}


async def test_an_environment_whose_cluster_is_refused_keeps_what_it_has(
    world: World, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = workloads(world)
    clusters = running.engine.context.clusters
    refused = Stalled("InvalidSpec", "the kubeconfig in Secret eu-west: it is not YAML")
    monkeypatch.setattr(clusters, "ensure", lambda reference, waiting: refused)
    running.engine.queue.add(WEB)
    await running.settle()
    assert workloads(world) == before
    assert "not YAML" in world.condition(types.APPLICATION, "shop", "web")["message"]


async def test_no_change_of_a_spec_removes_a_namespace(world: World, running: Running) -> None:
    # The API server refuses this change; a CRD without its rules must not cost a namespace.
    await world.apply([changed("Environment", template=True)])
    await running.settle()
    assert there(world, types.NAMESPACE, "", "shop-main")


async def test_a_project_in_an_environments_namespace_changes_nothing_there(world: World, running: Running) -> None:
    before = copy.deepcopy(world.get(types.NAMESPACE, "", "shop-main")["metadata"]["labels"])
    await world.apply(
        [
            {
                "apiVersion": labels.API_VERSION,
                "kind": "Project",
                "metadata": {"name": "shop-main", "namespace": "shop-main"},
                "spec": {},
            }
        ]
    )
    await running.settle()
    stalled = world.condition(types.PROJECT, "shop-main", "shop-main", "Stalled")
    assert stalled["reason"] == "NamespaceTaken"
    assert world.get(types.NAMESPACE, "", "shop-main")["metadata"]["labels"] == before


@pytest.mark.parametrize(
    "spec", [{}, {"rules": [{"host": "a.example.com"}]}, {"rules": [{"http": {"paths": [{"backend": {}}]}}]}]
)
def test_an_ingress_made_by_hand_breaks_nothing(spec: dict[str, Any]) -> None:
    ingress = {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "x"}, "spec": spec}
    route_claims.claims([Child(ingress)])


def test_a_prefix_is_the_same_with_a_slash_at_its_end() -> None:
    def ingress(path: str) -> Child:
        rules = [{"host": "a.example.com", "http": {"paths": [{"path": path}]}}]
        return Child({"apiVersion": "v1", "kind": "Ingress", "metadata": {"name": "x"}, "spec": {"rules": rules}})

    assert route_claims.claims([ingress("/api/")]) == route_claims.claims([ingress("/api")])
    assert route_claims.claims([ingress("/")]) == [("", "a.example.com", "/")]


async def test_a_generated_secret_is_made_once_even_if_the_cache_has_lost_it(world: World, running: Running) -> None:
    before = world.get(types.SECRET, "shop-main", "session")["data"]
    informer = running.engine.cluster._children[types.SECRET]
    informer._remove(("shop-main", "session"), None)
    running.engine.queue.add(WEB)
    for _ in range(20):
        if not await running.step():
            break
    assert world.get(types.SECRET, "shop-main", "session")["data"] == before


async def test_another_key_for_a_generated_secret_makes_no_other_password(world: World, running: Running) -> None:
    before = world.get(types.SECRET, "shop-main", "session")["data"]
    body = changed("Application")
    for component in body["spec"]["components"]:
        for secret in component.get("secrets") or ():
            secret["generate"] = {"key": "SESSION"}
            secret["template"] = {"password": "$(SESSION)"}
    await world.apply([body])
    await running.settle()
    assert world.get(types.SECRET, "shop-main", "session")["data"] == before
    stalled = world.condition(types.APPLICATION, "shop", "web", "Stalled")
    assert stalled["reason"] == "ReplacementRequired"
    assert "Secret shop-main/session has" in stalled["message"]
    assert "name that in generate.key" in stalled["message"]

    await world.apply([changed("Application")])
    await running.settle()
    assert world.condition(types.APPLICATION, "shop", "web")["status"] == "True"
    assert world.get(types.SECRET, "shop-main", "session")["data"] == before


async def test_a_volume_that_says_retain_outlives_an_environment_that_says_delete(
    world: World, running: Running
) -> None:
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": "data-store-0",
            "namespace": "shop-main",
            "labels": {labels.APPLICATION: "web"},
        },
        "spec": {},
    }
    await world.apply([claim])
    body = changed("Environment", deletionPolicy="Delete")
    body["metadata"]["annotations"] = {labels.CONFIRM_DELETE: "main"}
    await world.apply([body])
    await running.settle()
    await world.delete(types.ENVIRONMENT, "shop", "main")
    await running.settle()
    assert not there(world, types.ENVIRONMENT, "shop", "main")
    assert there(world, types.NAMESPACE, "", "shop-main")


async def test_the_old_goes_on_until_the_new_can_take_its_place(world: World, running: Running) -> None:
    components = copy.deepcopy(next(doc for doc in SHOP if doc["kind"] == "Application"))["spec"]["components"]
    components[0]["name"] = "fronty"
    components[0]["env"].append({"name": "X", "valueFrom": {"secretKeyRef": {"name": "later", "key": "x"}}})
    await world.apply([changed("Application", components=components)])
    await running.settle()
    assert "front" in workloads(world)
    assert "later" in world.condition(types.APPLICATION, "shop", "web")["message"]
    await world.apply(
        [{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "later", "namespace": "shop-main"}, "data": {}}]
    )
    await running.settle()
    assert "fronty" in workloads(world)
    assert "front" not in workloads(world)


async def test_a_project_with_an_application_that_cannot_be_read_is_not_archived(
    world: World, running: Running
) -> None:
    broken = changed("Application")
    broken["metadata"]["name"] = "broken"
    broken["spec"]["version"] = "not a version"
    await world.apply([broken, changed("Project", archived=True)])
    await running.settle()
    assert world.condition(types.PROJECT, "shop", "shop")["status"] == "False"


async def test_an_environment_that_left_our_watch_keeps_what_runs_in_it(world: World, running: Running) -> None:
    before = workloads(world)
    running.engine.seen(world.get(types.ENVIRONMENT, "shop", "main"), gone=True)
    running.engine.queue.add(WEB)
    await running.settle()
    assert workloads(world) == before


async def test_a_gateway_that_cannot_be_told_of_stays(world: World, running: Running) -> None:
    # One host more than a Gateway has listeners for must not take the others down.
    world.client.serve(types.GATEWAY)
    world.client.serve(types.HTTP_ROUTE)
    gateway = {"kind": "Gateway", "className": "a", "domain": "a.example.com", "tls": {"issuer": "letsencrypt"}}
    await running.engine.cluster.refresh()
    await world.apply([changed("Environment", ingress=gateway)])
    await running.settle()
    name = next(name for gvk, _, name in world.client._objects if gvk == types.GATEWAY)
    before = copy.deepcopy(world.get(types.GATEWAY, "shop-main", name)["spec"])
    body = changed("Application")
    front = next(part for part in body["spec"]["components"] if part.get("routes"))
    for letter in "abc":
        crowd = copy.deepcopy(front)
        routes = [{"path": "/", "host": f"{letter}{number}.example.com"} for number in range(30)]
        crowd.update(name=f"front-{letter}", routes=routes, secrets=[])
        body["spec"]["components"].append(crowd)
    await world.apply([body])
    await running.settle()
    assert world.condition(types.ENVIRONMENT, "shop", "main", "Stalled")["reason"] == "InvalidSpec"
    assert world.get(types.GATEWAY, "shop-main", name)["spec"] == before
