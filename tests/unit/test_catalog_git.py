"""Reading from Git, against git's own server on loopback."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from git_server import GitServer, Repository
from homeport.drivers.git import Credentials, Git, GitFailed, Limits, Ref

MAIN = Ref(branch="main")
NOBODY = Credentials()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitServer]:
    running = GitServer(tmp_path)
    yield running
    running.close()


@pytest.fixture
def repository(server: GitServer) -> Repository:
    return Repository(server.root, "fleet")


def files(
    server: GitServer, ref: Ref = MAIN, path: str = ".", git: Git | None = None, **given: Credentials
) -> dict[str, bytes]:
    git, url, credentials = git or Git(), server.url("fleet"), given.get("credentials", NOBODY)
    return git.files(url, ref, git.resolve(url, ref, credentials), path, credentials, lambda name: True)


def failed(server: GitServer, ref: Ref = MAIN, path: str = ".", git: Git | None = None, **given: Credentials) -> Any:
    with pytest.raises(GitFailed) as caught:
        files(server, ref, path, git, **given)
    return caught.value


def refused(server: GitServer, ref: Ref = MAIN, path: str = ".", git: Git | None = None, **given: Credentials) -> str:
    """What is said of something that is for the user to mend."""
    error = failed(server, ref, path, git, **given)
    assert not error.passes, error
    return str(error)


def test_a_branch_a_tag_and_a_commit(server: GitServer, repository: Repository) -> None:
    first = repository.commit({"items/thing/item.yaml": "a", "other": "b"}, tag="v1")
    second = repository.commit({"items/thing/item.yaml": "c", "items/things": "d"})
    git, url = Git(), server.url("fleet")
    assert (git.resolve(url, MAIN, NOBODY), git.resolve(url, Ref(tag="v1"), NOBODY)) == (second, first)
    assert files(server, path="./items/thing/") == {"item.yaml": b"c"}
    assert files(server, Ref(tag="v1"), "items/thing") == {"item.yaml": b"a"}
    assert files(server) == {"items/thing/item.yaml": b"c", "items/things": b"d", "other": b"b"}
    assert files(server, Ref(commit=second), "items")["thing/item.yaml"] == b"c"


def test_a_commit_is_read_though_its_branch_has_moved(server: GitServer, repository: Repository) -> None:
    old = repository.commit({"a": "1"})
    repository.commit({"a": "2"})
    assert Git().files(server.url("fleet"), MAIN, old, ".", NOBODY, lambda name: True) == {"a": b"1"}


def test_a_password_is_given_and_never_shown(server: GitServer, repository: Repository) -> None:
    repository.commit({"a": "1"})
    server.password = "open-sesame"
    assert files(server, credentials=Credentials("reader", "open-sesame")) == {"a": b"1"}
    for wrong in (NOBODY, Credentials("reader", "guess-42")):
        told = refused(server, credentials=wrong)
        assert "it refuses the credentials; write username and password" in told
        assert "guess-42" not in told


def test_what_is_not_there_says_so(server: GitServer, repository: Repository) -> None:
    repository.commit({"items/a": "1"})
    assert "has no branch gone" in refused(server, Ref(branch="gone"))
    assert "has no tag v9" in refused(server, Ref(tag="v9"))
    assert "branch main of " in refused(server, path="nowhere")
    assert "has no folder nowhere" in refused(server, path="nowhere")
    assert "has no folder item" in refused(server, path="item"), "a folder, not the beginning of a name"
    assert "the reference isn't there" in refused(server, Ref(commit="0" * 39 + "1"))
    with pytest.raises(GitFailed, match="there is no repository"):
        Git().resolve(server.url("none"), MAIN, NOBODY)


def test_a_server_that_fails_or_redirects(server: GitServer, repository: Repository) -> None:
    repository.commit({"a": "1"})
    server.failing = True
    error = failed(server)
    assert "503" in str(error)
    assert error.passes
    server.failing, server.redirect = False, "http://127.0.0.1:1"
    assert "it redirects elsewhere, which isn't followed" in refused(server)


def test_too_much_is_refused(server: GitServer, repository: Repository) -> None:
    repository.commit({"small": "1", "big": os.urandom(3 * 1024 * 1024)})
    assert "larger than 1 MiB in one commit" in refused(server, git=Git(Limits(fetched=1024 * 1024)))
    assert "holds too much at big; 128 files of 256 KiB, 1024 KiB together are allowed" in refused(server)
    many = Git(Limits(files=1, file=4 * 1024 * 1024, total=8 * 1024 * 1024))
    assert "holds too much at small; 1 files" in refused(server, git=many)


def test_links_and_submodules_are_not_followed(server: GitServer, repository: Repository) -> None:
    repository.commit({"a/x": "1"}, links={"a/item.yaml": "/etc/passwd"})
    assert "a/item.yaml is a symbolic link; put the file itself there" in refused(server, path="a")
    git, url = Git(), server.url("fleet")
    found = git.files(url, MAIN, git.resolve(url, MAIN, NOBODY), "a", NOBODY, lambda name: name == "x")
    assert found == {"x": b"1"}, "what isn't wanted does no harm"


@pytest.mark.parametrize("url", ["file:///etc", "ext::sh -c date", "git://127.0.0.1/x", "/etc", "ftp://127.0.0.1/x"])
def test_other_protocols_are_refused_by_git_itself(url: str) -> None:
    with pytest.raises(GitFailed, match="only https, http and ssh are allowed"):
        Git().resolve(url, MAIN, NOBODY)


def test_a_server_that_says_nothing_is_left(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/x.git"
        with pytest.raises(GitFailed, match=r"took longer than 0\.5 s") as caught:
            Git(Limits(seconds=0.5)).resolve(url, MAIN, NOBODY)
    assert caught.value.passes


def test_nothing_of_the_operators_configuration_is_used(
    server: GitServer, repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.commit({"a": "1"})
    (tmp_path / ".gitconfig").write_text('[url "http://127.0.0.1:1/"]\n insteadOf = http://127.0.0.1\n')
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    assert files(server) == {"a": b"1"}


SSH = """#!/bin/sh
echo "$*" > {log}
for word in "$@"; do
  case "$word" in UserKnownHostsFile=*|IdentityFile=*) cat "${{word#*=}}" >> {log} ;; esac
  last=$word
done
exec sh -c "$last"
"""


def test_ssh_trusts_known_hosts_only_and_reads_no_configuration(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no SSH server here: what stands in for ssh notes how it is called, and runs what it is asked to."""
    repository.commit({"a": "1"})
    folder, log = tmp_path / "bin", tmp_path / "log"
    folder.mkdir()
    (folder / "ssh").write_text(SSH.format(log=log))
    (folder / "ssh").chmod(0o700)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    assert shutil.which("ssh") == str(folder / "ssh")
    credentials = Credentials(identity="THE KEY", known_hosts="git.example.com ssh-ed25519 AAAA")
    url = f"ssh://git@git.example.com{repository.path}"
    git = Git()
    commit = git.resolve(url, MAIN, credentials)
    assert git.files(url, MAIN, commit, ".", credentials, lambda name: True) == {"a": b"1"}
    told = log.read_text()
    for option in ("-F /dev/null", "StrictHostKeyChecking=yes", "BatchMode=yes", "GlobalKnownHostsFile=/dev/null"):
        assert option in told
    assert "THE KEY\n" in told
    assert "git.example.com ssh-ed25519 AAAA" in told
