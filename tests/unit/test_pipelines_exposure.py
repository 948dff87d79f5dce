"""Which branches' jobs see a deployment's secrets, and what is said of a pipeline.yaml that leaves that open."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from homeport import cli
from homeport.pipelines import exposure, read
from homeport.pipelines.model import Pipeline

pytest.importorskip("pulumi")
from homeport_pipelines import wanted

PIPELINE = """\
name: shop
homeport: homeport==0.1.0
systems: [SYSTEM]
components:
  - {name: web, language: python, versions: ["3.12"], test: {runner: pytest}}
images:
  - {name: web, repository: HOST/acme/shop, context: .}
environments:
  - name: staging
    branches: [develop, release/*]
    deploy: {repository: https://git.example.com/gitops.git, file: s.yaml, application: shop, namespace: shop}
  - name: production
    branches: [main]
    deploy: {repository: https://git.example.com/gitops.git, file: p.yaml, application: shop, namespace: shop}
repository:
  forge: SYSTEM
  owner: acme
  name: shop
"""
SECRETS = "secrets: {GITOPS_TOKEN: {env: T}}"


def text(more: str, system: str = "github", host: str = "registry.example.com") -> str:
    """The pipeline, with ``more`` in its repository block."""
    return PIPELINE.replace("SYSTEM", system).replace("HOST", host) + more


def pipeline(*more: Any, **how: str) -> Pipeline:
    return read.read(text(*more, **how))


def test_an_environment_without_branches_has_those_that_deploy_to_it() -> None:
    found = exposure.repository(
        pipeline("  environments: [{name: staging}, {name: production, branches: [v2]}, {name: registry}]\n")
    )
    assert found is not None
    assert {one.name: one.branches for one in found.environments} == {
        "staging": ("develop", "release/*"),
        "production": ("v2",),
        "registry": ("develop", "release/*", "main"),
    }
    # Pulumi's program is told the same, as GitHub's rules.
    specs = {one.key: one.spec for one in wanted.of(found, {}) if one.kind == "environment"}
    assert specs["registry"]["branches"] == ["develop", "release/*", "main"]
    assert (
        exposure.warnings(pipeline("  environments: [{name: staging}, {name: production}, {name: registry}]\n")) == ()
    )


def test_gitlab_s_secrets_of_environments_are_for_protected_branches_alone() -> None:
    block = (
        f"  secrets: {{OTHER: {{env: O}}}}\n"
        f"  environments: [{{name: staging, {SECRETS}}}, {{name: production, {SECRETS}}}, {{name: qa}}]\n"
    )
    found = pipeline(block, system="gitlab")
    assert found.repository is not None
    specs = {one.key: one.spec for one in wanted.of(found.repository, {}) if one.kind == "secret"}
    assert specs == {
        "OTHER": {},
        "staging/GITOPS_TOKEN": {"protected": True},
        "production/GITOPS_TOKEN": {"protected": True},
    }
    told = exposure.warnings(found)
    assert [one.partition(": they reach protected branches alone, and ")[2] for one in told] == [
        "develop isn't one; write {branch: develop} under repository.protection",
        "release/* isn't one; write {branch: release/*} under repository.protection",
    ]
    protected = block + "  protection: [{branch: develop}, {branch: 'release*'}]\n"
    assert exposure.warnings(pipeline(protected, system="gitlab")) == ()


@pytest.mark.parametrize(
    ("more", "host", "told"),
    [
        (
            f"  {SECRETS}\n  environments: [{{name: staging}}, {{name: production}}]\n",
            "ghcr.io",
            "repository.secrets.GITOPS_TOKEN: jobs of every branch see it; write it under "
            "repository.environments[staging].secrets and environments[production].secrets",
        ),
        (
            "  environments: [{name: staging}, {name: production}]\n",
            "registry.example.com",
            "repository.environments: jobs use registry, and GitHub makes it open to every branch when it isn't there; "
            "write {name: registry} with its secrets",
        ),
        (
            "  environments: [{name: staging}, {name: production}, {name: qa}]\n",
            "ghcr.io",
            "repository.environments[qa]: every branch may deploy to it; write branches",
        ),
    ],
)
def test_what_is_open_to_every_branch_is_said(more: str, host: str, told: str) -> None:
    assert exposure.warnings(pipeline(more, host=host)) == (told,)


def test_without_a_block_or_environments_nothing_is_said() -> None:
    assert exposure.warnings(read.read(text("").partition("repository:\n  forge")[0])) == ()


def test_check_warns_and_is_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "pipeline.yaml"
    source.write_text(text("  environments: [{name: staging}, {name: production}, {name: qa}]\n", host="ghcr.io"))
    assert cli.main(["pipeline", "render", "-f", str(source)]) == 0
    assert cli.main(["pipeline", "check", "-f", str(source)]) == 0
    assert "warning: repository.environments[qa]: every branch may deploy to it" in capsys.readouterr().err
    assert cli.main(["pipeline", "check", "-f", str(source), "-o", "json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["warnings"]) == 1
