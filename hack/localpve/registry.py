"""A registry that has every image: a small one, made up of its name. For machines that reach no other.

Whoever pulls gets what the distribution specification says (manifests by tag and by digest, blobs by digest): an image
of one layer with users and groups in it, and a configuration. Nothing in it can be run.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

from aiohttp import web

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/srv:/bin/sh\n",
    "etc/group": "root:x:0:\napp:x:1000:\n",
    "etc/os-release": 'ID=simulated\nNAME="made up"\n',
}


def image(name: str, tag: str) -> dict[str, tuple[str, bytes]]:
    """The blobs of an image by digest, with their media types; the manifest is the last one."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        for path, text in {**FILES, "etc/image": f"{name}:{tag}\n"}.items():
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(text), 0o644
            archive.addfile(entry, io.BytesIO(text.encode()))
    layer = gzip.compress(tar.getvalue(), mtime=0)
    program = f"/usr/bin/{name.rsplit('/', 1)[-1]}"
    config = _json({
        "architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [_digest(tar.getvalue())]},
        "config": {"Entrypoint": [program], "Env": ["PATH=/usr/bin:/bin"], "WorkingDir": "/"},
    })  # fmt: skip
    manifest = _json({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, "digest": _digest(config), "size": len(config)},
        "layers": [{"mediaType": LAYER, "digest": _digest(layer), "size": len(layer)}],
    })  # fmt: skip
    return {_digest(data): (kind, data) for kind, data in ((LAYER, layer), (CONFIG, config), (MANIFEST, manifest))}


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def _digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Registry:
    """What it has made up so far, and how it is asked."""

    def __init__(self, memory: Path) -> None:
        """``memory``: a file with what was pulled by tag, so that its digest is known after a restart, too."""
        self._memory = memory
        self.blobs: dict[str, tuple[str, bytes]] = {}
        self.pulled: list[str] = json.loads(memory.read_text()) if memory.exists() else []
        for known in self.pulled:
            name, _, tag = known.rpartition(":")
            self.blobs |= image(name, tag)

    def app(self) -> web.Application:
        """The application."""
        out = web.Application()
        out.router.add_get("/v2/", self._root)
        out.router.add_get("/v2/{name:.+}/manifests/{reference}", self._manifest)
        out.router.add_get("/v2/{name:.+}/blobs/{digest}", self._blob)
        return out

    async def _root(self, request: web.Request) -> web.Response:
        return web.json_response({})

    async def _manifest(self, request: web.Request) -> web.Response:
        name, reference = request.match_info["name"], request.match_info["reference"]
        if not reference.startswith("sha256:"):
            if (known := f"{name}:{reference}") not in self.pulled:
                self.pulled.append(known)
                self._memory.write_text(json.dumps(self.pulled))
            made = image(name, reference)
            self.blobs |= made
            reference = list(made)[-1]
        return self._answer(reference, "MANIFEST_UNKNOWN")

    async def _blob(self, request: web.Request) -> web.Response:
        return self._answer(request.match_info["digest"], "BLOB_UNKNOWN")

    def _answer(self, digest: str, unknown: str) -> web.Response:
        found = self.blobs.get(digest)
        if found is None:
            return web.json_response({"errors": [{"code": unknown, "message": digest}]}, status=404)
        kind, data = found
        return web.Response(body=data, content_type=kind, headers={"Docker-Content-Digest": digest})
