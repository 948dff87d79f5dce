"""``homeport deploy`` against a real Git server and a real Gitea."""

from __future__ import annotations

import base64
import json
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from git_server import GitServer, Repository
from gitea_server import GiteaRepository, GiteaServer
from homeport.cli import main
from homeport.drivers.git import commits

pytestmark = pytest.mark.integration

APPLICATION = """apiVersion: homeport.dev/v1alpha1
kind: Application
metadata: {name: shop, namespace: shop}
spec:
  version: 1.3.0    # written by the pipeline
  components:
  - {name: web, image: ghcr.io/team/web}
  environments:
  - name: staging   # develop
"""
SECRET = "s3cr3t-of-the-pipeline"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitServer]:
    made = GitServer(tmp_path)
    yield made
    made.close()


@pytest.fixture
def fleet(tmp_path: Path) -> Repository:
    made = Repository(tmp_path, "fleet")
    made.commit({"apps/shop.yaml": APPLICATION, "README.md": "x"})
    return made


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GITHUB_SHA", "CI_COMMIT_SHA", "GIT_COMMIT", "GITHUB_RUN_ID", "HOMEPORT_GIT_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GITHUB_ACTOR", "somebody")


def deploy(url: str, *words: str, version: str = "1.4.0") -> int:
    where = ["--repo", url, "--file", "apps/shop.yaml", "--application", "shop"]
    return main(["deploy", *where, "--version", version, *words])


def shown(repository: Repository, branch: str = "main") -> str:
    return repository.git("show", f"{branch}:apps/shop.yaml", cwd=repository.path) + "\n"


def test_a_version_is_written_once(server: GitServer, fleet: Repository, capsys: pytest.CaptureFixture[str]) -> None:
    url = server.url("fleet")
    before = fleet.git("rev-parse", "main", cwd=fleet.path)
    assert deploy(url, "--dry-run") == 0
    assert fleet.git("rev-parse", "main", cwd=fleet.path) == before
    assert deploy(url, "-o", "json") == 0
    told = json.loads(capsys.readouterr().out.partition("--dry-run\n")[2])
    assert shown(fleet) == APPLICATION.replace("1.3.0", "1.4.0")
    assert (told["changed"], told["branch"]) == (True, "main")
    assert told["commit"] == fleet.git("rev-parse", "main", cwd=fleet.path)
    assert fleet.git("rev-parse", "main^", cwd=fleet.path) == before
    assert fleet.git("diff", "--name-only", "main^", "main", cwd=fleet.path) == "apps/shop.yaml"
    text = fleet.git("show", "-s", "--format=%B%an <%ae>", "main", cwd=fleet.path)
    assert "Homeport-Deploy: shop@1.4.0\nRequested-By: somebody\n" in text
    assert text.endswith("Homeport <homeport@homeport.invalid>")
    assert deploy(url) == 0
    assert "main has 1.4.0 already; nothing to do" in capsys.readouterr().out
    assert told["commit"] == fleet.git("rev-parse", "main", cwd=fleet.path)
    assert deploy(url, "-e", "staging", version="v1.5.0-rc.1") == 0
    assert "  - name: staging   # develop\n    version: 1.5.0-rc.1\n" in shown(fleet)


