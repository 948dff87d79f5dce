"""What every model is made of: frozen models, rules with two faces, and the small types that specs share.

A *rule* is written once and read twice: its CEL text goes into the CRD, where the API server refuses bad input at
``kubectl apply``; its Python twin runs when the operator parses a resource, in ``homeport validate`` (no cluster
needed) and on components that come out of an override. Integration tests hold both against each other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

JsonSchema = dict[str, Any]


@dataclass(frozen=True)
class Rule:
    """One validation rule. ``cel`` is what the API server evaluates, ``check`` its Python twin (True = accepted).

    ``check`` is None for rules about change (``oldSelf``), which only the API server can see. ``field`` is the CEL
    ``fieldPath`` that the message is attached to.
    """

    cel: str
    message: str
    check: Callable[[Any], bool] | None = None
    field: str = ""
    optional_old_self: bool = False

    def as_validation(self) -> JsonSchema:
        """The rule as an entry of ``x-kubernetes-validations``."""
        validation: JsonSchema = {"rule": self.cel, "message": self.message}
        if self.field:
            validation["fieldPath"] = self.field
        if self.optional_old_self:
            validation["optionalOldSelf"] = True
        return validation

    def enforce(self, value: Any) -> Any:
        """Return ``value``, or raise what pydantic reports as a validation error with this rule's message."""
        if self.check is not None and not self.check(value):
            raise PydanticCustomError("rule", "{message}", {"message": self.message})
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.enforce, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchema:
        out = dict(handler(schema))
        out["x-kubernetes-validations"] = [*out.get("x-kubernetes-validations", []), self.as_validation()]
        return out


