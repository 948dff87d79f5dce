"""A real Gitea on loopback: its API, Git over HTTP, and webhooks that it delivers itself."""

from __future__ import annotations

import base64
import json
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import pytest
import urllib3

from localplane import binaries
from localplane.tools import has_compiler

START = 4 * float(os.environ.get("HOMEPORT_TEST_PATIENCE", "30"))
"""Seconds until it answers; it makes its database first."""
PASSWORD = "gitea-test-password"
_GUARD = ("setpriv", "--pdeathsig", "TERM") if shutil.which("setpriv") else ()
"""Ends it when the tests are killed, too."""
_INI = """
RUN_MODE = prod
RUN_USER = {user}
I_AM_BEING_UNSAFE_RUNNING_AS_ROOT = true
WORK_PATH = {root}
[server]
PROTOCOL = http
HTTP_ADDR = 127.0.0.1
HTTP_PORT = {port}
ROOT_URL = http://127.0.0.1:{port}/
STATIC_ROOT_PATH = {static}
DISABLE_SSH = true
OFFLINE_MODE = true
[database]
DB_TYPE = sqlite3
PATH = {root}/gitea.db
[repository]
ROOT = {root}/repositories
[security]
INSTALL_LOCK = true
SECRET_KEY = {key}
PASSWORD_HASH_ALGO = pbkdf2$320$50
[webhook]
ALLOWED_HOST_LIST = loopback
DELIVER_TIMEOUT = 10
[service]
DISABLE_REGISTRATION = true
[indexer]
ISSUE_INDEXER_TYPE = db
[actions]
ENABLED = false
[queue]
TYPE = channel
[packages]
ENABLED = false
[cron]
ENABLED = false
[log]
MODE = console
LEVEL = Warn
"""


class GiteaError(Exception):
    """What it answered."""

    def __init__(self, code: int, said: str) -> None:
        super().__init__(f"{code}: {said}")
        self.code = code


