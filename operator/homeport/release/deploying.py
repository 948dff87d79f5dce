"""Writing a version into the GitOps repository: a commit on top of what is there now, pushed without force."""

from __future__ import annotations

import random
import re
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from homeport.drivers.forge import Forge
from homeport.drivers.git import Credentials, GitFailed, Ref, commits, refs
from homeport.drivers.git.checkout import MirrorCheckout
from homeport.drivers.git.mirror import Mirror
from homeport.drivers.git.refs import Target
from homeport.plan.gitops import updates
from homeport.plan.gitops.checkout import normal
from homeport.release import manifest
from homeport.release.manifest import BadManifest, Change, Edited, Wanted

TRIES = 6
"""Times that the branch is read anew when somebody else was quicker."""
AUTHOR = "Homeport <homeport@homeport.invalid>"
_PUSHED = re.compile("moved on")


@dataclass(frozen=True)
class Request:
    """What is to be deployed, and where that is written."""

    url: str
    path: str
    wanted: Wanted
    branch: str = "main"
    pull_request: bool = False
    author: str = AUTHOR
    trailers: Mapping[str, str] = field(default_factory=dict)
    """Who asked, and from which commit: lines at the message's end."""
    dry_run: bool = False

    @property
    def what(self) -> str:
        """The commit's first line."""
        where = f" to {self.wanted.environment}" if self.wanted.environment else ""
        return f"Deploy {self.wanted.application} {self.wanted.version}{where}"

    @property
    def proposal(self) -> str:
        """The branch of the pull request; the same for the same deployment."""
        parts = [self.wanted.application, self.wanted.environment, self.wanted.version]
        return f"homeport/deploy/{'-'.join(part for part in parts if part)}"


@dataclass(frozen=True)
class Deployed:
    """What came of it."""

    changes: tuple[Change, ...] = ()
    """Empty: it was there already."""
    commit: str = ""
    """The commit that has it; empty for a dry run."""
    branch: str = ""
    pull: int = 0
    url: str = ""
    """The pull request's."""
    pinned: tuple[str, ...] = ()


def message(request: Request, changes: tuple[Change, ...]) -> str:
    """The commit's message, with trailers that say who asked."""
    lines = [request.what, "", *(f"- {request.path}: {change.shown}" for change in changes), ""]
    who = f"{request.wanted.namespace}/" if request.wanted.namespace else ""
    told = {"Homeport-Deploy": f"{who}{request.wanted.application}@{request.wanted.version}", **request.trailers}
    return (
        "\n".join([*lines, *(f"{name}: {' '.join(text.split())}" for name, text in told.items() if text.strip())])
        + "\n"
    )


def deploy(request: Request, credentials: Credentials, wait: Callable[[float], None] = time.sleep) -> Deployed:
    """Write it, again and again while others are quicker. Blocks; raises GitFailed, BadManifest."""
    with tempfile.TemporaryDirectory(prefix="homeport-deploy-") as folder:
        mirror = Mirror(Path(folder), request.url, credentials)
        try:
            for attempt in range(TRIES):
                try:
                    return _once(request, mirror)
                except GitFailed as error:
                    if not error.passes or not _PUSHED.search(str(error)) or attempt == TRIES - 1:
                        raise
                # Others who lost the same race come back at other times.
                wait(random.uniform(0.1, 0.5 * 2**attempt))  # noqa: S311 - nothing is kept secret by it
            raise AssertionError("the last try returns or raises")
        finally:
            mirror.close()


def _once(request: Request, mirror: Mirror) -> Deployed:
    base, proposed = Ref(branch=request.branch), Ref(branch=request.proposal)
    listing = mirror.listing([base, proposed] if request.pull_request else [base])
    head = refs.target(base, listing)
    if head is None:
        raise GitFailed(f"{request.url} has no branch {request.branch}", passes=False)
    target, onto = request.branch, head
    edited = _edited(request, mirror, head)
    if request.pull_request and edited.changes:
        target, onto = request.proposal, refs.target(proposed, listing) or head
    there = edited if onto is head else _edited(request, mirror, onto)
    if not there.changes:
        # On the branch itself it is there; on the proposal's, only its pull request may be missing.
        return Deployed(edited.changes, onto.commit, target, pinned=edited.pinned)
    if request.dry_run:
        return Deployed(there.changes, "", target, pinned=there.pinned)
    files = {request.path: there.text.encode()}
    text = message(request, there.changes)
    made = commits.make(mirror, onto.commit, files, text, request.author, int(time.time()))
    commits.push(mirror, made, target)
    return Deployed(edited.changes, made, target, pinned=there.pinned)


def _edited(request: Request, mirror: Mirror, at: Target) -> Edited:
    mirror.fetch([at], f"refs/heads/{at.name}" if at.name else "")
    try:
        path = normal(request.path)
    except ValueError as error:
        raise BadManifest(str(error)) from None
    content = MirrorCheckout(mirror, at.commit).read([path])[path]
    try:
        return manifest.edit(content.decode(), request.wanted)
    except UnicodeDecodeError:
        raise BadManifest(f"{path} isn't UTF-8") from None


async def propose(request: Request, done: Deployed, forge: Forge) -> Deployed:
    """Open the pull request for what was pushed, if none is open. Raises ForgeFailed."""
    text = message(request, done.changes)
    found = await forge.pulls(request.branch)
    pull = next((one for one in found if one.branch == done.branch and not one.fork), None)
    if pull is None:
        pull = await forge.open(done.branch, request.branch, updates.title(text), updates.body(text))
    return Deployed(done.changes, done.commit, done.branch, pull.number, pull.url, done.pinned)
