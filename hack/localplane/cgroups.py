"""The cgroup under which a node's Pods are: made before the kubelet starts, removed after everything in it has ended.

Version 1 (a folder per controller, a hybrid system too) and version 2.
https://docs.kernel.org/admin-guide/cgroup-v2.html, https://docs.kernel.org/admin-guide/cgroup-v1/cpusets.html
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import time
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
PREFIX = "homeport-"


def name(directory: Path) -> str:
    """The cgroup of the control plane in a directory: other planes' nodes have others."""
    return PREFIX + hashlib.sha256(str(directory).encode()).hexdigest()[:12]


def hierarchies() -> list[Path]:
    """The roots under which a cgroup is made: one for each controller, or the only one."""
    if (ROOT / "cgroup.controllers").exists():
        return [ROOT]
    return (
        [path for path in sorted(ROOT.iterdir()) if path.is_dir() and path.name != "unified"] if ROOT.exists() else []
    )


def make(cgroup: str) -> None:
    """Make it in every hierarchy. Needs root."""
    for hierarchy in hierarchies():
        controllers = hierarchy / "cgroup.controllers"
        if controllers.exists():
            for controller in controllers.read_text().split():
                with contextlib.suppress(OSError):  # some can't be handed down while the root has processes
                    (hierarchy / "cgroup.subtree_control").write_text(f"+{controller}")
        folder = hierarchy / cgroup
        folder.mkdir(exist_ok=True)
        for setting in ("cpuset.cpus", "cpuset.mems"):  # empty in a new one of version 1, and then no process may enter
            if (folder / setting).exists() and not controllers.exists():
                (folder / setting).write_text((hierarchy / setting).read_text())


def remove(cgroup: str, timeout: float = 10.0) -> bool:
    """End what is left in it and remove it, with all below; whether it's gone everywhere."""
    deadline = time.monotonic() + timeout
    while True:
        left = [folder for hierarchy in hierarchies() if (folder := hierarchy / cgroup).exists()]
        for folder in left:
            _remove_tree(folder)
        if not left:
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)


def _remove_tree(top: Path) -> None:
    for folder, _, _ in os.walk(top, topdown=False):
        with contextlib.suppress(OSError, ValueError):
            for pid in Path(folder, "cgroup.procs").read_text().split():
                if pid != "0":
                    os.kill(int(pid), signal.SIGKILL)
        with contextlib.suppress(OSError):
            Path(folder).rmdir()
