"""What kustomize is given around a kustomization, and what is made of what it prints."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from homeport.plan.gitops import manifests
from homeport.plan.gitops.detect import joined
from homeport.plan.gitops.kustomize import Closure
from homeport.plan.gitops.malformed import Malformed

ORIGIN = "config.kubernetes.io/origin"
_ORIGINS = "originAnnotations"
INNER = "repo"
"""The folder of the scratch folder that the repository's files are in."""


def wrapper(closure: Closure) -> dict[str, Any]:
    """A kustomization around the one that is built, by which kustomize says where each object is from.

    ``buildMetadata`` of the outermost counts for all.
    """
    return {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [f"./{joined(INNER, closure.folder)}"],
        "buildMetadata": [*closure.metadata, *([] if _ORIGINS in closure.metadata else [_ORIGINS])],
    }


_ORIGIN_PATH = re.compile(r"^(?:path|configuredIn): (.+)$", re.MULTILINE)


def from_where(body: dict[str, Any], closure: Closure, kustomization_file: str) -> tuple[dict[str, Any], str]:
    """An object without what ``wrapper`` adds, and the file that it is from."""
    metadata = body["metadata"]
    annotations = dict(metadata.get("annotations") or {})
    origin = annotations.get(ORIGIN, "")
    found = _ORIGIN_PATH.search(str(origin))
    file = found[1].strip().removeprefix(f"{INNER}/") if found and "repo:" not in origin else kustomization_file
    if _ORIGINS not in closure.metadata:
        annotations.pop(ORIGIN, None)
    rest = {key: value for key, value in metadata.items() if key != "annotations"}
    return {**body, "metadata": {**rest, "annotations": annotations} if annotations else rest}, file


def placed(body: Mapping[str, Any], text: str) -> int:
    """The line at which an object begins in the file that it is from; 0 where that can't be told.

    Names get prefixes and suffixes on the way, so the one of its kind whose name is in its own is meant.
    """
    try:
        found = manifests.objects(text, "")
    except Malformed:
        return 0
    name = body["metadata"]["name"]
    lines = [each.line for each in found if each.body["kind"] == body["kind"] and each.body["metadata"]["name"] in name]
    return lines[0] if len(lines) == 1 else 0


_WRAPPED = re.compile(
    r"\A(?:#.*\n)*Error: (?:accumulating resources: accumulation err=.*? must resolve to a file': "
    r"(?:recursed accumulation of|couldn't make target for) path '[^']*': )?",
    re.DOTALL,
)


def told(said: str, scratch: str, closure: Closure) -> str:
    """What kustomize said, with the repository's paths, and without what is around the kustomization."""
    text = _WRAPPED.sub("", said).replace(f"{scratch}/{INNER}/", "").replace(f"{scratch}/{INNER}", ".")
    return f"{closure.folder or '.'}: kustomize: {' '.join(text.replace(scratch, '.').split())[-1000:]}"
