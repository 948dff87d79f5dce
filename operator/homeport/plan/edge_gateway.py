"""Routes as the Gateway API has them: HTTPRoutes of applications, and the Gateway of an environment that names none.

Source: https://gateway-api.sigs.k8s.io/reference/spec/
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from homeport.api.component import Component, Cors, Route
from homeport.api.environment import EnvironmentSpec, IngressSettings
from homeport.api.resource import InvalidSpec
from homeport.plan import capabilities, edge, names
from homeport.plan.capabilities import Capabilities
from homeport.plan.scope import Scope
from homeport.plan.types import Child, Manifest, Phase

API = "gateway.networking.k8s.io/v1"
GROUP = "gateway.networking.k8s.io"
GATEWAY = "homeport"
"""The name of the Gateway that Homeport makes in an environment's namespace."""
REDIRECT = "homeport-https"
HTTP, HTTPS = "http", "https"
RULES = 16
"""How many rules an HTTPRoute may have; hostnames too."""
LISTENERS = 64
HEADERS = 16
"""How many response headers a rule may set."""

T = TypeVar("T")

NOT_SERVED = (
    "the cluster doesn't serve the Gateway API (gateway.networking.k8s.io/v1); install its CRDs and a controller, "
    "or write ingress.kind: Ingress"
)


def is_there(there: Capabilities) -> bool:
    """Whether the cluster has the Gateway API."""
    return there.serves(capabilities.HTTP_ROUTE) and there.serves(capabilities.GATEWAY)


