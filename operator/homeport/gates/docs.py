"""Documentation that must be there, and that must change together with something else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pathspec import GitIgnoreSpec

from homeport.gates.config import DocsRule

TOLD = 3
"""Paths that are named as the reason, at most."""


def matching(patterns: Iterable[str], paths: Iterable[str]) -> list[str]:
    """The paths that are meant by patterns as in .gitignore."""
    return sorted(GitIgnoreSpec.from_lines(patterns).match_files(paths))


def outdated(rules: Iterable[DocsRule], changed: Sequence[str], written: Sequence[str]) -> list[str]:
    """What asks for documentation and has none, a sentence each.

    ``changed`` are all paths that a change touches, ``written`` those of them that are still there after it.
    """
    out = []
    for rule in rules:
        causes = matching(rule.when, changed)
        if causes and not matching(rule.then, written):
            more = f" and {len(causes) - TOLD} more" if len(causes) > TOLD else ""
            out.append(f"{', '.join(causes[:TOLD])}{more} changed, and nothing in {', '.join(rule.then)} did")
    return out
