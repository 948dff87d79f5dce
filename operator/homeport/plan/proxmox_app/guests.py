"""What is there of an application's containers, read from the LXCContainers themselves."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from homeport.api import labels
from homeport.api.conditions import Health
from homeport.api.environment import Quota
from homeport.plan.health import condition, verdict
from homeport.plan.quantities import canonical, nanos
from homeport.plan.types import ObjectId

KIND = "LXCContainer"


@dataclass(frozen=True)
class Guest:
    """One container that is there: its component, its addresses, and whether it takes requests."""

    component: str
    addresses: tuple[str, ...] = ()
    ready: bool = False
    processes: frozenset[str] = frozenset()
    """Of several components in one container those that take requests, whatever the others do."""

    def serves(self, component: str) -> bool:
        """Whether a component in it takes requests."""
        return self.ready or component in self.processes


Guests = Mapping[str, Guest]
"""By the LXCContainer's name."""
NO_GUESTS: Guests = {}


def of(live: Mapping[tuple[str, ObjectId], Mapping[str, Any]], environment: str) -> dict[str, Guest]:
    """An application's containers in one environment, among all its objects."""
    out: dict[str, Guest] = {}
    for (_, found), body in live.items():
        marks = body["metadata"].get("labels") or {}
        if found.kind == KIND and marks.get(labels.ENVIRONMENT) == environment:
            out[found.name] = Guest(
                marks.get(labels.COMPONENT, ""), _addresses(body), is_ready(body), frozenset(_well(body))
            )
    return out


def _well(body: Mapping[str, Any]) -> Iterable[str]:
    status = body.get("status") or {}
    if status.get("state") == "Running" and not body["metadata"].get("deletionTimestamp"):
        for process in (status.get("software") or {}).get("processes") or ():
            if process.get("ready"):
                yield process["name"]


def _addresses(body: Mapping[str, Any]) -> tuple[str, ...]:
    out = []
    for text in (body.get("status") or {}).get("addresses") or ():
        try:
            out.append(str(ipaddress.ip_interface(str(text)).ip))
        except ValueError:
            continue
    return tuple(out)


_OUT_OF_SIGHT = frozenset({"DependencyNotReady", "ProgressingWithRetry"})
"""Reasons of a container of which nothing new is known: its host does not answer, and requests do not go through it."""


def is_ready(body: Mapping[str, Any]) -> bool:
    """Whether a container takes requests: it is well, or it was when its host was last seen."""
    seen, status = verdict(body), body.get("status") or {}
    if seen.health is Health.HEALTHY:
        return seen.ready > 0
    ready = condition(body, "Ready") or {}
    ran = status.get("state") == "Running" and (status.get("software") or {}).get("ready") is True
    return ran and seen.health is Health.PROGRESSING and ready.get("reason") in _OUT_OF_SIGHT


@dataclass(frozen=True)
class Used:
    """What containers take together: cores in nanos, memory in bytes times 10^9."""

    cpu: int = 0
    memory: int = 0

    def __add__(self, other: Used) -> Used:
        return Used(self.cpu + other.cpu, self.memory + other.memory)


def used(manifest: Mapping[str, Any]) -> Used:
    """What one LXCContainer takes, by its spec; a stopped one takes nothing."""
    spec = manifest.get("spec") or {}
    if spec.get("state") == "Stopped":
        return Used()
    cpu = spec.get("cpuLimit") or spec.get("cores") or 0
    return Used(nanos(str(cpu)), nanos(str(spec.get("memory") or "512Mi")))


def over_quota(bound: Quota, manifests: Sequence[Mapping[str, Any]], others: Used, environment: str) -> str:
    """What is wrong when containers take more CPU or memory than an environment's quota; empty when they don't."""
    total = sum((used(manifest) for manifest in manifests if manifest["kind"] == KIND), Used())
    for name, own, elsewhere, limit in (
        ("cpu", total.cpu, others.cpu, bound.cpu),
        ("memory", total.memory, others.memory, bound.memory),
    ):
        if limit is not None and own + elsewhere > nanos(limit):
            beside = f", beside {_shown(name, elsewhere)} of other applications" if elsewhere else ""
            return (
                f"the containers take {_shown(name, own)} of {name} together{beside}, and environment {environment} "
                f"has a quota of {limit}; lower resources.limits or replicas, or raise its spec.quota.{name}"
            )
    return ""


def _shown(name: str, amount: int) -> str:
    return canonical(f"{-(-amount // 10**9 // 1024**2)}Mi") if name == "memory" else canonical(f"{amount // 10**6}m")
