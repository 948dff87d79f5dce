"""One rendering as the worker process does it: values against their schema, defaults, templates. Plain data in and out.

Schemas and templates may come from anybody who may write a CatalogItem, and a regular expression in a schema can take
as long as a loop in a template; so both are evaluated where time and memory are bounded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from homeport.plan import values
from homeport.plan.gitops import reading
from homeport.plan.templates import TemplateError, TooLong, compiled, rendered

_TRIED = "x"


def answer(request: Mapping[str, Any]) -> dict[str, Any]:
    """``{components}``, or ``{files}`` of a repository; ``{problems}`` for values that don't fit; ``{problem}`` for an
    item that is broken itself."""
    if "files" in request or "names" in request:
        return reading.answer(request)
    try:
        if "check" in request:
            return {"problem": _checked(request["check"])}
        if "compile" in request:
            compiled(request["compile"])
            return {"problem": ""}
        return _rendered(request)
    except TooLong:
        raise
    except TemplateError as error:
        return {"problem": str(error)[:2000]}
    except RecursionError:
        return {"problem": "values.schema.json: refers to itself without an end"}
    except MemoryError:
        return {"problem": "needs more memory than a template may have"}
    except Exception as error:
        # jsonschema raises what its parts raise: re.error for a pattern, referencing's for a $ref that leads nowhere.
        return {"problem": f"values.schema.json: {type(error).__name__}: {error}"[:2000]}


def _checked(schema: Mapping[str, Any]) -> str:
    wrong = values.check_schema(schema)
    if not wrong:
        # A pattern or a $ref that can't be used is only found in use.
        for name, described in (schema.get("properties") or {}).items():
            given = described.get("default", _TRIED) if isinstance(described, Mapping) else _TRIED
            values.problems(schema, {name: given}, "values", "")
    return wrong


def _rendered(request: Mapping[str, Any]) -> dict[str, Any]:
    schema, given = request["schema"], request["values"]
    if request.get("examples"):
        given = {**values.examples(schema), **given}
    problems = values.problems(schema, given, request["path"], request["item"])
    if problems:
        return {"problems": problems}
    settings = values.filled(schema, given)
    context = {**request["context"], "values": settings}
    context["image"] = settings.get("image") or context["image"]
    return {"components": rendered(request["templates"], context)}