@dataclass(frozen=True)
class ListMap:
    """Marks a list that merges by key (``x-kubernetes-list-type: map``); twins are refused."""

    keys: tuple[str, ...]

    def __init__(self, *keys: str) -> None:
        object.__setattr__(self, "keys", keys)

    def enforce(self, items: Iterable[BaseModel | Mapping[str, Any]]) -> Any:
        """Refuse two items with one key, as the API server does."""
        seen: set[tuple[Any, ...]] = set()
        for item in items:
            key = tuple(_value_of(item, name) for name in self.keys)
            if key in seen:
                shown = ", ".join(f"{name} {value!r}" for name, value in zip(self.keys, key, strict=True))
                raise PydanticCustomError("duplicate", "{message}", {"message": f"two entries have the {shown}"})
            seen.add(key)
        return items

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.enforce, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchema:
        return {**handler(schema), "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(self.keys)}


@dataclass(frozen=True)
class Extra:
    """Puts ``schema`` into the generated schema as it is, for what pydantic has no word for."""

    schema: JsonSchema
    replace: bool = False

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchema:
        return dict(self.schema) if self.replace else {**handler(schema), **self.schema}

    def __hash__(self) -> int:
        return id(self)


def _value_of(item: BaseModel | Mapping[str, Any], alias: str) -> Any:
    if isinstance(item, Mapping):
        return item.get(alias)
    for name, field in type(item).model_fields.items():
        if (field.alias or name) == alias:
            return getattr(item, name)
    raise KeyError(f"{type(item).__name__} has no field {alias!r}")


def kubernetes_type(name: str) -> Extra:
    """The schema of one of Kubernetes's own types, filled in by the generator (``V1Affinity``, ``V1Container``)."""
    return Extra({"type": "object", "x-homeport-kubernetes-type": name}, replace=True)


@dataclass(frozen=True)
class _Set:
    """Marks a list without twins (``x-kubernetes-list-type: set``)."""

    def enforce(self, items: Iterable[Any]) -> Any:
        """Refuse two equal items, as the API server does."""
        seen: set[Any] = set()
        for item in items:
            if item in seen:
                raise PydanticCustomError("duplicate", "{message}", {"message": f"{item!r} is there twice"})
            seen.add(item)
        return items

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.enforce, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchema:
        return {**handler(schema), "x-kubernetes-list-type": "set"}


ATOMIC = Extra({"x-kubernetes-list-type": "atomic"})
SET = _Set()
FREE_FORM = Extra({"type": "object", "x-kubernetes-preserve-unknown-fields": True}, replace=True)


class Model(BaseModel):
    """A frozen value with camelCase names on the wire. Unknown fields are refused, as the API server does."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        populate_by_name=True,
        use_attribute_docstrings=True,
    )
    rules: ClassVar[tuple[Rule, ...]] = ()

    @model_validator(mode="after")
    def _enforce_rules(self) -> Any:
        for rule in self.rules:
            rule.enforce(self)
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchema:
        out = handler.resolve_ref_schema(handler(schema))
        if cls.rules:
            out["x-kubernetes-validations"] = [rule.as_validation() for rule in cls.rules]
        return dict(out)


def matches(pattern: str, message: str) -> Rule:
    """A rule that a whole string must match ``pattern`` (RE2, as CEL has it; written so that Python agrees)."""
    # RE2's $ is the end of the text; Python's also matches before a newline there.
    compiled = re.compile(pattern.replace("$", r"\Z"))
    quoted = pattern.replace("\\", "\\\\").replace("'", "\\'")
    return Rule(f"self.matches('{quoted}')", message, lambda value: compiled.search(str(value)) is not None)


def immutable(what: str, instead: str) -> Rule:
    """A rule for a field that never changes once written."""
    return Rule("self == oldSelf", f"{what} can't be changed; {instead}")


# --- small shared types -------------------------------------------------------------------------------------------

_LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"

Label = Annotated[
    str,
    Field(min_length=1, max_length=63),
    matches(_LABEL, "write lower-case letters, digits and '-', starting and ending with a letter or digit"),
]
"""A DNS label (RFC 1123)."""

ObjectName = Annotated[
    str,
    Field(min_length=1, max_length=253),
    matches(
        r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
        "write an object's name: lower-case letters, digits, '-' and '.'",
    ),
]
"""A DNS subdomain: the name of an object."""

HostName = Annotated[
    str,
    Field(max_length=253),
    matches(
        r"^([*][.])?[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$|^$",
        "write a host name such as shop.example.com, without scheme, port or path",
    ),
]

Text = Annotated[str, Field(max_length=1024)]
LongText = Annotated[str, Field(max_length=4096)]
ShortText = Annotated[str, Field(max_length=253)]
Token = Annotated[str, Field(max_length=128)]

Duration = Annotated[
    str,
    Field(min_length=1, max_length=32),
    matches(r"^([0-9]+(ms|s|m|h|d))+$", "write a duration such as 30s, 5m, 1h30m or 7d"),
]

_INTERVAL = r"^([1-9][0-9]*(h|m|s))+$"
_SECONDS = {"h": 3600, "m": 60, "s": 1}


def interval_seconds(text: str) -> float:
    """``1m30s`` in seconds."""
    return float(sum(int(number) * _SECONDS[unit] for number, unit in re.findall(r"([0-9]+)([hms])", text)))


def interval_between(least: str, most: str, example: str) -> Rule:
    """A rule for how often something is looked at: hours, minutes and seconds, between two bounds."""

    def check(text: str) -> bool:
        if re.search(_INTERVAL.replace("$", r"\Z"), text) is None:
            return False
        return interval_seconds(least) <= interval_seconds(text) <= interval_seconds(most)

    return Rule(
        f"self.matches('{_INTERVAL}') && duration(self) >= duration('{least}') && duration(self) <= duration('{most}')",
        f"write an interval from {least} to {most}, such as {example}",
        check,
    )


QUANTITY_PATTERN = r"^[0-9]+([.][0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$"


@dataclass(frozen=True)
class _IntOrString:
    """Kubernetes's int-or-string: both are accepted, the model keeps text."""

    pattern: str
    minimum: int = 0

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self._to_text, handler(source))

    def _to_text(self, value: Any) -> Any:
        if not isinstance(value, int) or isinstance(value, bool):
            return value
        if value < self.minimum:
            message = f"should be greater than or equal to {self.minimum}"
            raise PydanticCustomError("minimum", "{message}", {"message": message})
        return str(value)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchema:
        return {
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "x-kubernetes-int-or-string": True,
            "minimum": self.minimum,
            "pattern": self.pattern,
            "maxLength": 64,
        }


Quantity = Annotated[str, Field(pattern=QUANTITY_PATTERN, max_length=64), _IntOrString(QUANTITY_PATTERN)]
"""A resource quantity such as 500m, 2, 512Mi or 10Gi.

Source: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
"""

_PORT_NAME = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
PortRef = Annotated[str, Field(pattern=_PORT_NAME, max_length=63), _IntOrString(_PORT_NAME, minimum=1)]
"""A port's name or number."""

IntOrPercent = Annotated[str, Field(pattern=r"^[0-9]+%?$", max_length=8), _IntOrString(r"^[0-9]+%?$")]
"""A number or a percentage, as in a rolling update's maxSurge."""

SEMVER_PATTERN = (
    r"^(0|[1-9][0-9]*)[.](0|[1-9][0-9]*)[.](0|[1-9][0-9]*)"
    r"(-[0-9A-Za-z-]+([.][0-9A-Za-z-]+)*)?([+][0-9A-Za-z-]+([.][0-9A-Za-z-]+)*)?$"
)
SemVer = Annotated[
    str,
    Field(min_length=5, max_length=128),
    matches(SEMVER_PATTERN, "write a semantic version such as 1.4.0 or 2.0.0-rc.1, without a leading v"),
]


class NameRef(Model):
    """Names an object in the same namespace."""

    name: ObjectName
    """The object's name."""


class SecretKeyRef(Model):
    """Names one key of a Secret in the same namespace."""

    name: ObjectName
    """The Secret's name."""
    key: Annotated[str, Field(min_length=1, max_length=253)]
    """The key in the Secret's data."""
