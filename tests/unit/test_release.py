"""Releases, in real repositories: versions by commits and branches, notes, and tags that are there once."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from semver import Version

from homeport.api.base import SEMVER_PATTERN
from homeport.cli import main
from homeport.release import commits, notes, versions
from homeport.release.commits import Bump


class Clone:
    """A repository with a remote, as a pipeline has it."""

    def __init__(self, root: Path) -> None:
        self.root, self.remote = root / "clone", root / "remote.git"
        self.git("init", "-q", "--bare", "-b", "main", str(self.remote), cwd=root)
        self.git("init", "-q", "-b", "main", str(self.root), cwd=root)
        self.git("remote", "add", "origin", str(self.remote))

    def git(self, *words: str, cwd: Path | None = None, given: str = "") -> str:
        settings = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
        done = subprocess.run(
            ["git", *settings, *words], cwd=cwd or self.root, check=True, capture_output=True, input=given.encode()
        )
        return done.stdout.decode().strip()

    def commit(self, *messages: str) -> str:
        for message in messages:
            self.git("commit", "-q", "--allow-empty", "--cleanup=verbatim", "-F", "-", given=message)
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Clone]:
    for name in ("GITHUB_HEAD_REF", "GITHUB_REF_NAME", "GITHUB_REF_TYPE", "CI_COMMIT_BRANCH", "BRANCH_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    found = Clone(tmp_path)
    monkeypatch.chdir(found.root)
    yield found


def version(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    assert main(["release", "next", *words]) == 0
    return capsys.readouterr().out.strip()


@pytest.mark.parametrize(
    ("message", "bump"),
    [
        ("feat: carts", Bump.MINOR),
        ("feat(api): carts", Bump.MINOR),
        ("FIX: carts", Bump.PATCH),
        ("perf: carts", Bump.PATCH),
        ("feat!: carts", Bump.MAJOR),
        ("refactor(api)!: carts", Bump.MAJOR),
        ("chore: x\n\nBREAKING CHANGE: the port is 9090", Bump.MAJOR),
        ("chore: x\r\n\r\nBREAKING-CHANGE: the port\r\n", Bump.MAJOR),
        ("docs: carts", Bump.NOTHING),
        ("Merge branch 'x'", Bump.NOTHING),
        ("feat:carts", Bump.NOTHING),
        ("feat: ", Bump.NOTHING),
        ("fix a BREAKING CHANGE: no", Bump.NOTHING),
        ("", Bump.NOTHING),
    ],
)
def test_what_a_commit_raises(message: str, bump: Bump) -> None:
    assert commits.parse("a" * 40, message).bump is bump


def test_what_breaks_is_told_whole() -> None:
    text = "feat!: ports\n\nSome words.\n\nBREAKING CHANGE: the port\nis 9090 now\nReviewed-by: A <a@example.com>"
    assert commits.parse("a", text).breaking == "the port is 9090 now"


def test_versions_by_commits(clone: Clone, capsys: pytest.CaptureFixture[str]) -> None:
    clone.commit("first")
    assert version(capsys) == "0.1.0"
    clone.git("tag", "-a", "-m", "x", "v0.1.0")
    clone.git("tag", "nightly")
    clone.git("tag", "v01.2.3")
    assert version(capsys) == "0.1.0"
    clone.commit("docs: words")
    assert version(capsys) == "0.1.0"
    clone.commit("fix: a")
    assert version(capsys) == "0.1.1"
    clone.commit("feat!: b")
    # Below 1.0.0 nothing is promised.
    assert version(capsys) == "0.2.0"
    clone.git("tag", "v1.0.0")
    clone.commit("fix: c", "feat: d", "fix: e")
    assert version(capsys) == "1.1.0"
    assert version(capsys, "--from-ref", "HEAD~1") == "1.0.1"
    clone.commit("fix(api)!: f")
    assert version(capsys) == "2.0.0"


def test_what_is_taken_back_counts_for_nothing(clone: Clone, capsys: pytest.CaptureFixture[str]) -> None:
    clone.commit("first")
    clone.git("tag", "v1.0.0")
    done = clone.commit("feat: carts")
    clone.commit(f'Revert "feat: carts"\n\nThis reverts commit {done}.')
    assert version(capsys) == "1.0.0"
    clone.commit(f"revert: something older\n\nThis reverts commit {'1' * 40}.")
    assert version(capsys) == "1.0.1"


def test_pre_releases_by_branch(clone: Clone, capsys: pytest.CaptureFixture[str]) -> None:
    clone.commit("first")
    clone.git("tag", "v1.2.0")
    clone.git("checkout", "-q", "-b", "develop")
    head = clone.commit("feat: a", "chore: b")[:12]
    assert version(capsys) == f"1.3.0-dev.2.g{head}"
    clone.git("checkout", "-q", "-b", "release/1.3.0")
    assert version(capsys) == f"1.3.0-rc.0.2.g{head}"
    assert main(["release", "tag"]) == 0
    assert version(capsys) == "1.3.0-rc.1"
    head = clone.commit("fix: c")[:12]
    assert version(capsys) == f"1.3.0-rc.1.3.g{head}"
    # The branch's name may ask for more than the commits do, never for less.
    assert version(capsys, "--branch", "release/2.0") == f"2.0.0-rc.0.3.g{head}"
    assert version(capsys, "--branch", "release/1.2.1") == f"1.3.0-rc.1.3.g{head}"
    assert main(["release", "next", "-o", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["version"], found["tag"]) == (f"1.3.0-rc.1.3.g{head}", "v1.3.0-rc.2")
    clone.git("checkout", "-q", "main")
    clone.git("merge", "-q", "--ff-only", "release/1.3.0")
    assert version(capsys) == "1.3.0"
    assert main(["release", "tag"]) == 0
    clone.git("checkout", "-q", "-b", "hotfix/pay")
    head = clone.commit("fix: d")[:12]
    assert version(capsys) == f"1.3.1-hotfix.0.1.g{head}"
    clone.git("checkout", "-q", "--detach")
    assert main(["release", "next"]) == 1
    assert "name it with --branch" in capsys.readouterr().err


@pytest.mark.parametrize("branch", ["release/1.1.0", "hotfix/pay", "develop"])
def test_no_two_commits_of_a_branch_have_one_version_and_later_ones_are_higher(
    branch: str, clone: Clone, capsys: pytest.CaptureFixture[str]
) -> None:
    clone.commit("first")
    clone.git("tag", "v1.0.0")
    clone.git("checkout", "-q", "-b", branch)
    found = []
    for number in range(12):
        clone.commit(f"fix: {number}")
        found.append(version(capsys))
        if number in (3, 7) and branch != "develop":
            assert main(["release", "tag"]) == 0
            found.append(version(capsys))
    assert found == sorted(set(found), key=Version.parse)
    for one in found:
        assert re.fullmatch(SEMVER_PATTERN.removesuffix("$"), one)
        assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", one), "it is no tag of an image"


def test_a_commit_of_digits_only_is_no_number() -> None:
    head = "012345678901" + "0" * 28
    history = versions.History(head, [], [], [], 3)
    assert str(versions.following(history, "develop", ("main",)).version) == "0.1.0-dev.3.g012345678901"


def test_the_pipeline_says_which_branch(
    clone: Clone, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clone.commit("first")
    clone.git("tag", "v1.0.0")
    clone.commit("fix: a")
    clone.git("checkout", "-q", "--detach")
    monkeypatch.setenv("GITHUB_REF_NAME", "main")
    monkeypatch.setenv("GITHUB_REF_TYPE", "branch")
    assert version(capsys) == "1.0.1"
    monkeypatch.setenv("GITHUB_HEAD_REF", "feature/x")
    assert version(capsys).startswith("1.0.1-dev.1.g")


def test_notes_have_what_users_ask_for(clone: Clone, capsys: pytest.CaptureFixture[str]) -> None:
    clone.commit("first")
    clone.git("tag", "v1.0.0")
    clone.commit(
        "feat(cart): carts, thanks @somebody", "fix: prices", "perf: quicker", "fix(security): tokens", "test: more",
        "feat!: ports\n\nBREAKING CHANGE: the port is 9090", "chore: nothing", "tidied <b>up</b>",
    )  # fmt: skip
    assert main(["release", "notes"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("## 2.0.0 (")
    headings = [line.removeprefix("### ") for line in text.splitlines() if line.startswith("### ")]
    assert headings == list(notes.SECTIONS)
    assert "- the port is 9090 (" in text
    assert "- **cart:** carts, thanks @\u200bsomebody (" in text
    assert "- tidied &lt;b>up&lt;/b> (" in text
    assert "nothing" not in text
    assert main(["release", "tag"]) == 0
    clone.commit("fix: later")
    capsys.readouterr()
    assert main(["release", "notes", "--version", "2.0.0", "-o", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [line.partition(" (")[0] for line in found["sections"]["Fixes"]] == ["prices"]
    assert main(["release", "notes", "--version", "v2.0.1"]) == 0
    assert "- later (" in capsys.readouterr().out


def test_a_tag_is_made_once_and_never_moved(clone: Clone, capsys: pytest.CaptureFixture[str]) -> None:
    head = clone.commit("first", "feat: a")
    assert main(["release", "tag", "--push", "--dry-run"]) == 0
    assert clone.git("tag") == ""
    for told in ("pushed v0.1.0 to origin", "origin has v0.1.0 already", "origin has v0.1.0 already"):
        assert main(["release", "tag", "--push"]) == 0
        assert told in capsys.readouterr().out
    assert clone.git("cat-file", "-t", "v0.1.0") == "tag"
    # Headings are kept, though git takes such lines for comments.
    assert "### Features\n\n- a (" in clone.git("tag", "-l", "--format=%(contents)", "v0.1.0")
    assert clone.git("rev-parse", "v0.1.0^{commit}", cwd=clone.remote) == head
    clone.commit("docs: b")
    assert main(["release", "tag", "--push"]) == 0
    assert "nothing to tag: nothing since 0.1.0 asks for a release" in capsys.readouterr().out
    # Somebody else tagged another commit meanwhile.
    clone.commit("fix: c")
    clone.git("tag", "other", "HEAD~1")
    clone.git("push", "-q", "origin", "refs/tags/other:refs/tags/v0.1.1")
    assert main(["release", "tag", "--push"]) == 1
    assert "origin has v0.1.1 already" in capsys.readouterr().err
    assert clone.git("rev-parse", "v0.1.1^{commit}", cwd=clone.remote) == clone.git("rev-parse", "HEAD~1")


def test_a_tag_that_was_made_and_not_pushed_is_pushed(clone: Clone, capsys: pytest.CaptureFixture[str]) -> None:
    clone.commit("first")
    assert main(["release", "tag"]) == 0
    assert main(["release", "tag", "--push"]) == 0
    assert "pushed v0.1.0" in capsys.readouterr().out


def test_a_branch_for_trying_is_not_tagged(clone: Clone, capsys: pytest.CaptureFixture[str]) -> None:
    clone.commit("first", "feat: a")
    assert main(["release", "tag", "--branch", "feature/x"]) == 1
    assert "no branch that is released" in capsys.readouterr().err
    assert main(["release", "tag", "--branch", "trunk", "--main", "trunk"]) == 0


def test_a_shallow_clone_says_what_to_do(clone: Clone, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clone.commit("first", "feat: a")
    clone.git("push", "-q", "origin", "main")
    clone.git("clone", "-q", "--depth=1", f"file://{clone.remote}", str(tmp_path / "shallow"))
    assert main(["release", "next", "--repo", str(tmp_path / "shallow")]) == 1
    assert "fetch-depth: 0" in capsys.readouterr().err
    assert main(["release", "next", "--repo", str(tmp_path)]) == 1
    assert "not a git repository" in capsys.readouterr().err
