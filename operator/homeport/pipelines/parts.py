"""The parts of a pipeline.yaml: what is built, what is looked for, where it goes."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from homeport.api.base import Model


def written(pattern: str, instead: str, most: int = 253) -> Any:
    """The constraint of a text field: its whole must match ``pattern``; ``instead`` says what to write."""
    return Field(min_length=1, max_length=most, pattern=pattern, json_schema_extra={"x-write": instead})


LanguageVersion = Annotated[
    str, written(r"^[1-9][0-9]*([.][0-9]+)?$", 'write a version in quotes, such as "3.12" or "22"', 8)
]
Name = Annotated[
    str,
    written(
        r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
        "write lower-case letters, digits and '-', starting and ending with a letter or digit",
        40,
    ),
]
Folder = Annotated[
    str,
    written(
        r"^([.]|[.]?[A-Za-z0-9_@+][A-Za-z0-9._@+-]*(/[.]?[A-Za-z0-9_@+][A-Za-z0-9._@+-]*)*)$",
        "write a path inside the repository, such as backend or services/api",
    ),
]
Branch = Annotated[
    str,
    written(
        r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9._-]+)*(/[*])?$",
        "write a branch such as main, or all below one, such as release/*",
        100,
    ),
]
_NO_EXPRESSION = r"([^\x00-\x1f$]|[$]+[^\x00-\x1f${]|[$]+[{][^\x00-\x1f{$])"
"""A character that begins no `${{ }}`, which GitHub would put something in place of before a shell sees it."""
Shell = Annotated[
    str,
    written(
        f"^{_NO_EXPRESSION}+$", "write one line of POSIX shell, without ${{ }}: values come from its environment", 1000
    ),
]
Value = Annotated[
    str,
    Field(
        max_length=1000,
        pattern=f"^{_NO_EXPRESSION}*$",
        json_schema_extra={"x-write": "write one line of text, without ${{ }}"},
    ),
]
Variable = Annotated[str, written(r"^[A-Za-z_][A-Za-z0-9_]*$", "write the name of an environment variable")]
Variables = Annotated[dict[Variable, Value], Field(max_length=50)]
Heading = Annotated[str, written(r"^[^\x00-\x1f]+$", "write one line", 300)]
Argument = Annotated[
    str, written(r"^[A-Za-z0-9@%+=:,./_\[\]*<>~^!-]+$", "write one argument, without spaces or quotes")
]
Requirement = Annotated[
    str,
    written(
        r"^([A-Za-z0-9][A-Za-z0-9._-]*(\[[A-Za-z0-9,._-]+\])?==[A-Za-z0-9.!+_-]+"
        r"|[A-Za-z0-9][A-Za-z0-9._-]*(\[[A-Za-z0-9,._-]+\])? @ https://[^\s\"'$`\\]+#sha256=[0-9a-f]{64})$",
        "write a package at one version, such as homeport==1.4.0",
    ),
]
HttpsUrl = Annotated[
    str,
    written(
        r"^https://[A-Za-z0-9.-]+(:[0-9]+)?(/[A-Za-z0-9._~/@+-]*)?$", "write an address that begins with https://", 1024
    ),
]


def _free(name: str) -> str:
    if name.startswith(("GITHUB_", "CI_")):
        raise ValueError("names that begin with GITHUB_ or CI_ are the CI systems' own; write another")
    return name


SecretName = Annotated[
    str,
    written(r"^[A-Z][A-Z0-9_]*$", "write the name of a secret of the CI system: capitals, digits and '_'", 100),
    AfterValidator(_free),
]
ImageReference = Annotated[
    str,
    written(
        r"^[a-z0-9.-]+(:[0-9]+)?(/[a-z0-9._-]+)*(:[A-Za-z0-9._-]+)?@sha256:[0-9a-f]{64}$",
        "write an image with its digest, such as python:3.14-bookworm@sha256:… (64 hexadecimal digits)",
        512,
    ),
]
Commit = Annotated[str, written(r"^[0-9a-f]{40}$", "write the 40 hexadecimal digits of a commit", 40)]
Time = Annotated[str, written(r"^[1-9][0-9]*[sm]$", "write a time such as 90s or 10m", 16)]
KubernetesName = Annotated[
    str, written(r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", "write the name of an object: lower-case letters, digits and '-'")
]


class Language(StrEnum):
    """What a component is written in."""

    python = "python"
    node = "node"


class Linter(StrEnum):
    """A linter that is known by name."""

    ruff = "ruff"
    ruff_format = "ruff-format"
    black = "black"
    flake8 = "flake8"
    mypy = "mypy"
    eslint = "eslint"
    prettier = "prettier"
    tsc = "tsc"


class Runner(StrEnum):
    """What runs a component's tests."""

    pytest = "pytest"
    unittest = "unittest"
    django = "django"
    vitest = "vitest"
    jest = "jest"
    node = "node"


