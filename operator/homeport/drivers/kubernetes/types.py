"""Every kind that Homeport writes or watches, and where it lives in the API."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

Manifest = dict[str, Any]
"""One Kubernetes object as JSON: apiVersion, kind, metadata and the rest."""

Manifests = list[Manifest]
"""Several of them; named, since the classes that have a method ``list`` cannot say it otherwise."""

_PLAIN = re.compile(r"[A-Za-z0-9_:-][A-Za-z0-9._:-]*").fullmatch


def _segment(name: str) -> str:
    """``name`` as one segment of a URL: a name out of a user's patch must not be able to leave its collection."""
    if _PLAIN(name):
        return name
    if name in {"", ".", ".."}:
        raise ValueError(f"{name!r} is not the name of a Kubernetes object")
    return quote(name, safe=":")


class GVK(NamedTuple):
    """A kind of the Kubernetes API: group ("" for core), version, kind, plural as in URLs, and its scope."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """As manifests spell it: ``apps/v1``, or ``v1`` for the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """The URL path of an object; of the collection when ``name`` is None; of all namespaces without ``namespace``.

        ``namespace`` is ignored for cluster-scoped kinds. Raises ValueError for a name that no object can have.
        """
        path = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        if namespace and self.namespaced:
            path = f"{path}/namespaces/{_segment(namespace)}"
        path = f"{path}/{self.plural}"
        if name is not None:
            path = f"{path}/{_segment(name)}"
        return path if subresource is None else f"{path}/{subresource}"

    def __str__(self) -> str:
        return f"{self.kind}.{self.api_version}"


NAMESPACE = GVK("", "v1", "Namespace", "namespaces", False)
CONFIG_MAP = GVK("", "v1", "ConfigMap", "configmaps")
SECRET = GVK("", "v1", "Secret", "secrets")
SERVICE = GVK("", "v1", "Service", "services")
SERVICE_ACCOUNT = GVK("", "v1", "ServiceAccount", "serviceaccounts")
PERSISTENT_VOLUME_CLAIM = GVK("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims")
PERSISTENT_VOLUME = GVK("", "v1", "PersistentVolume", "persistentvolumes", False)
POD = GVK("", "v1", "Pod", "pods")
NODE = GVK("", "v1", "Node", "nodes", False)
EVENT = GVK("", "v1", "Event", "events")
RESOURCE_QUOTA = GVK("", "v1", "ResourceQuota", "resourcequotas")
LIMIT_RANGE = GVK("", "v1", "LimitRange", "limitranges")
DEPLOYMENT = GVK("apps", "v1", "Deployment", "deployments")
STATEFUL_SET = GVK("apps", "v1", "StatefulSet", "statefulsets")
DAEMON_SET = GVK("apps", "v1", "DaemonSet", "daemonsets")
REPLICA_SET = GVK("apps", "v1", "ReplicaSet", "replicasets")
CONTROLLER_REVISION = GVK("apps", "v1", "ControllerRevision", "controllerrevisions")
JOB = GVK("batch", "v1", "Job", "jobs")
CRON_JOB = GVK("batch", "v1", "CronJob", "cronjobs")
INGRESS = GVK("networking.k8s.io", "v1", "Ingress", "ingresses")
INGRESS_CLASS = GVK("networking.k8s.io", "v1", "IngressClass", "ingressclasses", False)
ENDPOINT_SLICE = GVK("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices")
NETWORK_POLICY = GVK("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies")
HORIZONTAL_POD_AUTOSCALER = GVK("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers")
POD_DISRUPTION_BUDGET = GVK("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets")
ROLE = GVK("rbac.authorization.k8s.io", "v1", "Role", "roles")
ROLE_BINDING = GVK("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings")
CLUSTER_ROLE = GVK("rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles", False)
CLUSTER_ROLE_BINDING = GVK("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding", "clusterrolebindings", False)
LEASE = GVK("coordination.k8s.io", "v1", "Lease", "leases")
STORAGE_CLASS = GVK("storage.k8s.io", "v1", "StorageClass", "storageclasses", False)
VOLUME_SNAPSHOT = GVK("snapshot.storage.k8s.io", "v1", "VolumeSnapshot", "volumesnapshots")
VOLUME_SNAPSHOT_CLASS = GVK("snapshot.storage.k8s.io", "v1", "VolumeSnapshotClass", "volumesnapshotclasses", False)
PRIORITY_CLASS = GVK("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses", False)
HTTP_ROUTE = GVK("gateway.networking.k8s.io", "v1", "HTTPRoute", "httproutes")
GATEWAY = GVK("gateway.networking.k8s.io", "v1", "Gateway", "gateways")
GATEWAY_CLASS = GVK("gateway.networking.k8s.io", "v1", "GatewayClass", "gatewayclasses", False)
MIDDLEWARE = GVK("traefik.io", "v1alpha1", "Middleware", "middlewares")
SERVICE_MONITOR = GVK("monitoring.coreos.com", "v1", "ServiceMonitor", "servicemonitors")
POD_MONITOR = GVK("monitoring.coreos.com", "v1", "PodMonitor", "podmonitors")
CUSTOM_RESOURCE_DEFINITION = GVK(
    "apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", False
)
VALIDATING_ADMISSION_POLICY = GVK(
    "admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicy", "validatingadmissionpolicies", False
)
VALIDATING_ADMISSION_POLICY_BINDING = GVK(
    "admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings", False
)
PROJECT = GVK("homeport.dev", "v1alpha1", "Project", "projects")
ENVIRONMENT = GVK("homeport.dev", "v1alpha1", "Environment", "environments")
APPLICATION = GVK("homeport.dev", "v1alpha1", "Application", "applications")
LXC_CONTAINER = GVK("homeport.dev", "v1alpha1", "LXCContainer", "lxccontainers", True)
PROXMOX_HOST = GVK("homeport.dev", "v1alpha1", "ProxmoxHost", "proxmoxhosts", False)
CATALOG_ITEM = GVK("homeport.dev", "v1alpha1", "CatalogItem", "catalogitems")
BACKUP_REPOSITORY = GVK("homeport.dev", "v1alpha1", "BackupRepository", "backuprepositories")
BACKUP = GVK("homeport.dev", "v1alpha1", "Backup", "backups")
BACKUP_RUN = GVK("homeport.dev", "v1alpha1", "BackupRun", "backupruns")
RESTORE = GVK("homeport.dev", "v1alpha1", "Restore", "restores")
GIT_SOURCE = GVK("homeport.dev", "v1alpha1", "GitSource", "gitsources")
IMAGE_UPDATE = GVK("homeport.dev", "v1alpha1", "ImageUpdate", "imageupdates")
NOTIFICATION = GVK("homeport.dev", "v1alpha1", "Notification", "notifications")

