"""What ingress controllers and Gateways are told of routes, and what is said about the rest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from render_cases import application, place

from homeport import cli
from homeport.api.component import Component, Route
from homeport.api.environment import EnvironmentSpec
from homeport.api.labels import ALLOWED_HEADERS
from homeport.api.resource import InvalidSpec, parse, parse_spec
from homeport.plan import application_status, checks, edge, edge_gateway, edge_ingress, plain, render, route_claims
from homeport.plan.capabilities import NONE, Capabilities, IngressClass, Way
from homeport.plan.types import Child, Place

MIDDLEWARES = Capabilities.of(["traefik.io/v1alpha1/Middleware"])
GATEWAYS = Capabilities.of(["gateway.networking.k8s.io/v1/Gateway", "gateway.networking.k8s.io/v1/HTTPRoute"])
WITH_CORS = Capabilities.of(["gateway.networking.k8s.io/v1"])
ORIGIN = "https://a.example.com"
WEB: dict[str, Any] = {"name": "web", "image": "web:1", "ports": [{"name": "http", "port": 80}]}


def component(**route: Any) -> Component:
    return Component.model_validate(
        {"name": "web", "image": "web:1", "ports": [{"name": "http", "port": 80}], "routes": [{"path": "/", **route}]}
    )


def at(there: Capabilities = NONE, **ingress: Any) -> Place:
    return place(ingress=ingress, there=there)


def rendered(at: Place, *routes: dict[str, Any]) -> list[Child]:
    web = {**WEB, "routes": list(routes)}
    return list(render.render(application({"version": "1.0.0", "components": [web]}), at))


def of_kind(children: list[Child], kind: str) -> list[dict[str, Any]]:
    return [child.manifest for child in children if child.manifest["kind"] == kind]


NGINX = at(className="nginx")
SECURE = "headers " + ", ".join(edge.SECURE_HEADERS)


@pytest.mark.parametrize(
    ("where", "route", "missing"),
    [
        (NGINX, {"rateLimit": "5/s", "websocket": True, "cors": {"origins": [ORIGIN]}}, []),
        (NGINX, {"rateLimit": "5/m", "rateLimits": ["200/d", "50/h"]}, ["rateLimit 200/d and 50/h"]),
        (NGINX, {"compress": True, "headers": {"preset": "Secure"}}, [SECURE, "compress"]),
        (NGINX, {"headers": {"preset": "Secure", "set": dict.fromkeys(edge.SECURE_HEADERS, "")}}, []),
        (at(), {"compress": True}, ["compress"]),
        (at(className="traefik"), {"rateLimit": "5/s"}, ["rateLimit"]),
        (at(className="traefik"), {"websocket": True, "compress": False}, []),
        (
            at(MIDDLEWARES, className="traefik"),
            {"rateLimits": ["200/d"], "headers": {"preset": "Secure"}, "compress": True, "cors": {"origins": ["*"]}},
            [],
        ),
        (at(className="haproxy"), {"cors": {"origins": [ORIGIN]}, "websocket": True}, ["websocket", "cors"]),
        (
            at(GATEWAYS, kind="Gateway", className="a"),
            {"rateLimit": "5/s", "compress": True, "cors": {"origins": [ORIGIN]}, "headers": {"preset": "Secure"}},
            ["rateLimit", "compress", "cors"],
        ),
        (at(WITH_CORS, kind="Gateway", className="a"), {"cors": {"origins": [ORIGIN]}}, []),
    ],
)
def test_what_is_not_carried_out_is_named(where: Place, route: dict[str, Any], missing: list[str]) -> None:
    assert list(render.left_out(component(**route), where)) == [f"routes.{name}" for name in missing]


def test_what_to_do_about_it_is_said_once() -> None:
    spec = {
        "version": "1.0.0",
        "components": [component(compress=True, rateLimit="5/h").model_dump(by_alias=True, exclude_none=True)],
    }
    told = application_status._left_out(application(spec), [at(className="nginx"), at(className="nginx")], None)
    assert told == (
        "; not carried out: web.routes.rateLimit 5/h (ingress-nginx limits by s or m only)"
        "; not carried out: web.routes.compress (ingress-nginx compresses for all or for none; set use-gzip in its "
        "ConfigMap)"
    )


@pytest.mark.parametrize(
    ("there", "name", "dialect"),
    [
        (NONE, None, "Nginx"),
        (NONE, "my-nginx", "Nginx"),
        (NONE, "traefik", "Traefik"),
        (NONE, "kong", "Plain"),
        (Capabilities(ingress_classes={"nginx": IngressClass("nginx.org/ingress-controller")}), "nginx", "Plain"),
        (Capabilities(ingress_classes={"web": IngressClass("traefik.io/ingress-controller")}), "web", "Traefik"),
        (Capabilities(ingress_classes={"in": IngressClass("k8s.io/internal-ingress-nginx")}), "in", "Nginx"),
        (
            Capabilities(
                ingress_classes={"web": IngressClass("traefik.io/ingress-controller")}, default_ingress_class="web"
            ),
            None,
            "Traefik",
        ),
    ],
)
def test_the_controller_of_a_class_decides_and_its_name_only_where_that_is_not_known(
    there: Capabilities, name: str | None, dialect: str
) -> None:
    assert type(edge_ingress.dialect(at(there, **({"className": name} if name else {})))).__name__ == dialect


@pytest.mark.parametrize(
    ("ingress", "there", "gateway"),
    [
        ({}, WITH_CORS, False),
        ({"kind": "Gateway", "className": "a"}, NONE, True),
        ({"gatewayRef": {"name": "a"}}, NONE, True),
        ({"className": "a"}, Capabilities(gateway_classes=frozenset("a")), True),
        ({"className": "a", "kind": "Ingress"}, Capabilities(gateway_classes=frozenset("a")), False),
        (
            {"className": "a"},
            Capabilities(gateway_classes=frozenset("a"), ingress_classes={"a": IngressClass("")}),
            False,
        ),
    ],
)
def test_a_class_of_gateways_only_makes_http_routes(ingress: Any, there: Capabilities, gateway: bool) -> None:
    assert edge.uses_gateway(parse_spec(EnvironmentSpec, {"ingress": ingress}), there) is gateway


def test_what_a_class_was_found_to_be_it_stays() -> None:
    named = parse_spec(EnvironmentSpec, {"ingress": {"className": "a"}})
    gateway, ingress = (
        Capabilities(gateway_classes=frozenset("a")),
        Capabilities(ingress_classes={"a": IngressClass("")}),
    )
    assert edge.way(named, NONE, None) is None, "nobody has installed it yet"
    was = edge.way(named, gateway, None)
    assert was == Way("a", "Gateway")
    for there in (NONE, ingress, gateway):
        assert edge.uses_gateway(named, there, was)
        assert edge.way(named, there, was) == was
    assert not edge.uses_gateway(named, gateway, Way("a", "Ingress")), "its IngressClass is installed anew"
    other = parse_spec(EnvironmentSpec, {"ingress": {"className": "b"}})
    assert not edge.uses_gateway(other, gateway, was)
    assert not edge.uses_gateway(
        parse_spec(EnvironmentSpec, {"ingress": {"className": "a", "kind": "Ingress"}}), NONE, was
    )


@pytest.mark.parametrize(
    ("route", "problem"),
    [
        ({"port": "web"}, "leads to port 'web', and the component has http; write the name of one"),
        (
            {"headers": {"set": {"X A": "1"}}},
            "sets 'X A', which can't be a header's name; write one such as X-Robots-Tag",
        ),
        ({"headers": {"set": {"X-A": "a\nb"}}}, "sets X-A to more than one line of text; write its value on one line"),
        (
            {"cors": {"origins": ["https://a.example.com/"]}},
            "has the origin 'https://a.example.com/' in cors; write one such as https://app.example.com, without a "
            "path",
        ),
        (
            {"cors": {"origins": ["*"], "methods": ["GE T"]}},
            "has 'GE T' in cors, which is no method or header; write one such as GET or X-Requested-With",
        ),
        (
            {"cors": {"origins": ["*"], "credentials": True}},
            "lets every origin read answers to signed-in users; name the origins in cors, or leave credentials out",
        ),
    ],
)
def test_a_route_that_nobody_could_serve_is_refused(route: dict[str, Any], problem: str) -> None:
    web = Component.model_construct(**{**dict(component()), "routes": component(**{**route, "port": None}).routes})
    if "port" in route:
        moved = web.routes[0].model_copy(update={"port": route["port"]}) if web.routes else None
        web = web.model_copy(update={"routes": (moved,)})
    assert list(checks._routes([web], None)) == [f"spec.components[web].routes: / {problem}"]


def test_cross_origin_access_on_nginx() -> None:
    children = rendered(
        NGINX, {"path": "/", "cors": {"origins": [ORIGIN, "https://b.example.com"], "methods": ["GET"]}}
    )
    assert of_kind(children, "Ingress")[0]["metadata"]["annotations"] == {
        "nginx.ingress.kubernetes.io/enable-cors": "true",
        "nginx.ingress.kubernetes.io/cors-allow-origin": f"{ORIGIN}, https://b.example.com",
        "nginx.ingress.kubernetes.io/cors-allow-methods": "GET",
        "nginx.ingress.kubernetes.io/cors-allow-credentials": "false",
    }


def test_headers_on_nginx_get_a_new_config_map_when_they_change_for_only_an_ingress_is_read_anew() -> None:
    there = Capabilities(ingress_classes={"nginx": IngressClass("k8s.io/ingress-nginx", frozenset({"X-A"}))})

    def headers(value: str) -> tuple[str, dict[str, Any]]:
        children = rendered(at(there, className="nginx"), {"path": "/", "headers": {"set": {"X-A": value, "X-B": "1"}}})
        [ingress], [config] = of_kind(children, "Ingress"), of_kind(children, "ConfigMap")
        assert config["data"] == {"X-A": value}
        said = ingress["metadata"]["annotations"]["nginx.ingress.kubernetes.io/custom-headers"]
        assert said == f"web-live/{config['metadata']['name']}"
        return said, config

    assert headers("1")[0] == headers("1")[0] != headers("2")[0]


def test_of_two_limits_by_one_unit_nginx_is_told_the_lower() -> None:
    [ingress] = of_kind(rendered(NGINX, {"path": "/", "rateLimit": "5/s", "rateLimits": ["3/s", "90/m"]}), "Ingress")
    assert ingress["metadata"]["annotations"] == {
        "nginx.ingress.kubernetes.io/limit-rps": "3",
        "nginx.ingress.kubernetes.io/limit-rpm": "90",
    }


def test_routes_share_a_middleware_and_it_goes_before_what_names_it() -> None:
    routes = [{"path": path, "rateLimits": limits} for path, limits in [("/a", ["1/s"]), ("/b", ["1/s", "9/h"])]]
    children = rendered(at(MIDDLEWARES, className="traefik"), *routes)
    limits = {m["metadata"]["name"]: m["spec"]["rateLimit"] for m in of_kind(children, "Middleware")}
    assert limits == {
        "web-limit": {"average": 1, "period": "1s", "burst": 1},
        "web-limit-2": {"average": 9, "period": "1h", "burst": 9},
    }
    said = [m["metadata"]["annotations"].popitem()[1] for m in of_kind(children, "Ingress")]
    assert said == [
        "web-live-web-limit@kubernetescrd",
        "web-live-web-limit@kubernetescrd,web-live-web-limit-2@kubernetescrd",
    ]
    assert {c.phase for c in children if c.manifest["kind"] == "Middleware"} == {"prepare"}


def test_origins_with_a_wildcard_become_patterns_on_traefik() -> None:
    route = {"path": "/", "cors": {"origins": ["https://*.example.com", ORIGIN]}}
    [middleware] = of_kind(rendered(at(MIDDLEWARES, className="traefik"), route), "Middleware")
    headers = middleware["spec"]["headers"]
    assert headers["accessControlAllowOriginList"] == [ORIGIN]
    assert headers["accessControlAllowOriginListRegex"] == [r"^https://[^/]+\.example\.com$"]


def test_the_users_header_takes_the_presets_place_whatever_its_case() -> None:
    route = Route.model_validate(
        {"path": "/", "headers": {"preset": "Secure", "set": {"x-frame-options": "SAMEORIGIN", "Referrer-Policy": ""}}}
    )
    found = edge.response_headers(route)
    assert found["x-frame-options"] == "SAMEORIGIN"
    assert not {"X-Frame-Options", "Referrer-Policy"} & set(found)


def test_a_gateway_sets_so_many_headers_and_no_more() -> None:
    headers = {f"X-{number}": "1" for number in range(17)}
    with pytest.raises(InvalidSpec, match="sets 17 response headers, and a Gateway sets 16 at most"):
        rendered(at(GATEWAYS, kind="Gateway", className="a"), {"path": "/", "headers": {"set": headers}})


def test_more_routes_than_an_http_route_has_rules_are_spread() -> None:
    where = at(GATEWAYS, kind="Gateway", className="a", domain="a.example.com")
    found = of_kind(rendered(where, *({"path": f"/{number}"} for number in range(20))), "HTTPRoute")
    assert [(m["metadata"]["name"], len(m["spec"]["rules"])) for m in found] == [("web", 16), ("web-edge-2", 4)]


def test_an_http_route_claims_its_hosts_and_paths_as_an_ingress_does() -> None:
    routes = [{"path": "/a/"}, {"host": "b.example.com", "path": "/"}]
    as_routes = rendered(at(GATEWAYS, kind="Gateway", className="a", domain="a.example.com"), *routes)
    as_ingress = rendered(at(className="nginx", domain="a.example.com"), *routes)
    assert route_claims.claims(as_routes) == route_claims.claims(as_ingress)
    assert route_claims.claims(as_routes) == [("", "a.example.com", "/a"), ("", "b.example.com", "/")]


def gateway(*hosts: str, **ingress: Any) -> list[dict[str, Any]]:
    spec = parse_spec(EnvironmentSpec, {"ingress": {"kind": "Gateway", "className": "a", **ingress}})
    return edge_gateway.gateway(spec, hosts, {"namespace": "web-live", "labels": {}})


def test_a_gateway_without_certificates_listens_on_http() -> None:
    [made] = gateway("a.example.com")
    assert [(one["name"], one["port"]) for one in made["spec"]["listeners"]] == [("http", 80)]


def test_one_certificate_needs_one_listener_and_http_leads_there() -> None:
    made, redirect = gateway("a.example.com", "b.example.com", tls={"secretName": "all"})
    [_, secure] = made["spec"]["listeners"]
    assert (secure["name"], secure["tls"]["certificateRefs"][0]["name"]) == ("https", "all")
    assert "hostname" not in secure
    assert redirect["spec"]["parentRefs"][0]["sectionName"] == "http"
    assert "hostnames" not in redirect["spec"]


def test_an_issuer_needs_a_listener_for_each_host_to_which_its_routes_belong() -> None:
    made, redirect = gateway("*.example.com", "a.example.com", tls={"issuer": "letsencrypt"})
    assert made["metadata"]["annotations"] == {"cert-manager.io/cluster-issuer": "letsencrypt"}
    secure = made["spec"]["listeners"][1:]
    assert [one["hostname"] for one in secure] == ["*.example.com", "a.example.com"]
    assert redirect["spec"]["hostnames"] == ["*.example.com", "a.example.com"]
    where = at(GATEWAYS, kind="Gateway", className="a", domain="*.example.com", tls={"issuer": "letsencrypt"})
    found = of_kind(rendered(where, {"path": "/"}, {"host": "a.example.com", "path": "/"}), "HTTPRoute")
    assert [m["spec"]["parentRefs"][0]["sectionName"] for m in found] == [one["name"] for one in secure]


def test_an_issuer_without_any_host_has_nothing_to_redirect() -> None:
    assert [m["kind"] for m in gateway(tls={"issuer": "letsencrypt"})] == ["Gateway"]


def test_a_gateway_has_so_many_listeners_and_no_more() -> None:
    with pytest.raises(
        InvalidSpec, match=r"64 hosts need a listener each, and a Gateway may have 64; write tls.secret"
    ):
        gateway(*(f"h{number}.example.com" for number in range(64)), tls={"issuer": "letsencrypt"})


def test_apis_are_said_as_helm_has_them() -> None:
    found = Capabilities.of(["monitoring.coreos.com/v1", "traefik.io/v1alpha1/Middleware"])
    assert found.serves("monitoring.coreos.com/v1/PodMonitor")
    assert not found.serves("traefik.io/v1alpha1/IngressRoute")
    with pytest.raises(ValueError, match="'ServiceMonitor' is no API; write group/version or group/version/Kind"):
        Capabilities.of(["ServiceMonitor"])


def test_the_annotation_is_in_the_message() -> None:
    [why] = render.left_out(component(headers={"set": {"X-A": "1"}}), NGINX).values()
    assert ALLOWED_HEADERS in why


def environment(**spec: Any) -> Any:
    metadata = {"name": "live", "namespace": "web"}
    return parse({"apiVersion": "homeport.dev/v1alpha1", "kind": "Environment", "metadata": metadata, "spec": spec})


def test_who_renders_without_a_cluster_gets_the_gateway_that_is_asked_for() -> None:
    ingress = {"kind": "Gateway", "className": "a", "domain": "a.example.com", "tls": {"issuer": "letsencrypt"}}
    spec = {"version": "1.0.0", "components": [{**WEB, "routes": [{"path": "/", "compress": True}]}]}
    found = plain.bundle(application(spec), environment(ingress=ingress))
    kinds = [m["kind"] for m in found.manifests]
    assert kinds.count("Gateway") == 1
    assert kinds.count("HTTPRoute") == 2, "the application's, and the redirect"
    assert list(found.left_out) == ["web.routes.compress"]


def test_who_renders_without_a_cluster_says_what_it_serves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    meta = {"name": "web", "namespace": "web"}
    ours = {"apiVersion": "homeport.dev/v1alpha1"}
    spec = {"version": "1.0.0", "components": [{**WEB, "metrics": {"interval": "30s"}}]}
    documents = [
        {**ours, "kind": "Project", "metadata": meta, "spec": {}},
        {**ours, "kind": "Environment", "metadata": {**meta, "name": "live"}, "spec": {}},
        {**ours, "kind": "Application", "metadata": meta, "spec": spec},
    ]
    file = tmp_path / "web.yaml"
    file.write_text("---\n".join(json.dumps(document) + "\n" for document in documents))
    assert cli.main(["render", "-f", str(file), "-n", "web"]) == 0
    out, err = capsys.readouterr()
    assert "kind: ServiceMonitor" not in out
    assert "note: live: not carried out: web.metrics.interval (install the Prometheus operator's CRDs" in err
    assert cli.main(["render", "-f", str(file), "-n", "web", "--api-versions", "monitoring.coreos.com/v1"]) == 0
    out, err = capsys.readouterr()
    assert "kind: ServiceMonitor" in out
    assert "not carried out" not in err
    assert cli.main(["render", "-f", str(file), "-n", "web", "-a", "ServiceMonitor"]) == 1
    assert "--api-versions: 'ServiceMonitor' is no API" in capsys.readouterr()[1]
