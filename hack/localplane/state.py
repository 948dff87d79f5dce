"""Where a checkout keeps what runs for it: the folder .homeport, or the one that --state-dir names."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from localplane.processes import Processes
from localplane.tools import CHECKOUT


@dataclass(frozen=True)
class State:
    """The paths under one state folder."""

    root: Path

    @staticmethod
    def at(directory: Path | None = None) -> State:
        """The state in a folder; by default the checkout's own."""
        return State((directory or CHECKOUT / ".homeport").absolute())

    @property
    def plane(self) -> Path:
        """The local control plane's folder."""
        return self.root / "plane"

    @property
    def plane_kubeconfig(self) -> Path:
        """The kubeconfig of the local control plane."""
        return self.plane / "kubeconfig"

    @property
    def kind_kubeconfig(self) -> Path:
        """The kubeconfig of the kind cluster that is ours."""
        return self.root / "kind.kubeconfig"

    @property
    def named_kubeconfig(self) -> Path:
        """One file made of the several that a user named."""
        return self.root / "named.kubeconfig"

    @property
    def cluster(self) -> Path:
        """The record of where Homeport runs."""
        return self.root / "cluster.json"

    @property
    def lock(self) -> Path:
        """Held by whoever starts or stops things here."""
        return self.root / "lock"

    @property
    def kind_name(self) -> str:
        """A name for the kind cluster that no other checkout has."""
        return f"homeport-{hashlib.sha256(str(self.root).encode()).hexdigest()[:8]}"

    def processes(self) -> Processes:
        """The operator's supervisor; the control plane keeps its own."""
        return Processes(self.root / "pids", self.root / "logs")
