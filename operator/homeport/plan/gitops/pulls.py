"""Pull requests, as a forge tells of them. GitLab's merge requests are meant, too."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True)
class Pull:
    """One open pull request. Everything in it but ``number`` and ``head`` is written by whoever opened it."""

    number: int
    title: str
    author: str
    """The login."""
    head: str
    """The newest commit, by its whole id."""
    ref: str
    """The full name that the base repository has the head under: ``refs/pull/7/head``."""
    base: str
    """The branch that it is to be merged into."""
    fork: bool
    """Whether the head is in another repository; also when that isn't there any more."""
    labels: frozenset[str] = frozenset()
    draft: bool = False
    updated: str = ""
    """When anything about it changed last, as the forge writes it."""
    source: str = ""
    """The repository that the head is in, as owner/name; empty when that is gone."""
    branch: str = ""
    """The head's branch there."""
    url: str = ""
    """Its page, for people."""


@dataclass(frozen=True)
class Labelled:
    """That a label was put on: the newest time that it was."""

    by: str
    """The login of who did it."""
    at: str
    """When, as RFC 3339."""
    commit: str = ""
    """The head at that time; empty when the forge doesn't say."""
    moved: bool | None = None
    """Whether the head has moved since; None when the forge doesn't say."""


class Firm(str):
    """Why a pull request isn't let in, where that takes away the preview that is there: nobody lets it in any more.
    Other reasons leave the one of an earlier commit."""


class State(StrEnum):
    """What a commit status says."""

    PENDING = "pending"
    SUCCESS = "success"
    FAILURE = "failure"
    ERROR = "error"


@dataclass(frozen=True)
class Status:
    """A commit status: one line beside a commit."""

    context: str
    """Which check it is: ``homeport/<namespace>/<source>/plan``."""
    state: State
    description: str
    url: str = ""
