"""What merging a pull request would change, for people: by a plan that the server was asked for, or by two builds."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from homeport.plan.diff import differences
from homeport.plan.gitops.build import Built, BuiltObject
from homeport.plan.gitops.comment import Line, PlanView
from homeport.plan.gitops.types import SourceChange, SourcePlan
from homeport.plan.types import ObjectId, Verb, object_id

OFFLINE = (
    "Compared with what is built of the base branch; the cluster wasn't asked, and nothing secret was read or decrypted"
)


def of_plan(plan: SourcePlan, built: Built) -> PlanView:
    """A plan against the live cluster."""
    problems = [problem.message for problem in plan.problems]
    changes = [change for change in (*plan.changes, *plan.pruned) if change.verb is not Verb.NOTHING]
    notes = (*built.warnings, *(f"not applied: {name}" for name in built.left_out))
    return PlanView(tuple(_line(change) for change in changes), tuple(problems), plan.guard, "", notes)


def _line(change: SourceChange) -> Line:
    # Of a Secret only that it changes: which of its keys is nobody's business in a comment.
    fields = () if change.id.kind == "Secret" else change.fields
    reason = "" if change.id.kind == "Secret" or change.verb in (Verb.CREATE, Verb.UPDATE) else change.reason
    return Line(change.verb, change.id.shown, reason, fields, change.loses_data, change.where)


def offline(base: Built | None, head: Built, why: str) -> PlanView:
    """What differs between two builds. ``why``: why the cluster isn't asked."""
    before = _by_id(base.objects if base is not None else ())
    after = _by_id(head.objects)
    lines = []
    for key in sorted(before.keys() | after.keys()):
        old, new = before.get(key), after.get(key)
        if old is None and new is not None:
            lines.append(Line(Verb.CREATE, key.shown, where=new.where))
        elif old is not None and new is None:
            lines.append(Line(Verb.DELETE, key.shown, where=old.where))
        elif old is not None and new is not None and old.manifest != new.manifest:
            paths = {*differences(new.manifest, old.manifest), *differences(old.manifest, new.manifest)}
            fields = () if key.kind == "Secret" else tuple(sorted(paths))
            lines.append(Line(Verb.UPDATE, key.shown, fields=fields, where=new.where))
    return PlanView(tuple(lines), offline=f"{OFFLINE}: {why}.", notes=head.warnings)


def _by_id(objects: Sequence[BuiltObject]) -> dict[ObjectId, BuiltObject]:
    out = {}
    for found in objects:
        try:
            out[object_id(found.manifest)] = found
        except (KeyError, TypeError):
            continue  # the build says what is wrong with it
    return out


def secret_values(objects: Sequence[BuiltObject]) -> Iterator[str]:
    """What must not be quoted: everything that Secrets hold, and all texts of objects that were encrypted."""
    for found in objects:
        manifest = found.manifest
        if found.secret:
            yield from _texts({k: v for k, v in manifest.items() if k not in ("apiVersion", "kind", "metadata")})
        if manifest.get("kind") == "Secret":
            yield from _texts(manifest.get("stringData"))
            for text in _texts(manifest.get("data")):
                yield text
                try:
                    yield base64.b64decode(text, validate=True).decode()
                except (binascii.Error, UnicodeDecodeError):
                    continue


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
        # A message may quote one line of it.
        yield from (line.strip() for line in value.splitlines() if len(line.strip()) >= 8)
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _texts(part)
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part)
