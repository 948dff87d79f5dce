"""The fields of kustomizations that name files, folders and places elsewhere.

Source: https://kubectl.docs.kubernetes.io/references/kustomize/kustomization/, for kustomize 5.8.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Ref:
    """Something that a kustomization names. ``what`` says which of a file and a kustomization's folder it may be."""

    field: str
    target: str
    what: str = "file"
    inline: bool = False
    """Whether it may be the thing itself instead of its name."""


def references(body: Mapping[str, Any]) -> Iterator[Ref]:
    """All that a kustomization names, in the order of its fields."""
    for name in ("resources", "generators", "transformers", "validators"):
        for target in strings(body.get(name)):
            yield Ref(name, target, "either", inline=name != "resources" and is_inline(target))
    for name in ("bases", "components"):
        for target in strings(body.get(name)):
            yield Ref(name, target, "folder")
    for name in ("crds", "configurations"):
        for target in strings(body.get(name)):
            yield Ref(name, target)
    for target in strings(body.get("patchesStrategicMerge")):
        yield Ref("patchesStrategicMerge", target, inline=is_inline(target))
    for name in ("patches", "patchesJson6902", "replacements"):
        yield from _paths(name, body.get(name))
    yield from _paths("openapi", [body.get("openapi")])
    for name in ("configMapGenerator", "secretGenerator"):
        for generator in _mappings(body.get(name)):
            yield from _generated(name, generator)


def _paths(name: str, entries: Any) -> Iterator[Ref]:
    for entry in _mappings(entries):
        if isinstance(entry.get("path"), str):
            yield Ref(f"{name}.path", entry["path"])


def _generated(name: str, generator: Mapping[str, Any]) -> Iterator[Ref]:
    for target in strings(generator.get("files")):
        # "key=path", or a path whose last part is the key.
        yield Ref(f"{name}.files", target.partition("=")[2] if "=" in target else target)
    for target in [*strings(generator.get("envs")), *strings([generator.get("env")])]:
        yield Ref(f"{name}.envs", target)


def configured(body: Any) -> Iterator[Ref]:
    """What the configuration of one of kustomize's own plugins names."""
    if not isinstance(body, Mapping):
        return
    kind = str(body.get("kind"))
    yield from _generated(kind, body)
    yield from _paths(kind, [body])
    yield from _paths(kind, body.get("replacements"))
    for target in strings(body.get("paths")):
        yield Ref(f"{kind}.paths", target, inline=is_inline(target))


def inlined(body: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(field, text) of plugins' configurations that are written in the kustomization itself."""
    for name in ("generators", "transformers", "validators"):
        for target in strings(body.get(name)):
            if is_inline(target):
                yield name, target


def is_inline(target: str) -> bool:
    """Whether an entry is YAML itself instead of the name of a file."""
    return "\n" in target or bool(re.match(r"\s*[\[{]|\s*[A-Za-z]+:\s", target))


def strings(value: Any) -> list[str]:
    """The texts in a list; what is neither is kustomize's to refuse."""
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []
