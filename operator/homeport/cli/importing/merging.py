"""One Compose file, or service, over another: mappings key by key, lists by what their entries stand for.

Source: https://github.com/compose-spec/compose-spec/blob/main/13-merge.md
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_REPLACED = frozenset({"command", "entrypoint", "test"})
_PAIRS = frozenset({"environment", "labels", "sysctls", "annotations"})
"""Written as a mapping or as a list of NAME=VALUE."""


def merged(base: Any, over: Any, path: tuple[str, ...] = ()) -> Any:
    """``base`` with ``over`` put over it; ``path`` is where both are in a Compose file."""
    field = path[-1] if path else ""
    if field in _PAIRS and len(path) == 3:
        return {**_pairs(base), **_pairs(over)}
    if field == "depends_on" and len(path) == 3 and not (isinstance(base, list) and isinstance(over, list)):
        base, over = _conditions(base), _conditions(over)
    if isinstance(base, Mapping) and isinstance(over, Mapping):
        out = dict(base)
        for key, value in over.items():
            out[key] = merged(out[key], value, (*path, str(key))) if key in out else value
        return out
    if isinstance(base, list) and isinstance(over, list) and field not in _REPLACED:
        if field in ("volumes", "devices") and len(path) == 3:
            targets = {_target(each) for each in over}
            base = [each for each in base if _target(each) not in targets]
        return [*base, *(each for each in over if each not in base)]
    return over


def _pairs(value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return dict(value)
    out: dict[str, Any] = {}
    for each in value if isinstance(value, list) else ():
        name, equals, given = str(each).partition("=")
        # Null is what Compose takes from the shell.
        out[name] = given if equals else None
    return out


def _conditions(value: Any) -> Any:
    return {str(each): {"condition": "service_started"} for each in value} if isinstance(value, list) else value


def _target(mount: Any) -> str:
    if isinstance(mount, Mapping):
        return str(mount.get("target") or "")
    parts = str(mount).split(":")
    return parts[1] if len(parts) > 1 else parts[0]
