"""Where a GitSource's forge is, for those who write there on its behalf: commit statuses, pull requests of updates."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from homeport.api.conditions import Reason
from homeport.api.gitsource import GitSourceSpec
from homeport.api.labels import OwnerKey
from homeport.api.resource import Resource
from homeport.drivers.forge import api_url, repository_of
from homeport.engine.gitops.inputs import Lacking
from homeport.outcome import Stalled, Wait

if TYPE_CHECKING:
    from homeport.engine.context import Context


@dataclass(frozen=True)
class Place:
    """One repository on a forge, and the token to write to it."""

    provider: str
    url: str
    repository: str
    token: str = field(repr=False)


async def place(source: Resource[GitSourceSpec], reader: OwnerKey, context: Context) -> Place:
    """The forge of a source's pull requests; ``reader`` is woken when its token changes. Raises Lacking, ApiError."""
    settings = source.spec.pull_requests
    if settings is None:
        text = f"GitSource {source.name} names no forge; write pullRequests.forge there (enabled: false: no previews)"
        raise Lacking(Stalled(Reason.INVALID_SPEC, text))
    forge = settings.forge
    content = await context.gitops.inputs.content(reader, "Secret", forge.token_secret_ref.name)
    assert content is not None
    token = content.data.get(forge.token_secret_ref.key, b"").decode(errors="replace").strip()
    if not token:
        text = f"Secret {forge.token_secret_ref.name} has nothing in the key {forge.token_secret_ref.key}"
        raise Lacking(Wait(Reason.DEPENDENCY_NOT_READY, text))
    try:
        repository = forge.repository or repository_of(source.spec.url, forge.provider)
    except ValueError as error:
        raise Lacking(Stalled(Reason.INVALID_SPEC, str(error))) from None
    return Place(forge.provider, api_url(forge.provider, forge.url, source.spec.url), repository, token)
