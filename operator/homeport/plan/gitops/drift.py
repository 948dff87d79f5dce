"""What somebody changed since it was applied, and who: from the live object and its managedFields.

A path is written as ``plan.diff`` writes it: ``spec.template.spec.containers[web].image``.
Source: https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from homeport.api import labels
from homeport.plan.gitops.types import IgnoreRule
from homeport.plan.types import Manifest, ObjectId

MOST_TOLD = 20
"""Fields that are told of as drift."""

_IDENTITY = frozenset({"apiVersion", "kind"})
_BELOW = 3
"""Steps of a pointer into metadata that is left alone: single labels and annotations, never all of them, for ours say
whose the object is."""


class Owner(NamedTuple):
    """One entry of managedFields."""

    manager: str
    operation: str
    """Apply or Update."""
    subresource: str
    time: str
    paths: tuple[str, ...]


def owners(live: Mapping[str, Any]) -> tuple[Owner, ...]:
    """Who owns which fields of an object; the newest change first."""
    found = []
    for entry in live["metadata"].get("managedFields") or ():
        paths = tuple(_paths(entry.get("fieldsV1") or {}, ""))
        manager, operation, subresource, time = (
            str(entry.get(key) or "") for key in ("manager", "operation", "subresource", "time")
        )
        found.append(Owner(manager, operation, subresource, time, paths))
    return tuple(sorted(found, key=lambda owner: owner.time, reverse=True))


def _paths(tree: Mapping[str, Any], prefix: str) -> Iterator[str]:
    """The leaves of a FieldsV1 tree."""
    for key, below in tree.items():
        sort, _, name = key.partition(":")
        if sort == "f":
            path = f"{prefix}.{name}" if prefix else name
        elif sort == "k":
            path = f"{prefix}[{_first(name)}]"
        else:
            continue  # "." is the thing itself; "v:" and "i:" are elements of sets and of lists by position
        if isinstance(below, Mapping) and any(part != "." for part in below):
            yield from _paths(below, path)
        else:
            yield path


def _first(key: str) -> Any:
    try:
        return next(iter(json.loads(key).values()), "")
    except (ValueError, AttributeError):
        return ""


def manager_of(field: str, found: Iterable[Owner]) -> str:
    """Who changed a field: its owner that isn't us; for one that was taken away, whoever came last. May be empty."""
    others = [owner for owner in found if owner.manager != labels.SOURCE_MANAGER and owner.subresource != "status"]
    for owner in others:
        if any(_touch(path, field) for path in owner.paths):
            return owner.manager
    return others[0].manager if others and others[0].operation == "Update" else ""


def _touch(path: str, field: str) -> bool:
    return _under(path, field) or _under(field, path)


def _under(field: str, prefix: str) -> bool:
    return field == prefix or field.startswith((prefix + ".", prefix + "["))


def pointers(rules: Iterable[IgnoreRule], id: ObjectId) -> tuple[str, ...]:
    """The JSON pointers that are left alone on an object."""
    return tuple(path for rule in rules if rule.covers(id) for path in rule.paths)


def managers(rules: Iterable[IgnoreRule], id: ObjectId) -> frozenset[str]:
    """The field managers to whom what they own is left on an object."""
    return frozenset(name for rule in rules if rule.covers(id) for name in rule.managers)


def left_alone(wanted: Manifest, live: Mapping[str, Any] | None, ignored: Iterable[str]) -> Manifest:
    """``wanted`` without the fields at JSON pointers; with ``live``, with what is there in their place, so that
    applying it changes nothing there and takes nothing away."""
    result: Manifest | None = None
    for pointer in ignored:
        steps = [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]
        if not steps or steps[0] in _IDENTITY or (steps[0] == "metadata" and len(steps) < _BELOW):
            continue
        if result is None:
            result = copy.deepcopy(wanted)
        _replace(result, live, steps)
    return wanted if result is None else result


def _replace(node: Any, there: Any, steps: list[str]) -> None:
    for step in steps[:-1]:
        node, there = _child(node, step), _child(there, step)
    last = steps[-1]
    found = _child(there, last)
    if isinstance(node, dict):
        if last not in node:
            return
        if found is None:
            del node[last]
        else:
            node[last] = copy.deepcopy(found)
    elif isinstance(node, list) and last.isdecimal() and int(last) < len(node) and found is not None:
        node[int(last)] = copy.deepcopy(found)


def left_to(wanted: Manifest, live: Mapping[str, Any], theirs: Iterable[Owner]) -> Manifest:
    """``wanted`` with what is there in every field that one of ``theirs`` owns."""
    paths = tuple(path for owner in theirs for path in owner.paths)
    body: Manifest = _given(wanted, live, paths, "") if paths else wanted
    return body


def _given(wanted: Any, live: Any, paths: tuple[str, ...], at: str) -> Any:
    if at and any(_under(at, path) for path in paths):
        return copy.deepcopy(live) if live is not None else wanted
    if isinstance(wanted, Mapping):
        there = live if isinstance(live, Mapping) else {}
        return {
            key: value
            if not at and key in ("apiVersion", "kind")
            else _given(value, there.get(key), paths, _step(at, key))
            for key, value in wanted.items()
        }
    if isinstance(wanted, list) and all(isinstance(item, Mapping) and "name" in item for item in wanted):
        there = {item.get("name"): item for item in live or () if isinstance(item, Mapping)}
        return [_given(item, there.get(item["name"]), paths, f"{at}[{item['name']}]") for item in wanted]
    return wanted


def _step(at: str, key: str) -> str:
    return f"{at}.{key}" if at else key


def _child(node: Any, step: str) -> Any:
    if isinstance(node, Mapping):
        return node.get(step)
    if isinstance(node, list) and step.isdecimal() and int(step) < len(node):
        return node[int(step)]
    return None
