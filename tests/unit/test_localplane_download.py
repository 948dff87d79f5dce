"""Published binaries: taken only when their checksum matches, given up on at the first failure."""

from __future__ import annotations

import hashlib
import http.server
import io
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from localplane import download
from localplane.download import Downloads, Release
from localplane.tools import TOOLS, released_path

PROGRAM = b"#!/bin/sh\necho etcd\n"


class Handler(http.server.BaseHTTPRequestHandler):
    files: ClassVar[dict[str, bytes]] = {}
    asked: ClassVar[list[str]] = []

    def do_GET(self):
        self.asked.append(self.path)
        content = self.files.get(self.path)
        self.send_response(200 if content is not None else 404)
        self.end_headers()
        self.wfile.write(content or b"")

    def log_message(self, *arguments: object):
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    monkeypatch.setenv("HOMEPORT_CACHE", str(tmp_path))
    monkeypatch.delenv("HOMEPORT_NO_DOWNLOAD", raising=False)
    for variable in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    Handler.files, Handler.asked = {}, []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{running.server_address[1]}"
        monkeypatch.setattr(download, "release", lambda tool: Release(f"{base}/etcd.tar.gz", f"{base}/sums", "x/etcd"))
        yield base
        running.shutdown()


def publish(checksum_of: bytes | None = None) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        member = tarfile.TarInfo("x/etcd")
        member.size = len(PROGRAM)
        archive.addfile(member, io.BytesIO(PROGRAM))
    digest = hashlib.sha256(checksum_of or packed.getvalue()).hexdigest()
    Handler.files = {
        "/etcd.tar.gz": packed.getvalue(),
        "/sums": f"{'0' * 64}  other.tar.gz\n{digest}  etcd.tar.gz\n".encode(),
    }


def test_a_release_is_taken_and_cached(server: str):
    publish()
    path = Downloads().get(TOOLS["etcd"])
    assert path == released_path(TOOLS["etcd"])
    assert path.read_bytes() == PROGRAM
    assert path.stat().st_mode & 0o111
    Handler.asked.clear()
    assert Downloads().get(TOOLS["etcd"]) == path
    assert Handler.asked == ["/sums"]


def test_a_wrong_checksum_is_refused_and_ends_all_downloads(server: str):
    publish(checksum_of=b"something else")
    downloads = Downloads()
    assert downloads.get(TOOLS["etcd"]) is None
    assert not released_path(TOOLS["etcd"]).exists()
    Handler.asked.clear()
    assert downloads.get(TOOLS["kubectl"]) is None
    assert Handler.asked == []


def test_offline_is_noticed_fast(server: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(download, "PROBE_SECONDS", 0.3)
    monkeypatch.setattr(download.urllib.request, "urlopen", lambda *a, **k: time.sleep(5))  # a name lookup that hangs
    began = time.monotonic()
    assert Downloads().get(TOOLS["etcd"]) is None
    assert time.monotonic() - began < 2


def test_downloads_can_be_switched_off(server: str, monkeypatch: pytest.MonkeyPatch):
    publish()
    monkeypatch.setenv("HOMEPORT_NO_DOWNLOAD", "1")
    assert Downloads().get(TOOLS["etcd"]) is None
    assert Handler.asked == []


def test_releases_are_of_the_pinned_version(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(download, "goplatform", lambda: "linux/arm64")
    for name in ("etcd", "kube-apiserver", "kubectl"):
        found = download.release(TOOLS[name])
        assert found
        assert TOOLS[name].version in found.url
        assert "arm64" in found.url
    assert download.release(TOOLS["kwok"]) is None
    monkeypatch.setattr(download, "goplatform", lambda: "darwin/arm64")
    assert download.release(TOOLS["etcd"]) is None
