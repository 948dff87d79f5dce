"""Other projects' CustomResourceDefinitions, out of their Go modules: pinned by checksum, kept in Go's module cache."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from localplane.toolchain import find_go
from localplane.tools import BUILD_ENVIRONMENT
from localplane.tools import TRAEFIK as TRAEFIK_VERSION

MINIMUM_GO = (1, 26)


class DefinitionsError(RuntimeError):
    """The module could not be had, or isn't the one that was pinned."""


@dataclass(frozen=True)
class Definitions:
    """Files of a Go module. ``checksum`` is the module's, as go.sum has it."""

    module: str
    version: str
    checksum: str
    files: tuple[str, ...]

    def paths(self) -> list[Path]:
        """The files, downloaded if they aren't there. Raises DefinitionsError."""
        go = find_go(MINIMUM_GO, lambda text: None)
        command = [go, "mod", "download", "-json", f"{self.module}@{self.version}"]
        with tempfile.TemporaryDirectory() as anywhere:  # outside of any module, so that none is changed
            done = subprocess.run(
                command, check=False, capture_output=True, text=True, cwd=anywhere, env={**os.environ, **_ENVIRONMENT}
            )
        told = json.loads(done.stdout or "{}")
        if told.get("Sum") != self.checksum:
            why = told.get("Error") or done.stderr.strip() or f"its checksum is {told.get('Sum')}"
            raise DefinitionsError(f"{self.module} {self.version}: {why}")
        return [Path(told["Dir"], name) for name in self.files]


_ENVIRONMENT = {"GOTOOLCHAIN": BUILD_ENVIRONMENT["GOTOOLCHAIN"], "GOFLAGS": "", "GOWORK": "off"}

_GATEWAY_FILES = tuple(
    f"config/crd/standard/gateway.networking.k8s.io_{plural}.yaml"
    for plural in ("gatewayclasses", "gateways", "grpcroutes", "httproutes", "referencegrants")
)
GATEWAY_API = Definitions(
    "sigs.k8s.io/gateway-api", "v1.5.1", "h1:RqVRIlkhLhUO8wOHKTLnTJA6o/1un4po4/6M1nRzdd0=", _GATEWAY_FILES
)
GATEWAY_API_BEFORE_CORS = Definitions(
    "sigs.k8s.io/gateway-api", "v1.3.0", "h1:q6okN+/UKDATola4JY7zXzx40WO4VISk7i9DIfOvr9M=", _GATEWAY_FILES
)
TRAEFIK = Definitions(
    "github.com/traefik/traefik/v3",
    TRAEFIK_VERSION,
    "h1:j6nCRMJ0tms8JnbDP//3gB1sb6defwbPdoZWq50weWg=",
    ("docs/content/reference/dynamic-configuration/kubernetes-crd-definition-v1.yml",),
)
PROMETHEUS_OPERATOR = Definitions(
    "github.com/prometheus-operator/prometheus-operator",
    "v0.85.0",
    "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s=",
    tuple(
        f"example/prometheus-operator-crd/monitoring.coreos.com_{plural}.yaml"
        for plural in ("servicemonitors", "podmonitors")
    ),
)
EXTERNAL_SNAPSHOTTER = Definitions(
    "github.com/kubernetes-csi/external-snapshotter/client/v8",
    "v8.2.0",
    "h1:Q3jQ1NkFqv5o+F8dMmHd8SfEmlcwNeo1immFApntEwE=",
    tuple(
        f"config/crd/snapshot.storage.k8s.io_{plural}.yaml"
        for plural in ("volumesnapshotclasses", "volumesnapshotcontents", "volumesnapshots")
    ),
)
