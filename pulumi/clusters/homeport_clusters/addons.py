"""Add-ons of a cluster: which chart, which version, and which clusters have them unless the file says otherwise."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from homeport_clusters.model import Json, Model, Name

Chart = Annotated[str, Field(min_length=1, max_length=1024)]
Version = Annotated[str, Field(min_length=1, max_length=64)]


LEFTOVERS: dict[str, tuple[str, ...]] = {"cert-manager": ("Secret/cert-manager-webhook-ca",)}
"""What an add-on makes in its namespace and Helm doesn't know, as Kind/name: no reason for the namespace to stay.

cert-manager's webhook keeps its authority there: --dynamic-serving-ca-secret-name of the chart's webhook.
"""


class Addon(Model):
    """A Helm chart."""

    enabled: bool | None = None
    """Whether it is installed. Default: as its table in the README says for the cluster's type."""
    chart: Chart
    """The chart: a folder or .tgz (relative to cluster.yaml), an oci:// address, or a name in `repository`."""
    repository: Annotated[str, Field(pattern="^https?://", max_length=1024)] | None = None
    """The chart repository that the chart is in, when `chart` is a name."""
    version: Version | None = None
    """The chart's version. Not used for folders and files."""
    namespace: Name
    """The namespace of its release."""
    values: Json = Field(default_factory=dict)
    """The chart's values, over those that Homeport gives it."""
    timeout_seconds: Annotated[int, Field(ge=10, le=3600)] = 600
    """Seconds that its Pods may take to be ready."""


class Ingress(Addon):
    """The ingress controller: Traefik."""

    chart: Chart = "traefik"
    """The chart: a folder or .tgz (relative to cluster.yaml), an oci:// address, or a name in `repository`."""
    repository: Annotated[str, Field(pattern="^https?://", max_length=1024)] | None = "https://traefik.github.io/charts"
    """The chart repository that the chart is in, when `chart` is a name."""
    version: Version | None = "39.0.0"
    """The chart's version. Not used for folders and files."""
    namespace: Name = "traefik"
    """The namespace of its release."""


class CertManager(Addon):
    """cert-manager, which gets and renews certificates."""

    chart: Chart = "cert-manager"
    """The chart: a folder or .tgz (relative to cluster.yaml), an oci:// address, or a name in `repository`."""
    repository: Annotated[str, Field(pattern="^https?://", max_length=1024)] | None = "https://charts.jetstack.io"
    """The chart repository that the chart is in, when `chart` is a name."""
    version: Version | None = "v1.18.2"
    """The chart's version. Not used for folders and files."""
    namespace: Name = "cert-manager"
    """The namespace of its release."""


class MetricsServer(Addon):
    """metrics-server, which autoscaling and `kubectl top` read."""

    chart: Chart = "metrics-server"
    """The chart: a folder or .tgz (relative to cluster.yaml), an oci:// address, or a name in `repository`."""
    repository: Annotated[str, Field(pattern="^https?://", max_length=1024)] | None = (
        "https://kubernetes-sigs.github.io/metrics-server"
    )
    """The chart repository that the chart is in, when `chart` is a name."""
    version: Version | None = "3.13.0"
    """The chart's version. Not used for folders and files."""
    namespace: Name = "kube-system"
    """The namespace of its release."""


class StorageClass(Model):
    """A StorageClass, the default one, on a provisioner that is there."""

    enabled: bool | None = None
    """Whether it is made. Default: as its table in the README says for the cluster's type."""
    name: Name | None = None
    """Its name. Default: `homeport`."""
    provisioner: Annotated[str, Field(min_length=1, max_length=253)] | None = None
    """The provisioner, such as ebs.csi.aws.com. Default: the cloud's; elsewhere it is needed."""
    parameters: Annotated[dict[str, str], Field(max_length=50)] = Field(default_factory=dict)
    """The provisioner's parameters."""
    reclaim_policy: Annotated[str, Field(pattern="^(Delete|Retain)$")] = "Delete"
    """What becomes of a volume when its claim is deleted: Delete or Retain."""
    allow_volume_expansion: bool = True
    """Whether claims may grow."""
    default: bool = True
    """Whether claims that name no class get this one."""


