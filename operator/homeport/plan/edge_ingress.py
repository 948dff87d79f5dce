"""Routes as Ingresses, each in the dialect of its controller: annotations, and the objects that these name."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from homeport.api import labels
from homeport.api.component import Cors, Route
from homeport.plan import capabilities, edge, names
from homeport.plan.scope import Scope
from homeport.plan.types import Child, Manifest, Phase, Place


@dataclass
class Made:
    """The objects that the annotations of one component's Ingresses name; what is the same is made once."""

    scope: Scope
    children: dict[str, Child] = field(default_factory=dict)

    def numbered(self, api_version: str, kind: str, suffix: str, spec: Manifest) -> str:
        """The name of an object with this ``spec``: ``<component>-<suffix>``, or with a number behind it."""
        number, name = 1, f"{self.scope.name}-{suffix}"
        while name in self.children and self.children[name].manifest["spec"] != spec:
            number += 1
            name = f"{self.scope.name}-{suffix}-{number}"
        self.children[name] = self.scope.child(
            self.scope.manifest(api_version, kind, name=name, spec=spec), Phase.PREPARE
        )
        return name

    def config_map(self, suffix: str, data: dict[str, str]) -> str:
        """The name of a ConfigMap with ``data``: new content has a new name."""
        name = f"{self.scope.name}-{suffix}-{names.digest_of(data, 8)}"
        manifest = self.scope.manifest("v1", "ConfigMap", name=name, data=data)
        self.children[name] = self.scope.child(manifest, Phase.PREPARE)
        return name


class Dialect(Protocol):
    """How one controller is told of a route."""

    def annotations(self, route: Route, made: Made) -> dict[str, str]:
        """What its Ingress says. Routes that need different annotations are put into Ingresses of their own."""
        ...

    def missing(self, route: Route) -> dict[str, str]:
        """What isn't carried: the setting, and what to do about it."""
        ...


# --- ingress-nginx --------------------------------------------------------------------------------------------------

_NGINX = "nginx.ingress.kubernetes.io/"
_NGINX_RATES = {"s": "limit-rps", "m": "limit-rpm"}


@dataclass(frozen=True)
class Nginx:
    """ingress-nginx. ``allowed``: the response headers that its controller lets Ingresses set, by its IngressClass: for
    one that isn't allowed it refuses the whole route, so nothing is sent on a guess.

    Source: https://kubernetes.github.io/ingress-nginx/user-guide/nginx-configuration/annotations/ and, for headers,
    internal/ingress/annotations/customheaders of https://github.com/kubernetes/ingress-nginx
    """

    allowed: frozenset[str] = frozenset()

    def annotations(self, route: Route, made: Made) -> dict[str, str]:
        """Limits by client address and second or minute, time for WebSockets, headers, cross-origin access."""
        out: dict[str, str] = {}
        for name, number in self._limits(route).items():
            out[_NGINX + name] = str(number)
        if route.websocket:
            out[_NGINX + "proxy-read-timeout"] = "3600"
            out[_NGINX + "proxy-send-timeout"] = "3600"
        headers = {name: value for name, value in edge.response_headers(route).items() if name in self.allowed}
        if headers:
            # The controller reads it when the Ingress changes, and not when it changes itself: hence its name.
            name = made.config_map("headers", headers)
            out[_NGINX + "custom-headers"] = f"{made.scope.place.namespace}/{name}"
        if route.cors:
            out |= self._cors(route.cors)
        return out

    @staticmethod
    def _limits(route: Route) -> dict[str, int]:
        """Of several by the same unit only the lowest can ever be met."""
        out: dict[str, int] = {}
        for rate in edge.rates(route):
            number, _, unit = rate.partition("/")
            if unit in _NGINX_RATES:
                name = _NGINX_RATES[unit]
                out[name] = min(int(number), out.get(name, int(number)))
        return out

    @staticmethod
    def _cors(cors: Cors) -> dict[str, str]:
        out = {_NGINX + "enable-cors": "true", _NGINX + "cors-allow-origin": ", ".join(cors.origins)}
        if cors.methods is not None:
            out[_NGINX + "cors-allow-methods"] = ", ".join(cors.methods)
        if cors.headers is not None:
            out[_NGINX + "cors-allow-headers"] = ", ".join(cors.headers)
        # Without a word nginx allows cookies; we don't unless asked.
        out[_NGINX + "cors-allow-credentials"] = "true" if cors.credentials else "false"
        return out

    def missing(self, route: Route) -> dict[str, str]:
        """Limits by hour and day, compression, and headers that the controller would refuse the whole route for."""
        out = {}
        slow = [rate for rate in edge.rates(route) if rate.partition("/")[2] not in _NGINX_RATES]
        if slow:
            out[f"rateLimit {' and '.join(slow)}"] = "ingress-nginx limits by s or m only"
        refused = [name for name in edge.response_headers(route) if name not in self.allowed]
        if refused:
            out[f"headers {', '.join(refused)}"] = (
                "allow them in ingress-nginx's global-allowed-response-headers, and say so on the IngressClass with "
                f"the annotation {labels.ALLOWED_HEADERS}"
            )
        if route.compress:
            out["compress"] = "ingress-nginx compresses for all or for none; set use-gzip in its ConfigMap"
        return out


