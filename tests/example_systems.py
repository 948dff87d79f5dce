"""The systems in ``examples/``: their manifests, and what Homeport makes of them in each environment; no cluster."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from homeport.api.resource import parse
from homeport.drivers.catalog import folders, load
from homeport.engine.catalog import Catalog
from homeport.plan import render
from homeport.plan.types import Child, Place
from manifests import ROOT, load_all

Manifest = dict[str, Any]
EXAMPLES = sorted(path for path in (ROOT / "examples").iterdir() if (path / "application.yaml").is_file())
_ITEMS = load(folders()[:1])
_CATALOG = Catalog(lambda: _ITEMS)


def of_kind(folder: Path, kind: str) -> list[Manifest]:
    """The system's manifests of one kind."""
    return [manifest for _, manifest in load_all(folder) if manifest["kind"] == kind]


def places(folder: Path) -> list[Place]:
    """The system's environments."""
    environments = [parse(manifest) for manifest in of_kind(folder, "Environment")]
    return [Place(e.namespace, e.name, f"{e.namespace}-{e.name}", e.spec) for e in environments]


@cache
def rendered(folder: Path) -> tuple[Child, ...]:
    """Every object that the system's applications want, in all environments."""
    return tuple(_render(folder))


def _render(folder: Path) -> Iterator[Child]:
    by_name = {place.name: place for place in places(folder)}
    for manifest in of_kind(folder, "Application"):
        app = parse(manifest)
        catalog = _CATALOG.expansion_now(app.spec)
        render.check(app.spec, catalog)
        for name in render.target_environments(app.spec, list(by_name)):
            yield from render.render(app, by_name[name], catalog=catalog)
