"""What a real Traefik makes of what is rendered, by HTTP. Only where ``HOMEPORT_TEST_TRAEFIK`` is set: it takes longer
to build than everything else together. Nothing leaves the loopback: no component has a Pod to lead to."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from homes import Home, component, eventually

from api_server import ApiServer
from localplane.binaries import ensure
from localplane.commands import install
from localplane.controlplane import ControlPlane
from localplane.definitions import GATEWAY_API_BEFORE_CORS, TRAEFIK
from localplane.kubectl import Kubectl
from operators import Operator

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(
        "HOMEPORT_TEST_TRAEFIK" not in os.environ, reason="HOMEPORT_TEST_TRAEFIK isn't set: Traefik takes long to build"
    ),
]

ORIGIN = "https://app.example.com"
EMPTY = 503
"""What Traefik itself answers for a Service without Pods."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Edge:
    """A Traefik at work on a control plane, and what it answers."""

    def __init__(self, plane: ControlPlane) -> None:
        self.web, self.api = free_port(), free_port()
        command = [
            str(ensure(["traefik"])["traefik"]),
            f"--entrypoints.web.address=127.0.0.1:{self.web}",
            f"--entrypoints.traefik.address=127.0.0.1:{self.api}",
            "--api.insecure=true",
            "--global.checknewversion=false",
            "--global.sendanonymoususage=false",
            "--providers.kubernetescrd=true",
            "--providers.kubernetesingress=true",
            "--providers.kubernetesingress.allowemptyservices=true",
            "--providers.kubernetesgateway=true",
        ]
        environment = {**os.environ, "KUBECONFIG": str(plane.kubeconfig)}
        self.process = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/"
        )

    def ask(self, host: str, path: str = "/", method: str = "GET", **headers: str) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self.web, timeout=10)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, headers={"Host": host, **named})
        answer = connection.getresponse()
        answer.read()
        connection.close()
        return answer

    def routers(self) -> list[dict[str, Any]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.api, timeout=10)
        connection.request("GET", "/api/http/routers?per_page=100")
        found: list[dict[str, Any]] = json.loads(connection.getresponse().read())
        connection.close()
        return found


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with ControlPlane(tmp_path_factory.mktemp("traefik"), ephemeral=True) as plane:
        kubectl = Kubectl(plane.kubectl, str(plane.kubeconfig))
        install(kubectl)
        for definitions in (TRAEFIK, GATEWAY_API_BEFORE_CORS):
            for path in definitions.paths():
                kubectl.run("apply", "--server-side", "-f", str(path))
                kubectl.wait_established(path)
        operator = Operator(plane.kubeconfig, tmp_path_factory.mktemp("operator") / "operator.log")
        operator.start()
        try:
            asyncio.run(operator.wait_leading())
            yield plane
        finally:
            operator.kill(signal.SIGTERM)


@pytest.fixture(scope="module")
def edge(plane: ControlPlane) -> Iterator[Edge]:
    edge = Edge(plane)
    yield edge
    edge.process.terminate()
    edge.process.wait(10)


