"""What the difference between a wanted object and what is there means: which fields, drift or not, what goes, what
stays, what is lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from homeport.api import labels
from homeport.api.conditions import Reason
from homeport.api.labels import OwnerKey
from homeport.outcome import Outcome, Stalled
from homeport.plan.diff import applied_hash, differences
from homeport.plan.gitops.objects import owned_by, source_of
from homeport.plan.gitops.types import Entry, Options, SourceChange, Wanted
from homeport.plan.types import ObjectId, Verb

MOST_FIELDS = 8
"""Fields of one object that are told."""

HOLD_OTHERS = frozenset(
    {
        ("", "Namespace"),
        ("", "PersistentVolumeClaim"),
        ("", "PersistentVolume"),
        ("apiextensions.k8s.io", "CustomResourceDefinition"),
        (labels.GROUP, "Project"),
    }
)
"""Kinds that go only where their own annotation says so: with them goes data, or everything that is in them."""
_WITH_POLICY = frozenset({"Application", "Environment", "LXCContainer", "Backup", "BackupRepository", "Project"})
"""Kinds of ours that hold data: their own ``deletionPolicy`` says what comes of it."""
_QUIET = (f"metadata.annotations.{labels.APPLIED_HASH}", "metadata.managedFields")


def fields(wanted: Any, live: Any) -> tuple[str, ...]:
    """The declared fields that aren't as wanted."""
    return tuple(differences(wanted, live))


def shown(paths: Sequence[str]) -> tuple[str, ...]:
    """Those that a person should hear of."""
    return tuple(path for path in paths if path not in _QUIET)


def is_drift(wanted: Wanted, live: Mapping[str, Any], settled: bool) -> bool:
    """Whether somebody else changed it: all that is declared now was declared when it was last applied.

    A Secret's values are in no digest: of those only ``settled`` tells.
    """
    same = applied_hash(live) == wanted.annotations.get(labels.APPLIED_HASH)
    return same and (settled or wanted.id.kind != "Secret" or bool(wanted.id.group))


def replaceable(id: ObjectId) -> bool:
    """Whether an object may be deleted and made anew: never what holds data, or everything that is in it."""
    return (id.group, id.kind) not in HOLD_OTHERS and id.group != labels.GROUP


def asks_replacement(wanted: Wanted, live: Mapping[str, Any]) -> bool:
    """Whether the object in Git carries a ``replace-at`` that what is there doesn't."""
    token = wanted.annotations.get(labels.REPLACE_AT)
    return bool(token) and token != (live["metadata"].get("annotations") or {}).get(labels.REPLACE_AT)


def held_by(wanted: Wanted, live: Mapping[str, Any], managers: Sequence[str], exists: bool) -> Outcome | None:
    """Why an object that is there and isn't this source's may not be taken over; None where it may.

    ``exists``: the source that its labels name is still there. ``managers``: who made it, as managedFields tell.
    """
    id = wanted.id
    begin = f"{wanted.where}: {id.shown}" if wanted.where else id.shown
    parent = labels.owner_of(live, labels.plane_of(live))
    if parent is not None:
        text = (
            f"{begin} is made by {parent.kind} {parent.namespace}/{parent.name}; leave it out, or change that instead"
        )
        return Stalled(Reason.CONFLICT, text)
    other = source_of(live)
    if other is not None and exists:
        text = f"{begin} belongs to GitSource {other[0]}/{other[1]}; leave it out of one of the two"
        return Stalled(Reason.CONFLICT, text)
    if wanted.annotations.get(labels.ADOPT) == "true":
        return None
    whose = (
        f"was applied by GitSource {other[0]}/{other[1]}, which is gone" if other is not None else "is there already"
    )
    if other is None and managers:
        whose = f"is there already, made by {', '.join(managers[:3])}"
    return Stalled(
        Reason.CONFLICT,
        f'{begin} {whose}; to take it over, write the annotation {labels.ADOPT}: "true" on it in Git; or remove that '
        "object, or give this one another name",
    )


def removal(id: ObjectId, live: Mapping[str, Any], source: OwnerKey) -> SourceChange:
    """How an object goes that left the repository, or whose source goes: deleted, or kept by what its own annotations
    and kind say."""
    found = live["metadata"].get("annotations") or {}
    policy, uid = found.get(labels.DELETION_POLICY), str(live["metadata"].get("uid", ""))
    if (id.group, id.kind, id.namespace, id.name) == (labels.GROUP, source.kind, source.namespace, source.name):
        return SourceChange(Verb.KEEP, id, "it is the source itself", uid=uid)
    if found.get(labels.PRUNE) == "Disabled":
        return SourceChange(Verb.KEEP, id, f"{labels.PRUNE}: Disabled", uid=uid)
    if policy == "Retain":
        return SourceChange(Verb.KEEP, id, f"{labels.DELETION_POLICY}: Retain", uid=uid)
    if (id.group, id.kind) in HOLD_OTHERS and policy != "Delete":
        reason = f"data goes with a {id.kind}: removed only with the annotation {labels.DELETION_POLICY}: Delete on it"
        return SourceChange(Verb.KEEP, id, reason, uid=uid)
    return SourceChange(Verb.DELETE, id, "no longer in the repository", loses_data=loses_data(id, live), uid=uid)


def loses_data(id: ObjectId, live: Mapping[str, Any]) -> bool:
    """Whether data goes with an object."""
    if (id.group, id.kind) in HOLD_OTHERS or (id.group, id.kind) == ("", "Secret"):
        return True
    spec = live.get("spec") if isinstance(live.get("spec"), Mapping) else {}
    assert spec is not None
    if (id.group, id.kind) == ("apps", "StatefulSet"):
        kept = spec.get("persistentVolumeClaimRetentionPolicy") or {}
        return kept.get("whenDeleted") == "Delete"
    return id.group == labels.GROUP and id.kind in _WITH_POLICY and spec.get("deletionPolicy") == "Delete"


def left(inventory: Sequence[Entry], wanted: Sequence[Wanted]) -> tuple[Entry, ...]:
    """What was applied and isn't wanted any more."""
    known = {each.id for each in wanted}
    return tuple(entry for entry in inventory if entry.id not in known)


def still(change_drift: bool, options: Options) -> bool:
    """Whether drift stays as it is."""
    return change_drift and options.drift != "Enabled" and not options.mend


def mine(live: Mapping[str, Any], source: OwnerKey) -> bool:
    """Whether an object is this source's, and no child of another resource of ours."""
    return owned_by(live, source) and labels.owner_of(live, labels.plane_of(live)) is None
