"""A real Git server on loopback: git's own http-backend behind a small HTTP server, with a password where asked for."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import ssl
import subprocess
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from localgit import backend


class Repository:
    """A repository that is served; ``commit`` writes to it."""

    def __init__(self, root: Path, name: str) -> None:
        self.path = root / f"{name}.git"
        self.work = root / f"{name}.work"
        self.git("init", "--quiet", "--initial-branch=main", str(self.work), cwd=root)
        self.git("init", "--quiet", "--bare", "--initial-branch=main", str(self.path), cwd=root)
        for name in ("uploadpack.allowFilter", "http.receivepack"):
            self.configure(name, "true")

    def configure(self, name: str, value: str) -> None:
        """A setting of the repository that is served."""
        self.git("config", name, value, cwd=self.path)

    def git(self, *words: str, cwd: Path | None = None) -> str:
        names = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.com", "GIT_CONFIG_GLOBAL": os.devnull}
        names |= {"GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@example.com"}
        done = subprocess.run(
            ["git", *words], cwd=cwd or self.work, env={**os.environ, **names}, check=True, capture_output=True
        )
        return done.stdout.decode().strip()

    def commit(
        self,
        files: Mapping[str, str | bytes],
        branch: str = "main",
        tag: str = "",
        links: Mapping[str, str] | None = None,
    ) -> str:
        """Write files (and symbolic links) and push them; the commit."""
        for name, content in files.items():
            path = self.work / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        for name, target in (links or {}).items():
            (self.work / name).parent.mkdir(parents=True, exist_ok=True)
            (self.work / name).symlink_to(target)
        self.git("checkout", "--quiet", "-B", branch)
        self.git("add", "-A")
        self.git("commit", "--quiet", "--allow-empty", "-m", "more")
        if tag:
            self.git("tag", "-a", "-m", tag, tag)
        self.git("push", "--quiet", "--force", "--follow-tags", str(self.path), branch)
        return self.git("rev-parse", "HEAD")

    def remove_branch(self, name: str) -> None:
        self.git("push", "--quiet", str(self.path), f":{name}")


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: Any) -> None:
        """Clients break off, which is what many tests are about."""


class GitServer:
    """Serves the repositories below ``root`` over HTTP, or HTTPS with a certificate and its key."""

    def __init__(self, root: Path, tls: tuple[str, str] | None = None) -> None:
        self.root = root
        self._scheme = "https" if tls else "http"
        self.password = ""
        """What must be given, with the name ``reader``; empty lets everybody in."""
        self.failing = False
        """Answers every request with 503."""
        self.redirect = ""
        self.requests = 0
        self.authorizations: list[str] = []
        """What was sent to log in, with each request that did."""
        self.old = False
        """Speaks the protocol of git before 2.18, whatever a client asks for."""
        self.stalled: threading.Event | None = None
        """While set: half of what is asked for is sent, and the rest when this event comes."""
        self.stalls = threading.Event()
        """Comes when half was sent."""
        self.large: dict[str, bytes] = {}
        """What Git LFS has, by the SHA-256 that it gives for it."""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer._answer(self)

            do_POST = do_GET  # noqa: N815

            def log_message(self, *_: Any) -> None:
                pass

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if tls is not None:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(*tls)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def url(self, name: str) -> str:
        return f"{self._scheme}://127.0.0.1:{self._server.server_port}/{name}.git"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        self.requests += 1
        given = backend.read(request)
        wanted = "Basic " + base64.b64encode(f"reader:{self.password}".encode()).decode()
        if request.headers.get("Authorization"):
            self.authorizations.append(str(request.headers["Authorization"]))
        if self.failing:
            self._send(request, 503, {}, b"")
        elif self.redirect:
            self._send(request, 302, {"Location": f"{self.redirect}{request.path}"}, b"")
        elif self.password and request.headers.get("Authorization") != wanted:
            self._send(request, 401, {"WWW-Authenticate": 'Basic realm="git"'}, b"")
        elif request.path.endswith("/info/lfs/objects/batch"):
            self._send(request, 200, {"Content-Type": "application/vnd.git-lfs+json"}, self._batch(given))
        elif request.path.startswith("/lfs/"):
            content = self.large.get(request.path.removeprefix("/lfs/"))
            self._send(request, 404 if content is None else 200, {}, content or b"")
        else:
            self._serve(request, given)

    def _batch(self, given: bytes) -> bytes:
        base = f"{self._scheme}://127.0.0.1:{self._server.server_port}/lfs"
        found = [
            {**one, "actions": {"download": {"href": f"{base}/{one['oid']}", "header": {}}}}
            if one["oid"] in self.large
            else {**one, "error": {"code": 404, "message": "Object does not exist"}}
            for one in json.loads(given)["objects"]
        ]
        return json.dumps({"transfer": "basic", "objects": found}).encode()

    def _serve(self, request: BaseHTTPRequestHandler, given: bytes) -> None:
        answer = backend.answered(self.root, request, given, "" if self.old else None)
        self._send(request, answer.code, answer.headers, answer.body)

    def _send(self, request: BaseHTTPRequestHandler, code: int, headers: Mapping[str, str], body: bytes) -> None:
        request.send_response(code)
        for name, value in headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        if self.stalled is not None and b"PACK" in body:
            request.wfile.write(body[: len(body) // 2])
            request.wfile.flush()
            self.stalls.set()
            self.stalled.wait(60)
            body = body[len(body) // 2 :]
        with contextlib.suppress(OSError):  # Whoever asked may be gone.
            request.wfile.write(body)
