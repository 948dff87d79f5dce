"""``homeport gate check``: files, exit codes and formats."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from homeport.cli import main

SAMPLES = Path(__file__).parents[1] / "samples" / "reports"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def gates(text: str) -> None:
    Path("pipeline.yaml").write_text(f"name: shop\ngates:\n{text}", encoding="utf-8")


def test_a_pass_and_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    gates("  coverage: 64\n  performance: 90\n")
    words = ["gate", "check"]
    words += [word for run in "ab" for word in ("--coverage", str(SAMPLES / f"coverage-{run}.xml"))]
    assert main([*words, "--locust", str(SAMPLES / "locust-fast_stats.csv")]) == 0
    assert "2 of 2 gates pass" in capsys.readouterr().out
    assert main([*words, "--locust", str(SAMPLES / "locust-slow_stats.csv"), "--summary", "summary.md"]) == 2
    shown = capsys.readouterr().out
    assert "FAIL   performance   18.77 " in shown
    assert "GET /orders: p95 950 ms, 12 of 59 failed" in shown
    text = Path("summary.md").read_text(encoding="utf-8")
    assert "❌ | performance | 18.77 | ≥ 90 |" in text
    # A job's summary has what other steps wrote, too.
    main([*words, "--summary", "summary.md"])
    assert Path("summary.md").read_text(encoding="utf-8").startswith(text)


def test_json_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    gates("  security: A\n  criticalIssues: 0\n")
    assert main(["gate", "check", "--audit", str(SAMPLES / "npm-audit.json"), "-o", "json"]) == 2
    found = json.loads(capsys.readouterr().out)
    assert found["passed"] is False
    assert [(one["gate"], one["value"], one["wanted"]) for one in found["gates"]] == [
        ("security", "E", "A"), ("criticalIssues", 1, 0),
    ]  # fmt: skip


def test_a_report_that_is_not_there_fails(capsys: pytest.CaptureFixture[str]) -> None:
    gates("  coverage: 0\n")
    assert main(["gate", "check", "--coverage", "absent.xml"]) == 2
    assert "absent.xml: there is no such file" in capsys.readouterr().out


def test_only_some_gates(capsys: pytest.CaptureFixture[str]) -> None:
    gates("  coverage: 0\n  security: A\n")
    audit = str(SAMPLES / "pip-audit-clean.json")
    assert main(["gate", "check", "--audit", audit, "--only", "security"]) == 0
    assert main(["gate", "check", "--audit", audit]) == 2
    assert main(["gate", "check", "--audit", audit, "--only", "performance"]) == 1
    assert "written are: coverage, security" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name: shop\n", "has no gates, so there is nothing to check"),
        ("gates: {}\n", "has no gates, so there is nothing to check"),
        ("gates: {coverage: 101}\n", "gates.coverage: Input should be less than or equal to 100"),
        ("gates: {speed: 1}\n", "gates.speed: Extra inputs are not permitted"),
        ("gates: {docs: {}}\n", "write exist, changed or both"),
        ("gates: [\n", "isn't YAML that can be read"),
    ],
)
def test_a_config_that_says_nothing_is_an_error_of_usage(
    text: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("pipeline.yaml").write_text(text, encoding="utf-8")
    assert main(["gate", "check"]) == 1
    assert told in capsys.readouterr().err
    assert main(["gate", "check", "--config", "absent.yaml"]) == 1


def test_a_report_that_no_gate_judges_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    gates("  coverage: 0\n")
    words = ["--coverage", str(SAMPLES / "coverage-a.xml"), "--sarif", str(SAMPLES / "bandit.sarif")]
    assert main(["gate", "check", *words]) == 0
    assert "no gate judges this; write security among the gates" in capsys.readouterr().err


def test_docs_by_what_commits_touch(capsys: pytest.CaptureFixture[str]) -> None:
    def git(*words: str) -> None:
        settings = ["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false"]
        environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull}
        subprocess.run(["git", *settings, *words], check=True, capture_output=True, env=environment)

    gates("  docs:\n    exist: [README.md]\n    changed:\n    - {when: ['src/**'], then: ['docs/**']}\n")
    git("init", "-q", "-b", "main")
    for name in ("README.md", "src/a.py", "docs/a.md"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text("1\n")
    git("add", "-A")
    git("commit", "-q", "-m", "first")
    git("checkout", "-q", "-b", "feature/x")
    Path("src/a.py").write_text("2\n")
    git("commit", "-q", "-am", "code")
    # What main goes on with meanwhile is no part of the change.
    git("checkout", "-q", "main")
    Path("docs/a.md").write_text("main\n")
    git("commit", "-q", "-am", "other docs")
    git("checkout", "-q", "feature/x")
    assert main(["gate", "check", "--range", "main..HEAD"]) == 2
    assert "src/a.py changed, and nothing in docs/** did" in capsys.readouterr().out
    assert main(["gate", "check"]) == 2
    assert "give --range BASE..HEAD" in capsys.readouterr().out
    assert main(["gate", "check", "--range", "nowhere..HEAD"]) == 2
    assert "'nowhere' is no commit here" in capsys.readouterr().out
    Path("docs/a.md").write_text("mine\n")
    git("commit", "-q", "-am", "docs")
    assert main(["gate", "check", "--range", "main...HEAD"]) == 0
    Path("README.md").write_text("")
    assert main(["gate", "check", "--range", "main"]) == 2
    assert "README.md isn't there, or holds nothing" in capsys.readouterr().out
