"""From a body as the API server has it to a typed resource, or to errors that say what to write instead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from homeport.api import labels
from homeport.api.base import Model
from homeport.api.kinds import BY_NAME
from homeport.api.labels import OwnerKey

SpecT = TypeVar("SpecT", bound=Model)


@dataclass(frozen=True)
class Resource(Generic[SpecT]):
    """A resource of ours: its metadata, its typed spec, and its status as the API server has it."""

    kind: str
    namespace: str
    name: str
    uid: str
    generation: int
    resource_version: str
    created: str
    spec: SpecT
    raw_spec: Mapping[str, Any]
    status: Mapping[str, Any]
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    finalizers: Sequence[str] = ()
    deleted_at: str | None = None

    @property
    def key(self) -> OwnerKey:
        """The identity in queues and on children's labels."""
        return OwnerKey(self.kind, self.namespace, self.name)

    @property
    def suspended(self) -> bool:
        """Whether ``spec.suspend`` stops reconciliation."""
        return bool(getattr(self.spec, "suspend", False))

    @property
    def reconcile_token(self) -> str | None:
        """The value of the annotation that forces one reconciliation."""
        return self.annotations.get(labels.RECONCILE_AT)


class InvalidSpec(Exception):  # noqa: N818 - it is named as the condition's reason
    """A spec that can't be used; ``problems`` are sentences with the field in front."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


def parse_spec(model: type[SpecT], raw: Mapping[str, Any], path: str = "spec") -> SpecT:
    """``raw`` as ``model``. Raises InvalidSpec with one sentence per problem, each naming its field."""
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        problems = _without_echoes(error.errors())
        raise InvalidSpec([_sentence(problem, raw, path) for problem in problems[:10]]) from None


def parse(body: Mapping[str, Any]) -> Resource[Any]:
    """The typed resource in ``body``. Raises InvalidSpec when the spec can't be used."""
    kind = BY_NAME.get(str(body.get("kind")))
    if kind is None or body.get("apiVersion") != labels.API_VERSION:
        known = ", ".join(sorted(BY_NAME))
        raise InvalidSpec(
            [f"{body.get('apiVersion')} {body.get('kind')} isn't a kind of {labels.API_VERSION}; the kinds are {known}"]
        )
    metadata = body.get("metadata") or {}
    rule = kind.name_rule
    if rule is not None and rule.check is not None and metadata.get("name") and not rule.check(metadata["name"]):
        raise InvalidSpec([f"metadata.name: {rule.message}"])
    raw_spec = body.get("spec", {})
    return Resource(
        kind=kind.name,
        namespace=metadata.get("namespace") or "",
        name=metadata.get("name") or "",
        uid=metadata.get("uid") or "",
        generation=int(metadata.get("generation") or 0),
        resource_version=metadata.get("resourceVersion") or "",
        created=metadata.get("creationTimestamp") or "",
        spec=parse_spec(kind.spec, raw_spec),
        raw_spec=raw_spec,
        status=body.get("status") or {},
        labels=metadata.get("labels") or {},
        annotations=metadata.get("annotations") or {},
        finalizers=tuple(metadata.get("finalizers") or ()),
        deleted_at=metadata.get("deletionTimestamp"),
    )


_WORDS = {
    "missing": "is required",
    "extra_forbidden": "is not a field",
    "string_type": "must be text; put it in quotes",
    "int_type": "must be a whole number, without quotes",
    "bool_type": "must be true or false, without quotes",
    "dict_type": "must be a mapping of keys to values",
    "tuple_type": "must be a list",
    "model_type": "must be a mapping of fields to values",
    "model_attributes_type": "must be a mapping of fields to values",
    "literal_error": "is {input!r}; write one of {expected}",
    "string_pattern_mismatch": "is {input!r}, which doesn't match {pattern}",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "may have at most {max_length} characters",
    "too_short": "must have at least {min_length} entries",
    "too_long": "may have at most {max_length} entries",
    "greater_than_equal": "is {input!r}; it should be greater than or equal to {ge}",
    "less_than_equal": "is {input!r}; it should be less than or equal to {le}",
}


def _without_echoes(problems: Sequence[Any]) -> list[Any]:
    """A list whose only item is wrong is reported as too short, too, for pydantic counts the items that are right."""
    inside = {problem["loc"][:depth] for problem in problems for depth in range(len(problem["loc"]))}
    return [problem for problem in problems if problem["type"] != "too_short" or problem["loc"] not in inside]


def _sentence(problem: Any, raw: Mapping[str, Any], path: str) -> str:
    words = _WORDS.get(problem["type"])
    if words is None:
        words = problem["msg"] or "is invalid"
    else:
        words = words.format(**{"input": problem["input"], **problem.get("ctx", {})})
    return f"{_location(problem['loc'], raw, path)}: {words}"


def _location(loc: Sequence[int | str], raw: Any, path: str) -> str:
    """``spec.components[backend].env[0]``: list items by name where they have one."""
    out = path
    value: Any = raw
    for part in loc:
        if isinstance(part, int):
            value = value[part] if isinstance(value, Sequence) and part < len(value) else None
            name = value.get("name") if isinstance(value, Mapping) else None
            out += f"[{name if isinstance(name, str) else part}]"
        elif part != "[key]":
            value = value.get(part) if isinstance(value, Mapping) else None
            out += f".{part}"
    return out
