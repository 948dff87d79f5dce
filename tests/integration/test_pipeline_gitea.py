"""``homeport pipeline`` by Pulumi's real engine against a real Gitea."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from forge_proxy import ForgeProxy, kill_engine
from gitea_server import PASSWORD, GiteaError, GiteaServer
from homeport.drivers.forge.setup import mark
from stack_cli import SECONDS, Cli

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1500)]
pytest.importorskip("pulumi")

WORKFLOW, JENKINSFILE = ".github/workflows/pipeline.yml", "Jenkinsfile"
SECRET, HOOK = "a-registry-password", "what-signs-deliveries"


class Team:
    """Somebody with a pipeline.yaml: what ``homeport pipeline`` does for them, and what a look at Gitea shows."""

    def __init__(self, gitea: GiteaServer, proxy: ForgeProxy, cli: Cli) -> None:
        self.gitea, self.proxy, self.cli = gitea, proxy, cli

    def write(self, name: str, systems: tuple[str, ...] = ("github",), **fields: Any) -> None:
        """The pipeline.yaml of a repository."""
        repository = {
            "forge": "gitea",
            "url": self.proxy.url,
            "owner": "team",
            "name": name,
            "description": "Ships",
            "webhooks": [{"name": "homeport", "url": "http://127.0.0.1:9/hooks/x", "secret": {"env": "HOOK"}}],
            **fields,
        }
        parts = [{"name": "web", "language": "python", "versions": ["3.11"]}]
        about = {"name": name, "homeport": "homeport==0.1.0", "systems": list(systems), "components": parts}
        self.cli.write({**about, "repository": repository})

    def run(self, *words: str, code: int = 0) -> Any:
        """What the command prints; what it says on the way when it should fail."""
        self.proxy.asked.clear()
        return self.cli.run(*words, code=code)

    def killed_after(self, tail: str) -> None:
        """``up``, whose engine is killed once the forge has answered a POST to a path that ends so."""
        killed = threading.Event()
        running: list[subprocess.Popen[str]] = []

        def kill(method: str, path: str) -> None:
            if method == "POST" and path.endswith(tail) and not killed.is_set():
                killed.set()
                assert kill_engine(running[0].pid)

        self.proxy.after = kill
        running.append(self.cli.start("up"))
        _, said = running[0].communicate(timeout=SECONDS)
        self.proxy.after = lambda method, path: None
        assert killed.is_set(), said
        assert running[0].returncode != 0

    def call(self, path: str, method: str = "GET", body: Any = None) -> Any:
        return self.gitea.call(method, f"/repos/team/{path}", body, "team")

    def files(self, name: str, branch: str = "main") -> set[str]:
        return {one["path"] for one in self.call(f"{name}/git/trees/{branch}?recursive=true")["tree"]}

    def push(self, name: str, *words: str) -> subprocess.CompletedProcess[str]:
        """A commit over the one that is there, pushed by git."""
        clone = self.cli.folder / f"clone-{name}"
        address = self.gitea.url.replace("://", f"://team:{PASSWORD}@") + f"/team/{name}.git"
        if not clone.exists():
            subprocess.run(["git", "clone", "-q", address, str(clone)], check=True, timeout=120)
        commit = ["-c", "user.name=team", "-c", "user.email=team@example.com", "commit", "-q", "--allow-empty"]
        # Another message: the same one in the same second would be the same commit.
        rest = ["--amend", "-m", "other work"] if words else ["-m", "work"]
        subprocess.run(["git", "-C", str(clone), *commit, *rest], check=True, timeout=60)
        command = ["git", "-C", str(clone), "push", *words, "origin", "main"]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)

    def kept_nowhere(self, *values: str) -> None:
        """No value is in any file that Pulumi has written."""
        for file in (self.cli.folder / "data").rglob("*"):
            if file.is_file():
                data = file.read_bytes()
                assert not [value for value in values if value.encode() in data], file


@pytest.fixture
def team(gitea: GiteaServer, tmp_path: Path) -> Iterator[Team]:
    proxy, cli = ForgeProxy(gitea.url), Cli(tmp_path, "pipeline")
    cli.environment |= {"HOMEPORT_FORGE_TOKEN": gitea.token("team"), "REGISTRY_PASSWORD": SECRET, "HOOK": HOOK}
    yield Team(gitea, proxy, cli)
    proxy.stop()


def test_a_repository_is_made_and_nothing_is_asked_again(team: Team) -> None:
    team.write(
        "fleet",
        protection=[{"branch": "main", "requiredChecks": ["test"], "codeOwners": True}],
        environments=[{"name": "production", "secrets": {"DEPLOY": {"env": "REGISTRY_PASSWORD"}}}],
        secrets={"REGISTRY_PASSWORD": {"env": "REGISTRY_PASSWORD"}},
        variables={"REGION": "eu"},
        labels=[{"name": "preview", "color": "#0e8a16", "description": "Has a preview"}],
        collaborators=[{"name": "ann", "permission": "write"}],
    )
    # Preview: what Gitea doesn't have is said, and nothing is asked of it but reads.
    assert team.run("preview", code=2)["changes"]["create"] == 9
    said = team.cli.said
    assert "environment production isn't made: Gitea has no environments, and so DEPLOY of it aren't set" in said
    assert "protection of main: Gitea has no codeOwners" in said
    assert team.proxy.writes == []

    outputs = team.run("up")["outputs"]
    assert outputs["repository"] == "team/fleet"
    assert outputs["pullRequest"] == "", "a repository just made gets its files directly"
    about = team.call("fleet")
    assert (about["private"], about["description"], about["topics"]) == (True, "Ships", [mark("team/fleet")])
    assert WORKFLOW in team.files("fleet")
    (rule,) = team.call("fleet/branch_protections")
    assert (rule["rule_name"], rule["status_check_contexts"], rule["enable_force_push"]) == ("main", ["test"], False)
    (hook,) = team.call("fleet/hooks")
    assert hook["config"]["url"] == "http://127.0.0.1:9/hooks/x"
    assert [one["name"] for one in team.call("fleet/actions/secrets")] == ["REGISTRY_PASSWORD"]
    assert team.call("fleet/actions/variables/REGION")["data"] == "eu"
    assert "preview" in [one["name"] for one in team.call("fleet/labels")]
    assert [one["login"] for one in team.call("fleet/collaborators")] == ["ann"]
    team.kept_nowhere(SECRET, HOOK, team.gitea.token("team"))

    # Protection is real.
    assert team.push("fleet").returncode == 0
    refused = team.push("fleet", "--force")
    assert refused.returncode != 0
    assert "main" in refused.stderr
    assert "rejected" in refused.stderr or "declined" in refused.stderr

    # Nothing changed: nothing is written, and without a refresh nothing even asked.
    assert set(team.run("up")["changes"]) == {"same"}
    assert team.proxy.asked == []


def test_what_was_changed_by_hand_is_seen_and_mended(team: Team) -> None:
    team.write(
        "drifted",
        render=False,
        protection=[{"branch": "main"}],
        secrets={"REGISTRY_PASSWORD": {"env": "REGISTRY_PASSWORD"}},
        labels=[{"name": "preview", "color": "#0e8a16"}],
    )
    team.run("up")
    team.call("drifted/branch_protections/main", "DELETE")
    label = next(one for one in team.call("drifted/labels") if one["name"] == "preview")
    team.call(f"drifted/labels/{label['id']}", "PATCH", {"color": "#000000"})
    team.call("drifted/actions/secrets/REGISTRY_PASSWORD", "DELETE")
    found = team.run("refresh", code=2)
    assert team.proxy.writes == []
    seen = {(step["operation"], step["type"]) for step in found["steps"]}
    assert seen == {("delete", "Protection"), ("delete", "Secret"), ("update", "Label")}
    team.cli.environment["HOOK"] = "another-secret"
    team.run("up")
    assert sorted(method for method, _ in team.proxy.writes) == ["PATCH", "PATCH", "POST", "PUT"]
    (rule,) = team.call("drifted/branch_protections")
    assert rule["rule_name"] == "main"
    assert set(team.run("refresh")["changes"]) == {"same"}


def test_a_repository_that_was_worked_in_gets_a_pull_request_and_stays(team: Team) -> None:
    team.write("worked", protect=True)
    team.run("up")
    assert team.push("worked").returncode == 0
    # Another pipeline: the repository has been worked in, so a pull request it is; the same again is none.
    team.write("worked", ("github", "jenkins"), protect=True)
    found = team.run("up")
    (pull,) = team.call("worked/pulls?state=open")
    assert found["outputs"]["pullRequest"] == pull["html_url"]
    assert pull["head"]["ref"].startswith("homeport/pipeline-")
    assert JENKINSFILE in team.files("worked", pull["head"]["sha"]) - team.files("worked")
    team.run("up", "--refresh")
    assert team.proxy.writes == []
    assert len(team.call("worked/pulls?state=open")) == 1

    # What was made goes; the repository and its commits stay, as long as what was made last is protected.
    words = ("destroy", "--yes", "--delete-repository", "team/worked")
    assert "team/worked is protected" in team.run(*words, code=1)
    team.write("worked", ("github", "jenkins"), protect=False)
    team.run(*words)
    assert WORKFLOW in team.files("worked")
    assert team.call("worked/hooks") == []


def test_an_engine_that_is_killed_leaves_nothing_twice_and_told_twice_the_repository_goes(team: Team) -> None:
    team.write("killed", protect=False)
    for tail in ("/user/repos", "/killed/hooks"):
        team.killed_after(tail)
    team.run("up")
    assert len(team.call("killed/hooks")) == 1
    assert team.call("killed")["topics"] == [mark("team/killed")]
    assert ("POST", "/user/repos") not in team.proxy.writes
    assert ("POST", "/repos/team/killed/hooks") not in team.proxy.writes

    team.run("destroy", "--yes", "--delete-repository", "team/killed")
    with pytest.raises(GiteaError, match="404"):
        team.call("killed")


def test_a_repository_of_somebody_else_is_taken_only_when_that_is_said(team: Team) -> None:
    team.gitea.repository("team", "theirs").hook("http://127.0.0.1:9/hooks/x", "old")
    team.write("theirs")
    assert "Homeport didn't make it; write adopt: true" in team.run("up", code=1)
    assert team.proxy.writes == []
    team.write("theirs", adopt=True, protect=False, render=False)
    assert team.run("up")["outputs"]["made"] is False
    assert len(team.call("theirs/hooks")) == 1, "the one that was there is the one"
    team.run("destroy", "--yes", "--delete-repository", "team/theirs")
    assert team.call("theirs")["topics"] == []
    assert len(team.call("theirs/hooks")) == 1, "it was there before Homeport"


def test_a_killed_run_leaves_nothing_of_its_own_in_an_adopted_repository(team: Team) -> None:
    team.gitea.repository("team", "taken")
    team.write("taken", adopt=True, render=False, labels=[{"name": "preview"}])
    team.killed_after("/taken/hooks")
    team.run("up")
    assert len(team.call("taken/hooks")) == 1
    team.run("destroy", "--yes")
    assert team.call("taken/hooks") == [], "it was made by the run that was killed"
    assert "preview" not in [one["name"] for one in team.call("taken/labels")]


def test_what_is_missing_is_said_before_anything_is_asked(team: Team) -> None:
    team.write("never", secrets={"X": {"env": "NOWHERE"}})
    assert "secret X: the variable NOWHERE has no value" in team.run("up", code=1)
    assert team.proxy.asked == []
    del team.cli.environment["HOMEPORT_FORGE_TOKEN"]
    team.write("never")
    assert "repository.token: the variable HOMEPORT_FORGE_TOKEN has no value" in team.run("up", code=1)
    assert team.proxy.asked == []
