"""What git is asked for, how it logs in, what it may take, and how it fails."""

from __future__ import annotations

from dataclasses import dataclass, field

from homeport.plan.gitops.checkout import CheckoutFailed

MIB = 1024 * 1024


class GitFailed(CheckoutFailed):
    """What was asked for can't be had. ``passes``: whether asking again may help without anybody changing a thing."""


class Unsigned(GitFailed):
    """A commit bears no signature that counts."""

    def __init__(self, message: str) -> None:
        super().__init__(message, passes=False)


@dataclass(frozen=True)
class Ref:
    """A branch, a tag, a range of versions, a commit, or a reference by its full name; exactly one is set."""

    branch: str = ""
    tag: str = ""
    commit: str = ""
    semver: str = ""
    """The tag with the highest version in this range (``plan.gitops.ranges``)."""
    name: str = ""
    """A full name, such as ``refs/pull/7/head``."""

    @property
    def shown(self) -> str:
        """For people."""
        if self.semver:
            return f"tag in the range {self.semver}"
        if self.name:
            return f"reference {self.name}"
        return f"branch {self.branch}" if self.branch else f"tag {self.tag}" if self.tag else f"commit {self.commit}"

    @property
    def full(self) -> str:
        """The reference's full name; the commit itself for one. Empty for a range, which names many."""
        if self.branch:
            return f"refs/heads/{self.branch}"
        return f"refs/tags/{self.tag}" if self.tag else self.name or self.commit


@dataclass(frozen=True)
class Credentials:
    """How to log in: by name and password or by a token over HTTPS, by a key over SSH. All empty for a public one."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity: str = field(default="", repr=False)
    """A private SSH key, without a passphrase."""
    known_hosts: str = ""
    """Whose SSH keys are trusted, as in known_hosts."""
    token: str = field(default="", repr=False)
    """Sent as ``Authorization: Bearer``; not what GitHub and GitLab call a token, which they take as a password."""
    ca: str = ""
    """Certificates of authorities in PEM, trusted in place of the machine's own."""

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never be shown."""
        return tuple(text for text in (self.password, self.token, self.identity) if text)


@dataclass(frozen=True)
class Limits:
    """What one reading may take."""

    seconds: float = 60.0
    fetched: int = 64 * MIB
    """Bytes of one pack, and of any other file that git writes."""
    files: int = 128
    file: int = 256 * 1024
    """Bytes of one file."""
    total: int = MIB
    """Bytes of all files together."""
    disk: int = 1024 * MIB
    """Bytes of a mirror."""


MIRROR_LIMITS = Limits(fetched=256 * MIB, files=50_000, file=16 * MIB, total=64 * MIB)
"""Of a mirror, where nothing else is said: what a source may hold below its folder, and what is read of it at once."""


class TooLarge(GitFailed):
    """A commit that its mirror has no room for."""


class MirrorBroken(GitFailed):
    """The mirror on our own disk can't be read; it is made anew."""

    def __init__(self, url: str) -> None:
        super().__init__(f"{url}: its mirror on the operator's disk can't be read; it is made anew", passes=True)
