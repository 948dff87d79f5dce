"""Who has to be looked at when something changes. Pure bookkeeping: every rule puts keys into the queue, nothing else.

=============================  =========================================================
what changed                   who is looked at
=============================  =========================================================
a Project's spec               it, its Environments, Applications, LXCContainers and GitSources
an Environment's spec          it, its siblings, the project's Applications, its LXCContainers
what a Restore quiesces        the Applications that it is of
an LXCContainer's addresses    LXCContainers that have it in their hosts
an Environment's namespace     the project's Applications
an Application's spec          it
anybody's status               the Project, a little later
a Project's last backups       its Environments, Applications and LXCContainers, when they are there
a CatalogItem's spec           it, the Applications that name it
a child                        its owner, if that makes a difference
a ProxmoxHost                  it, who uses it, the Environments on it and of its token's namespace
a Pod                          its Application, if what is wrong with it changed
a Secret or ConfigMap          whoever reads it
what a GitSource waits for     that GitSource
an object that goes            whoever waits for its name
an IngressClass, GatewayClass  all Environments and Applications, if it means something else now
what a cluster serves          all Environments and Applications
a preview's parts              the GitSource that made it
a Namespace                    the Environment it is for, the Project whose home it is
what backups name              they; see ``backups.waking``
=============================  =========================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from homeport.api import labels
from homeport.api.labels import OwnerKey
from homeport.drivers.kubernetes import types
from homeport.drivers.kubernetes.types import GVK
from homeport.engine.backups import waking
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
    if key.kind == "Restore" and _quiesced(before) != _quiesced(after):
        for name in {entry.split("/")[0] for entry in (*_quiesced(before), *_quiesced(after))}:
            context.enqueue(OwnerKey("Application", key.namespace, name), CHILD)
    waking.changed(key, before, after, context)
    source = (body["metadata"].get("labels") or {}).get(labels.PREVIEW_OF)
    if source and (before is None or after is None or _status_differs(before, after)):
        context.enqueue(OwnerKey("GitSource", key.namespace, source), CHILD, CHILD_DELAY)
    if after is None or before is None or _asks(before, after):
        context.enqueue(key, USER)
        _wake_dependents(key, context)
        _wake_sources(key, context)
        return
    if key.kind == "LXCContainer" and _addresses(before) != _addresses(after):
        for reader in context.readers.get(("LXCContainer", key.namespace, key.name), ()):
            context.enqueue(reader, CHILD, CHILD_DELAY)
    if context.written.get(key) != after["metadata"].get("resourceVersion") and _status_differs(before, after):
        context.enqueue(key, RESYNC)
    if _status_differs(before, after):
        _status_changed(key, before, after, context)
        _wake_sources(key, context)


def _status_changed(key: OwnerKey, before: Body, after: Body, context: Context) -> None:
    """Those that read another's status."""
    _wake_project(key, context)
    if key.kind == "Project" and _final(before) != _final(after):
        # The last backups are there: now all of it may be scaled to zero.
        for kind in ("Environment", "Application", "LXCContainer"):
            _wake(context, kind, key.namespace)
    if key.kind == "Environment" and _namespace(before) != _namespace(after):
        _wake(context, "Application", key.namespace)
    if key.kind == "ProxmoxHost" and _says(before) != _says(after):
        _wake_environments_on(key.name, context)


def _wake_sources(key: OwnerKey, context: Context) -> None:
    """GitSources that wait for it, or take variables from it; what follows a GitSource."""
    for reader in context.readers.get((key.kind, key.namespace, key.name), ()):
        if reader.kind in ("GitSource", "ImageUpdate", "Notification"):
            context.enqueue(reader, CHILD, CHILD_DELAY)


def _quiesced(restore: Body | None) -> tuple[str, ...]:
    """What a Restore has scaled to zero, until it is gone."""
    return tuple(((restore or {}).get("status") or {}).get("quiesced") or ())


def _asks(before: Body, after: Body) -> bool:
    """Whether a person (or Git) changed anything that we act on."""
    old, new = before["metadata"], after["metadata"]
    return any(
        old.get(field) != new.get(field)
        for field in ("uid", "generation", "annotations", "labels", "deletionTimestamp")
    )


def _wake_dependents(key: OwnerKey, context: Context) -> None:
    if key.kind == "CatalogItem":
        for user in context.catalog_items.users(key):
            context.enqueue(user, USER)
        return
    if key.kind == "Project":
        _wake(context, "Environment", key.namespace)
        _wake(context, "Application", key.namespace)
        _wake(context, "LXCContainer", key.namespace)
        _wake(context, "GitSource", key.namespace)
        return
    if key.kind == "ProxmoxHost":
        # Environments never copy its token, whichever was there first.
        host: Body = context.store.body(key) or {}
        reference = (host.get("spec") or {}).get("credentialsSecretRef") or {}
        _wake(context, "Environment", str(reference.get("namespace", "")))
        for user in context.hosts.users.of(key.name):
            context.enqueue(user, CHILD)
        _wake_environments_on(key.name, context)
    if key.kind == "Environment":
        _wake(context, "LXCContainer", key.namespace)
        _wake(context, "LXCContainer", f"{key.namespace}-{key.name}")
        _wake(context, "Environment", key.namespace)
        _wake(context, "Application", key.namespace)
    if key.kind == "Application":
        for env in context.store.keys("Environment", key.namespace):
            body = context.store.body(env)
            if body is not None and (body["metadata"].get("deletionTimestamp") or _lists_hosts(body)):
                context.enqueue(env, CHILD)
    _wake_project(key, context)


