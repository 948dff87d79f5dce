"""What the jobs after the gates run: the commands as a shell has them, and GitLab's release against a played API."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import pytest

import pipeline_examples as examples
from homeport import cli
from homeport.cli import deploy as command
from homeport.pipelines import read, render
from homeport.pipelines.jobs import Job, Only

TOKEN = "glcbt-not-to-be-seen"


def job(name: str, environment: str = "") -> Job:
    """A job of budget-manager, which has two images; with ``environment``, all deployments are to that one."""
    text = (examples.FOLDER / "budget-manager/pipeline.yaml").read_text()
    if environment:
        text = text.replace("      namespace:", f"      environment: {environment}\n      namespace:")
    return next(job for job in render.jobs(read.read(text)) if job.name == name)


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what a deployment takes, and a `homeport` that writes down what it is called with."""
    (tmp_path / "release").mkdir()
    (tmp_path / "release/version").write_text("1.4.0\n")
    for name in ("backend", "frontend"):
        (tmp_path / f"release/{name}.digest").write_text(f"sha256:{name:0<64}\n")
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/homeport"
    program.write_text('#!/bin/sh\nfor word in "$@"; do printf "%s\\0" "$word"; done >> calls\nprintf "\\n" >> calls\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return tmp_path


def run(script: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-euc", script], cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip


def calls(folder: Path) -> list[list[str]]:
    return [line.split("\0")[:-1] for line in (folder / "calls").read_text().splitlines()]


@pytest.mark.parametrize("environment", ["", "eu"])
def test_all_images_go_by_one_commit_and_the_health_check_looks_there(environment: str, recorded: Path) -> None:
    steps = {step.name: step for step in job("deploy-staging", environment).steps}
    for name in ("Commit the new version to the GitOps repository", "Wait until it is Ready (health check)"):
        done = run(steps[name].script, recorded, KUBECONFIG_TEXT="{}")
        assert done.returncode == 0, done.stderr
    deploy, wait = calls(recorded)
    assert deploy[0] == "deploy"
    images = [deploy[at + 1] for at, word in enumerate(deploy) if word == "--image"]
    assert images == [
        f"{name}=registry.example.com/budget-manager/{name}@sha256:{name:0<64}" for name in ("backend", "frontend")
    ]
    assert dict(command.images((), images)).keys() == {"backend", "frontend"}
    assert wait[:2] == ["wait", "application/budget-manager"]
    for words in (deploy, wait):
        assert words[words.index("--version") + 1] == "1.4.0"
        assert words.count("--environment") == bool(environment)
        if environment:
            assert words[words.index("--environment") + 1] == environment


@pytest.mark.parametrize("environment", ["", "eu"])
def test_the_commands_take_these_words(environment: str, recorded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A deployment's words are those of the real command: nothing is unknown, and both images get through."""
    steps = {step.name: step for step in job("deploy-staging", environment).steps}
    assert run(steps["Commit the new version to the GitOps repository"].script, recorded).returncode == 0
    seen = {}
    monkeypatch.setattr(command, "_deploy", lambda given, _: seen.update(given) or 0)
    assert cli.main(calls(recorded)[0]) == 0
    assert (seen["version"], seen["environment"], len(seen["image"])) == ("1.4.0", environment, 2)


# --- GitLab's release -------------------------------------------------------------------------------------------------


class GitLab(ThreadingHTTPServer):
    """Releases as its API has them: a second one of a tag is a conflict."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.releases: dict[str, str] = {}
        self.tokens: list[str | None] = []


class Answers(BaseHTTPRequestHandler):
    server: GitLab

    def do_POST(self) -> None:
        sent = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.server.tokens.append(self.headers.get("JOB-TOKEN"))
        (tag,), (text,) = sent["tag_name"], sent["description"]
        status = 409 if tag in self.server.releases else 201
        if self.path != "/api/v4/projects/7/releases" or self.headers.get("JOB-TOKEN") != TOKEN:
            status = 403
        if status == 201:
            self.server.releases[tag] = text
        body = json.dumps({"message": "insufficient_scope"} if status == 403 else {}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def gitlab() -> Iterator[GitLab]:
    with GitLab() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_release_of_gitlab_is_made_once_and_no_process_shows_the_token(recorded: Path, gitlab: GitLab) -> None:
    (script,) = [step.script for step in job("release").steps if step.only is Only.gitlab]
    (recorded / "release/notes.md").write_text("## 1.4.0\n\n- carts & 50 % off\n")
    curl = recorded / "bin/curl"
    real = subprocess.run(["sh", "-c", "command -v curl"], capture_output=True, text=True, check=True).stdout.strip()
    curl.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >> words\nexec {real} "$@"\n')
    curl.chmod(0o755)
    for words in (
        ["init", "-q"],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "a"],
    ):
        subprocess.run(["git", *words], cwd=recorded, check=True)
    known = {
        "CI_API_V4_URL": f"http://127.0.0.1:{gitlab.server_port}/api/v4",
        "CI_PROJECT_ID": "7",
        "CI_JOB_TOKEN": TOKEN,
        "no_proxy": "127.0.0.1",
    }
    # Without a tag there is nothing to release.
    assert run(script, recorded, **known).returncode == 0
    assert gitlab.tokens == []
    subprocess.run(["git", "tag", "v1.4.0"], cwd=recorded, check=True)
    for told in ("", "v1.4.0 is released already\n"):
        done = run(script, recorded, **known)
        assert (done.returncode, done.stdout) == (0, told), done.stderr
    assert gitlab.releases == {"v1.4.0": "## 1.4.0\n\n- carts & 50 % off\n"}
    assert gitlab.tokens == [TOKEN, TOKEN]
    done = run(script, recorded, **{**known, "CI_JOB_TOKEN": "another"})
    assert done.returncode == 1
    assert "GitLab answered 403:" in done.stdout and "insufficient_scope" in done.stdout
    assert run(script, recorded, **{**known, "CI_API_V4_URL": "http://127.0.0.1:1/api/v4"}).returncode != 0
    assert TOKEN not in (recorded / "words").read_text()
