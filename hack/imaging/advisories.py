"""Whether a lock names versions with known holes: pip-audit, and what it means when nobody could be asked."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

SERVICES = ("pypi", "osv")
PATIENCE = 60.0


class UnreachableError(RuntimeError):
    """No advisory service answers here: nothing is known, neither good nor bad."""


def holes(lock: Path) -> list[str]:
    """The holes that are known of a lock's versions, for people. Raises UnreachableError."""
    said = ""
    for service in SERVICES:
        command = [sys.executable, "-m", "pip_audit", "--requirement", str(lock), "--disable-pip", "--no-deps",
                   "--vulnerability-service", service, "--format", "json", "--progress-spinner", "off",
                   "--timeout", "10"]  # fmt: skip
        try:
            done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            said = f"{service} doesn't answer"
            continue
        try:
            found: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
        except (ValueError, KeyError):
            lines = done.stderr.strip().splitlines()
            said = lines[-1].strip(" ()") if lines else ""
            continue
        # Where an index has no JSON API, pip-audit takes every package for unknown, and that for well.
        asked = [package for package in found if "skip_reason" not in package]
        if len(asked) * 2 > len(found):
            return [
                f"{package['name']} {package['version']}: {hole['id']}, mended in {', '.join(hole['fix_versions'])}"
                for package in asked
                for hole in package["vulns"]
            ]
        said = str(next((package["skip_reason"] for package in found if "skip_reason" in package), ""))
    why = f" ({said.splitlines()[0]})" if said else ""
    raise UnreachableError(f"no advisory service can be reached from here{why}")
