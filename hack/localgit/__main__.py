"""``python -m localgit``: serves the repositories of a folder, and tells of pushes to them as GitHub would."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import hmac
import json
import subprocess
import sys
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from localgit import backend

HOOKS = "hooks.json"
"""In the folder: [{url, token}], who is told of each push. Read each time."""
PATIENCE = 5.0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    root = argparse.ArgumentParser(prog="python -m localgit", description=__doc__)
    root.add_argument("--directory", type=Path, required=True, help="where the repositories are, each as NAME.git")
    root.add_argument("--listen", required=True, metavar="HOST:PORT")
    return root


def tell(directory: Path, repository: str) -> None:
    """Send a push event to everybody who is to know; whoever can't be told finds out at the next poll."""
    bare = ["git", "-C", str(directory / repository)]
    head = subprocess.run([*bare, "rev-parse", "main"], capture_output=True, text=True, check=False).stdout.strip()
    body = json.dumps({"ref": "refs/heads/main", "after": head, "repository": {"name": repository}}).encode()
    hooks: list[dict[str, str]] = []
    with contextlib.suppress(OSError, ValueError):
        hooks = json.loads((directory / HOOKS).read_text())
    for hook in hooks:
        signature = "sha256=" + hmac.new(hook["token"].encode(), body, hashlib.sha256).hexdigest()
        headers = {"Content-Type": "application/json", "X-GitHub-Event": "push", "X-GitHub-Delivery": str(uuid.uuid4())}
        request = Request(hook["url"], body, headers | {"X-Hub-Signature-256": signature})
        try:
            with urlopen(request, timeout=PATIENCE) as answer:  # nosec B310 - the address is ours
                print(f"told of {head[:8]}: {answer.status}", flush=True)
        except OSError as error:
            print(f"couldn't tell of {head[:8]}: {error}", flush=True)


def serve(directory: Path, host: str, port: int) -> None:
    """Serve until SIGTERM."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            answer = backend.answered(directory, self, backend.read(self))
            backend.send(self, answer)
            if self.command == "POST" and self.path.endswith("/git-receive-pack") and answer.code == 200:
                tell(directory, self.path.split("/")[1])

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer((host, port), Handler)
    server.daemon_threads = True
    print(f"a Git server on http://{host}:{port}", flush=True)
    server.serve_forever()


def main() -> int:
    """Run it."""
    arguments = parser().parse_args()
    host, _, port = arguments.listen.rpartition(":")
    with contextlib.suppress(KeyboardInterrupt):
        serve(arguments.directory, host, int(port))
    return 0


if __name__ == "__main__":
    sys.exit(main())