class Test(Model):
    """How a component is tested. Coverage is always measured, as Cobertura's XML."""

    runner: Runner
    """For Python pytest, unittest or django (`manage.py test`); for Node vitest, jest or node (`node --test`
    under c8)."""
    arguments: Annotated[tuple[Argument, ...], Field(max_length=50)] = ()
    """More arguments of the runner. For Python, none that makes it test in several processes (django's `--parallel`,
    pytest-xdist's `-n`): coverage counts the first one's lines alone."""
    sources: Annotated[tuple[Folder, ...], Field(max_length=50)] = (".",)
    """Python: the folders whose lines count as covered or not, relative to the component's."""
    environment: Variables = Field(default_factory=dict)
    """Environment variables of the tests. No secrets: tests run for everybody's pull request."""
    before: Annotated[tuple[Shell, ...], Field(max_length=20)] = ()
    """Commands before the tests, in the component's folder, such as `alembic upgrade head`."""


class Component(Model):
    """A part of the repository in one language, with its own dependencies and tests."""

    name: Name
    """Its name; jobs are named after it."""
    language: Language
    """What it is written in."""
    folder: Folder = "."
    """Its folder in the repository."""
    versions: Annotated[
        tuple[LanguageVersion, ...],
        Field(min_length=1, max_length=10),
    ]
    """The language's versions that it is tested with, each in a job of its own; the last is the one that all else
    uses."""
    requirements: Annotated[tuple[Folder, ...], Field(min_length=1, max_length=20)] = ("requirements.txt",)
    """Python: the files that pip installs, and that pip-audit looks at. Node: `npm ci` reads package-lock.json."""
    linters: Annotated[tuple[Linter, ...], Field(max_length=20)] = ()
    """Linters by name. Python's are installed at a pinned version; Node's are those of package.json."""
    checks: Annotated[tuple[Shell, ...], Field(max_length=20)] = ()
    """More commands that must succeed, run in the component's folder beside the linters."""
    test: Test | None = None
    """How it is tested."""
    build: Annotated[tuple[Shell, ...], Field(max_length=20)] = ()
    """Commands after the tests that build it, such as `npm run build`."""


class Scan(StrEnum):
    """Something that is looked for."""

    pip_audit = "pip-audit"
    npm_audit = "npm-audit"
    bandit = "bandit"
    trivy = "trivy"
    gitleaks = "gitleaks"
    codeql = "codeql"


class CodeQL(Model):
    """What CodeQL needs where it isn't GitHub's own."""

    image: ImageReference | None = None
    """GitLab and Jenkins: an image that has the program `codeql` with its query packs. You build it: its licence allows
    no other to publish one."""


class LoadTest(Model):
    """A load test by Locust against the application, started for it."""

    component: Name
    """The component that is started: a Python one."""
    file: Folder
    """The locustfile, relative to the repository."""
    start: Shell
    """The command that starts the application, in the component's folder, and stays."""
    url: Annotated[
        str,
        written(r"^http://(127\.0\.0\.1|localhost):[0-9]{2,5}$", "write its address, such as http://127.0.0.1:8000"),
    ]
    """Where it then listens."""
    ready: Annotated[str, written(r"^/[A-Za-z0-9._~/-]*$", "write a path such as /health")] = "/health"
    """The path that answers when it is ready."""
    users: Annotated[int, Field(ge=1, le=100_000)] = 50
    """Users at the same time."""
    spawn_rate: Annotated[int, Field(ge=1, le=10_000)] = 10
    """Users that are added in a second."""
    duration: Time = "60s"
    """How long."""
    environment: Variables = Field(default_factory=dict)
    """Environment variables of the application."""


