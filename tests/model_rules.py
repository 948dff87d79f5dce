"""Finds every rule of a kind: on its models, on their fields, and inside annotated types."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, get_args, get_origin, get_type_hints

from homeport.api.base import Model, Rule
from homeport.api.kinds import KINDS


def rules_of(kind: str) -> list[Rule]:
    """Every rule that a spec of the kind, or its name, can break."""
    found = next(k for k in KINDS if k.name.lower() == kind)
    return [*([found.name_rule] if found.name_rule else []), *_in(found.spec, set())]


def _in(annotation: Any, seen: set[Any]) -> Iterator[Rule]:
    origin = get_origin(annotation)
    if origin is ClassVar:
        return
    if origin is Annotated:
        base, *notes = get_args(annotation)
        yield from (note for note in notes if isinstance(note, Rule))
        yield from _in(base, seen)
    elif origin is not None:
        for argument in get_args(annotation):
            yield from _in(argument, seen)
    elif isinstance(annotation, type) and issubclass(annotation, Model) and annotation not in seen:
        seen.add(annotation)
        yield from annotation.rules
        for hint in get_type_hints(annotation, include_extras=True).values():
            yield from _in(hint, seen)
