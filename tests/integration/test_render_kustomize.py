"""What kustomize makes of `homeport render -o kustomize` is what `-o yaml` says, object by object."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from localplane import binaries
from manifests import ROOT
from rendered import EDGE, HARD, OPTIONAL, OPTIONAL_KINDS, applications, by_name, homeport, rendered, said

pytestmark = pytest.mark.integration
CASES = [(example, app, names) for example, app, names in applications()]


@pytest.fixture(scope="module")
def kubectl() -> Path:
    return binaries.ensure(["kubectl"])["kubectl"]


@pytest.mark.parametrize(("example", "app", "environments"), CASES, ids=[f"{c[0]}-{c[1]}" for c in CASES])
def test_overlays_are_the_plain_manifests(
    kubectl: Path, tmp_path: Path, example: str, app: str, environments: tuple[str, ...]
) -> None:
    source = ROOT / "examples" / example
    homeport("render", app, "-f", source, "-o", "kustomize", "-d", tmp_path / "out")
    assert environments
    for environment in environments:
        built = by_name(said(kubectl, "kustomize", tmp_path / "out" / "overlays" / environment))
        assert built == rendered(source, app, environment)


def test_one_environment_alone(kubectl: Path, tmp_path: Path) -> None:
    source = ROOT / "examples" / "taskflow"
    homeport("render", "-f", source, "-e", "staging", "-o", "kustomize", "-d", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out" / "overlays").iterdir()] == ["staging"]
    built = by_name(said(kubectl, "kustomize", tmp_path / "out" / "overlays" / "staging"))
    assert built == rendered(source, "taskflow", "staging")


@pytest.fixture
def hard(tmp_path: Path) -> Path:
    file = tmp_path / "hard.yaml"
    file.write_text(HARD)
    return file


def test_what_differs_in_every_way(kubectl: Path, tmp_path: Path, hard: Path) -> None:
    homeport("render", "-f", hard, "-o", "kustomize", "-d", tmp_path / "out")
    for environment in ("one", "two", "three"):
        built = by_name(said(kubectl, "kustomize", tmp_path / "out" / "overlays" / environment))
        assert built == rendered(hard, "hard", environment)
    tag = yaml.safe_load((tmp_path / "out" / "overlays" / "two" / "kustomization.yaml").read_text())
    assert tag["namespace"] == "hard-two"


def test_optional_kinds(kubectl: Path, tmp_path: Path) -> None:
    """Those that `--api-versions` allows: each is in an overlay as in the plain manifests, and absent without it."""
    source = tmp_path / "edge.yaml"
    source.write_text(EDGE)
    homeport("render", "-f", source, "-o", "kustomize", "-d", tmp_path / "out", *OPTIONAL)
    kinds = {}
    for environment in ("ingress", "gateway", "attached"):
        built = by_name(said(kubectl, "kustomize", tmp_path / "out" / "overlays" / environment))
        assert built == rendered(source, "edge", environment, *OPTIONAL)
        kinds[environment] = {kind for kind, _ in built} & OPTIONAL_KINDS
    assert kinds == {
        "ingress": {"Ingress", "Middleware", "ServiceMonitor"},
        "gateway": {"Gateway", "HTTPRoute", "ServiceMonitor"},
        "attached": {"HTTPRoute", "ServiceMonitor"},
    }
    assert {kind for kind, _ in rendered(source, "edge", "ingress")} & OPTIONAL_KINDS == {"Ingress"}
