"""Finds each program of the control plane, or gets it: named by the user, cached, downloaded, built."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console

from localplane.build import Builder
from localplane.download import Downloads
from localplane.progress import Progress
from localplane.tools import BUILDS, DEFAULT, TOOLS, Tool, built_path, released_path

NAMED_BY = ("HOMEPORT_BIN", "KUBEBUILDER_ASSETS")


def find(name: str) -> Path | None:
    """Where a program is already, in a folder the user named or in the cache."""
    tool = TOOLS[name]
    for variable in NAMED_BY:
        if folder := os.environ.get(variable):
            candidate = Path(folder).expanduser().absolute() / name
            if os.access(candidate, os.X_OK):
                return candidate
    return next((path for path in (built_path(tool), released_path(tool)) if os.access(path, os.X_OK)), None)


def for_builds() -> dict[str, str]:
    """Where the programs are that the operator builds sources with, as its environment names them; those that are there
    and that the developer hasn't named."""
    named = {f"HOMEPORT_{name.upper()}": find(name) for name in BUILDS}
    return {variable: str(path) for variable, path in named.items() if path is not None and variable not in os.environ}


def ensure(names: Iterable[str] = DEFAULT, console: Console | None = None) -> dict[str, Path]:
    """The path of every named program, downloaded or built where it isn't there yet.

    Safe to run twice at once and to kill midway: what is in the cache is always whole.
    """
    wanted = list(names)
    missing = [TOOLS[name] for name in wanted if not find(name)]
    if missing:
        _get(missing, console or Console(stderr=True))
    return {name: _found(name) for name in wanted}


def _get(missing: list[Tool], console: Console) -> None:
    downloads = Downloads()
    to_build = [tool for tool in missing if not downloads.get(tool)]
    got = [tool.name for tool in missing if tool not in to_build]
    if got:
        console.print(f"downloaded {', '.join(got)}")
    if not to_build:
        return
    title = "Building the control plane (minutes, once per version; cached outside the checkout)"
    with Progress(console, title) as progress:
        Builder(progress).build(to_build)


def _found(name: str) -> Path:
    path = find(name)
    if path is None:
        raise FileNotFoundError(f"{name} was built but is gone from the cache")
    return path
