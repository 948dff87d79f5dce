"""What the worker process does for builds: files to objects, templates to objects. Plain data in and out.

Files come from a repository, and what they take to be read is bounded where the process's time and memory are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from homeport.plan import templates
from homeport.plan.gitops import manifests, variables
from homeport.plan.gitops.malformed import Malformed

SECONDS = 10.0
"""Of CPU, for files."""
TEMPLATE_SECONDS = 1.0
"""Of CPU, for templates; a tenth more for each."""
WARNINGS = 20

Answer = dict[str, Any]
"""``{objects: [[line, object], ...], warnings: [[line, text], ...]}`` or ``{problem: [line, text]}``, for each file."""


def read_request(files: Mapping[str, str], substituted: Mapping[str, str] | None) -> dict[str, Any]:
    """Asks for the objects in files. ``substituted``: what ``${NAME}`` becomes; None leaves it alone."""
    return {"files": dict(files), "variables": substituted, "seconds": SECONDS}


def render_request(names: Sequence[str], files: Mapping[str, str], context: Mapping[str, Any]) -> dict[str, Any]:
    """Asks for the objects that the templates ``names`` make; all ``files`` can be included."""
    seconds = TEMPLATE_SECONDS * (1 + len(names) / 10)
    return {"names": list(names), "templates": dict(files), "context": dict(context), "seconds": seconds}


def answer(request: Mapping[str, Any]) -> dict[str, Any]:
    """``{files: {name: Answer}}``; ``{problem}`` where no file is to blame."""
    if "names" in request:
        return _rendered(request)
    return {"files": {name: _read(name, text, request["variables"]) for name, text in request["files"].items()}}


def _read(name: str, text: str, substituted: Mapping[str, str] | None) -> Answer:
    try:
        found = manifests.objects(text, name, substituted)
    except Malformed as error:
        return {"problem": [error.line, str(error)]}
    except MemoryError:
        return {"problem": [0, "this needs more memory to be read than a file may have"]}
    warned = variables.others(text)[:WARNINGS] if substituted is not None else []
    return {"objects": [[each.line, each.body] for each in found], "warnings": warned}


def _rendered(request: Mapping[str, Any]) -> dict[str, Any]:
    out: dict[str, Answer] = {}
    try:
        for name, text in templates.texts(request["templates"], request["names"], request["context"]):
            # It has no lines in the repository, so the message tells the line of what was made.
            try:
                found = manifests.objects(text, name.removesuffix(".j2"))
            except Malformed as error:
                at = f"line {error.line} of what it makes: " if error.line else "what it makes: "
                return {"problem": f"{name}: {at}{error}"}
            out[name] = {"objects": [[0, each.body] for each in found], "warnings": []}
    except templates.TemplateError as error:
        return {"problem": str(error)[:2000]}
    return {"files": out}
