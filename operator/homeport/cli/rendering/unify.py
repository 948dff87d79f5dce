"""One template for several environments: what differs beyond the usual values becomes a value too. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from homeport.cli.rendering.nodes import Block, Expr, When
from homeport.cli.rendering.values import Values, camel, reach

MISSING: Any = object()

# Below these an object is compared part by part; everything else is one value.
_STRUCTURE = frozenset({"", "metadata", "spec", "template", "jobTemplate", "containers", "initContainers"})
_WORKLOADS = frozenset({"Deployment", "StatefulSet", "CronJob", "Job"})
_TAKEN = frozenset(
    {
        *("image", "replicas", "autoscaling", "env", "resources", "files", "persistence", "migrate", "schedule"),
        *("suspend", "nodeSelector", "tolerations", "affinity"),
    }
)


@dataclass(frozen=True)
class Aspect:
    """One object in all environments that have it. ``component`` is empty for what is in none."""

    kind: str
    suffix: str
    component: str
    values: Sequence[Values]
    raws: Sequence[Mapping[str, Any]]
    trees: Sequence[Mapping[str, Any]]


def unified(aspect: Aspect) -> dict[str, Any]:
    """The one template."""
    out: dict[str, Any] = _unify(aspect, (), list(aspect.raws), list(aspect.trees))
    return out


def _unify(aspect: Aspect, path: tuple[str, ...], raws: list[Any], trees: list[Any]) -> Any:
    there = [tree for tree in trees if tree is not MISSING]
    if len(there) == len(trees) and all(tree == trees[0] for tree in trees):
        return trees[0]
    last = path[-1] if path else ""
    structural = last in _STRUCTURE or (len(path) > 1 and path[-2] in ("containers", "initContainers"))
    if structural and len(there) == len(trees):
        if all(isinstance(tree, Mapping) for tree in trees):
            return {
                key: _unify(aspect, (*path, key), [_get(r, key) for r in raws], [_get(t, key) for t in trees])
                for key in dict.fromkeys(key for tree in trees for key in tree)
            }
        if all(isinstance(tree, list) for tree in trees) and _same_names(raws):
            return [
                _unify(aspect, (*path, items[0]["name"]), list(items), list(parts))
                for items, parts in zip(zip(*raws, strict=True), zip(*trees, strict=True), strict=True)
            ]
    return _hole(aspect, path, raws)


def _get(value: Any, key: str) -> Any:
    return value.get(key, MISSING) if isinstance(value, Mapping) else MISSING


def _same_names(lists: list[Any]) -> bool:
    names = [[item.get("name") for item in found] if isinstance(found, list) else None for found in lists]
    return names[0] is not None and all(found == names[0] for found in names)


def _hole(aspect: Aspect, path: tuple[str, ...], raws: list[Any]) -> Any:
    key = _key(aspect, path)
    found = [raw for raw in raws if raw is not MISSING]
    for values, raw in zip(aspect.values, raws, strict=True):
        if raw is not MISSING:
            values.of(aspect.component)[key] = raw
    there = reach("$c" if aspect.component else ".Values", key)
    if len(found) == len(raws):
        return _node(there, found)
    if all(found):
        return When(f"with {there}", _node(".", found))
    return When(f'if not (kindIs "invalid" {there})', _node(there, found))


def _node(expression: str, found: list[Any]) -> Any:
    if all(isinstance(value, dict | list) for value in found):
        return Block(f"toYaml {expression}")
    if all(isinstance(value, str) for value in found):
        return Expr(f"{expression} | quote")
    if all(isinstance(value, bool) for value in found):
        return Expr(expression)
    if all(isinstance(value, int) and not isinstance(value, bool) for value in found):
        return Expr(f"{expression} | int64")
    return Expr(f"{expression} | toJson")


def _key(aspect: Aspect, path: tuple[str, ...]) -> str:
    """A name for the value at ``path``, as people would call it."""
    last = path[-1]
    container = path[-2] if len(path) > 2 and path[-3] in ("containers", "initContainers") else ""
    if aspect.kind not in _WORKLOADS or path[0] != "spec":
        return camel(aspect.kind[0].lower() + aspect.kind[1:], aspect.suffix, last)
    start = "" if aspect.kind != "Job" else aspect.suffix or "job"
    if last in ("annotations", "labels"):
        return camel(start, "pod", last)
    if container and container != aspect.component:
        return camel(start, container, last)
    key = camel(start, last)
    # Several things of one name: the Pod's and the container's security context.
    if last == "securityContext" and not container:
        return camel(start, "pod", last)
    return camel(aspect.kind[0].lower() + aspect.kind[1:], last) if key in _TAKEN else key
