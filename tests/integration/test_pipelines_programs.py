"""What others' programs say of rendered pipelines: linters and schemas of the CI systems, a real Groovy parser."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

import pipeline_examples as examples
from homeport.pipelines import render
from homeport.pipelines.model import System
from localplane import binaries, tools
from manifests import ROOT

GROOVY = "4.0.28"
WITH = {system: [name for name in examples.NAMES if system in examples.pipeline(name).systems] for system in System}


def written(name: str, folder: Path) -> Path:
    """A rendered example as a repository."""
    for path, text in examples.files(name).items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder


def program(name: str) -> str:
    """A program of this environment."""
    return str(Path(sys.executable).with_name(name))


@pytest.fixture(scope="module")
def actionlint() -> Path:
    """The real one, built as hack/tools/actionlint pins it."""
    return binaries.ensure(["actionlint"])["actionlint"]


@pytest.mark.parametrize("name", WITH[System.github])
def test_actionlint_finds_nothing(name: str, actionlint: Path, tmp_path: Path) -> None:
    workflow = written(name, tmp_path) / render.FILES[System.github]
    done = subprocess.run([actionlint, workflow], capture_output=True, text=True, check=False, timeout=250)
    assert (done.returncode, done.stdout) == (0, "")


def test_actionlint_would_find_something(actionlint: Path, tmp_path: Path) -> None:
    workflow = written("flask-demo", tmp_path) / render.FILES[System.github]
    workflow.write_text(workflow.read_text().replace("matrix.version", "matrix.verison"))
    done = subprocess.run([actionlint, workflow], capture_output=True, text=True, check=False, timeout=250)
    assert "verison" in done.stdout


@pytest.mark.parametrize("name", WITH[System.github])
def test_zizmor_finds_nothing_even_when_pedantic(name: str, tmp_path: Path) -> None:
    workflow = written(name, tmp_path) / render.FILES[System.github]
    command = [
        program("zizmor"),
        "--offline",
        "--persona",
        "pedantic",
        "--format",
        "json",
        "--no-progress",
        str(workflow),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=250)
    assert (done.returncode, json.loads(done.stdout)) == (0, []), done.stderr


def test_zizmor_would_find_something(tmp_path: Path) -> None:
    workflow = written("flask-demo", tmp_path) / render.FILES[System.github]
    workflow.write_text(re.sub(r"actions/checkout@\w+", "actions/checkout@v7", workflow.read_text()))
    command = [program("zizmor"), "--offline", "--format", "json", "--no-progress", str(workflow)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=250)
    assert "unpinned-uses" in {finding["ident"] for finding in json.loads(done.stdout)}


SCHEMAS = {System.github: "github-workflows", System.gitlab: "gitlab-ci"}


@pytest.mark.parametrize(("system", "name"), [(system, name) for system in SCHEMAS for name in WITH[system]])
def test_the_systems_own_schemas_accept_it(system: System, name: str) -> None:
    """schemastore's schemas, as check-jsonschema carries them."""
    spec = importlib.util.find_spec("check_jsonschema")
    assert spec is not None
    assert spec.origin is not None
    file = Path(spec.origin).parent / f"builtin_schemas/vendor/{SCHEMAS[system]}.json"
    body = yaml.safe_load(examples.files(name)[render.FILES[system]])
    if True in body:
        body["on"] = body.pop(True)
    schema = json.loads(file.read_text())
    validator = jsonschema.validators.validator_for(schema)(schema)
    assert [error.message for error in validator.iter_errors(body)] == []
    # And it does look: a misspelt word is an error.
    broken = json.loads(json.dumps(body).replace('"runs-on"', '"run-on"').replace('"script"', '"scirpt"'))
    assert not validator.is_valid(broken)


# --- Jenkins ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def groovy() -> Path:
    """Groovy's compiler as a jar."""
    if not (shutil.which("java") and shutil.which("mvn")):
        pytest.skip("needs a JDK and Maven, to parse Groovy by its own parser")
    folder = tools.cache_directory() / "groovy"
    jar = folder / f"groovy-{GROOVY}.jar"
    if not jar.exists():
        artifact = f"-Dartifact=org.apache.groovy:groovy:{GROOVY}"
        command = ["mvn", "-q", "-B", "dependency:copy", artifact, f"-DoutputDirectory={folder}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)
        if not jar.exists():
            pytest.skip(f"Groovy can't be had from Maven's registry: {done.stdout[-500:]}{done.stderr[-500:]}")
    return jar


Call = tuple[int, str, str]


def calls(jar: Path, file: Path) -> list[Call]:
    """The calls in a Jenkinsfile: how deep, the name, the first argument. Fails where it isn't Groovy."""
    program = ROOT / "tests/samples/groovy/Stages.java"
    command = ["java", "-cp", str(jar), str(program), str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stderr
    out = []
    for line in done.stdout.splitlines():
        name, _, first = line.lstrip(" ").partition("\t")
        out.append(((len(line) - len(line.lstrip(" "))) // 2, name, first))
    return out


# What may be in what, of a declarative pipeline. Source: https://www.jenkins.io/doc/book/pipeline/syntax/
INSIDE = {
    "pipeline": {"agent", "options", "stages"},
    "stages": {"stage"},
    "parallel": {"stage"},
    "stage": {"agent", "options", "environment", "when", "steps", "parallel", "post"},
    "agent": {"docker", "label", "none"},
    "docker": {"image", "args"},
    "when": {"beforeAgent", "anyOf"},
    "anyOf": {"branch"},
    "options": {"timeout", "disableConcurrentBuilds", "buildDiscarder"},
    "environment": {"set"},
    "post": {"always"},
    "always": {"archiveArtifacts", "stash"},
    "steps": {"sh", "dir", "withEnv", "withCredentials", "checkout", "unstash"},
    "dir": {"sh"},
    "withEnv": {"sh", "dir", "withCredentials"},
    "withCredentials": {"sh", "dir"},
}


@pytest.mark.parametrize("name", WITH[System.jenkins])
def test_the_jenkinsfile_is_groovy_and_declarative(name: str, groovy: Path, tmp_path: Path) -> None:
    found = calls(groovy, written(name, tmp_path) / "Jenkinsfile")
    assert [call for call in found if call[0] == 0] == [(0, "pipeline", "")]
    above: list[str] = []
    stages: dict[str, set[str]] = {}
    current = ""
    for depth, word, first in found:
        del above[depth:]
        if above:
            assert word in INSIDE[above[-1]], f"{word} in {' > '.join(above)}"
        if word == "stage":
            current = first
            assert first not in stages, f"two stages are called {first}"
            stages[first] = set()
        elif above and above[-1] == "stage":
            stages[current].add(word)
        above.append(word)
    # A stage has one of steps and parallel; steps run on an agent.
    assert stages.pop("check") >= {"parallel"} or "parallel" in {word for _, word, _ in found}
    assert all({"agent", "steps", "options"} <= parts for parts in stages.values())
    expected = {run for job in render.jobs(examples.pipeline(name)) for run, _ in render.runs(job)}
    assert set(stages) == expected


def test_what_is_no_groovy_is_refused(groovy: Path, tmp_path: Path) -> None:
    file = written("project-dashboard", tmp_path) / "Jenkinsfile"
    file.write_text(file.read_text().replace("parallel {", "parallel {{", 1))
    with pytest.raises(AssertionError, match="MultipleCompilationErrorsException"):
        calls(groovy, file)
