"""The examples are what a user could have written: they parse, and what they name is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from homeport.api.resource import parse
from manifests import ROOT, load_all

EXAMPLES = sorted(path for path in (ROOT / "examples").iterdir() if path.is_dir())
PODS_AT_MOST = 40


def of_kind(folder: Path, kind: str) -> list[dict[str, Any]]:
    return [manifest for _, manifest in load_all(folder) if manifest["kind"] == kind]


@pytest.mark.parametrize("folder", EXAMPLES, ids=lambda path: path.name)
class TestExample:
    def test_every_resource_parses(self, folder: Path) -> None:
        ours = [manifest for _, manifest in load_all(folder) if manifest["apiVersion"].startswith("homeport.dev/")]
        assert {parse(manifest).kind for manifest in ours} == {"Project", "Environment", "Application"}

    def test_the_namespace_comes_first(self, folder: Path) -> None:
        manifests = [manifest for _, manifest in load_all(folder)]
        assert manifests[0]["kind"] == "Namespace"
        name = manifests[0]["metadata"]["name"]
        assert {manifest["metadata"]["namespace"] for manifest in manifests[1:]} == {name}
        assert [project["metadata"]["name"] for project in of_kind(folder, "Project")] == [name]

    def test_names_are_unique(self, folder: Path) -> None:
        names = [(manifest["kind"], manifest["metadata"]["name"]) for _, manifest in load_all(folder)]
        assert len(names) == len(set(names))

    def test_applications_name_environments_that_are_there(self, folder: Path) -> None:
        there = {environment["metadata"]["name"] for environment in of_kind(folder, "Environment")}
        for application in of_kind(folder, "Application"):
            named = {environment["name"] for environment in application["spec"].get("environments", [])}
            assert named <= there

    def test_every_secret_that_a_component_reads_is_copied_into_each_environment(self, folder: Path) -> None:
        secrets = {secret["metadata"]["name"]: secret["stringData"] for secret in of_kind(folder, "Secret")}
        for environment in of_kind(folder, "Environment"):
            copies = {s["name"]: secrets[s.get("from", s["name"])] for s in environment["spec"].get("secrets", [])}
            for application in of_kind(folder, "Application"):
                for component in application["spec"]["components"]:
                    for variable in component.get("env", []):
                        ref = variable.get("valueFrom", {}).get("secretKeyRef")
                        assert ref is None or ref["key"] in copies[ref["name"]], (component["name"], variable["name"])

    def test_no_secret_is_a_real_one(self, folder: Path) -> None:
        for secret in of_kind(folder, "Secret"):
            for key, value in secret["stringData"].items():
                assert key == "username" or "demo-placeholder" in value, f"{secret['metadata']['name']}.{key}"

    def test_every_component_says_as_which_user_it_runs(self, folder: Path) -> None:
        for application in of_kind(folder, "Application"):
            for component in application["spec"]["components"]:
                assert component["securityContext"]["runAsUser"] > 0, component["name"]


def test_the_examples_together_stay_small() -> None:
    """Pods that run when the demonstration is over; done Jobs don't count."""
    assert sum(_pods(folder) for folder in EXAMPLES) <= PODS_AT_MOST


def _pods(folder: Path) -> int:
    total = 0
    for application in of_kind(folder, "Application"):
        for environment in application["spec"]["environments"]:
            for component in application["spec"]["components"]:
                if component.get("type", "service") in ("service", "worker", "stateful"):
                    override = environment.get("overrides", {}).get(component["name"], {})
                    scaled = "autoscaling" in component and "autoscaling" not in override.get("without", [])
                    least = component["autoscaling"]["min"] if scaled else component.get("replicas", 1)
                    total += override.get("replicas", least)
    return total


@pytest.mark.parametrize(("environment", "replicas"), [("development", 1), ("staging", 2), ("production", 3)])
def test_taskflow_has_its_own_numbers(environment: str, replicas: int) -> None:
    """systems.md: development 1 replica, production 3, default 2; UID 1000; 1Gi; taskflow.local."""
    (application,) = of_kind(ROOT / "examples/taskflow", "Application")
    (web,) = application["spec"]["components"]
    chosen = next(e for e in application["spec"]["environments"] if e["name"] == environment)
    assert chosen.get("overrides", {}).get("web", {}).get("replicas", web["replicas"]) == replicas
    assert web["securityContext"]["runAsUser"] == 1000
    assert web["volumes"][0]["size"] == "1Gi"
    domains = {
        e["metadata"]["name"]: e["spec"]["ingress"]["domain"]
        for e in of_kind(ROOT / "examples/taskflow", "Environment")
    }
    assert domains[environment].endswith("taskflow.local")
