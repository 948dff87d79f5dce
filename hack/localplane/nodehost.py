"""The first process of a node: makes its network and its view of the files, starts its programs, starts them again.

It runs in new mount, PID, UTS and IPC namespaces and makes the network one itself, as the relay needs the old one
too; and one more mount namespace, for the programs whose root is the node's.
When it ends, the kernel ends everything in its PID namespace; with the last process go mounts, interfaces and rules.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType

from localplane import cgroups
from localplane.components import SERVICE_RANGE
from localplane.namespaces import enter_mounts, new_network, rooted
from localplane.nodefiles import ADDRESS, KERNEL, NODE, PROGRAMS, VOLUMES
from localplane.processes import PROC

WRITABLE = ("etc", "var", "opt")
PAUSE = 1.0  # seconds before a program that ended is started again


@dataclass(frozen=True)
class Settings:
    """What the node's starter passes on."""

    directory: Path  # of the node: etc, var, opt, root, relay.sock
    tree: Path  # the packages' files
    cgroup: str
    port: int  # of the API server
    logs: Path

    @staticmethod
    def of(arguments: list[str]) -> Settings:
        """From the command line."""
        directory, tree, cgroup, port, logs = arguments
        return Settings(Path(directory), Path(tree), cgroup, int(port), Path(logs))

    @property
    def root(self) -> Path:
        """Where the node's files come together; empty outside of the node's mount namespace."""
        return self.directory / "root"

    @property
    def relay(self) -> Path:
        """The socket of the API server's way in."""
        return self.directory / "relay.sock"


class Host:
    """PID 1."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._machine = os.open("/proc/self/ns/net", os.O_RDONLY)
        self._running: dict[int, str] = {}
        self._own: dict[str, tuple[str, ...]] = {}
        self._mounts = -1

    def run(self) -> None:
        """Set up, start, reap, start again; ends on SIGTERM, and everything with it."""
        signal.signal(signal.SIGTERM, _end)
        new_network()
        socket.sethostname(NODE)
        self._network()
        self._files()
        self._mounts = rooted(self._settings.root)
        self._own = self._helpers()
        for name in ("relay", *PROGRAMS, "volumes"):
            self._start(name)
        while True:
            pid, status = os.wait()
            name = self._running.pop(pid, "")
            if name:
                print(f"node: {name} ended with {os.waitstatus_to_exitcode(status)}", flush=True)
                time.sleep(PAUSE)
                self._start(name)

    def _helpers(self) -> dict[str, tuple[str, ...]]:
        """What runs on this machine's files, as it is of this checkout."""
        settings, python = self._settings, (sys.executable, "-m")
        relay = (str(self._machine), str(settings.port), str(settings.relay), f"127.0.0.1,{ADDRESS}")
        volumes = (str(settings.directory / "etc/kubernetes/admin.conf"), str(settings.directory) + VOLUMES)
        return {
            "relay": (*python, "localplane.noderelay", *relay),
            "volumes": (*python, "localplane.nodevolumes", *volumes),
        }

    def _start(self, name: str) -> None:
        command = PROGRAMS.get(name)
        enter = partial(enter_mounts, self._mounts) if command else None
        with (self._settings.logs / f"node-{name}.log").open("ab") as log:
            process = subprocess.Popen(
                command or self._own[name], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                pass_fds=[] if command else [self._machine], cwd="/",
                preexec_fn=enter,  # noqa: PLW1509 - there is one thread only
            )  # fmt: skip
        self._running[process.pid] = name

    def _network(self) -> None:
        """An address that isn't loopback, on the one interface that there is; forwarding between the Pods' links."""
        for command in (
            ["link", "set", "lo", "up"],
            ["address", "add", f"{ADDRESS}/32", "dev", "lo"],
            # Without a route nothing is sent, and so nothing is translated to a Pod's address.
            ["route", "add", SERVICE_RANGE, "dev", "lo", "src", ADDRESS],
        ):
            _run("chroot", str(self._settings.tree), "/sbin/ip", *command)
        (PROC / "sys/net/ipv4/ip_forward").write_text("1")

    def _files(self) -> None:
        """The packages' files, read-only, and over them what is the node's own."""
        settings, root = self._settings, self._settings.root
        root.mkdir(exist_ok=True)
        _run("mount", "--bind", str(settings.tree), str(root))
        _run("mount", "-o", "remount,bind,ro", str(root))
        for name in WRITABLE:
            _run("mount", "--bind", str(settings.directory / name), str(root / name))
        for name, kind in (("run", "tmpfs"), ("tmp", "tmpfs"), ("proc", "proc"), ("sys", "sysfs")):
            _run("mount", "-t", kind, kind, str(root / name))
        _run("mount", "--rbind", "/dev", str(root / "dev"))
        for key, value in KERNEL.items():
            stand_in = root / "run" / key.replace("/", "-")
            stand_in.write_text(f"{value}\n")
            if (root / "proc/sys" / key).exists():
                _run("mount", "--bind", str(stand_in), str(root / "proc/sys" / key))
        self._cgroups(root / "sys/fs/cgroup")

    def _cgroups(self, target: Path) -> None:
        """The machine's, without the second hierarchy of a hybrid system, with which container runtimes can't work."""
        cgroups.make(self._settings.cgroup)
        found = cgroups.hierarchies()
        if found == [cgroups.ROOT]:
            _run("mount", "--rbind", str(cgroups.ROOT), str(target))
            return
        _run("mount", "-t", "tmpfs", "tmpfs", str(target))
        for hierarchy in found:
            folder = target / hierarchy.name
            if hierarchy.is_symlink():
                folder.symlink_to(hierarchy.readlink())
                continue
            folder.mkdir()
            _run("mount", "--bind", str(hierarchy), str(folder))


def _run(*command: str) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")


def _end(number: int, frame: FrameType | None) -> None:
    sys.exit(0)


if __name__ == "__main__":
    Host(Settings.of(sys.argv[1:])).run()