class Addons(Model):
    """What a cluster comes with beside Homeport; each can be switched."""

    ingress: Ingress = Ingress()
    """The ingress controller."""
    cert_manager: CertManager = CertManager()
    """cert-manager."""
    metrics_server: MetricsServer = MetricsServer()
    """metrics-server."""
    storage_class: StorageClass = StorageClass()
    """The default StorageClass."""


BY_DEFAULT: dict[str, frozenset[str]] = {
    "kind": frozenset({"ingress", "certManager", "metricsServer"}),
    # k3s brings Traefik, metrics-server and local-path volumes itself.
    "k3s": frozenset({"certManager"}),
    # Nobody knows what is there already, and a second ingress controller is worse than none.
    "existing": frozenset(),
    "eks": frozenset({"ingress", "certManager", "metricsServer", "storageClass"}),
    # GKE and AKS run a metrics-server of their own and have a default StorageClass.
    "gke": frozenset({"ingress", "certManager"}),
    "aks": frozenset({"ingress", "certManager"}),
}
"""The add-ons that each type of cluster has unless the file says otherwise."""

PROVISIONERS: dict[str, tuple[str, dict[str, str]]] = {
    "eks": ("ebs.csi.aws.com", {"type": "gp3", "encrypted": "true"}),
    "gke": ("pd.csi.storage.gke.io", {"type": "pd-balanced"}),
    "aks": ("disk.csi.azure.com", {"skuName": "StandardSSD_LRS"}),
    "kind": ("rancher.io/local-path", {}),
    "k3s": ("rancher.io/local-path", {}),
}
"""The provisioner that each type of cluster has, and its parameters."""


def wanted(cluster_type: str, name: str, asked: bool | None) -> bool:
    """Whether a cluster gets an add-on."""
    return name in BY_DEFAULT[cluster_type] if asked is None else asked


def values(cluster_type: str, name: str, own: Json) -> Json:
    """An add-on's values: Homeport's for that type of cluster, under those of the file."""
    return merged(_VALUES.get(name, {}), merged(_TYPE_VALUES.get((cluster_type, name), {}), own))


_VALUES: dict[str, Json] = {
    # The chart installs its definitions only where it is asked to.
    "cert-manager": {"crds": {"enabled": True, "keep": True}},
    "ingress": {"ingressClass": {"enabled": True, "isDefaultClass": True}},
}
_TYPE_VALUES: dict[tuple[str, str], Json] = {
    # The node's container forwards these ports to this machine.
    ("kind", "ingress"): {
        "ports": {"web": {"hostPort": 80}, "websecure": {"hostPort": 443}},
        "service": {"type": "ClusterIP"},
        "nodeSelector": {"homeport.dev/ingress": "true"},
        "tolerations": [{"key": "node-role.kubernetes.io/control-plane", "operator": "Exists", "effect": "NoSchedule"}],
        "updateStrategy": {"rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}},
    },
    # Kubelets of kind have certificates that nobody signed.
    ("kind", "metrics-server"): {"args": ["--kubelet-insecure-tls"]},
}


def merged(under: Json, over: Json) -> Json:
    """``over`` on ``under``, block by block; lists are replaced."""
    out = dict(under)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(out.get(key), dict)
        out[key] = merged(out[key], value) if both else value
    return out


def storage_class(cluster_type: str, spec: StorageClass) -> Json:
    """The StorageClass. Raises ValueError when nobody knows its provisioner."""
    provisioner, parameters = PROVISIONERS.get(cluster_type, (None, {}))
    if spec.provisioner is None and provisioner is None:
        raise ValueError(f"addons.storageClass.provisioner is needed for clusters of type {cluster_type}")
    annotations = {"storageclass.kubernetes.io/is-default-class": "true"} if spec.default else {}
    given = {**(parameters if spec.provisioner in (None, provisioner) else {}), **spec.parameters}
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": spec.name or "homeport", "annotations": annotations},
        "provisioner": spec.provisioner or provisioner,
        # None at all, rather than empty ones: the API server takes the second for a change of the first.
        **({"parameters": given} if given else {}),
        "reclaimPolicy": spec.reclaim_policy,
        "allowVolumeExpansion": spec.allow_volume_expansion,
        "volumeBindingMode": "WaitForFirstConsumer",
    }
