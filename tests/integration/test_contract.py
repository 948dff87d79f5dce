"""The manifests of the design's api.md, kept word for word in ``tests/contract``, apply unchanged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from api_server import ApiServer
from homeport.api.resource import parse
from manifests import ROOT, load_all

pytestmark = pytest.mark.integration

MANIFESTS = [pytest.param(manifest, id=manifest["kind"]) for _, manifest in load_all(ROOT / "tests/contract")]
OURS = [param for param in MANIFESTS if param.id != "Namespace"]


@pytest.fixture(scope="module")
def api(control_plane: Any) -> ApiServer:
    server = ApiServer(control_plane.kubeconfig)
    server.install("crds", "policies")
    namespace = next(param.values[0] for param in MANIFESTS if param.id == "Namespace")
    server.apply(namespace)
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
    assert {param.id for param in MANIFESTS} == {"Namespace", "Project", "Environment", "Application"}


@pytest.mark.parametrize("manifest", OURS)
def test_applies_with_strict_validation(api: ApiServer, manifest: dict[str, Any]) -> None:
    stored = api.apply(manifest, dry=True)
    assert list(lost(manifest["spec"], stored["spec"])) == []
    assert stored["status"] == {"observedGeneration": -1}, "a new object never looks ready"


@pytest.mark.parametrize("manifest", OURS)
def test_is_parsed_by_the_operator(manifest: dict[str, Any]) -> None:
    assert parse(manifest).kind == manifest["kind"]
