"""What isn't deleted: a namespace that others use, and the GitSource of a Project that isn't archived."""

from __future__ import annotations

from collections.abc import Sequence

from homeport.drivers.kubernetes import errors, types
from homeport.drivers.kubernetes.client import Client
from homeport_clusters.providers import base
from homeport_clusters.providers.base import ProviderError

_HOLDS = (
    types.PERSISTENT_VOLUME_CLAIM,
    types.STATEFUL_SET,
    types.DEPLOYMENT,
    types.DAEMON_SET,
    types.JOB,
    types.CRON_JOB,
    types.SECRET,
    types.CONFIG_MAP,
    types.SERVICE,
)
_EVERYWHERE = {"kube-root-ca.crt"}


async def full(client: Client, name: str, stack: str, leftovers: Sequence[str] = ()) -> None:
    """A namespace goes with all that is in it: not while it has what others put there, Homeport's kinds before all.

    ``leftovers`` (Kind/name) are what is known to be left there by what we made. Raises ProviderError.
    """
    own = [gvk for gvk in await client.kinds(types.PROJECT.api_version) if gvk.namespaced]
    for gvk in (*own, *_HOLDS):
        try:
            found, _ = await client.list(gvk, name)
        except errors.NotFound:  # Its definition was deleted a moment ago, and discovery hasn't heard of it yet.
            continue
        foreign = [
            item["metadata"]["name"]
            for item in found
            if not base.is_ours(item, stack)
            and item["metadata"]["name"] not in _EVERYWHERE
            and f"{gvk.kind}/{item['metadata']['name']}" not in leftovers
            and not item["metadata"].get("ownerReferences")
        ]
        if foreign:
            raise ProviderError(
                f"namespace {name} has what this didn't make ({gvk.kind} {', '.join(foreign[:3])}): "
                "move or delete it first, or `pulumi state delete` the namespace to leave it there"
            )


async def unarchived(client: Client, namespace: str, stack: str) -> None:
    """The Project goes after its GitSource: what would be refused there is refused before anything is gone.

    Raises ProviderError.
    """
    project = await client.get(types.PROJECT, namespace, namespace)
    if project is None or not base.is_ours(project, stack):
        return
    generation = project["metadata"].get("generation")
    conditions = (project.get("status") or {}).get("conditions") or ()
    if not any(
        entry["type"] == "Archived" and entry["status"] == "True" and entry.get("observedGeneration") == generation
        for entry in conditions
    ):
        raise ProviderError(
            f"the Project {namespace} isn't archived, so its GitSource isn't deleted either: write spec.archived: true "
            f"into it, wait with `kubectl wait --for=condition=Archived projects.homeport.dev/{namespace} "
            f"-n {namespace}`, then destroy again"
        )
