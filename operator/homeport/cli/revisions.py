"""The revisions of an application for people: which there are, and what changed from one to the next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from homeport.cli.changes import ABSENT, FieldChange
from homeport.drivers.kubernetes import types
from homeport.drivers.kubernetes.protocol import Api
from homeport.drivers.kubernetes.types import Manifest
from homeport.plan import history
from homeport.plan.history import Revision

Spec = Mapping[str, Any]
PARTS = 3
"""How many parts a summary names."""


async def kept(client: Api, body: Manifest) -> list[Revision]:
    """The revisions of an Application, newest first."""
    metadata = body["metadata"]
    chosen = ",".join(f"{key}={value}" for key, value in history.selector(metadata["name"]).items())
    found, _ = await client.list(types.CONTROLLER_REVISION, metadata["namespace"], labels=chosen)
    return history.revisions(found, metadata["uid"])


def present(known: Sequence[Revision], body: Manifest) -> Revision | None:
    """The revision that holds the spec as it is now; None when that isn't kept (yet)."""
    now = history.content(body["spec"])
    return next((revision for revision in known if revision.spec == now), None)


def previous(known: Sequence[Revision], body: Manifest) -> Revision | None:
    """What was before the spec as it is now: the newest that is something else."""
    now = history.content(body["spec"])
    return next((revision for revision in known if revision.spec != now), None)


def differences(old: Any, new: Any, path: str = "spec") -> list[FieldChange]:
    """What differs between two specs, by path; items of lists by their name."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = [*old, *(key for key in new if key not in old)]
        return [
            change
            for key in keys
            for change in differences(old.get(key, ABSENT), new.get(key, ABSENT), f"{path}.{key}")
        ]
    before, after = _by_name(old), _by_name(new)
    if before is not None and after is not None:
        names = [*before, *(name for name in after if name not in before)]
        return [
            change
            for name in names
            for change in differences(before.get(name, ABSENT), after.get(name, ABSENT), f"{path}[{name}]")
        ]
    return [] if old == new else [FieldChange(path, old, new)]


def _by_name(items: Any) -> dict[str, Any] | None:
    if not isinstance(items, list) or not all(isinstance(item, Mapping) and "name" in item for item in items):
        return None
    return {item["name"]: item for item in items}


def summary(old: Spec | None, new: Spec) -> str:
    """What changed, in a line."""
    if old is None:
        return "the first that is kept"
    parts = []
    if old.get("version") != new.get("version"):
        parts.append(f"version {old.get('version')} → {new.get('version')}")
    before, after = _components(old), _components(new)
    parts += [f"+ {name}" for name in after if name not in before]
    parts += [f"- {name}" for name in before if name not in after]
    for name in after:
        if name in before and before[name] != after[name]:
            parts.append(f"{name}: {_component(before[name], after[name])}")
    parts += _environments(old, new)
    known = {"version", "components", "environments"}
    parts += [key for key in {**old, **new} if key not in known and old.get(key) != new.get(key)]
    more = f", and {len(parts) - PARTS} more" if len(parts) > PARTS else ""
    return ", ".join(parts[:PARTS]) + more or "nothing"


def _components(spec: Spec) -> dict[str, Spec]:
    return {part["name"]: part for part in spec.get("components") or ()}


def _component(old: Spec, new: Spec) -> str:
    fields = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    shown = [f"{key} {old[key]} → {new[key]}" if _short(old, new, key) else key for key in fields]
    return " ".join(shown)


def _short(old: Spec, new: Spec, key: str) -> bool:
    return key in ("image", "replicas") and key in old and key in new


def _environments(old: Spec, new: Spec) -> list[str]:
    before, after = _by_name(old.get("environments")), _by_name(new.get("environments"))
    if before is None or after is None:
        return [] if before == after else ["environments"]
    names = [*before, *(name for name in after if name not in before)]
    return [f"in {name}" for name in names if before.get(name) != after.get(name)]
