"""``homeport deploy``: a new version, by a commit in the GitOps repository."""

# ruff: noqa: PLC0415 - imported when it is needed, so that help, completion and errors are quick
from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from homeport.cli import output as out
from homeport.cli.errors import Failure
from homeport.cli.options import DEBUG, with_options
from homeport.cli.options import output as output_option

if TYPE_CHECKING:
    from homeport.drivers.git import Credentials
    from homeport.release.deploying import Deployed, Request

_ASKED = {
    "Requested-By": ("GITHUB_ACTOR", "GITLAB_USER_LOGIN", "BUILD_USER_ID", "USER"),
    "Source-Commit": ("GITHUB_SHA", "CI_COMMIT_SHA", "GIT_COMMIT"),
    "Source-Repository": ("GITHUB_REPOSITORY", "CI_PROJECT_PATH", "JOB_NAME"),
    "Pipeline": ("CI_PIPELINE_URL", "BUILD_URL"),
}
"""Trailers, and where GitHub, GitLab and Jenkins say what they are about."""


@click.command()
@with_options(
    click.option("--repo", "url", required=True, metavar="URL", help="The GitOps repository: https://… or ssh://…"),
    click.option("--file", "path", required=True, metavar="PATH", help="The Application's file there."),
    click.option("--application", required=True, metavar="NAME", help="The Application."),
    click.option("--version", required=True, metavar="V", help="The version to write, such as 1.4.0."),
    click.option("-e", "--environment", default="", metavar="NAME", help="Only there; by default spec.version."),
    click.option("-c", "--component", multiple=True, metavar="NAME", help="Write this component's image, too."),
    click.option(
        "--image",
        multiple=True,
        metavar="[COMPONENT=]IMAGE",
        help="That image; by default the present one, newly tagged.",
    ),
    click.option("-n", "--namespace", default="", metavar="NAME", help="The Application's, if the file has several."),
    click.option("--branch", default="main", show_default=True, metavar="NAME", help="The branch that is applied."),
    click.option("--pull-request", is_flag=True, help="Open a pull request instead of a commit on the branch."),
    click.option("--forge", type=click.Choice(["GitHub", "GitLab", "Gitea"]), help="By default read from the URL."),
    click.option("--forge-url", metavar="URL", help="Where its API answers; by default the repository's host."),
    click.option("--author", metavar="NAME <MAIL>", help="Who the commit is of; by default Homeport."),
    click.option("--requested-by", metavar="NAME", help="Who asked; by default whom the pipeline names."),
    click.option("--dry-run", is_flag=True, help="Only say what would be written."),
    output_option("text", "json"),
    DEBUG,
)
def deploy(**given: Any) -> int:
    """Write an application's new version into the GitOps repository.

    Only the version's own characters change; comments stay. The commit says who asked. It is never forced: when
    somebody else was quicker, it is made anew on top of that. What has the version already is left alone.

    Credentials come from the environment: HOMEPORT_GIT_TOKEN, or HOMEPORT_GIT_USERNAME and HOMEPORT_GIT_PASSWORD; for
    ssh:// HOMEPORT_GIT_SSH_KEY and HOMEPORT_GIT_KNOWN_HOSTS, each the text or a file's path; HOMEPORT_GIT_CA, a file;
    HOMEPORT_FORGE_TOKEN for the pull request where it is another token.
    """
    return _deploy(given, given.pop("output"))


def _deploy(given: dict[str, Any], output: str) -> int:
    from homeport.drivers.forge import ForgeFailed
    from homeport.drivers.git import GitFailed
    from homeport.release import deploying
    from homeport.release.manifest import BadManifest

    request = _request(given)
    # Before anything is pushed: a proposal without its pull request helps nobody.
    where = _forge(given, request) if request.pull_request and not request.dry_run else None
    try:
        done = deploying.deploy(request, credentials())
        if where is not None and done.changes:
            done = asyncio.run(_proposed(request, done, where))
    except BadManifest as error:
        raise Failure(f"{request.path}: {error}", error.hint) from None
    except GitFailed as error:
        raise Failure(str(error).replace("write it in the Secret of credentialsSecretRef", _BY_ENVIRONMENT)) from None
    except ForgeFailed as error:
        hint = "the commit is pushed: run this again, and only the pull request is opened"
        raise Failure(f"the pull request can't be opened: {error}", hint) from None
    _say(request, done, output)
    return 0


_BY_ENVIRONMENT = "give it by HOMEPORT_GIT_… in the environment"


