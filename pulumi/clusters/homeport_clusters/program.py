"""From a ClusterFile to resources and outputs: the Pulumi program."""

from __future__ import annotations

from pathlib import Path

import pulumi

from homeport_clusters import components
from homeport_clusters.components import AddonsContent, Context, GitSourceContent, HomeportContent, Registered
from homeport_clusters.config import ClusterFile
from homeport_clusters.providers.base import ProviderError

FILE_TYPE = "homeport:clusters:File"
"""The type of the component that keeps where the file is, as ``path``."""


def whereabouts(path: Path, *, shared: bool) -> str:
    """What tells a file from others of the same name: its path on this machine.

    A backend that is ``shared`` is used by people and runners that have the file elsewhere: there, it is the path from
    the folder of its Git checkout on, that folder's name with it.
    """
    found = path.resolve()
    if shared:
        for folder in found.parents:
            if (folder / ".git").exists():
                return str(found.relative_to(folder.parent))
    return str(found)


class Source(pulumi.ComponentResource):
    """The file that the stack is made from. It is the first of the stack, so that a killed run has it, too."""

    def __init__(self, place: str) -> None:
        super().__init__(FILE_TYPE, "file", None)
        self.register_outputs({"path": place})


def declare(file: ClusterFile, folder: Path, place: str) -> None:
    """Declares everything. Paths in ``file`` are relative to ``folder``; ``place`` tells the file from others.

    Outputs: ``clusters`` (names, types, regions, endpoints), ``kubeconfigs`` (secret, by cluster), ``home``, and
    ``gitSource`` (namespace/name) where there is one.

    Raises ``pulumi.RunError``, which the engine tells without a trace, for what is wrong in the file or around it.
    """
    try:
        _declare(file, folder, place)
    except (ProviderError, OSError, ValueError) as error:
        raise pulumi.RunError(str(error)) from error


def _declare(file: ClusterFile, folder: Path, place: str) -> None:
    source = Source(place)
    context = Context(file.name, folder)
    made = {spec.name: components.cluster(spec, context, source) for spec in file.clusters}
    filled = {name: AddonsContent(cluster) for name, cluster in made.items()}
    home = made[file.home_cluster.name]
    after: list[pulumi.Resource] = list(filled[file.home_cluster.name].made)
    if file.homeport.enabled:
        after = [*after, *HomeportContent(file, home, after).made]
    if file.git_source and file.git_source.enabled:
        after = [*after, *GitSourceContent(file, home, after).made]
        pulumi.export("gitSource", f"{file.git_source.namespace}/{file.git_source.name}")
    if file.registration.enabled and file.homeport.enabled:
        for other in file.other_clusters:
            Registered(file, home, made[other.name], after)
    pulumi.export("home", file.home_cluster.name)
    pulumi.export(
        "clusters",
        {
            spec.name: {"type": spec.type, "region": spec.label, "endpoint": made[spec.name].endpoint}
            for spec in file.clusters
        },
    )
    pulumi.export("kubeconfigs", pulumi.Output.secret({name: cluster.kubeconfig for name, cluster in made.items()}))
