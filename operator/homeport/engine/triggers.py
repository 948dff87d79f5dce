"""Who has to be looked at when something changes. Pure bookkeeping: every rule puts keys into the queue, nothing else.

=============================  =========================================================
what changed                   who is looked at
=============================  =========================================================
a Project's spec               it, its Environments, its Applications
an Environment's spec          it, its siblings, the project's Applications
an Environment's namespace     the project's Applications
an Application's spec          it
anybody's status               the Project, a little later
a child                        its owner, if that makes a difference
a Pod                          its Application, if what is wrong with it changed
a Secret or ConfigMap          whoever reads it
an object that goes            whoever waits for its name
a Namespace                    the Environment it is for, the Project whose home it is
=============================  =========================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from homeport.api import labels
from homeport.api.labels import OwnerKey
from homeport.drivers.kubernetes import types
from homeport.drivers.kubernetes.types import GVK
from homeport.engine.context import Context
from homeport.engine.queue import CHILD, RESYNC, USER
from homeport.engine.store import key_of
from homeport.plan.health import REPORTING_KINDS, pod_trouble, verdict

Body = Mapping[str, Any]

SUMMARY_DELAY = 1.0
"""Seconds by which a Project's summary may lag behind what it sums up: many changes make one write."""
CHILD_DELAY = 0.05
"""Seconds in which a child's events are gathered into one look."""


def resource_changed(before: Body | None, after: Body | None, context: Context) -> None:
    """A resource of ours appeared, changed or went."""
    body = after or before
    if body is None:
        return
    key = key_of(body)
    if after is None or before is None or _asks(before, after):
        context.enqueue(key, USER)
        _wake_dependents(key, context)
        return
    if context.written.get(key) != after["metadata"].get("resourceVersion") and _status_differs(before, after):
        context.enqueue(key, RESYNC)
    if _status_differs(before, after):
        _wake_project(key, context)
        if key.kind == "Environment" and _namespace(before) != _namespace(after):
            _wake(context, "Application", key.namespace)


def _asks(before: Body, after: Body) -> bool:
    """Whether a person (or Git) changed anything that we act on."""
    old, new = before["metadata"], after["metadata"]
    return any(
        old.get(field) != new.get(field)
        for field in ("uid", "generation", "annotations", "labels", "deletionTimestamp")
    )


def _wake_dependents(key: OwnerKey, context: Context) -> None:
    if key.kind == "Project":
        _wake(context, "Environment", key.namespace)
        _wake(context, "Application", key.namespace)
        return
    if key.kind == "Environment":
        _wake(context, "Environment", key.namespace)
        _wake(context, "Application", key.namespace)
    if key.kind == "Application":
        for env in context.store.keys("Environment", key.namespace):
            body = context.store.body(env)
            if body is not None and body["metadata"].get("deletionTimestamp"):
                context.enqueue(env, CHILD)
    _wake_project(key, context)


def _wake(context: Context, kind: str, namespace: str) -> None:
    for key in context.store.keys(kind, namespace):
        context.enqueue(key, USER)


def _wake_project(key: OwnerKey, context: Context) -> None:
    if key.kind != "Project":
        context.enqueue(OwnerKey("Project", key.namespace, key.namespace), RESYNC, SUMMARY_DELAY)


def _status_differs(before: Body, after: Body) -> bool:
    return before.get("status") != after.get("status")


def _namespace(body: Body) -> Any:
    return (body.get("status") or {}).get("namespace")


def cluster_changed(gvk: GVK, before: Body | None, after: Body | None, context: Context) -> None:
    """Something in the cluster appeared, changed or went: a child, a Pod, a Secret, a Namespace."""
    body = after or before
    if body is None:
        return
    if gvk is types.POD:
        _pod_changed(before, after, context)
        return
    if after is None or gvk in (types.SECRET, types.CONFIG_MAP):
        metadata = body["metadata"]
        for reader in context.readers.get((gvk.kind, metadata.get("namespace", ""), metadata["name"]), ()):
            context.enqueue(reader, CHILD)
    if gvk is types.NAMESPACE:
        _namespace_changed(before, after, context)
    owner = labels.owner_of(body)
    if before is not None and after is not None:
        former = labels.owner_of(before)
        if former is not None and former != owner:
            context.enqueue(former, CHILD, CHILD_DELAY)
    if owner is not None and _matters(gvk, before, after):
        context.enqueue(owner, CHILD, CHILD_DELAY)


def _matters(gvk: GVK, before: Body | None, after: Body | None) -> bool:
    """Whether a child's change can make a difference: not what we wrote ourselves, not a count that went up by one."""
    if after is None:
        return True
    metadata = after["metadata"]
    if before is None:
        # Ours, just made: what it is was known before it came back, and how it is follows in its status.
        # A CronJob has none until its first run.
        return gvk is types.CRON_JOB or (gvk.kind in REPORTING_KINDS and bool(after.get("status")))
    if before["metadata"].get("labels") != metadata.get("labels") or _declared(before) != _declared(after):
        return True
    return gvk.kind in REPORTING_KINDS and verdict(before) != verdict(after)


def _declared(body: Body) -> tuple[Any, ...]:
    """What a person can change on a child."""
    metadata = body["metadata"]
    content = metadata.get("generation")
    if content is None:
        content = {key: value for key, value in body.items() if key not in ("metadata", "status")}
    return content, metadata.get("annotations"), metadata.get("deletionTimestamp")


def _pod_changed(before: Body | None, after: Body | None, context: Context) -> None:
    body = after or before
    assert body is not None
    found = body["metadata"].get("labels") or {}
    project, application = found.get(labels.PROJECT), found.get(labels.APPLICATION)
    if project is None or application is None:
        return
    was = pod_trouble([before], None) if before is not None else ""
    now = pod_trouble([after], None) if after is not None else ""
    if was != now:
        context.enqueue(OwnerKey("Application", project, application), CHILD, CHILD_DELAY)


def _namespace_changed(before: Body | None, after: Body | None, context: Context) -> None:
    """A namespace that appears, goes, or is relabelled may be one that an Environment waits for."""
    if before is not None and after is not None:
        same_labels = before["metadata"].get("labels") == after["metadata"].get("labels")
        if same_labels and before["metadata"].get("deletionTimestamp") == after["metadata"].get("deletionTimestamp"):
            return
    body = after or before
    assert body is not None
    name = body["metadata"]["name"]
    for key in context.store.keys("Environment"):
        if name in (key.namespace, f"{key.namespace}-{key.name}") or _names_namespace(key, name, context):
            context.enqueue(key, CHILD)
    project = OwnerKey("Project", name, name)
    if context.store.body(project) is not None:
        context.enqueue(project, CHILD)


def _names_namespace(key: OwnerKey, name: str, context: Context) -> bool:
    body = context.store.body(key)
    place = ((body or {}).get("spec") or {}).get("kubernetes") or {}
    return place.get("namespace") == name
