"""What is asked of a forge, whichever it is."""

from __future__ import annotations

from typing import Protocol

from homeport.plan.gitops.pulls import Labelled, Pull, Status


class Forge(Protocol):
    """One repository on a forge. Every method raises ``ForgeFailed``, and nothing else.

    Reads are conditional where the forge has ETags, so that a poll that finds nothing new costs next to nothing.
    """

    async def pulls(self, base: str) -> list[Pull]:
        """The open pull requests into a branch, by number."""
        ...

    async def pull(self, number: int) -> Pull | None:
        """One pull request; None when it isn't open, or isn't there."""
        ...

    async def open(self, branch: str, base: str, title: str, text: str) -> Pull:
        """Open a pull request out of a branch of the repository. One that is open already is a failure."""
        ...

    async def describe(self, pull: int, title: str, text: str) -> None:
        """Give a pull request another title and text."""
        ...

    async def labelled(self, pull: Pull, label: str) -> Labelled | None:
        """Who put a label on last, when, and on which commit; None when it isn't on."""
        ...

    async def may_write(self, user: str) -> bool:
        """Whether somebody may push to the repository."""
        ...

    async def is_member(self, user: str, team: str) -> bool:
        """Whether somebody is in a team (``organisation/team``; of GitLab a group's whole path)."""
        ...

    async def comment(self, pull: int, marker: str, text: str) -> None:
        """Write a comment, or change the one of ours that begins with ``marker``, unless it says that already."""
        ...

    async def status(self, commit: str, status: Status) -> None:
        """Write a commit status, unless the commit has just that already."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...