# --- Traefik --------------------------------------------------------------------------------------------------------

_TRAEFIK_API = "traefik.io/v1alpha1"
_TRAEFIK_PERIODS = {"s": "1s", "m": "1m", "h": "1h", "d": "24h"}
_ROUTER_MIDDLEWARES = "traefik.ingress.kubernetes.io/router.middlewares"


@dataclass(frozen=True)
class Traefik:
    """Traefik. ``middlewares``: whether its kind Middleware is served; without it there is nothing to say things with.

    Source: https://doc.traefik.io/traefik/reference/routing-configuration/kubernetes/ingress/
    """

    middlewares: bool = False

    def annotations(self, route: Route, made: Made) -> dict[str, str]:
        """The route's middlewares, the outermost first: refusals have the headers too. WebSockets need nothing."""
        if not self.middlewares:
            return {}
        chain: list[tuple[str, Manifest]] = []
        headers = edge.response_headers(route)
        if headers:
            chain.append(("headers", {"headers": {"customResponseHeaders": headers}}))
        if route.cors:
            chain.append(("cors", {"headers": _traefik_cors(route.cors)}))
        chain.extend(("limit", {"rateLimit": _traefik_rate(rate)}) for rate in edge.rates(route))
        if route.compress:
            chain.append(("compress", {"compress": {}}))
        if not chain:
            return {}
        found = [made.numbered(_TRAEFIK_API, "Middleware", suffix, spec) for suffix, spec in chain]
        return {_ROUTER_MIDDLEWARES: ",".join(f"{made.scope.place.namespace}-{name}@kubernetescrd" for name in found)}

    def missing(self, route: Route) -> dict[str, str]:
        """Nothing, where there are Middlewares."""
        if self.middlewares:
            return {}
        why = "install Traefik's CRDs: the kind Middleware isn't served"
        return {name: why for name, used in edge.settings_of(route).items() if used and name != "websocket"}


def _traefik_rate(rate: str) -> Manifest:
    """A token bucket for each client address that holds one period's requests."""
    number, _, unit = rate.partition("/")
    return {"average": int(number), "period": _TRAEFIK_PERIODS[unit], "burst": int(number)}


def _traefik_cors(cors: Cors) -> Manifest:
    exact = [origin for origin in cors.origins if "*" not in origin or origin == "*"]
    patterns = [f"^{re.escape(o).replace(re.escape('*'), '[^/]+')}$" for o in cors.origins if o not in exact]
    out: Manifest = {
        "accessControlAllowMethods": list(cors.methods if cors.methods is not None else edge.CORS_METHODS),
        "accessControlAllowHeaders": list(cors.headers if cors.headers is not None else edge.CORS_HEADERS),
        "addVaryHeader": True,
    }
    if exact:
        out["accessControlAllowOriginList"] = exact
    if patterns:
        out["accessControlAllowOriginListRegex"] = patterns
    if cors.credentials:
        out["accessControlAllowCredentials"] = True
    return out


