"""The demo's repository: filled from the checkout, and the user's from the first push on."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from localplane import gitproc
from localplane.gitproc import GitHost
from localplane.state import State


@pytest.fixture
def examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for the checkout's examples."""
    folder = tmp_path / "examples"
    folder.mkdir()
    (folder / "one.yaml").write_text("a: 1\n")
    monkeypatch.setattr(gitproc, "EXAMPLES", folder)
    return folder


@pytest.fixture
def host(tmp_path: Path) -> Iterator[GitHost]:
    """The real server, over HTTP."""
    found = GitHost(State.at(tmp_path / "state"))
    found.start()
    yield found
    found.stop()


def git(folder: Path, *words: str) -> str:
    names = {f"GIT_{role}_{what}": "a@example.com" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    environment = {**os.environ, **names, "GIT_CONFIG_GLOBAL": os.devnull}
    return subprocess.run(
        ["git", *words], cwd=folder, env=environment, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_what_a_user_pushed_is_never_overwritten(examples: Path, host: GitHost, tmp_path: Path) -> None:
    assert host.seed() == "new"
    assert host.seed() == "as it was"
    (examples / "one.yaml").write_text("a: 2\n")
    assert host.seed() == "with what changed in examples/"
    git(tmp_path, "clone", "--quiet", host.url, "clone")
    clone = tmp_path / "clone"
    assert (clone / "one.yaml").read_text() == "a: 2\n"
    assert git(clone, "rev-list", "--count", "HEAD") == "2"
    (clone / "one.yaml").write_text("a: mine\n")
    git(clone, "commit", "--quiet", "--all", "--message", "Mine")
    git(clone, "push", "--quiet")
    (examples / "one.yaml").write_text("a: 3\n")
    assert host.seed() == "as you pushed it"
    git(clone, "pull", "--quiet")
    assert (clone / "one.yaml").read_text() == "a: mine\n"


def test_its_source_names_the_server_and_signs_with_a_token_of_its_own(examples: Path, host: GitHost) -> None:
    objects = {item["kind"]: item for item in host.objects()}
    assert objects["GitSource"]["spec"]["url"] == host.url
    token = objects["Secret"]["stringData"]["token"]
    assert len(token) == 32 and objects == {item["kind"]: item for item in host.objects()}, "and it stays"