class GiteaServer:
    """A Gitea with its administrator ``root-admin``; ``stop``, or the end of a ``with``, ends it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        if binaries.find("gitea") is None and not has_compiler():
            pytest.skip("Gitea isn't built, and that takes a C compiler")
        program = binaries.ensure(("gitea",))["gitea"]
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self._config = root / "app.ini"
        user = pwd.getpwuid(os.getuid()).pw_name
        text = _INI.format(user=user, root=root, port=self.port, static=program.parent, key=secrets.token_hex(16))
        self._config.write_text(text)
        self._log = root / "gitea.log"
        self._program = str(program)
        home = root / "home"
        home.mkdir()
        self._environment = {**os.environ, "HOME": str(home), "GIT_CONFIG_GLOBAL": str(home / ".gitconfig")}
        self._http = urllib3.PoolManager()
        self._run("migrate")
        self._make_user("root-admin", "--admin")
        with self._log.open("ab") as out:
            self._process = subprocess.Popen(
                [*_GUARD, self._program, "web", "-c", str(self._config)],
                env=self._environment,
                stdout=out,
                stderr=out,
            )
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise

    def _run(self, *words: str) -> None:
        command = [self._program, *words, "-c", str(self._config)]
        done = subprocess.run(
            command, env=self._environment, capture_output=True, text=True, check=False, timeout=START
        )
        assert done.returncode == 0, f"{words[0]}: {done.stdout[-2000:]}{done.stderr[-2000:]}"

    def _make_user(self, name: str, *more: str) -> None:
        about = ("--username", name, "--password", PASSWORD, "--email", f"{name}@example.com")
        self._run("admin", "user", "create", *about, "--must-change-password=false", *more)

    def _wait(self) -> None:
        until = time.monotonic() + START
        while True:
            assert self._process.poll() is None, f"Gitea ended: {self._log.read_text()[-3000:]}"
            try:
                self.call("GET", "/version")
                return
            except urllib3.exceptions.HTTPError:
                assert time.monotonic() < until, f"Gitea doesn't answer: {self._log.read_text()[-3000:]}"
                time.sleep(0.1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    # -- its API --------------------------------------------------------------------------------------------------

    def call(self, method: str, path: str, body: Any = None, user: str = "root-admin") -> Any:
        """One request as a user; raises GiteaError for an answer of 400 and more."""
        headers = {**urllib3.make_headers(basic_auth=f"{user}:{PASSWORD}"), "Content-Type": "application/json"}
        data = json.dumps(body).encode() if body is not None else None
        url = f"{self.url}/api/v1{path}"
        answer = self._http.request(method, url, body=data, headers=headers, retries=False, timeout=30.0)
        if answer.status >= 400:
            raise GiteaError(answer.status, answer.data.decode(errors="replace")[:500])
        return json.loads(answer.data) if answer.data else None

    def user(self, name: str) -> None:
        """Make somebody, with the password that all have."""
        about = {"username": name, "email": f"{name}@example.com", "password": PASSWORD, "must_change_password": False}
        self.call("POST", "/admin/users", about)

    def token(self, user: str = "root-admin") -> str:
        """A token of somebody, for everything."""
        about = {"name": secrets.token_hex(4), "scopes": ["all"]}
        return str(self.call("POST", f"/users/{user}/tokens", about, user)["sha1"])

    def repository(self, owner: str, name: str, **fields: Any) -> GiteaRepository:
        """Make a repository that everybody may read, with a first commit."""
        about = {"name": name, "auto_init": True, "default_branch": "main", "private": False, **fields}
        self.call("POST", "/user/repos", about, owner)
        return GiteaRepository(self, owner, name)


class GiteaRepository:
    """One repository."""

    def __init__(self, server: GiteaServer, owner: str, name: str) -> None:
        self.server, self.owner, self.name = server, owner, name
        self.full_name = f"{owner}/{name}"
        self.clone_url = f"{server.url}/{self.full_name}.git"

    def call(self, method: str, path: str, body: Any = None, user: str = "") -> Any:
        """A request about this repository."""
        return self.server.call(method, f"/repos/{self.full_name}{path}", body, user or self.owner)

    def commit(
        self, files: Mapping[str, str | None], branch: str = "main", new_branch: str = "", user: str = ""
    ) -> str:
        """Write files (None removes one) in one commit; its id. ``new_branch`` begins at ``branch``."""
        there = self._files(new_branch or branch) if not new_branch else self._files(branch)
        changes = []
        for path, text in files.items():
            change: dict[str, Any] = {"path": path, "operation": "create"}
            if path in there:
                change |= {"operation": "delete" if text is None else "update", "sha": there[path]}
            if text is not None:
                change["content"] = base64.b64encode(text.encode()).decode()
            changes.append(change)
        body = {"branch": branch, "message": "a change", "files": changes}
        body |= {"new_branch": new_branch} if new_branch else {}
        return str(self.call("POST", "/contents", body, user)["commit"]["sha"])

    def _files(self, branch: str) -> dict[str, str]:
        found = self.call("GET", f"/git/trees/{branch}?recursive=true")
        return {entry["path"]: entry["sha"] for entry in found["tree"] if entry["type"] == "blob"}

    def fork(self, user: str) -> GiteaRepository:
        """Somebody's fork."""
        self.call("POST", "/forks", {}, user)
        return GiteaRepository(self.server, user, self.name)

    def open(self, head: str, title: str = "a change", base: str = "main", user: str = "") -> int:
        """Open a pull request; its number."""
        return int(self.call("POST", "/pulls", {"head": head, "base": base, "title": title}, user)["number"])

    def merge(self, number: int) -> None:
        """Merge a pull request. Gitea looks whether that can be done in the background, and answers 405 until then."""
        until = time.monotonic() + START
        while True:
            try:
                self.call("POST", f"/pulls/{number}/merge", {"Do": "merge", "delete_branch_after_merge": True})
                return
            except GiteaError as error:
                if error.code != 405 or time.monotonic() > until:
                    raise
                time.sleep(0.1)

    def close(self, number: int) -> None:
        """Close a pull request."""
        self.call("PATCH", f"/pulls/{number}", {"state": "closed"})

    def label(self, number: int, name: str, user: str = "") -> int:
        """Put a label on; its id."""
        known = {entry["name"]: entry["id"] for entry in self.call("GET", "/labels")}
        if name not in known:
            known[name] = self.call("POST", "/labels", {"name": name, "color": "#00aabb"})["id"]
        self.call("POST", f"/issues/{number}/labels", {"labels": [known[name]]}, user)
        return int(known[name])

    def unlabel(self, number: int, label: int) -> None:
        """Take a label off."""
        self.call("DELETE", f"/issues/{number}/labels/{label}")

    def hook(self, url: str, secret: str) -> int:
        """Have pushes and everything about pull requests delivered."""
        events = ["push", "create", "delete", "pull_request", "pull_request_label", "pull_request_sync"]
        config = {"url": url, "content_type": "json", "secret": secret}
        body = {"type": "gitea", "config": config, "events": events, "active": True}
        return int(self.call("POST", "/hooks", body)["id"])

    def comments(self, number: int) -> list[str]:
        """What is written beside a pull request."""
        return [str(entry["body"]) for entry in self.call("GET", f"/issues/{number}/comments")]

    def statuses(self, commit: str) -> dict[str, dict[str, Any]]:
        """The newest commit statuses, by context."""
        found = self.call("GET", f"/commits/{commit}/status")
        return {entry["context"]: entry for entry in found["statuses"] or ()}
