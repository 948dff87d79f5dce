"""Rendered test jobs, run as their steps say: of a small project, and of stand-ins for the examples' repositories."""

from __future__ import annotations

import re
import shutil
import sys
import warnings
from pathlib import Path
from xml.etree import ElementTree

import pytest

from homeport.pipelines import read, render
from homeport.pipelines.parts import Component
from manifests import ROOT
from pipeline_examples import FOLDER, NAMES, files, pipeline
from step_runner import Ran, StepRunner, Unavailable, UnknownStep

SAMPLES = ROOT / "tests/samples/pipelines"
JOBS = [(name, part, version) for name in NAMES for part in pipeline(name).components for version in part.versions[-1:]]
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
NETWORK = re.compile(
    r"ECONNREFUSED|ENOTFOUND|Temporary failure in name resolution|Could not fetch URL|No matching distr"
)


def written(folder: Path, files: dict[str, str]) -> Path:
    """A folder with these files."""
    for path, content in files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return folder


def repository(folder: Path, component: str, files: dict[str, str]) -> Path:
    """A small project with its rendered pipeline."""
    text = f"name: small\nhomeport: homeport==0.1.0\ncomponents:\n  - {component}\ngates: {{coverage: 90}}\n"
    return written(folder, {"pipeline.yaml": text, **render.files(read.read(text)), **files})


def stand_in(name: str, folder: Path) -> Path:
    """An example's stand-in, with what its real pipeline.yaml is rendered to."""
    shutil.copytree(SAMPLES / name, folder)
    return written(folder, {"pipeline.yaml": (FOLDER / name / "pipeline.yaml").read_text(), **files(name)})


def reached(ran: Ran) -> None:
    """Skip where no package can be had; say what the job ran on in place of what it asks for."""
    if not ran.passed and NETWORK.search(ran.output):
        pytest.skip(f"packages can't be installed here: {ran.output[-300:]}")
    for words in ran.instead:
        warnings.warn(words, stacklevel=2)


def test_a_python_job_as_its_steps_say(tmp_path: Path) -> None:
    test = "{runner: pytest, sources: [shop]}"
    component = f'{{name: api, language: python, folder: api, versions: ["{PYTHON}"], test: {test}}}'
    files = {
        "api/requirements.txt": "pytest>=8,<10\n",
        "api/shop/__init__.py": "def total(prices):\n    return sum(prices)\n",
        "api/test_shop.py": "from shop import total\n\n\ndef test_total():\n    assert total([1, 2]) == 3\n",
    }
    project = repository(tmp_path / "project", component, files)
    runner = StepRunner(project, tmp_path / "run", [Path(sys.executable).parent])
    ran = runner.run("test-api")
    reached(ran)
    assert ran.passed, ran.output
    report = ran.artifacts["reports-test-api"] / f"coverage-api-{PYTHON}.xml"
    assert 'lines-covered="2"' in report.read_text()

    # And a failing test fails the job, at the step that tests.
    (project / "api/test_shop.py").write_text(
        "from shop import total\n\n\ndef test_total():\n    assert total([1]) == 3\n"
    )
    failed = runner.run("test-api")
    assert failed.codes["Test"] == 1, failed.output
    assert failed.codes["Report coverage"] is None
    assert not failed.passed


@pytest.mark.parametrize(("name", "part", "version"), JOBS, ids=[f"{n}-{p.name}-{v}" for n, p, v in JOBS])
def test_the_examples_jobs_as_their_steps_say(name: str, part: Component, version: str, tmp_path: Path) -> None:
    runner = StepRunner(stand_in(name, tmp_path / "project"), tmp_path / "run")
    try:
        ran = runner.run(f"test-{part.name}", version if len(part.versions) > 1 else "")
    except Unavailable as why:
        pytest.skip(str(why))
    reached(ran)
    assert set(ran.codes.values()) == {0}, ran.output
    assert (ran.workspace / part.folder / "dist").is_dir() == bool(part.build)
    # All of the stand-in's lines are tested: less is what the job didn't count.
    (reports,) = ran.artifacts.values()
    (report,) = reports.rglob(f"*{part.name}-{version}*.xml") if part.language == "python" else reports.rglob("*.xml")
    counted = ElementTree.parse(report).getroot()
    assert int(counted.attrib["lines-valid"]) > 0
    assert counted.attrib["lines-covered"] == counted.attrib["lines-valid"], report.read_text()


def test_the_runner_passes_over_nothing(tmp_path: Path) -> None:
    component = f'{{name: api, language: python, versions: ["{PYTHON}"], test: {{runner: pytest}}}}'
    project = repository(tmp_path / "project", component, {})
    workflow = project / ".github/workflows/pipeline.yml"
    workflow.write_text(workflow.read_text().replace("actions/setup-python@", "actions/setup-ruby@"))
    with pytest.raises(UnknownStep, match="actions/setup-ruby"):
        StepRunner(project, tmp_path / "run").run("test-api")
