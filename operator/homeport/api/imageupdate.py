"""ImageUpdate: newer images of a registry, written into Git."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal

from pydantic import Field, StrictBool, StrictInt

from homeport.api.base import (
    ATOMIC,
    SET,
    Label,
    ListMap,
    Model,
    NameRef,
    Rule,
    ShortText,
    Text,
    interval_between,
    matches,
)
from homeport.api.git import GitRefName, inside
from homeport.api.notification import MailAddress
from homeport.api.status import Status

RANGE_PATTERN = r"^[-0-9A-Za-z.+*<>=!~^|, ]+$"


# What Python's own expressions know and RE2's don't.
_NOT_RE2 = re.compile(r"\(\?(=|!|<=|<!|>|\()|\\[1-9]")


def _compiles(pattern: str) -> bool:
    try:
        re.compile(pattern)
    except re.error:
        return False
    return _NOT_RE2.search(pattern) is None


class SemverPolicy(Model):
    """The newest version in a range."""

    range: Annotated[
        str,
        Field(min_length=1, max_length=128),
        matches(RANGE_PATTERN, "write a range of versions such as >=1.2.0 <2.0.0, ^1.4, ~1.4.0 or 1.x"),
    ]
    """Such as ^1.4. Tags may have a leading v. Pre-releases count only where the range names one, as in >=1.4.0-0."""


class NumericalPolicy(Model):
    """The highest number, or the lowest."""

    order: Literal["asc", "desc"] = "asc"
    """asc: the highest is the newest; desc: the lowest."""


class AlphabeticalPolicy(Model):
    """The last in the alphabet, or the first."""

    order: Literal["asc", "desc"] = "asc"
    """asc: the last is the newest; desc: the first. Dates such as 20261121-1755 sort so."""


class ImagePolicy(Model):
    """Which tag is the newest: exactly one of semver, numerical and alphabetical."""

    semver: SemverPolicy | None = None
    """The newest version in a range."""
    numerical: NumericalPolicy | None = None
    """The highest number."""
    alphabetical: AlphabeticalPolicy | None = None
    """The last in the alphabet."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "[has(self.semver), has(self.numerical), has(self.alphabetical)].filter(x, x).size() == 1",
            "write exactly one of semver, numerical and alphabetical",
            lambda s: sum(each is not None for each in (s.semver, s.numerical, s.alphabetical)) == 1,
        ),
    )


class TagFilter(Model):
    """Which tags count, and what of them is compared."""

    pattern: Annotated[
        str,
        Field(min_length=1, max_length=256),
        Rule(
            "''.matches(self) || !''.matches(self)",
            "write a regular expression as RE2 has it, such as ^main-(?P<time>[0-9]+)$",
            _compiles,
        ),
    ]
    """A regular expression (RE2) that a tag must match."""
    extract: (
        Annotated[
            str,
            Field(min_length=1, max_length=128),
            matches(
                r"^([^\x24]|\x24\x24|\x24[0-9A-Za-z_]+|\x24[{][0-9A-Za-z_]+[}])*$",
                "write groups of the pattern, such as $time, ${time} or $1",
            ),
        ]
        | None
    ) = None
    """What is compared instead of the tag, by groups of the pattern, such as $time."""


class WatchedImage(Model):
    """One image whose tags are watched."""

    name: Label
    """What markers in files call it."""
    image: Annotated[
        str,
        Field(min_length=1, max_length=512),
        matches(
            r"^(([A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(:[0-9]{1,5})?/)?"
            r"[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*$",
            "write an image's name without tag and digest, such as ghcr.io/team/shop",
        ),
    ]
    """The image's name, without tag."""
    policy: ImagePolicy
    """Which tag is the newest."""
    filter: TagFilter | None = None
    """Which tags count; absent means all."""
    credentials_secret_ref: NameRef | None = None
    """A Secret of type kubernetes.io/dockerconfigjson."""
    digest: StrictBool = False
    """Whether the digest that the tag leads to is written too, as tag@sha256:…; it follows the tag when that moves."""