def _says(host: Body) -> Any:
    """What Environments take from a host's status."""
    status = host.get("status") or {}
    ready = [entry for entry in status.get("conditions") or () if entry.get("type") == "Ready"]
    return status.get("firewall"), [(entry.get("status"), entry.get("message")) for entry in ready]


def _wake_environments_on(host: str, context: Context) -> None:
    for key in context.store.keys("Environment"):
        place = ((context.store.body(key) or {}).get("spec") or {}).get("proxmox") or {}
        if (place.get("hostRef") or {}).get("name") == host:
            context.enqueue(key, RESYNC)


def _lists_hosts(environment: Body) -> bool:
    """Whether its Gateway may have to list the hosts of applications: cert-manager makes certificates by them."""
    ingress = (environment.get("spec") or {}).get("ingress") or {}
    return ingress.get("kind") != "Ingress" and "issuer" in (ingress.get("tls") or {})


def _wake(context: Context, kind: str, namespace: str) -> None:
    for key in context.store.keys(kind, namespace):
        context.enqueue(key, USER)


def _wake_project(key: OwnerKey, context: Context) -> None:
    if key.kind != "Project" and key.namespace:
        context.enqueue(OwnerKey("Project", key.namespace, key.namespace), RESYNC, SUMMARY_DELAY)


def _status_differs(before: Body, after: Body) -> bool:
    return before.get("status") != after.get("status")


def _final(project: Body) -> bool:
    return bool(((project.get("status") or {}).get("finalBackup") or {}).get("done"))


def _namespace(body: Body) -> Any:
    return (body.get("status") or {}).get("namespace")


def cluster_changed(gvk: GVK, before: Body | None, after: Body | None, context: Context) -> None:
    """Something in the cluster appeared, changed or went: a child, a Pod, a Secret, a Namespace."""
    if gvk in _OFFERS:
        _offer_changed(gvk, before, after, context)
        return
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
    # Only what is ours is watched, by whatever name our control plane has in that cluster.
    owner = labels.owner_of(body, labels.plane_of(body))
    if before is not None and after is not None:
        former = labels.owner_of(before, labels.plane_of(before))
        if former is not None and former != owner:
            context.enqueue(former, CHILD, CHILD_DELAY)
    if owner is not None and _matters(gvk, before, after):
        context.enqueue(owner, CHILD, CHILD_DELAY)


_OFFERS = (types.CUSTOM_RESOURCE_DEFINITION, types.INGRESS_CLASS, types.GATEWAY_CLASS)


def _offer_changed(gvk: GVK, before: Body | None, after: Body | None, context: Context) -> None:
    if gvk is types.CUSTOM_RESOURCE_DEFINITION:
        context.gitops.offers_changed()
        if before is not after:
            # Of what applications use it is told when that is served.
            return
    if _offers(gvk, before) != _offers(gvk, after) or before is after:
        for kind in ("Environment", "Application"):
            for key in context.store.keys(kind):
                context.enqueue(key, RESYNC)


def _offers(gvk: GVK, body: Body | None) -> Any:
    """What a class means for those who use it. A GatewayClass only has to be there."""
    if body is None or gvk is not types.INGRESS_CLASS:
        return body is not None
    return body.get("spec"), body["metadata"].get("annotations")


def _matters(gvk: GVK, before: Body | None, after: Body | None) -> bool:
    """Whether a child's change can make a difference: not what we wrote ourselves, not a count that went up by one."""
    if after is None:
        return True
    metadata = after["metadata"]
    if before is None:
        # Ours, just made: what it is was known before it came back, and how it is follows in its status.
        # A CronJob has none until its first run, an HTTPRoute may never have one.
        return gvk in (types.CRON_JOB, types.HTTP_ROUTE) or (gvk.kind in REPORTING_KINDS and bool(after.get("status")))
    if before["metadata"].get("labels") != metadata.get("labels") or _declared(before) != _declared(after):
        return True
    if gvk is types.LXC_CONTAINER and _addresses(before) != _addresses(after):
        return True  # an EndpointSlice has them
    return gvk.kind in REPORTING_KINDS and verdict(before) != verdict(after)


def _addresses(container: Body) -> Any:
    return (container.get("status") or {}).get("addresses")


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
