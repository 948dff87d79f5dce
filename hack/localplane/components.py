"""The components' command lines: a development cluster that is quick, with nothing of what makes it real left out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from localplane.certificates import CLIENTS, Certificates
from localplane.ports import Ports
from localplane.processes import write_atomically

STAGES = Path(__file__).with_name("stages.yaml")
SERVICE_RANGE = "10.96.0.0/12"
POD_RANGE = "10.244.0.1/16"
NODE_LABEL = "homeport.dev/node=kwok"
KWOK_PARTS = 2
KEY_PAIR = {"certificate": ".crt", "key": ".key"}


@dataclass(frozen=True)
class Component:
    """One process of the control plane: how it's started and how it's asked whether it is well."""

    name: str
    command: tuple[str, ...]
    port: int
    health: str
    tls: bool


@dataclass(frozen=True)
class Layout:
    """Where everything of one control plane is."""

    root: Path

    @property
    def kubeconfig(self) -> Path:
        """The administrator's."""
        return self.root / "kubeconfig"

    @property
    def certificates(self) -> Certificates:
        """The certificate authority and what it signed."""
        return Certificates(self.root / "certs")

    @property
    def data(self) -> Path:
        """etcd's."""
        return self.root / "data" / "etcd"

    @property
    def logs(self) -> Path:
        """A log per process, and audit.log."""
        return self.root / "logs"

    @property
    def pids(self) -> Path:
        """A record per process."""
        return self.root / "pids"

    @property
    def audit_log(self) -> Path:
        """Requests that were answered, a JSON object per line, when auditing is on."""
        return self.logs / "audit.log"

    def client_kubeconfig(self, name: str) -> Path:
        """A component's own."""
        return self.root / "certs" / f"{name}.kubeconfig"


