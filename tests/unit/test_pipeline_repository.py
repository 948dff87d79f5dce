"""The repository block of pipeline.yaml: what is refused, what becomes of it, and what a forge doesn't have."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError

from homeport.cli import main, stacks
from homeport.pipelines.repository import Repository

pytest.importorskip("pulumi")
from homeport_clusters.providers.base import ProviderError
from homeport_pipelines import automation, files, program, sources, wanted

HOOK = {"name": "homeport", "url": "https://hooks.example.com/hooks/1", "secret": {"env": "HOOK"}}


def block(**fields: Any) -> Repository:
    return Repository.model_validate({"forge": "github", "owner": "team", "name": "fleet", **fields})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"forge": "gitea"}, "a Gitea has no address of its own: write url, such as https://git.example.com"),
        ({"forge": "gitea", "url": "git.example.com"}, "url 'git.example.com' is no address; write https://HOST"),
        ({"url": "https://me:pw@git.example.com"}, "url has a password in it; write it into a secret"),
        ({"owner": "a/b"}, "owner 'a/b': only GitLab has groups in groups"),
        (
            {"forge": "gitea", "url": "https://git.example.com", "visibility": "internal"},
            "Gitea knows no internal repositories: write private or public",
        ),
        ({"secrets": {"X": "hunter2"}}, "a secret's value doesn't belong into pipeline.yaml; write where it is"),
        ({"secrets": {"X": {"env": "A", "file": "b"}}}, "write one of env, file and secret"),
        ({"secrets": {"x": {"env": "A"}}}, "'x': forges keep these names in capitals; write X"),
        ({"variables": {"GITHUB_X": "1"}}, "'GITHUB_X': names with GITHUB_ are the forges' own; choose another"),
        ({"variables": {"A-B": "1"}}, "'A-B': write letters, digits and _ only, and no digit first"),
        ({"protection": [{"branch": "refs/heads/main"}]}, "write the branch's name alone, 'main'"),
        ({"protection": [{"branch": "main"}, {"branch": "main"}]}, "protection of branch 'main' is there twice"),
        ({"webhooks": [{**HOOK, "url": None}]}, "webhook homeport: write either url or gitSource"),
        ({"webhooks": [HOOK, {**HOOK, "name": "b"}]}, "is there twice"),
        ({"labels": [{"name": "a", "color": "red"}]}, "'red' is no colour; write six hexadecimal digits in quotes"),
        ({"labels": [{"name": "a"}, {"name": "A"}]}, "label 'a' is there twice"),
    ],
)
def test_what_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        block(**fields)
    assert message in caught.value.errors()[0]["msg"]
    assert "hunter2" not in caught.value.errors()[0]["msg"]


def test_what_gitea_lacks_is_said_and_left_out() -> None:
    found = block(
        forge="gitea",
        url="https://git.example.com",
        environments=[{"name": "production", "secrets": {"A": {"env": "A"}}, "variables": {"B": "b"}}],
        protection=[{"branch": "main", "linearHistory": True, "noDelete": False}],
        webhooks=[{**HOOK, "verifyTls": False}],
    )
    assert wanted.lacking(found) == (
        "environment production isn't made: Gitea has no environments, and so A, B of it aren't set",
        "protection of main: Gitea has no linearHistory, noDelete: false",
        "webhook homeport: Gitea has verifyTls in its own settings only (SKIP_TLS_VERIFY)",
    )
    made = wanted.of(found, {"homeport": "https://hooks.example.com/hooks/1"})
    assert [(one.kind, one.key) for one in made] == [
        ("protection", "main"),
        ("webhook", "https://hooks.example.com/hooks/1"),
    ]


def test_what_gitlab_has_for_a_whole_project_is_of_the_project() -> None:
    found = block(
        forge="gitlab",
        owner="team/web",
        protection=[
            {"branch": "main", "linearHistory": True, "requiredChecks": ["test"], "reviews": 2, "signed": True}
        ],
        environments=[{"name": "production", "reviewers": ["ann"]}],
    )
    spec = wanted.repository(found)
    assert (spec["mergeChecks"], spec["linearHistory"]) == (True, True)
    told = wanted.lacking(found)
    assert len(told) == 5
    assert "signed isn't set on GitLab" in told[0]
    (rule, environment) = wanted.of(found, {})
    assert (rule.spec["push"], environment.spec) == (False, {})


def test_an_environment_s_secrets_wait_for_it() -> None:
    found = block(environments=[{"name": "production", "secrets": {"A": {"env": "A"}}}], secrets={"B": {"env": "B"}})
    assert wanted.lacking(found) == ()
    made = {one.key: one.needs for one in wanted.of(found, {})}
    assert made == {"B": "", "production": "", "production/A": "production"}


def test_values_are_read_where_they_are_and_told_apart_by_digests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("from-a-file\n")
    monkeypatch.setenv("HOMEPORT_FORGE_TOKEN", "t0ken")
    monkeypatch.setenv("A", "from-the-environment")
    found = block(secrets={"A": {"env": "A"}, "F": {"file": "token"}})
    made = program.prepare(found, tmp_path, {"Jenkinsfile": "x"})
    assert sources.value("F", made.values["secret F"][0]) == "from-a-file"
    assert "from-a" not in repr(made) and "t0ken" not in repr(made)
    again = program.prepare(found, tmp_path, {})
    assert again.values == made.values
    monkeypatch.setenv("A", "another")
    assert program.prepare(found, tmp_path, {}).values["secret A"] != made.values["secret A"]
    (tmp_path / "token").unlink()
    with pytest.raises(ProviderError, match=r"secret F: the file .*token can't be read: No such file"):
        program.prepare(found, tmp_path, {})


def test_stacks_are_one_for_each_repository_of_each_forge() -> None:
    blocks = [block(), block(owner="other"), block(forge="gitlab"), block(url="https://github.example.com")]
    assert len({automation.stack(one) for one in blocks}) == 4
    assert automation.stack(block(owner="Team")) == automation.stack(block())


def test_files_that_are_rendered_no_more_are_removed_once() -> None:
    one = files.Wanted("main", {"a": "x"}, ("b",), "why")
    assert one.changes({}) == {"a": "x"}
    assert one.changes({**files.ids({"a": "x"}), "b": "1"}) == {"b": None}
    assert one.topic != files.Wanted("main", {"a": "y"}, ("b",), "why").topic


PIPELINE = """\
name: fleet
homeport: homeport==0.1.0
components:
  - {name: web, language: python, versions: ["3.11"], test: {runner: pytest, sources: [web]}}