class Image(Model):
    """A container image."""

    name: Name
    """Its name; jobs are named after it."""
    repository: Annotated[
        str,
        written(
            r"^[a-z0-9.-]+(:[0-9]+)?(/[a-z0-9]+([._-][a-z0-9]+)*)+$",
            "write a registry and a repository, such as registry.example.com/shop/backend, without a tag",
        ),
    ]
    """Where it is pushed, without a tag."""
    context: Folder = "."
    """The folder that is sent to the build."""
    dockerfile: Folder = "Dockerfile"
    """The Dockerfile, relative to the context."""
    target: Annotated[str, written(r"^[A-Za-z0-9._-]+$", "write the name of a stage of the Dockerfile")] | None = None
    """The stage that is built, when it isn't the last."""
    component: KubernetesName | None = None
    """The component of the Application that runs it; when it isn't written, the image's name."""


class Deployment(Model):
    """How a new version gets into an environment: a commit in the GitOps repository, and Homeport does the rest."""

    repository: HttpsUrl
    """The GitOps repository."""
    file: Folder
    """The file in it that has the Application."""
    branch: Branch = "main"
    """The branch that is committed to."""
    environment: KubernetesName | None = None
    """The version is written for this Environment alone, where several branches go to one Application; else for all."""
    pull_request: bool = False
    """Open a pull request instead of pushing. Then nothing is waited for."""
    application: KubernetesName
    """The Application's name."""
    namespace: KubernetesName
    """The Application's namespace."""
    health_timeout: Time = "10m"
    """How long the Application may take to be Ready at the new version; after that the pipeline has failed."""
    token: SecretName = "GITOPS_TOKEN"  # noqa: S105 - the name of a secret
    """The secret with the token that may push there."""
    kubeconfig: SecretName = "HOMEPORT_KUBECONFIG"
    """The secret with a kubeconfig that may read the Application, for the health check."""


class Environment(Model):
    """Where a branch is deployed to."""

    name: Name
    """Its name: the environment of the CI system, too, whose secrets only its own jobs see."""
    branches: Annotated[tuple[Branch, ...], Field(min_length=1, max_length=10)]
    """The branches whose pushes are deployed there. Feature branches come as pull requests, and are never deployed."""
    url: HttpsUrl | None = None
    """Where people see it."""
    deploy: Deployment
    """How."""


class Release(Model):
    """Releases: the version by conventional commits (SemVer), a tag, and notes."""

    branch: Branch = "main"
    """The branch that is released from. Its versions are final; those of other branches are pre-releases."""
    token: SecretName = "RELEASE_TOKEN"  # noqa: S105 - the name of a secret
    """GitLab and Jenkins: the secret with a token that may push tags. GitHub gives the job one itself."""


class PullRequest(Model):
    """The pull-request template."""

    sections: Annotated[tuple[Heading, ...], Field(max_length=20)] = ()
    """More sections, by their headings."""
    checklist: Annotated[tuple[Heading, ...], Field(max_length=30)] = ()
    """More things to tick off."""


class Registry(Model):
    """The registry that images are pushed to. GitHub's own needs none of this on GitHub."""

    username: SecretName = "REGISTRY_USERNAME"
    """The secret with the user name."""
    password: SecretName = "REGISTRY_PASSWORD"  # noqa: S105 - the name of a secret
    """The secret with the password or token."""


class ActionPin(Model):
    """One version of a GitHub action."""

    version: Annotated[
        str, written(r"^v?[0-9][A-Za-z0-9._-]*$", "write the version that the commit is, such as v4.2.0")
    ]
    """What the commit is called; it stands in a comment."""
    commit: Commit
    """The commit."""


class Pins(Model):
    """Versions of your own in place of Homeport's table."""

    actions: Annotated[dict[str, ActionPin], Field(max_length=50)] = Field(default_factory=dict)
    """Actions by name."""
    images: Annotated[dict[str, ImageReference], Field(max_length=50)] = Field(default_factory=dict)
    """Images by the name that they have in the table, such as `python:3.14` or `trivy`."""
    programs: Annotated[dict[str, Requirement], Field(max_length=50)] = Field(default_factory=dict)
    """Programs of PyPI by name."""
