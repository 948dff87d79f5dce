"""A real registry (distribution's) on loopback, and images in it."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import os
import socket
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from localplane import binaries

USER, PASSWORD = "puller", "pull-me"
BASIC = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
HTPASSWD = f"{USER}:$2b$04$KU1lEd1IlOE8diGRWLfTlOPWnk8tF5qeqb/xhGrSmYt4q6..//7pO\n"  # bcrypt of PASSWORD


@dataclass
class Served:
    """A registry on a port of this machine."""

    port: int

    def name(self, path: str) -> str:
        return f"127.0.0.1:{self.port}/{path}"

    async def push(self, path: str, tag: str, layers: list[bytes], **config: Any) -> str:
        """An image for amd64 and arm64; the index's digest."""
        async with aiohttp.ClientSession(headers={"Authorization": BASIC}) as http:
            manifests = []
            for architecture in ("arm64", "amd64"):
                document = {
                    "architecture": architecture,
                    "os": "linux",
                    "config": config,
                    "rootfs": {"type": "layers", "diff_ids": [digest_of(gzip.decompress(one)) for one in layers]},
                    "history": [{"created_by": "test"}],
                }
                described = [await self._blob(http, path, one) for one in (json.dumps(document).encode(), *layers)]
                kinds = ["application/vnd.oci.image.config.v1+json"]
                kinds += ["application/vnd.oci.image.layer.v1.tar+gzip"] * len(layers)
                entries = [{**one, "mediaType": kind} for one, kind in zip(described, kinds, strict=True)]
                kind = "application/vnd.oci.image.manifest.v1+json"
                manifest = {"schemaVersion": 2, "mediaType": kind, "config": entries[0], "layers": entries[1:]}
                made = await self._manifest(http, path, "", manifest)
                manifests.append({**made, "platform": {"os": "linux", "architecture": architecture}})
            kind = "application/vnd.oci.image.index.v1+json"
            index = {"schemaVersion": 2, "mediaType": kind, "manifests": manifests}
            return str((await self._manifest(http, path, tag, index))["digest"])

    async def _blob(self, http: aiohttp.ClientSession, path: str, content: bytes) -> dict[str, Any]:
        base = f"http://127.0.0.1:{self.port}"
        async with http.post(f"{base}/v2/{path}/blobs/uploads/") as begun:
            assert begun.status == 202, await begun.text()
            location = begun.headers["Location"]
        where = location if location.startswith("http") else base + location
        async with http.put(f"{where}&digest={digest_of(content)}", data=content) as done:
            assert done.status == 201, await done.text()
        return {"digest": digest_of(content), "size": len(content)}

    async def _manifest(
        self, http: aiohttp.ClientSession, path: str, tag: str, document: dict[str, Any]
    ) -> dict[str, Any]:
        text, kind = json.dumps(document).encode(), document["mediaType"]
        url = f"http://127.0.0.1:{self.port}/v2/{path}/manifests/{tag or digest_of(text)}"
        async with http.put(url, data=text, headers={"Content-Type": kind}) as done:
            assert done.status == 201, await done.text()
        return {"mediaType": kind, "digest": digest_of(text), "size": len(text)}


def digest_of(text: bytes) -> str:
    return f"sha256:{hashlib.sha256(text).hexdigest()}"


def layer(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return gzip.compress(buffer.getvalue(), mtime=0)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[dict[str, Any]], Served]]:
    program = binaries.ensure(("registry",))["registry"]
    running: list[subprocess.Popen[bytes]] = []

    def start(auth: dict[str, Any]) -> Served:
        folder, port = tmp_path_factory.mktemp("registry"), free_port()
        config = {
            "version": "0.1",
            "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
            "http": {"addr": f"127.0.0.1:{port}"},
            **({"auth": auth} if auth else {}),
        }
        (folder / "config.yml").write_text(json.dumps(config))
        with (folder / "log").open("wb") as log:
            running.append(
                subprocess.Popen([program, "serve", str(folder / "config.yml")], stdout=log, stderr=log,
                                 env={**os.environ, "OTEL_TRACES_EXPORTER": "none"})
            )  # fmt: skip
        until = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
            except OSError:
                assert running[-1].poll() is None, (folder / "log").read_text()
                assert time.monotonic() < until
                time.sleep(0.05)
            else:
                return Served(port)

    yield start
    for process in running:
        process.terminate()
        process.wait()


@pytest.fixture(scope="module")
def registry(serve: Callable[[dict[str, Any]], Served]) -> Served:
    return serve({})


@pytest.fixture(scope="module")
def locked(serve: Callable[[dict[str, Any]], Served], tmp_path_factory: pytest.TempPathFactory) -> Served:
    path = tmp_path_factory.mktemp("auth") / "htpasswd"
    path.write_text(HTPASSWD)
    return serve({"htpasswd": {"realm": "test", "path": str(path)}})
