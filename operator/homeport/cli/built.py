"""Documents of folders that have to be built first."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from homeport.cli import build, output
from homeport.cli.documents import Document, Problem, parse
from homeport.plan.gitops.build import IGNORE
from homeport.plan.gitops.detect import CHART, KUSTOMIZATIONS, TEMPLATE
from homeport.plan.gitops.places import Place


@dataclass(frozen=True)
class BuiltDocument(Document):
    """An object that a build made; all of it is where it begins, for its lines are those of what was made."""

    at: int = 1

    @property
    def line(self) -> int:
        """Where it begins in the repository."""
        return self.at

    def problem(self, message: str, field: str = "", severity: Literal["error", "warning"] = "error") -> Problem:
        """A problem of this document."""
        return replace(super().problem(message, field, severity), line=self.at)

    def locate(self, text: str) -> Place:
        """The field at the beginning of ``text``, at the document's line."""
        return replace(super().locate(text), line=self.at)


def has_sources(folder: Path) -> bool:
    """Whether a folder holds more than plain manifests."""
    names = {*KUSTOMIZATIONS, CHART, IGNORE}
    return folder.is_dir() and any(
        path.name in names or path.name.endswith(TEMPLATE)
        for path in folder.rglob("*")
        if not any(part.startswith(".") for part in path.relative_to(folder).parts[:-1])
    )


def from_build(folder: Path) -> list[Document]:
    """The objects that a folder makes. Raises Failure."""
    found = build.built(folder, name=folder.resolve().name.lower() or "source")
    out: list[Document] = []
    for each in found.objects:
        hidden = build.without_secrets(each)
        documents, _ = parse(output.yaml_text(dict(hidden.manifest)), each.file)
        out += [BuiltDocument(each.file, document.node, document.body, each.line or 1) for document in documents]
    return out
