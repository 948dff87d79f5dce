"""Free-form parts (containers, affinity, what a patch leaves behind) in the form in which the API server stores them.

What rendering builds itself is canonical by construction and doesn't come through here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from homeport.plan import quantities

# Empty means something here: everything, or a directory (a middleware) without settings.
_MEANT_EMPTY = frozenset({"compress", "emptyDir", "podSelector", "namespaceSelector", "labelSelector", "selector"})
# Go drops these when they hold the zero value (omitempty without a pointer), so they are never stored.
_FALSE_DROPPED = frozenset({"hostIPC", "hostNetwork", "hostPID", "paused", "publishNotReadyAddresses", "readOnly"})
_FALSE_DROPPED |= {"stdin", "stdinOnce", "tty"}
_ZERO_DROPPED = frozenset({"hostPort", "initialDelaySeconds", "minReadySeconds", "nodePort"})
_TEXT_DROPPED = frozenset({"effect", "imagePullPolicy", "key", "operator", "prefix", "subPath", "value", "workingDir"})
_QUANTITY_MAPS = frozenset({"limits", "requests"})
_QUANTITIES = frozenset({"divisor", "sizeLimit"})
# Their keys are people's own words, so none of them means anything here.
_OPAQUE = frozenset({"annotations", "data", "labels", "matchLabels", "nodeSelector", "stringData"})


def tidy(value: Any, key: str = "") -> Any:
    """A copy of ``value`` without nulls, empty maps and lists and zero values that aren't stored, quantities
    canonical. Raises ValueError when a quantity isn't one."""
    if isinstance(value, Mapping):
        if key in _OPAQUE:
            return {name: entry for name, entry in value.items() if entry is not None}
        if key in _QUANTITY_MAPS:
            return quantities.canonical_map({name: entry for name, entry in value.items() if entry is not None})
        out = {}
        for name, entry in value.items():
            kept = tidy(entry, name)
            if not _dropped(name, kept):
                out[name] = kept
        return out
    if isinstance(value, list | tuple):
        return [tidy(entry) for entry in value if entry is not None]
    if key in _QUANTITIES and isinstance(value, str | int | float):
        return quantities.canonical(str(value))
    return value


def _dropped(name: str, value: Any) -> bool:
    if value is None:
        return True
    if value is False:
        return name in _FALSE_DROPPED
    if value == "":
        return name in _TEXT_DROPPED
    if value == 0 and isinstance(value, int):
        return name in _ZERO_DROPPED
    return value in ({}, []) and name not in _MEANT_EMPTY


def int_or_string(text: str) -> int | str:
    """A port or a count as the API server stores it: digits are a number."""
    return int(text) if text.isdecimal() else text