def test_somebody_is_quicker(
    server: GitServer, fleet: Repository, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    push, others = commits.push, iter(range(2))

    def late(*words: object) -> None:
        number = next(others, None)
        if number is not None:
            fleet.commit({"apps/other.yaml": f"{number}", "apps/shop.yaml": f"# {number}\n{APPLICATION}"})
        push(*words)  # type: ignore[arg-type]

    monkeypatch.setattr(commits, "push", late)
    assert deploy(server.url("fleet")) == 0
    # What the others wrote is there, and the version on top of it.
    assert shown(fleet) == "# 1\n" + APPLICATION.replace("1.3.0", "1.4.0")
    assert fleet.git("rev-list", "--count", "main", cwd=fleet.path) == "4"


def test_many_deploy_at_once(server: GitServer, fleet: Repository) -> None:
    names = ("one", "two", "three", "four")
    fleet.commit({"apps/shop.yaml": APPLICATION + "".join(f"  - name: {name}\n" for name in names)})
    codes: list[int] = []
    threads = [
        threading.Thread(target=lambda name=name: codes.append(deploy(server.url("fleet"), "-e", name)))
        for name in names
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [0, 0, 0, 0]
    assert shown(fleet) == APPLICATION + "".join(f"  - name: {name}\n    version: 1.4.0\n" for name in names)
    assert fleet.git("rev-list", "--count", "main", cwd=fleet.path) == "6"


def test_a_password_is_given_by_the_environment_and_never_shown(
    server: GitServer, fleet: Repository, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server.password = SECRET
    assert deploy(server.url("fleet")) == 1
    monkeypatch.setenv("HOMEPORT_GIT_USERNAME", "reader")
    monkeypatch.setenv("HOMEPORT_GIT_PASSWORD", f"{SECRET}-wrong")
    assert deploy(server.url("fleet")) == 1
    assert deploy(server.url("fleet").replace("//", f"//reader:{SECRET}@")) == 1
    monkeypatch.setenv("HOMEPORT_GIT_PASSWORD", SECRET)
    assert deploy(server.url("fleet")) == 0
    assert SECRET not in "".join(capsys.readouterr())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--branch", "nowhere"], "has no branch nowhere"),
        (["--file", "apps/absent.yaml"], "there is no file apps/absent.yaml"),
        (["--file", "../shop.yaml"], "leads out of the repository"),
        (["--file", "README.md"], "has no Application shop"),
        (["--version", "latest"], "'latest' is no version"),
        (["--image", "x:1"], "add --component NAME"),
        (["--pull-request"], "a pull request needs a token"),
        (["--repo", "file:///tmp/x.git"], "isn't of a server"),
        (["--author", "nobody"], "is no author"),
    ],
)
def test_what_can_not_be_done_is_told(
    server: GitServer, fleet: Repository, words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = fleet.git("rev-parse", "main", cwd=fleet.path)
    assert deploy(server.url("fleet"), *words) == 1
    assert told in "".join(capsys.readouterr().err)
    assert fleet.git("rev-parse", "main", cwd=fleet.path) == before


def test_a_branch_that_takes_no_pushes(
    server: GitServer, fleet: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    hook = fleet.path / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\necho 'main is protected' >&2\nexit 1\n")
    hook.chmod(0o755)
    assert deploy(server.url("fleet")) == 1
    assert "main is protected" in capsys.readouterr().err


# --- pull requests ----------------------------------------------------------------------------------------------------


@pytest.fixture
def hosted(gitea: GiteaServer, monkeypatch: pytest.MonkeyPatch) -> GiteaRepository:
    made = gitea.repository("team", f"fleet-{uuid.uuid4().hex[:8]}")
    made.commit({"apps/shop.yaml": APPLICATION})
    monkeypatch.setenv("HOMEPORT_GIT_TOKEN", gitea.token("team"))
    return made


def content(repository: GiteaRepository, branch: str) -> str:
    found = repository.call("GET", f"/contents/apps/shop.yaml?ref={branch}")
    return base64.b64decode(found["content"]).decode()


def test_a_pull_request_is_opened_once(hosted: GiteaRepository, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--pull-request", "--forge", "Gitea")
    for _ in range(2):
        assert deploy(hosted.clone_url, *words) == 0
        assert "pull request 1: http" in capsys.readouterr().out
    (pull,) = hosted.call("GET", "/pulls?state=all")
    assert (pull["title"], pull["base"]["ref"]) == ("Deploy shop 1.4.0", "main")
    assert pull["head"]["ref"] == "homeport/deploy/shop-1.4.0"
    assert "Requested-By: somebody" in pull["body"]
    assert content(hosted, "main") == APPLICATION
    hosted.merge(1)
    assert content(hosted, "main") == APPLICATION.replace("1.3.0", "1.4.0")
    assert deploy(hosted.clone_url, *words) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert len(hosted.call("GET", "/pulls?state=all")) == 1


def test_a_branch_that_was_pushed_by_a_run_that_ended_gets_its_pull_request(
    hosted: GiteaRepository, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    token, forge = "HOMEPORT_FORGE_TOKEN", ("--pull-request", "--forge", "Gitea")
    monkeypatch.setenv(token, "wrong")
    assert deploy(hosted.clone_url, *forge) == 1
    assert "only the pull request is opened" in capsys.readouterr().err
    branch = "homeport/deploy/shop-1.4.0"
    before = hosted.call("GET", f"/branches/{branch}")["commit"]["id"]
    monkeypatch.delenv(token)
    assert deploy(hosted.clone_url, *forge) == 0
    assert hosted.call("GET", f"/branches/{branch}")["commit"]["id"] == before
    assert len(hosted.call("GET", "/pulls")) == 1
