"""Previews' Environments and Applications in the cluster: made, changed, removed. Every write may be the last.

They are known by a label that names the source, and by that alone: there is nothing to remember between two writes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from homeport.api import labels
from homeport.api.conditions import Reason
from homeport.api.labels import OwnerKey
from homeport.drivers.kubernetes import errors, types
from homeport.outcome import Outcome, Stalled, Transient, Wait, worst
from homeport.plan.diff import applied_hash, differences, stamped
from homeport.plan.types import Manifest

if TYPE_CHECKING:
    from homeport.engine.context import Context

KINDS = ("Application", "Environment")
ONE_REPOSITORY = (
    "previews are named by their pull request's number, so only one GitSource of a project can have them: move the "
    "other into a project of its own, or remove its pullRequests"
)
Body = Mapping[str, Any]


@dataclass
class Standing:
    """What there is of one source's previews, by pull request."""

    by_number: dict[int, list[Body]] = field(default_factory=dict)

    def of(self, number: int, kind: str) -> list[Body]:
        """The objects of one kind of a pull request's preview."""
        return [body for body in self.by_number.get(number, ()) if body["kind"] == kind]


def standing(source: OwnerKey, context: Context) -> Standing:
    """From the caches; what can't be a preview's number is nobody's."""
    out = Standing()
    for kind in KINDS:
        for key in context.store.keys(kind, source.namespace):
            body = context.store.body(key)
            marks = ((body or {}).get("metadata") or {}).get("labels") or {}
            number = str(marks.get(labels.PULL_REQUEST, ""))
            if body is not None and marks.get(labels.PREVIEW_OF) == source.name and number.isdecimal():
                out.by_number.setdefault(int(number), []).append(body)
    return out


async def bring(
    source: OwnerKey, wanted: Sequence[Manifest], there: Sequence[Body], context: Context
) -> Outcome | None:
    """Have one preview as it is wanted: make and change what differs, remove what isn't wanted any more.

    What went wrong, if something did. What is to go goes whatever is refused of the rest.
    """
    names = {(manifest["kind"], manifest["metadata"]["name"]) for manifest in wanted}
    known = {(body["kind"], body["metadata"]["name"]): body for body in there}
    problem = None
    try:
        for manifest in wanted:
            found = known.get((manifest["kind"], manifest["metadata"]["name"]))
            problem = await _bring(source, manifest, found, context)
            if problem is not None:
                break
    except errors.ApiError as error:
        problem = _explained(error)
    unremoved = await remove([body for of, body in known.items() if of not in names], context)
    return _worse(problem, unremoved)


async def remove(there: Sequence[Body], context: Context) -> Outcome | None:
    """Remove a whole preview: its Environment takes the namespace and the volumes along.

    Everything is tried; the worst of what went wrong, if something did.
    """
    problem = None
    for body in there:
        try:
            await _delete(body, context)
        except errors.ApiError as error:
            problem = _worse(problem, _explained(error))
    return problem


def _worse(one: Outcome | None, other: Outcome | None) -> Outcome | None:
    found = [problem for problem in (one, other) if problem is not None]
    return worst(found) if found else None


async def _bring(source: OwnerKey, manifest: Manifest, found: Body | None, context: Context) -> Outcome | None:
    wanted, digest = stamped(manifest)
    if found is not None and found["metadata"].get("deletionTimestamp"):
        shown = f"{manifest['kind']} {manifest['metadata']['name']}"
        return Wait(Reason.TERMINATING, f"{shown} is being deleted; it is made anew after that", 2.0)
    if found is not None and applied_hash(found) == digest and not any(differences(wanted, found)):
        return None
    gvk = types.by_kind(labels.API_VERSION, manifest["kind"])
    namespace, name = manifest["metadata"]["namespace"], manifest["metadata"]["name"]
    live: Body | None = await context.cluster.client.get(gvk, namespace, name)
    if live is not None and (problem := _foreign(source, manifest, live)) is not None:
        return problem
    if live is not None:
        # The version alone doesn't keep an apply from making anew what is gone meanwhile; the UID does.
        looked_at = {key: live["metadata"][key] for key in ("uid", "resourceVersion")}
        wanted = {**wanted, "metadata": {**wanted["metadata"], **looked_at}}
    await context.cluster.client.apply(
        gvk, namespace, name, wanted, manager=labels.PREVIEW_MANAGER, force=live is not None
    )
    return None


def _foreign(source: OwnerKey, manifest: Manifest, live: Body) -> Outcome | None:
    """Whose it is, when it isn't this preview's."""
    marks, ours = live["metadata"].get("labels") or {}, manifest["metadata"]["labels"]
    if all(marks.get(key) == ours[key] for key in (labels.PREVIEW_OF, labels.PULL_REQUEST)):
        return None
    other = marks.get(labels.PREVIEW_OF)
    shown = f"{manifest['kind']} {manifest['metadata']['name']}"
    if other:
        return Stalled(Reason.NAME_TAKEN, f"{shown} is a preview's of GitSource {other}; {ONE_REPOSITORY}")
    text = f"{shown} is there and isn't a preview's; remove or rename it, and the preview is made"
    return Stalled(Reason.NAME_TAKEN, text)


async def _delete(body: Body, context: Context) -> None:
    metadata = body["metadata"]
    if metadata.get("deletionTimestamp"):
        return
    gvk = types.by_kind(labels.API_VERSION, body["kind"])
    await context.cluster.client.delete(gvk, metadata["namespace"], metadata["name"], uid=metadata["uid"])


def _explained(error: errors.ApiError) -> Outcome:
    match error:
        case errors.Conflict() | errors.AlreadyExists():
            return Wait(Reason.PROGRESSING, "it has just changed; looking again", 0.3)
        case errors.TooManyRequests() | errors.ServerUnavailable() | errors.NotFound():
            return Transient(Reason.PROGRESSING_WITH_RETRY, str(error))
        case errors.Forbidden() | errors.Unauthorized():
            return Stalled(Reason.ACCESS_DENIED, str(error))
        case _:
            return Stalled(Reason.APPLY_FAILED, str(error))


def condition(body: Body) -> tuple[bool, str]:
    """Whether a resource of ours is ready for what it asks for now, and what it says."""
    status = body.get("status") or {}
    for entry in status.get("conditions") or ():
        if entry.get("type") == "Ready":
            current = status.get("observedGeneration") == body["metadata"].get("generation")
            return current and entry.get("status") == "True", str(entry.get("message") or "")
    return False, ""


def address(applications: Sequence[Body]) -> str:
    """The first address that one of the applications has."""
    for body in sorted(applications, key=lambda one: str(one["metadata"]["name"])):
        for entry in (body.get("status") or {}).get("environments") or ():
            if entry.get("url"):
                return str(entry["url"])
    return ""
