"""The table of pinned versions: actions, images and programs that rendered pipelines run."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import yaml

from homeport.pipelines import parts
from homeport.pipelines.model import Pipeline

FILE = Path(__file__).with_name("pins.yaml")


class UnknownPin(LookupError):  # noqa: N818 - it says what is missing
    """Something would be run at no known version; ``str`` of it says what to write."""


@cache
def table() -> parts.Pins:
    """Homeport's own."""
    return parts.Pins.model_validate(yaml.safe_load(FILE.read_text(encoding="utf-8")))


def action(pipeline: Pipeline, name: str) -> str:
    """``name@commit # version``."""
    pin = pipeline.pins.actions.get(name) or table().actions.get(name)
    if pin is None:
        raise UnknownPin(f"pins.actions: {name} has no known commit; write its version and commit there")
    return f"{name}@{pin.commit} # {pin.version}"


def image(pipeline: Pipeline, name: str) -> str:
    """The image with its digest."""
    found = pipeline.pins.images.get(name) or table().images.get(name)
    if found is None:
        raise UnknownPin(f"pins.images: {name} has no known digest; write `{name}: IMAGE@sha256:…` there")
    return found


def program(pipeline: Pipeline, name: str) -> str:
    """What pip installs."""
    found = pipeline.pins.programs.get(name) or table().programs.get(name)
    if found is None:
        raise UnknownPin(f"pins.programs: {name} has no known version; write `{name}: {name}==VERSION` there")
    return found
