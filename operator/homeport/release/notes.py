"""Release notes in Markdown: what users read about a version."""

from __future__ import annotations

from collections.abc import Sequence

from homeport.release.commits import Commit

SECTIONS = ("Migration", "Features", "Fixes", "Improvements", "Security", "Tests", "Other changes")
"""In their order: what needs somebody to act comes first."""
_TYPES = {
    "feat": "Features",
    "fix": "Fixes",
    "revert": "Fixes",
    "perf": "Improvements",
    "refactor": "Improvements",
    "security": "Security",
    "test": "Tests",
    "": "Other changes",
}
_SCOPES = {"security": "Security", "migration": "Migration", "migrations": "Migration"}


def section(commit: Commit) -> str:
    """Where a commit is told; empty for what users needn't know, such as ``chore`` and ``ci``."""
    known = _TYPES.get(commit.type, "")
    return _SCOPES.get(commit.scope.lower(), known) if commit.type else known


def grouped(commits: Sequence[Commit]) -> dict[str, list[str]]:
    """Lines by their section; sections without any are left out. What breaks is told as migration, too."""
    lines: dict[str, list[str]] = {name: [] for name in SECTIONS}
    for commit in commits:
        scope = f"**{_quiet(commit.scope)}:** " if commit.scope else ""
        where = section(commit)
        if commit.breaking:
            lines["Migration"].append(f"{scope}{_quiet(commit.breaking)} ({commit.id[:12]})")
        if where and not (where == "Migration" and commit.breaking):
            lines[where].append(f"{scope}{_quiet(commit.subject)} ({commit.id[:12]})")
    return {name: found for name, found in lines.items() if found}


def markdown(version: str, date: str, commits: Sequence[Commit]) -> str:
    """The notes; ``date`` as 2026-01-31, or empty."""
    out = [f"## {version}{f' ({date})' if date else ''}", ""]
    groups = grouped(commits)
    for name, lines in groups.items():
        out += [f"### {name}", "", *(f"- {line}" for line in lines), ""]
    return "\n".join(out if groups else [*out, "Nothing that users see.", ""])


def _quiet(text: str) -> str:
    """An author's words: nobody is called by them, and no HTML is in them."""
    return text.replace("@", "@\u200b").replace("<", "&lt;")
