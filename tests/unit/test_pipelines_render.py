"""What pipelines are rendered to: golden files, and what must be true of every one of them."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import pytest
import yaml

import pipeline_examples as examples
from homeport.pipelines import pins, read, render
from homeport.pipelines.jobs import Stage

ALL = [(name, path) for name in examples.NAMES for path in examples.files(name)]
WORKFLOWS = [(name, path) for name, path in ALL if path.startswith(".github/workflows/")]


@cache
def workflow(name: str, path: str = ".github/workflows/pipeline.yml") -> dict[str, Any]:
    """The workflow as GitHub reads it. `on` is a word of YAML 1.1."""
    found = yaml.safe_load(examples.files(name)[path])
    found["on"] = found.pop(True)
    return dict(found)


@pytest.mark.parametrize(("name", "path"), ALL)
def test_golden(name: str, path: str, update_golden: bool) -> None:
    kept = examples.golden(name, path)
    if update_golden:
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(examples.files(name)[path])
    assert examples.files(name)[path] == kept.read_text()


def test_no_golden_file_is_left_over() -> None:
    assert {path for path in examples.GOLDEN.rglob("*") if path.is_file()} == {examples.golden(*each) for each in ALL}


@pytest.mark.parametrize(("name", "path"), WORKFLOWS)
def test_tokens_may_do_what_a_job_needs_and_no_more(name: str, path: str) -> None:
    found = workflow(name, path)
    assert found["permissions"] == {}
    allowed = {
        "contents": {"release"},
        "packages": {"publish"},
        "id-token": {"publish"},
        "attestations": {"publish"},
    }
    for job, body in found["jobs"].items():
        for scope, access in body["permissions"].items():
            if access == "write" and scope != "security-events":
                assert job in allowed[scope], f"{job} may write {scope}"
        uploads = any("codeql-action" in step.get("uses", "") for step in body["steps"])
        assert ("security-events" in body["permissions"]) == uploads, job


@pytest.mark.parametrize(("name", "path"), WORKFLOWS)
def test_nothing_is_expanded_in_a_script(name: str, path: str) -> None:
    for job, body in workflow(name, path)["jobs"].items():
        for step in body["steps"]:
            assert "${{" not in step.get("run", ""), f"{job}: {step['name']}"


@pytest.mark.parametrize(("name", "path"), WORKFLOWS)
def test_a_checkout_leaves_no_credentials(name: str, path: str) -> None:
    for job, body in workflow(name, path)["jobs"].items():
        checkouts = [step for step in body["steps"] if step.get("uses", "").startswith("actions/checkout@")]
        assert [step["with"]["persist-credentials"] for step in checkouts] == [False], job


@pytest.mark.parametrize(("name", "path"), WORKFLOWS)
def test_secrets_are_for_pushes_only(name: str, path: str) -> None:
    for job, body in workflow(name, path)["jobs"].items():
        if "secrets." in yaml.safe_dump(body):
            assert "github.event_name == 'push'" in body["if"], job
            assert body["environment"]["name"], job


@pytest.mark.parametrize(("name", "path"), ALL)
def test_all_is_pinned(name: str, path: str) -> None:
    text = examples.files(name)[path]
    for used in re.findall(r"uses: (.+)", text):
        assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\S+", used), used
    for image in re.findall(r"(?:image:|image|name:) '?([a-z0-9.-]+(?:/[a-z0-9._-]+)*:[^\s']+)'?", text):
        assert re.search(r"@sha256:[0-9a-f]{64}$", image), image
    for packages in re.findall(r"pip install (.+)", text):
        for package in re.sub(r"--requirement \S+|--[a-z-]+", "", packages).replace("'", "").split():
            assert "==" in package, package


@pytest.mark.parametrize("name", examples.NAMES)
def test_the_systems_run_the_same_commands(name: str) -> None:
    """What a job runs is in every file, word by word, but for what one system only has."""
    found, files = examples.pipeline(name), examples.files(name)
    for system in found.systems:
        text = re.sub(r"\\\\", r"\\", files[render.FILES[system]])
        lines = {line.strip() for line in text.splitlines()}
        for job in render.jobs(found):
            for step in job.steps:
                if step.only is None and job.tool is None:
                    missing = [line for line in step.script.splitlines() if line.strip() not in lines]
                    assert not missing, (system, job.name, missing)


@pytest.mark.parametrize("name", examples.NAMES)
def test_nothing_is_published_or_deployed_before_the_gates(name: str) -> None:
    """Whatever comes after the checks waits, by its needs, for the gates, and those for every check."""
    jobs = {job.name: job for job in render.jobs(examples.pipeline(name))}

    def before(job: str) -> set[str]:
        return set(jobs[job].needs).union(*(before(need) for need in jobs[job].needs))

    checks = {job.name for job in jobs.values() if job.stage is Stage.check}
    assert checks <= before("gates")
    for job in jobs.values():
        if job.stage in (Stage.publish, Stage.deploy, Stage.release):
            assert {"gates", *checks} <= before(job.name), job.name
            assert job.branches, job.name


@pytest.mark.parametrize(("name", "path"), WORKFLOWS)
def test_the_gates_fail_when_a_check_did(name: str, path: str) -> None:
    """GitHub takes a required check that is skipped for one that passed: gates that need a failed job mustn't be."""
    gates = workflow(name, path)["jobs"]["gates"]
    assert gates["if"] == "${{ always() }}" and gates["needs"]
    first, *_, last = gates["steps"]
    assert first["run"].splitlines()[-1] == "exit 1"
    whole = " || ".join(f"contains(needs.*.result, '{result}')" for result in ("failure", "cancelled", "skipped"))
    assert first["if"] == whole
    assert last["name"] == "Show the verdicts" and last["if"] == "${{ !cancelled() }}"
    # What follows has no status function of its own, so that it isn't run after gates that failed.
    for job, body in workflow(name, path)["jobs"].items():
        assert job == "gates" or not re.search(r"(always|cancelled|failure|success)\(\)", body.get("if", "")), job


def test_a_job_is_rendered_after_all_that_it_needs() -> None:
    for name in examples.NAMES:
        seen: set[str] = set()
        for job in render.jobs(examples.pipeline(name)):
            assert set(job.needs) <= seen, job.name
            assert {taken.job for taken in job.takes} <= seen, job.name
            seen.add(job.name)


def test_a_version_without_a_known_image_is_said() -> None:
    text = (examples.FOLDER / "budget-manager/pipeline.yaml").read_text().replace('["3.11", "3.12"]', '["3.9", "3.12"]')
    with pytest.raises(
        pins.UnknownPin, match=r"pins.images: python:3.9 has no known digest; write `python:3.9: IMAGE@sha256"
    ):
        render.files(read.read(text))


def test_pins_of_ones_own_come_first() -> None:
    own = "python:3.9-bookworm@sha256:" + "0" * 64
    text = (examples.FOLDER / "budget-manager/pipeline.yaml").read_text().replace('["3.11", "3.12"]', '["3.9", "3.12"]')
    made = render.files(read.read(f"{text}\npins: {{images: {{'python:3.9': '{own}'}}}}\n"))
    assert f"image: {own}" in made[".gitlab-ci.yml"]
    assert f"image '{own}'" in made["Jenkinsfile"]