class UpdateAuthor(Model):
    """Who the commits are of."""

    name: Annotated[
        str,
        Field(min_length=1, max_length=128),
        matches(r"^[^<>\n\r]+$", "write a name without '<' and '>'"),
    ] = "Homeport"
    """The name."""
    email: MailAddress = "homeport@homeport.invalid"
    """The mail address."""


class UpdatePullRequest(Model):
    """A pull request instead of a commit on the branch that is applied."""

    enabled: StrictBool = True
    """False: updates are committed to the branch."""
    branch: GitRefName | None = None
    """The branch that it comes from; absent means homeport/<namespace>-<name>. One pull request is kept up to date."""


class UpdateGit(Model):
    """How updates get into the repository."""

    branch: GitRefName | None = None
    """The branch that is committed to, or that the pull request goes into; absent means the source's."""
    pull_request: UpdatePullRequest | None = None
    """A pull request instead of a commit; its forge is that of the source's pullRequests.forge."""
    author: UpdateAuthor = UpdateAuthor()
    """Who the commits are of."""
    message: (
        Annotated[
            str,
            Field(min_length=1, max_length=1024),
            matches(
                r"^([^\x24]|\x24\x24|\x24[{](images|changes|name|namespace)[}])*$",
                "write ${…} with one of images, changes, name, namespace; $$ is a dollar sign",
            ),
        ]
        | None
    ) = None
    """The commit's message; ${images} is a list in a line, ${changes} one in lines."""


class ImageUpdateSpec(Model):
    """Which images are watched, and where newer ones are written."""

    source_ref: NameRef
    """The GitSource whose repository is edited, with its credentials; they must be allowed to push."""
    interval: Annotated[str, Field(min_length=2, max_length=16), interval_between("30s", "24h", "5m or 1h")] = "5m"
    """How often the registries are asked; several that watch one image ask once."""
    images: Annotated[tuple[WatchedImage, ...], Field(min_length=1, max_length=64), ListMap("name")]
    """The images."""
    git: UpdateGit = UpdateGit()
    """How updates get into the repository."""
    paths: Annotated[
        tuple[
            Annotated[
                str,
                Field(min_length=1, max_length=512),
                inside("a file or a folder as seen from the repository's root, such as apps/shop"),
            ],
            ...,
        ],
        Field(max_length=32),
        SET,
    ] = ()
    """Files and folders in which markers are looked for; absent means the source's path."""
    suspend: StrictBool = False
    """True stops reconciliation of this object: no registry is asked and nothing is committed."""


class LatestImage(Model):
    """The newest image that a policy has chosen."""

    name: Label
    """What markers call it."""
    image: Annotated[str, Field(max_length=1024)] | None = None
    """The image with its tag, and its digest where that is written."""
    tag: Annotated[str, Field(max_length=128)] | None = None
    """The tag."""
    previous: Annotated[str, Field(max_length=128)] | None = None
    """The tag before."""
    tags: Annotated[StrictInt, Field(ge=0)] | None = None
    """How many tags counted when this one was chosen."""
    message: Text | None = None
    """Why none could be chosen, or what keeps it from being looked at."""


class Pushed(Model):
    """A commit of ours."""

    commit: ShortText
    """The commit."""
    branch: ShortText
    """The branch it is on."""
    time: ShortText
    """When it was made."""
    images: Annotated[tuple[Annotated[str, Field(max_length=1024)], ...], Field(max_length=64), ATOMIC] = ()
    """The images that it brought."""


class UpdateRequest(Model):
    """The pull request that is open."""

    number: Annotated[StrictInt, Field(ge=1)]
    """Its number."""
    url: Annotated[str, Field(max_length=1024)]
    """Where it is."""


class ImageUpdateStatus(Status):
    """Which images are the newest, and what was pushed."""

    images: Annotated[tuple[LatestImage, ...], Field(max_length=64), ListMap("name")] = ()
    """By image."""
    pushing: Pushed | None = None
    """A commit that is being pushed; written before, so that it is known after a crash."""
    last_pushed: Pushed | None = None
    """The newest commit of ours."""
    pull_request: UpdateRequest | None = None
    """The pull request that is open."""
    markers: Annotated[StrictInt, Field(ge=0)] | None = None
    """How many markers of these images the files have."""
