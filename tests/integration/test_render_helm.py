"""What Helm makes of `homeport render -o helm` is what `-o yaml` says, object by object."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from localplane import binaries
from manifests import ROOT
from rendered import EDGE, HARD, OPTIONAL, OPTIONAL_KINDS, Objects, applications, by_name, homeport, rendered, said

pytestmark = pytest.mark.integration
CASES = [(example, app, names) for example, app, names in applications()]


@pytest.fixture(scope="module")
def helm() -> Path:
    return binaries.ensure(["helm"])["helm"]


def stem(name: str) -> str:
    """A Job's name without the digest at its end."""
    return name.rpartition("-")[0]


def installed(helm: Path, chart: Path, app: str, namespace: str, environment: str) -> Objects:
    """What Helm would install, with what the chart leaves to be applied before."""
    values = chart / f"values-{environment}.yaml"
    found = by_name(said(helm, "template", app, chart, "-n", namespace, "-f", values))
    found |= by_name((chart / "namespaces" / f"{environment}.yaml").read_text())
    return _without_helm(found)


def _without_helm(found: Objects) -> Objects:
    """The objects without what is Helm's: its labels, its hooks' ways, and Secrets, whose values are never rendered."""
    copies = {name for kind, name in found if kind == "ConfigMap" and _is_hook(found[kind, name])}
    for copy in copies:
        job = copy.removesuffix("-files")
        original = f"{job.removesuffix('-migrate')}-files"
        assert found["ConfigMap", copy]["data"] == found["ConfigMap", original]["data"]
        assert _weight(found["ConfigMap", copy]) < _weight(found["Job", job]), "a Job's files come before it"
        _rename_volume(found["Job", job], copy, original)
    out = {}
    for (kind, name), manifest in found.items():
        if kind == "Secret" or name in copies:
            continue
        metadata = manifest["metadata"]
        for field in ("labels", "annotations"):
            kept = {key: v for key, v in metadata.get(field, {}).items() if not _helms(key)}
            metadata.pop(field, None)
            if kept:
                metadata[field] = kept
        out[kind, name] = manifest
    return out


def _helms(key: str) -> bool:
    return key.startswith("helm.sh/") or key == "app.kubernetes.io/managed-by"


def _is_hook(manifest: dict[str, Any]) -> bool:
    return "helm.sh/hook" in manifest["metadata"].get("annotations", {})


def _weight(manifest: dict[str, Any]) -> int:
    return int(manifest["metadata"]["annotations"]["helm.sh/hook-weight"])


def _rename_volume(job: dict[str, Any], old: str, new: str) -> None:
    for volume in job["spec"]["template"]["spec"]["volumes"]:
        if volume.get("configMap", {}).get("name") == old:
            volume["configMap"]["name"] = new


def plain(source: Path, app: str, environment: str, *words: str) -> Objects:
    """The plain manifests, with Jobs under the names that hooks have."""
    out = {}
    for (kind, name), manifest in rendered(source, app, environment, *words).items():
        if kind == "Job":
            manifest["metadata"]["name"] = stem(name)
        out[kind, manifest["metadata"]["name"]] = manifest
    return out


@pytest.mark.parametrize(("example", "app", "environments"), CASES, ids=[f"{c[0]}-{c[1]}" for c in CASES])
def test_charts_are_the_plain_manifests(
    helm: Path, tmp_path: Path, example: str, app: str, environments: tuple[str, ...]
) -> None:
    source = ROOT / "examples" / example
    chart = tmp_path / app
    homeport("render", app, "-f", source, "-o", "helm", "-d", chart)
    assert "0 chart(s) failed" in said(helm, "lint", "--strict", chart)
    for environment in environments:
        said(helm, "lint", "--strict", chart, "-f", chart / f"values-{environment}.yaml")
        wanted = plain(source, app, environment)
        namespace = next(name for kind, name in wanted if kind == "Namespace")
        assert installed(helm, chart, app, namespace, environment) == wanted


def test_what_differs_in_every_way(helm: Path, tmp_path: Path) -> None:
    source = tmp_path / "hard.yaml"
    source.write_text(HARD)
    chart = tmp_path / "chart"
    homeport("render", "-f", source, "-o", "helm", "-d", chart)
    said(helm, "lint", "--strict", chart)
    for environment in ("one", "two", "three"):
        assert installed(helm, chart, "hard", f"hard-{environment}", environment) == plain(source, "hard", environment)


