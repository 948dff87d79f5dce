"""What is said of a pipeline.yaml that can't be used: the line, the field, and what to write."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import pipeline_examples as examples
from homeport import cli
from homeport.pipelines import read

SMALL = """\
name: shop
homeport: homeport==0.1.0
components:
  - name: backend
    language: python
    versions: ["3.12"]
    test: {runner: pytest}
"""
CASES = [
    (
        "name: shop",
        "name: Shop!",
        1,
        "name: 'Shop!' doesn't fit; write lower-case letters, digits and '-', starting and",
    ),
    ("    language:", "    langauge:", 5, "components[0].langauge: is no field here; write language"),
    (
        "language: python",
        "language: cobol",
        5,
        "components[0].language: 'cobol' isn't known; write one of python, node",
    ),
    ('["3.12"]', "[3.12]", 6, "components[0].versions[0]: write text; put it in quotes"),
    ('["3.12"]', "[]", 6, "components[0].versions: is empty; write at least one"),
    ("name: shop\n", "", 1, "name is missing: Its name, as people see it in the CI system."),
    ("homeport==0.1.0", "homeport>=0.1", 2, "homeport: 'homeport>=0.1' doesn't fit; write a package at one version"),
    (
        "runner: pytest",
        "runner: jest",
        7,
        "components[backend].test.runner: jest isn't for python; write one of django, pytest",
    ),
    (
        "name: shop",
        "name: shop\nscans: [npm-audit]",
        2,
        "scans: npm-audit is for node, and no component is written in it",
    ),
    ("name: shop", "name: shop\ngates: {performance: 90}", 2, "gates.performance: nothing measures it; write loadTest"),
    ("name: shop", "name: shop\ngates: {coverage: 101}", 2, "gates.coverage: write a number up to 100"),
    (
        "{runner: pytest}",
        "{runner: pytest, before: ['echo ${{ github.head_ref }}']}",
        7,
        "without ${{ }}: values come from",
    ),
    (
        "name: shop",
        "name: shop\nsystems: [gitlab]\nscans: [codeql]",
        3,
        "scans: on GitLab and Jenkins codeql needs an image",
    ),
    (
        "name: shop",
        "name: shop\nimages:\n- {name: web, repository: r.example.com/web}\n"
        "- {name: old, repository: r.example.com/old, component: web}",
        4,
        "images[old].component: web runs web already; write another component of the Application",
    ),
    ("name: shop", "name: shop\ncomponents: [", 4, "this isn't YAML: "),
]


@pytest.mark.parametrize(("old", "new", "line", "words"), CASES)
def test_what_is_said(old: str, new: str, line: int, words: str) -> None:
    assert old in SMALL
    with pytest.raises(read.InvalidPipeline) as caught:
        read.read(SMALL.replace(old, new, 1))
    told = [(problem.line, problem.sentence) for problem in caught.value.problems]
    assert any(words in sentence for _, sentence in told), told
    assert (line, words) in [(at, words if words in sentence else sentence) for at, sentence in told], told


def test_a_small_one_is_well() -> None:
    assert read.read(SMALL).components[0].name == "backend"


def test_all_problems_are_told_at_once() -> None:
    text = SMALL.replace("name: shop", "name: Shop").replace("python", "cobol")
    with pytest.raises(read.InvalidPipeline) as caught:
        read.read(text)
    assert [problem.line for problem in caught.value.problems] == [1, 5]


def test_a_branch_goes_to_one_environment() -> None:
    text = (
        (examples.FOLDER / "budget-manager/pipeline.yaml")
        .read_text()
        .replace("branches: [main]", "branches: [develop]")
    )
    with pytest.raises(
        read.InvalidPipeline, match=r"environments\[production\].branches: develop goes to staging already"
    ):
        read.read(text)


def test_render_and_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "pipeline.yaml"
    source.write_text(SMALL)
    assert cli.main(["pipeline", "check", "-f", str(source)]) == 1
    assert ".github/workflows/pipeline.yml: isn't there; run `homeport pipeline render`" in capsys.readouterr().err
    assert cli.main(["pipeline", "render", "-f", str(source)]) == 0
    assert cli.main(["pipeline", "check", "-f", str(source)]) == 0
    capsys.readouterr()
    workflow = tmp_path / ".github/workflows/pipeline.yml"
    workflow.write_text(workflow.read_text() + "# by hand\n")
    assert cli.main(["pipeline", "check", "-f", str(source), "-o", "json"]) == 1
    assert json.loads(capsys.readouterr().out)["stale"] == [".github/workflows/pipeline.yml"]
    assert cli.main(["pipeline", "render", "-f", str(source), "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["written"] == [".github/workflows/pipeline.yml"]
    assert cli.main(["pipeline", "check", "-f", str(source)]) == 0


def test_the_commands_name_the_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "pipeline.yaml"
    source.write_text(SMALL.replace("language", "langauge"))
    assert cli.main(["pipeline", "render", "-f", str(source)]) == 1
    assert f"{source}:5: components[0].langauge: is no field here; write language" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [source]
