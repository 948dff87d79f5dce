"""Every step that the systems' own documents name is in what their pipelines are rendered to.

The words are the documents'. A step is a job and what it runs; where they say when, the branches count, too.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import pytest
import yaml

import pipeline_examples as examples
from homeport.pipelines import render
from homeport.pipelines.model import System

# The words, the job, what it runs.
STEPS: dict[str, list[tuple[str, str, str]]] = {
    "project-dashboard": [
        ("backend tests", "test-backend", r"coverage run .*manage\.py test"),
        ("frontend tests", "test-frontend", r"npx --no-install jest"),
        ("build", "test-frontend", r"npm run build"),
        ("image build: backend", "image-backend", r"docker buildx build .*\bbackend\b"),
        ("image build: frontend", "image-frontend", r"docker buildx build .*\bfrontend\b"),
        ("push: backend", "publish", r"copy .*docker://ghcr\.io/acme/project-dashboard-backend"),
        ("push: frontend", "publish", r"copy .*docker://ghcr\.io/acme/project-dashboard-frontend"),
        ("staging: deploy", "deploy-staging", r"homeport deploy .*--file staging/"),
        (
            "staging: health check after the deploy",
            "deploy-staging",
            r"homeport wait application/dashboard .*--version",
        ),
        ("production: deploy", "deploy-production", r"homeport deploy .*--file production/"),
        ("production: health check after the deploy", "deploy-production", r"homeport wait application/dashboard"),
    ],
    "flask-demo": [
        ("pip-audit", "audit-backend", r"pip-audit --requirement"),
        ("npm audit", "audit-frontend", r"npm audit --json"),
        ("Bandit", "audit-backend", r"bandit --recursive"),
        ("Trivy: files", "trivy", r"(trivy|aquasec/trivy:\S+) filesystem"),
        ("Trivy: images", "image-backend", r"aquasec/trivy:\S+ image --quiet --input images/backend"),
        ("Trivy: images", "image-frontend", r"aquasec/trivy:\S+ image --quiet --input images/frontend"),
        ("Gitleaks", "gitleaks", r"(gitleaks|gitleaks/gitleaks:\S+) git "),
        ("CodeQL: Python", "codeql-python", r"codeql"),
        ("CodeQL: JavaScript", "codeql-javascript-typescript", r"codeql"),
        ("load tests with Locust", "load-test", r"locust --locustfile \.\./load/locustfile\.py --headless"),
        ("load tests with Locust: judged", "gates", r"--locust reports/locust_stats\.csv"),
        ("pre-commit hooks", "pre-commit", r"pre-commit run --all-files"),
        ("deploy on merge", "deploy-production", r"homeport deploy "),
        ("in under two minutes", "deploy-production", r"homeport wait .*--timeout 2m"),
    ],
    "budget-manager": [
        (
            "tests on Python 3.11 and 3.12 with coverage",
            "test-backend",
            r"python -m coverage run --source app -m pytest",
        ),
        ("with coverage", "test-backend", r"python -m coverage xml"),
        ("Alembic migrations", "test-backend", r"alembic upgrade head"),
        ("frontend tests", "test-frontend", r"vitest run"),
        ("frontend build", "test-frontend", r"npm run build"),
        ("security scan with SARIF: Bandit", "audit-backend", r"--format sarif"),
        ("security scan with SARIF: Gitleaks", "gitleaks", r"--report-format sarif"),
        ("security scan with SARIF: Trivy", "trivy", r"--format sarif"),
        ("coverage ≥ 95 %: Python 3.11", "gates", r"--coverage reports/coverage-backend-3\.11\.xml"),
        ("coverage ≥ 95 %: Python 3.12", "gates", r"--coverage reports/coverage-backend-3\.12\.xml"),
        ("coverage ≥ 95 %: frontend", "gates", r"--coverage reports/coverage-frontend-22/cobertura-coverage\.xml"),
        ("security A", "gates", r"--sarif reports/bandit-backend\.sarif"),
        ("no critical issues", "gates", r"--audit reports/pip-audit-backend\.json"),
        ("performance ≥ 90", "gates", r"--locust reports/locust_stats\.csv"),
        ("documentation up to date", "gates", r"--range \"\$range\""),
        ("develop deploys to staging", "deploy-staging", r"homeport deploy .*--file staging/"),
        ("main deploys to production", "deploy-production", r"homeport deploy .*--file production/"),
        ("SemVer releases", "version", r"homeport release next"),
        ("with notes", "release", r"homeport release notes"),
        ("SemVer releases: tag", "release", r"homeport release tag --push"),
    ],
}
BRANCHES = {
    "project-dashboard": {"staging": ["develop", "release/*", "hotfix/*"], "production": ["main"]},
    "flask-demo": {"production": ["main"]},
    "budget-manager": {"staging": ["develop", "release/*", "hotfix/*"], "production": ["main"]},
}
CASES = [
    (name, system, words, job, runs)
    for name, steps in STEPS.items()
    for system in examples.pipeline(name).systems
    for words, job, runs in steps
]


@cache
def texts(name: str, system: System) -> dict[str, str]:
    """What each job of a rendered file runs and uses, by the job's name with its version."""
    text = examples.files(name)[render.FILES[system]]
    if system is System.jenkins:
        parts = re.split(r"(?m)^\s*stage\('([^']+)'\) \{$", text)
        return dict(zip(parts[1::2], (part.replace("\\\\", "\\") for part in parts[2::2]), strict=True))
    found: dict[str, Any] = yaml.safe_load(text)
    if system is System.github:
        return {
            job: "\n".join(str(step.get("run") or step.get("uses")) for step in body["steps"])
            for job, body in found["jobs"].items()
        }
    return {
        job: "\n".join(body["script"]) for job, body in found.items() if isinstance(body, dict) and "script" in body
    }


