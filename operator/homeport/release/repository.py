"""git in the work tree of whoever runs us, with their settings and credentials, as they would run it by hand."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from homeport.release import commits, versions
from homeport.release.commits import Commit
from homeport.release.versions import History, Tag

SECONDS = 120.0
"""That one command of git may take."""
DEEPER = (
    "fetch all of the history: fetch-depth: 0 with actions/checkout, GIT_DEPTH: 0 on GitLab, `git fetch --unshallow`"
)


class BadRepository(Exception):  # noqa: N818 - it is shown
    """What git can't do here, and (``hint``) what to do about it."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class Repository:
    """A clone with its history. Every method raises BadRepository. Blocks."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def git(self, *words: str, given: str = "", also: dict[str, str] | None = None) -> str:
        """What ``git words…`` prints."""
        environment = {**os.environ, "LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", **(also or {})}
        try:
            done = subprocess.run(
                ["git", *words],
                cwd=self.folder,
                env=environment,
                input=given.encode(),
                capture_output=True,
                timeout=SECONDS,
                check=False,
            )
        except FileNotFoundError:
            raise BadRepository("there is no git on this machine", "install git") from None
        except subprocess.TimeoutExpired:
            raise BadRepository(f"`git {words[0]}` took longer than {SECONDS:g} s") from None
        if done.returncode != 0:
            said = " ".join(done.stderr.decode(errors="replace").split())[:400]
            raise BadRepository(f"`git {words[0]}` failed: {said or f'exit code {done.returncode}'}")
        return done.stdout.decode(errors="replace")

    def commit(self, name: str) -> str:
        """The commit that a name means."""
        try:
            return self.git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}").strip()
        except BadRepository as error:
            raise BadRepository(f"{name!r} is no commit here", error.hint or DEEPER) from None

    def branch(self) -> str:
        """The branch that is checked out; empty when none is, as in most pipelines."""
        try:
            return self.git("symbolic-ref", "--quiet", "--short", "HEAD").strip()
        except BadRepository:
            return ""

    def touched(self, base: str, head: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """All paths that ``head`` changes since it went apart from ``base``, and those of them that it has."""
        between = f"{self.commit(base)}...{self.commit(head or 'HEAD')}"
        try:
            listed = self.git("diff", "--name-status", "--no-renames", "-z", between, "--").split("\0")
        except BadRepository as error:
            raise BadRepository(f"{error}; {DEEPER}") from None
        pairs = list(zip(listed[::2], listed[1::2], strict=False))
        return tuple(path for _, path in pairs), tuple(path for status, path in pairs if status != "D")

    def tags(self, prefix: str, within: str = "") -> list[Tag]:
        """Tags that are versions; with ``within``, those that this commit has in its history."""
        shape = "%(refname:strip=2)%00%(objectname)%00%(*objectname)"
        also = ("--merged", within) if within else ()
        out = []
        for line in self.git("for-each-ref", f"--format={shape}", *also, "refs/tags").splitlines():
            name, object, peeled = line.split("\0")
            version = versions.read(name, prefix)
            if version is not None:
                out.append(Tag(name, version, peeled or object))
        return out

    def commits(self, since: str, until: str) -> list[Commit]:
        """The commits of ``until`` that ``since`` (if not empty) hasn't, newest first."""
        words = ("log", "-z", "--encoding=UTF-8", "--format=%H%n%B", until, *((f"^{since}",) if since else ()), "--")
        pairs = (text.partition("\n") for text in self.git(*words).split("\0") if text)
        return [commits.parse(id, message) for id, _, message in pairs]

    def history(self, prefix: str, since: str = "", until: str = "HEAD") -> History:
        """What the next version follows from: commits since the previous release, or since ``since``."""
        if self.git("rev-parse", "--is-shallow-repository").strip() == "true":
            raise BadRepository("this clone lacks most of its history, so no version follows from it", DEEPER)
        head = self.commit(until)
        reached = self.tags(prefix, head)
        last = versions.newest(reached)
        begin = self.commit(since) if since else last.commit if last else ""
        found = self.commits(begin, head)
        return History(head, commits.standing(found), reached, self.tags(prefix), len(found))

    def date(self, commit: str) -> str:
        """The day of a commit, as 2026-01-31."""
        return self.git("show", "--no-patch", "--format=%cs", f"{commit}^{{commit}}").strip()

    def tag(self, name: str, commit: str, message: str) -> None:
        """An annotated tag."""
        also = {}
        if not self._configured("user.email"):
            also = {"GIT_COMMITTER_NAME": "Homeport", "GIT_COMMITTER_EMAIL": "homeport@localhost"}
            also = {key: os.environ.get(key, value) for key, value in also.items()}
        # Verbatim: headings of Markdown begin as git's comments do.
        self.git("tag", "--annotate", "--cleanup=verbatim", "--file=-", name, commit, given=message, also=also)

    def push_tag(self, name: str, commit: str, remote: str) -> bool:
        """Push a tag; False when the remote has it already, of the same commit. Never moves one."""
        there = self.remote_tag(name, remote)
        if there == commit:
            return False
        if not there:
            try:
                self.git("push", "--porcelain", remote, f"refs/tags/{name}:refs/tags/{name}")
            except BadRepository:
                # Another run of the pipeline was quicker.
                there = self.remote_tag(name, remote)
                if not there:
                    raise
        if there and there != commit:
            raise BadRepository(
                f"{remote} has {name} already, of {there[:12]}; this is {commit[:12]}",
                "tags aren't moved: fetch, and see",
            )
        return not there

    def remote_tag(self, name: str, remote: str) -> str:
        """The commit of a remote's tag; empty when it has none."""
        lines = self.git("ls-remote", remote, f"refs/tags/{name}", f"refs/tags/{name}^{{}}").splitlines()
        found = {ref: id for id, _, ref in (line.partition("\t") for line in lines)}
        return found.get(f"refs/tags/{name}^{{}}") or found.get(f"refs/tags/{name}", "")

    def _configured(self, name: str) -> bool:
        try:
            return bool(self.git("config", "--get", name).strip())
        except BadRepository:
            return False
