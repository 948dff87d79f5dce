"""What all tests share: one control plane for the session, started when the first test asks for it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from backup_world import IMAGE
from gitea_server import GiteaServer
from localplane.commands import install
from localplane.controlplane import ControlPlane
from localplane.kubectl import Kubectl
from operators import Operator

ROOT = Path(__file__).resolve().parent.parent
# Other projects, with tests of their own, which their own jobs run.
collect_ignore = ["samples"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What runs on real processes is tried again, twice at most, when it fails; each try is shown (R in the progress).

    These tests bound how long a real control plane takes; on a machine that does something else as well, that may be
    exceeded without a fault of ours. A fault of ours fails each time. ``HOMEPORT_TEST_RERUNS=0`` shows first failures.
    """
    # Last, so that the real node doesn't run beside all the others.
    items.sort(key=lambda item: item.get_closest_marker("e2e") is not None)
    for item in items:
        if any(item.get_closest_marker(name) for name in ("integration", "faults", "e2e")):
            item.add_marker(pytest.mark.flaky(reruns=int(os.environ.get("HOMEPORT_TEST_RERUNS", "2"))))
        if item.get_closest_marker("e2e") and item.get_closest_marker("timeout") is None:
            # The first of them waits for packages to be fetched and made into images, once per machine.
            item.add_marker(pytest.mark.timeout(1500))


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
    logs = tmp_path_factory.mktemp("operator") / "operator.log"
    process = Operator(control_plane.kubeconfig, logs, "--runner-image", IMAGE, "--notify-allow", "127.0.0.0/8")
    process.start()
    try:
        asyncio.run(process.wait_leading())
        yield process
    finally:
        # Also when it was too slow to lead: the next try would wait for this one's Lease for good.
        process.kill(signal.SIGTERM)


@pytest.fixture(scope="module")
def gitea(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GiteaServer]:
    """A Gitea of the module's own, in which ``team`` works, ``ann`` helps, and ``eve`` is a stranger."""
    with GiteaServer(tmp_path_factory.mktemp("gitea")) as server:
        for name in ("team", "ann", "eve"):
            server.user(name)
        yield server
