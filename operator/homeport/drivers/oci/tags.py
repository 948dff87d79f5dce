"""An image's tags, page by page, and the digest that a tag leads to now.

Source: https://github.com/opencontainers/distribution-spec/blob/main/spec.md#listing-tags; ETags are for registries
that have them (the specification knows none).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from urllib.parse import parse_qs, urlencode, urlsplit

import aiohttp

from homeport.drivers.oci.errors import Unavailable, Unusable
from homeport.drivers.oci.reference import DIGEST, Reference
from homeport.drivers.oci.registry import INDEXES, MANIFESTS, Registry

PAGE = 1000
"""Tags that are asked for at a time; registries may give fewer."""
TAGS = 50_000
"""Tags of an image, at most."""
_LIMIT = 8 * 1024 * 1024
_NEXT = re.compile(r'<([^>]*)>\s*;\s*rel="?next"?')
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)


@dataclass(frozen=True)
class Listed:
    """An image's tags. ``etag`` is the registry's for all of them; empty when it has none, or there were many pages."""

    tags: tuple[str, ...]
    etag: str = ""


async def tags(registry: Registry, reference: Reference, before: Listed | None = None) -> Listed:
    """All tags; ``before`` itself when the registry says that nothing is new. Raises ``errors.ImageError``."""
    found: dict[str, None] = {}
    query, etag, pages = f"n={PAGE}", "", 0
    while True:
        headers = {"If-None-Match": before.etag} if before is not None and before.etag and pages == 0 else {}
        async with registry.get(reference, f"tags/list?{query}", headers=headers) as answer:
            if answer.status == 304 and before is not None:
                return before
            etag = answer.headers.get("ETag", "") if pages == 0 else ""
            names, pages = await _names(reference, answer), pages + 1
            more = _NEXT.search(answer.headers.get("Link", ""))
        known = len(found)
        found.update(dict.fromkeys(names))
        if len(found) > TAGS:
            raise Unusable(f"{reference.registry}/{reference.repository} has more than {TAGS} tags; remove old ones")
        if more is None or len(found) == known:
            return Listed(tuple(found), etag if more is None else "")
        # Only its question is followed, never to another host or path.
        asked = parse_qs(urlsplit(more[1]).query)
        query = urlencode([(name, asked[name][0]) for name in ("n", "last", "next_page") if name in asked])


async def digest(registry: Registry, reference: Reference) -> str:
    """The digest that a tag leads to now: of the index, if there is one. Raises ``errors.ImageError``."""
    path = f"manifests/{reference.tag}"
    async with registry.get(reference, path, (*INDEXES, *MANIFESTS), method="HEAD") as answer:
        found = answer.headers.get("Docker-Content-Digest", "")
    if not DIGEST.fullmatch(found):
        raise Unusable(f"{reference}: registry {reference.registry} doesn't say its digest")
    return found


async def _names(reference: Reference, answer: aiohttp.ClientResponse) -> list[str]:
    where = f"{reference.registry}/{reference.repository}"
    text = bytearray()
    try:
        async for piece in answer.content.iter_chunked(65536):
            text += piece
            if len(text) > _LIMIT:
                raise Unusable(f"{where}: a page of tags is larger than {_LIMIT >> 20} MiB")
        names = (json.loads(text) or {}).get("tags") or []
    except (aiohttp.ClientError, TimeoutError) as error:
        raise Unavailable(f"{where}: {error or type(error).__name__}") from None
    except (ValueError, AttributeError):
        raise Unusable(f"{where}: what its registry answers is no list of tags") from None
    return [name for name in names if isinstance(name, str) and _TAG.fullmatch(name)]
