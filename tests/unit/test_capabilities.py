"""Optional kinds that a cluster begins to serve, or no longer does, while the operator runs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from homeport.drivers.kubernetes import cluster as cluster_module
from homeport.drivers.kubernetes import errors, informer, types
from homeport.drivers.kubernetes.cluster import Cluster
from homeport.drivers.kubernetes.types import GVK
from homeport.drivers.memory import MemoryClient
from homeport.engine import observe
from memory_world import Running, World, drain

OPTIONAL = (
    types.VOLUME_SNAPSHOT,
    types.VOLUME_SNAPSHOT_CLASS,
    types.GATEWAY,
    types.GATEWAY_CLASS,
    types.HTTP_ROUTE,
    types.MIDDLEWARE,
    types.POD_MONITOR,
    types.SERVICE_MONITOR,
)
FILTER = {"items": {"properties": {"cors": {}}}}
RULE = {"items": {"properties": {"filters": FILTER}}}
CORS = {"properties": {"spec": {"properties": {"rules": RULE}}}}
OURS = {"apiVersion": "homeport.dev/v1alpha1"}


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_module, "LOOKS", (0.0, 0.0))


def definition(gvk: GVK, schema: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{gvk.plural}.{gvk.group}"},
        "spec": {
            "group": gvk.group,
            "versions": [{"name": gvk.version, "schema": {"openAPIV3Schema": schema or {}}}],
        },
    }


async def install(client: MemoryClient, *gvks: GVK, schema: dict[str, Any] | None = None) -> None:
    for gvk in gvks:
        client.serve(gvk)
        body = definition(gvk, schema)
        await client.apply(types.CUSTOM_RESOURCE_DEFINITION, None, body["metadata"]["name"], body, manager="kubectl")


async def remove(client: MemoryClient, gvk: GVK) -> None:
    client.serve(gvk, False)
    for found in client.objects(gvk):
        await client.delete(gvk, found["metadata"]["namespace"], found["metadata"]["name"])
    await client.delete(types.CUSTOM_RESOURCE_DEFINITION, None, f"{gvk.plural}.{gvk.group}")


def bare() -> World:
    """A cluster of which nothing optional is served."""
    world = World()
    for gvk in OPTIONAL:
        world.client.serve(gvk, False)
    return world


async def told(cluster: Cluster) -> None:
    """Until what there is to find out about the cluster has been found out."""
    await drain()
    while cluster._looking is not None and not cluster._looking.done():
        await asyncio.wait([cluster._looking])
        await drain()


def shop(**ingress: Any) -> list[dict[str, Any]]:
    web = {
        "name": "web",
        "image": "example/web:1",
        "ports": [{"name": "http", "port": 80}],
        "metrics": {"interval": "30s"},
        "routes": [{"path": "/"}],
    }
    meta = {"namespace": "shop"}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}},
        {**OURS, "kind": "Project", "metadata": {"name": "shop", **meta}, "spec": {}},
        {**OURS, "kind": "Environment", "metadata": {"name": "live", **meta}, "spec": {"ingress": ingress}},
        {
            **OURS,
            "kind": "Application",
            "metadata": {"name": "shop", **meta},
            "spec": {"version": "1.0.0", "components": [web]},
        },
    ]


async def running(world: World, **ingress: Any) -> Running:
    operator = await world.operator()
    await world.apply(shop(**ingress))
    await operator.settle()
    return operator


def ready(world: World, kind: str = "Application", name: str = "shop") -> tuple[str, str, str]:
    found = world.condition(types.by_kind(OURS["apiVersion"], kind), "shop", name)
    return found["status"], found["reason"], found["message"]


def scraped(world: World) -> bool:
    service = world.get(types.SERVICE, "shop-live", "web")
    return "prometheus.io/scrape" in (service["metadata"].get("annotations") or {})


async def test_a_monitor_takes_the_annotations_place_when_its_kind_is_installed_and_back() -> None:
    world = bare()
    operator = await running(world)
    assert scraped(world)
    assert "web.metrics.interval (install the Prometheus operator's CRDs" in ready(world)[2]
    pods = world.get(types.DEPLOYMENT, "shop-live", "web")["spec"]["template"]

    await install(world.client, types.SERVICE_MONITOR)
    await told(operator.cluster)
    await operator.settle()
    [endpoint] = world.get(types.SERVICE_MONITOR, "shop-live", "web")["spec"]["endpoints"]
    assert endpoint == {"port": "http", "path": "/metrics", "interval": "30s"}
    assert not scraped(world)
    assert world.get(types.DEPLOYMENT, "shop-live", "web")["spec"]["template"] == pods
    assert "not carried out" not in ready(world)[2]

    await remove(world.client, types.SERVICE_MONITOR)
    await told(operator.cluster)
    await operator.settle()
    assert scraped(world)
    assert ready(world)[0] == "True"
    await operator.stop()


async def test_what_changes_nothing_writes_nothing() -> None:
    world = bare()
    operator = await running(world)
    before = len(operator.gate.writes)
    await install(world.client, types.MIDDLEWARE, types.POD_MONITOR)
    await told(operator.cluster)
    await operator.settle()
    assert operator.gate.writes[before:] == []
    await operator.stop()


async def test_a_gateway_is_waited_for_and_what_serves_meanwhile_stays() -> None:
    world = bare()
    operator = await running(world, className="nginx", domain="a.example.com")
    await world.apply(
        [
            {
                **OURS,
                "kind": "Environment",
                "metadata": {"name": "live", "namespace": "shop"},
                "spec": {"ingress": {"kind": "Gateway", "className": "public", "domain": "a.example.com"}},
            }
        ]
    )
    await operator.settle()
    assert ready(world)[:2] == ("False", "DependencyNotReady")
    assert "the cluster doesn't serve the Gateway API" in ready(world)[2]
    assert ready(world, "Environment", "live")[:2] == ("False", "DependencyNotReady")
    assert world.get(types.INGRESS, "shop-live", "web")

    await install(world.client, types.GATEWAY, types.HTTP_ROUTE)
    await told(operator.cluster)
    await operator.settle()
    assert ready(world)[:2] == ready(world, "Environment", "live")[:2] == ("True", "ReconciliationSucceeded")
    assert world.get(types.GATEWAY, "shop-live", "homeport")["spec"]["gatewayClassName"] == "public"
    assert world.get(types.HTTP_ROUTE, "shop-live", "web")["spec"]["hostnames"] == ["a.example.com"]
    assert not world.client.objects(types.INGRESS)
    await operator.stop()


async def test_a_class_that_only_gateways_have_makes_routes_of_the_gateway_api() -> None:
    world = World()
    operator = await running(world, className="public", domain="a.example.com")
    assert world.get(types.INGRESS, "shop-live", "web")
    await world.apply(
        [
            {
                "apiVersion": "gateway.networking.k8s.io/v1",
                "kind": "GatewayClass",
                "metadata": {"name": "public"},
                "spec": {"controllerName": "a/b"},
            }
        ]
    )
    await operator.settle()
    assert world.get(types.HTTP_ROUTE, "shop-live", "web")
    assert not world.client.objects(types.INGRESS)
    await operator.stop()


async def test_an_issuers_gateway_follows_the_hosts_of_applications() -> None:
    world = World()
    operator = await running(world, kind="Gateway", className="public", tls={"issuer": "letsencrypt"})
    assert [one["name"] for one in world.get(types.GATEWAY, "shop-live", "homeport")["spec"]["listeners"]] == ["http"]
    app = shop()[-1]
    app["spec"]["components"][0]["routes"] = [{"host": "a.example.com", "path": "/"}]
    await world.apply([app])
    await operator.settle()
    listeners = world.get(types.GATEWAY, "shop-live", "homeport")["spec"]["listeners"]
    assert [one.get("hostname") for one in listeners] == [None, "a.example.com"]
    assert world.get(types.HTTP_ROUTE, "shop-live", "homeport-https")["spec"]["hostnames"] == ["a.example.com"]
    await operator.stop()


async def answer(world: World, reason: str, observed: int) -> None:
    entry = {"type": "Accepted", "status": "False", "reason": reason, "message": "no", "observedGeneration": observed}
    status = {"parents": [{"parentRef": {"name": "homeport"}, "controllerName": "a/b", "conditions": [entry]}]}
    await world.client.patch(types.HTTP_ROUTE, "shop-live", "web", {"status": status}, subresource="status")


async def test_a_refusal_by_the_gateways_controller_is_told_in_its_words() -> None:
    world = World()
    operator = await running(world, kind="Gateway", className="public", domain="a.example.com")
    assert ready(world)[0] == "True"
    await answer(world, "NotAllowedByListeners", 0)
    await operator.settle()
    assert ready(world)[0] == "True", "of an older spec"
    generation = world.get(types.HTTP_ROUTE, "shop-live", "web")["metadata"]["generation"]
    await answer(world, "NotAllowedByListeners", generation)
    await operator.settle()
    assert ready(world) == (
        "False",
        "HealthCheckFailed",
        "live/web: HTTPRoute web at Gateway homeport: NotAllowedByListeners: no",
    )
    await answer(world, "Pending", generation)
    await operator.settle()
    assert ready(world)[:2] == ("False", "Progressing")
    await operator.stop()


async def test_two_applications_cannot_have_one_host_and_path_whatever_carries_it() -> None:
    world = World()
    operator = await running(world, kind="Gateway", className="public", domain="a.example.com")
    other = shop()[-1]
    other["metadata"]["name"], other["spec"]["namePrefix"] = "second", "second-"
    await world.apply([other])
    await operator.settle()
    assert ready(world)[0] == "True"
    found = world.condition(types.APPLICATION, "shop", "second")
    assert (found["reason"], found["status"]) == ("HostTaken", "False")
    again = await world.operator()
    await again.settle()
    assert world.condition(types.APPLICATION, "shop", "second")["reason"] == "HostTaken"
    await operator.stop()
    await again.stop()


async def test_a_field_is_known_from_the_definition_and_its_upgrade_is_noticed() -> None:
    client = MemoryClient()
    for gvk in OPTIONAL:
        client.serve(gvk, False)
    heard: list[str] = []
    cluster = Cluster(client, on_event=lambda gvk, kind, old, new: heard.append(kind))
    await install(client, types.HTTP_ROUTE)
    await cluster.start()
    assert cluster.served() == {"gateway.networking.k8s.io/v1/HTTPRoute"}
    await install(client, types.HTTP_ROUTE, schema=CORS)
    await told(cluster)
    assert cluster.served() == {
        "gateway.networking.k8s.io/v1/HTTPRoute",
        "gateway.networking.k8s.io/v1/HTTPRoute/cors",
    }
    assert heard.count("SERVED") == 1
    reads = len([call for call in client.calls if call.verb == "get"])
    cluster.look_again()
    await told(cluster)
    assert len([call for call in client.calls if call.verb == "get"]) == reads, "it hasn't changed"
    await cluster.stop()


async def test_a_kind_that_discovery_hides_while_its_definition_is_there_is_still_served() -> None:
    client = MemoryClient()
    cluster = Cluster(client)
    await install(client, types.SERVICE_MONITOR)
    await cluster.start()
    client.serve(types.SERVICE_MONITOR, False)
    await cluster.refresh()
    assert "monitoring.coreos.com/v1/ServiceMonitor" in cluster.served()
    await cluster.stop()


async def test_a_cluster_that_lets_us_read_neither_definitions_nor_classes_can_be_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(informer, "ABSENT_PAUSE", 0.0)
    client = MemoryClient()
    closed = {types.CUSTOM_RESOURCE_DEFINITION, types.INGRESS_CLASS, types.POD_MONITOR}
    client.fail(lambda call: call.gvk in closed, errors.Forbidden(403, "Forbidden", "no"), times=10**6)
    cluster = Cluster(client)
    await cluster.start(5)
    there = observe.capabilities(cluster)
    assert there.serves("monitoring.coreos.com/v1/ServiceMonitor")
    assert not there.serves("monitoring.coreos.com/v1/PodMonitor"), "it could not be pruned"
    assert there.ingress_classes == {}
    await cluster.stop()


async def test_rights_that_are_missing_for_a_while_make_no_kind_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(informer, "ABSENT_PAUSE", 0.0)
    client = MemoryClient()
    cluster = Cluster(client)
    await cluster.start(5)
    client.fail(lambda call: call.gvk == types.HTTP_ROUTE, errors.Forbidden(403, "Forbidden", "no"), times=10**6)
    routes = cluster._children[types.HTTP_ROUTE]
    await routes.stop()
    routes.start()
    async with asyncio.timeout(5):
        while not isinstance(routes.error, errors.Forbidden):
            await asyncio.sleep(0)
    assert "gateway.networking.k8s.io/v1/HTTPRoute" in cluster.served(), "all HTTPRoutes would be pruned"
    await cluster.stop()


async def test_classes_are_read_with_what_their_administrator_says() -> None:
    client = MemoryClient()
    annotations = {
        "ingressclass.kubernetes.io/is-default-class": "true",
        "homeport.dev/allowed-response-headers": "X-A, X-B",
    }
    body = {"metadata": {"name": "web", "annotations": annotations}, "spec": {"controller": "k8s.io/ingress-nginx"}}
    await client.create(types.INGRESS_CLASS, None, body)
    cluster = Cluster(client)
    await cluster.start()
    there = observe.capabilities(cluster)
    assert there.default_ingress_class == "web"
    assert there.ingress_classes["web"].allowed_headers == {"X-A", "X-B"}
    await cluster.stop()
