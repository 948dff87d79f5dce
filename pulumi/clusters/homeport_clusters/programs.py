"""Programs that the providers run: found, started in groups of their own that end with the engine, errors told."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from homeport_clusters.providers import base

INSTALL = {
    "helm": "https://helm.sh/docs/intro/install/",
    "kind": "https://kind.sigs.k8s.io/docs/user/quick-start/#installation",
    "docker": "https://docs.docker.com/engine/install/",
}
"""Where each program's own documentation says how it is installed."""


class ProgramError(base.ProviderError):
    """A program isn't there, or failed; the message ends with what it said."""


def find(name: str) -> Path:
    """A program: named by HOMEPORT_<NAME>, on PATH, or built in a checkout. Raises ProgramError."""
    variable = f"HOMEPORT_{name.upper()}"
    if named := os.environ.get(variable):
        if not os.access(named, os.X_OK):
            raise ProgramError(f"{variable} names {named}, which isn't a program")
        return Path(named)
    if found := shutil.which(name):
        return Path(found)
    try:
        binaries = importlib.import_module("localplane.binaries")
        built: Path | None = binaries.find(name)
    except (ModuleNotFoundError, KeyError):
        built = None
    if built is None:
        raise ProgramError(f"the program {name} isn't installed: see {INSTALL[name]}, or name it with {variable}")
    return built


def run(
    name: str, *words: str, seconds: float, environment: Mapping[str, str] | None = None, stdin: str | None = None
) -> str:
    """What a program printed. It ends when the engine does. Raises ProgramError."""
    process = subprocess.Popen(
        [str(find(name)), *words],
        env={**os.environ, **(environment or {})},
        stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    base.started(process.pid)
    try:
        out, complaint = process.communicate(stdin, timeout=seconds)
    except subprocess.TimeoutExpired:
        base.end(process.pid)
        process.communicate()
        raise ProgramError(f"{name} {words[0]} took longer than {seconds:.0f} s") from None
    finally:
        base.finished(process.pid)
    if process.returncode:
        said = complaint.strip() or out.strip() or f"exit code {process.returncode}"
        raise ProgramError(f"{name} {words[0]}: {said[-1500:].removeprefix('Error: ')}")
    return out
