"""The stand-in for Proxmox VE as a background process, and the objects that make it the ProxmoxHost ``lab``."""

from __future__ import annotations

import json
from typing import Any

from localplane.beside import Beside

REGISTRY = "registry"
HOST = "lab"
NAMESPACE = "homeport-system"
PROJECTS = {"homelab": (2000, 2099), "taskflow": (2100, 2299), "catalog": (2300, 2399)}
"""Which projects may use the host, and which VMIDs."""


class Proxmox(Beside):
    """The stand-in of one state folder: its token, its certificate, and who may use it."""

    name, called, grace, more_ports = "proxmox", "the stand-in for Proxmox VE", 8.0, (REGISTRY,)

    @property
    def url(self) -> str:
        """Where it listens; empty when it was never started."""
        return f"https://127.0.0.1:{self.port}" if self.port else ""

    @property
    def mirror(self) -> str:
        """What an operator is told to pull images from; empty when it was never started."""
        port = self._ports.known(REGISTRY)
        return f"*=http://127.0.0.1:{port}" if port else ""

    def start(self, timeout: float = 30.0, version: str = "") -> bool:
        """Start it unless it runs; False when it was left as it was. ``version``: of Proxmox VE, the first time."""
        return self._run("localpve", ["--version", version] if version else [], timeout)

    @property
    def token(self) -> dict[str, str]:
        """The API token: tokenId and tokenSecret."""
        found: dict[str, str] = json.loads((self._directory / "token.json").read_text())
        return found

    def objects(self) -> list[dict[str, Any]]:
        """Its token, its certificate, and who may use it."""
        names = {key: {"namespace": NAMESPACE, "name": f"{HOST}-{key}"} for key in ("token", "ca")}
        secrets = {"token": self.token, "ca": {"ca.crt": (self._directory / "pve.crt").read_text()}}
        projects = [
            {
                "name": name,
                "vmidRange": {"min": low, "max": high},
                "storages": ["local-lvm", "local"],  # disks, and archives
                "bridges": ["vmbr0"],
            }
            for name, (low, high) in PROJECTS.items()
        ]
        spec = {
            "endpoints": [self.url],
            "credentialsSecretRef": names["token"],
            "tls": {"caSecretRef": names["ca"]},
            "interval": "10s",
            "projects": projects,
        }
        host = {"apiVersion": "homeport.dev/v1alpha1", "kind": "ProxmoxHost", "metadata": {"name": HOST}, "spec": spec}
        return [
            *(
                {"apiVersion": "v1", "kind": "Secret", "metadata": names[key], "stringData": secrets[key]}
                for key in names
            ),
            host,
        ]
