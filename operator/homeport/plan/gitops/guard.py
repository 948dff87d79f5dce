"""A guard against a repository that is suddenly empty: what it would cost is asked for once more."""

from __future__ import annotations

from homeport.api import labels

FEW = 2
"""So many objects may always go, as long as something stays."""


def guard(known: int, removed: int, wanted: int) -> str:
    """Why nothing is removed, of ``known`` objects that were applied, when ``removed`` would go and ``wanted`` are
    there; empty when that is a usual change."""
    if not removed:
        return ""
    ask = f"; if that is meant, set the annotation {labels.ALLOW_PRUNE_AT} on the source to a new value"
    if not wanted:
        return f"the folder has no objects any more, and all {removed} that were applied would be removed{ask}"
    if removed > FEW and 2 * removed > known:
        return f"{removed} of {known} objects would be removed{ask}"
    return ""
