"""Planned changes for people and for programs: what differs, field by field, and what it costs."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.text import Text

from homeport.cli import output
from homeport.plan.diff import immutable_differences
from homeport.plan.types import Change, Verb

_SIGNS = {
    Verb.CREATE: ("+", "green"),
    Verb.UPDATE: ("~", "yellow"),
    Verb.REPLACE: ("±", "bold magenta"),
    Verb.DELETE: ("-", "red"),
    Verb.KEEP: ("=", "blue"),
}
_WORDS = {
    Verb.CREATE: "to create",
    Verb.UPDATE: "to change",
    Verb.REPLACE: "to replace",
    Verb.DELETE: "to delete",
    Verb.KEEP: "kept",
    Verb.NOTHING: "unchanged",
}
HIDDEN = "(hidden)"
CONTEXT = 2
"""Lines around a change within text of several lines."""
_LONGEST = 160
_ITEM_KEYS = ("name", "mountPath", "ip", "topologyKey", "containerPort", "port")


class Absent:
    """Says that there is no value, which a null is."""

    def __repr__(self) -> str:
        return "(none)"


ABSENT = Absent()


@dataclass(frozen=True)
class FieldChange:
    """One field: what is there and what is wanted. ``forces``: it can't be changed on the object that is there."""

    path: str
    live: Any
    desired: Any
    forces: bool = False


def at(value: Any, path: str) -> Any:
    """The value at a path as ``plan.diff`` spells them; ABSENT when there is none. Keys may hold dots."""
    if not path:
        return value
    if isinstance(value, Mapping):
        rest = path.removeprefix(".")
        for key in sorted((k for k in value if isinstance(k, str)), key=len, reverse=True):
            after = rest[len(key) :]
            if rest.startswith(key) and (not after or after[0] in ".["):
                found = at(value[key], after)
                if found is not ABSENT:
                    return found
        return ABSENT
    if isinstance(value, Sequence) and not isinstance(value, str) and path.startswith("["):
        token, _, after = path[1:].partition("]")
        for item in value:
            if isinstance(item, Mapping) and any(key in item and str(item[key]) == token for key in _ITEM_KEYS):
                return at(item, after)
        if token.isdecimal() and int(token) < len(value):
            return at(value[int(token)], after)
    return ABSENT


def field_changes(change: Change) -> list[FieldChange]:
    """What differs, on the paths that the plan found. What is secret is hidden."""
    if change.child is None or change.live is None:
        return []
    desired, live = hidden(change.child.manifest), hidden(change.live)
    fixed = set(immutable_differences(change.id.kind, change.fields)) if change.verb is Verb.REPLACE else set()
    return [FieldChange(path, at(live, path), at(desired, path), path in fixed) for path in change.fields]


