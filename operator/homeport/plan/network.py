"""How a component is reached: its Service, its Ingress, and who may talk to it."""

from __future__ import annotations

from collections.abc import Iterable

from homeport.api import labels
from homeport.api.component import Route
from homeport.plan import edge, names, pods
from homeport.plan.scope import MIGRATE_SUFFIX, Scope
from homeport.plan.types import Child, Manifest, Phase

CLUSTER_ISSUER = "cert-manager.io/cluster-issuer"
# Networks that aren't the internet: private, shared (carrier-grade NAT, which some clusters use for Pods) and
# link-local, where clouds serve a node's credentials.
PRIVATE_V4 = ("10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16")
PRIVATE_V6 = ("fc00::/7", "fe80::/10")


def service(scope: Scope) -> Child:
    """The Service under which siblings reach the component, on each of its ports.

    A stateful component's is headless, with or without ports: its Pods get names of their own, and the Service's name
    still resolves to whichever are ready.
    """
    spec: Manifest = {"type": "ClusterIP", "selector": dict(scope.selector)}
    if scope.component.type == "stateful":
        spec["clusterIP"] = "None"
    if scope.component.ports:
        spec["ports"] = [
            {"name": port.name, "port": port.port, "targetPort": port.name, "protocol": port.protocol or "TCP"}
            for port in scope.component.ports
        ]
    return scope.child(scope.manifest("v1", "Service", spec=spec), Phase.PREPARE)


# --- routes -------------------------------------------------------------------------------------------------------


def host_of(scope: Scope, route: Route) -> str:
    """The host of ``route``: its own, or the environment's domain, or none."""
    ingress = scope.place.spec.ingress
    return route.host or (ingress.domain if ingress is not None and ingress.domain else "")


def ingresses(scope: Scope) -> Iterable[Child]:
    """The component's Ingress. Annotations are for a whole Ingress, so routes whose settings differ get one each
    way: the first is named as the component, the others ``<component>-edge-2`` and on."""
    settings = scope.place.spec.ingress
    speak = edge.dialect(settings.class_name if settings is not None else None).annotations
    groups: dict[tuple[tuple[str, str], ...], list[Route]] = {}
    for route in scope.component.routes or ():
        groups.setdefault(tuple(speak(route).items()), []).append(route)
    for number, (marks, routes) in enumerate(groups.items(), 1):
        name = scope.name if number == 1 else f"{scope.name}-edge-{number}"
        yield scope.child(_ingress(scope, name, dict(marks), routes), Phase.EXPOSE)


def _ingress(scope: Scope, name: str, annotations: dict[str, str], routes: list[Route]) -> Manifest:
    settings = scope.place.spec.ingress
    spec: Manifest = {}
    if settings is not None and settings.class_name is not None:
        spec["ingressClassName"] = settings.class_name
    by_host: dict[str, list[Manifest]] = {}
    for route in routes:
        by_host.setdefault(host_of(scope, route), []).append(_path(scope, route))
    spec["rules"] = [
        {"host": host, "http": {"paths": paths}} if host else {"http": {"paths": paths}}
        for host, paths in by_host.items()
    ]
    tls = _tls(scope, [host for host in by_host if host])
    if tls:
        spec["tls"] = tls
    if settings is not None and settings.tls is not None and settings.tls.issuer is not None:
        annotations = {CLUSTER_ISSUER: settings.tls.issuer, **annotations}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": scope.metadata(name, annotations),
        "spec": spec,
    }


def _path(scope: Scope, route: Route) -> Manifest:
    ports = scope.component.ports or ()
    wanted = route.port
    port = next((port for port in ports if wanted is None or wanted in (port.name, str(port.port))), None)
    backend = {"name": port.name} if port is not None else {"number": int(wanted or 80)}
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


# --- isolation ----------------------------------------------------------------------------------------------------


def policy(scope: Scope) -> Child:
    """What the component needs where everything else is denied (isolation Strict).

    In, on the component's ports: Pods of the same application; from any namespace on ports with routes (the ingress
    controller may be anywhere) and on the metrics port (so may Prometheus). Out: DNS; Pods of the same application;
    the internet, for applications call other people's APIs. Not: other applications, and private networks, where the
    neighbours are; a patch on the NetworkPolicy opens what is needed there. A component with a service account may
    call the API server, which has a private address.

    It is applied before anything runs, for a migration needs its database too.
    """
    component = scope.component
    siblings = {"podSelector": {"matchLabels": {labels.APPLICATION: scope.selector[labels.APPLICATION]}}}
    spec: Manifest = {
        "podSelector": {
            "matchLabels": {key: value for key, value in scope.selector.items() if key != labels.COMPONENT},
            "matchExpressions": [
                {
                    "key": labels.COMPONENT,
                    "operator": "In",
                    "values": [component.name, f"{component.name}{MIGRATE_SUFFIX}"],
                }
            ],
        },
        "policyTypes": ["Ingress", "Egress"],
    }
    incoming: list[Manifest] = []
    if component.ports:
        own = [{"port": port.port, "protocol": port.protocol or "TCP"} for port in component.ports]
        incoming.append({"from": [siblings], "ports": own})
    open_ports = _open_ports(scope)
    if open_ports:
        ports = [{"port": number, "protocol": "TCP"} for number in open_ports]
        incoming.append({"from": [{"namespaceSelector": {}}], "ports": ports})
    if incoming:
        spec["ingress"] = incoming
    spec["egress"] = _egress(scope, siblings)
    return scope.child(scope.manifest("networking.k8s.io/v1", "NetworkPolicy", spec=spec), Phase.PREPARE)


def _open_ports(scope: Scope) -> list[int]:
    """The ports that other namespaces may reach."""
    component = scope.component
    ports = component.ports or ()
    out: set[int] = set()
    for route in component.routes or ():
        out |= {port.port for port in ports if route.port in (port.name, str(port.port))}
        if route.port is None and ports:
            out.add(ports[0].port)
    if component.metrics is not None:
        out.add(pods.metrics_port(scope))
    return sorted(out)


def _egress(scope: Scope, siblings: Manifest) -> list[Manifest]:
    out: list[Manifest] = [
        # To anywhere: a node's own DNS cache has a link-local address, and some distributions' DNS their own namespace.
        {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]},
        {"to": [siblings]},
        {
            "to": [
                {"ipBlock": {"cidr": "0.0.0.0/0", "except": list(PRIVATE_V4)}},
                {"ipBlock": {"cidr": "::/0", "except": list(PRIVATE_V6)}},
            ]
        },
    ]
    if scope.component.service_account_name is not None:
        out.append({"ports": [{"port": 443, "protocol": "TCP"}, {"port": 6443, "protocol": "TCP"}]})
    return out
