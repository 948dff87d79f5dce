"""What a server's references mean. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from homeport.drivers.git.types import Ref
from homeport.plan.gitops import ranges

PEELED = "^{}"
"""After an annotated tag's name: the commit that it is of."""
_HEADS = "refs/heads/"
_TAGS = "refs/tags/"


@dataclass(frozen=True)
class Target:
    """What a reference means."""

    commit: str
    name: str
    """What it is called, for people: ``main``, ``v1.4.2``; empty for a commit."""
    object: str
    """What is fetched: the commit, or the tag's own object, which may be signed."""


def question(refs: Iterable[Ref]) -> list[str] | None:
    """The options and patterns of ``git ls-remote`` that answer for all of ``refs``; None when nothing is to be asked.

    The server sorts out by ``--heads`` and ``--tags`` only: it sends everything where a name is of neither kind.
    """
    names = sorted({ref.full for ref in refs if not ref.commit and not ref.semver})
    ranged = any(ref.semver for ref in refs)
    if not names and not ranged:
        return None
    if not all(name.startswith((_HEADS, _TAGS)) for name in names):
        options = []
    else:
        options = ["--heads"] if any(name.startswith(_HEADS) for name in names) else []
        options += ["--tags"] if ranged or any(name.startswith(_TAGS) for name in names) else []
    # Patterns fit at the end of a name, too: ``main`` would be ``refs/heads/x/main`` as well, and full names are not.
    patterns = [pattern for name in names for pattern in (name, f"{name}{PEELED}")]
    return [*options, "--", *patterns, *([f"{_TAGS}*"] if ranged else [])]


def listed(out: bytes) -> dict[str, str]:
    """Names to objects, from what ``git ls-remote`` prints."""
    lines = (line.split("\t") for line in out.decode(errors="replace").splitlines())
    return {line[1]: line[0] for line in lines if len(line) == 2}


def target(ref: Ref, listing: Mapping[str, str]) -> Target | None:
    """What ``ref`` means; None when the server has no such thing. Raises ``ranges.BadRange``."""
    if ref.commit:
        return Target(ref.commit, "", ref.commit)
    if ref.semver:
        tags = [name.removeprefix(_TAGS) for name in listing if name.startswith(_TAGS) and not name.endswith(PEELED)]
        best = ranges.highest(ref.semver, tags)
        if best is None:
            return None
        full, name = f"{_TAGS}{best}", best
    else:
        full, name = ref.full, ref.branch or ref.tag or ref.name
    found = listing.get(full)
    return None if found is None else Target(listing.get(f"{full}{PEELED}", found), name, found)


def words(question: list[str], url: str) -> list[str]:
    """The whole call of ``git ls-remote``: the address goes between options and patterns."""
    cut = question.index("--")
    return ["ls-remote", "--quiet", *question[: cut + 1], url, *question[cut + 1 :]]
