"""Stands between Homeport and a real forge: counts what is asked, and lets a test act after one answer."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import urllib3


class ForgeProxy:
    """Hands requests on to ``target``. ``after``: called with method and path when the forge has answered."""

    def __init__(self, target: str) -> None:
        self.asked: list[tuple[str, str]] = []
        self.after: Callable[[str, str], Any] = lambda method, path: None
        pool, outer = urllib3.PoolManager(), self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                keep = {name: value for name, value in self.headers.items() if name.lower() != "host"}
                answer = pool.request(
                    self.command, target + self.path, body=body or None, headers=keep, retries=False, timeout=60.0
                )
                path = self.path.partition("?")[0].removeprefix("/api/v1")
                outer.asked.append((self.command, path))
                outer.after(self.command, path)
                self.send_response(answer.status)
                for name in ("Content-Type", "ETag", "Retry-After"):
                    if name in answer.headers:
                        self.send_header(name, answer.headers[name])
                self.send_header("Content-Length", str(len(answer.data)))
                self.end_headers()
                self.wfile.write(answer.data)

            do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815

            def log_message(self, *_: Any) -> None:
                pass

            def handle(self) -> None:
                with contextlib.suppress(ConnectionError):
                    super().handle()

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def writes(self) -> list[tuple[str, str]]:
        """What was asked that changes something."""
        return [asked for asked in self.asked if asked[0] != "GET"]

    def stop(self) -> None:
        """Close the port."""
        self._server.shutdown()
        self._server.server_close()


def kill_engine(process: int) -> bool:
    """Kill Pulumi's engine that a process has started, as a power cut would; whether there was one."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(status.read_text().rpartition(")")[2].split()[1])
            words = (status.parent / "cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError, IndexError):
            continue
        if parent == process and words[0].endswith(b"pulumi"):
            os.kill(int(status.parent.name), signal.SIGKILL)
            return True
    return False
