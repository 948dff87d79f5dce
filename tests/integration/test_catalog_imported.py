"""What is imported runs: each sample becomes Ready, and its services have the names by which they call each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from homes import V1ALPHA1, Home

from homeport.api.resource import parse
from homeport.cli.importing.item import imported, write
from homeport.drivers.catalog import load
from homeport.engine.catalog import Catalog
from homeport.plan import render

pytestmark = pytest.mark.integration

SAMPLES = sorted((Path(__file__).parent.parent / "samples" / "catalog").glob("*.json"))


def components(path: Path, folder: Path) -> list[dict[str, Any]]:
    """The components of an imported item, written out: the test's operator has no folder with it."""
    made = imported(path, {})
    write(folder / made.name, made.files)
    spec = {"version": "1.0.0", "components": [{"name": made.name, "catalog": {"name": made.name}}]}
    app = parse({"apiVersion": V1ALPHA1, "kind": "Application", "metadata": {"name": made.name}, "spec": spec})
    expansion = Catalog(lambda: load([folder])).expansion_now(app.spec)
    found = render.components_of(app.spec, "", expansion)
    return [part.model_dump(by_alias=True, exclude_unset=True, mode="json") for part in found]


def test_every_sample_becomes_ready_and_its_services_find_each_other(bare: Home, tmp_path: Path) -> None:
    bare.project()
    bare.environment(podSecurity="baseline")
    bare.ready("Environment", "dev")
    wanted = {path.stem: components(path, tmp_path / path.stem) for path in SAMPLES}
    for name, parts in wanted.items():
        bare.application(*parts, name=name)
    for name in wanted:
        bare.ready("Application", name, seconds=90)
    services = bare.names("Service", bare.place())
    for parts in wanted.values():
        names = {part["name"] for part in parts}
        for part in parts:
            for variable in part.get("env", ()):
                host = str(variable.get("value", "")).rpartition("//")[2].partition(":")[0]
                assert host not in names or host in services, (part["name"], variable)
