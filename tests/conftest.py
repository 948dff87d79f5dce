"""What all tests share: one control plane for the session, started when the first test asks for it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from operators import Operator

ROOT = Path(__file__).resolve().parent.parent


class Plane(Protocol):
    """A control plane, ours or one that the developer named."""

    @property
    def kubeconfig(self) -> Path: ...


class NamedPlane:
    """The cluster of ``HOMEPORT_TEST_KUBECONFIG``: for trying tests against something that runs already."""

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig


def install(kubectl: Path | str, kubeconfig: Path) -> None:
    """Put CRDs, roles and policies onto a control plane and wait until they count."""
    base = [str(kubectl), "--kubeconfig", str(kubeconfig)]
    for folder in ("crds", "policies"):
        subprocess.run([*base, "apply", "--server-side", "--force-conflicts", "-f", str(ROOT / folder)],
                       check=True, stdout=subprocess.DEVNULL)  # fmt: skip
    subprocess.run([*base, "wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"],
                   check=True, stdout=subprocess.DEVNULL)  # fmt: skip


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """etcd, kube-apiserver, controller manager, scheduler and kwok, with Homeport's CRDs, roles and policies."""
    named = os.environ.get("HOMEPORT_TEST_KUBECONFIG")
    if named:
        yield NamedPlane(Path(named))
        return
    from localplane.controlplane import ControlPlane

    with ControlPlane(tmp_path_factory.mktemp("plane"), ephemeral=True, audit=True) as plane:
        install(plane.kubectl, plane.kubeconfig)
        yield plane


@pytest.fixture(scope="session")
def operator(control_plane: Plane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """The operator, running on the session's control plane."""
    process = Operator(control_plane.kubeconfig, tmp_path_factory.mktemp("operator") / "operator.log")
    process.start()
    asyncio.run(process.wait_leading())
    yield process
    process.kill(signal.SIGTERM)
