"""As much of an API client as starting a control plane takes: JSON over HTTPS with the standard library."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import ssl
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit


class Client:
    """Talks to the API server that a kubeconfig written by `certificates` names."""

    def __init__(self, kubeconfig: Path) -> None:
        document = json.loads(kubeconfig.read_text())
        cluster, user = document["clusters"][0]["cluster"], document["users"][0]["user"]
        self._address = urlsplit(cluster["server"]).netloc
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self._context = ssl.create_default_context(cadata=authority)
        with tempfile.NamedTemporaryFile("wb", suffix=".pem") as both:
            for part in ("client-certificate-data", "client-key-data"):
                both.write(base64.b64decode(user[part]))
            both.flush()
            self._context.load_cert_chain(both.name)

    def request(self, method: str, path: str, body: object = None, timeout: float = 10.0) -> tuple[int, Any]:
        """One request: the status code and the decoded answer."""
        connection = http.client.HTTPSConnection(self._address, timeout=timeout, context=self._context)
        headers = {"Content-Type": "application/json", "User-Agent": "localplane"}
        with contextlib.closing(connection):
            connection.request(method, path, json.dumps(body) if body is not None else None, headers)
            response = connection.getresponse()
            content = response.read()
        try:
            return response.status, json.loads(content)
        except ValueError:
            return response.status, content.decode(errors="replace")

    def lines(self, path: str, timeout: float) -> Iterator[bytes]:
        """The lines of an answer that is a stream (a watch), as they come."""
        connection = http.client.HTTPSConnection(self._address, timeout=timeout, context=self._context)
        with contextlib.closing(connection):
            connection.request("GET", path, headers={"User-Agent": "localplane"})
            response = connection.getresponse()
            while line := response.readline():
                yield line

    def ready(self) -> bool:
        """Whether the API server says that it is ready."""
        try:
            return self.request("GET", "/readyz", timeout=2.0)[0] == 200
        except OSError:
            return False


def answers(port: int, path: str, tls: bool, timeout: float = 2.0) -> bool:
    """Whether a local server answers 200 on a path; who it is was settled when it was started."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    connection: http.client.HTTPConnection = (
        http.client.HTTPSConnection("127.0.0.1", port, timeout=timeout, context=context)
        if tls
        else http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    )
    try:
        with contextlib.closing(connection):
            connection.request("GET", path)
            return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False


def wait_for(condition: Callable[[], bool], timeout: float, every: float = 0.05) -> bool:
    """Ask until it's so; False when the time is up."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(every)
    return True
