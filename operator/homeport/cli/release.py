"""``homeport release``: versions, notes and tags, by what commits say."""

# ruff: noqa: PLC0415 - imported when it is needed, so that help, completion and errors are quick
from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from homeport.cli import output as out
from homeport.cli.errors import Failure
from homeport.cli.options import DEBUG, Decorator, with_options
from homeport.cli.options import output as output_option

if TYPE_CHECKING:
    from homeport.release.repository import Repository
    from homeport.release.versions import History, Next

OF: tuple[Decorator, ...] = (
    click.option(
        "--from-ref", default="", metavar="REF", help="Count commits since this one; by default since the last release."
    ),
    click.option(
        "--branch", metavar="NAME", help="The branch this is of; by default the pipeline's, or what is checked out."
    ),
    click.option(
        "--main", "mains", metavar="NAME", multiple=True, help="Branches that are released; by default main and master."
    ),
    click.option(
        "--tag-prefix", "prefix", default="v", show_default=True, metavar="TEXT", help="What tags begin with."
    ),
    click.option(
        "--repo",
        "folder",
        default=".",
        metavar="DIR",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        help="The clone; by default this folder.",
    ),
)
_PIPELINES = (
    "GITHUB_HEAD_REF",
    "CI_COMMIT_BRANCH",
    "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME",
    "CHANGE_BRANCH",
    "BRANCH_NAME",
)
"""Where GitHub, GitLab and Jenkins say which branch they build; what is checked out there is no branch."""


@dataclass(frozen=True)
class Of:
    """What a version is of, as the options in ``OF`` say."""

    from_ref: str
    branch: str | None
    mains: tuple[str, ...]
    prefix: str
    folder: Path

    @property
    def repository(self) -> Repository:
        """The clone."""
        from homeport.release.repository import Repository

        return Repository(self.folder)


@click.group()
@with_options(DEBUG)
def release() -> None:
    """Version, describe and tag what is released."""


@release.command(name="next")
@with_options(*OF, output_option("text", "json"), DEBUG)
def next_(output: str, **given: Any) -> int:
    """Print the version that this commit is to have.

    By conventional commits since the last release: feat raises the minor version, fix and perf the patch version, what
    breaks the major one (below 1.0.0 the minor one). On release/ and hotfix/ it is a pre-release; on branches that
    aren't released, a version for trying. Both have the commit in them, unless it is tagged. When nothing asks for a
    release it is the last one.
    """
    of = Of(**given)
    _, found = _next(of)
    if output == "json":
        out.print_json(_json(found, of.prefix))
        return 0
    click.echo(str(found.published))
    click.echo(found.why, err=True)
    return 0


@release.command()
@with_options(
    click.option("--version", metavar="V", help="Of this version; by default of the next one."),
    *OF,
    output_option("markdown", "json"),
    DEBUG,
)
def notes(version: str | None, output: str, **given: Any) -> int:
    """Print release notes: migration, features, fixes, improvements, security, tests.

    With --version, and a tag of it: what that release brought, whenever that was.
    """
    from homeport.release import notes as words

    of = Of(**given)
    shown, history = _noted(of, version)
    if output == "json":
        out.print_json({"version": shown, "commit": history.head, "sections": words.grouped(history.commits)})
    else:
        click.echo(words.markdown(shown, of.repository.date(history.head), history.commits), nl=False)
    return 0


@release.command()
@with_options(
    click.option("--push", is_flag=True, help="Push the tag, too."),
    click.option("--remote", default="origin", show_default=True, metavar="NAME", help="Where to."),
    click.option("--dry-run", is_flag=True, help="Only say what would be tagged."),
    *OF,
    output_option("text", "json"),
    DEBUG,
)
def tag(push: bool, remote: str, dry_run: bool, output: str, **given: Any) -> int:
    """Tag this commit with its version, its notes as the tag's message.

    A commit that has its tag already is well, and so is one that asks for no release. A tag is never moved.
    """
    from homeport.release import notes as words

    of = Of(**given)
    history, found = _next(of)
    if (
        not found.final
        and not found.tagged
        and found.version.prerelease
        and found.version.prerelease.startswith("dev.")
    ):
        raise Failure(f"{found.why}: it isn't tagged", "tag on main, on release/… or on hotfix/…; --main names others")
    name, lines = f"{of.prefix}{found.version}", []
    if found.release and not dry_run:
        of.repository.tag(name, history.head, words.markdown(str(found.version), "", history.commits))
    if found.release:
        lines.append(f"{'would tag' if dry_run else 'tagged'} {history.head[:12]} as {name}")
    else:
        lines.append(f"nothing to tag: {found.why}")
    pushed = False
    if push and not dry_run and (found.release or found.tagged):
        pushed = of.repository.push_tag(name, history.head, remote)
        lines.append(f"pushed {name} to {remote}" if pushed else f"{remote} has {name} already")
    if output == "json":
        out.print_json({**_json(found, of.prefix), "created": found.release and not dry_run, "pushed": pushed})
    else:
        click.echo("\n".join(lines))
    return 0


def _next(of: Of) -> tuple[History, Next]:
    from homeport.release import versions

    history = of.repository.history(of.prefix, of.from_ref)
    return history, versions.following(history, _branch(of), of.mains or ("main", "master"))


def _branch(of: Of) -> str:
    """The branch that this is of. Raises Failure when nothing says."""
    if of.branch:
        return of.branch
    told = next((os.environ[name] for name in _PIPELINES if os.environ.get(name)), "")
    if not told and os.environ.get("GITHUB_REF_TYPE") == "branch":
        told = os.environ.get("GITHUB_REF_NAME", "")
    found = told or of.repository.branch()
    if not found:
        raise Failure("no branch is checked out, and nothing says which one this is", "name it with --branch")
    return found


def _noted(of: Of, version: str | None) -> tuple[str, History]:
    """What notes are called, and the history that they are of."""
    from homeport.release import versions

    if version is None:
        history, found = _next(of)
        if not found.tagged:
            return str(found.version), history
        version = str(found.version)
    repository, wanted = of.repository, version.removeprefix(of.prefix)
    known = next((tag for tag in repository.tags(of.prefix) if str(tag.version) == wanted), None)
    if known is None:
        return wanted, repository.history(of.prefix, of.from_ref)
    before = [one for one in repository.tags(of.prefix, known.commit) if one.version < known.version]
    last = versions.newest(before)
    return wanted, repository.history(of.prefix, of.from_ref or (last.commit if last else ""), known.commit)


def _json(found: Next, prefix: str) -> dict[str, object]:
    return {
        "version": str(found.published),
        "tag": f"{prefix}{found.version}",
        "previous": str(found.previous) if found.previous is not None else None,
        "bump": found.bump.name.lower(),
        "release": found.release,
        "final": found.final,
        "tagged": found.tagged,
        "why": found.why,
    }
