"""The manifests of the design's api.md, kept word for word in ``tests/contract``, apply unchanged; docs/ has more."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from api_server import ApiServer
from homeport.api.kinds import KINDS
from homeport.api.resource import parse
from manifests import ROOT, Loader, load_all

pytestmark = pytest.mark.integration

MANIFESTS = [pytest.param(manifest, id=manifest["kind"]) for _, manifest in load_all(ROOT / "tests/contract")]
OURS = [param for param in MANIFESTS if param.id != "Namespace"]
BLOCK = re.compile(r"```yaml\n(.*?)```", re.DOTALL)


def documented() -> Iterator[Any]:
    """Every resource of ours that a page of the documentation shows whole."""
    for path in sorted((ROOT / "docs").rglob("*.md")):
        for number, block in enumerate(BLOCK.findall(path.read_text())):
            for found in yaml.load_all(block, Loader):
                if isinstance(found, dict) and str(found.get("apiVersion")).startswith("homeport.dev/"):
                    yield pytest.param(found, id=f"{path.relative_to(ROOT / 'docs')}-{number}-{found['kind']}")


DOCUMENTED = list(documented())
ALL = [*OURS, *DOCUMENTED]


@pytest.fixture(scope="module")
def api(control_plane: Any) -> ApiServer:
    server = ApiServer(control_plane.kubeconfig)
    server.install("crds", "policies")
    namespace = next(param.values[0] for param in MANIFESTS if param.id == "Namespace")
    server.apply(namespace)
    for name in {param.values[0]["metadata"].get("namespace") for param in ALL} - {
        None,
        namespace["metadata"]["name"],
    }:
        server.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    return server


def lost(wanted: Any, stored: Any, path: str = "spec") -> Iterator[str]:
    """What was written and isn't stored as it was; defaults may have been added."""
    if isinstance(wanted, dict) and isinstance(stored, dict):
        for key, value in wanted.items():
            yield from lost(value, stored.get(key), f"{path}.{key}")
    elif isinstance(wanted, list) and isinstance(stored, list) and len(wanted) == len(stored):
        for number, value in enumerate(wanted):
            yield from lost(value, stored[number], f"{path}[{number}]")
    elif wanted != stored:
        yield f"{path}: {wanted!r} became {stored!r}"


def test_all_kinds_are_there() -> None:
    assert {param.id for param in MANIFESTS} == {
        "Namespace",
        "Project",
        "Environment",
        "Application",
        "CatalogItem",
        "ProxmoxHost",
        "LXCContainer",
        "BackupRepository",
        "Backup",
        "BackupRun",
        "Restore",
        "GitSource",
    }


def test_every_kind_has_an_example_on_its_page() -> None:
    shown = {param.values[0]["kind"] for param in DOCUMENTED}
    assert shown >= {kind.name for kind in KINDS}


@pytest.mark.parametrize("manifest", ALL)
def test_applies_with_strict_validation(api: ApiServer, manifest: dict[str, Any]) -> None:
    stored = api.apply(manifest, dry=True)
    assert list(lost(manifest["spec"], stored["spec"])) == []
    assert stored["status"]["observedGeneration"] == -1, "a new object never looks ready"
    assert "conditions" not in stored["status"]


@pytest.mark.parametrize("manifest", ALL)
def test_is_parsed_by_the_operator(manifest: dict[str, Any]) -> None:
    assert parse(manifest).kind == manifest["kind"]
