"""How a component is reached within the cluster: its Service, and who may talk to it."""

from __future__ import annotations

from homeport.api import labels
from homeport.api.component import Egress
from homeport.plan import monitoring
from homeport.plan.scope import MIGRATE_SUFFIX, Scope
from homeport.plan.types import Child, Manifest, Phase

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
            {
                "name": port.name,
                "port": port.service_port or port.port,
                "targetPort": port.name,
                "protocol": port.protocol or "TCP",
            }
            for port in scope.component.ports
        ]
    out = scope.manifest("v1", "Service", spec=spec)
    annotations = monitoring.service_annotations(scope)
    if annotations:
        out["metadata"]["annotations"] = annotations
    return scope.child(out, Phase.PREPARE)


# --- isolation ----------------------------------------------------------------------------------------------------


def policy(scope: Scope) -> Child:
    """What the component needs where everything else is denied (isolation Strict).

    In, on the component's ports: Pods of the same application; from any namespace on ports with routes (the ingress
    controller may be anywhere) and on the metrics port (so may Prometheus). Out: DNS; Pods of the same application;
    the internet, for applications call other people's APIs; what `egress` names. Not: other applications, and private
    networks, where the neighbours are. A component with a service account may call the API server, which has a private
    address.

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
        out.add(monitoring.port(scope))
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
    out += [_network(network) for network in scope.component.egress or ()]
    if scope.component.service_account_name is not None:
        out.append({"ports": [{"port": 443, "protocol": "TCP"}, {"port": 6443, "protocol": "TCP"}]})
    return out


def _network(network: Egress) -> Manifest:
    out: Manifest = {"to": [{"ipBlock": {"cidr": network.cidr}}]}
    if network.ports:
        out["ports"] = [{"port": number, "protocol": "TCP"} for number in network.ports]
    return out
