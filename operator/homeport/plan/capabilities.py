"""What a cluster offers beyond Kubernetes's own kinds: observed by the engine, or said by a user; planning's input."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

HTTP_ROUTE = "gateway.networking.k8s.io/v1/HTTPRoute"
GATEWAY = "gateway.networking.k8s.io/v1/Gateway"
HTTP_ROUTE_CORS = f"{HTTP_ROUTE}/cors"
"""Whether the installed HTTPRoute has the CORS filter: in the standard channel since Gateway API 1.5."""
MIDDLEWARE = "traefik.io/v1alpha1/Middleware"
SERVICE_MONITOR = "monitoring.coreos.com/v1/ServiceMonitor"
POD_MONITOR = "monitoring.coreos.com/v1/PodMonitor"

INGRESS_NGINX = "k8s.io/ingress-nginx"
TRAEFIK = "traefik.io/ingress-controller"


@dataclass(frozen=True)
class IngressClass:
    """Which controller answers to an IngressClass, and which response headers it lets Ingresses set."""

    controller: str
    allowed_headers: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Capabilities:
    """The optional APIs of a cluster as ``group/version/Kind``, and its classes by name."""

    apis: frozenset[str] = frozenset()
    ingress_classes: Mapping[str, IngressClass] = field(default_factory=dict)
    default_ingress_class: str | None = None
    gateway_classes: frozenset[str] = frozenset()

    def serves(self, api: str) -> bool:
        """Whether an API (``group/version/Kind``, or a field of it) is there; a whole ``group/version`` counts too."""
        return api in self.apis or "/".join(api.split("/")[:2]) in self.apis

    @classmethod
    def of(cls, apis: Iterable[str]) -> Capabilities:
        """What a user says of a cluster that isn't asked, as ``helm template --api-versions`` has it.

        Each is ``group/version`` or ``group/version/Kind``. Raises ValueError for anything else.
        """
        found = frozenset(apis)
        for api in found:
            parts = api.split("/")
            if not 2 <= len(parts) <= 4 or not all(parts):
                raise ValueError(
                    f"{api!r} is no API; write group/version or group/version/Kind, such as {SERVICE_MONITOR}"
                )
        return cls(apis=found)

    def with_gateway(self) -> Capabilities:
        """These, and the Gateway API: who asks for it without a cluster at hand has it."""
        return replace(self, apis=self.apis | {GATEWAY, HTTP_ROUTE})


@dataclass(frozen=True)
class Way:
    """What an environment's class was found to be: ``kind`` is Ingress or Gateway."""

    class_name: str
    kind: str


NONE = Capabilities()
