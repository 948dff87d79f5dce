"""An Application's jobs that have succeeded: they never run again, whatever becomes of their objects. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from homeport.api import labels
from homeport.api.application import ApplicationSpec
from homeport.api.conditions import Health
from homeport.api.resource import Resource
from homeport.plan import names
from homeport.plan.health import verdict
from homeport.plan.proxmox_app import guests
from homeport.plan.types import Change, Phase
from homeport.plan.world import ApplicationWorld, ChildKey, Live

App = Resource[ApplicationSpec]
EARLIER = 16
"""How many digests of what ran before are kept beside the last."""


def done_jobs(app: App) -> dict[str, tuple[str, ...]]:
    """Jobs that have succeeded, from status: ``<environment>/<component>/<migrate|job>`` -> digests, newest first."""
    return {entry["id"]: (entry["hash"], *(entry.get("earlier") or ())) for entry in app.status.get("doneJobs") or ()}


def done_entry(key: str, digests: Sequence[str]) -> dict[str, Any]:
    """As the status has them."""
    entry: dict[str, Any] = {"id": key, "hash": digests[0]}
    return {**entry, "earlier": list(digests[1:])} if len(digests) > 1 else entry


def done_and_gone(app: App, live: Mapping[ChildKey, Live]) -> dict[str, tuple[str, ...]]:
    """Jobs that never run again and aren't there any more. One that is there stays, with its Pods' logs, until what
    it runs changes: it is wanted as it is. A container that is done takes up its disk, and goes."""
    there = set()
    for (_, found), body in live.items():
        if found.kind == "Job":
            marks = body["metadata"].get("labels") or {}
            there.add(
                (marks.get(labels.ENVIRONMENT), marks.get(labels.COMPONENT), found.name[-names.JOB_HASH_LENGTH :])
            )
    out = {}
    for key, digests in done_jobs(app).items():
        environment, component, _ = key.split("/")
        out[key] = tuple(d for d in digests if (environment, component, d[: names.JOB_HASH_LENGTH]) not in there)
    return out


def done(app: App, world: ApplicationWorld, changes: Sequence[Change]) -> dict[str, tuple[str, ...]]:
    """Jobs that never run again, by what ran; those of environments and components that are gone are forgotten.

    An environment that can't be used for now isn't gone: what ran in it must not run again when it is back.
    """
    known = {component.name for component in app.spec.components}
    # What catalog items make is called <name>-<part>.
    items = tuple(f"{component.name}-" for component in app.spec.components if component.catalog is not None)
    there = {place.name for place in world.places} | {missing.name for missing in world.missing}
    out = {}
    for key, digests in done_jobs(app).items():
        environment, component, _ = key.split("/")
        if (component in known or component.startswith(items)) and (environment in there or "" in there):
            out[key] = digests
    for change in changes:
        child = change.child
        if child is None or child.job_hash is None or change.live is None:
            continue
        if verdict(change.live).health is Health.HEALTHY and change.id.kind in ("Job", guests.KIND):
            part = "migrate" if child.phase is Phase.MIGRATE else "job"
            key = f"{child.environment}/{child.component}/{part}"
            earlier = (digest for digest in out.get(key, ()) if digest != child.job_hash)
            out[key] = (child.job_hash, *earlier)[: EARLIER + 1]
    return out