def hidden(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    """``manifest`` without the content of a Secret."""
    if manifest.get("kind") != "Secret":
        return manifest
    out = dict(manifest)
    for name in ("data", "stringData"):
        if isinstance(out.get(name), Mapping):
            out[name] = dict.fromkeys(out[name], HIDDEN)
    return out


def order(changes: Sequence[Change]) -> list[Change]:
    """By cluster and namespace, in each what comes before what goes, then by kind and name."""
    rank = list(_SIGNS)
    return sorted(
        (change for change in changes if change.verb is not Verb.NOTHING),
        key=lambda c: (c.cluster, c.id.namespace, rank.index(c.verb), c.id.kind, c.id.name),
    )


def counts(changes: Sequence[Change]) -> dict[Verb, int]:
    """How many of each."""
    return {verb: sum(change.verb is verb for change in changes) for verb in _WORDS}


def render_changes(changes: Sequence[Change], console: Console, *, full: bool = False) -> None:
    """Print what would be done: objects by namespace, fields by path, and a last line that counts.

    ``full`` shows the manifests of what is to be created, too.
    """
    place = None
    for change in order(changes):
        here = (change.cluster, change.id.namespace)
        if here != place:
            place = here
            console.print(Text(_heading(change), "bold"), soft_wrap=True)
        console.print(_line(change), soft_wrap=True)
        if change.verb in (Verb.UPDATE, Verb.REPLACE):
            for field in field_changes(change):
                for line in field_lines(field):
                    console.print(line, soft_wrap=True)
        elif change.verb is Verb.CREATE and full and change.child is not None:
            for text in output.yaml_text(dict(hidden(change.child.manifest))).splitlines():
                console.print(Text(f"      + {text}", "green"), soft_wrap=True)
    _summary(changes, console)


def _heading(change: Change) -> str:
    place = f"namespace {change.id.namespace}" if change.id.namespace else "in the whole cluster"
    return f"{place} (cluster {change.cluster})" if change.cluster else place


def _line(change: Change) -> Text:
    sign, style = _SIGNS[change.verb]
    line = Text("  ")
    line.append(f"{sign} {change.id.kind} {change.id.name}", style)
    if change.child is not None and change.child.component and change.child.component != change.id.name:
        line.append(f"  of {change.child.component}", "dim")
    if change.reason:
        line.append(f"  {change.reason}", "dim")
    if change.drift:
        line.append("  drift", "bold yellow")
    if change.loses_data:
        line.append("  LOSES DATA", "bold white on red")
    return line


def field_lines(field: FieldChange) -> list[Text]:
    """One field as lines: both values on one where they are short, a diff where they aren't."""
    head = Text(f"      {field.path}: ", "cyan")
    mark = Text("  forces replacement", "bold magenta") if field.forces else Text()
    if _short(field.live) and _short(field.desired):
        head.append(_scalar(field.live), "red" if field.live is not ABSENT else "dim")
        head.append(" → ")
        head.append(_scalar(field.desired), "green" if field.desired is not ABSENT else "dim")
        return [head.append_text(mark)]
    old, new = _lines(field.live), _lines(field.desired)
    out = [head.append_text(mark)]
    for line in list(difflib.unified_diff(old, new, n=CONTEXT, lineterm=""))[2:]:
        style = {"+": "green", "-": "red", "@": "dim"}.get(line[0], "")
        out.append(Text(f"        {line}", style))
    return out


def _short(value: Any) -> bool:
    if isinstance(value, str):
        return "\n" not in value and len(value) <= _LONGEST
    return not isinstance(value, Mapping | list | tuple)


def _scalar(value: Any) -> str:
    return repr(value) if value is ABSENT else json.dumps(value, ensure_ascii=False, default=str)


def _lines(value: Any) -> list[str]:
    if value is ABSENT:
        return []
    text = value if isinstance(value, str) else output.yaml_text(value)
    return text.splitlines()


def _summary(changes: Sequence[Change], console: Console) -> None:
    found = counts(changes)
    if not any(found[verb] for verb in _WORDS if verb not in (Verb.NOTHING, Verb.KEEP)):
        total = found[Verb.NOTHING] + found[Verb.KEEP]
        console.print(Text(f"nothing to do: {total} objects are as they should be", "green"), soft_wrap=True)
        return
    parts = [f"{found[verb]} {_WORDS[verb]}" for verb in _WORDS if found[verb]]
    console.print(Text(", ".join(parts), "bold"), soft_wrap=True)
    lost = [change for change in changes if change.loses_data]
    if lost:
        names = ", ".join(change.id.shown for change in lost)
        console.print(Text(f"DATA WOULD BE LOST: {names}", "bold red"), soft_wrap=True)


def as_json(changes: Sequence[Change]) -> dict[str, Any]:
    """For programs: every change but those that do nothing, and the counts. Secrets' content is hidden."""
    return {
        "changes": [_change_json(change) for change in order(changes)],
        "summary": {str(verb): number for verb, number in counts(changes).items()},
        "losesData": any(change.loses_data for change in changes),
    }


def _change_json(change: Change) -> dict[str, Any]:
    out: dict[str, Any] = {
        "verb": str(change.verb),
        "object": {
            "group": change.id.group,
            "kind": change.id.kind,
            "namespace": change.id.namespace,
            "name": change.id.name,
        },
        "reason": change.reason,
        "losesData": change.loses_data,
        "drift": change.drift,
        "cluster": change.cluster,
        "environment": change.child.environment if change.child else "",
        "component": change.child.component if change.child else "",
        "fields": [_field_json(field) for field in field_changes(change)],
    }
    if change.verb is Verb.CREATE and change.child is not None:
        out["manifest"] = hidden(change.child.manifest)
    return out


def _field_json(field: FieldChange) -> dict[str, Any]:
    out: dict[str, Any] = {"path": field.path}
    if field.live is not ABSENT:
        out["live"] = field.live
    if field.desired is not ABSENT:
        out["desired"] = field.desired
    if field.forces:
        out["forcesReplacement"] = True
    return out
