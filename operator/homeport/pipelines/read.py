"""Reading pipeline.yaml: by its JSON Schema, then by what no schema says; messages name the line and what to write."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import jsonschema
import yaml
from jsonschema.exceptions import ValidationError as SchemaError
from pydantic import ValidationError

from homeport.pipelines.model import Pipeline
from homeport.plan.gitops import places

_KINDS = {"string": "text", "integer": "a whole number", "number": "a number", "boolean": "true or false"}
_KINDS |= {"array": "a list", "object": "a mapping of fields", "null": "nothing"}


@dataclass(frozen=True)
class Problem:
    """What is wrong on which line (from 1), with which field, and what to write."""

    line: int
    field: str
    message: str

    @property
    def sentence(self) -> str:
        """Without the line."""
        return f"{self.field}: {self.message}" if self.field else self.message

    def __str__(self) -> str:
        return f"line {self.line}: {self.sentence}"


class InvalidPipeline(Exception):  # noqa: N818 - it says what is wrong with a file
    """A pipeline.yaml that can't be used; ``problems`` by their lines."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


@cache
def schema() -> dict[str, Any]:
    """The JSON Schema of pipeline.yaml (draft 2020-12)."""
    made = Pipeline.model_json_schema(by_alias=True)
    found: dict[str, Any] = _plain(made)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://homeport.dev/schemas/pipeline.schema.json",
        **found,
        "title": "pipeline.yaml",
    }


def _plain(node: Any) -> Any:
    """Without what only CRDs have, and without titles that say a field's name again."""
    if isinstance(node, list):
        return [_plain(item) for item in node]
    if not isinstance(node, dict):
        return node
    out: dict[Any, Any] = {}
    for key, value in node.items():
        if key.startswith("x-kubernetes-") or (key == "title" and isinstance(value, str)):
            continue
        if key in ("properties", "$defs"):
            out[key] = {name: _plain(item) for name, item in value.items()}
        else:
            out[key] = " ".join(value.split()) if key == "description" else _plain(value)
    return out


def read(text: str) -> Pipeline:
    """The pipeline. Raises InvalidPipeline."""
    try:
        node = yaml.compose(text, yaml.SafeLoader)
        body = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        words = " ".join(part for part in (error.context, error.problem) if part)
        raise InvalidPipeline([Problem(mark.line + 1 if mark else 1, "", f"this isn't YAML: {words}")]) from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise InvalidPipeline([Problem(1, "", f"this isn't YAML: {error}")]) from None
    if node is None or not isinstance(body, dict):
        raise InvalidPipeline([Problem(1, "", "write a mapping of fields: name, homeport, components, …")])

    def at(field: str, message: str) -> Problem:
        return Problem(places.locate(node, field).line, field, message)

    validator = jsonschema.Draft202012Validator(schema())
    found = [at(*told) for error in validator.iter_errors(body) for told in _told(error)]
    if not found:
        try:
            return Pipeline.model_validate(body)
        except ValidationError as error:
            found = [at(*told) for one in error.errors() for told in _rules(one)]
    raise InvalidPipeline(sorted(set(found), key=lambda problem: (problem.line, problem.field, problem.message)))


def _rules(error: Any) -> Iterator[tuple[str, str]]:
    """What the models say beyond the schema: each line is a field and a sentence."""
    where = _path(error["loc"])
    for line in str(error["msg"]).removeprefix("Value error, ").splitlines():
        field, colon, message = line.partition(": ")
        if colon and re.fullmatch(r"[A-Za-z][\w.\[\]-]*", field):
            yield (f"{where}.{field}" if where else field), message
        else:
            yield where, line


def _path(parts: Sequence[Any]) -> str:
    """``components[0].name``."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts).removeprefix(".")


def _told(error: SchemaError) -> Iterator[tuple[str, str]]:
    """A schema's error in words: the field, and what to write."""
    where = _path(list(error.absolute_path))
    if error.validator == "anyOf" and error.context:
        real = [one for one in error.context if one.validator != "type" or one.validator_value != "null"]
        deepest = [one for one in real if one.validator != "type"] or real
        yield from _told(max(deepest, key=lambda one: len(one.absolute_path)))
        return
    yield from _sentence(where, error)


def _sentence(where: str, error: SchemaError) -> Iterator[tuple[str, str]]:
    given: Any = error.instance
    wanted: Any = error.validator_value
    parent: Mapping[str, Any] = error.schema if isinstance(error.schema, Mapping) else {}
    if error.validator == "additionalProperties":
        fields = sorted(parent.get("properties") or {})
        for name in sorted(set(given) - set(fields)):
            near = difflib.get_close_matches(name, fields, 1)
            instead = f"write {near[0]}" if near else f"there are {', '.join(fields)}"
            yield _path([*error.absolute_path, name]), f"is no field here; {instead}"
    elif error.validator == "required":
        for name in wanted:
            if name not in given:
                about = (parent.get("properties") or {}).get(name, {}).get("description", "")
                yield where, f"{name} is missing: {about}"
    elif error.validator == "type":
        kinds = [wanted] if isinstance(wanted, str) else wanted
        hint = "; put it in quotes" if "string" in kinds and isinstance(given, int | float | bool) else ""
        yield where, f"write {' or '.join(_KINDS[kind] for kind in kinds)}{hint}"
    elif error.validator == "enum":
        yield where, f"{given!r} isn't known; write one of {', '.join(map(str, wanted))}"
    elif error.validator == "pattern":
        yield where, f"{given!r} doesn't fit; {parent.get('x-write') or f'write what matches {wanted}'}"
    elif error.validator in ("minItems", "minLength"):
        yield where, f"is empty; {parent.get('x-write') or 'write at least one'}"
    elif error.validator in ("maxItems", "maxLength", "maxProperties"):
        yield where, f"is too long; {wanted} is the most"
    elif error.validator in ("minimum", "maximum"):
        yield where, f"write a number {'from' if error.validator == 'minimum' else 'up to'} {wanted}"
    else:
        yield where, error.message
