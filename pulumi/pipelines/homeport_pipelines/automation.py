"""A repository's stack by the Automation API: what ``homeport pipeline up`` runs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import partial

from homeport.cli import stacks
from homeport.pipelines.repository import Repository
from homeport_pipelines import program
from homeport_pipelines.provider import DELETE

PROJECT = "homeport-pipelines"
"""The program's name for Pulumi, as in Pulumi.yaml."""


def project(backend: str | None = None) -> stacks.Project:
    """The project; its state in ``backend``, a URL of Pulumi's, or by default in files of this user."""
    return stacks.Project(PROJECT, backend)


def stack(block: Repository) -> str:
    """The stack's name: one for each repository of each forge."""
    where = f"{block.address}/{block.full_name}".lower()
    return f"{block.name}-{hashlib.sha256(where.encode()).hexdigest()[:8]}"


def run(
    verb: stacks.Verb,
    block: Repository,
    prepare: Callable[[], program.Prepared],
    *,
    backend: str | None = None,
    refresh: bool = False,
    delete: str = "",
    environment: Mapping[str, str] | None = None,
    tell: Callable[[str], None] | None = None,
) -> stacks.Result:
    """Run one operation on the stack of ``block``. ``delete`` names the repository that may be deleted.

    ``prepare`` is called where the program is needed: refreshing and destroying need none. Raises Failure and
    ProviderError.
    """
    makes = verb in ("up", "preview")
    declare = partial(program.declare, prepare()) if makes else _nothing
    variables = {**(environment or {}), **({DELETE: delete} if delete else {})}
    with stacks.opened(
        project(backend), stack(block), declare, tell=tell, make=makes, environment=variables
    ) as session:
        return session.run(verb, refresh=refresh)


def _nothing() -> None:
    """The program of an operation that runs none."""
