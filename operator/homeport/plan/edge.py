"""What ingress controllers need to know of a route beyond host, path and port: one dialect for each.

A dialect turns a route's settings into annotations of its Ingress. What a dialect doesn't carry (yet: Traefik's
middlewares, Gateway API routes, response headers) is in its ``missing``, and is said in the application's status.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from homeport.api.component import Component, Cors, Route


@dataclass(frozen=True)
class Dialect:
    """How one ingress controller is told about a route. Routes that need different annotations are put into Ingresses
    of their own."""

    name: str
    annotations: Callable[[Route], dict[str, str]]
    missing: tuple[str, ...]
    """Settings of a route that aren't carried yet."""


_NGINX = "nginx.ingress.kubernetes.io/"


def _nginx(route: Route) -> dict[str, str]:
    """Rate limits per client address, time for WebSockets, and cross-origin access.

    Source: https://kubernetes.github.io/ingress-nginx/user-guide/nginx-configuration/annotations/
    """
    out: dict[str, str] = {}
    if route.rate_limit:
        name, value = _nginx_rate(route.rate_limit)
        out[_NGINX + name] = value
    if route.websocket:
        out[_NGINX + "proxy-read-timeout"] = "3600"
        out[_NGINX + "proxy-send-timeout"] = "3600"
    if route.cors:
        out |= _nginx_cors(route.cors)
    return out


def _nginx_cors(cors: Cors) -> dict[str, str]:
    out = {_NGINX + "enable-cors": "true", _NGINX + "cors-allow-origin": ", ".join(cors.origins)}
    if cors.methods is not None:
        out[_NGINX + "cors-allow-methods"] = ", ".join(cors.methods)
    if cors.headers is not None:
        out[_NGINX + "cors-allow-headers"] = ", ".join(cors.headers)
    # Without a word nginx allows cookies; we don't unless asked.
    out[_NGINX + "cors-allow-credentials"] = "true" if cors.credentials else "false"
    return out


def _nginx_rate(rate: str) -> tuple[str, str]:
    """nginx counts by second or by minute: what is given by hour or day becomes the next whole number by minute."""
    number, _, unit = rate.partition("/")
    if unit == "s":
        return "limit-rps", number
    minutes = {"m": 1, "h": 60, "d": 1440}[unit]
    return "limit-rpm", str(-(-int(number) // minutes))


def _none(route: Route) -> dict[str, str]:
    """Nothing: host, path and port are all that is said."""
    return {}


INGRESS_NGINX = Dialect("ingress-nginx", _nginx, ("headers", "compress"))
TRAEFIK = Dialect("traefik", _none, ("rateLimit", "headers", "compress", "cors"))
"""WebSockets need nothing there; the rest are middlewares, which are objects of Traefik's own kinds.

Source: https://doc.traefik.io/traefik/routing/providers/kubernetes-ingress/
"""
PLAIN = Dialect("other", _none, ("rateLimit", "headers", "compress", "cors"))


def dialect(class_name: str | None) -> Dialect:
    """The dialect of an IngressClass, by its name; an absent class is taken for ingress-nginx, the most common."""
    if class_name is None or "nginx" in class_name:
        return INGRESS_NGINX
    return TRAEFIK if "traefik" in class_name else PLAIN


def left_out(component: Component, class_name: str | None) -> tuple[str, ...]:
    """The settings of a component's routes that its ingress controller isn't told about, by their names in a spec."""
    speaks = dialect(class_name)
    used = {name for route in component.routes or () for name in speaks.missing if _is_set(route, name)}
    return tuple(name for name in speaks.missing if name in used)


def _is_set(route: Route, name: str) -> bool:
    settings = {"rateLimit": route.rate_limit, "headers": route.headers, "compress": route.compress, "cors": route.cors}
    return bool(settings[name])