# --- any other ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plain:
    """A controller of which nothing is known: host, path and port are all that is said."""

    def annotations(self, route: Route, made: Made) -> dict[str, str]:
        """None."""
        return {}

    def missing(self, route: Route) -> dict[str, str]:
        """Everything beyond what every Ingress has."""
        why = "Homeport doesn't know how to tell this controller"
        return {name: why for name, used in edge.settings_of(route).items() if used}


def dialect(place: Place) -> Dialect:
    """The dialect of an environment's IngressClass: by its controller where that is known, else by its name.

    Where nothing is known of an absent class it is taken for ingress-nginx, the most common.
    """
    settings, there = place.spec.ingress, place.capabilities
    name = settings.class_name if settings is not None and settings.class_name else there.default_ingress_class
    known = there.ingress_classes.get(name or "")
    if known is not None:
        controller = known.controller
    elif name is None or "nginx" in name:
        controller = capabilities.INGRESS_NGINX
    else:
        controller = capabilities.TRAEFIK if "traefik" in name else ""
    # A second ingress-nginx in a cluster has a name of its own, such as k8s.io/internal-ingress-nginx.
    if "ingress-nginx" in controller:
        return Nginx(known.allowed_headers if known is not None else frozenset())
    if controller == capabilities.TRAEFIK:
        return Traefik(there.serves(capabilities.MIDDLEWARE))
    return Plain()


# --- objects --------------------------------------------------------------------------------------------------------


def ingresses(scope: Scope) -> Iterable[Child]:
    """The component's Ingress, and what it names. Annotations are for a whole Ingress, so routes whose settings differ
    get one each way: the first is named as the component, the others ``<component>-edge-2`` and on."""
    speaks, made = dialect(scope.place), Made(scope)
    groups: dict[tuple[tuple[str, str], ...], list[Route]] = {}
    for route in scope.component.routes or ():
        groups.setdefault(tuple(speaks.annotations(route, made).items()), []).append(route)
    yield from made.children.values()
    for number, (marks, routes) in enumerate(groups.items(), 1):
        name = scope.name if number == 1 else f"{scope.name}-edge-{number}"
        yield scope.child(_ingress(scope, name, dict(marks), routes), Phase.EXPOSE)


def _ingress(scope: Scope, name: str, annotations: dict[str, str], routes: list[Route]) -> Manifest:
    settings = scope.place.spec.ingress
    spec: Manifest = {}
    if settings is not None and settings.class_name is not None:
        spec["ingressClassName"] = settings.class_name
    hosts = {host: [_path(scope, route) for route in found] for host, found in edge.by_host(scope, routes).items()}
    spec["rules"] = [
        {"host": host, "http": {"paths": paths}} if host else {"http": {"paths": paths}}
        for host, paths in hosts.items()
    ]
    tls = _tls(scope, [host for host in hosts if host])
    if tls:
        spec["tls"] = tls
    if settings is not None and settings.tls is not None and settings.tls.issuer is not None:
        annotations = {edge.CLUSTER_ISSUER: settings.tls.issuer, **annotations}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": scope.metadata(name, annotations),
        "spec": spec,
    }


def _path(scope: Scope, route: Route) -> Manifest:
    port = edge.port_of(scope.component, route)
    backend: dict[str, Any] = {"name": port.name} if port is not None else {"number": int(route.port or 80)}
    return {
        "path": route.path,
        "pathType": route.path_type or "Prefix",
        "backend": {"service": {"name": scope.name, "port": backend}},
    }


def _tls(scope: Scope, hosts: list[str]) -> list[Manifest]:
    """One Secret for all hosts when it is given; else one for each, which cert-manager makes."""
    settings = scope.place.spec.ingress
    if settings is None or settings.tls is None:
        return []
    if settings.tls.secret_name is not None:
        secret = {"secretName": settings.tls.secret_name}
        return [{"hosts": hosts, **secret}] if hosts else [secret]
    return [{"hosts": [host], "secretName": names.tls_secret(host)} for host in hosts]
