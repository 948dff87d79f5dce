"""Where a branch has come from."""

from __future__ import annotations

from homeport.drivers.git import program
from homeport.drivers.git.mirror import PARTIAL, Mirror, object_format
from homeport.drivers.git.types import MIB

HISTORY = 500
"""Commits that are looked through."""
_UNFILTERED = "filtering not recognized"


def descends(mirror: Mirror, old: str, new: str) -> bool | None:
    """Whether ``new`` has ``old`` in its history; None when the server can't tell cheaply. Raises GitFailed.

    Only commits are fetched, into a repository of its own: in the mirror, history without its trees would look to
    the server as if the trees were here.
    """
    head = mirror.objects.content(new, MIB).partition(b"\n\n")[0]
    if f"parent {old}".encode() in head.split(b"\n"):
        return True
    with program.session(mirror.url, mirror.credentials, mirror.limits, running=mirror.running) as session:
        init = ["init", "--quiet", "--bare", *object_format(new), "history"]
        session.git(*init)
        said = session.told(
            "-C", "history", "fetch", f"--depth={HISTORY}", "--filter=tree:0", "--no-tags", "origin",
            f"+{new}:refs/homeport/new",
            settings=(f"remote.origin.url={mirror.url}", *PARTIAL),
        )  # fmt: skip
        if _UNFILTERED in said.text:
            return None
        commits = session.git("-C", "history", "rev-list", f"--max-count={HISTORY}", "refs/homeport/new")
        return old.encode() in commits.split()
