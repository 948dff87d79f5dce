"""What has to be ready before a new revision of a source is applied: other sources, and objects of any kind."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from homeport.api import labels
from homeport.api.conditions import Health, Reason
from homeport.api.gitsource import Dependency, GitSourceSpec
from homeport.api.labels import OwnerKey
from homeport.api.resource import Resource
from homeport.drivers import cel
from homeport.drivers.kubernetes import errors
from homeport.drivers.kubernetes.types import GVK
from homeport.engine.gitops import accounts
from homeport.outcome import Outcome, Stalled, Transient, Wait, worst
from homeport.plan.gitops import health

if TYPE_CHECKING:
    from homeport.engine.context import Context

KIND = "GitSource"
LOOK_AGAIN = 5.0
"""Seconds between looks at objects whose changes nobody tells us of."""
EVALUATIONS = 4
"""Expressions that are evaluated at a time."""

Source = Resource[GitSourceSpec]


class Dependencies:
    """Looks at what sources wait for."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._turns = asyncio.Semaphore(EVALUATIONS)
        self._kinds: dict[tuple[str, str], GVK] = {}

    async def waits(self, source: Source) -> Outcome | None:
        """What ``source`` has to wait for; None when all is ready. Raises ApiError."""
        if not source.spec.depends_on:
            return None
        circle = cycle(source.key, self._names)
        if circle:
            told = " → ".join(f"{key.namespace}/{key.name}" for key in circle)
            return Stalled(
                Reason.DEPENDENCY_CYCLE,
                f"sources wait for each other: {told}; take one of them out of a spec.dependsOn",
            )
        found = await asyncio.gather(*(self._one(source, wanted) for wanted in source.spec.depends_on))
        problems = [outcome for outcome in found if outcome is not None]
        return worst(problems) if problems else None

    def _names(self, key: OwnerKey) -> list[OwnerKey]:
        resource, error = self._context.store.look(key)
        if resource is None or error is not None:
            return []
        return [
            OwnerKey(KIND, entry.namespace or key.namespace, entry.name)
            for entry in resource.spec.depends_on
            if _is_source(entry)
        ]

    async def _one(self, source: Source, wanted: Dependency) -> Outcome | None:
        namespace = wanted.namespace or source.namespace
        shown = (
            f"{wanted.kind} {wanted.name}"
            if namespace == source.namespace
            else f"{wanted.kind} {namespace}/{wanted.name}"
        )
        if wanted.api_version == labels.API_VERSION:
            self._context.readers.setdefault((wanted.kind, namespace, wanted.name), set()).add(source.key)
        try:
            body = await self._read(source, wanted, namespace)
        except errors.Forbidden as error:
            return Stalled(Reason.ACCESS_DENIED, f"spec.dependsOn: {shown} can't be read: {error}")
        if body is None:
            return Wait(Reason.DEPENDENCY_NOT_READY, f"waits for {shown}, which isn't there", LOOK_AGAIN)
        if wanted.ready_expr is None:
            why = _why_not(wanted, body)
            return Wait(Reason.DEPENDENCY_NOT_READY, f"waits for {shown}: {why}", LOOK_AGAIN) if why else None
        return await self._asked(source, wanted.ready_expr, body, shown)

    async def _asked(self, source: Source, expression: str, body: Mapping[str, Any], shown: str) -> Outcome | None:
        itself = self._context.store.body(source.key) or {}
        try:
            async with self._turns:
                ready = await cel.evaluate(expression, {"dep": _bare(body), "self": _bare(itself)})
        except cel.ExpressionFailed as error:
            text = f"spec.dependsOn: {shown}: readyExpr {expression!r}: {error}"
            return (
                Transient(Reason.PROGRESSING_WITH_RETRY, text) if error.passes else Stalled(Reason.INVALID_SPEC, text)
            )
        if ready:
            return None
        return Wait(Reason.DEPENDENCY_NOT_READY, f"waits for {shown}: {expression} isn't true", LOOK_AGAIN)

    async def _read(self, source: Source, wanted: Dependency, namespace: str) -> Mapping[str, Any] | None:
        """As the account of the source sees it: nobody learns by a source what that may not read."""
        if _is_source(wanted) and namespace == source.namespace:
            return self._context.store.body(OwnerKey(KIND, namespace, wanted.name))
        gvk = await self._gvk(wanted)
        if gvk is None:
            return None
        client = self._context.cluster.client.impersonate(accounts.user_of(source))
        return await client.get(gvk, namespace if gvk.namespaced else None, wanted.name)

    async def _gvk(self, wanted: Dependency) -> GVK | None:
        key = (wanted.api_version, wanted.kind)
        if key not in self._kinds:
            for gvk in await self._context.cluster.client.kinds(wanted.api_version):
                self._kinds[gvk.api_version, gvk.kind] = gvk
        return self._kinds.get(key)


def cycle(start: OwnerKey, names: Any) -> tuple[OwnerKey, ...]:
    """A circle of dependencies that ``start`` is in, from it to itself; empty when there is none."""
    seen: set[OwnerKey] = set()
    paths: list[tuple[OwnerKey, ...]] = [(start,)]
    while paths:
        path = paths.pop()
        for following in names(path[-1]):
            if following == start:
                return (*path, start)
            if following not in seen:
                seen.add(following)
                paths.append((*path, following))
    return ()


def _is_source(wanted: Dependency) -> bool:
    return wanted.api_version == labels.API_VERSION and wanted.kind == KIND


def _why_not(wanted: Dependency, body: Mapping[str, Any]) -> str:
    status = body.get("status") or {}
    if _is_source(wanted) and status.get("observedGeneration") != body["metadata"].get("generation"):
        return "it hasn't looked at its present spec yet"
    verdict = health.verdict(body)
    if verdict.health is Health.HEALTHY:
        return ""
    return verdict.message or f"it is {verdict.health}"


def _bare(body: Mapping[str, Any]) -> dict[str, Any]:
    metadata = {key: value for key, value in body["metadata"].items() if key != "managedFields"}
    return {**body, "metadata": metadata}
