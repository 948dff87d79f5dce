"""cluster.yaml's stack by the Automation API: what ``homeport cluster`` runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from homeport.cli import stacks
from homeport.cli.errors import Failure
from homeport_clusters import kubeconfigs, program
from homeport_clusters.config import ClusterFile
from homeport_clusters.providers.base import DELETE_DATA, REPLACE

PROJECT = "homeport-clusters"
"""The program's name for Pulumi, as in Pulumi.yaml."""


def project(backend: str | None = None) -> stacks.Project:
    """The project; its state in ``backend``, a URL of Pulumi's, or by default in files of this user."""
    return stacks.Project(PROJECT, backend)


def run(
    verb: stacks.Verb,
    file: ClusterFile,
    path: Path,
    *,
    backend: str | None = None,
    refresh: bool = False,
    delete_data: bool = False,
    replace: Sequence[str] = (),
    adopt: bool = False,
    tell: Callable[[str], None] | None = None,
) -> stacks.Result:
    """Runs one operation on the stack of ``file``, which is at ``path``.

    ``replace`` names clusters that may be deleted and made anew; with ``adopt`` it is the stack's from now on,
    whatever file it was made from.

    Raises Failure.
    """
    if unknown := sorted({*replace} - {cluster.name for cluster in file.clusters}):
        raise Failure(f"--replace {unknown[0]}: the file has no cluster of that name")
    place = program.whereabouts(path, shared=backend is not None)
    declare = partial(program.declare, file, path.parent, place)
    existing = [cluster.existing for cluster in file.clusters if cluster.existing is not None]
    environment = {
        REPLACE: ",".join(replace),
        kubeconfigs.FRESH: kubeconfigs.named([(spec.kubeconfig, spec.context) for spec in existing], path.parent),
    }
    if verb == "destroy" and delete_data:
        environment[DELETE_DATA] = file.name
    make = verb in ("up", "preview")
    with stacks.opened(project(backend), file.name, declare, tell=tell, make=make, environment=environment) as session:
        if not adopt:
            refuse_another(file.name, place, session.state())
        return session.run(verb, refresh=refresh)


def refuse_another(name: str, place: str, state: Mapping[str, Any]) -> None:
    """Raises Failure when the stack was made from another file: this one's `up` would remove all that it made."""
    kept = [
        str((entry.get("outputs") or {}).get("path") or "")
        for entry in state.get("resources") or ()
        if entry.get("type") == program.FILE_TYPE
    ]
    if kept and kept[0] and kept[0] != place:
        raise Failure(
            f"{name!r} was made from {kept[0]}, and this is {place}",
            "two files are two names: write another `name` into this one; "
            "if the file was moved, go on with --adopt-stack",
        )
