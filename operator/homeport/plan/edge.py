"""What ingress controllers need to know of a route beyond host, path and port: one dialect for each.

A dialect turns a route's settings into annotations of its Ingress. Issue 4 adds Traefik's middlewares, Gateway API
routes and, for ingress-nginx, headers, compress and cors; a dialect that lacks a setting says so in ``missing``.
"""

from __future__ import annotations

from typing import Protocol

from homeport.api.component import Route


class Dialect(Protocol):
    """How one ingress controller is told about a route."""

    name: str
    missing: tuple[str, ...]
    """Settings of a route that this dialect doesn't carry yet."""

    def annotations(self, route: Route) -> dict[str, str]:
        """The annotations for ``route``. Routes that need different ones are put into Ingresses of their own."""


class IngressNginx:
    """https://kubernetes.github.io/ingress-nginx/user-guide/nginx-configuration/annotations/"""

    name = "ingress-nginx"
    missing = ("headers", "compress", "cors")
    _prefix = "nginx.ingress.kubernetes.io/"

    def annotations(self, route: Route) -> dict[str, str]:
        """Rate limits per client address, and time for WebSockets."""
        out: dict[str, str] = {}
        if route.rate_limit:
            name, value = _nginx_rate(route.rate_limit)
            out[self._prefix + name] = value
        if route.websocket:
            out[self._prefix + "proxy-read-timeout"] = "3600"
            out[self._prefix + "proxy-send-timeout"] = "3600"
        return out


def _nginx_rate(rate: str) -> tuple[str, str]:
    """nginx counts by second or by minute: what is given by hour or day becomes the next whole number by minute."""
    number, _, unit = rate.partition("/")
    if unit == "s":
        return "limit-rps", number
    minutes = {"m": 1, "h": 60, "d": 1440}[unit]
    return "limit-rpm", str(-(-int(number) // minutes))


class Traefik:
    """https://doc.traefik.io/traefik/routing/providers/kubernetes-ingress/

    WebSockets need nothing. The rest are middlewares, which are objects of Traefik's own kinds.
    """

    name = "traefik"
    missing = ("rateLimit", "headers", "compress", "cors")

    def annotations(self, route: Route) -> dict[str, str]:
        """None."""
        return {}


class Plain:
    """A controller that isn't known: host, path and port are all it gets."""

    name = "other"
    missing = ("rateLimit", "headers", "compress", "cors")

    def annotations(self, route: Route) -> dict[str, str]:
        """None."""
        return {}


_INGRESS_NGINX, _TRAEFIK, _PLAIN = IngressNginx(), Traefik(), Plain()


def dialect(class_name: str | None) -> Dialect:
    """The dialect of an IngressClass, by its name; an absent class is taken for ingress-nginx, the most common."""
    if class_name is None or "nginx" in class_name:
        return _INGRESS_NGINX
    return _TRAEFIK if "traefik" in class_name else _PLAIN