PORTS = ("etcd", "etcd-peer", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok")


def components(
    layout: Layout, binaries: dict[str, Path], ports: Ports, audit: str, relay: Path | None = None
) -> list[Component]:
    """All components in the order in which they start; `relay` is the way to a real node's network."""
    return [
        _etcd(layout, binaries, ports),
        _apiserver(layout, binaries, ports, audit, relay),
        _controller_manager(layout, binaries, ports),
        _scheduler(layout, binaries, ports),
        _kwok(layout, binaries, ports),
    ]


def _etcd(layout: Layout, binaries: dict[str, Path], ports: Ports) -> Component:
    client, peer = (f"http://127.0.0.1:{ports[name]}" for name in ("etcd", "etcd-peer"))
    command = [
        binaries["etcd"],
        f"--data-dir={layout.data}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--unsafe-no-fsync",
        "--log-level=warn",
        "--quota-backend-bytes=4294967296",
    ]
    return Component("etcd", tuple(map(str, command)), ports["etcd"], "/health", tls=False)


def _apiserver(layout: Layout, binaries: dict[str, Path], ports: Ports, audit: str, relay: Path | None) -> Component:
    certs = layout.certificates
    command = [
        binaries["kube-apiserver"],
        f"--etcd-servers=http://127.0.0.1:{ports['etcd']}",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        "--endpoint-reconciler-type=none",
        f"--secure-port={ports['kube-apiserver']}",
        *_serving(certs),
        f"--client-ca-file={certs.file('ca.crt')}",
        "--authorization-mode=Node,RBAC",
        "--allow-privileged=true",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-key-file={certs.file('sa.pub')}",
        f"--service-account-signing-key-file={certs.file('sa.key')}",
        f"--service-cluster-ip-range={SERVICE_RANGE}",
        "--max-requests-inflight=1000",
        "--max-mutating-requests-inflight=500",
        "--shutdown-delay-duration=0s",
    ]
    if audit:
        policy = layout.root / "audit-policy.json"
        write_atomically(policy, json.dumps(_audit_policy(audit)))
        command += [f"--audit-policy-file={policy}", f"--audit-log-path={layout.audit_log}"]
        command += ["--audit-log-mode=blocking", "--audit-log-maxsize=200", "--audit-log-maxbackup=2"]
    if relay:
        egress = layout.root / "egress.json"
        write_atomically(egress, json.dumps(_egress(relay)))
        command += [f"--egress-selector-config-file={egress}", "--kubelet-preferred-address-types=InternalIP"]
        command += [f"--kubelet-client-{name}={certs.file('admin' + end)}" for name, end in KEY_PAIR.items()]
    return Component("kube-apiserver", tuple(map(str, command)), ports["kube-apiserver"], "/readyz", tls=True)


def _egress(relay: Path) -> dict[str, object]:
    """Sends the API server's connections to kubelets and Services to the relay."""
    connection = {"proxyProtocol": "HTTPConnect", "transport": {"uds": {"udsName": str(relay)}}}
    return {
        "apiVersion": "apiserver.k8s.io/v1beta1",
        "kind": "EgressSelectorConfiguration",
        "egressSelections": [{"name": "cluster", "connection": connection}],
    }


def _audit_policy(audit: str) -> dict[str, object]:
    """Who wrote what with which outcome; Events and reads are left out unless asked for ("all")."""
    events = [{"group": group, "resources": ["events"]} for group in ("", "events.k8s.io")]
    rules: list[dict[str, object]] = [{"level": "None", "nonResourceURLs": ["/*"]}]
    if audit != "all":
        rules.append({"level": "None", "resources": events})
        rules.append({"level": "None", "verbs": ["get", "list", "watch"]})
    rules.append({"level": "Metadata"})
    stages = ["RequestReceived", "ResponseStarted"]
    return {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": stages, "rules": rules}


def _controller_manager(layout: Layout, binaries: dict[str, Path], ports: Ports) -> Component:
    certs = layout.certificates
    syncs = {
        "deployment": 20, "replicaset": 20, "statefulset": 20, "daemonset": 10, "job": 20, "cron-job": 10,
        "service-endpoint": 20, "endpoint": 10, "gc": 40, "namespace": 20, "resource-quota": 10,
        "serviceaccount-token": 10, "horizontal-pod-autoscaler": 10,
    }  # fmt: skip
    command = [
        binaries["kube-controller-manager"],
        f"--kubeconfig={layout.client_kubeconfig('kube-controller-manager')}",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
        f"--secure-port={ports['kube-controller-manager']}",
        # Quotas are counted anew this often; of kinds that were only just installed that is when they first are.
        "--resource-quota-sync-period=10s",
        # A machine that slept, or an API server that was held, is no reason to take kwok's nodes for dead: their Pods
        # would be marked not ready, and kwok, unlike a kubelet, never marks them ready again.
        "--node-monitor-grace-period=10m",
        *_serving(certs),
        f"--root-ca-file={certs.file('ca.crt')}",
        f"--service-account-private-key-file={certs.file('sa.key')}",
        f"--cluster-signing-cert-file={certs.file('ca.crt')}",
        f"--cluster-signing-key-file={certs.file('ca.key')}",
        "--use-service-account-credentials=true",
        "--kube-api-qps=500",
        "--kube-api-burst=1000",
        *(f"--concurrent-{name}-syncs={count}" for name, count in syncs.items()),
    ]
    port = ports["kube-controller-manager"]
    return Component("kube-controller-manager", tuple(map(str, command)), port, "/healthz", tls=True)


def _scheduler(layout: Layout, binaries: dict[str, Path], ports: Ports) -> Component:
    command = [
        binaries["kube-scheduler"],
        f"--kubeconfig={layout.client_kubeconfig('kube-scheduler')}",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
        f"--secure-port={ports['kube-scheduler']}",
        *_serving(layout.certificates),
        "--kube-api-qps=500",
        "--kube-api-burst=1000",
    ]
    return Component("kube-scheduler", tuple(map(str, command)), ports["kube-scheduler"], "/readyz", tls=True)


def _kwok(layout: Layout, binaries: dict[str, Path], ports: Ports) -> Component:
    command = [
        binaries["kwok"],
        f"--kubeconfig={layout.client_kubeconfig('kwok')}",
        f"--config={STAGES}",
        f"--manage-nodes-with-label-selector={NODE_LABEL}",
        f"--cidr={POD_RANGE}",
        "--node-ip=10.0.0.1",
        "--node-lease-duration-seconds=40",
        f"--server-address=127.0.0.1:{ports['kwok']}",
    ]
    return Component("kwok", tuple(map(str, command)), ports["kwok"], "/healthz", tls=False)


def _serving(certs: Certificates) -> list[str]:
    return [f"--tls-cert-file={certs.file('server.crt')}", f"--tls-private-key-file={certs.file('server.key')}"]


def write_kubeconfigs(layout: Layout, port: int) -> None:
    """Each component's kubeconfig; the administrator's is written when there is something to talk to."""
    for name, identity in CLIENTS.items():
        layout.certificates.kubeconfig(layout.client_kubeconfig(name), identity, port)


def node(index: int) -> dict[str, object]:
    """A node that kwok plays, with room for thousands of Pods."""
    name = f"kwok-{index}"
    capacity = {"cpu": "256", "memory": "1Ti", "pods": "10000", "ephemeral-storage": "4Ti"}
    zone = f"zone-{'abc'[index % 3]}"
    key, _, value = NODE_LABEL.partition("=")
    labels = {
        key: value,
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "topology.kubernetes.io/zone": zone,
        "topology.kubernetes.io/region": "local",
    }
    info = dict.fromkeys(("bootID", "kernelVersion", "machineID", "osImage", "systemUUID", "kubeProxyVersion"), "kwok")
    info |= {
        "architecture": "amd64",
        "operatingSystem": "linux",
        "containerRuntimeVersion": "kwok://",
        "kubeletVersion": "kwok",
    }
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "status": {"allocatable": capacity, "capacity": capacity, "nodeInfo": info},
    }


STORAGE_CLASS: dict[str, object] = {
    "apiVersion": "storage.k8s.io/v1",
    "kind": "StorageClass",
    "metadata": {"name": "standard", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
    "provisioner": "homeport.dev/kwok",
    "reclaimPolicy": "Delete",
    "volumeBindingMode": "Immediate",
    "allowVolumeExpansion": True,
}
