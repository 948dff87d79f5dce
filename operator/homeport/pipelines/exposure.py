"""Which branches' jobs see a deployment's secrets: what the ``repository:`` block has by default, and what is open.

Pure. What jobs use which environments and secrets is read off the jobs themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase

from homeport.pipelines import render
from homeport.pipelines.model import Pipeline, System
from homeport.pipelines.repository import Repository


def branches(pipeline: Pipeline) -> dict[str, tuple[str, ...]]:
    """By environment of the CI system: the branches whose jobs use it. Raises UnknownPin."""
    out: dict[str, dict[str, None]] = {}
    for job in render.jobs(pipeline):
        if job.environment:
            out.setdefault(job.environment, {}).update(dict.fromkeys(job.branches))
    return {name: tuple(found) for name, found in out.items()}


def repository(pipeline: Pipeline) -> Repository | None:
    """The block, with branches for the environments that name none: those whose jobs use them. Raises UnknownPin.

    On GitHub alone: an environment without branches is open to every branch there, and a branch may have any workflow.
    """
    block = pipeline.repository
    if block is None or block.forge != "github":
        return block
    used = branches(pipeline)
    environments = tuple(
        one if one.branches else one.model_copy(update={"branches": used.get(one.name, ())})
        for one in block.environments
    )
    return block.model_copy(update={"environments": environments})


def warnings(pipeline: Pipeline) -> tuple[str, ...]:
    """What lets jobs of any branch at a deployment's secrets, a sentence each. Raises UnknownPin."""
    block = repository(pipeline)
    # Gitea has no environments, and so no way to keep a secret from a branch.
    if block is None or block.forge == "gitea":
        return ()
    open_ = _github(pipeline, block) if block.forge == "github" else _gitlab(pipeline, block)
    return (*_everywhere(pipeline, block), *open_)


def _everywhere(pipeline: Pipeline, block: Repository) -> Iterator[str]:
    """Secrets of the whole repository that jobs of environments use."""
    told: dict[str, list[str]] = {}
    for job in render.jobs(pipeline):
        for name in {name for step in job.steps for name in step.secrets.values()} if job.environment else ():
            if name in block.secrets and job.environment not in told.get(name, ()):
                told.setdefault(name, []).append(job.environment)
    for name, environments in sorted(told.items()):
        places = " and ".join(f"environments[{one}].secrets" for one in environments)
        yield f"repository.secrets.{name}: jobs of every branch see it; write it under repository.{places}"


def _github(pipeline: Pipeline, block: Repository) -> Iterator[str]:
    there = {one.name for one in block.environments}
    for one in block.environments:
        if not one.branches:
            yield f"repository.environments[{one.name}]: every branch may deploy to it; write branches"
    for name in branches(pipeline) if System.github in pipeline.systems else ():
        if name not in there:
            yield (
                f"repository.environments: jobs use {name}, and GitHub makes it open to every branch when it isn't "
                f"there; write {{name: {name}}} with its secrets"
            )


def _gitlab(pipeline: Pipeline, block: Repository) -> Iterator[str]:
    """Environments' secrets are protected variables there: they reach protected branches alone."""
    used = branches(pipeline)
    patterns = [block.default_branch, *(rule.branch for rule in block.protection)]
    for one in block.environments:
        for branch in used.get(one.name, ()) if one.secrets else ():
            if any(fnmatchcase(branch, pattern) for pattern in patterns):
                continue
            yield (
                f"repository.environments[{one.name}].secrets: they reach protected branches alone, and {branch} isn't "
                f"one; write {{branch: {branch}}} under repository.protection"
            )
