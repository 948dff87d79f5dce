"""What has happened, as Kubernetes Events tell it, and whether somebody wants to hear of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

from homeport.api import labels
from homeport.api.notification import EventFilter

COMPONENT = "homeport"
"""Whose Events count: the operator's own."""


@dataclass(frozen=True)
class Happening:
    """One transition of one object."""

    id: str
    """The Event's namespace and name: the same after a restart, so that nobody is told twice."""
    time: str
    """RFC 3339, in seconds."""
    severity: Literal["Info", "Warning"]
    kind: str
    namespace: str
    name: str
    uid: str
    reason: str
    message: str

    @property
    def said(self) -> tuple[str, str, str]:
        """What makes two of them the same."""
        return self.uid, self.reason, self.message

    @property
    def about(self) -> str:
        """For people, in few words."""
        return f"{self.kind} {self.name}: {self.reason}"


def of_event(event: Mapping[str, Any]) -> Happening | None:
    """What an Event of ours tells; None for anybody else's."""
    about = event.get("involvedObject") or {}
    if event.get("reportingComponent") != COMPONENT or about.get("apiVersion") != labels.API_VERSION:
        return None
    metadata = event["metadata"]
    return Happening(
        id=f"{metadata.get('namespace', '')}/{metadata['name']}",
        time=str(event.get("firstTimestamp") or event.get("lastTimestamp") or ""),
        severity="Warning" if event.get("type") == "Warning" else "Info",
        kind=str(about.get("kind", "")),
        namespace=str(about.get("namespace", "")),
        name=str(about.get("name", "")),
        uid=str(about.get("uid", "")),
        reason=str(event.get("reason", "")),
        message=str(event.get("message", "")),
    )


def fits(happening: Happening, filters: Sequence[EventFilter] | None) -> bool:
    """Whether one of the filters lets it through; without filters everything is told."""
    return filters is None or any(_fits(happening, one) for one in filters)


def _fits(happening: Happening, one: EventFilter) -> bool:
    return (
        (not one.kinds or happening.kind in one.kinds)
        and (not one.names or any(fnmatchcase(happening.name, glob) for glob in one.names))
        and (not one.reasons or happening.reason in one.reasons)
        and (one.severity == "Info" or happening.severity == "Warning")
    )


def missed(events: Iterable[Mapping[str, Any]], until: str, handled: Iterable[str]) -> list[Happening]:
    """What nobody was told of: Events of ours since ``until`` (RFC 3339), without those that were ``handled`` in that
    very second; the oldest first."""
    known = set(handled)
    found = [happening for event in events if (happening := of_event(event)) is not None]
    late = [one for one in found if one.time >= until and not (one.time == until and one.id in known)]
    return sorted(late, key=lambda one: (one.time, one.id))
