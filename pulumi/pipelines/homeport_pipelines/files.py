"""The rendered pipeline as commits: directly where Homeport made the repository and nobody has worked yet, else on a
branch with a pull request."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from homeport.drivers.forge import Forge
from homeport.drivers.forge.setup import Setup, Spec, blob_id
from homeport.plan.gitops.pulls import Pull
from homeport_clusters.providers.base import ProviderError

BRANCH = "homeport/pipeline-"
"""How our branches begin; then a digest of what is on them."""
TITLE = "The pipeline, as pipeline.yaml has it"
TEXT = (
    "`homeport pipeline up` rendered these files from `pipeline.yaml`. Merge them to have this pipeline; change "
    "`pipeline.yaml`, not the files, to have another."
)


@dataclass(frozen=True)
class Wanted:
    """Files on a branch; ``gone`` are those that were rendered once and aren't now."""

    branch: str
    contents: Mapping[str, str]
    gone: tuple[str, ...]
    message: str

    def changes(self, there: Mapping[str, str]) -> dict[str, str | None]:
        """What a commit must change in a tree (path -> blob id)."""
        out: dict[str, str | None] = {
            path: text for path, text in self.contents.items() if there.get(path) != blob_id(text)
        }
        return out | {path: None for path in self.gone if path in there}

    @property
    def topic(self) -> str:
        """The branch that a pull request of just these files has: the same in every run."""
        parts = [f"{path}\0{blob_id(text)}" for path, text in sorted(self.contents.items())]
        return BRANCH + hashlib.sha256("\n".join([*parts, *self.gone]).encode()).hexdigest()[:12]


def ids(contents: Mapping[str, str]) -> dict[str, str]:
    """Path -> blob id, as the state has it."""
    return {path: blob_id(text) for path, text in contents.items()}


async def commit(client: Setup, forge: Forge, wanted: Wanted, *, made: bool) -> Spec:
    """Commit what differs, unless that is done, or waits in a pull request. What it came to, for the state.

    ``made``: whether Homeport made the repository; in another one's branches nothing is committed without being asked.
    """
    changes = wanted.changes(await client.tree(wanted.branch) or {})
    if not changes:
        return {"pullRequest": ""}
    commits = await client.commits(wanted.branch)
    if not commits and not made:
        raise ProviderError(
            f"branch {wanted.branch} has no commit, so no pull request can be opened, and Homeport didn't make the "
            "repository, so it commits nothing to it directly: push a first commit, and run up again"
        )
    if made and commits <= 1:
        await client.commit(wanted.branch, "", wanted.message, changes)
        return {"pullRequest": ""}
    pull = await _pull(forge, wanted.branch)
    topic = pull.branch if pull else wanted.topic
    there = await client.tree(topic)
    left = wanted.changes(there) if there is not None else changes
    if left:
        await client.commit(topic, wanted.branch if there is None else "", wanted.message, left)
    if pull is None:
        pull = await forge.open(topic, wanted.branch, TITLE, TEXT)
    return {"pullRequest": pull.url or f"#{pull.number}"}


async def look(client: Setup, forge: Forge, wanted: Wanted) -> Spec:
    """Which files differ on the branch; none while the pull request that waits has them all."""
    changes = wanted.changes(await client.tree(wanted.branch) or {})
    pull = await _pull(forge, wanted.branch) if changes else None
    if pull is not None and not wanted.changes(await client.tree(pull.branch) or {}):
        return {"pullRequest": pull.url or f"#{pull.number}", "drift": []}
    return {"pullRequest": "", "drift": sorted(changes)}


async def _pull(forge: Forge, branch: str) -> Pull | None:
    """Our open pull request, if there is one."""
    found = (one for one in await forge.pulls(branch) if one.branch.startswith(BRANCH) and not one.fork)
    return next(found, None)
