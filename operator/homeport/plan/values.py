"""A catalog item's values against its JSON schema: sentences that name the value and what is allowed, and defaults."""

from __future__ import annotations

import copy
import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jsonschema
from jsonschema import validators
from referencing import Registry

from homeport.plan import quantities

Schema = Mapping[str, Any]

LIMIT = 10
_NOUNS = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping of keys to values",
    "null": "nothing",
}


def _quantity(validator: Any, bounds: Mapping[str, str], instance: Any, schema: Schema) -> Iterator[Any]:
    """The keyword ``quantity: {minimum, maximum}``: an amount as Kubernetes writes it, between bounds."""
    if not isinstance(instance, str):
        return
    try:
        amount = quantities.nanos(instance)
    except ValueError:
        yield jsonschema.ValidationError("isn't a quantity")
        return
    low, high = bounds.get("minimum"), bounds.get("maximum")
    if (low and amount < quantities.nanos(low)) or (high and amount > quantities.nanos(high)):
        yield jsonschema.ValidationError("is out of its range")


_extend: Any = validators.extend
_Validator: Any = _extend(jsonschema.Draft202012Validator, {"quantity": _quantity})
_NOWHERE: Any = Registry()
"""Nothing is fetched: without one, jsonschema opens a $ref's address."""
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")


def check_schema(schema: Schema) -> str:
    """What is wrong with a schema itself; empty when nothing is."""
    if _refers_outside(schema):
        return "$ref may only point into the schema itself (#/...)"
    try:
        _Validator.check_schema(schema)
    except jsonschema.SchemaError as error:
        return f"{'/'.join(str(part) for part in error.absolute_path)}: {error.message}"
    return ""


def _refers_outside(schema: Any) -> bool:
    if isinstance(schema, Mapping):
        refs = [schema[name] for name in _REFERENCES if isinstance(schema.get(name), str)]
        return any(not ref.startswith("#") for ref in refs) or any(_refers_outside(v) for v in schema.values())
    return isinstance(schema, list) and any(_refers_outside(v) for v in schema)


def problems(schema: Schema, values: Mapping[str, Any], path: str, item: str) -> list[str]:
    """What is wrong with ``values``, a sentence each, at most ten."""
    found = sorted(
        _Validator(schema, registry=_NOWHERE).iter_errors(dict(values)),
        key=lambda error: [str(p) for p in error.absolute_path],
    )
    out: dict[str, None] = {}
    for error in found:
        for sentence in _sentences(error, path, item):
            out[sentence] = None
    return list(out)[:LIMIT]


def _sentences(error: Any, path: str, item: str) -> Iterator[str]:
    where = path + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path)
    if error.validator == "required":
        missing = [name for name in error.validator_value if name not in error.instance]
        for name in missing:
            yield f"{where}.{name}: is required by {item}; write {described(_property(error.schema, name))}"
    elif error.validator == "additionalProperties" and error.validator_value is False:
        known = list(error.schema.get("properties", {}))
        for name in error.instance:
            if name not in known:
                near = difflib.get_close_matches(str(name), known, 1)
                hint = f"did you mean {near[0]}? " if near else ""
                yield f"{where}.{name}: is not a value of {item}; {hint}there is {', '.join(sorted(known)) or 'none'}"
    else:
        shown = json.dumps(error.instance, ensure_ascii=False, default=str)
        shown = shown if len(shown) <= 80 else shown[:77] + "..."
        yield f"{where}: is {shown}; write {described(error.schema)}"


def _property(schema: Any, name: str) -> Schema:
    found = (schema.get("properties") or {}).get(name)
    return found if isinstance(found, Mapping) else {}


def described(schema: Any) -> str:
    """What a schema allows, in words."""
    if not isinstance(schema, Mapping):
        return "something else"
    if "const" in schema:
        return json.dumps(schema["const"])
    if "enum" in schema:
        return "one of " + ", ".join(json.dumps(value) for value in schema["enum"])
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if "quantity" in schema:
        noun = "a quantity" + _between(schema["quantity"].get("minimum"), schema["quantity"].get("maximum"))
    else:
        noun = " or ".join(_NOUNS.get(kind, kind) for kind in kinds) or "a value"
        noun += _between(schema.get("minimum"), schema.get("maximum"))
    least, most = schema.get("minLength"), schema.get("maxLength")
    if least or most is not None:
        noun += f" of {_span(least, most)} characters"
    if "pattern" in schema:
        noun += f" that matches {schema['pattern']}"
    examples: Sequence[Any] = schema.get("examples") or ()
    return noun + (f", such as {json.dumps(examples[0], ensure_ascii=False)}" if examples else "")


def _between(low: Any, high: Any) -> str:
    if low is not None and high is not None:
        return f" from {low} to {high}"
    if low is not None:
        return f" of at least {low}"
    return f" of at most {high}" if high is not None else ""


def _span(least: int | None, most: int | None) -> str:
    if least and most is not None:
        return f"{least} to {most}"
    return f"at least {least}" if least else f"at most {most}"


def examples(schema: Schema) -> dict[str, Any]:
    """An example for each value that is required and has no default."""
    out = {}
    for name in schema.get("required") or ():
        described_ = _property(schema, name)
        found = described_.get("examples")
        if "default" not in described_ and isinstance(found, list) and found:
            out[name] = found[0]
    return out


def filled(schema: Schema, values: Mapping[str, Any]) -> dict[str, Any]:
    """``values`` with the schema's defaults where they are silent. A property without a default becomes null, so that
    templates can ask for it."""
    out = dict(values)
    for name, described_ in (schema.get("properties") or {}).items():
        if not isinstance(described_, Mapping):
            continue
        if name in out:
            if isinstance(out[name], Mapping):
                out[name] = filled(described_, out[name])
        elif "default" in described_:
            default = copy.deepcopy(described_["default"])
            out[name] = filled(described_, default) if isinstance(default, Mapping) else default
        elif described_.get("type") == "object" and "properties" in described_:
            out[name] = filled(described_, {})
        else:
            out[name] = None
    return out
