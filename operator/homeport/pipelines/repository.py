"""The ``repository:`` block of pipeline.yaml: what a forge has to have for the pipeline, without one secret value.

It says what is wanted; ``homeport pipeline up`` (pulumi/pipelines) makes it so. Values of secrets are named by where
they are: a variable of the environment, a file, or a key of a Kubernetes Secret.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from homeport.api.base import Model

ForgeName = Literal["github", "gitlab", "gitea"]
Visibility = Literal["private", "internal", "public"]
Event = Literal["push", "pullRequest"]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_RESERVED = ("GITHUB_", "GITEA_", "FORGEJO_", "CI_", "RUNNER_")
_COLOR = re.compile(r"#?[0-9A-Fa-f]{6}")

SettingName = Annotated[str, Field(min_length=1, max_length=255)]


class SecretKey(Model):
    """A key of a Kubernetes Secret, read from the cluster of the kubeconfig."""

    namespace: str
    """The namespace."""
    name: str
    """The Secret's name."""
    key: str = "token"
    """The key in its data."""


class Source(Model):
    """Where a value is: one of the three. The value itself is never written into the file."""

    env: str | None = None
    """A variable of the environment in which `homeport pipeline up` runs."""
    file: str | None = None
    """A file; below the folder of pipeline.yaml when it isn't absolute. A last line end isn't part of the value."""
    secret: SecretKey | None = None
    """A key of a Kubernetes Secret."""

    @model_validator(mode="before")
    @classmethod
    def _not_a_value(cls, data: object) -> object:
        if isinstance(data, str):
            raise ValueError(
                "a secret's value doesn't belong into pipeline.yaml; write where it is: "
                "{env: NAME}, {file: PATH} or {secret: {namespace, name, key}}"
            )
        return data

    @model_validator(mode="after")
    def _one(self) -> Source:
        if sum(part is not None for part in (self.env, self.file, self.secret)) != 1:
            raise ValueError("write one of env, file and secret")
        return self


class Protection(Model):
    """What may not happen to a branch."""

    branch: str = Field(min_length=1)
    """The branch, or a pattern with `*`."""
    required_checks: tuple[str, ...] = ()
    """Checks that must be green before a merge, by the names that the forge shows. GitLab knows one only, its own
    pipeline; any name asks for that."""
    reviews: int = Field(default=0, ge=0, le=6)
    """Approvals that a pull request needs. With one or more, nobody pushes to the branch directly."""
    dismiss_stale: bool = True
    """Whether a push takes earlier approvals back."""
    code_owners: bool = False
    """Whether owners named in CODEOWNERS must approve. GitHub and GitLab (Premium)."""
    signed: bool = False
    """Whether commits must be signed."""
    linear_history: bool = False
    """Whether merge commits are refused."""
    no_force: bool = True
    """Whether a push may not take commits away."""
    no_delete: bool = True
    """Whether the branch can't be deleted. Gitea and GitLab never let a protected branch be deleted by a push."""

    @field_validator("branch")
    @classmethod
    def _bare(cls, value: str) -> str:
        if value.startswith("refs/"):
            raise ValueError(f"write the branch's name alone, {value.removeprefix('refs/heads/')!r}")
        return value


class EnvironmentBlock(Model):
    """An environment that jobs deploy to: who lets them in, from where, and with what."""

    name: str = Field(min_length=1, max_length=255)
    """Its name; the same as the Environment's in Homeport, where there is one."""
    reviewers: tuple[str, ...] = Field(default=(), max_length=6)
    """People (login) and teams (organisation/team) of whom one must let a deployment through."""
    branches: tuple[str, ...] = ()
    """Branches, or patterns, that may deploy. By default those whose jobs use the environment: for one of
    `environments` its branches, for `registry` all that publish. GitHub."""
    wait_minutes: int = Field(default=0, ge=0, le=43200)
    """Minutes that a deployment waits. GitHub."""
    secrets: dict[SettingName, Source] = Field(default_factory=dict)
    """Secrets that only its jobs see, by name."""
    variables: dict[SettingName, str] = Field(default_factory=dict)
    """Variables that only its jobs see, by name."""

    @field_validator("secrets", "variables")
    @classmethod
    def _named(cls, value: dict[str, object]) -> dict[str, object]:
        return _settings(value)


class GitSourceRef(Model):
    """A GitSource in the cluster of the kubeconfig: the webhook's path is read from its status."""

    namespace: str
    """The namespace."""
    name: str
    """The name."""
    receiver: str
    """The address at which forges reach Homeport's webhook receiver, such as https://hooks.example.com."""

    @field_validator("receiver")
    @classmethod
    def _address(cls, value: str) -> str:
        return _web(value, "receiver").rstrip("/")


class Webhook(Model):
    """Deliveries of pushes, and of pull requests. Its address is who it is: two webhooks have two."""

    name: str = Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")
    """What it is called in output and state."""
    url: str | None = None
    """Where it delivers to; the whole address. Or `gitSource`."""
    git_source: GitSourceRef | None = None
    """The GitSource that it wakes. Or `url`."""
    secret: Source
    """What deliveries are signed with: for a GitSource the value that `spec.webhook.secretRef` names."""
    events: tuple[Event, ...] = ("push", "pullRequest")
    """What is delivered."""
    verify_tls: bool = True
    """Whether the receiver's certificate must be good."""

    @field_validator("url")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        return value if value is None else _web(value, "url")

    @model_validator(mode="after")
    def _one(self) -> Webhook:
        if (self.url is None) == (self.git_source is None):
            raise ValueError(f"webhook {self.name}: write either url or gitSource")
        return self


