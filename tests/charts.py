"""Helm and the chart, for tests."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

from charting import definition
from localplane import binaries
from manifests import ROOT

CHART = ROOT / "charts" / "homeport"
FIRST = ROOT / "tests" / "samples" / "releases" / "first"
SYSTEM = "homeport-system"
Manifest = dict[str, Any]


class HelmError(Exception):
    """Helm said no; the message is its own."""


class Helm:
    """Helm on one cluster; without a kubeconfig it only renders."""

    def __init__(self, kubeconfig: Path | None = None) -> None:
        self.program = binaries.ensure(["helm"])["helm"]
        self.environment = {**os.environ, "KUBECONFIG": str(kubeconfig or os.devnull)}

    def run(self, *words: str | Path, seconds: float = 120) -> str:
        """What it printed. Raises HelmError."""
        done = subprocess.run(
            [str(self.program), *map(str, words)], env=self.environment, capture_output=True, text=True, check=False,
            timeout=seconds,
        )  # fmt: skip
        if done.returncode:
            raise HelmError(done.stderr + done.stdout)
        return done.stdout

    def template(self, *words: str | Path, chart: Path = CHART, namespace: str = SYSTEM) -> list[Manifest]:
        """The chart's objects with these arguments."""
        text = self.run("template", "homeport", chart, "-n", namespace, *words)
        return [found for found in yaml.load_all(text, yaml.CSafeLoader) if found]

    def release(self, name: str = "homeport", namespace: str = SYSTEM) -> Manifest:
        """What Helm says of a release."""
        found: Manifest = json.loads(self.run("status", name, "-n", namespace, "-o", "json"))
        return found


def one(manifests: list[Manifest], kind: str, name: str = "") -> Manifest:
    """The manifest of that kind (and name). AssertionError unless there is exactly one."""
    found = [m for m in manifests if m["kind"] == kind and name in ("", m["metadata"]["name"])]
    assert len(found) == 1, [m["metadata"]["name"] for m in found]
    return found[0]


def older(folder: Path) -> Path:
    """A package of the chart as it was with the first definitions of Homeport (``tests/samples/releases/first``): two
    kinds know fewer fields and rules, ten aren't there yet, nor is a policy, and the Deployment has another shape."""
    chart = folder / "homeport"
    shutil.copytree(CHART, chart)
    metadata = yaml.safe_load((chart / "Chart.yaml").read_text())
    metadata |= {"version": "0.0.9", "appVersion": "0.0.9"}
    (chart / "Chart.yaml").write_text(yaml.safe_dump(metadata))
    generated = chart / "templates" / "generated"
    first = sorted(FIRST.glob("*.yaml"))
    kept = {f"crd-{path.name}" for path in first} | {"crd-applications.yaml"}
    for path in generated.glob("crd-*.yaml"):
        if path.name not in kept:
            path.unlink()
    for path in first:
        (generated / f"crd-{path.name}").write_text(definition(path.read_text()))
    (generated / "policy-project-name.yaml").unlink()
    deployment = chart / "templates" / "deployment.yaml"
    deployment.write_text(
        deployment.read_text().replace("terminationGracePeriodSeconds: {{", "terminationGracePeriodSeconds: 30 # {{")
    )
    Helm().run("package", chart, "--destination", folder)
    return folder / "homeport-0.0.9.tgz"