def of(found: dict[str, str], job: str) -> list[str]:
    """A job, in each of its versions."""
    return [text for name, text in found.items() if re.fullmatch(rf"{re.escape(job)}(-[0-9.]+)?", name)]


@pytest.mark.parametrize(("name", "system", "words", "job", "runs"), CASES)
def test_step(name: str, system: System, words: str, job: str, runs: str) -> None:
    jobs = of(texts(name, system), job)
    assert jobs, f"{words}: no job {job}"
    for text in jobs:
        assert re.search(runs, text), words


def test_the_systems_that_their_documents_name() -> None:
    assert sorted(STEPS) == examples.NAMES
    assert examples.pipeline("project-dashboard").systems == (System.github, System.jenkins)
    assert System.github in examples.pipeline("flask-demo").systems
    assert set(examples.pipeline("budget-manager").systems) == set(System)


@pytest.mark.parametrize("name", sorted(STEPS))
def test_branches_go_where_the_documents_say(name: str) -> None:
    found = {env.name: list(env.branches) for env in examples.pipeline(name).environments}
    assert found == BRANCHES[name]
    workflow = yaml.safe_load(examples.files(name)[render.FILES[System.github]])
    assert "pull_request" in workflow[True], "feature branches come as pull requests"
    for environment, branches in BRANCHES[name].items():
        condition = workflow["jobs"][f"deploy-{environment}"]["if"]
        said = [
            f"startsWith(github.ref, 'refs/heads/{branch[:-1]}')" if branch.endswith("*") else f"refs/heads/{branch}'"
            for branch in branches
        ]
        assert [one for one in said if one not in condition] == []
        assert condition.count("refs/heads/") == len(branches)


def test_the_two_pythons_in_each_system() -> None:
    for system in System:
        found = texts("budget-manager", system)
        names = [name for name in found if name.startswith("test-backend")]
        assert names == (["test-backend"] if system is System.github else ["test-backend-3.11", "test-backend-3.12"])
    workflow = yaml.safe_load(examples.files("budget-manager")[render.FILES[System.github]])
    assert workflow["jobs"]["test-backend"]["strategy"]["matrix"] == {"version": ["3.11", "3.12"]}


def test_findings_get_to_code_scanning() -> None:
    for name in examples.NAMES:
        workflow = yaml.safe_load(examples.files(name)[render.FILES[System.github]])
        for job in render.jobs(examples.pipeline(name)):
            steps = workflow["jobs"].get(job.name, {}).get("steps", [])
            uploaded = [s["with"]["sarif_file"] for s in steps if "upload-sarif@" in s.get("uses", "")]
            analyzed = any("codeql-action/analyze@" in s.get("uses", "") for s in steps)
            assert analyzed or uploaded == list(job.sarif), job.name


def test_provenance_and_what_is_scanned_is_what_is_pushed() -> None:
    for name in examples.NAMES:
        for image in examples.pipeline(name).images:
            for system in examples.pipeline(name).systems:
                found = texts(name, system)
                (build,) = of(found, f"image-{image.name}")
                assert re.search(rf"--provenance mode=max .*--sbom .*dest=images/{image.name} ", build)
                assert f"--input images/{image.name} " in build
                assert re.search(rf"copy --all --preserve-digests .*oci:images/{image.name} ", found["publish"])
            assert "actions/attest@" in texts(name, System.github)["publish"]


def test_the_gates_and_the_template_of_budget_manager() -> None:
    gates = examples.pipeline("budget-manager").gates
    assert gates is not None
    assert gates.docs is not None
    assert (gates.coverage, gates.security, gates.critical_issues) == (95, "A", 0)
    assert gates.load is not None
    assert gates.load.score == 90
    template = examples.files("budget-manager")[".github/pull_request_template.md"]
    for words in ("Coverage stays at 95 %", "security A", "score stays at 90", "documentation", "## Migration"):
        assert words in template
    assert examples.files("budget-manager")[".gitlab/merge_request_templates/Default.md"] == template
