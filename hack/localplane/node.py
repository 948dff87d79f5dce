"""A real node for a control plane: containerd, kubelet, kube-proxy and CoreDNS in namespaces of their own.

The node's files are Debian packages, unpacked into the cache and never installed. Its network is a namespace without
a link to any other, so nothing in it reaches this machine's network, and nothing of it is left when it ends. The API
server and the node reach each other through `noderelay`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

from rich.console import Console

from localplane import binaries, cgroups, debian, nodefiles
from localplane.api import Client, wait_for
from localplane.certificates import ADMIN, CLIENTS, Certificates
from localplane.images import Image, write_archive
from localplane.namespaces import connect
from localplane.nodefiles import NODE, PACKAGES, PAUSE_IMAGE, VOLUMES
from localplane.processes import MARK, PROC, Processes, write_atomically
from localplane.tools import HACK

NAME = "node"
BINARIES = ("kubelet", "kube-proxy", "coredns")
PROGRAMS = ("unshare", "nsenter", "mount", "chroot", "env")
MOUNTED = ("etc", "var", "opt", "run", "tmp", "proc", "sys", "dev")
KUBECONFIGS = {**{name: CLIENTS[name] for name in BINARIES}, "admin": ADMIN}


class NodeError(RuntimeError):
    """The node doesn't start or a command in it failed; the message has the program's last words."""


def obstacles() -> list[str]:
    """What this machine lacks for a real node, for people; empty when it can have one."""
    found = []
    if sys.platform != "linux":
        return ["it needs Linux"]
    if os.geteuid() != 0:
        found.append("it needs root")
    found += [f"it needs the program {name}" for name in (*PROGRAMS, *debian.missing()) if not shutil.which(name)]
    if not cgroups.hierarchies() or not os.access(cgroups.ROOT, os.W_OK):
        found.append(f"it needs cgroups under {cgroups.ROOT} that it may write to")
    if "overlay" not in (PROC / "filesystems").read_text():
        found.append("it needs overlayfs")
    return found


@dataclass(frozen=True)
class Response:
    """What a command in the node said."""

    code: int
    output: str
    errors: str


class Node:
    """The one real node of a control plane; `ControlPlane` starts and stops it."""

    def __init__(self, directory: Path, processes: Processes, certificates: Certificates, logs: Path) -> None:
        self.directory = directory
        self.name = NODE
        self._processes = processes
        self._certificates = certificates
        self._logs = logs
        self.cgroup = cgroups.name(directory.parent)

    @property
    def relay(self) -> Path:
        """The Unix socket at which the API server's connections into the node's network arrive."""
        return self.directory / "relay.sock"

    @property
    def root(self) -> Path:
        """The node's files; only seen from within its mount namespace."""
        return self.directory / "root"

    @property
    def running(self) -> bool:
        """Whether its first process runs."""
        return self._processes.alive(NAME) is not None

    def start(self, port: int, client: Client, timeout: float = 120.0, console: Console | None = None) -> None:
        """Start it, unless it runs, and wait until Kubernetes calls it Ready. `port` is the API server's."""
        if lacking := obstacles():
            raise NodeError(f"a real node can't run here: {'; '.join(lacking)}")
        programs = binaries.ensure(BINARIES, console)
        tree = debian.tree(PACKAGES)
        for name in MOUNTED:
            (tree / name).mkdir(exist_ok=True)
        if not self.running:
            self._prepare(programs, port)
            unshare = (
                "unshare",
                "--mount",
                "--pid",
                "--uts",
                "--ipc",
                "--fork",
                "--kill-child=SIGKILL",
                "--mount-proc",
            )
            # The mark would make the node's own programs strays, which the control plane kills when it mends itself.
            python = ("env", "-u", MARK, sys.executable, "-m", "localplane.nodehost")
            settings = (self.directory, tree, self.cgroup, port, self._logs)
            path = os.pathsep.join([str(HACK), *filter(None, [os.environ.get("PYTHONPATH")])])
            command = [*unshare, *python, *map(str, settings)]
            self._processes.start(NAME, command, environment={"PYTHONPATH": path})
        try:
            self._wait(self._containerd_answers, "containerd", timeout)
            self.load([PAUSE_IMAGE])
            self._wait(partial(self._ready, client), "the kubelet", timeout)
            self._wait(self._names_resolve, "coredns", timeout)
        except NodeError:
            self.stop()
            raise

    def stop(self, *, purge: bool = False) -> None:
        """End it at once, as a power cut would, and remove its cgroup; with `purge`, its disk too."""
        record = self._processes.record(NAME)
        if record:
            record.signal(signal.SIGKILL)
            self._processes.stop([NAME], 0.0)
        clear(self.directory.parent, purge=purge)

    # Using it

    def command(self, *command: str, inside: bool = True) -> list[str]:
        """A command line that runs `command` in the node: on its files, or with `inside=False` only in its network.

        The latter is how a program of this machine (a proxy, a load generator) reaches Pods and Services by their
        addresses. The control plane's kubeconfig works in there as well.
        """
        if not inside:
            return ["nsenter", f"--target={self.pid}", "--net", "--", *command]
        spaces = ("--mount", "--net", "--pid", "--ipc", "--uts")
        return ["nsenter", f"--target={self._containerd()}", *spaces, "--wdns=/", "--", *command]

    def run(self, *command: str, inside: bool = True, check: bool = True, timeout: float = 60.0) -> Response:
        """Run a command in the node. Raises NodeError when it fails, unless `check` is off."""
        done = subprocess.run(
            self.command(*command, inside=inside), check=False, capture_output=True, text=True, timeout=timeout
        )
        if check and done.returncode:
            raise NodeError(f"{' '.join(command)} ended with {done.returncode}: {(done.stderr or done.stdout).strip()}")
        return Response(done.returncode, done.stdout, done.stderr)

    def connect(self, host: str, port: int, timeout: float = 10.0) -> socket.socket:
        """A TCP connection to an address in the node's network (a Pod's, a Service's) from this process."""
        return connect(PROC / str(self.pid) / "ns/net", host, port, timeout)

    def load(self, images: Iterable[Image]) -> None:
        """Put images into the node's container runtime."""
        self.load_archive(lambda output: write_archive(images, output))

    def load_archive(self, write: Callable[[IO[bytes]], None]) -> None:
        """Put images into the node's container runtime: `write` writes them as one OCI layout in a tar."""
        command = self.command("/usr/bin/ctr", "-n", "k8s.io", "images", "import", "-")
        with tempfile.TemporaryFile() as said:
            with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=said, stderr=said) as child:
                assert child.stdin
                with contextlib.suppress(BrokenPipeError):
                    write(child.stdin)
            if child.returncode:
                said.seek(0)
                raise NodeError(f"importing images failed: {said.read().decode(errors='replace').strip()}")

    @property
    def pid(self) -> int:
        """Its first process as this machine numbers it."""
        record = self._processes.alive(NAME)
        found = _children(record.pid) if record else {}
        if not found:
            raise NodeError(f"the node does not run:\n{self._processes.tail(NAME)}")
        return next(iter(found))

    def _containerd(self) -> int:
        found = [pid for pid, name in _children(self.pid).items() if name == "containerd"]
        if not found:
            raise NodeError(f"containerd does not run:\n{self._processes.tail('node-containerd')}")
        return found[0]

    # Starting

    def _prepare(self, programs: Mapping[str, Path], port: int) -> None:
        for name in ("etc", f"var{VOLUMES.removeprefix('/var')}", "var/log", "var/tmp", "opt/bin"):
            (self.directory / name).mkdir(parents=True, exist_ok=True)
        run = self.directory / "var/run"
        if not run.is_symlink():
            run.symlink_to("/run")
        for name, text in nodefiles.files(self.cgroup).items():
            write_atomically(self.directory / "etc" / name, text, mode=0o644)
        kubernetes = self.directory / "etc/kubernetes"
        shutil.copy(self._certificates.file("ca.crt"), kubernetes / "ca.crt")
        for name, identity in KUBECONFIGS.items():
            self._certificates.kubeconfig(kubernetes / f"{name}.conf", identity, port)
        for name, path in programs.items():
            target = self.directory / "opt/bin" / name
            target.unlink(missing_ok=True)
            try:
                target.hardlink_to(path)
            except OSError:  # another file system
                shutil.copy2(path, target)

    def _wait(self, condition: Callable[[], bool], what: str, timeout: float) -> None:
        def well() -> bool:
            if not self.running:
                raise NodeError(f"the node ended:\n{self._processes.tail(NAME)}")
            return condition()

        if not wait_for(well, timeout):
            tail = self._processes.tail(f"node-{what.rsplit(maxsplit=1)[-1]}")
            raise NodeError(f"{what} is not well after {timeout:.0f} s:\n{tail}")

    def _containerd_answers(self) -> bool:
        with contextlib.suppress(NodeError):  # it is being started
            return self.run("/usr/bin/ctr", "--connect-timeout=2s", "version", check=False).code == 0
        return False

    def _ready(self, client: Client) -> bool:
        status, node = client.request("GET", f"/api/v1/nodes/{NODE}")
        ready = (
            [c["status"] for c in node["status"].get("conditions", []) if c["type"] == "Ready"] if status == 200 else []
        )
        return ready == ["True"] and not node["spec"].get("taints")

    def _names_resolve(self) -> bool:
        try:
            with self.connect(nodefiles.ADDRESS, 8181, 2.0) as asked:
                asked.sendall(b"GET /ready HTTP/1.0\r\n\r\n")
                return b" 200 " in asked.recv(64)
        except OSError:
            return False


def clear(plane: Path, *, purge: bool) -> None:
    """What a node that has ended left on this machine: its cgroup, and with `purge` its disk."""
    if not cgroups.remove(cgroups.name(plane)):
        raise NodeError(f"the cgroup {cgroups.name(plane)} can't be removed: something in it doesn't end")
    if purge:
        shutil.rmtree(plane / NAME, ignore_errors=True)


def _children(parent: int) -> dict[int, str]:
    """The names of a process's children by their numbers."""
    found = {}
    for path in PROC.glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            name, _, rest = path.read_text().rpartition(")")
            if int(rest.split()[1]) == parent:
                found[int(path.parent.name)] = name.partition("(")[2]
    return found