def test_optional_kinds(helm: Path, tmp_path: Path) -> None:
    """Those that `--api-versions` allows are in the chart as in the plain manifests."""
    source = tmp_path / "edge.yaml"
    source.write_text(EDGE)
    chart = tmp_path / "chart"
    homeport("render", "-f", source, "-o", "helm", "-d", chart, *OPTIONAL)
    said(helm, "lint", "--strict", chart)
    kinds = {}
    for environment in ("ingress", "gateway", "attached"):
        found = installed(helm, chart, "edge", f"edge-{environment}", environment)
        assert found == plain(source, "edge", environment, *OPTIONAL)
        kinds[environment] = {kind for kind, _ in found} & OPTIONAL_KINDS
    assert kinds == {
        "ingress": {"Ingress", "Middleware", "ServiceMonitor"},
        "gateway": {"Gateway", "HTTPRoute", "ServiceMonitor"},
        "attached": {"HTTPRoute", "ServiceMonitor"},
    }


@pytest.fixture
def chart(tmp_path: Path) -> Path:
    """With Traefik's Middlewares, so that one component has several Ingresses."""
    source = ROOT / "examples" / "project-dashboard"
    homeport("render", "-f", source, "-a", "traefik.io/v1alpha1", "-o", "helm", "-d", tmp_path / "chart")
    return tmp_path / "chart"


def test_values_do_what_they_say(helm: Path, chart: Path) -> None:
    """What people change, changed: the objects follow, also those that no environment has."""
    sets = (
        ("version", "2.0.0"),
        ("components.edge.replicas", "1"),
        ("components.backend.image.tag", "hotfix"),
        ("components.db.persistence.data.size", "20Gi"),
        ("components.db.persistence.data.storageClass", "fast"),
        ("components.edge.autoscaling.enabled", "true"),
        ("components.nightly.suspend", "true"),
        ("ingress.host", "new.example.com"),
        ("networkPolicy.enabled", "false"),
        ("quota", "null"),
        ("components.edge.ingress.enabled", "false"),
    )
    words = [word for key, value in sets for word in ("--set", f"{key}={value}")]
    found = by_name(said(helm, "template", "x", chart, "-n", "y", "-f", chart / "values-production.yaml", *words))
    images = {
        name: found[kind, name]["spec"]["template"]["spec"]["containers"][0]["image"].rpartition(":")[2]
        for kind, name in found
        if kind == "Deployment"
    }
    assert images == {"backend": "hotfix", "edge": "1.27-alpine", "frontend": "2.0.0", "worker": "2.0.0"}
    assert found["Job", "backend-migrate"]["spec"]["template"]["spec"]["containers"][0]["image"].endswith(":hotfix")
    claim = found["StatefulSet", "db"]["spec"]["volumeClaimTemplates"][0]["spec"]
    assert (claim["resources"]["requests"]["storage"], claim["storageClassName"]) == ("20Gi", "fast")
    assert "replicas" not in found["Deployment", "edge"]["spec"]
    assert found["HorizontalPodAutoscaler", "edge"]["spec"]["scaleTargetRef"]["name"] == "edge"
    assert found["CronJob", "nightly"]["spec"]["suspend"] is True
    kinds = {kind for kind, _ in found}
    assert not kinds & {"NetworkPolicy", "ResourceQuota"}
    hosts = {rule["host"] for (kind, _), m in found.items() if kind == "Ingress" for rule in m["spec"]["rules"]}
    assert hosts == {"new.example.com"}
    assert ("Ingress", "edge") not in found
    assert found["Deployment", "backend"]["spec"]["selector"]["matchLabels"]["app.kubernetes.io/instance"] == "x"
    assert {m["metadata"]["namespace"] for m in found.values()} == {"y"}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("components.edge.replica=3", "replica"),
        ("components.edge.replicas=-1", "replicas"),
        ("components.edge.image.pullPolicy=Sometimes", "pullPolicy"),
        ("components.nothing.replicas=1", "nothing"),
        ("componentz.edge.replicas=1", "componentz"),
        ("components.db.persistence.data.size=big", "size"),
    ],
)
def test_the_schema_refuses(helm: Path, chart: Path, value: str, words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        said(helm, "template", "x", chart, "--set", value)


def test_generated_secrets_are_kept(helm: Path, tmp_path: Path) -> None:
    source = tmp_path / "hard.yaml"
    source.write_text(HARD)
    homeport("render", "-f", source, "-o", "helm", "-d", tmp_path / "chart")
    found = by_name(said(helm, "template", "hard", tmp_path / "chart"))
    made = found["Secret", "made"]
    assert made["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert list(made["data"]) == ["password"]
    off = by_name(said(helm, "template", "hard", tmp_path / "chart", "--set", "generateSecrets=false"))
    assert found.keys() - off.keys() == {("Secret", "made")}
    claim = found["PersistentVolumeClaim", "h-my-web-data"]
    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    schema = json.loads((tmp_path / "chart" / "values.schema.json").read_text())
    assert yaml.safe_load((tmp_path / "chart" / "values.yaml").read_text())["components"].keys() == {
        *schema["properties"]["components"]["properties"]
    }