@pytest.fixture(scope="module")
def home(plane: ControlPlane, edge: Edge) -> Home:
    home = Home(ApiServer(str(plane.kubeconfig)))
    networking = {"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass"}
    home.apply({**networking, "metadata": {"name": "web"}, "spec": {"controller": "traefik.io/ingress-controller"}})
    gateways = {"apiVersion": "gateway.networking.k8s.io/v1"}
    controller = {"controllerName": "traefik.io/gateway-controller"}
    home.apply({**gateways, "kind": "GatewayClass", "metadata": {"name": "web"}, "spec": controller})
    listener = {
        "name": "web",
        "port": edge.web,
        "protocol": "HTTP",
        "allowedRoutes": {"namespaces": {"from": "All"}},
    }
    spec = {"gatewayClassName": "web", "listeners": [listener]}
    home.apply({**gateways, "kind": "Gateway", "metadata": {"name": "edge", "namespace": home.name}, "spec": spec})
    home.project()
    home.environment("ingress", ingress={"kind": "Ingress", "className": "web", "domain": "ingress.example.com"})
    ref = {"name": "edge", "namespace": home.name}
    home.environment("gateway", ingress={"gatewayRef": ref, "domain": "gateway.example.com"})
    home.application(
        component(
            replicas=0,
            routes=[
                {"path": "/", "headers": {"preset": "Secure", "set": {"X-Frame-Options": "SAMEORIGIN"}}},
                {"path": "/api", "cors": {"origins": [ORIGIN, "https://*.shop.example.com"], "credentials": True}},
                {"path": "/login", "rateLimits": ["5/h", "200/d"], "compress": True, "headers": {"preset": "Secure"}},
            ],
        )
    )
    home.ready("Environment", "ingress")
    home.ready(seconds=60)
    eventually(lambda: edge.ask("ingress.example.com").status == EMPTY, "the Ingress is served")
    return home


def test_no_router_has_an_error(edge: Edge, home: Home) -> None:
    ours = [router for router in edge.routers() if router["provider"].startswith("kubernetes")]
    assert len([router for router in ours if router["provider"] == "kubernetes"]) == 3
    assert [(router["name"], router.get("error")) for router in ours if router["status"] != "enabled"] == []


def test_security_headers_are_set(edge: Edge, home: Home) -> None:
    answer = edge.ask("ingress.example.com")
    assert answer.getheader("X-Frame-Options") == "SAMEORIGIN"
    assert answer.getheader("X-Content-Type-Options") == "nosniff"
    assert answer.getheader("Strict-Transport-Security") == "max-age=31536000"
    assert "frame-ancestors 'none'" in str(answer.getheader("Content-Security-Policy"))
    assert edge.ask("ingress.example.com", "/api").getheader("X-Frame-Options") is None


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [(ORIGIN, ORIGIN), ("https://a.shop.example.com", "https://a.shop.example.com"), ("https://evil.example", None)],
)
def test_a_preflight_is_answered(edge: Edge, home: Home, origin: str, allowed: str | None) -> None:
    answer = edge.ask("ingress.example.com", "/api", "OPTIONS", Origin=origin, Access_Control_Request_Method="PUT")
    assert answer.status == 200
    assert answer.getheader("Access-Control-Allow-Origin") == allowed
    assert "PUT" in str(answer.getheader("Access-Control-Allow-Methods"))
    assert answer.getheader("Access-Control-Allow-Credentials") == "true"


def test_the_lower_of_two_limits_answers_429_with_the_headers(edge: Edge, home: Home) -> None:
    answers = [edge.ask("ingress.example.com", "/login") for _ in range(7)]
    assert [answer.status for answer in answers] == [EMPTY] * 5 + [429] * 2
    assert answers[-1].getheader("X-Frame-Options") == "DENY"
    assert int(str(answers[-1].getheader("Retry-After"))) > 600
    assert edge.ask("ingress.example.com").status == EMPTY, "other routes have their own count"


def test_a_gateways_controller_accepts_the_routes_and_sets_headers(edge: Edge, home: Home) -> None:
    route = home.child("HTTPRoute", "web", "gateway")

    def accepted() -> bool:
        status = home.child("HTTPRoute", "web", "gateway").get("status") or {}
        found = [entry for parent in status.get("parents") or () for entry in parent["conditions"]]
        assert found, route
        return all(entry["status"] == "True" for entry in found if entry["type"] == "Accepted")

    eventually(accepted, "Traefik accepts the HTTPRoute")
    answer = eventually(
        lambda: (found := edge.ask("gateway.example.com")).status != 404 and found, "the HTTPRoute is served"
    )
    assert answer.getheader("X-Frame-Options") == "SAMEORIGIN"
    assert edge.ask("gateway.example.com", "/api").getheader("X-Frame-Options") is None
