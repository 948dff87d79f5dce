"""Templates of catalog items, rendered in a sandbox: text in, components as plain data out.

A template sees what it is given and the item's other templates; no attribute that starts with an underscore, no file,
no clock, no chance. ``range`` and the output are bounded here; time and memory are bounded by the worker process in
which the operator runs this (``drivers/catalog``).
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import yaml
from jinja2 import DictLoader, StrictUndefined, Template, TemplateNotFound, TemplateSyntaxError, UndefinedError
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

SUFFIX = ".yaml.j2"
FOLDER = "templates/"
"""Where a catalog item has them."""
STEPS = 10_000
OUTPUT = 256 * 1024
"""Characters that one template may write."""
DOCUMENTS = 64

_FROM_CHANCE = ("random",)
_GLOBALS = ("lipsum", "cycler", "joiner")


class TemplateError(Exception):
    """A template that can't be rendered: where, and why."""


class TooLong(Exception):  # noqa: N818 - it is raised into a template that goes on and on
    """The template ran out of steps or time."""


class _Sandbox(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset(["*", "**", "%"])

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "%" and isinstance(left, str):
            raise SecurityError("formatting with '%' isn't allowed; put values together with '~'")
        if operator == "*":
            for text, times in ((left, right), (right, left)):
                if isinstance(text, str | list | tuple) and isinstance(times, int) and len(text) * times > OUTPUT:
                    raise TooLong(f"makes something of {len(text) * times} characters or entries; {OUTPUT} are allowed")
        if operator == "**" and not (abs(left) <= 1024 and abs(right) <= 64):
            raise TooLong(f"{left} ** {right} is too large; 1024 ** 64 is allowed")
        return super().call_binop(context, operator, left, right)


def rendered(templates: Mapping[str, str], context: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The components that the templates make of ``context``, in the order of the files' names.

    A file that starts with an underscore is there for the others to include. Raises TemplateError.
    """
    sandbox = _sandbox(templates)
    out: list[dict[str, Any]] = []
    for name in sorted(templates):
        if name.startswith("_") or not name.endswith(SUFFIX):
            continue
        where = f"{FOLDER}{name}"
        text = _text(sandbox, name, context, FOLDER)
        out += _documents(text, where)
        if len(out) > DOCUMENTS:
            raise TemplateError(f"{where}: makes more than {DOCUMENTS} components")
    return out


def compiled(templates: Mapping[str, str]) -> None:
    """Compile every template, render none. Raises TemplateError."""
    sandbox = _sandbox(templates)
    for name in sorted(templates):
        try:
            sandbox.get_template(name)
        except TemplateSyntaxError as error:
            raise TemplateError(f"{FOLDER}{error.name or name}:{error.lineno}: {error.message}") from None


def texts(templates: Mapping[str, str], names: Iterable[str], context: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(name, text) of what the templates ``names`` make, one after the other; all ``templates`` can be included.

    Raises TemplateError.
    """
    sandbox = _sandbox(templates)
    for name in names:
        yield name, _text(sandbox, name, context, "")


def _sandbox(templates: Mapping[str, str]) -> _Sandbox:
    steps = iter(range(STEPS))

    def bounded(*args: int) -> Iterator[int]:
        for number in range(*args):
            if next(steps, None) is None:
                raise TooLong(f"goes through more than {STEPS} steps of range; make it shorter")
            yield number

    sandbox = _Sandbox(
        loader=DictLoader(dict(templates)),
        undefined=StrictUndefined,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        extensions=(),
    )
    for name in _FROM_CHANCE:
        del sandbox.filters[name]
    for name in _GLOBALS:
        sandbox.globals.pop(name, None)
    sandbox.globals["range"] = bounded
    sandbox.filters["tojson"] = _tojson
    return sandbox


def _tojson(value: Any) -> str:
    """JSON, which is YAML too: nothing in a value can end the field that it is in."""
    return json.dumps(value, ensure_ascii=False, default=_not_json)


def _not_json(value: Any) -> str:
    # A variable that isn't there says so itself.
    return str(value) if isinstance(value, StrictUndefined) else json.dumps(value)


def _text(sandbox: _Sandbox, name: str, context: Mapping[str, Any], folder: str) -> str:
    where = f"{folder}{name}"
    try:
        template: Template = sandbox.get_template(name)
        return "".join(_limited(template.generate(dict(context)), where))
    except TemplateError:
        raise
    except TemplateSyntaxError as error:
        raise TemplateError(f"{folder}{error.name or name}:{error.lineno}: {error.message}") from None
    except TemplateNotFound as error:
        raise TemplateError(f"{where}: includes {error.name!r}, which is not among the templates") from None
    except SecurityError as error:
        raise TemplateError(f"{where}{_line(error)}: not allowed in a template: {error}") from None
    except UndefinedError as error:
        raise TemplateError(f"{where}{_line(error)}: {error}") from None
    except TooLong as error:
        raise TemplateError(f"{where}{_line(error)}: {error}") from None
    except RecursionError:
        raise TemplateError(f"{where}: includes or calls itself without an end") from None
    except MemoryError:
        raise TemplateError(f"{where}: needs more memory than a template may have") from None
    except Exception as error:
        raise TemplateError(f"{where}{_line(error)}: {type(error).__name__}: {error}") from None


def _line(error: BaseException) -> str:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == "<template>"]
    return f":{lines[-1]}" if lines else ""


def _limited(pieces: Iterable[str], where: str) -> Iterator[str]:
    length = 0
    for piece in pieces:
        length += len(piece)
        if length > OUTPUT:
            raise TemplateError(f"{where}: writes more than {OUTPUT} characters")
        yield piece


class PlainLoader(yaml.SafeLoader):
    """Plain data only: no anchors, which can grow without bound, and a day stays text."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """As PyYAML's, without aliases."""
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.YAMLError("anchors and aliases aren't read in templates; write it out, or use a macro")
        return super().compose_node(parent, index)


PlainLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _documents(text: str, where: str) -> list[dict[str, Any]]:
    try:
        found = [document for document in yaml.load_all(text, PlainLoader) if document is not None]
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise TemplateError(f"{where}: what it makes isn't YAML: {' '.join(str(error).split())[:500]}") from None
    for document in found:
        if not isinstance(document, dict) or not isinstance(document.get("name"), str):
            raise TemplateError(f"{where}: makes something that isn't a component: a mapping with a name")
        if "catalog" in document:
            raise TemplateError(f"{where}: component {document['name']} names a catalog item; write an image instead")
    return found
