"""``homeport policy test`` on a real API server: Homeport's own cases hold, and what doesn't is told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from homeport.cli.policycases import read
from manifests import ROOT

pytestmark = pytest.mark.integration
OWN = ROOT / "policies" / "tests"
WRONG = """
policy: homeport-project-name
cases:
  - name: refused although it isn't to be
    create: {apiVersion: homeport.dev/v1alpha1, kind: Project, metadata: {name: other}, spec: {}}
  - name: accepted although it isn't to be
    create: {apiVersion: homeport.dev/v1alpha1, kind: Project, metadata: {name: $(NAMESPACE)}, spec: {}}
    refused: never
  - name: refused in other words
    create: {apiVersion: homeport.dev/v1alpha1, kind: Project, metadata: {name: other}, spec: {}}
    refused: of the colour
  - name: what is there is refused by nobody
    objects: [{apiVersion: v1, kind: Secret, metadata: {name: any}}]
    labelled: {labels: {team: shop}}
    update: {apiVersion: v1, kind: Secret, metadata: {name: any, labels: {a: b}}}
"""


def tried(control_plane: Any, *paths: Path) -> tuple[int, list[dict[str, str]]]:
    environment = {**os.environ, "KUBECONFIG": str(control_plane.kubeconfig), "PYTHONPATH": str(ROOT / "operator")}
    command = [sys.executable, "-m", "homeport", "policy", "test", "-o", "json", *map(str, paths)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=280)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_our_own_cases_hold(control_plane: Any) -> None:
    code, results = tried(control_plane)
    assert not [result for result in results if result["problem"]]
    assert code == 0 and len(results) == sum(len(suite.cases) for suite in read([OWN]))


def test_what_does_not_hold_is_told(control_plane: Any, tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text(WRONG)
    (tmp_path / "absent.yaml").write_text(WRONG.replace("homeport-project-name", "not-there"))
    code, results = tried(control_plane, tmp_path)
    told = {(result["policy"], result["case"]): result["problem"] for result in results}
    assert code == 1
    ours = {case: problem for (policy, case), problem in told.items() if policy == "homeport-project-name"}
    assert "a Project is named as its namespace" in ours["refused although it isn't to be"]
    assert ours["accepted although it isn't to be"] == "it was accepted"
    assert ours["refused in other words"].startswith("refused in other words: ")
    assert ours["what is there is refused by nobody"].endswith("the policy refuses none of objects")
    assert {problem for (policy, _), problem in told.items() if policy == "not-there"} == {"the policy isn't installed"}
