"""What would happen if these manifests were applied: the operator's own reconciliation, with apply left out.

Nothing is written, not even as a dry run. What isn't in the files is taken as the API server has it; an Environment in
the files counts as set up, so that a whole project can be looked at before any of it exists.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from homeport.api import labels
from homeport.api.kinds import BY_NAME, KINDS
from homeport.api.labels import OwnerKey
from homeport.api.resource import InvalidSpec
from homeport.drivers.kubernetes import types
from homeport.drivers.kubernetes.cluster import Cluster
from homeport.drivers.kubernetes.protocol import Api
from homeport.engine import observe
from homeport.engine.context import Context
from homeport.engine.reconcile import preview as plan_one
from homeport.engine.store import Store, key_of
from homeport.outcome import Outcome, Stalled, Wait
from homeport.plan import environment_place
from homeport.plan.types import Change, Verb

Body = Mapping[str, Any]

ORDER = ("ProxmoxHost", "Project", "Environment", "CatalogItem", "Application")
_STARTED = "9999-01-01T00:00:00Z"
"""A creation time for what doesn't exist yet: whoever exists is older, and keeps names and hosts."""


@dataclass
class Preview:
    """What would change, and what would stand in the way, by resource."""

    changes: list[Change] = field(default_factory=list)
    problems: list[tuple[OwnerKey, Outcome]] = field(default_factory=list)

    @property
    def pending(self) -> list[Change]:
        """The changes that would do something."""
        return [change for change in self.changes if change.verb not in (Verb.NOTHING, Verb.KEEP)]


async def preview(client: Api, bodies: Sequence[Body], timeout: float = 60.0) -> Preview:  # noqa: ASYNC109
    """What applying ``bodies`` would do. Other kinds than Homeport's count as there. Raises ApiError, TimeoutError."""
    cluster = Cluster(client)
    await cluster.start(timeout)
    try:
        store = Store()
        context = Context(store, cluster, lambda *_, **__: None, lambda *_: None, time.monotonic)
        for kind in KINDS:
            items, _ = await client.list(types.by_kind(labels.API_VERSION, kind.name))
            for item in items:
                store.put(item)
        for body in bodies:
            if body.get("apiVersion") != labels.API_VERSION:
                cluster.pretend(dict(body))
        ours = [b for b in bodies if b.get("apiVersion") == labels.API_VERSION and b.get("kind") in BY_NAME]
        for body in ours:
            store.put(_as_applied(body, store))
        observe.served(store, context.clusters, context.claims)
        result = Preview()
        for body in sorted(ours, key=lambda b: ORDER.index(b["kind"])):
            await _plan(key_of(body), context, result)
        return result
    finally:
        await cluster.stop()


def _as_applied(body: Body, store: Store) -> Body:
    """``body`` as the API server would have it after an apply: a new spec under the metadata and status it has."""
    known = store.body(key_of(body))
    if known is None:
        metadata = {
            "uid": "",
            "generation": 1,
            "creationTimestamp": _STARTED,
            "resourceVersion": "0",
            **body["metadata"],
        }
        return {**body, "metadata": metadata}
    old, new = known["metadata"], body["metadata"]
    metadata = {
        **old,
        "generation": int(old.get("generation", 0)) + 1,
        "labels": {**(old.get("labels") or {}), **(new.get("labels") or {})},
        "annotations": {**(old.get("annotations") or {}), **(new.get("annotations") or {})},
    }
    return {**known, "metadata": metadata, "spec": body.get("spec") or {}}


async def _plan(key: OwnerKey, context: Context, result: Preview) -> None:
    try:
        resource = context.store.resource(key)
    except InvalidSpec as error:
        result.problems.append((key, Stalled("InvalidSpec", str(error))))
        return
    if resource is None or resource.deleted_at is not None or resource.suspended:
        return
    plan = await plan_one(resource, context)
    result.changes.extend(plan.changes)
    result.problems.extend((key, problem) for problem in (*plan.desired.problems, *plan.decision.problems))
    if key.kind == "Environment" and not any(isinstance(p, Stalled) for p in plan.desired.problems):
        _set_up(resource, context)
        for child in plan.desired.children:
            context.cluster.pretend(child.manifest)


def _set_up(resource: Any, context: Context) -> None:
    """Let an Environment of the files count as set up for the Applications that follow."""
    body = context.store.body(resource.key)
    assert body is not None
    status = {**(body.get("status") or {}), "namespace": environment_place.namespace_of(resource)}
    context.store.put({**body, "status": status})


__all__ = ["Preview", "Wait", "preview"]
