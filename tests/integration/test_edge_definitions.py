"""Optional kinds with their projects' own definitions: what is rendered is accepted, and their coming and going is
noticed. On a control plane of its own, for every application in a cluster sees what it serves."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from homes import Home, component, eventually, told, written

from api_server import ApiServer
from localplane.commands import install
from localplane.controlplane import ControlPlane
from localplane.definitions import GATEWAY_API, GATEWAY_API_BEFORE_CORS, PROMETHEUS_OPERATOR, TRAEFIK, Definitions
from localplane.kubectl import Kubectl
from operators import Operator

pytestmark = pytest.mark.integration

ORIGIN = "https://app.example.com"
ROUTES: list[dict[str, Any]] = [
    {
        "path": "/",
        "headers": {"preset": "Secure"},
        "cors": {"origins": [ORIGIN, "https://*.example.com"], "credentials": True},
    },
    {"path": "/api", "rateLimit": "50/s", "rateLimits": ["200/d", "50/h"], "compress": True, "pathType": "Exact"},
]
DASHBOARD = '{"title": "Overview", "panels": []}'
ENDPOINT = {"port": "http", "path": "/metrics", "interval": "30s"}


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with ControlPlane(tmp_path_factory.mktemp("edge"), ephemeral=True, audit=True) as plane:
        install(Kubectl(plane.kubectl, str(plane.kubeconfig)))
        operator = Operator(plane.kubeconfig, tmp_path_factory.mktemp("operator") / "operator.log")
        operator.start()
        try:
            asyncio.run(operator.wait_leading())
            yield plane
        finally:
            operator.kill(signal.SIGTERM)


@pytest.fixture(scope="module")
def home(plane: ControlPlane) -> Home:
    """A project whose environments get out in every way there is, with one application in all of them."""
    home = Home(ApiServer(str(plane.kubeconfig)))
    home.project()
    ways = {
        "plain": {"className": "traefik"},
        "own": {"kind": "Gateway", "className": "public", "tls": {"issuer": "letsencrypt"}},
        "shared": {"gatewayRef": {"name": "edge", "namespace": "infra", "sectionName": "https"}},
    }
    for name, ingress in ways.items():
        home.environment(name, ingress={**ingress, "domain": f"{name}.example.com"})
    metrics = {"port": "http", "interval": "30s", "labels": {"release": "prometheus"}}
    home.application(
        component(routes=ROUTES, metrics={**metrics, "dashboards": {"overview": DASHBOARD}}),
        component("worker", type="worker", ports=[{"name": "http", "port": 9100}], metrics=metrics),
    )
    return home


def define(plane: ControlPlane, definitions: Definitions) -> None:
    kubectl = Kubectl(plane.kubectl, str(plane.kubeconfig))
    for path in definitions.paths():
        kubectl.run("apply", "--server-side", "--force-conflicts", "-f", str(path))
        kubectl.wait_established(path)


def scrape(home: Home) -> str | None:
    marks: dict[str, str] = home.child("Service", "web", "plain")["metadata"].get("annotations") or {}
    return marks.get("prometheus.io/scrape")


def test_without_definitions_what_can_be_done_is_done_and_the_rest_is_said(home: Home) -> None:
    home.until("Application", "shop", "False", "DependencyNotReady", "the cluster doesn't serve the Gateway API")
    home.until("Environment", "own", "False", "DependencyNotReady", "the cluster doesn't serve the Gateway API")
    home.ready("Environment", "shared")
    assert "router.middlewares" not in str(home.child("Ingress", "web", "plain")["metadata"])
    eventually(lambda: scrape(home) == "true", "the Service says where metrics are")
    config = home.child("ConfigMap", "web-dashboards", "plain")
    assert (config["metadata"]["labels"]["grafana_dashboard"], config["data"]) == ("1", {"overview.json": DASHBOARD})


def test_monitors_take_the_annotations_place(plane: ControlPlane, home: Home) -> None:
    pods = home.child("Deployment", "web", "plain")["metadata"]["generation"]
    define(plane, PROMETHEUS_OPERATOR)
    monitor = eventually(lambda: home.find("ServiceMonitor", home.place("plain"), "web"), "a ServiceMonitor is there")
    service = home.child("Service", "web", "plain")
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    assert wanted <= service["metadata"]["labels"].items()
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    assert monitor["spec"]["endpoints"] == [ENDPOINT]
    eventually(lambda: scrape(home) is None, "the Service says nothing any more")
    workers = eventually(lambda: home.find("PodMonitor", home.place("plain"), "worker"), "a PodMonitor is there")
    assert workers["spec"]["podMetricsEndpoints"] == [ENDPOINT]
    template = home.child("Deployment", "worker", "plain")["spec"]["template"]["metadata"]["labels"].items()
    assert workers["spec"]["selector"]["matchLabels"].items() <= template
    assert home.child("Deployment", "web", "plain")["metadata"]["generation"] == pods, "no Pod was replaced for it"


def test_traefik_is_told_by_middlewares(plane: ControlPlane, home: Home) -> None:
    define(plane, TRAEFIK)
    place = home.place("plain")
    eventually(lambda: len(home.names("Middleware", place)) == 6, "all middlewares are there")
    assert home.names("Middleware", place) == {
        "web-headers",
        "web-cors",
        "web-limit",
        "web-limit-2",
        "web-limit-3",
        "web-compress",
    }
    chain = ",".join(f"{place}-{name}@kubernetescrd" for name in ("web-headers", "web-cors"))

    def chained() -> bool:
        found: dict[str, str] = home.child("Ingress", "web", "plain")["metadata"].get("annotations") or {}
        return found.get("traefik.ingress.kubernetes.io/router.middlewares") == chain

    eventually(chained, "the Ingress names its middlewares")


def filters(home: Home, environment: str) -> list[str]:
    route = home.find("HTTPRoute", home.place(environment), "web")
    rules = route["spec"]["rules"] if route else []
    return [one["type"] for rule in rules for one in rule.get("filters") or ()]


def test_the_gateway_api_is_used_as_far_as_its_version_goes(plane: ControlPlane, home: Home) -> None:
    define(plane, GATEWAY_API_BEFORE_CORS)
    said = home.ready(seconds=60)
    assert filters(home, "own") == filters(home, "shared") == ["ResponseHeaderModifier"]
    assert "web.routes.cors (the installed HTTPRoute has no CORS filter" in told(said)[2]
    assert "web.routes.rateLimit" in told(said)[2]
    home.ready("Environment", "own")
    gateway = home.child("Gateway", "homeport", "own")
    assert gateway["metadata"]["annotations"]["cert-manager.io/cluster-issuer"] == "letsencrypt"
    assert [one["name"] for one in gateway["spec"]["listeners"]] == ["http", "https-own.example.com"]
    assert home.child("HTTPRoute", "homeport-https", "own")
    parent = home.child("HTTPRoute", "web", "shared")["spec"]["parentRefs"][0]
    assert (parent["name"], parent["namespace"], parent["sectionName"]) == ("edge", "infra", "https")

    define(plane, GATEWAY_API)
    eventually(lambda: filters(home, "own") == ["ResponseHeaderModifier", "CORS"], "the CORS filter is used")
    assert "cors" not in told(home.settled())[2]


def test_what_the_api_server_fills_in_is_no_difference(plane: ControlPlane, home: Home) -> None:
    home.settled()
    names = [home.name, *(home.place(name) for name in ("plain", "own", "shared"))]
    offset = plane.audit_log.stat().st_size
    for name in ("own", "shared", "plain"):
        home.settled("Environment", name)
    home.settled()
    found = written(plane.audit_log, offset, names)
    assert {what: count for what, count in found.items() if "/status" not in what} == {}


def refuse(home: Home) -> None:
    """As a Gateway's controller says it."""
    route = home.child("HTTPRoute", "web", "own")
    entry = {
        "type": "Accepted",
        "status": "False",
        "reason": "NotAllowedByListeners",
        "message": "no listener lets it",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
        "observedGeneration": route["metadata"]["generation"],
    }
    parent = {
        "parentRef": {"name": "homeport"},
        "controllerName": "example.com/gateway",
        "conditions": [entry],
    }
    path = home.path("HTTPRoute", home.place("own"), "web", "status")
    home.api.call("PATCH", path, {"status": {"parents": [parent]}}, "application/merge-patch+json")


