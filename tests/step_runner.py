"""Runs a job of a GitHub workflow on this machine, as its steps say: each `run:` in its shell, folder and environment;
of actions those that are known here, by what their documentation says that they do. Anything else fails loudly. Where
the asked Python isn't here another one is taken, and that is said (``Ran.instead``).
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from localplane.tools import cache_directory

NODES = {"22": "22.23.3"}
"""What stands for a version of Node that isn't here: npm's package of the program, by its exact version."""
PASSED_ON = (
    *("PIP_INDEX_URL", "PIP_CONFIG_FILE", "PIP_CERT", "npm_config_registry"),
    *("NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE"),
)
"""Where this machine gets packages."""


class Unavailable(Exception):  # noqa: N818 - it says what is
    """What a step asks for isn't here, and can't be had."""


class UnknownStep(AssertionError):  # noqa: N818 - it says what the step is
    """A step that this runner can't do. It is never passed over in silence."""


@dataclass
class Ran:
    """What came of a job: steps by name with their exit codes (None: skipped), their output, artifacts by name."""

    codes: dict[str, int | None] = field(default_factory=dict)
    output: str = ""
    artifacts: dict[str, Path] = field(default_factory=dict)
    instead: list[str] = field(default_factory=list)
    """What was taken in place of what is asked for, in words."""
    workspace: Path = Path()
    """Where it ran."""

    @property
    def passed(self) -> bool:
        """Whether the job is green."""
        return not any(self.codes.values())


class StepRunner:
    """Runs jobs of one workflow on one repository; ``path`` comes first on every step's PATH."""

    def __init__(self, repository: Path, scratch: Path, path: Sequence[Path] = ()) -> None:
        self._repository = repository
        self._scratch = scratch
        self._path = list(path)
        found = yaml.safe_load((repository / ".github/workflows/pipeline.yml").read_text())
        self.jobs: dict[str, Any] = found["jobs"]
        self._shell = found["defaults"]["run"]["shell"]

    def run(self, name: str, version: str = "", skip: Sequence[str] = ()) -> Ran:
        """Run a job, in its ``version`` of the matrix. Steps in ``skip`` are left out, by their names."""
        job, workspace = self.jobs[name], self._scratch / f"{name}-{version}"
        ran = Ran(workspace=workspace)
        if version:
            assert version in job["strategy"]["matrix"]["version"]
        home = self._scratch / "home"
        home.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(workspace, ignore_errors=True)
        environment = {
            "PATH": os.pathsep.join([*map(str, self._path), os.environ["PATH"]]),
            "HOME": str(home),
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "GITHUB_WORKSPACE": str(workspace),
            "GITHUB_STEP_SUMMARY": str(self._scratch / "summary.md"),
            # Of what is downloaded alone: the home and what is installed are new.
            "PIP_CACHE_DIR": str(cache_directory() / "pip"),
            "npm_config_cache": str(cache_directory() / "npm"),
            **{key: self._value(str(value), version) for key, value in job.get("env", {}).items()},
        }
        environment |= {key: os.environ[key] for key in PASSED_ON if key in os.environ}
        for step in job["steps"]:
            if step["name"] in skip or "needs.*.result" in str(step.get("if", "")):
                # A job is run by itself here: what it needs has succeeded.
                continue
            if not ran.passed and "!cancelled()" not in str(step.get("if", "")):
                ran.codes[step["name"]] = None
            elif "uses" in step:
                ran.codes[step["name"]] = self._action(step, version, workspace, environment, ran)
            else:
                ran.codes[step["name"]] = self._command(step, version, workspace, environment, ran)
        return ran

    def _value(self, text: str, version: str) -> str:
        out = re.sub(r"\$\{\{ matrix\.version \}\}", version, text)
        if "${{" in out:
            raise UnknownStep(f"an expression that this runner doesn't know: {text}")
        return out

    def _command(self, step: Any, version: str, workspace: Path, environment: dict[str, str], ran: Ran) -> int:
        assert step.get("shell", self._shell) == "bash"
        given = {key: self._value(str(value), version) for key, value in step.get("env", {}).items()}
        done = subprocess.run(
            # Source: GitHub's documentation of `shell: bash`.
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
            cwd=workspace / step.get("working-directory", "."),
            env={**environment, **given},
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )
        ran.output += f"== {step['name']}\n{done.stdout}{done.stderr}"
        return done.returncode

    def _action(self, step: Any, version: str, workspace: Path, environment: dict[str, str], ran: Ran) -> int:
        given = {key: self._value(str(value), version) for key, value in step.get("with", {}).items()}
        match step["uses"].partition("@")[0]:
            case "actions/checkout":
                shutil.copytree(self._repository, workspace)
            case "actions/setup-python":
                self._python(given["python-version"], environment, ran)
            case "actions/setup-node":
                folder = node(given["node-version"])
                environment["PATH"] = f"{folder}{os.pathsep}{environment['PATH']}"
            case "actions/upload-artifact":
                if not (workspace / given["path"]).exists():
                    assert given["if-no-files-found"] == "warn"
                    return 0
                kept = self._scratch / "artifacts" / given["name"]
                shutil.copytree(workspace / given["path"], kept, dirs_exist_ok=True)
                ran.artifacts[given["name"]] = kept
            case unknown:
                raise UnknownStep(f"this runner doesn't know {unknown}")
        return 0

    def _python(self, version: str, environment: dict[str, str], ran: Ran) -> None:
        """A clean environment of that version, first on PATH, as the action leaves one."""
        folder = self._scratch / f"python-{version}-{len(list(self._scratch.iterdir()))}"
        here = f"{sys.version_info.major}.{sys.version_info.minor}"
        if version == here or not _made_by_another(version, folder):
            venv.create(folder, with_pip=True, clear=True)
            if version != here:
                ran.instead.append(f"python {version} is asked for, and {here} was taken")
        environment["PATH"] = f"{folder / 'bin'}{os.pathsep}{environment['PATH']}"


def _made_by_another(version: str, folder: Path) -> bool:
    """Whether this machine has that Python, and it made the environment; pyenv's is known by its variable."""
    environment = {**os.environ, "PYENV_VERSION": version}
    try:
        command = [f"python{version}", "-m", "venv", str(folder)]
        return subprocess.run(command, env=environment, capture_output=True, check=False, timeout=120).returncode == 0
    except OSError:
        return False


def node(version: str) -> Path:
    """The folder of Node's program of that version: what is here, or npm's package of it, which is kept.

    Raises Unavailable.
    """
    there = shutil.which("node")
    if there is None or shutil.which("npm") is None:
        raise Unavailable("there is no node with npm here")
    said = subprocess.run([there, "--version"], capture_output=True, text=True, check=True, timeout=60).stdout
    if said.removeprefix("v").partition(".")[0] == version:
        return Path(there).parent
    if version not in NODES:
        raise UnknownStep(f"this runner doesn't know which node {version} is to be taken")
    machine = {"x86_64": "x64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    package = f"node-{sys.platform}-{machine}"
    kept = cache_directory() / "node" / f"{package}-{NODES[version]}"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
            made = Path(folder) / "made"
            command = ["npm", "install", "--prefix", str(made), "--ignore-scripts", f"{package}@{NODES[version]}"]
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)
            if done.returncode != 0:
                raise Unavailable(f"node {version} is asked for, {said.strip()} is here, and npm: {done.stderr[-300:]}")
            with contextlib.suppress(OSError):  # another session was quicker
                made.rename(kept)
    return kept / "node_modules" / package / "bin"
