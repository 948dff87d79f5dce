"""In which order objects are applied and removed: what others stand on first.

The order of kinds is that of Helm and kustomize; as in Flux, definitions and namespaces are stages apart, for the
server can't even be asked about what needs them before they are there.
Source: https://github.com/helm/helm/blob/main/pkg/release/util/kind_sorter.go,
https://fluxcd.io/flux/components/kustomize/kustomizations/ ("Reconciliation")
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from homeport.api import labels
from homeport.plan.gitops.types import Wanted
from homeport.plan.types import ObjectId

T = TypeVar("T")

DEFINITIONS, NAMESPACES = 0, 1
"""The stages that others can't be asked about before they are applied."""

_STAGES: tuple[frozenset[str], ...] = (
    frozenset({"CustomResourceDefinition"}),
    frozenset({"Namespace"}),
    frozenset(
        {
            "ResourceQuota", "LimitRange", "PriorityClass", "StorageClass", "IngressClass", "GatewayClass",
            "RuntimeClass", "ServiceAccount", "ClusterRole", "Role", "NetworkPolicy", "Secret", "ConfigMap",
            "PersistentVolume",
        }
    ),
    frozenset({"ClusterRoleBinding", "RoleBinding", "PersistentVolumeClaim", "PodDisruptionBudget"}),
)  # fmt: skip
_OURS = {"Project": 4, "Environment": 4, "ProxmoxHost": 4, "CatalogItem": 4, "BackupRepository": 4, "GitSource": 7}
_SERVICES = 5
_REST = 6
_LAST = 7
_LAST_KINDS = frozenset(
    {
        "ValidatingWebhookConfiguration", "MutatingWebhookConfiguration", "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding", "APIService",
    }
)  # fmt: skip


def stage_of(id: ObjectId) -> int:
    """The stage that an object is applied in; stages are taken one after the other."""
    if id.group == labels.GROUP:
        return _OURS.get(id.kind, _REST)
    if id.kind in _LAST_KINDS:
        return _LAST
    for stage, kinds in enumerate(_STAGES):
        if id.kind in kinds:
            return stage
    return _SERVICES if id.kind == "Service" and not id.group else _REST


def ordered(wanted: Iterable[Wanted]) -> tuple[Wanted, ...]:
    """In the order of application; objects of one stage by kind and name."""
    return tuple(sorted(wanted, key=lambda each: (stage_of(each.id), each.id.kind, each.id.namespace, each.id.name)))


def stages(items: Sequence[tuple[ObjectId, T]]) -> list[list[T]]:
    """``items`` by stage, in the order of application; empty stages are left out."""
    found: dict[int, list[T]] = {}
    for id, item in items:
        found.setdefault(stage_of(id), []).append(item)
    return [found[stage] for stage in sorted(found)]


def reverse_stages(items: Sequence[tuple[ObjectId, T]]) -> list[list[T]]:
    """``items`` by stage, in the order of removal."""
    return stages(items)[::-1]
