"""What is watched of a cluster: which kinds, filtered how, trimmed to what, found by what."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from functools import partial

from homeport.api import labels as names
from homeport.drivers.kubernetes import types
from homeport.drivers.kubernetes.informer import Index, Trim
from homeport.drivers.kubernetes.types import GVK, Manifest

OURS = f"{names.MANAGED_BY}={names.MANAGER}"
OTHERS = f"{names.MANAGED_BY}!={names.MANAGER}"


def of_plane(selector: str, plane: str) -> str:
    """``selector``, narrowed to what one control plane made: ``plane`` as ``labels.plane_of`` tells it."""
    return f"{selector},{names.CONTROL_PLANE}={plane}" if plane else f"{selector},!{names.CONTROL_PLANE}"


def strangers(plane: str) -> tuple[str, ...]:
    """Selectors that together find what this control plane didn't make."""
    return (f"{names.CONTROL_PLANE}!={plane}",) if plane else (OTHERS, f"{OURS},{names.CONTROL_PLANE}")


@dataclass(frozen=True, slots=True)
class WatchSpec:
    """One kind to watch. ``role`` says what for: children of ours, pods of ours, or versions of what users made.

    An ``optional`` kind is watched only where the API server serves it. One that is optional or ``soft`` isn't waited
    for when it may not be read: what it would tell counts as not there.
    """

    gvk: GVK
    labels: str | None = OURS
    role: str = "child"
    metadata_only: bool = False
    trim: Trim | None = None
    index: Index | None = names.owner_of
    optional: bool = False
    soft: bool = False

    @property
    def name(self) -> str:
        """As it appears in metrics and health: the kind, with its role unless that is "child"."""
        return self.gvk.kind if self.role == "child" else f"{self.gvk.kind}/{self.role}"


_POD_METADATA = (
    "name", "namespace", "labels", "uid", "resourceVersion", "ownerReferences", "deletionTimestamp",
    "creationTimestamp",
)  # fmt: skip


def trim_pod(pod: Manifest) -> Manifest:
    """What health needs of a Pod: whose it is, where it runs, how it is. Its spec is mostly a copy of the template."""
    metadata = pod["metadata"]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {name: metadata[name] for name in _POD_METADATA if name in metadata},
        "spec": {"nodeName": pod.get("spec", {}).get("nodeName")},
        "status": pod.get("status") or {},
    }


def trim_version(manifest: Manifest) -> Manifest:
    """What is kept of Secrets and ConfigMaps that users made: never their data, only that they changed."""
    metadata = manifest["metadata"]
    annotations = metadata.get("annotations") or {}
    kept = {
        "namespace": metadata.get("namespace", ""),
        "name": metadata["name"],
        "uid": metadata.get("uid"),
        "resourceVersion": metadata["resourceVersion"],
        "labels": metadata.get("labels") or {},
        "annotations": {
            key: text
            for key, text in annotations.items()
            if key.startswith(f"{names.GROUP}/") or key == names.SERVICE_ACCOUNT
        },
    }
    return {"apiVersion": manifest["apiVersion"], "kind": manifest["kind"], "metadata": kept}


def pod_index(pod: Manifest) -> Hashable | None:
    """Pods are found by project and application."""
    found = pod["metadata"].get("labels") or {}
    return found.get(names.PROJECT), found.get(names.APPLICATION)


def namespace_index(manifest: Manifest) -> Hashable | None:
    """By namespace."""
    namespace: str = manifest["metadata"].get("namespace", "")
    return namespace


CHILD_KINDS = (
    types.NAMESPACE,
    types.CONFIG_MAP,
    types.SECRET,
    types.SERVICE,
    types.SERVICE_ACCOUNT,
    types.PERSISTENT_VOLUME_CLAIM,
    types.DEPLOYMENT,
    types.STATEFUL_SET,
    types.JOB,
    types.CRON_JOB,
    types.INGRESS,
    types.ENDPOINT_SLICE,
    types.NETWORK_POLICY,
    types.HORIZONTAL_POD_AUTOSCALER,
    types.POD_DISRUPTION_BUDGET,
    types.RESOURCE_QUOTA,
    types.LIMIT_RANGE,
    types.ROLE,
    types.ROLE_BINDING,
)
OPTIONAL_KINDS = (
    types.HTTP_ROUTE,
    types.GATEWAY,
    types.MIDDLEWARE,
    types.SERVICE_MONITOR,
    types.POD_MONITOR,
    types.LXC_CONTAINER,
    types.VOLUME_SNAPSHOT,
)
CLASSES = (types.INGRESS_CLASS, types.GATEWAY_CLASS, types.STORAGE_CLASS, types.VOLUME_SNAPSHOT_CLASS)


def default_watches(plane: str = "") -> list[WatchSpec]:
    """What the engine needs to see of a cluster, in which its control plane is called ``plane``."""
    ours = partial(WatchSpec, labels=of_plane(OURS, plane), index=partial(names.owner_of, plane=plane))
    versions = partial(
        WatchSpec, labels=OTHERS, role="version", metadata_only=True, trim=trim_version, index=namespace_index
    )
    classes = partial(WatchSpec, labels=None, role="class", index=None)
    return [
        # All namespaces: a name that somebody else has taken must be seen before it is written to.
        *(ours(gvk, labels=None) if gvk is types.NAMESPACE else ours(gvk) for gvk in CHILD_KINDS),
        *(ours(gvk, optional=True) for gvk in OPTIONAL_KINDS),
        WatchSpec(types.POD, labels=of_plane(names.APPLICATION, plane), role="pod", trim=trim_pod, index=pod_index),
        versions(types.SECRET),
        versions(types.CONFIG_MAP),
        classes(types.INGRESS_CLASS, soft=True),
        classes(types.GATEWAY_CLASS, optional=True),
        classes(types.STORAGE_CLASS, soft=True),
        classes(types.VOLUME_SNAPSHOT_CLASS, optional=True),
        WatchSpec(
            types.CUSTOM_RESOURCE_DEFINITION,
            labels=None,
            role="definition",
            metadata_only=True,
            trim=trim_version,
            index=None,
            soft=True,
        ),
    ]
