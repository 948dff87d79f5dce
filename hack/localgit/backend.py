"""One request of git's smart HTTP protocol, answered by ``git http-backend`` as a web server would have it: by CGI.

Source: https://git-scm.com/docs/git-http-backend
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import NamedTuple


class Answer(NamedTuple):
    """What is sent back."""

    code: int
    headers: Mapping[str, str]
    body: bytes


def read(request: BaseHTTPRequestHandler) -> bytes:
    """The whole body of a request."""
    if request.headers.get("Transfer-Encoding") == "chunked":
        return b"".join(iter(lambda: _chunk(request), b""))
    return request.rfile.read(int(request.headers.get("Content-Length") or 0))


def _chunk(request: BaseHTTPRequestHandler) -> bytes:
    size = int(request.rfile.readline().strip() or b"0", 16)
    data = request.rfile.read(size)
    request.rfile.readline()
    return data


def answered(root: Path, request: BaseHTTPRequestHandler, given: bytes, protocol: str | None = None) -> Answer:
    """What git says to a request to a repository below ``root``. ``protocol``: instead of what the client asks for."""
    path, _, query = request.path.partition("?")
    environment = {
        **os.environ,
        "GIT_PROJECT_ROOT": str(root),
        "GIT_HTTP_EXPORT_ALL": "1",
        "REQUEST_METHOD": request.command,
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "CONTENT_TYPE": request.headers.get("Content-Type") or "",
        "CONTENT_LENGTH": str(len(given)),
        "HTTP_CONTENT_ENCODING": request.headers.get("Content-Encoding") or "",
        "GIT_PROTOCOL": (request.headers.get("Git-Protocol") or "") if protocol is None else protocol,
    }
    done = subprocess.run(["git", "http-backend"], env=environment, input=given, capture_output=True, check=False)
    head, _, body = done.stdout.partition(b"\r\n\r\n")
    headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line)
    return Answer(int(headers.pop("Status", "200").split()[0]), headers, body)


def send(request: BaseHTTPRequestHandler, answer: Answer) -> None:
    """Send it."""
    request.send_response(answer.code)
    for name, value in answer.headers.items():
        request.send_header(name, value)
    request.send_header("Content-Length", str(len(answer.body)))
    request.end_headers()
    request.wfile.write(answer.body)
