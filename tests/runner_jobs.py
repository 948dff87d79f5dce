"""The runner as a process, as a Job's Pod would start it: a job in, a result and an exit code out."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backup_servers import S3Server

REPOSITORY_PASSWORD = "a long repository password"
PASSWORDS = (REPOSITORY_PASSWORD, "correct horse battery", S3Server.SECRET)


@dataclass
class Ended:
    """How a job ended."""

    code: int
    result: dict[str, Any]
    termination: bytes
    events: list[dict[str, Any]]
    errors: str

    @property
    def reason(self) -> str:
        return str(self.result.get("reason", ""))

    @property
    def message(self) -> str:
        return str(self.result["message"])


def filesystem(path: Path, **more: Any) -> dict[str, Any]:
    """A repository in a folder."""
    return {"filesystem": {"path": str(path)}, "password": {"env": "REPOSITORY_PASSWORD"}, "lockWaitSeconds": 0, **more}


def s3(server: S3Server, prefix: str, url: str = "", **more: Any) -> dict[str, Any]:
    """A repository in the bucket of an S3 server."""
    keys = {"accessKeyId": {"env": "S3_ACCESS"}, "secretAccessKey": {"env": "S3_SECRET"}}
    place = {"endpoint": url or server.url, "bucket": server.BUCKET, "prefix": prefix, **keys}
    return {"s3": place, "password": {"env": "REPOSITORY_PASSWORD"}, "lockWaitSeconds": 0, **more}


@dataclass
class Runner:
    """Runs jobs on one repository."""

    folder: Path
    path: Path
    """With restic and the clients."""
    repository: dict[str, Any]
    environment: dict[str, str] = field(default_factory=dict)
    _count: int = 0

    def job(self, operation: str, **fields: Any) -> dict[str, Any]:
        """A job's document."""
        return {"version": 1, "operation": operation, "repository": self.repository, **fields}

    def start(self, document: dict[str, Any], *, stdin: str = "") -> Running:
        """Start a job in a session of its own, as in a container."""
        self._count += 1
        folder = self.folder / f"job-{self._count}"
        (folder / "scratch").mkdir(parents=True)
        (folder / "job.json").write_text(json.dumps(document))
        if stdin:
            (folder / "stdin").write_text(stdin)
        environment = {
            **os.environ, "PATH": f"{self.path}:{os.environ['PATH']}", "REPOSITORY_PASSWORD": REPOSITORY_PASSWORD,
            "DATABASE_PASSWORD": "correct horse battery", "S3_ACCESS": S3Server.ACCESS, "S3_SECRET": S3Server.SECRET,
            **self.environment,
        }  # fmt: skip
        options = {"result": "result.json", "termination-log": "termination", "scratch": "scratch"}
        where = [f"--{name}={folder / file}" for name, file in options.items()]
        command = [sys.executable, "-m", "homeport.runner", str(folder / "job.json"), *where]
        with Path(folder / "stdin" if stdin else os.devnull).open() as source:
            process = subprocess.Popen(
                command, stdin=source, stdout=subprocess.PIPE, stderr=(folder / "errors").open("w"), text=True,
                env=environment, start_new_session=True,
            )  # fmt: skip
        return Running(process, folder)

    def run(self, operation: str, *, stdin: str = "", **fields: Any) -> Ended:
        """Run a job to its end; nothing of what it says may be a secret."""
        return self.start(self.job(operation, **fields), stdin=stdin).wait()

    def good(self, operation: str, *, stdin: str = "", **fields: Any) -> dict[str, Any]:
        """Run a job that has to succeed; its result."""
        ended = self.run(operation, stdin=stdin, **fields)
        assert ended.code == 0, (ended.result, ended.errors)
        assert ended.result["outcome"] == "Succeeded"
        return ended.result

    def backup(self, method: str, source: dict[str, Any], run: str = "run-1", **fields: Any) -> dict[str, Any]:
        """A backup that has to succeed."""
        return self.good("backup", **backup(method, source, run), **fields)

    def restore(self, method: str, target: dict[str, Any], **fields: Any) -> dict[str, Any]:
        """A restore that has to succeed."""
        return self.good("restore", method=method, tags={"backup": "nightly"}, target=target, **fields)

    def restic(self, *arguments: str) -> str:
        """restic itself on a repository in a folder, to look at what the runner left."""
        path = self.repository["filesystem"]["path"]
        environment = {
            **os.environ,
            "RESTIC_PASSWORD": REPOSITORY_PASSWORD,
            "RESTIC_CACHE_DIR": str(self.folder / "cache"),
        }
        command = [str(self.path / "restic"), "-r", path, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout


def backup(method: str, source: dict[str, Any], run: str = "run-1") -> dict[str, Any]:
    """The fields of a backup."""
    return {"method": method, "source": source, "tags": {"backup": "nightly", "run": run}, "host": "shop-production"}


_SET_CHILD_SUBREAPER = 36  # <linux/prctl.h>


def _adopt(orphans: bool) -> None:
    """Whether processes whose parent dies become children of this one."""
    if ctypes.CDLL(None, use_errno=True).prctl(_SET_CHILD_SUBREAPER, int(orphans), 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


class Running:
    """A job that runs."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self.process = process
        self._folder = folder

    def until(self, seen: Callable[[dict[str, Any]], bool]) -> None:
        """Read events until one is as wanted."""
        assert self.process.stdout
        for line in self.process.stdout:
            if seen(json.loads(line)):
                return
        raise AssertionError(f"the runner ended before: {(self._folder / 'errors').read_text()}")

    def kill(self) -> None:
        """End it and all that it started, at once, as the end of a container does.

        What it started is orphaned by that, and stays a process until somebody asks how it ended: whoever is process 1
        here may take a second, and until then restic finds its lock's owner alive. So it is asked for here.
        """
        _adopt(True)
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.communicate()
            with contextlib.suppress(ChildProcessError):
                while True:
                    os.waitpid(-self.process.pid, 0)
        finally:
            _adopt(False)

    def wait(self) -> Ended:
        """Its end. Nothing of what it said or wrote may be a secret."""
        output, _ = self.process.communicate(timeout=250)
        errors = (self._folder / "errors").read_text()
        result, termination = self._folder / "result.json", self._folder / "termination"
        said = output + errors + result.read_text() + termination.read_text()
        assert not [secret for secret in PASSWORDS if secret in said]
        assert len(termination.read_bytes()) <= 4096
        assert not list((self._folder / "scratch").iterdir()), "something is left on the scratch disk"
        events = [json.loads(line) for line in output.splitlines()]
        return Ended(self.process.returncode, json.loads(result.read_text()), termination.read_bytes(), events, errors)