def _batched(items: Sequence[T], size: int) -> list[Sequence[T]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


# --- of an application ----------------------------------------------------------------------------------------------


def http_routes(scope: Scope) -> Iterable[Child]:
    """The component's HTTPRoutes, where such a thing is served: one for each host, the first named as the component,
    the others ``<component>-edge-2`` and on. Raises InvalidSpec for more response headers than a rule may set.
    """
    if not is_there(scope.place.capabilities):
        return
    wanted = [
        (host, rules)
        for host, routes in edge.by_host(scope, scope.component.routes or ()).items()
        for rules in _batched([_rule(scope, route) for route in routes], RULES)
    ]
    for number, (host, rules) in enumerate(wanted, 1):
        name = scope.name if number == 1 else f"{scope.name}-edge-{number}"
        spec: Manifest = {"parentRefs": [_parent(scope.place.spec, host)]}
        if host:
            spec["hostnames"] = [host]
        spec["rules"] = list(rules)
        yield scope.child(scope.manifest(API, "HTTPRoute", name=name, spec=spec), Phase.EXPOSE)


def _parent(spec: EnvironmentSpec, host: str) -> Manifest:
    """The listener that a host's routes belong to."""
    settings = spec.ingress
    assert settings is not None
    out: Manifest = {"group": GROUP, "kind": "Gateway"}
    if settings.gateway_ref is None:
        return {**out, "name": GATEWAY, "sectionName": _listener_of(settings, host)}
    ref = settings.gateway_ref
    out["name"] = ref.name
    if ref.namespace is not None:
        out["namespace"] = ref.namespace
    if ref.section_name is not None:
        out["sectionName"] = ref.section_name
    return out


def _listener_of(settings: IngressSettings, host: str) -> str:
    if settings.tls is None or (settings.tls.issuer is not None and not host):
        return HTTP
    # cert-manager takes the host of a certificate from the listener: each has its own.
    return HTTPS if settings.tls.secret_name is not None else f"{HTTPS}-{host.replace('*', 'wildcard')}"


def _rule(scope: Scope, route: Route) -> Manifest:
    """One route. What the API server would fill in is written out, so that nothing differs afterwards."""
    port = edge.port_of(scope.component, route)
    number = (port.service_port or port.port) if port is not None else int(route.port or 80)
    kind = "Exact" if route.path_type == "Exact" else "PathPrefix"
    out: Manifest = {"matches": [{"path": {"type": kind, "value": route.path}}]}
    filters = _filters(scope, route)
    if filters:
        out["filters"] = filters
    out["backendRefs"] = [{"group": "", "kind": "Service", "name": scope.name, "port": number, "weight": 1}]
    return out


def _filters(scope: Scope, route: Route) -> list[Manifest]:
    out: list[Manifest] = []
    headers = edge.response_headers(route)
    if len(headers) > HEADERS:
        raise InvalidSpec(
            [
                f"spec.components[{scope.component.name}].routes: {route.path} sets {len(headers)} response headers, "
                f"and a Gateway sets {HEADERS} at most; leave some out, or set them in the application"
            ]
        )
    if headers:
        pairs = [{"name": name, "value": value} for name, value in headers.items()]
        out.append({"type": "ResponseHeaderModifier", "responseHeaderModifier": {"set": pairs}})
    if route.cors is not None and scope.place.capabilities.serves(capabilities.HTTP_ROUTE_CORS):
        out.append({"type": "CORS", "cors": _cors(route.cors)})
    return out


def _cors(cors: Cors) -> Manifest:
    return {
        "allowOrigins": list(cors.origins),
        "allowMethods": list(cors.methods if cors.methods is not None else edge.CORS_METHODS),
        "allowHeaders": list(cors.headers if cors.headers is not None else edge.CORS_HEADERS),
        "allowCredentials": bool(cors.credentials),
        "maxAge": 5,
    }


def missing(route: Route, there: Capabilities) -> dict[str, str]:
    """What the Gateway API has no words for. WebSockets need none."""
    used = edge.settings_of(route)
    out = {}
    if used["rateLimit"]:
        out["rateLimit"] = "the Gateway API has none; use a policy of the Gateway's controller"
    if used["compress"]:
        out["compress"] = "the Gateway API has none; use a policy of the Gateway's controller"
    if used["cors"] and is_there(there) and not there.serves(capabilities.HTTP_ROUTE_CORS):
        out["cors"] = "the installed HTTPRoute has no CORS filter; install the CRDs of Gateway API 1.5 or newer"
    return out


# --- of an environment ----------------------------------------------------------------------------------------------


def hosts(spec: EnvironmentSpec, components: Iterable[Component]) -> tuple[str, ...]:
    """The hosts that an environment serves: its domain, and those that routes name."""
    found = {edge.host_of(spec, route) for component in components for route in component.routes or ()}
    if spec.ingress is not None and spec.ingress.domain:
        found.add(spec.ingress.domain)
    return tuple(sorted(found - {""}))


def gateway(spec: EnvironmentSpec, served: Sequence[str], metadata: Manifest) -> list[Manifest]:
    """The Gateway of an environment that has no gatewayRef, and with TLS the redirect to it. ``served`` are its hosts.

    ``metadata`` has namespace and labels. Raises InvalidSpec when it would need more listeners than there may be.
    """
    settings = spec.ingress
    assert settings is not None
    listeners = [_listener(HTTP, 80, "HTTP"), *_secure_listeners(settings, served)]
    if len(listeners) > LISTENERS:
        raise InvalidSpec(
            [
                f"spec.ingress: {len(served)} hosts need a listener each, and a Gateway may have {LISTENERS}; "
                "write tls.secretName with one certificate for all, or spread the applications over environments"
            ]
        )
    annotations = {}
    if settings.tls is not None and settings.tls.issuer is not None:
        annotations = {"annotations": {edge.CLUSTER_ISSUER: settings.tls.issuer}}
    out: list[Manifest] = [
        {
            "apiVersion": API,
            "kind": "Gateway",
            "metadata": {"name": GATEWAY, **metadata, **annotations},
            "spec": {"gatewayClassName": settings.class_name, "listeners": listeners},
        }
    ]
    return out + _redirects(settings, [host for host in served if len(listeners) > 1], metadata)


def _listener(name: str, port: int, protocol: str, host: str = "", secret: str = "") -> Manifest:
    out: Manifest = {"name": name}
    if host:
        out["hostname"] = host
    out |= {"port": port, "protocol": protocol}
    if secret:
        out["tls"] = {"mode": "Terminate", "certificateRefs": [{"group": "", "kind": "Secret", "name": secret}]}
    return {**out, "allowedRoutes": {"namespaces": {"from": "Same"}}}


def _secure_listeners(settings: IngressSettings, served: Sequence[str]) -> list[Manifest]:
    if settings.tls is None:
        return []
    if settings.tls.secret_name is not None:
        return [_listener(HTTPS, 443, "HTTPS", secret=settings.tls.secret_name)]
    return [
        _listener(_listener_of(settings, host), 443, "HTTPS", host=host, secret=names.tls_secret(host))
        for host in served
    ]


def _redirects(settings: IngressSettings, served: Sequence[str], metadata: Manifest) -> list[Manifest]:
    """Plain HTTP leads to HTTPS, as the usual Ingress controllers have it; a certificate's challenge goes before."""
    if settings.tls is None:
        return []
    parent = {"group": GROUP, "kind": "Gateway", "name": GATEWAY, "sectionName": HTTP}
    rule = {
        "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
        "filters": [{"type": "RequestRedirect", "requestRedirect": {"scheme": "https", "statusCode": 301}}],
    }
    groups: list[Sequence[str]] = [()]
    if settings.tls.secret_name is None:
        groups = _batched(served, RULES)
    return [
        {
            "apiVersion": API,
            "kind": "HTTPRoute",
            "metadata": {"name": REDIRECT if number == 1 else f"{REDIRECT}-{number}", **metadata},
            "spec": {"parentRefs": [parent], **({"hostnames": list(group)} if group else {}), "rules": [rule]},
        }
        for number, group in enumerate(groups, 1)
    ]
