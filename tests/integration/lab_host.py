"""The stand-in for a Proxmox VE host beside a control plane, and what an operator is told to reach its containers."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

import requests

from localplane.commands import install
from localplane.controlplane import ControlPlane
from localplane.kubectl import Kubectl
from localplane.pveproc import Proxmox
from localplane.state import State
from operators import Operator


class LabHost:
    """The ProxmoxHost ``lab``, with a registry that has every image. ``folder`` keeps its state."""

    def __init__(self, folder: Path, version: str = "") -> None:
        self.proxmox = Proxmox(State.at(folder))
        self._version = version
        self._programs = folder / "programs"

    def start(self, kubectl: Kubectl) -> tuple[str, ...]:
        """Start it and make it known; the options of an operator that uses it."""
        self._programs.mkdir(parents=True)
        program = b"\x7fELF stands in for the init: nothing here is ever run"
        (self._programs / "homeport-init-amd64").write_bytes(program)
        self.proxmox.start(version=self._version)
        self.proxmox.register(kubectl)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            agents = f"127.0.0.1:{probe.getsockname()[1]}"
        listen = ("--agent-url", f"https://{agents}", "--agent-listen", agents)
        return (*listen, "--init-dir", str(self._programs), "--registry-mirror", self.proxmox.mirror)

    def sweep(self) -> None:
        """Destroy what was kept when its LXCContainer went, as an administrator would: the same name asks for it."""
        session = requests.Session()
        session.verify, session.trust_env = False, False
        token = self.proxmox.token
        session.headers["Authorization"] = f"PVEAPIToken={token['tokenId']}={token['tokenSecret']}"
        api = f"{self.proxmox.url}/api2/json"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for guest in session.get(f"{api}/cluster/resources", timeout=30).json()["data"]:
                if "homeport-retained" in str(guest.get("tags", "")):
                    done = session.delete(f"{api}/nodes/{guest['node']}/lxc/{guest['vmid']}", timeout=30)
                    assert done.ok, done.text

    def stop(self) -> None:
        """End it."""
        self.proxmox.stop()


@contextlib.contextmanager
def operated(
    lab: LabHost, folder: Path, definitions: Iterable[Path] = (), options: Iterable[str] = ()
) -> Iterator[ControlPlane]:
    """A control plane with Homeport's kinds and those of ``definitions``, the host, and an operator that leads."""
    with ControlPlane(folder / "plane", ephemeral=True, audit=True) as plane:
        kubectl = Kubectl(plane.kubectl, str(plane.kubeconfig))
        install(kubectl)
        for path in definitions:
            kubectl.apply(path)
            kubectl.wait_established(path)
        operator = Operator(plane.kubeconfig, folder / "operator.log", *lab.start(kubectl), *options)
        operator.start()
        try:
            asyncio.run(operator.wait_leading())
            yield plane
        finally:
            operator.kill(signal.SIGTERM)
            lab.stop()