def _request(given: dict[str, Any]) -> Request:
    import re

    from homeport.api.base import SEMVER_PATTERN
    from homeport.release.deploying import AUTHOR, Request
    from homeport.release.manifest import Wanted

    version = str(given["version"]).removeprefix("v")
    if not re.fullmatch(SEMVER_PATTERN.removesuffix("$"), version):
        raise Failure(f"{version!r} is no version", "write a semantic version such as 1.4.0 or 2.0.0-rc.1")
    trailers = {
        name: next((os.environ[one] for one in places if os.environ.get(one)), "") for name, places in _ASKED.items()
    }
    if given["requested_by"]:
        trailers["Requested-By"] = given["requested_by"]
    if not trailers["Pipeline"] and os.environ.get("GITHUB_RUN_ID"):
        server, repository = os.environ.get("GITHUB_SERVER_URL", "https://github.com"), trailers["Source-Repository"]
        trailers["Pipeline"] = f"{server}/{repository}/actions/runs/{os.environ['GITHUB_RUN_ID']}"
    pairs = images(given["component"], given["image"])
    wanted = Wanted(given["application"], version, given["namespace"], given["environment"], pairs)
    return Request(
        given["url"], given["path"].removeprefix("./"), wanted, given["branch"], given["pull_request"],
        given["author"] or AUTHOR, trailers, given["dry_run"],
    )  # fmt: skip


def images(components: Sequence[str], written: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """(component, image) of ``--component`` and ``--image``. Raises Failure."""
    found = dict.fromkeys(components, "")
    for text in written:
        component, equals, image = text.rpartition("=")
        if not equals:
            if len(components) != 1:
                told = "add --component NAME, or write NAME=IMAGE"
                raise Failure(f"--image {text} needs the one component whose image it is", told)
            component = components[0]
        if not component or not image:
            raise Failure(f"--image {text} names no component or no image", "write NAME=IMAGE")
        found[component] = image
    return tuple(found.items())


def credentials() -> Credentials:
    """How to log in, from the environment. Raises Failure."""
    from homeport.drivers.git import Credentials

    def told(name: str) -> str:
        return os.environ.get(f"HOMEPORT_GIT_{name}", "")

    def content(name: str) -> str:
        """The text itself, or that of the file that is named."""
        text = told(name)
        if not text or "\n" in text.strip() or " " in text.strip():
            return text
        try:
            return Path(text).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError, ValueError):
            raise Failure(f"HOMEPORT_GIT_{name} names no file that can be read") from None

    token = told("TOKEN")
    return Credentials(
        username=told("USERNAME") or ("git" if token else ""),
        password=told("PASSWORD") or token,
        identity=content("SSH_KEY"),
        known_hosts=content("KNOWN_HOSTS"),
        ca=content("CA"),
    )


def _forge(given: dict[str, Any], request: Request) -> tuple[str, str, str, str]:
    """(provider, API address, repository, token). Raises Failure."""
    from homeport.drivers.forge import api_url, repository_of

    token = os.environ.get("HOMEPORT_FORGE_TOKEN") or os.environ.get("HOMEPORT_GIT_TOKEN", "")
    if not token:
        raise Failure("a pull request needs a token", "set HOMEPORT_FORGE_TOKEN in the environment")
    host = urlsplit(request.url).hostname or ""
    names = {"GitHub": "github", "GitLab": "gitlab", "Gitea": "gitea"}
    provider = given["forge"] or next((name for name, word in names.items() if word in host), "")
    if not provider:
        raise Failure(
            f"{host or request.url} doesn't say which forge it is", "name it with --forge GitHub|GitLab|Gitea"
        )
    try:
        repository = repository_of(request.url, provider)
    except ValueError:
        raise Failure("the repository's address names no owner and repository") from None
    return provider, api_url(provider, given["forge_url"], request.url), repository, token


async def _proposed(request: Request, done: Deployed, where: tuple[str, str, str, str]) -> Deployed:
    from homeport.drivers.forge import connect
    from homeport.release import deploying

    forge = connect(*where)
    try:
        return await deploying.propose(request, done, forge)
    finally:
        await forge.close()


def _say(request: Request, done: Deployed, output: str) -> None:
    if output == "json":
        out.print_json(
            {
                "changed": bool(done.changes) and not request.dry_run,
                "changes": [{"field": c.field, "before": c.before, "after": c.after} for c in done.changes],
                "commit": done.commit,
                "branch": done.branch,
                "pullRequest": {"number": done.pull, "url": done.url} if done.pull else None,
            }
        )
        return
    name = request.wanted.application
    if not done.changes:
        click.echo(f"{name}: {request.branch} has {request.wanted.version} already; nothing to do")
    for change in done.changes:
        click.echo(f"{name}: {change.shown}")
    if done.pinned:
        told = f"{', '.join(done.pinned)} pins an image of its own, which stays; --component writes one"
        click.echo(f"{name}: {told}", err=True)
    if request.dry_run:
        click.echo("nothing was written: --dry-run")
    elif done.pull:
        click.echo(f"pull request {done.pull}: {done.url}")
    elif done.changes:
        click.echo(f"pushed {done.commit[:12]} to {done.branch}")
