"""A project's own manifests as one stream of YAML: what ``kubectl apply`` would make it of again, Secrets too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from homeport.api import labels
from homeport.api.conditions import Reason
from homeport.drivers.kubernetes import types
from homeport.engine.context import Context
from homeport.outcome import Outcome, Stalled

FILE = "manifests.yaml"
KINDS = (
    "Project",
    "CatalogItem",
    "Environment",
    "Application",
    "LXCContainer",
    "BackupRepository",
    "Backup",
)
"""In this order, though any order works."""
LIMIT = 900 * 1024
"""Bytes: they go to the runner in a Secret, which may hold 1 MiB with its keys."""
_NOT_OURS = frozenset({"kubernetes.io/service-account-token", "helm.sh/release.v1", "bootstrap.kubernetes.io/token"})
_ANNOTATIONS = ("kubectl.kubernetes.io/last-applied-configuration", labels.RECONCILE_AT, labels.CONFIRM_DELETE)


async def read(namespace: str, context: Context) -> bytes | Outcome:
    """Everything of the project in ``namespace``. Raises ApiError when its Secrets can't be read."""
    there = [body for kind in KINDS for key in context.store.keys(kind, namespace)
             if (body := context.store.body(key)) is not None and labels.owner_of(body) is None]  # fmt: skip
    secrets, _ = await context.cluster.client.list(types.SECRET, namespace)
    bodies = [*(plain(body) for body in secrets if _is_a_users(body)), *map(plain, there)]
    stream = yaml.safe_dump_all(bodies, sort_keys=False, allow_unicode=True).encode()
    if len(stream) > LIMIT:
        large = max(bodies, key=lambda body: len(yaml.safe_dump(body)))
        return Stalled(
            Reason.INVALID_SPEC,
            f"the project's manifests are {len(stream) // 1024} KiB, and {LIMIT // 1024} KiB can be backed up; the "
            f"largest is {large['kind']} {large['metadata']['name']}: keep what is large in Git or a volume",
        )
    return stream


def _is_a_users(secret: Mapping[str, Any]) -> bool:
    """Whether a Secret is neither made anew by itself nor a token that is good nowhere else."""
    return secret.get("type") not in _NOT_OURS and labels.RUNNER not in (secret["metadata"].get("labels") or {})


def plain(body: Mapping[str, Any]) -> dict[str, Any]:
    """An object without what the API server and the control plane say of it."""
    metadata = body["metadata"]
    kept: dict[str, Any] = {name: metadata[name] for name in ("name", "namespace") if metadata.get(name)}
    annotations = {key: text for key, text in (metadata.get("annotations") or {}).items() if key not in _ANNOTATIONS}
    for name, found in (("labels", metadata.get("labels")), ("annotations", annotations)):
        if found:
            kept[name] = dict(found)
    rest = {key: value for key, value in body.items() if key not in ("apiVersion", "kind", "metadata", "status")}
    return {"apiVersion": body["apiVersion"], "kind": body["kind"], "metadata": kept, **rest}
