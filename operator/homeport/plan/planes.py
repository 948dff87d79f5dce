"""Whose objects are whose in a cluster that several control planes write to.

An operator marks what it makes in other clusters with a label that says which control plane it is of. A Homeport that
runs in such a cluster, and a second one that writes there too, then leave each other's objects alone, even where
projects and applications have the same names. In its own cluster nothing is marked: what a restored or moved cluster
brings with it is still its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from homeport.api import labels
from homeport.plan.world import Desired


def marked(desired: Desired, plane: Callable[[str], str]) -> Desired:
    """``desired`` with the control plane's mark on every object, and Pod template, that goes to another cluster.

    ``plane`` tells by a cluster's identity what the control plane is called there; empty means no mark.
    """
    if not any(child.cluster for child in desired.children):
        return desired
    children = tuple(
        dataclasses.replace(child, manifest=_with_mark(child.manifest, name))
        if child.cluster and (name := plane(child.cluster))
        else child
        for child in desired.children
    )
    return dataclasses.replace(desired, children=children)


def _with_mark(value: Any, plane: str) -> Any:
    """A copy of ``value`` with the mark beside every ``managed-by`` label of ours, templates' included."""
    if isinstance(value, dict):
        out = {key: _with_mark(item, plane) for key, item in value.items()}
        if out.get(labels.MANAGED_BY) == labels.MANAGER:
            out[labels.CONTROL_PLANE] = plane
        return out
    if isinstance(value, list):
        return [_with_mark(item, plane) for item in value]
    return value
