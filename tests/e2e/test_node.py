"""The node itself: it leaves nothing behind, also when its starter is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from homes import eventually

from conftest import require_node
from localplane import cgroups
from localplane.controlplane import ControlPlane
from localplane.processes import PROC
from localplane.tools import HACK

pytestmark = pytest.mark.e2e

START = """
import sys, time
from pathlib import Path
from localplane.controlplane import ControlPlane
plane = ControlPlane(Path(sys.argv[1]), nodes=0, real_node=True, ephemeral=True)
plane.start()
print("started", flush=True)
time.sleep(600)
"""


def _machine() -> dict[str, object]:
    """What a node could have left on this machine."""
    interfaces = sorted(path.name for path in Path("/sys/class/net").iterdir())
    settings = ("vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops", "net/ipv4/ip_forward")
    return {
        "interfaces": interfaces,
        "mounts": sorted(line.split()[4] for line in (PROC / "self/mountinfo").read_text().splitlines()),
        "settings": {name: (PROC / "sys" / name).read_text() for name in settings},
    }


def _processes_of(folder: Path) -> list[str]:
    """Command lines that name something under a folder."""
    found = []
    for path in PROC.glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in line and int(path.parent.name) != os.getpid():
            found.append(line)
    return found


def test_nothing_of_a_node_is_left_when_its_starter_is_killed(tmp_path: Path) -> None:
    require_node()
    before = _machine()
    plane = tmp_path / "plane"
    command = [sys.executable, "-c", START, str(plane)]
    starter = subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(HACK)})
    assert starter.stdout
    group = cgroups.name(plane)
    try:
        assert starter.stdout.readline() == b"started\n"
        assert any((hierarchy / group).exists() for hierarchy in cgroups.hierarchies())
        assert _machine() == before  # not while it runs either
        assert _processes_of(plane)
    finally:
        starter.send_signal(signal.SIGKILL)
        starter.wait()
        starter.stdout.close()

    def gone() -> bool:
        cgroup = any((hierarchy / group).exists() for hierarchy in cgroups.hierarchies())
        return not (cgroup or _processes_of(plane) or (plane / "node").exists())

    eventually(gone, f"no process, cgroup or disk of {plane} is left", 60, 0.2)
    assert _machine() == before


def test_the_node_speaks_for_itself_through_the_api_server(real_plane: ControlPlane) -> None:
    """A program of this machine in the node's network reaches the API server with the plane's own kubeconfig."""
    node = real_plane.node
    answer = node.run(str(real_plane.kubectl), f"--kubeconfig={real_plane.kubeconfig}", "get", "nodes", "-o", "json",
                      inside=False)  # fmt: skip
    (found,) = json.loads(answer.output)["items"]
    assert found["metadata"]["name"] == node.name
    assert found["status"]["nodeInfo"]["containerRuntimeVersion"].startswith("containerd://")


def test_nothing_outside_is_reached_from_the_node(real_plane: ControlPlane) -> None:
    links = json.loads(real_plane.node.run("/usr/bin/ip", "-j", "route", "show", "default").output or "[]")
    assert links == []