class Label(Model):
    """A label of issues and pull requests."""

    name: str = Field(min_length=1, max_length=50)
    """Its name."""
    color: str = "#ededed"
    """Six hexadecimal digits."""
    description: str = Field(default="", max_length=100)
    """What it means."""

    @field_validator("color")
    @classmethod
    def _hex(cls, value: str) -> str:
        if not _COLOR.fullmatch(value):
            raise ValueError(f'{value!r} is no colour; write six hexadecimal digits in quotes, such as "#0e8a16"')
        return "#" + value.removeprefix("#").lower()


class Collaborator(Model):
    """Somebody who may work in the repository."""

    name: str = Field(min_length=1)
    """The login."""
    permission: Literal["read", "write", "admin"] = "write"
    """What they may do."""


class Repository(Model):
    """A repository on a forge, and all that its pipeline needs there."""

    forge: ForgeName
    """Which forge."""
    url: str | None = None
    """The forge's address; by default github.com's or gitlab.com's. Gitea has none by default."""
    owner: str = Field(pattern=r"^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*$")
    """The user or organisation; on GitLab the group with all groups above it."""
    name: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,100}$")
    """The repository's name."""
    token: Source = Source(env="HOMEPORT_FORGE_TOKEN")
    """The token by which all of this is set up. docs/pipelines.md lists the rights that it needs."""
    description: str = Field(default="", max_length=255)
    """What the forge shows under the name."""
    visibility: Visibility = "private"
    """Who sees it. `internal` is known to GitLab, and to organisations of GitHub Enterprise."""
    default_branch: str = Field(default="main", min_length=1)
    """The branch that clones begin with."""
    adopt: bool = False
    """Whether a repository that is there already, and wasn't made by Homeport, is set up too."""
    protect: bool = True
    """Whether `destroy` leaves the repository. With false it deletes one that Homeport made, when its name is given as
    `--delete-repository` too."""
    render: bool = True
    """Whether the rendered pipeline is committed: directly to a repository just made, else by pull request."""
    protection: tuple[Protection, ...] = ()
    """Branches' protection."""
    environments: tuple[EnvironmentBlock, ...] = ()
    """Environments that jobs deploy to."""
    secrets: dict[SettingName, Source] = Field(default_factory=dict)
    """Secrets that all jobs see, by name."""
    variables: dict[SettingName, str] = Field(default_factory=dict)
    """Variables that all jobs see, by name."""
    webhooks: tuple[Webhook, ...] = ()
    """Webhooks."""
    labels: tuple[Label, ...] = ()
    """Labels."""
    collaborators: tuple[Collaborator, ...] = ()
    """Who may work in it, beside those who may already."""

    @field_validator("url")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        return value if value is None else _web(value, "url").rstrip("/")

    @field_validator("secrets", "variables")
    @classmethod
    def _named(cls, value: dict[str, object]) -> dict[str, object]:
        return _settings(value)

    @model_validator(mode="after")
    def _whole(self) -> Repository:
        if self.forge == "gitea" and self.url is None:
            raise ValueError("a Gitea has no address of its own: write url, such as https://git.example.com")
        if self.forge != "gitlab" and "/" in self.owner:
            raise ValueError(f"owner {self.owner!r}: only GitLab has groups in groups")
        if self.visibility == "internal" and self.forge == "gitea":
            raise ValueError("Gitea knows no internal repositories: write private or public")
        _once("protection of branch", (one.branch for one in self.protection))
        _once("environment", (one.name for one in self.environments))
        _once("webhook", (one.name for one in self.webhooks))
        _once("webhook with url", (one.url for one in self.webhooks if one.url))
        _once("label", (one.name.lower() for one in self.labels))
        _once("collaborator", (one.name.lower() for one in self.collaborators))
        return self

    @property
    def full_name(self) -> str:
        """``owner/name``."""
        return f"{self.owner}/{self.name}"

    @property
    def address(self) -> str:
        """The forge's own address."""
        return self.url or f"https://{self.forge}.com"


def _web(value: str, field: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{field} {value!r} is no address; write https://HOST")
    if parts.username or parts.password:
        raise ValueError(f"{field} has a password in it; write it into a secret")
    return value


def _settings(value: dict[str, object]) -> dict[str, object]:
    """Names as all three forges take them. Forges keep them in capitals, so two may not differ in that alone."""
    for name in value:
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r}: write letters, digits and _ only, and no digit first")
        reserved = next((prefix for prefix in _RESERVED if name.upper().startswith(prefix)), None)
        if reserved:
            raise ValueError(f"{name!r}: names with {reserved} are the forges' own; choose another")
        if name != name.upper():
            raise ValueError(f"{name!r}: forges keep these names in capitals; write {name.upper()}")
    return value


def _once(what: str, names: Iterable[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"{what} {twice[0]!r} is there twice")
