"""A component's override: the same fields, nothing required but list keys, no defaults, no rules across fields.

``schema.override_schema`` makes the schema for the API server; here is its twin. What holds across fields is checked
on the component that comes out of the merge.
"""

from __future__ import annotations

from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler, create_model
from pydantic_core import CoreSchema, core_schema

from homeport.api.base import JsonSchema, ListMap, Model, Rule
from homeport.api.component import Component, ComponentOverride


class Override:
    """Marks a mapping that is checked as a component's override and kept as it was written."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        def check(value: Any, inner: core_schema.ValidatorFunctionWrapHandler) -> Any:
            inner(value)
            return value

        as_written = core_schema.plain_serializer_function_ser_schema(lambda value: value)
        model = handler.generate_schema(override_model())
        return core_schema.no_info_wrap_validator_function(check, model, serialization=as_written)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchema:
        return {"type": "object", "x-homeport-override-of": "Component"}


@cache
def override_model() -> type[Model]:
    """The model of an override."""
    fields = {name: spec for name, spec in _fields(Component, ()).items() if name != "name"}
    fields["without"] = (get_type_hints(ComponentOverride, include_extras=True)["without"] | None, None)
    return create_model("Override", __base__=Model, **fields)


@cache
def _loose_model(model: type[Model], keys: tuple[str, ...]) -> type[Model]:
    return create_model(f"{model.__name__}Override", __base__=Model, **_fields(model, keys))


def _fields(model: type[Model], keys: tuple[str, ...]) -> dict[str, Any]:
    hints = get_type_hints(model, include_extras=True)
    out: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        wire = field.alias or name
        if wire in keys:
            default = ... if field.is_required() else field.default
            out[name] = (hints[name], Field(default, alias=wire))
        else:
            out[name] = (_loose(hints[name]) | None, Field(None, alias=wire))
    return out


def _loose(annotation: Any, keys: tuple[str, ...] = ()) -> Any:
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        base, *notes = args
        keys = next((note.keys for note in notes if isinstance(note, ListMap)), ())
        if get_origin(base) in (tuple, dict):
            notes = [note for note in notes if not isinstance(note, Rule)]
        return Annotated[(_loose(base, keys), *notes)]
    if origin in (Union, UnionType):
        return Union[tuple(_loose(option) for option in args if option is not NoneType)]  # noqa: UP007
    if origin is tuple:
        return tuple[_loose(args[0], keys), ...]  # type: ignore[misc]
    if origin is dict:
        return dict[str, _loose(args[1])]  # type: ignore[misc]
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return _loose_model(annotation, keys)
    return annotation
