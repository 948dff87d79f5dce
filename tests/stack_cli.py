"""`homeport cluster` and `homeport pipeline` as a user runs them: a process of its own, with Pulumi's real engine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml

from localplane import binaries
from manifests import ROOT

SECONDS = 600


class Cli:
    """One of the two commands, with its file, state, secrets and Pulumi's own folder in one place."""

    def __init__(self, folder: Path, command: Literal["cluster", "pipeline"] = "cluster") -> None:
        programs = binaries.ensure(["pulumi", "helm"])
        self.folder, self.command = folder, command
        self.file = folder / f"{command}.yaml"
        self.said = ""
        """What the last command said on the way."""
        self.environment = {
            **os.environ,
            "HOMEPORT_PULUMI": str(programs["pulumi"]),
            "HOMEPORT_HELM": str(programs["helm"]),
            "XDG_DATA_HOME": str(folder / "data"),
            "PULUMI_HOME": str(folder / "pulumi"),
        }
        for name in ("PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE", "PULUMI_BACKEND_URL"):
            self.environment.pop(name, None)

    def write(self, content: Mapping[str, Any]) -> None:
        self.file.write_text(yaml.safe_dump(dict(content), sort_keys=False))

    def start(self, *words: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "homeport", self.command, *words]
        if words[0] != "list":
            command += ["-f", str(self.file)]
        return subprocess.Popen(
            [*command, "-o", "json"], env=self.environment, cwd=ROOT, text=True, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self, *words: str, code: int = 0) -> Any:
        """What it printed as JSON; what it said on the way when it should fail."""
        process = self.start(*words)
        out, self.said = process.communicate(timeout=SECONDS)
        assert process.returncode == code, out + self.said
        return json.loads(out) if out.strip() else self.said

    @property
    def state(self) -> Path:
        return self.folder / "data" / "homeport" / "pulumi"
