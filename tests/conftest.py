"""What all tests share: one control plane for the session, started when the first test asks for it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from localplane.commands import install
from localplane.controlplane import ControlPlane
from localplane.kubectl import Kubectl
from operators import Operator

ROOT = Path(__file__).resolve().parent.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What runs on real processes is tried a second time when it fails, and both are shown (R in the progress).

    These tests bound how long a real control plane takes; on a machine that does something else as well, that may be
    exceeded without a fault of ours. A fault of ours fails twice.
    """
    for item in items:
        if item.get_closest_marker("integration") or item.get_closest_marker("faults"):
            item.add_marker(pytest.mark.flaky(reruns=1))


class Plane(Protocol):
    """A control plane, ours or one that the developer named."""

    @property
    def kubeconfig(self) -> Path: ...


class NamedPlane:
    """The cluster of ``HOMEPORT_TEST_KUBECONFIG``: for trying tests against something that runs already."""

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """etcd, kube-apiserver, controller manager, scheduler and kwok, with Homeport's CRDs, roles and policies."""
    named = os.environ.get("HOMEPORT_TEST_KUBECONFIG")
    if named:
        yield NamedPlane(Path(named))
        return
    with ControlPlane(tmp_path_factory.mktemp("plane"), ephemeral=True, audit=True) as plane:
        install(Kubectl(plane.kubectl, str(plane.kubeconfig)))
        yield plane


@pytest.fixture(scope="session")
def operator(control_plane: Plane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """The operator, running on the session's control plane."""
    process = Operator(control_plane.kubeconfig, tmp_path_factory.mktemp("operator") / "operator.log")
    process.start()
    asyncio.run(process.wait_leading())
    yield process
    process.kill(signal.SIGTERM)
