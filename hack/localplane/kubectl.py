"""Runs kubectl against the chosen cluster."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

FIELD_MANAGER = "homeport-up"


class KubectlError(RuntimeError):
    """kubectl said no; the message is its own."""


class Kubectl:
    """One cluster's kubectl."""

    def __init__(self, program: Path, kubeconfig: str) -> None:
        self.program = program
        self._environment = {**os.environ, "KUBECONFIG": kubeconfig}

    def run(self, *arguments: str, stdin: str | None = None, timeout: float = 120.0) -> str:
        """What it printed; KubectlError when it failed."""
        try:
            done = subprocess.run(
                [str(self.program), *arguments], check=False, capture_output=True, text=True,
                input=stdin, env=self._environment, timeout=timeout,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise KubectlError(f"kubectl {' '.join(arguments[:3])} gave no answer in {timeout:.0f} s") from None
        if done.returncode:
            raise KubectlError(done.stderr.strip() or f"kubectl {' '.join(arguments[:3])} failed")
        return done.stdout

    def items(self, *arguments: str) -> list[dict[str, Any]]:
        """The objects that `kubectl get ARGUMENTS` finds."""
        document: dict[str, Any] = json.loads(self.run("get", *arguments, "-o", "json") or "{}")
        return list(document.get("items", [document] if document else []))

    def apply(self, *paths: Path) -> None:
        """Server-side apply of files and folders, again when what is needed appears only now (a CRD, a namespace)."""
        files = [argument for path in paths for argument in ("-f", str(path))]
        self._run_again("apply", "--server-side", "--force-conflicts", f"--field-manager={FIELD_MANAGER}", "-R", *files)

    def wait_established(self, path: Path) -> None:
        """Until the API server serves the CRDs of a file or folder. One that is new has no conditions for a moment."""
        self._run_again("wait", "--for=condition=Established", "--timeout=60s", "-R", "-f", str(path))

    def _run_again(self, *command: str, tries: int = 5) -> None:
        for attempt in range(1, tries + 1):
            try:
                self.run(*command)
                return
            except KubectlError as error:
                if attempt == tries or not _may_pass(str(error)):
                    raise
                time.sleep(0.5 * attempt)


def _may_pass(message: str) -> bool:
    passing = ("not found", "no matches for kind", "being terminated", "failed calling", "accessor error")
    return any(text in message for text in passing)


def manifests(folders: Sequence[Path]) -> Iterator[Path]:
    """Those folders that exist and hold manifests."""
    for folder in folders:
        if any(path.suffix in (".yaml", ".yml", ".json") for path in folder.rglob("*")):
            yield folder
