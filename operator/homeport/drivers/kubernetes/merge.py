"""How the API server merges, approximated without schemas: server-side apply, merge patches, selectors.

The memory driver is built on it. A *path* leads from an object's root to a field: strings for the fields of maps,
an ``Item`` for an element of a list that is merged by a key. Lists that aren't in ``LIST_KEYS`` are atomic, as are
selectors.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from homeport.drivers.kubernetes import errors
from homeport.drivers.kubernetes.types import GVK, Manifest

LIST_KEYS: dict[str, tuple[str, ...]] = {
    "containers": ("name",),
    "initContainers": ("name",),
    "env": ("name",),
    "volumes": ("name",),
    "volumeMounts": ("mountPath",),
    "ports": ("containerPort", "port", "name"),
    "conditions": ("type",),
    "ownerReferences": ("uid",),
    "imagePullSecrets": ("name",),
    "listeners": ("name",),
}
"""The lists that built-in schemas merge by a key; of several candidates the first that an element has."""
_SETS = frozenset({"finalizers"})
_ATOMIC = frozenset({"selector", "nodeSelector"})


class Item(NamedTuple):
    """An element of a merged list: the key's field and its value; for a set the field is ""."""

    field: str
    value: Any


Path = tuple[str | Item, ...]
Owner = tuple[str, str]
"""A field manager and the subresource ("" for none) that it applied."""
Owners = dict[Owner, set[Path]]


def _item(field: str, element: Any) -> Item | None:
    """The key of an element of list ``field``; None when the list is atomic."""
    if field in _SETS:
        return Item("", element)
    if isinstance(element, dict):
        for key in LIST_KEYS.get(field, ()):
            if key in element:
                return Item(key, element[key])
    return None


def _keyed(field: str, elements: list[Any]) -> list[tuple[Item, Any]] | None:
    found = [(_item(field, element), element) for element in elements]
    keyed = [(key, element) for key, element in found if key is not None]
    return keyed if keyed and len(keyed) == len(found) else None


def leaves(value: Any, path: Path = ()) -> Iterator[Path]:
    """The paths that an apply of ``value`` owns: its leaves, and the elements of merged lists."""
    field = next((step for step in reversed(path) if isinstance(step, str)), "")
    if isinstance(value, dict) and value and not (field in _ATOMIC and path and path[-1] == field):
        for key, part in value.items():
            yield from leaves(part, (*path, key))
        return
    keyed = _keyed(field, value) if isinstance(value, list) and path and path[-1] == field else None
    if keyed is None:
        yield path
        return
    for item, element in keyed:
        yield (*path, item)
        if isinstance(element, dict):
            for key, part in element.items():
                yield from leaves(part, (*path, item, key))


def value_at(manifest: Any, path: Path) -> Any:
    """What is there; None when nothing is."""
    for step in path:
        if isinstance(step, Item):
            if not isinstance(manifest, list):
                return None
            manifest = next((e for e in manifest if _is(e, step)), None)
        else:
            manifest = manifest.get(step) if isinstance(manifest, dict) else None
    return manifest


def _is(element: Any, item: Item) -> bool:
    if not item.field:
        return bool(element == item.value)
    return isinstance(element, dict) and element.get(item.field) == item.value


def remove(manifest: Any, path: Path) -> None:
    """Take away what is there, in place, and the parents that this leaves empty."""
    parent = value_at(manifest, path[:-1])
    last = path[-1]
    if isinstance(last, Item):
        if isinstance(parent, list):
            parent[:] = [element for element in parent if not _is(element, last)]
    elif isinstance(parent, dict):
        parent.pop(last, None)
    if parent is not None and not parent and len(path) > 2:
        remove(manifest, path[:-1])


