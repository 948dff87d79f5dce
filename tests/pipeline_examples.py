"""The pipelines in pulumi/pipelines/examples, and what they are rendered to."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from homeport.pipelines import read, render
from homeport.pipelines.model import Pipeline
from manifests import ROOT

FOLDER = ROOT / "pulumi/pipelines/examples"
NAMES = sorted(path.name for path in FOLDER.iterdir() if path.is_dir())
GOLDEN = ROOT / "tests/unit/golden/pipelines"


@cache
def pipeline(name: str) -> Pipeline:
    """One of the examples."""
    return read.read((FOLDER / name / "pipeline.yaml").read_text())


@cache
def files(name: str) -> dict[str, str]:
    """What it is rendered to, by path."""
    return render.files(pipeline(name))


def golden(name: str, path: str) -> Path:
    """Where a rendered file is kept; never under the name by which a forge would run it."""
    return (
        GOLDEN
        / name
        / path.removeprefix(".github/workflows/").removeprefix(".github/").removeprefix(".gitlab/").lstrip(".")
    )
