"""What a pipeline is made of, before it is written for a CI system: jobs of plain commands.

All three systems get the same jobs with the same commands, in POSIX shell; what differs (how a job gets its toolchain,
hands files on, reads a secret) is the templates' business. Values get into commands by environment variables alone:
nothing is put into a command's text by the CI system.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from homeport.pipelines.parts import Language

IN_IMAGE = 'docker run --rm --user "$(id -u):$(id -g)" --env HOME=/tmp --volume "$PWD:/work" --workdir /work'
"""Runs an image's program on the repository, as the job's user, so that what it writes can be removed again."""

VERSION = "LANGUAGE_VERSION"
"""The environment variable with the language's version, in jobs that run once for each."""


class Stage(StrEnum):
    """The order: a stage begins when those before it are through."""

    check = "check"
    gate = "gate"
    publish = "publish"
    deploy = "deploy"
    release = "release"


class Only(StrEnum):
    """Steps that one CI system only has."""

    github = "github"
    gitlab = "gitlab"
    jenkins = "jenkins"


@dataclass(frozen=True)
class Step:
    """Commands, in one shell. ``folder`` is relative to the repository; ``only`` names the one system that has it."""

    name: str
    run: tuple[str, ...]
    folder: str = "."
    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    """By environment variable: the name of the secret."""
    github_token: bool = False
    """On GitHub the job's own token does for its secrets."""
    only: Only | None = None
    always: bool = False
    """GitHub: whether it runs when a step before it failed."""

    @property
    def script(self) -> str:
        """The lines as one text."""
        return "\n".join(self.run)


@dataclass(frozen=True)
class Toolchain:
    """A language at some versions: one job for each."""

    language: Language
    versions: tuple[str, ...]

    @property
    def last(self) -> str:
        """The newest."""
        return self.versions[-1]


@dataclass(frozen=True)
class Tool:
    """A program that comes as an image, and is all that a job runs."""

    image: str
    program: str
    """What it is called there; the image's entrypoint on GitHub, where the image is run by hand."""


@dataclass(frozen=True)
class Taken:
    """Files of an earlier job."""

    job: str
    folder: str


@dataclass(frozen=True)
class Job:
    """One job. ``needs`` are jobs that must have succeeded; ``keeps`` are folders that later jobs, and people, get."""

    name: str
    stage: Stage
    steps: tuple[Step, ...]
    toolchain: Toolchain | None = None
    tool: Tool | None = None
    docker: bool = False
    needs: tuple[str, ...] = ()
    keeps: tuple[str, ...] = ()
    takes: tuple[Taken, ...] = ()
    sarif: tuple[str, ...] = ()
    """Files for the forge's code scanning, each with the job's name as its category."""
    coverage: tuple[str, ...] = ()
    """Coverage reports; ``$LANGUAGE_VERSION`` stands for each of the versions."""
    audit: tuple[str, ...] = ()
    locust: tuple[str, ...] = ()
    branches: tuple[str, ...] = ()
    """Only for pushes to these; otherwise for pull requests and every push."""
    environment: str = ""
    """The CI system's environment, whose secrets it sees."""
    url: str = ""
    history: bool = False
    """Whether it needs all commits and tags."""
    permissions: Mapping[str, str] = field(default_factory=dict)
    """GitHub: what the job's token may do besides reading the repository, each with why."""
    codeql: str = ""
    """GitHub: the language that CodeQL's own actions look at."""
    attests: Mapping[str, str] = field(default_factory=dict)
    """GitHub: images that get a signed attestation, by the file that has the digest."""
    minutes: int = 30

    @property
    def versions(self) -> tuple[str, ...]:
        """What it runs for, when that is more than one."""
        return self.toolchain.versions if self.toolchain and len(self.toolchain.versions) > 1 else ()

    def expanded(self, paths: tuple[str, ...]) -> tuple[str, ...]:
        """Paths of reports, one for each version."""
        versions = self.toolchain.versions if self.toolchain else ("",)
        return tuple(path.replace(f"${VERSION}", version) for path in paths for version in versions)
