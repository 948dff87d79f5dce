"""From a folder in Git to objects: what is asked for, what comes of it, and what it may take at most."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

IGNORE = ".homeport-ignore"
"""What isn't read, in gitignore's syntax; for its folder and those below."""

FILES = 50_000
"""Files below a source's path, read or not."""
READ = 10_000
"""Files of it that are read."""
FILE = 4 * 1024 * 1024
"""Bytes of one file."""
TOTAL = 64 * 1024 * 1024
"""Bytes of all files that are read."""
OBJECTS = 5_000
"""Objects of one source."""
OUTPUT = 64 * 1024 * 1024
"""Bytes that kustomize, helm or sops may print."""


class BuildFailed(Exception):  # noqa: N818 - it says what can't be built
    """No objects can be made of it. ``passes``: whether trying again may help without anybody changing a thing.

    The message begins with ``file:line: `` where there is such a place.
    """

    def __init__(self, message: str, passes: bool = False) -> None:
        super().__init__(message)
        self.passes = passes


HIDDEN_FROM = 4
"""Characters that a value has to have to be hidden in messages: shorter ones are in every word."""


def without(values: Iterable[str], message: str) -> str:
    """A message, with an ellipsis in the place of each of ``values``."""
    for value in sorted({each for each in values if len(each) >= HIDDEN_FROM}, key=len, reverse=True):
        message = message.replace(value, "…")
    return message


@dataclass(frozen=True)
class Helm:
    """How charts are rendered. ``values`` are merged by helm in this order, over those of the chart."""

    release: str = ""
    """The release's name; empty means the source's, and for a chart in a folder below the source's the folder's."""
    namespace: str = ""
    """The release's namespace; empty means the source's."""
    values: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)
    include_crds: bool = True


@dataclass(frozen=True)
class Serves:
    """What the cluster is that objects are made for: charts ask for it."""

    version: str = ""
    """Its version, as ``v1.35.4``; empty leaves that to helm."""
    apis: tuple[str, ...] = ()
    """Its APIs, as ``apps/v1`` and ``apps/v1/Deployment``."""


@dataclass(frozen=True)
class BuildSpec:
    """What a source asks for, with all that its references lead to."""

    path: str
    """The folder, from the repository's root; "" is the root."""
    name: str = "source"
    """The source's name."""
    namespace: str = "default"
    """The source's namespace: where objects go that name none."""
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    """For templates and, with ``substitute``, for everything."""
    substitute: bool = False
    """Whether ``${NAME}`` is replaced in what isn't a template."""
    helm: Helm = field(default_factory=Helm)
    allow_remote_bases: bool = False
    lfs: bool = False
    """Whether the checkout gives the contents that Git LFS keeps, in the place of its pointers."""
    keys: Mapping[str, bytes] | None = field(default=None, repr=False)
    """What the Secret of ``decryption.keySecretRef`` holds; None when decryption isn't asked for."""
    sealed: bool = False
    """Without keys: what SOPS encrypted stays as it is written, instead of being a failure. For what is only looked
    at, such as a stranger's pull request."""
    reveal: bool = False
    """Whether messages may quote what was decrypted: for a person who has the key."""
    hidden: tuple[str, ...] = field(default=(), repr=False)
    """Values among the variables and values that are in no message: those that Secrets hold."""
    serves: Serves = field(default_factory=Serves)
    inputs: str = ""
    """What tells the variables, values and keys from other ones: such as the names and resourceVersions of the objects
    that they are from. It is in the digest, and so in a status, instead of them: they may be secret."""
    timeout: float = 120.0
    """Seconds of a whole build."""


@dataclass(frozen=True)
class BuiltObject:
    """One object, and where in the repository it is written. Nobody changes the manifest: builds share it."""

    manifest: Mapping[str, Any] = field(repr=False)
    file: str
    line: int = 0
    """0 where that isn't known: in what a template or a chart makes."""
    secret: bool = False
    """Whether something in it was encrypted in the repository."""

    @property
    def where(self) -> str:
        """``apps/web.yaml:12``."""
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True)
class Built:
    """What came of a folder."""

    objects: tuple[BuiltObject, ...] = ()
    """In the order of the files, and in them as they are written; each object once."""
    digest: str = ""
    """Of all that they were made of: the same for another commit that changes none of it. Nothing secret is in it."""
    left_out: tuple[str, ...] = ()
    """What isn't applied, for people: helm's hooks."""
    warnings: tuple[str, ...] = ()
    """What a person should know, such as submodules that weren't fetched."""
