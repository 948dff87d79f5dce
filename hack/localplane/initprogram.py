"""The init that goes into containers, built from operator/init and cached by what it is built from."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from pathlib import Path

from localplane.build import BuildError
from localplane.locks import file_lock
from localplane.toolchain import find_go
from localplane.tools import BUILD_ENVIRONMENT, BUILD_FLAGS, CHECKOUT, cache_directory, goplatform

SOURCE = CHECKOUT / "operator" / "init"
ARCHITECTURES = ("amd64", "arm64")
OF_NODES = "amd64"
"""What Proxmox VE's nodes are, the stand-in's too."""
GO = (1, 26)


def digest() -> str:
    """What a build depends on, shortened."""
    found = hashlib.sha256("\0".join((*BUILD_FLAGS, *map("=".join, sorted(BUILD_ENVIRONMENT.items())))).encode())
    for path in sorted(SOURCE.glob("*")):
        if path.suffix in (".go", ".mod", ".sum") and not path.name.endswith("_test.go"):
            found.update(path.name.encode() + b"\0" + path.read_bytes())
    return found.hexdigest()[:12]


def ensure(architecture: str = "") -> Path:
    """The program for an architecture as Go names it, this machine's when none is given. Raises BuildError."""
    architecture = architecture or goplatform().split("/")[1]
    version = digest()
    target = cache_directory() / "init" / version / f"homeport-init-{architecture}"
    with file_lock(cache_directory() / "locks" / f"init-{version}-{architecture}.lock"):
        if target.exists():
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            made = Path(folder, "init")
            flags = [*BUILD_FLAGS, "-ldflags", f"-s -w -X main.version={version}"]
            go("build", *flags, "-o", str(made), ".", environment={"GOOS": "linux", "GOARCH": architecture})
            made.rename(target)
    return target


def folder() -> Path:
    """A folder with the programs for all architectures. Raises BuildError."""
    programs = [ensure(architecture) for architecture in ARCHITECTURES]
    return programs[0].parent


def go(*command: str, environment: dict[str, str] | None = None, timeout: float = 550.0) -> str:
    """What a go command in the module says. Raises BuildError."""
    program = find_go(GO, lambda text: None)
    variables = {**os.environ, **BUILD_ENVIRONMENT, **(environment or {})}
    variables.pop("GOROOT", None)  # another toolchain's, when Go came from the wheel
    done = subprocess.run(
        [program, *command], check=False, capture_output=True, text=True, cwd=SOURCE, env=variables, timeout=timeout
    )
    if done.returncode:
        raise BuildError(f"go {command[0]} in {SOURCE.name} failed:\n{(done.stdout + done.stderr).strip()[-4000:]}")
    return done.stdout
