"""The account of sources that name none: one per namespace, which may write Homeport's kinds there and nothing else.

It belongs to all of them together: the first that needs it has it made, and it goes with the last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from homeport.api import labels
from homeport.api.conditions import Reason
from homeport.api.gitsource import GitSourceSpec
from homeport.api.labels import OwnerKey
from homeport.api.resource import Resource
from homeport.drivers.kubernetes import errors, types
from homeport.drivers.kubernetes.types import GVK
from homeport.outcome import Outcome, Stalled

if TYPE_CHECKING:
    from homeport.engine.context import Context

NAME = "homeport-source"
"""Of the ServiceAccount, its RoleBinding, and the ClusterRole (policies/roles.yaml) that it is bound to."""
MARK = {labels.MANAGED_BY: labels.MANAGER, labels.SOURCE_ACCOUNT: "true"}
_OBJECTS = (types.ROLE_BINDING, types.SERVICE_ACCOUNT)
"""In the order in which they go: without its rights the account is nobody's."""


def name_of(source: Resource[GitSourceSpec]) -> str:
    """The service account that a source acts as."""
    return source.spec.service_account_name or NAME


def user_of(source: Resource[GitSourceSpec]) -> str:
    """As the API server calls it."""
    return f"system:serviceaccount:{source.namespace}:{name_of(source)}"


def wanted(namespace: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The account and its binding."""
    metadata = {"name": NAME, "namespace": namespace, "labels": dict(MARK)}
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata,
        "automountServiceAccountToken": False,
    }
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": metadata,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": NAME},
        "subjects": [{"kind": "ServiceAccount", "name": NAME, "namespace": namespace}],
    }
    return account, binding


class Accounts:
    """Makes the account where it is needed, and removes it where it is no longer."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._ready: set[str] = set()

    async def ensure(self, source: Resource[GitSourceSpec]) -> Outcome | None:
        """Have the account there; why it can't be, if so. Reads once per namespace and process. Raises ApiError."""
        if source.spec.service_account_name is not None or source.namespace in self._ready:
            return None
        for manifest in wanted(source.namespace):
            gvk = types.gvk_of(manifest)
            found = await self._context.cluster.client.get(gvk, source.namespace, NAME)
            if found is not None and not _is_ours(found):
                return Stalled(
                    Reason.NAME_TAKEN,
                    f"{gvk.kind} {NAME} is in this namespace and isn't Homeport's; remove it, or name an account of "
                    "your own in spec.serviceAccountName",
                )
            if found is None or not _is_as(manifest, found):
                await self._context.cluster.client.apply(gvk, source.namespace, NAME, manifest)
        self._ready.add(source.namespace)
        return None

    def doubt(self, namespace: str) -> None:
        """Something was forbidden: look again before the next use whether the account is as it should be."""
        self._ready.discard(namespace)

    async def release(self, namespace: str, leaving: OwnerKey | None = None) -> None:
        """Remove the account if no source is left in the namespace but ``leaving``. Raises ApiError."""
        # Our own memory may have only some of them (--shard), and lag behind.
        there, _ = await self._context.cluster.client.list(types.GIT_SOURCE, namespace, metadata_only=True)
        if any(leaving is None or item["metadata"]["name"] != leaving.name for item in there):
            return
        self._ready.discard(namespace)
        for gvk in _OBJECTS:
            await self._remove(gvk, namespace)

    async def _remove(self, gvk: GVK, namespace: str) -> None:
        client = self._context.cluster.client
        found = await client.get(gvk, namespace, NAME, metadata_only=True)
        if found is not None and _is_ours(found):
            try:
                await client.delete(gvk, namespace, NAME, uid=found["metadata"]["uid"])
            except errors.Conflict:
                return  # another of the same name, made meanwhile


def _is_ours(manifest: dict[str, Any]) -> bool:
    found = manifest["metadata"].get("labels") or {}
    return all(found.get(key) == value for key, value in MARK.items())


def _is_as(manifest: dict[str, Any], found: dict[str, Any]) -> bool:
    keys = ("roleRef", "subjects", "automountServiceAccountToken")
    return all(manifest.get(key) == found.get(key) for key in keys)
