"""An application's revisions: what of a spec is kept, under which name, and how an old one comes back.

A revision is an apps/v1 ControllerRevision in the application's namespace, as StatefulSets keep theirs. It belongs to
the Application (an owner reference) and goes with it. It isn't one of its children: nothing runs from it.

Source: https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/controller-revision-v1/
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from homeport.api import labels
from homeport.api.application import ApplicationSpec
from homeport.api.resource import Resource
from homeport.plan import names
from homeport.plan.diff import digest
from homeport.plan.types import Manifest

Spec = Mapping[str, Any]

LIMIT = 5
"""How many old revisions are kept beside the present one, unless ``revisionHistoryLimit`` says otherwise."""
CHANGE_CAUSE = "kubernetes.io/change-cause"
"""What ``kubectl rollout history`` shows as the reason of a change; copied from the Application.

Source: https://kubernetes.io/docs/reference/labels-annotations-taints/#change-cause
"""
# How the work on it stands, not what runs: pausing, restarting and suspending make no revision, and a rollback leaves
# them as they are.
_OF_SPEC = ("suspend", "revisionHistoryLimit")
_OF_COMPONENT = ("paused", "suspend", "restartAt")
"""A cron is paused by ``suspend``; no other component has it."""


@dataclass(frozen=True)
class Revision:
    """One kept spec. The highest ``number`` is the present one."""

    name: str
    uid: str
    number: int
    since: str
    """When it became the present one, RFC 3339."""
    cause: str
    spec: Spec


def content(spec: Spec) -> dict[str, Any]:
    """What of a spec is kept: all but how the work on it stands."""
    out = {key: value for key, value in spec.items() if key not in _OF_SPEC}
    out["components"] = [_without(part) for part in spec.get("components") or ()]
    if spec.get("environments") is not None:
        out["environments"] = [_environment(entry) for entry in spec["environments"]]
    return out


def _environment(entry: Spec) -> dict[str, Any]:
    overrides = {name: _without(part) for name, part in (entry.get("overrides") or {}).items()}
    # An override that only paused something is none.
    overrides = {name: part for name, part in overrides.items() if part}
    out = {key: value for key, value in entry.items() if key != "overrides"}
    return {**out, "overrides": overrides} if overrides else out


def _without(part: Spec) -> dict[str, Any]:
    return {key: value for key, value in part.items() if key not in _OF_COMPONENT}


def restored(old: Spec, present: Spec) -> dict[str, Any]:
    """The spec that a rollback to ``old`` writes: paused stays paused, and nothing is restarted that wasn't."""
    out = {**old, **{key: present[key] for key in _OF_SPEC if key in present}}
    marks = {part["name"]: _marks(part) for part in present.get("components") or ()}
    out["components"] = [{**part, **marks.get(part["name"], {})} for part in old.get("components") or ()]
    if old.get("environments") is not None:
        there = {part["name"] for part in out["components"]}
        known = {entry["name"]: entry.get("overrides") or {} for entry in present.get("environments") or ()}
        out["environments"] = [_marked(entry, known.get(entry["name"], {}), there) for entry in old["environments"]]
    return out


def _marked(entry: Spec, present: Mapping[str, Spec], there: set[str]) -> dict[str, Any]:
    overrides = dict(entry.get("overrides") or {})
    for name, part in present.items():
        if name in there and _marks(part):
            overrides[name] = {**overrides.get(name, {}), **_marks(part)}
    return {**entry, "overrides": overrides} if overrides else dict(entry)


def _marks(part: Spec) -> dict[str, Any]:
    return {key: part[key] for key in _OF_COMPONENT if key in part}


def name_of(app: Resource[ApplicationSpec], kept: Spec) -> str:
    """The name of the revision that holds ``kept``: the same for the same spec of the same Application."""
    return f"{names.bounded(app.name, 240)}-{digest({'uid': app.uid, 'spec': kept})[:10]}"


def manifest(app: Resource[ApplicationSpec], kept: Spec, number: int, since: str) -> Manifest:
    """The ControllerRevision that holds ``kept``."""
    annotations = {labels.REVISION_TIME: since}
    if CHANGE_CAUSE in app.annotations:
        annotations[CHANGE_CAUSE] = app.annotations[CHANGE_CAUSE]
    owner = {
        "apiVersion": labels.API_VERSION,
        "kind": app.kind,
        "name": app.name,
        "uid": app.uid,
        "controller": True,
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {
            "name": name_of(app, kept),
            "namespace": app.namespace,
            "labels": {labels.MANAGED_BY: labels.MANAGER, **selector(app.name)},
            "annotations": annotations,
            "ownerReferences": [owner],
        },
        "revision": number,
        "data": {"spec": kept},
    }


def selector(application: str) -> dict[str, str]:
    """The labels by which the revisions of an application are found, among other things of its."""
    return {labels.APPLICATION: names.label_value(application)}


def revisions(found: Iterable[Mapping[str, Any]], uid: str) -> list[Revision]:
    """Those of ``found`` that are revisions of the Application with that uid, newest first."""
    out = []
    for body in found:
        metadata = body["metadata"]
        if any(owner.get("uid") == uid for owner in metadata.get("ownerReferences") or ()):
            notes = metadata.get("annotations") or {}
            since = notes.get(labels.REVISION_TIME) or metadata.get("creationTimestamp") or ""
            spec = (body.get("data") or {}).get("spec") or {}
            number = int(body.get("revision") or 0)
            cause = notes.get(CHANGE_CAUSE, "")
            out.append(Revision(metadata["name"], metadata.get("uid") or "", number, since, cause, spec))
    return sorted(out, key=lambda revision: (revision.number, revision.since), reverse=True)


def surplus(known: list[Revision], present: str, limit: int | None) -> list[Revision]:
    """The revisions that are too many: beside the present one, the newest ``limit`` are kept."""
    old = [revision for revision in known if revision.name != present]
    return old[LIMIT if limit is None else limit :]
