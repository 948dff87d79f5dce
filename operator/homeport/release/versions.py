"""The next version by SemVer: https://semver.org/spec/v2.0.0.html.

Below 1.0.0 nothing is promised (item 4): what breaks raises the minor version there. 1.0.0 is a promise, and tagged by
somebody who makes it.

A pre-release that isn't tagged has its commit in it, so that no two commits have the same: what was published is never
published again with other contents.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from semver import Version

from homeport.release.commits import Bump, Commit

FIRST = Version(0, 1, 0)
"""The first release of all."""
PRE = {"release": "rc", "hotfix": "hotfix"}
"""By a branch's first part, as GitFlow names them: what its pre-releases are called."""
OTHER = "dev"


@dataclass(frozen=True)
class Tag:
    """A tag that is a version."""

    name: str
    version: Version
    commit: str


@dataclass(frozen=True)
class History:
    """What a version follows from."""

    head: str
    """The commit that is to be released."""
    commits: Sequence[Commit]
    """Since the previous release, newest first, without what was taken back."""
    reached: Sequence[Tag]
    """Tags of commits that HEAD has."""
    tags: Sequence[Tag]
    """All tags."""
    count: int = 0
    """Commits since the previous release, whatever they say."""


@dataclass(frozen=True)
class Next:
    """The version that a commit is to have."""

    version: Version
    previous: Version | None
    bump: Bump
    why: str
    tagged: bool = False
    """The commit has this tag already."""
    final: bool = True
    """Whether it is a release, or a pre-release of one."""
    untagged: Version | None = None
    """Of a pre-release that isn't tagged: the version of this very commit, between the pre-releases around it."""

    @property
    def published(self) -> Version:
        """What this commit is published as: another commit never is, save two of a release that isn't tagged yet."""
        return self.untagged or self.version

    @property
    def release(self) -> bool:
        """Whether there is something to tag."""
        return not self.tagged and self.bump is not Bump.NOTHING


def read(name: str, prefix: str) -> Version | None:
    """The version in a tag's name; None for other tags."""
    text = name.removeprefix(prefix)
    if (prefix and text == name) or not Version.is_valid(text):
        return None
    return Version.parse(text)


def newest(tags: Iterable[Tag]) -> Tag | None:
    """The highest release; pre-releases don't count."""
    finals = [tag for tag in tags if not tag.version.prerelease]
    return max(finals, key=lambda tag: tag.version, default=None)


def raised(version: Version, bump: Bump) -> Version:
    """The version after ``version``."""
    if bump is Bump.MAJOR and version.major > 0:
        return version.bump_major()
    if bump >= Bump.MINOR:
        return version.bump_minor()
    return version.bump_patch() if bump is Bump.PATCH else version


def following(history: History, branch: str, mains: Sequence[str]) -> Next:
    """The version of HEAD on a branch; ``mains`` are those whose commits are releases."""
    last = newest(history.reached)
    previous = last.version if last else None
    kind = "" if branch in mains else PRE.get(branch.partition("/")[0], OTHER)
    if last is not None and last.commit == history.head:
        return Next(last.version, previous, Bump.NOTHING, f"{last.name} is this commit", tagged=True)
    bump = max((commit.bump for commit in history.commits), default=Bump.NOTHING)
    if previous is None:
        version, bump, why = FIRST, max(bump, Bump.MINOR), "there is no release yet"
    else:
        version, why = raised(previous, bump), _why(history.commits, bump, previous)
    if not kind:
        return Next(version, previous, bump, why)
    if kind == OTHER:
        # Of no release yet: what it may become, so that versions of a branch are in order.
        version = version if bump is not Bump.NOTHING else version.bump_patch()
        pre = version.replace(prerelease=f"{OTHER}.{_identity(history)}")
        return Next(pre, previous, bump, f"{branch or 'this'} is no branch that is released", final=False)
    return _pre(history, branch, kind, Next(version, previous, bump, why))


def _pre(history: History, branch: str, kind: str, base: Next) -> Next:
    """A pre-release: of the version in the branch's name, if that is higher."""
    named = _named(branch)
    version, bump = base.version, base.bump
    if named is not None and (base.previous is None or named > base.previous) and named >= version:
        version, bump = named, max(bump, Bump.PATCH)
    numbers = [(_number(tag.version, version, kind), tag) for tag in history.tags]
    known = [(number, tag) for number, tag in numbers if number is not None]
    mine = next((tag for _, tag in known if tag.commit == history.head), None)
    if mine is not None:
        return Next(mine.version, base.previous, Bump.NOTHING, f"{mine.name} is this commit", tagged=True, final=False)
    number = 1 + max((number for number, _ in known), default=0)
    # After the last one that is tagged, before the one that this may become: rc.1 < rc.1.7.g… < rc.2.
    untagged = version.replace(prerelease=f"{kind}.{number - 1}.{_identity(history)}")
    pre = version.replace(prerelease=f"{kind}.{number}")
    return Next(pre, base.previous, bump, base.why, final=False, untagged=untagged)


def _identity(history: History) -> str:
    """The commit as the end of a pre-release: a later one of the same branch is higher, and no two have the same.
    The letter is for commits of digits only: such may begin with no 0."""
    return f"{history.count}.g{history.head[:12]}"


def _named(branch: str) -> Version | None:
    text = branch.rpartition("/")[2].removeprefix("v")
    if re.fullmatch(r"(0|[1-9]\d*)\.(0|[1-9]\d*)", text):
        text = f"{text}.0"
    found = Version.parse(text) if Version.is_valid(text) else None
    return found if found is not None and not found.prerelease and not found.build else None


def _number(version: Version, base: Version, kind: str) -> int | None:
    """``rc.3`` of this base as 3."""
    if version.finalize_version() != base or not version.prerelease:
        return None
    found = re.fullmatch(rf"{kind}\.(\d+)", version.prerelease)
    return int(found[1]) if found else None


def _why(commits: Sequence[Commit], bump: Bump, previous: Version) -> str:
    if bump is Bump.NOTHING:
        return f"nothing since {previous} asks for a release"
    first = next(commit for commit in commits if commit.bump is bump)
    what = "breaks something" if first.breaking else f"is a {first.type}"
    return f"{first.id[:12]} {what}: {first.subject}"
