"""How a resource of ours is, read from its status: the same facts for tables, trees and programs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

HEALTH_ORDER = ("Healthy", "Suspended", "Progressing", "Unknown", "Degraded")


@dataclass(frozen=True)
class Standing:
    """A resource, whether it is as declared, and why not."""

    kind: str
    namespace: str
    name: str
    ready: str
    """True, False or Unknown."""
    reason: str
    message: str
    health: str
    url: str
    created: str
    suspended: bool = False

    @property
    def is_ready(self) -> bool:
        """Whether it is as declared."""
        return self.ready == "True"

    @property
    def key(self) -> tuple[str, str, str]:
        """Its identity."""
        return self.kind, self.namespace, self.name

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "kind": self.kind,
            "namespace": self.namespace,
            "name": self.name,
            "ready": self.ready,
            "reason": self.reason,
            "message": self.message,
            "health": self.health,
            "url": self.url,
            "creationTimestamp": self.created,
            "suspended": self.suspended,
        }


def condition(body: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    """The condition of type ``name``."""
    for entry in (body.get("status") or {}).get("conditions") or ():
        if entry.get("type") == name:
            return dict(entry)
    return None


def _is(body: Mapping[str, Any], name: str) -> bool:
    found = condition(body, name)
    return found is not None and found.get("status") == "True"


def of(body: Mapping[str, Any]) -> Standing:
    """How the resource in ``body`` is. A status of an older generation says nothing of the present one."""
    metadata, status = body["metadata"], body.get("status") or {}
    found = condition(body, "Ready") or {}
    ready, message = str(found.get("status") or "Unknown"), str(found.get("message") or "")
    reason = str(found.get("reason") or "")
    if metadata.get("deletionTimestamp"):
        ready, message = "False", message or "being deleted"
    elif not found:
        message = "the operator hasn't looked at it yet"
    elif int(status.get("observedGeneration", -1)) < int(metadata.get("generation", 0)):
        ready, message = "Unknown", "changed, and the operator hasn't looked at it yet"
    return Standing(
        kind=str(body["kind"]),
        namespace=metadata.get("namespace") or "",
        name=metadata["name"],
        ready=ready,
        reason=reason,
        message=" ".join(message.split()),
        health=_health(body, ready),
        url=str(status.get("url") or ""),
        created=metadata.get("creationTimestamp") or "",
        suspended=_is(body, "Suspended"),
    )


def _health(body: Mapping[str, Any], ready: str) -> str:
    """What the status says, or what follows from the conditions where a kind has no health of its own."""
    status = body.get("status") or {}
    if _is(body, "Suspended"):
        return "Suspended"
    if status.get("health"):
        return str(status["health"])
    if body["metadata"].get("deletionTimestamp"):
        return "Progressing"
    if _is(body, "Stalled"):
        return "Degraded"
    parts = [str(entry["health"]) for entry in status.get("environments") or () if entry.get("health")]
    if parts and ready != "Unknown":
        worst = max(parts, key=lambda value: HEALTH_ORDER.index(value) if value in HEALTH_ORDER else 3)
        return "Progressing" if worst == "Healthy" and ready == "False" else worst
    if ready == "True":
        return "Healthy"
    if ready == "Unknown":
        return "Unknown"
    return "Progressing" if _is(body, "Reconciling") else "Degraded"