KINDS: tuple[GVK, ...] = tuple(value for value in list(globals().values()) if isinstance(value, GVK))
"""All of the above, in that order."""

_BY_KIND: dict[tuple[str, str], GVK] = {(gvk.api_version, gvk.kind): gvk for gvk in KINDS}


def by_kind(api_version: str, kind: str) -> GVK:
    """The kind that a manifest's ``apiVersion`` and ``kind`` name. Raises KeyError that says what is known instead."""
    try:
        return _BY_KIND[api_version, kind]
    except KeyError:
        same = sorted(gvk.api_version for gvk in KINDS if gvk.kind == kind)
        hint = f"; {kind} is known as {', '.join(same)}" if same else "; no such kind is managed by Homeport"
        raise KeyError(f"{kind} of apiVersion {api_version!r} is not a kind that Homeport writes{hint}") from None


def canonical(gvk: GVK) -> GVK:
    """The very object above that ``gvk`` equals, where there is one."""
    known = _BY_KIND.get((gvk.api_version, gvk.kind))
    return known if known == gvk else gvk


def gvk_of(manifest: Mapping[str, Any]) -> GVK:
    """The kind of a manifest. Raises KeyError when that is none which Homeport writes."""
    return by_kind(str(manifest.get("apiVersion", "")), str(manifest.get("kind", "")))


def version_reached(have: str, wanted: str) -> bool:
    """Whether resourceVersion ``have`` is ``wanted`` or newer.

    Comparing them as integers is part of the API's contract since Kubernetes 1.35 and has been true of etcd
    before; for one that isn't a number, only equality counts.
    """
    if have == wanted:
        return True
    try:
        return int(have) >= int(wanted)
    except ValueError:
        return False
