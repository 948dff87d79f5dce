"""restic, as far as moving runs from one repository to another needs it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from homeport.cli.errors import Failure
from homeport.runner.restic import LOWEST

PROGRAM = "HOMEPORT_RESTIC"
"""The variable that names the program, where it isn't found by its name."""
_MISSING_REPOSITORY = 10
_WRONG_PASSWORD = 12


@dataclass(frozen=True)
class Repository:
    """Where a repository is, and what opens it. Never shown whole."""

    location: str
    password: str = field(repr=False)
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Keys of a bucket."""
    options: tuple[str, ...] = ()
    """More arguments, such as the authority of its server."""


class Restic:
    """The program. ``scratch`` is a folder for its cache and passwords, which only its user may read."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._program = os.environ.get(PROGRAM) or shutil.which("restic") or ""
        if not self._program:
            raise Failure(
                "restic isn't installed here",
                f"install restic {_shown(LOWEST)} or newer (https://restic.net), name it with {PROGRAM}, or leave the "
                "data out with --without-data",
            )
        words = subprocess.run([self._program, "version"], capture_output=True, text=True, check=False).stdout.split()
        version = words[1] if len(words) > 1 else "0"
        numbers = tuple(int(part) for part in version.split("-")[0].split(".") if part.isdecimal())
        if numbers < LOWEST:
            raise Failure(
                f"restic {version} is too old", f"install {_shown(LOWEST)} or newer, or name it with {PROGRAM}"
            )

    def make(self, made: Repository, like: Repository | None = None) -> None:
        """Make a repository; ``like`` another one, so that data which both have isn't kept twice. Raises Failure."""
        extra = [] if like is None else ["--copy-chunker-params", *self._from(like)]
        self._run(made, "init", "--repository-version=2", *extra, beside=like)

    def is_there(self, repository: Repository) -> bool:
        """Whether there is one, which opens with this password. Raises Failure when it doesn't open."""
        return self._run(repository, "cat", "config", "--no-lock", may=(_MISSING_REPOSITORY,)) is not None

    def copy(self, source: Repository, target: Repository, tags: Iterable[str]) -> None:
        """Copy the snapshots that have all these tags; those that are there already aren't copied again."""
        self._run(target, "copy", *self._from(source), "--tag", ",".join(tags), beside=source)

    def snapshots(self, repository: Repository, tags: Iterable[str]) -> list[dict[str, Any]]:
        """The snapshots that have all these tags, oldest first."""
        found = json.loads(self._run(repository, "snapshots", "--no-lock", "--json", "--tag", ",".join(tags)) or "[]")
        return sorted(found, key=lambda snapshot: str(snapshot["time"]))

    def save(self, repository: Repository, name: str, content: str, tag: str) -> None:
        """Keep a text as one snapshot."""
        self._run(
            repository,
            "backup",
            "--stdin",
            f"--stdin-filename={name}",
            "--host=homeport",
            f"--tag={tag}",
            stdin=content,
        )

    def read(self, repository: Repository, name: str, tag: str) -> str:
        """The newest text of that name. Raises Failure when there is none."""
        return self._run(repository, "dump", "--no-lock", "latest", f"/{name}", "--tag", tag) or ""

    def _from(self, source: Repository) -> list[str]:
        path = self._scratch / "from-password"
        path.touch(mode=0o600)
        path.write_text(source.password)
        return ["--from-repo", source.location, "--from-password-file", str(path)]

    def _run(
        self,
        repository: Repository,
        command: str,
        *arguments: str,
        beside: Repository | None = None,
        stdin: str = "",
        may: tuple[int, ...] = (),
    ) -> str | None:
        """Standard output; None for an exit code that ``may`` be. Raises Failure in restic's own words."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RESTIC_", "AWS_"))}
        environment = {
            **kept,
            **(beside.environment if beside is not None else {}),
            **repository.environment,
            "RESTIC_REPOSITORY": repository.location,
            "RESTIC_PASSWORD": repository.password,
            "RESTIC_CACHE_DIR": str(self._scratch / "cache"),
        }
        options = dict.fromkeys((*repository.options, *(beside.options if beside is not None else ())))
        done = subprocess.run(
            [self._program, *options, command, *arguments],
            input=stdin, capture_output=True, text=True, check=False, env=environment,
        )  # fmt: skip
        if done.returncode in may:
            return None
        if done.returncode:
            raise _failed(command, repository, done)
        return done.stdout


def _failed(command: str, repository: Repository, done: subprocess.CompletedProcess[str]) -> Failure:
    said = " ".join(line.strip() for line in done.stderr.splitlines()[-3:] if line.strip())
    if done.returncode == _WRONG_PASSWORD or "wrong password" in said:
        return Failure(f"the password doesn't open {repository.location}", "it is the one that it was made with")
    if done.returncode == _MISSING_REPOSITORY:
        return Failure(f"there is no repository at {repository.location}")
    return Failure(f"restic {command} failed: {said or f'exit code {done.returncode}'}")


def _shown(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