def test_a_refused_route_is_told_in_the_controllers_words(plane: ControlPlane, home: Home) -> None:
    refuse(home)
    home.until("Application", "shop", "False", "HealthCheckFailed", "NotAllowedByListeners: no listener lets it")
    path = home.path("HTTPRoute", home.place("own"), "web", "status")
    home.api.call("PATCH", path, {"status": {"parents": []}}, "application/merge-patch+json")
    home.ready()


def test_routes_that_go_take_their_middlewares_along(plane: ControlPlane, home: Home) -> None:
    home.set("Application", "shop", components=[component(routes=[{"path": "/", "rateLimit": "5/s"}])])
    place = home.place("plain")
    eventually(lambda: home.names("Middleware", place) == {"web-limit"}, "the others are gone")
    limit = home.child("Middleware", "web-limit", "plain")["spec"]["rateLimit"]
    assert limit == {"average": 5, "period": "1s", "burst": 5}
    eventually(lambda: not home.names("ServiceMonitor", place), "the monitor is gone")
    home.ready()
    kinds = {entry["id"].rsplit("_", 1)[1] for entry in home.mine("Application")["status"]["inventory"]["entries"]}
    assert kinds >= {"Middleware", "HTTPRoute", "Ingress"}


def test_without_the_definition_it_is_as_before(plane: ControlPlane, home: Home) -> None:
    home.set("Application", "shop", components=[component(metrics={"port": "http"})])
    eventually(lambda: home.names("ServiceMonitor", home.place("plain")), "a monitor is there")
    kubectl = Kubectl(plane.kubectl, str(plane.kubeconfig))
    kubectl.run("delete", "crd", "servicemonitors.monitoring.coreos.com")
    eventually(lambda: scrape(home) == "true", "the Service says where metrics are")
    home.ready()


def test_all_of_it_goes_with_the_application(plane: ControlPlane, home: Home) -> None:
    home.delete("Application", home.name, "shop")
    home.gone("Application", home.name, "shop")
    assert not home.names("HTTPRoute", home.place("own")) - {"homeport-https"}
    home.delete("Environment", home.name, "own")
    home.annotate("Environment", "own", confirm_delete="own")
    home.gone("Environment", home.name, "own")
