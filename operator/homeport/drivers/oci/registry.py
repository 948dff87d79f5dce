"""A registry: what a tag leads to, and blobs, each held against its digest while it comes.

Sources: https://github.com/opencontainers/distribution-spec/blob/main/spec.md,
https://distribution.github.io/distribution/spec/auth/token/
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from homeport.drivers.oci.credentials import Login, login_for
from homeport.drivers.oci.errors import AccessDenied, NoSuchImage, Unavailable, Unusable
from homeport.drivers.oci.reference import DIGEST, Reference

INDEXES = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
MANIFESTS = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")
LAYERS = {
    "application/vnd.oci.image.layer.v1.tar": "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip": "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd": "application/vnd.oci.image.layer.v1.tar+zstd",
    "application/vnd.docker.image.rootfs.diff.tar": "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip": "application/vnd.oci.image.layer.v1.tar+gzip",
}
"""Kinds of layers, and how the OCI calls them."""
DOCUMENT_LIMIT = 4 * 1024 * 1024
"""Bytes of a manifest or configuration."""
PIECE = 256 * 1024
SILENCE = 60.0
"""Seconds without a byte after which a download is given up."""
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True)
class Blob:
    """Something by its digest."""

    digest: str
    size: int
    media_type: str = ""


@dataclass(frozen=True)
class Image:
    """An image for one architecture."""

    reference: Reference
    digest: str
    """Of what the name leads to: the index, if there is one. This is what is kept, and told."""
    manifest: str
    """The digest of the manifest for the architecture."""
    config: Mapping[str, Any] = field(repr=False)
    layers: tuple[Blob, ...]


class Registry:
    """Registries by images' names. ``known``: credentials, of which each registry gets its own; ``mirrors``: URLs that
    are asked instead of a registry, ``*`` instead of every one. A mirror gets no credentials."""

    def __init__(self, known: Iterable[Login] = (), mirrors: Mapping[str, str] | None = None) -> None:
        self._known = tuple(known)
        self._mirrors = dict(mirrors or {})
        self._tokens: dict[tuple[str, str], str] = {}
        timeout = aiohttp.ClientTimeout(total=None, connect=20.0, sock_read=SILENCE)
        self._http = aiohttp.ClientSession(timeout=timeout, auto_decompress=False)

    def _base(self, reference: Reference) -> str:
        return self._mirrors.get(reference.registry) or self._mirrors.get("*") or reference.base

    async def close(self) -> None:
        """Let go of connections."""
        await self._http.close()

    async def image(self, reference: Reference, architecture: str) -> Image:
        """What a name leads to on an architecture, as Go names it. Raises ``errors.ImageError``."""
        kind, text = await self._document(
            reference, f"manifests/{reference.target}", (*INDEXES, *MANIFESTS), reference.digest
        )
        digest, manifest_digest = _digest(text), _digest(text)
        document = _json(reference, text)
        if "manifests" in document or kind in INDEXES:
            manifest_digest = _chosen(reference, document, architecture)
            _, text = await self._document(reference, f"manifests/{manifest_digest}", MANIFESTS, manifest_digest)
            document = _json(reference, text)
        try:
            config = document["config"]["digest"]
            layers = tuple(Blob(one["digest"], int(one["size"]), one["mediaType"]) for one in document["layers"])
        except (KeyError, TypeError, ValueError):
            raise Unusable(f"{reference}: what is there isn't an image of the OCI's or Docker's second kind") from None
        for layer in layers:
            if layer.media_type not in LAYERS or not DIGEST.fullmatch(layer.digest) or layer.size < 0:
                raise Unusable(f"{reference}: a layer of type {layer.media_type} can't be used")
        _, text = await self._document(reference, f"blobs/{config}", (), config)
        found = _json(reference, text)
        if found.get("architecture") != architecture or found.get("os") != "linux":
            raise NoSuchImage(
                f"{reference} is for {found.get('os')}/{found.get('architecture')}, not linux/{architecture}"
            )
        return Image(reference, digest, manifest_digest, found, layers)

    async def blob(self, reference: Reference, blob: Blob) -> AsyncIterator[bytes]:
        """A blob in pieces. Raises ``errors.ImageError``, also after all has come: then it isn't what it should be."""
        summed, size = hashlib.sha256(), 0
        async with self.get(reference, f"blobs/{blob.digest}") as response:
            try:
                async for piece in response.content.iter_chunked(PIECE):
                    summed.update(piece)
                    size += len(piece)
                    if size > blob.size:
                        break
                    yield piece
            except (aiohttp.ClientError, TimeoutError) as error:
                raise Unavailable(f"{reference}: the download broke: {error or type(error).__name__}") from None
        if size != blob.size or f"sha256:{summed.hexdigest()}" != blob.digest:
            raise Unusable(f"{reference}: what came for {blob.digest} is something else")

    async def _document(
        self, reference: Reference, path: str, accepted: tuple[str, ...], digest: str
    ) -> tuple[str, bytes]:
        async with self.get(reference, path, accepted) as response:
            try:
                text = bytearray()
                async for piece in response.content.iter_chunked(PIECE):
                    text += piece
                    if len(text) > DOCUMENT_LIMIT:
                        raise Unusable(f"{reference}: {path} is larger than {DOCUMENT_LIMIT // 1024 // 1024} MiB")
            except (aiohttp.ClientError, TimeoutError) as error:
                raise Unavailable(f"{reference}: {error or type(error).__name__}") from None
            kind = response.headers.get("Content-Type", "").partition(";")[0]
        if digest and _digest(bytes(text)) != digest:
            raise Unusable(f"{reference}: what came for {digest} is something else")
        return kind, bytes(text)

    @asynccontextmanager
    async def get(
        self,
        reference: Reference,
        path: str,
        accepted: tuple[str, ...] = (),
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """What is at a path below an image's name; the answer is 200, or 304. Raises ``errors.ImageError``."""
        where = (reference.registry, reference.repository)
        url = f"{self._base(reference)}/v2/{reference.repository}/{path}"
        wanted = {"Accept": ", ".join(accepted) or "*/*", "Accept-Encoding": "identity", **(headers or {})}
        try:
            response = await self._ask(method, url, where, wanted)
            if response.status == 401:
                challenge = response.headers.get("WWW-Authenticate", "")
                response.release()
                self._tokens[where] = await self._authorization(reference, challenge)
                response = await self._ask(method, url, where, wanted)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Unavailable(
                f"{reference}: registry {reference.registry} gives no answer: {error or type(error).__name__}"
            ) from None
        try:
            _hold(reference, response.status, response.headers)
            yield response
        finally:
            response.close()

    async def _ask(
        self, method: str, url: str, where: tuple[str, str], headers: Mapping[str, str]
    ) -> aiohttp.ClientResponse:
        token = self._tokens.get(where)
        return await self._http.request(
            method, url, headers={**headers, **({"Authorization": token} if token is not None else {})}
        )

    async def _authorization(self, reference: Reference, challenge: str) -> str:
        """The header that a registry asks for."""
        mirrored = self._base(reference) != reference.base
        login = None if mirrored else login_for(reference, self._known)
        scheme, _, rest = challenge.partition(" ")
        basic = _basic(login) if login is not None else None
        if scheme.lower() == "basic":
            if basic is None:
                raise AccessDenied(_denied(reference))
            return basic
        found = dict(_PARAMETER.findall(rest))
        realm = urlsplit(found.get("realm", ""))
        same = realm.netloc == urlsplit(self._base(reference)).netloc
        if scheme.lower() != "bearer" or not (realm.scheme == "https" or (realm.scheme == "http" and same)):
            raise Unusable(f"{reference}: registry {reference.registry} asks for credentials in a way that isn't known")
        query = {"scope": found.get("scope") or f"repository:{reference.repository}:pull"}
        if "service" in found:
            query["service"] = found["service"]
        headers = {"Authorization": basic} if basic is not None else {}
        async with self._http.get(realm.geturl(), params=query, headers=headers, allow_redirects=False) as response:
            if response.status in (400, 401, 403):
                raise AccessDenied(_denied(reference))
            _hold(reference, response.status, response.headers)
            answer = _json(reference, await response.content.read(DOCUMENT_LIMIT))
        token = answer.get("token") or answer.get("access_token")
        if not isinstance(token, str):
            raise Unusable(f"{reference}: registry {reference.registry} gave no token")
        return f"Bearer {token}"


def _basic(login: Login) -> str:
    return "Basic " + base64.b64encode(f"{login.user}:{login.password}".encode()).decode()


def _hold(reference: Reference, status: int, headers: Mapping[str, str]) -> None:
    if status in (401, 403):
        raise AccessDenied(_denied(reference))
    if status == 404:
        raise NoSuchImage(f"{reference}: registry {reference.registry} has no such image")
    if status not in (200, 304):
        after = headers.get("Retry-After", "")
        pause = float(after) if after.isdecimal() else 0.0
        raise Unavailable(f"{reference}: registry {reference.registry} answers {status}", pause)


def _denied(reference: Reference) -> str:
    return (
        f"{reference}: registry {reference.registry} doesn't let us have it; check the name, and name a Secret of type "
        "kubernetes.io/dockerconfigjson in imagePullSecrets"
    )


def _chosen(reference: Reference, index: Mapping[str, Any], architecture: str) -> str:
    for entry in index.get("manifests") or ():
        platform = entry.get("platform") or {}
        if (platform.get("os"), platform.get("architecture")) == ("linux", architecture):
            digest = str(entry.get("digest"))
            if DIGEST.fullmatch(digest):
                return digest
    raise NoSuchImage(f"{reference} isn't there for linux/{architecture}")


def _digest(text: bytes) -> str:
    return f"sha256:{hashlib.sha256(text).hexdigest()}"


def _json(reference: Reference, text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise Unusable(f"{reference}: what registry {reference.registry} answers isn't JSON")
    return found