"""


@pytest.mark.parametrize(
    ("text", "words", "message"),
    [
        ("", ["up"], "has no repository block"),
        ("repository: {forge: gitea, owner: team, name: fleet}\n", ["up"], "a Gitea has no address of its own"),
        ("repository: {forge: github, owner: team, name: fleet, secrets: {A: hunter2}}\n", ["up"], "write a mapping"),
        ("repository: {forge: github, owner: team, name: fleet}\n", ["up"], "HOMEPORT_FORGE_TOKEN has no value"),
        (
            "repository: {forge: github, owner: team, name: fleet}\n",
            ["destroy", "--delete-repository", "team/other"],
            "pipeline.yaml is about team/fleet; write that name",
        ),
        (
            "repository: {forge: github, owner: team, name: fleet}\n",
            ["destroy", "--delete-repository", "team/fleet"],
            "team/fleet is protected",
        ),
        ("repository: {forge: github, owner: team, name: fleet}\n", ["destroy"], "say --yes where nobody can be asked"),
    ],
)
def test_the_command_says_what_to_write(
    text: str,
    words: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("HOMEPORT_FORGE_TOKEN", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    file = tmp_path / "pipeline.yaml"
    file.write_text(PIPELINE + text)
    assert main(["pipeline", *words, "-f", str(file)]) == 1
    said = capsys.readouterr().err
    assert message in said
    assert "hunter2" not in said
    assert not (tmp_path / "data").exists(), "nothing was begun"


@pytest.mark.parametrize(
    ("verb", "changes", "code"),
    [
        ("preview", {"same": 2}, 0),
        ("preview", {"same": 2, "create": 1}, 2),
        ("refresh", {"same": 2}, 0),
        ("refresh", {"same": 2, "delete": 1}, 2),
        ("up", {"same": 2, "update": 1}, 0),
    ],
)
def test_what_is_to_be_done_is_in_the_exit_code(
    verb: str, changes: dict[str, int], code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = stacks.Result(changes, (), {}, frozenset())
    monkeypatch.setattr(automation, "run", lambda *_, **__: found)
    file = tmp_path / "pipeline.yaml"
    file.write_text(PIPELINE + "repository: {forge: github, owner: team, name: fleet}\n")
    assert main(["pipeline", verb, "-f", str(file)]) == code


class Worked:
    """A repository and its forge: what is committed and opened."""

    def __init__(self, commits: int) -> None:
        self.history = commits
        self.done: list[str] = []

    async def tree(self, branch: str) -> dict[str, str] | None:
        """Empty, and only the default branch is there."""
        return {} if branch == "main" else None

    async def commits(self, branch: str) -> int:
        """As was said."""
        return self.history

    async def commit(self, branch: str, base: str, message: str, changes: Any) -> None:
        """Noted."""
        self.done.append(f"commit to {branch.partition('-')[0]}")

    async def pulls(self, branch: str) -> list[Any]:
        """None is open."""
        return []

    async def open(self, *words: str) -> Any:
        """Noted."""
        self.done.append("pull request")
        return SimpleNamespace(url="https://x/1", number=1)


@pytest.mark.parametrize(
    ("made", "commits", "done"),
    [
        (True, 0, ["commit to main"]),
        (True, 1, ["commit to main"]),
        (True, 2, ["commit to homeport/pipeline", "pull request"]),
        (False, 1, ["commit to homeport/pipeline", "pull request"]),
        (False, 2, ["commit to homeport/pipeline", "pull request"]),
    ],
)
async def test_nothing_is_committed_directly_where_homeport_did_not_make_it(
    made: bool, commits: int, done: list[str]
) -> None:
    forge: Any = Worked(commits)
    await files.commit(forge, forge, files.Wanted("main", {"a": "x"}, (), "why"), made=made)
    assert forge.done == done


async def test_an_adopted_repository_needs_a_first_commit() -> None:
    forge: Any = Worked(0)
    with pytest.raises(ProviderError, match=r"branch main has no commit.*push a first commit"):
        await files.commit(forge, forge, files.Wanted("main", {"a": "x"}, (), "why"), made=False)
    assert forge.done == []
