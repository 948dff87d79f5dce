"""Routes, whatever carries them: which way an environment's routes go out, and what each of them asks for.

The ways are Ingresses (``edge_ingress``, in the dialect of their controller) and the Gateway API (``edge_gateway``).
What a way can't carry is never dropped silently: the application's status names it, with what to do about it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from homeport.api.component import Component, Route
from homeport.api.environment import EnvironmentSpec, IngressSettings
from homeport.api.pod import Port
from homeport.plan.capabilities import Capabilities, Way
from homeport.plan.scope import Scope

CLUSTER_ISSUER = "cert-manager.io/cluster-issuer"
"""Source: https://cert-manager.io/docs/usage/ingress/ and https://cert-manager.io/docs/usage/gateway/"""

SECURE_HEADERS = {
    "Strict-Transport-Security": "max-age=31536000",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "strict-origin-when-cross-origin",
    "Content-Security-Policy": (
        "default-src 'self'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
    ),
}
"""What ``headers.preset: Secure`` sets. Without includeSubDomains: other hosts of the domain may not have TLS.

Source: https://owasp.org/www-project-secure-headers/
"""

CORS_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
CORS_HEADERS = (
    "Authorization",
    "Cache-Control",
    "Content-Type",
    "If-Modified-Since",
    "Range",
    "X-Requested-With",
)
"""What is allowed when ``cors`` doesn't say."""


def uses_gateway(spec: EnvironmentSpec, capabilities: Capabilities, before: Way | None = None) -> bool:
    """Whether routes become HTTPRoutes: the environment says so, or its class is a GatewayClass and no IngressClass.

    What a class was found to be ``before`` it stays: a controller that is installed anew takes its class away for a
    moment, and must not take with it all that is served.
    """
    settings = spec.ingress
    if settings is None:
        return False
    if settings.kind is not None or settings.gateway_ref is not None:
        return settings.kind != "Ingress"
    if before is not None and before.class_name == settings.class_name:
        return before.kind == "Gateway"
    return _is_gateway_class(settings.class_name, capabilities)


def _is_gateway_class(name: str | None, capabilities: Capabilities) -> bool:
    return name in capabilities.gateway_classes and name not in capabilities.ingress_classes


def way(spec: EnvironmentSpec, capabilities: Capabilities, before: Way | None) -> Way | None:
    """What an environment's class is, to be remembered; None while it names none or nobody has installed it."""
    name = spec.ingress.class_name if spec.ingress is not None else None
    if name is None:
        return None
    if before is not None and before.class_name == name:
        return before
    if name not in capabilities.gateway_classes and name not in capabilities.ingress_classes:
        return None
    return Way(name, "Gateway" if _is_gateway_class(name, capabilities) else "Ingress")


def host_of(spec: EnvironmentSpec, route: Route) -> str:
    """The host of ``route``: its own, or the environment's domain, or none."""
    return route.host or (spec.ingress.domain if spec.ingress is not None and spec.ingress.domain else "")


def is_secure(settings: IngressSettings | None) -> bool:
    """Whether addresses are https, as far as the environment says so."""
    if settings is None:
        return False
    section = (settings.gateway_ref.section_name if settings.gateway_ref is not None else None) or ""
    return settings.tls is not None or section == "https" or section.startswith("https-")


def by_host(scope: Scope, routes: Iterable[Route]) -> dict[str, list[Route]]:
    """``routes`` by their host, in the order of the spec."""
    out: dict[str, list[Route]] = {}
    for route in routes:
        out.setdefault(host_of(scope.place.spec, route), []).append(route)
    return out


def port_of(component: Component, route: Route) -> Port | None:
    """The port that a route leads to; None when the component doesn't have it, which a patch may mend."""
    wanted = route.port
    ports = component.ports or ()
    return next((port for port in ports if wanted is None or wanted in (port.name, str(port.port))), None)


def rates(route: Route) -> tuple[str, ...]:
    """All rate limits of a route, each once."""
    given = [*([route.rate_limit] if route.rate_limit else []), *(route.rate_limits or ())]
    return tuple(dict.fromkeys(given))


def response_headers(route: Route) -> dict[str, str]:
    """The response headers of a route: the preset's, then its own, whose empty values leave one out."""
    if route.headers is None:
        return {}
    out = dict(SECURE_HEADERS) if route.headers.preset == "Secure" else {}
    for name, value in (route.headers.set or {}).items():
        # HTTP doesn't tell names by their case: the preset's must not be there beside the user's.
        for known in [known for known in out if known.lower() == name.lower()]:
            del out[known]
        if value:
            out[name] = value
    return out


def settings_of(route: Route) -> Mapping[str, bool]:
    """Which of a route's settings beyond host, path and port are used, by their names in a spec."""
    return {
        "websocket": bool(route.websocket),
        "rateLimit": bool(rates(route)),
        "headers": bool(response_headers(route)),
        "compress": bool(route.compress),
        "cors": route.cors is not None,
    }
