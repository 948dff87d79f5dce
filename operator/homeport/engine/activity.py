"""Who changed what, read from managedFields: the API server's own record of every writer.

An entry is a function of the object alone (its newest change by somebody other than us), so that a restart neither
repeats nor loses one: merging drops what the log already has.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from homeport.api import labels

Body = Mapping[str, Any]
UNKNOWN = "unknown"


def entry(before: Body | None, after: Body | None, deleted_at: str) -> dict[str, str] | None:
    """The log entry for a change of a resource; None when nobody but us touched it.

    ``deleted_at``: the time to note for an object that is gone, RFC 3339.
    """
    body = after or before
    if body is None or labels.BACKUP in (body["metadata"].get("labels") or {}):
        return None  # what a schedule makes and cleans up tells of no people, and would soon be all that is told
    what = f"{body['kind']}/{body['metadata']['name']}"
    asked = body["metadata"].get("deletionTimestamp")
    if after is None or asked:
        # Whoever deletes leaves no trace in the object; the last who changed it isn't to blame for that.
        return {"time": str(asked or deleted_at), "actor": UNKNOWN, "verb": "deleted", "object": what}
    actor, time = _actor(after)
    if before is not None and _written(before) == _written(after):
        return None
    created = str(after["metadata"].get("creationTimestamp", ""))
    generation = int(after["metadata"].get("generation", 0))
    if generation <= 1:
        return {"time": created, "actor": actor, "verb": "created", "object": what}
    return {"time": time or created, "actor": actor, "verb": "changed", "object": what}


def _written(body: Body) -> tuple[Any, ...]:
    """What tells one change from the next: what it says is the same after a restart, when there is no before."""
    return body["metadata"].get("uid"), body["metadata"].get("generation"), *_actor(body)


def _actor(body: Body) -> tuple[str, str]:
    """The newest writer of the spec other than us, and when. Who asks by an annotation has changed nothing."""
    best = (UNKNOWN, "")
    for field in body["metadata"].get("managedFields") or ():
        manager = str(field.get("manager", ""))
        if field.get("subresource") or manager == labels.MANAGER or "f:spec" not in field.get("fieldsV1", "f:spec"):
            continue
        time = str(field.get("time", ""))
        if time >= best[1]:
            best = (manager, time)
    return best