def merged(live: Any, declared: Any, field: str = "") -> Any:
    """``live`` with ``declared`` over it; ``live`` may be changed."""
    if isinstance(declared, dict) and isinstance(live, dict) and field not in _ATOMIC:
        for key, part in declared.items():
            live[key] = merged(live.get(key), part, key)
        return live
    if isinstance(declared, list) and isinstance(live, list):
        keyed = _keyed(field, declared)
        if keyed is not None:
            for item, element in keyed:
                at = next((i for i, e in enumerate(live) if _is(e, item)), None)
                if at is None:
                    live.append(copy.deepcopy(element))
                else:
                    live[at] = merged(live[at], element)
            return live
    return copy.deepcopy(declared)


def apply(live: Manifest, declared: Manifest, mine: Owner, owners: Owners, *, force: bool) -> Manifest:
    """Server-side apply: ``live`` (changed in place) with ``declared``; ``owners`` is brought up to date.

    What ``mine`` applied before, leaves out now, and nobody else has applied, goes. Raises Conflict without ``force``
    when a field that another manager applied would change; with it, the field changes hands.
    """
    paths = set(leaves(declared))
    causes: list[errors.Cause] = []
    for other, owned in owners.items():
        if other == mine:
            continue
        # An element of a merged list belongs to all who list it; what differs is told by its fields.
        taken = {
            path
            for path in owned & paths
            if isinstance(path[-1], str) and value_at(live, path) != value_at(declared, path)
        }
        if force:
            owned.difference_update(taken)
        reason = f'conflict with "{other[0]}"'
        causes.extend(errors.Cause(dotted(path), reason, "FieldManagerConflict") for path in sorted(taken, key=repr))
    if causes and not force:
        text = f"Apply failed with {len(causes)} conflict(s): {causes[0].message}: {causes[0].field}"
        raise errors.Conflict(409, "Conflict", text, tuple(causes))
    kept = paths.union(*(owned for other, owned in owners.items() if other != mine))
    for path in sorted(owners.get(mine, set()) - kept, key=len):
        if not any(other[: len(path)] == path for other in kept):
            remove(live, path)
    owners[mine] = paths
    result: Manifest = merged(live, declared)
    return result


def merge_patch(live: Any, patch: Any) -> Any:
    """RFC 7386; ``live`` may be changed."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = live if isinstance(live, dict) else {}
    for key, part in patch.items():
        if part is None:
            result.pop(key, None)
        else:
            result[key] = merge_patch(result.get(key), part)
    return result


def dotted(path: Path) -> str:
    """As conflicts spell it: ``.spec.template.spec.containers[name="web"].image``."""
    return "".join(
        f"[{step.field}={json.dumps(step.value)}]" if isinstance(step, Item) else f".{step}" for step in path
    )


def managed_fields(gvk: GVK, owners: dict[tuple[str, str], set[Path]]) -> list[Manifest]:
    """metadata.managedFields for what each (manager, subresource) has applied."""
    entries = []
    for (manager, subresource), paths in owners.items():
        tree: Manifest = {}
        for path in sorted(paths, key=repr):
            node = tree
            for step in path:
                name = f"k:{json.dumps({step.field: step.value})}" if isinstance(step, Item) else f"f:{step}"
                node = node.setdefault(name, {})
        entry = {"manager": manager, "operation": "Apply", "apiVersion": gvk.api_version, "fieldsType": "FieldsV1"}
        entries.append({**entry, "fieldsV1": tree, **({"subresource": subresource} if subresource else {})})
    return entries


def matches(manifest: Manifest, labels: str | None, fields: str | None = None) -> bool:
    """Whether a label selector (``a=b,c!=d,e,!f``) and a field selector let ``manifest`` through."""
    have = manifest["metadata"].get("labels") or {}
    for term in filter(None, (labels or "").split(",")):
        if "=" in term:
            key, _, value = term.replace("==", "=").partition("=")
            if key.endswith("!"):
                if have.get(key[:-1]) == value:
                    return False
            elif have.get(key) != value:
                return False
        elif (term.removeprefix("!") in have) == term.startswith("!"):
            return False
    for term in filter(None, (fields or "").split(",")):
        name, _, value = term.replace("==", "=").partition("=")
        if value_at(manifest, tuple(name.split("."))) != value:
            return False
    return True
